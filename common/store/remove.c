/*
 * Removing an account: its rows go a slice at a time, and so that a cut anywhere leaves what the
 * next slice goes on with. The first thing that is written is a mark that stays for ever: numbers
 * are never used again, and a session or a delivery that still knows the number finds no account.
 */
#include "common/event/clock.h"
#include "common/store/store_int.h"

int account_is_removed(struct db_txn *txn, uint64_t account, bool *is_removed, struct err *err)
{
	struct err why = ERR_INIT;
	struct db_key k;
	struct span val;

	store_key(&k, account, KIND_REMOVED);
	*is_removed = db_get(txn, db_key_span(&k), &val, &why) == 0;
	return *is_removed || why.code == ERR_NOT_FOUND ? 0
							: err_set(err, why.code, "%s", why.text);
}

static int mark(struct db_txn *txn, uint64_t account, struct err *err)
{
	unsigned char row[9] = {ROW_VERSION};
	struct err why = ERR_INIT;
	struct db_key k;
	bool is_removed;

	if (account_is_removed(txn, account, &is_removed, err) < 0)
		return -1;
	if (is_removed)
		return 0;
	be_put64(row + 1, (uint64_t)clock_now());
	store_key(&k, account, KIND_REMOVED);
	if (db_put(txn, db_key_span(&k), span_make(row, sizeof(row)), err) < 0)
		return -1;
	/* Without this row nothing in the account can be changed. */
	store_key(&k, account, KIND_ACCOUNT);
	if (db_del(txn, db_key_span(&k), &why) < 0 && why.code != ERR_NOT_FOUND)
		return err_set(err, why.code, "%s", why.text);
	store_note(txn, account, 0, 0);
	return 0;
}

/* The first row of the account that is not the mark: 1, 0, -1. */
static int next_row(
    struct db_txn *txn, uint64_t account, struct db_key *key, size_t *bytes, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	int rc;

	db_key_init(&k);
	db_key_u64(&k, account);
	if (db_cursor_open(txn, &c, db_key_span(&k), err) < 0)
		return -1;
	for (rc = db_first(&c, err); rc == 1; rc = db_next(&c, err))
		if (c.key.n < 9 || c.key.p[8] != KIND_REMOVED)
			break;
	if (rc == 1) {
		*bytes = c.val.n;
		db_key_init(key);
		db_key_raw(key, c.key);
	}
	db_cursor_close(&c);
	return rc;
}

/* A file's reference goes with its object. What of that is damaged goes all the same: a file that
 * is counted once too often is found by the check. */
static int unref(struct db_txn *txn, uint64_t account, struct span key, struct err *err)
{
	struct err why = ERR_INIT;
	struct object_row row;

	if (key.n != 18 || key.p[8] != KIND_OBJECT || key.p[17] != OBJECT_ROW)
		return 0;
	if (object_get(txn, account, be_get64(key.p + 9), &row, &why) == 0 && row.blob.is_file)
		(void)file_unref(txn, row.blob.id, clock_now(), &why);
	return why.code == ERR_NONE || why.code == ERR_CORRUPT || why.code == ERR_NOT_FOUND
		   ? 0
		   : err_set(err, why.code, "%s", why.text);
}

int store_account_remove(
    struct db_txn *txn, uint64_t account, struct store_removal *r, struct err *err)
{
	struct db_key k;
	size_t bytes = 0;
	int rc = 1;

	r->rows = r->bytes = 0;
	r->is_done = false;
	if (account == 0)
		return err_set(err, ERR_INVALID, "there is no account 0");
	if (mark(txn, account, err) < 0)
		return -1;
	while (r->rows < STORE_REMOVE_ROWS && r->bytes < STORE_REMOVE_BYTES) {
		rc = next_row(txn, account, &k, &bytes, err);
		if (rc != 1)
			break;
		if (unref(txn, account, db_key_span(&k), err) < 0 ||
		    db_del(txn, db_key_span(&k), err) < 0)
			return -1;
		r->rows++;
		r->bytes += bytes;
	}
	r->is_done = rc == 0;
	return rc < 0 ? -1 : 0;
}
