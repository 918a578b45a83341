/* Removes what nobody refers to any more, a slice at a time. */
#include "common/store/store_int.h"

#include <string.h>

/* Delivery records that are too old, from where the last slice ended. */
static int gc_delivered(struct db_txn *txn, struct store_gc *gc, size_t *budget, struct err *err)
{
	const uint64_t keep = (uint64_t)STORE_DELIVERED_DAYS * 86400;
	struct db_cursor c;
	struct db_key k;
	int rc = 0;

	if (gc->is_delivered_done)
		return 0;
	store_key(&k, 0, KIND_DELIVERED);
	if (db_cursor_open(txn, &c, db_key_span(&k), err) < 0)
		return -1;
	while (*budget && (rc = db_seek(&c, db_key_span(&gc->delivered), err)) == 1) {
		bool is_old = c.val.n != 9 || be_get64(c.val.p + 1) + keep < (uint64_t)gc->now;

		/* On from the first key behind this one. */
		db_key_init(&gc->delivered);
		db_key_raw(&gc->delivered, c.key);
		if (is_old && db_del(txn, db_key_span(&gc->delivered), err) < 0) {
			rc = -1;
			break;
		}
		db_key_u8(&gc->delivered, 0);
		(*budget)--;
	}
	db_cursor_close(&c);
	gc->is_delivered_done = rc == 0 && *budget;
	return rc < 0 ? -1 : 0;
}

