/* The names of mailboxes: find, list, create, delete, subscribe. */
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/mail/mutf7.h"
#include "common/store/mailbox_int.h"

#include <string.h>

/* --- names ------------------------------------------------------------------------------------ */
static int name_normalise(struct span name, char *out, struct err *err)
{
	struct strbuf b;
	int rc = 0;

	if (utf8_is_ascii(name)) {
		memcpy(out, name.p, name.n);
		out[name.n] = '\0';
		return 0;
	}
	strbuf_init(&b, STORE_NAME_MAX);
	if (!mail_utf8_nfc(&b, name)) {
		rc = err_set(err, ERR_INVALID, "a mailbox name must be UTF-8 of at most %d bytes",
		    STORE_NAME_MAX);
	} else {
		memcpy(out, b.p, b.n);
		out[b.n] = '\0';
	}
	strbuf_clear(&b);
	return rc;
}

/* C0, DEL and C1 (U+0080 to U+009F). */
static bool name_has_controls(struct span name)
{
	for (size_t i = 0; i < name.n; i++)
		if (ascii_is_ctl(name.p[i]) ||
		    (name.p[i] == '\xc2' && i + 1 < name.n && (unsigned char)name.p[i + 1] < 0xa0))
			return true;
	return false;
}

int store_name_check(struct span name, char *out, struct err *err)
{
	struct span rest, level;
	bool is_first = true;

	out[0] = '\0';
	if (name.n == 0)
		return err_set(err, ERR_INVALID, "an empty mailbox name");
	if (name.n > STORE_NAME_MAX)
		return err_set(
		    err, ERR_INVALID, "a mailbox name has at most %d bytes", STORE_NAME_MAX);
	if (name_has_controls(name))
		return err_set(err, ERR_INVALID, "a mailbox name holds no control characters");
	if (name_normalise(name, out, err) < 0)
		return -1;
	rest = span_of(out);
	while (span_split(&rest, '/', &level)) {
		if (level.n == 0)
			return err_set(err, ERR_INVALID, "an empty level in \"%s\"", out);
		if (is_first && span_ieq(level, SPAN("INBOX")))
			memcpy(out, "INBOX", 5);
		is_first = false;
	}
	return 0;
}

static void name_key(struct db_key *k, uint64_t account, enum store_kind kind, struct span name)
{
	store_key(k, account, kind);
	db_key_raw(k, name);
}

int name_put(struct db_txn *txn, uint64_t account, struct span name, uint64_t id, struct err *err)
{
	unsigned char row[9];
	struct db_key k;

	row[0] = ROW_VERSION;
	be_put64(row + 1, id);
	name_key(&k, account, KIND_NAME, name);
	return db_put(txn, db_key_span(&k), span_make(row, sizeof(row)), err);
}

int name_del(struct db_txn *txn, uint64_t account, struct span name, struct err *err)
{
	struct db_key k;

	name_key(&k, account, KIND_NAME, name);
	return db_del(txn, db_key_span(&k), err);
}

int name_find(struct db_txn *txn, uint64_t account, struct span name, uint64_t *id, struct err *err)
{
	struct err why = ERR_INIT;
	struct db_key k;
	struct span val;

	*id = 0;
	name_key(&k, account, KIND_NAME, name);
	if (db_get(txn, db_key_span(&k), &val, &why) < 0) {
		if (why.code != ERR_NOT_FOUND)
			return err_set(err, why.code, "%s", why.text);
		return err_set(err, ERR_NOT_FOUND, "there is no mailbox \"%.*s\"", SPAN_FMT(name));
	}
	if (val.n != 9 || val.p[0] != ROW_VERSION)
		return store_corrupt(err, account, "the name of a mailbox");
	*id = be_get64(val.p + 1);
	return 0;
}

int name_has_children(struct db_txn *txn, uint64_t account, struct span name, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	int rc;

	store_key(&k, account, KIND_NAME);
	if (db_cursor_open(txn, &c, db_key_span(&k), err) < 0)
		return -1;
	db_key_raw(&k, name);
	db_key_u8(&k, '/');
	rc = db_seek(&c, db_key_span(&k), err);
	if (rc == 1)
		rc = span_starts(c.key, db_key_span(&k));
	db_cursor_close(&c);
	return rc;
}

/* Does a row exist: 1, 0, -1. */
static int row_exists(
    struct db_txn *txn, uint64_t account, enum store_kind kind, struct span name, struct err *err)
{
	struct err why = ERR_INIT;
	struct db_key k;
	struct span val;

	name_key(&k, account, kind, name);
	if (db_get(txn, db_key_span(&k), &val, &why) == 0)
		return 1;
	return why.code == ERR_NOT_FOUND ? 0 : err_set(err, why.code, "%s", why.text);
}

/* --- finding ---------------------------------------------------------------------------------- */
/* What does not stand in the row itself. */
static int mailbox_complete(
    struct db_txn *txn, uint64_t account, struct store_mailbox *mb, struct err *err)
{
	int children = name_has_children(txn, account, span_of(mb->name), err);
	int subscribed = row_exists(txn, account, KIND_SUBSCRIPTION, span_of(mb->name), err);

