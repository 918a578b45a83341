#include "common/store/check.h"

#include "common/base/mem.h"
#include "common/store/check_int.h"

#include <stdarg.h>
#include <stdio.h>

bool check_damage(
    struct checking *k, const char *mailbox, uint32_t uid, bool can_repair, const char *fmt, ...)
{
	bool is_repaired = can_repair && k->c->repair;
	char what[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	k->c->damaged++;
	k->c->repaired += is_repaired;
	if (k->c->report)
		k->c->report(
		    k->c->arg, &(struct store_damage){k->account, mailbox, uid, what, is_repaired});
	return is_repaired;
}

static void forget_account(struct checking *k)
{
	for (size_t i = 0; i < k->box_count; i++)
		mem_free(k->boxes[i].name);
	k->box_count = k->ref_count = 0;
	k->hides_objects = false;
	k->sum = (struct account_row){.next_mailbox = 1, .next_object = 1};
}

/* What is counted must be exact, what is given out next must be new. */
static bool is_wrong(const struct account_row *a, const struct account_row *sum)
{
	return a->bytes != sum->bytes || a->messages != sum->messages ||
	       a->kept_bytes != sum->kept_bytes || a->kept_messages != sum->kept_messages ||
	       a->next_mailbox < sum->next_mailbox || a->next_object < sum->next_object ||
	       a->modseq < sum->modseq || a->last_uidvalidity < sum->last_uidvalidity;
}

static int check_row(struct checking *k, struct err *err)
{
	struct account_row *sum = &k->sum;
	struct err why = ERR_INIT;
	struct account_row a = {0};

	if (account_get(k->txn, k->account, &a, &why) == 0 && !is_wrong(&a, sum))
		return 0;
	if (why.code != ERR_NONE)
		check_damage(k, NULL, 0, true, "%s", why.text);
	else
		check_damage(k, NULL, 0, true,
		    "the account counts %llu messages of %llu bytes, has %llu of %llu; for "
		    "undelete %llu of %llu bytes, has %llu of %llu",
		    (unsigned long long)a.messages, (unsigned long long)a.bytes,
		    (unsigned long long)sum->messages, (unsigned long long)sum->bytes,
		    (unsigned long long)a.kept_messages, (unsigned long long)a.kept_bytes,
		    (unsigned long long)sum->kept_messages, (unsigned long long)sum->kept_bytes);
	if (!k->c->repair)
		return 0;
	a.bytes = sum->bytes;
	a.messages = sum->messages;
	a.kept_bytes = sum->kept_bytes;
	a.kept_messages = sum->kept_messages;
	if (a.next_mailbox < sum->next_mailbox)
		a.next_mailbox = sum->next_mailbox;
	if (a.next_object < sum->next_object)
		a.next_object = sum->next_object;
	if (a.modseq < sum->modseq)
		a.modseq = sum->modseq;
	if (a.last_uidvalidity < sum->last_uidvalidity)
		a.last_uidvalidity = sum->last_uidvalidity;
	return account_put(k->txn, k->account, &a, err);
}

static int check_account(struct checking *k, struct err *err)
{
	bool is_removed;

	if (account_is_removed(k->txn, k->account, &is_removed, err) < 0)
		return -1;
	if (is_removed)
		return check_removed(k, err);
	k->c->accounts++;
	if (check_mailboxes(k, err) < 0 || check_expunged(k, err) < 0 ||
	    check_deleted(k, err) < 0 || check_objects(k, err) < 0 || check_row(k, err) < 0)
		return -1;
	return 0;
}

/* The first account with any row at or behind *account: 1, 0, -1. */
static int next_account(struct db_txn *txn, uint64_t *account, struct err *err)
{
	struct db_cursor c;
	struct db_key key;
	int rc;

	db_key_init(&key);
	db_key_u64(&key, *account);
	if (db_cursor_open(txn, &c, SPAN(""), err) < 0)
		return -1;
	rc = db_seek(&c, db_key_span(&key), err);
	if (rc == 1 && c.key.n < 9)
		rc = err_set(err, ERR_CORRUPT, "a key of %zu bytes", c.key.n);
	if (rc == 1)
		*account = be_get64(c.key.p);
	db_cursor_close(&c);
	return rc;
}

static int check_all(struct checking *k, struct err *err)
{
	uint64_t account = 1;
	int rc;

	while ((rc = next_account(k->txn, &account, err)) == 1) {
		forget_account(k);
		k->account = account;
		if (check_account(k, err) < 0)
			return -1;
		if (account++ == UINT64_MAX)
			break;
	}
	forget_account(k);
	k->account = 0;
	return rc < 0 ? -1 : check_files(k, err);
}

int store_check_run(
    struct db_env *env, struct blob_dir *blobs, struct store_check *c, struct err *err)
{
	struct checking k = {.c = c, .blobs = blobs};
	int rc = c->repair ? db_write_begin(env, &k.txn, err) : db_read_begin(env, &k.txn, err);

	if (rc < 0)
		return -1;
	rc = check_all(&k, err);
	if (rc == 0 && c->repaired > 0)
		rc = db_commit(k.txn, err);
	else
		db_abort(k.txn);
	mem_free(k.boxes);
	mem_free(k.refs);
	mem_free(k.files);
	if (rc == 0 && c->bodies)
		rc = check_bodies(env, blobs, c, err);
	return rc;
}