/* Gives up the references of one row of expunged messages. */
static int gc_expunged_row(struct db_txn *txn, struct store_gc *gc, uint64_t account,
    const struct db_key *key, struct span val, struct err *err)
{
	struct store_message m[CHUNK_MAX];
	uint64_t bytes = 0;
	size_t n = 0;

	if (chunk_decode(val, m, CHUNK_MAX, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		bytes += m[i].size;
		if (object_unref(txn, account, m[i].object, gc->now, err) < 0)
			return -1;
	}
	if (kept_release(txn, account, bytes, n, err) < 0)
		return -1;
	gc->freed += n;
	return db_del(txn, db_key_span(key), err);
}

/* 1: one row of the account is done, 0: it has none that is old enough, -1. */
static int gc_expunged_one(
    struct db_txn *txn, struct store_gc *gc, uint64_t account, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	uint64_t time;
	int rc;

	store_key(&k, account, KIND_EXPUNGED);
	if (db_cursor_open(txn, &c, db_key_span(&k), err) < 0)
		return -1;
	rc = db_first(&c, err);
	if (rc == 1 && c.key.n != 8 + 1 + 8 + 8 + 4)
		rc = store_corrupt(err, account, "a row of expunged messages");
	if (rc == 1) {
		time = be_get64(c.key.p + 9);
		db_key_init(&k);
		db_key_raw(&k, c.key);
		if (gc->now < 0 || time + gc->expunged_seconds > (uint64_t)gc->now)
			rc = 0;
		else if (gc_expunged_row(txn, gc, account, &k, c.val, err) < 0)
			rc = -1;
	}
	db_cursor_close(&c);
	return rc;
}

/* The same for what is kept of a deleted mailbox. */
static int gc_deleted_one(
    struct db_txn *txn, struct store_gc *gc, uint64_t account, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	int rc;

	store_key(&k, account, KIND_DELETED);
	if (db_cursor_open(txn, &c, db_key_span(&k), err) < 0)
		return -1;
	rc = db_first(&c, err);
	if (rc == 1 && c.key.n != 8 + 1 + 8 + 8)
		rc = store_corrupt(err, account, "a row of a deleted mailbox");
	if (rc == 1) {
		db_key_init(&k);
		db_key_raw(&k, c.key);
		if (gc->now < 0 || be_get64(c.key.p + 9) + gc->expunged_seconds > (uint64_t)gc->now)
			rc = 0;
		else if (db_del(txn, db_key_span(&k), err) < 0)
			rc = -1;
	}
	db_cursor_close(&c);
	return rc;
}

/* The first account >= *account: 1, 0, -1. */
static int gc_next_account(struct db_txn *txn, uint64_t *account, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	int rc;

	db_key_init(&k);
	if (db_cursor_open(txn, &c, SPAN(""), err) < 0)
		return -1;
	db_key_u64(&k, *account);
	rc = db_seek(&c, db_key_span(&k), err);
	if (rc == 1 && c.key.n < 9)
		rc = store_corrupt(err, *account, "a key");
	if (rc == 1)
		*account = be_get64(c.key.p);
	db_cursor_close(&c);
	return rc;
}

/* 1: out of budget inside of this account, 0: it has nothing old left, -1. */
static int gc_account(struct db_txn *txn, struct store_gc *gc, size_t *budget, struct err *err)
{
	bool is_removed;
	int rc = 1;

	if (account_is_removed(txn, gc->account, &is_removed, err) < 0)
		return -1;
	if (is_removed)
		return 0; /* all of it goes, another way */
	while (rc == 1 && *budget && (rc = gc_expunged_one(txn, gc, gc->account, err)) == 1)
		*budget -= *budget < CHUNK_MAX ? *budget : CHUNK_MAX;
	if (rc != 0)
		return rc;
	rc = 1;
	while (rc == 1 && *budget && (rc = gc_deleted_one(txn, gc, gc->account, err)) == 1)
		(*budget)--;
	return rc;
}

static int gc_accounts(struct db_txn *txn, struct store_gc *gc, size_t *budget, struct err *err)
{
	int rc = 1;

	if (gc->account == 0)
		gc->account = 1;
	while (*budget && rc == 1) {
		(*budget)--;
		rc = gc_next_account(txn, &gc->account, err);
		if (rc == 1)
			rc = gc_account(txn, gc, budget, err);
		if (rc != 0)
			return rc < 0 ? -1 : 0;
		if (gc_next_account(txn, &gc->account, err) != 1) {
			gc->is_done = true;
			return 0;
		}
		gc->account++;
		rc = 1;
	}
	return 0;
}

/* Marks files that have been without a reference for long enough, and hands them out. */
static int gc_files(struct db_txn *txn, struct store_gc *gc, struct err *err)
{
	unsigned char(*found)[BLOB_ID_LEN] = gc->files;
	struct file_row f;
	struct db_cursor c;
	struct db_key k;
	bool is_there;
	int rc;

	store_key(&k, 0, KIND_GC);
	if (db_cursor_open(txn, &c, db_key_span(&k), err) < 0)
		return -1;
	for (rc = db_first(&c, err); rc == 1; rc = db_next(&c, err)) {
		if (c.key.n != 9 + 8 + BLOB_ID_LEN) {
			rc = store_corrupt(err, 0, "a row of files to remove");
			break;
		}
		if (gc->now < 0 || be_get64(c.key.p + 9) + gc->file_seconds > (uint64_t)gc->now ||
		    gc->file_count == STORE_GC_FILES)
			break;
		memcpy(found[gc->file_count++], c.key.p + 17, BLOB_ID_LEN);
	}
	db_cursor_close(&c);
	if (rc < 0)
		return -1;
	for (size_t i = 0; i < gc->file_count; i++) {
		if (file_get(txn, found[i], &f, &is_there, err) < 0)
			return -1;
		if (!is_there || f.refs)
			return store_corrupt(err, 0, "the count of a file");
		if (f.is_dying)
			continue; /* a process ended between the two steps */
		f.is_dying = true;
		if (file_put(txn, found[i], &f, err) < 0)
			return -1;
	}
	return 0;
}

int store_gc(struct db_txn *txn, struct store_gc *gc, struct err *err)
{
	size_t budget = gc->budget;

	gc->freed = 0;
	gc->file_count = 0;
	gc->is_done = false;
	if (gc_delivered(txn, gc, &budget, err) < 0 || gc_accounts(txn, gc, &budget, err) < 0)
		return -1;
	return gc_files(txn, gc, err);
}

int store_gc_forget(
    struct db_txn *txn, const unsigned char (*files)[BLOB_ID_LEN], size_t count, struct err *err)
{
	struct file_row f;
	struct db_key k;
	bool is_there;

	for (size_t i = 0; i < count; i++) {
		if (file_get(txn, files[i], &f, &is_there, err) < 0)
			return -1;
		/* Another daemon may have been faster. */
		if (!is_there || !f.is_dying)
			continue;
		gc_key(&k, f.gc_time, files[i]);
		if (db_del(txn, db_key_span(&k), err) < 0)
			return -1;
		file_key(&k, files[i]);
		if (db_del(txn, db_key_span(&k), err) < 0)
			return -1;
	}
	return 0;
}