	if (children < 0 || subscribed < 0)
		return -1;
	mb->has_children = children == 1;
	mb->is_subscribed = subscribed == 1;
	return 0;
}

int store_mailbox_get(
    struct db_txn *txn, uint64_t account, uint64_t id, struct store_mailbox *mb, struct err *err)
{
	struct mailbox_row row;

	if (mailbox_row_get(txn, account, id, &row, err) < 0)
		return -1;
	*mb = row.mb;
	return mailbox_complete(txn, account, mb, err);
}

int store_mailbox_find(struct db_txn *txn, uint64_t account, struct span name,
    struct store_mailbox *mb, struct err *err)
{
	char norm[STORE_NAME_MAX + 1];
	uint64_t id;

	if (store_name_check(name, norm, err) < 0 ||
	    name_find(txn, account, span_of(norm), &id, err) < 0)
		return -1;
	return store_mailbox_get(txn, account, id, mb, err);
}

int store_mailbox_list(struct db_txn *txn, uint64_t account, struct store_mailbox **list,
    size_t *count, struct err *err)
{
	struct store_mailbox *all = NULL;
	size_t n = 0, cap = 0;
	struct db_cursor c;
	struct db_key k;
	int rc;

	*list = NULL;
	*count = 0;
	store_key(&k, account, KIND_NAME);
	if (db_cursor_open(txn, &c, db_key_span(&k), err) < 0)
		return -1;
	for (rc = db_first(&c, err); rc == 1; rc = db_next(&c, err)) {
		if (n == cap) {
			cap = cap ? cap * 2 : 16;
			all = mem_grow(all, cap, sizeof(*all));
		}
		if (c.val.n != 9 || c.val.p[0] != ROW_VERSION) {
			rc = store_corrupt(err, account, "the name of a mailbox");
			break;
		}
		if (store_mailbox_get(txn, account, be_get64(c.val.p + 1), &all[n], err) < 0) {
			rc = -1;
			break;
		}
		n++;
	}
	db_cursor_close(&c);
	if (rc < 0) {
		mem_free(all);
		return -1;
	}
	*list = all;
	*count = n;
	return 0;
}

/* --- limits ------------------------------------------------------------------------------------
 */
/* Numbers are never used again: an account that has not had as many mailboxes need not be counted.
 */
static int check_room(struct db_txn *txn, uint64_t account, const struct account_row *a,
    enum store_kind kind, const char *what, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	size_t n = 0;
	int rc;

	if (a->next_mailbox <= STORE_MAILBOXES_MAX)
		return 0;
	store_key(&k, account, kind);
	if (db_cursor_open(txn, &c, db_key_span(&k), err) < 0)
		return -1;
	for (rc = db_first(&c, err); rc == 1 && n < STORE_MAILBOXES_MAX; rc = db_next(&c, err))
		n++;
	db_cursor_close(&c);
	if (rc < 0)
		return -1;
	if (n < STORE_MAILBOXES_MAX)
		return 0;
	return err_set(err, ERR_LIMIT, "an account has at most %d %s", STORE_MAILBOXES_MAX, what);
}

/* --- creating and deleting -------------------------------------------------------------------- */
int mailbox_add(struct db_txn *txn, uint64_t account, struct account_row *a, struct span name,
    uint32_t special_use, uint64_t *id, struct err *err)
{
	struct mailbox_row row = {.mb = {.uidnext = 1, .recent_uid = 1}};

	memcpy(row.mb.name, name.p, name.n);
	row.mb.id = *id = a->next_mailbox++;
	row.mb.uidvalidity = account_next_uidvalidity(a);
	row.mb.special_use = special_use;
	row.mb.modseq_created = row.mb.highestmodseq = ++a->modseq;
	if (mailbox_row_put(txn, account, &row, err) < 0)
		return -1;
	return name_put(txn, account, name, *id, err);
}

int mailbox_add_parents(
    struct db_txn *txn, uint64_t account, struct account_row *a, struct span name, struct err *err)
{
	uint64_t id;

	for (size_t i = 0; i < name.n; i++) {
		struct span level = span_sub(name, 0, i);
		int rc;

		if (name.p[i] != '/')
			continue;
		rc = row_exists(txn, account, KIND_NAME, level, err);
		if (rc < 0 ||
		    (rc == 0 && mailbox_add(txn, account, a, level, SPECIAL_NONE, &id, err) < 0))
			return -1;
	}
	return 0;
}

static int mailbox_del_row(struct db_txn *txn, uint64_t account, uint64_t id, struct err *err)
{
	struct db_key k;

	store_key(&k, account, KIND_MAILBOX);
	db_key_u64(&k, id);
	return db_del(txn, db_key_span(&k), err);
}

/* The name may be taken only by a \Noselect level, which is replaced: under a new number, so that
 * nothing of the old one is taken for its own. */
