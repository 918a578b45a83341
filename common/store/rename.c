/* RENAME: a mailbox and all below it get new names; INBOX gives its messages away instead. */
#include "common/base/mem.h"
#include "common/store/mailbox_int.h"

#include <string.h>

/* Names that are to change, collected before the first is changed. */
struct rename_op {
	struct db_txn *txn;
	uint64_t account;
	struct span from, to;
	struct {
		char name[STORE_NAME_MAX + 1];
		uint64_t id;
	} * names;
	size_t n, cap;
};

static int rename_collect_one(struct rename_op *op, struct span name, uint64_t id, struct err *err)
{
	if (name.n > STORE_NAME_MAX)
		return store_corrupt(err, op->account, "the name of a mailbox");
	if (name.n - op->from.n > STORE_NAME_MAX - op->to.n)
		return err_set(err, ERR_INVALID,
		    "a mailbox below would get a name of more than %d bytes", STORE_NAME_MAX);
	if (op->n == op->cap) {
		op->cap = op->cap ? op->cap * 2 : 8;
		op->names = mem_grow(op->names, op->cap, sizeof(*op->names));
	}
	memcpy(op->names[op->n].name, name.p, name.n);
	op->names[op->n].name[name.n] = '\0';
	op->names[op->n++].id = id;
	return 0;
}

static int rename_collect(struct rename_op *op, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	uint64_t id;
	int rc;

	if (name_find(op->txn, op->account, op->from, &id, err) < 0 ||
	    rename_collect_one(op, op->from, id, err) < 0)
		return -1;
	store_key(&k, op->account, KIND_NAME);
	if (db_cursor_open(op->txn, &c, db_key_span(&k), err) < 0)
		return -1;
	db_key_raw(&k, op->from);
	db_key_u8(&k, '/');
	for (rc = db_seek(&c, db_key_span(&k), err); rc == 1; rc = db_next(&c, err)) {
		if (!span_starts(c.key, db_key_span(&k))) {
			rc = 0;
			break;
		}
		if (c.val.n != 9)
			rc = store_corrupt(err, op->account, "the name of a mailbox");
		else
			rc =
			    rename_collect_one(op, span_from(c.key, 9), be_get64(c.val.p + 1), err);
		if (rc < 0)
			break;
	}
	db_cursor_close(&c);
	return rc;
}

/* A subscription goes with its mailbox. */
static int rename_subscription(
    struct rename_op *op, struct span old, struct span name, struct err *err)
{
	struct err why = ERR_INIT;
	struct db_key k;

	store_key(&k, op->account, KIND_SUBSCRIPTION);
	db_key_raw(&k, old);
	if (db_del(op->txn, db_key_span(&k), &why) < 0)
		return why.code == ERR_NOT_FOUND ? 0 : err_set(err, why.code, "%s", why.text);
	return store_mailbox_subscribe(op->txn, op->account, name, true, err);
}

static int rename_one(struct rename_op *op, size_t i, uint64_t modseq, struct err *err)
{
	struct span old = span_of(op->names[i].name), rest = span_from(old, op->from.n);
	struct mailbox_row row;

	if (mailbox_row_get(op->txn, op->account, op->names[i].id, &row, err) < 0)
		return -1;
	memcpy(row.mb.name, op->to.p, op->to.n);
	memcpy(row.mb.name + op->to.n, rest.p, rest.n);
	row.mb.name[op->to.n + rest.n] = '\0';
	store_note(op->txn, op->account, row.mb.id, modseq);
	if (mailbox_row_put(op->txn, op->account, &row, err) < 0 ||
	    name_del(op->txn, op->account, old, err) < 0 ||
	    name_put(op->txn, op->account, span_of(row.mb.name), row.mb.id, err) < 0)
		return -1;
	return rename_subscription(op, old, span_of(row.mb.name), err);
}

static int rename_tree(struct rename_op *op, struct err *err)
{
	struct account_row a;

	if (rename_collect(op, err) < 0 || account_get(op->txn, op->account, &a, err) < 0 ||
	    mailbox_add_parents(op->txn, op->account, &a, op->to, err) < 0)
		return -1;
	a.modseq++;
	if (account_put(op->txn, op->account, &a, err) < 0)
		return -1;
	for (size_t i = 0; i < op->n; i++)
		if (rename_one(op, i, a.modseq, err) < 0)
			return -1;
	store_note(op->txn, op->account, 0, a.modseq);
	return 0;
}

/* RFC 3501 6.3.5: INBOX stays, empty; what is below it stays too. */
static int rename_inbox(struct rename_op *op, struct err *err)
{
	struct store_copied copied;
	struct store_mailbox mb;
	uint64_t inbox;
	int rc = -1;

	uidset_init(&copied.from);
	uidset_init(&copied.to);
	if (name_find(op->txn, op->account, op->from, &inbox, err) == 0 &&
	    store_mailbox_create(op->txn, op->account, op->to, SPECIAL_NONE, &mb, err) == 0)
		rc = store_copy(op->txn, op->account, inbox, NULL, mb.id, true, NULL, &copied, err);
	uidset_clear(&copied.from);
	uidset_clear(&copied.to);
	return rc;
}

static int rename_check_target(struct rename_op *op, struct err *err)
{
	struct err why = ERR_INIT;
	uint64_t id;
	int rc;

	if (op->to.n > op->from.n && op->to.p[op->from.n] == '/' && span_starts(op->to, op->from) &&
	    !span_eq(op->from, SPAN("INBOX")))
		return err_set(err, ERR_INVALID, "a mailbox cannot be moved below itself");
	if (name_find(op->txn, op->account, op->to, &id, &why) == 0)
		return err_set(err, ERR_EXISTS, "there is a mailbox \"%.*s\"", SPAN_FMT(op->to));
	if (why.code != ERR_NOT_FOUND)
		return err_set(err, why.code, "%s", why.text);
	rc = name_has_children(op->txn, op->account, op->to, err);
	if (rc == 1)
		return err_set(
		    err, ERR_EXISTS, "there are mailboxes below \"%.*s\"", SPAN_FMT(op->to));
	return rc;
}

int store_mailbox_rename(
    struct db_txn *txn, uint64_t account, struct span from, struct span to, struct err *err)
{
	struct rename_op op = {.txn = txn, .account = account};
	char from_name[STORE_NAME_MAX + 1], to_name[STORE_NAME_MAX + 1];
	int rc;

	if (store_name_check(from, from_name, err) < 0 || store_name_check(to, to_name, err) < 0)
		return -1;
	op.from = span_of(from_name);
	op.to = span_of(to_name);
	if (rename_check_target(&op, err) < 0)
		return -1;
	if (span_eq(op.from, SPAN("INBOX")))
		return rename_inbox(&op, err);
	rc = rename_tree(&op, err);
	mem_free(op.names);
	return rc;
}
