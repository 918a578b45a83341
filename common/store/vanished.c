/* Which UIDs went when (QRESYNC, RFC 7162): m, modseq, first uid -> last uid, time. */
#include "common/event/clock.h"
#include "common/store/store_int.h"

#include <string.h>

static void vanished_prefix(struct db_key *k, uint64_t account, uint64_t mailbox)
{
	store_key(k, account, KIND_VANISHED);
	db_key_u64(k, mailbox);
}

struct vanished_row {
	uint64_t modseq;
	uint32_t first, last;
	uint64_t time;
};

static int vanished_decode(const struct db_cursor *c, struct vanished_row *v, struct err *err)
{
	struct dec d = dec_of(c->val);

	*v = (struct vanished_row){0};
	if (c->key.n != 8 + 1 + 8 + 8 + 4 || dec_u8(&d) != ROW_VERSION)
		return err_set(err, ERR_CORRUPT, "a row of vanished messages is damaged");
	v->modseq = be_get64(c->key.p + 17);
	v->first = be_get32(c->key.p + 25);
	v->last = dec_u32(&d);
	v->time = dec_u64(&d);
	if (!dec_done(&d) || v->last < v->first || v->first == 0)
		return err_set(err, ERR_CORRUPT, "a row of vanished messages is damaged");
	return 0;
}

/* The oldest row: 1, 0, -1. Its key is copied out, so that it can be deleted. */
static int vanished_oldest(struct db_txn *txn, uint64_t account, uint64_t mailbox,
    struct db_key *key, struct vanished_row *v, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	int rc;

	*v = (struct vanished_row){0};
	vanished_prefix(&k, account, mailbox);
	if (db_cursor_open(txn, &c, db_key_span(&k), err) < 0)
		return -1;
	rc = db_first(&c, err);
	if (rc == 1) {
		db_key_init(key);
		db_key_raw(key, c.key);
		if (vanished_decode(&c, v, err) < 0)
			rc = -1;
	}
	db_cursor_close(&c);
	return rc;
}

/* Forgets the oldest rows while there are more than max, or while they are too old. What is
 * forgotten raises the floor: clients that know less are told about every absent UID. */
static int vanished_trim(struct db_txn *txn, uint64_t account, struct mailbox_row *row,
    uint32_t max, uint64_t before, struct err *err)
{
	struct vanished_row v;
	struct db_key k;
	int rc;

	while ((rc = vanished_oldest(txn, account, row->mb.id, &k, &v, err)) == 1) {
		if (row->vanished_rows <= max && v.time >= before)
			return 0;
		if (db_del(txn, db_key_span(&k), err) < 0)
			return -1;
		row->vanished_floor = v.modseq;
		if (row->vanished_rows)
			row->vanished_rows--;
	}
	return rc;
}

int vanished_add(struct db_txn *txn, uint64_t account, struct mailbox_row *row,
    const struct uidset *gone, struct err *err)
{
	int64_t now = clock_now();
	uint64_t old = now > VANISHED_SECONDS ? (uint64_t)(now - VANISHED_SECONDS) : 0;
	unsigned char val[13];
	struct db_key k;

	if (gone->n > VANISHED_ROWS_MAX) {
		row->vanished_floor = row->mb.highestmodseq;
		if (vanished_clear(txn, account, row->mb.id, err) < 0)
			return -1;
		row->vanished_rows = 0;
		return 0;
	}
	if (vanished_trim(txn, account, row, (uint32_t)(VANISHED_ROWS_MAX - gone->n), old, err) < 0)
		return -1;
	val[0] = ROW_VERSION;
	be_put64(val + 5, now > 0 ? (uint64_t)now : 0);
	for (size_t i = 0; i < gone->n; i++) {
		vanished_prefix(&k, account, row->mb.id);
		db_key_u64(&k, row->mb.highestmodseq);
		db_key_u32(&k, gone->r[i].first);
		be_put32(val + 1, gone->r[i].last);
		if (db_put(txn, db_key_span(&k), span_make(val, sizeof(val)), err) < 0)
			return -1;
	}
	row->vanished_rows += (uint32_t)gone->n;
	return 0;
}

int vanished_clear(struct db_txn *txn, uint64_t account, uint64_t mailbox, struct err *err)
{
	struct vanished_row v;
	struct db_key k;
	int rc;

	while ((rc = vanished_oldest(txn, account, mailbox, &k, &v, err)) == 1)
		if (db_del(txn, db_key_span(&k), err) < 0)
			return -1;
	return rc;
}

int store_vanished(struct db_txn *txn, uint64_t account, uint64_t mailbox, uint64_t since,
    struct uidset *out, bool *is_complete, struct err *err)
{
	struct mailbox_row row;
	struct vanished_row v;
	struct db_cursor c;
	struct db_key k;
	int rc;

	uidset_reset(out);
	if (mailbox_row_open(txn, account, mailbox, &row, err) < 0)
		return -1;
	*is_complete = since >= row.vanished_floor;
	vanished_prefix(&k, account, mailbox);
	if (db_cursor_open(txn, &c, db_key_span(&k), err) < 0)
		return -1;
	db_key_u64(&k, since == UINT64_MAX ? since : since + 1);
	for (rc = db_seek(&c, db_key_span(&k), err); rc == 1; rc = db_next(&c, err)) {
		if (vanished_decode(&c, &v, err) < 0) {
			rc = -1;
			break;
		}
		uidset_add_range(out, v.first, v.last);
	}
	db_cursor_close(&c);
	uidset_sort(out);
	return rc;
}