static int create_make_room(struct db_txn *txn, uint64_t account, struct span name, struct err *err)
{
	struct mailbox_row row;
	struct err why = ERR_INIT;
	uint64_t id;

	if (name_find(txn, account, name, &id, &why) < 0)
		return why.code == ERR_NOT_FOUND ? 0 : err_set(err, why.code, "%s", why.text);
	if (mailbox_row_get(txn, account, id, &row, err) < 0)
		return -1;
	if (!row.mb.is_noselect)
		return err_set(err, ERR_EXISTS, "there is a mailbox \"%.*s\"", SPAN_FMT(name));
	return mailbox_del_row(txn, account, id, err);
}

int store_mailbox_create(struct db_txn *txn, uint64_t account, struct span name,
    uint32_t special_use, struct store_mailbox *mb, struct err *err)
{
	char norm[STORE_NAME_MAX + 1];
	struct account_row a;
	uint64_t id;

	if (store_name_check(name, norm, err) < 0 || account_get(txn, account, &a, err) < 0)
		return -1;
	name = span_of(norm);
	if (check_room(txn, account, &a, KIND_NAME, "mailboxes", err) < 0 ||
	    create_make_room(txn, account, name, err) < 0 ||
	    mailbox_add_parents(txn, account, &a, name, err) < 0 ||
	    mailbox_add(txn, account, &a, name, special_use, &id, err) < 0 ||
	    account_put(txn, account, &a, err) < 0)
		return -1;
	store_note(txn, account, 0, a.modseq);
	return mb ? store_mailbox_get(txn, account, id, mb, err) : 0;
}

int store_mailbox_delete(struct db_txn *txn, uint64_t account, struct span name, struct err *err)
{
	char norm[STORE_NAME_MAX + 1];
	struct mailbox_row row;
	struct account_row a;
	uint64_t id;
	int children;

	if (store_name_check(name, norm, err) < 0)
		return -1;
	name = span_of(norm);
	if (span_eq(name, SPAN("INBOX")))
		return err_set(err, ERR_INVALID, "INBOX cannot be deleted");
	if (name_find(txn, account, name, &id, err) < 0 ||
	    mailbox_row_get(txn, account, id, &row, err) < 0 ||
	    account_get(txn, account, &a, err) < 0)
		return -1;
	children = name_has_children(txn, account, name, err);
	if (children < 0)
		return -1;
	if (children && row.mb.is_noselect)
		return err_set(err, ERR_INVALID, "\"%s\" has mailboxes below it", norm);
	if (!row.mb.is_noselect && deleted_put(txn, account, &row, err) < 0)
		return -1;
	if (mailbox_clear(txn, account, &a, id, err) < 0 ||
	    mailbox_del_row(txn, account, id, err) < 0)
		return -1;
	a.modseq++;
	if (children) {
		row = (struct mailbox_row){.mb = {.uidnext = 1, .recent_uid = 1}};
		row.mb.is_noselect = true;
		row.mb.id = a.next_mailbox++;
		row.mb.modseq_created = row.mb.highestmodseq = a.modseq;
		memcpy(row.mb.name, norm, sizeof(norm));
		if (mailbox_row_put(txn, account, &row, err) < 0 ||
		    name_put(txn, account, name, row.mb.id, err) < 0)
			return -1;
	} else if (name_del(txn, account, name, err) < 0) {
		return -1;
	}
	store_note(txn, account, id, a.modseq);
	store_note(txn, account, 0, a.modseq);
	return account_put(txn, account, &a, err);
}

/* --- subscriptions ---------------------------------------------------------------------------- */
int store_mailbox_subscribe(
    struct db_txn *txn, uint64_t account, struct span name, bool on, struct err *err)
{
	static const unsigned char row[1] = {ROW_VERSION};
	char norm[STORE_NAME_MAX + 1];
	struct account_row a;
	struct db_key k;
	int is_on;

	if (store_name_check(name, norm, err) < 0)
		return -1;
	is_on = row_exists(txn, account, KIND_SUBSCRIPTION, span_of(norm), err);
	if (is_on < 0 || is_on == on)
		return is_on < 0 ? -1 : 0;
	if (on && (account_get(txn, account, &a, err) < 0 ||
		      check_room(txn, account, &a, KIND_SUBSCRIPTION, "subscriptions", err) < 0))
		return -1;
	name_key(&k, account, KIND_SUBSCRIPTION, span_of(norm));
	store_note(txn, account, 0, 0);
	return on ? db_put(txn, db_key_span(&k), span_make(row, sizeof(row)), err)
		  : db_del(txn, db_key_span(&k), err);
}

int store_subscription_list(struct db_txn *txn, uint64_t account,
    void (*fn)(void *arg, struct span name), void *arg, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	int rc;

	store_key(&k, account, KIND_SUBSCRIPTION);
	if (db_cursor_open(txn, &c, db_key_span(&k), err) < 0)
		return -1;
	for (rc = db_first(&c, err); rc == 1; rc = db_next(&c, err))
		fn(arg, span_from(c.key, k.n));
	db_cursor_close(&c);
	return rc;
}
