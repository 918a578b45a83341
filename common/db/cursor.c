#include "common/db/db_int.h"

#include <string.h>

int db_cursor_open(struct db_txn *txn, struct db_cursor *c, struct span prefix, struct err *err)
{
	MDB_cursor *mc;
	int rc;

	*c = (struct db_cursor){.txn = txn};
	if (prefix.n > sizeof(c->prefix))
		return err_set(err, ERR_INVALID, "a key prefix of %zu bytes", prefix.n);
	if (prefix.n)
		memcpy(c->prefix, prefix.p, prefix.n);
	c->prefix_n = prefix.n;
	rc = mdb_cursor_open(txn->mdb, txn->env->dbi, &mc);
	if (rc != 0)
		return db_err_rc(err, rc, "opening a cursor");
	c->mc = mc;
	return 0;
}

void db_cursor_close(struct db_cursor *c)
{
	if (c->mc)
		mdb_cursor_close(c->mc);
	c->mc = NULL;
}

/* Moves; 1 and the row if there is one with the prefix, 0 if not. */
static int cursor_get(
    struct db_cursor *c, MDB_cursor_op op, const struct span *key, struct err *err)
{
	MDB_val k = {0}, v = {0};
	int rc;

	if (key)
		k = (MDB_val){.mv_size = key->n, .mv_data = (void *)(uintptr_t)key->p};
	rc = mdb_cursor_get(c->mc, &k, &v, op);
	c->key = c->val = (struct span){NULL, 0};
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc != 0) {
		if (c->txn->rc == 0)
			c->txn->rc = rc;
		return db_err_rc(err, rc, "reading rows");
	}
	if (k.mv_size < c->prefix_n || memcmp(k.mv_data, c->prefix, c->prefix_n) != 0)
		return 0;
	c->key = span_make(k.mv_data, k.mv_size);
	c->val = span_make(v.mv_data, v.mv_size);
	return 1;
}

/* To the row before the first key >= key; to the very last one if there is none. */
static int cursor_before(struct db_cursor *c, struct span key, struct err *err)
{
	MDB_val k = {.mv_size = key.n, .mv_data = (void *)(uintptr_t)key.p}, v;
	int rc = mdb_cursor_get(c->mc, &k, &v, MDB_SET_RANGE);

	if (rc == 0)
		return cursor_get(c, MDB_PREV, NULL, err);
	if (rc == MDB_NOTFOUND)
		return cursor_get(c, MDB_LAST, NULL, err);
	return cursor_get(c, MDB_SET_RANGE, &key, err);
}

int db_first(struct db_cursor *c, struct err *err)
{
	struct span prefix = {c->prefix, c->prefix_n};

	return prefix.n ? cursor_get(c, MDB_SET_RANGE, &prefix, err)
			: cursor_get(c, MDB_FIRST, NULL, err);
}

int db_last(struct db_cursor *c, struct err *err)
{
	unsigned char after[sizeof(c->prefix)];
	size_t n = c->prefix_n;

	/* The first key behind all that have the prefix: its last byte that can be raised, raised.
	 */
	memcpy(after, c->prefix, n);
	while (n > 0 && after[n - 1] == 0xff)
		n--;
	if (n == 0)
		return cursor_get(c, MDB_LAST, NULL, err);
	after[n - 1]++;
	return cursor_before(c, span_make(after, n), err);
}

int db_seek(struct db_cursor *c, struct span key, struct err *err)
{
	struct span prefix = {c->prefix, c->prefix_n};

	int rc;

	if (span_cmp(key, prefix) < 0)
		return db_first(c, err);
	rc = cursor_get(c, MDB_SET_RANGE, &key, err);
	/* In a damaged tree a key may come that stands before the one asked for: whoever goes on
	 * from key to key would do so for ever. */
	if (rc == 1 && span_cmp(c->key, key) < 0)
		rc = err_set(err, ERR_CORRUPT, "rows are out of order");
	return rc;
}

int db_seek_back(struct db_cursor *c, struct span key, struct err *err)
{
	MDB_val k = {.mv_size = key.n, .mv_data = (void *)(uintptr_t)key.p}, v;

	int rc;

	if (key.n && mdb_cursor_get(c->mc, &k, &v, MDB_SET_KEY) == 0)
		return cursor_get(c, MDB_GET_CURRENT, NULL, err);
	rc = cursor_before(c, key, err);
	if (rc == 1 && span_cmp(c->key, key) > 0)
		rc = err_set(err, ERR_CORRUPT, "rows are out of order");
	return rc;
}

int db_next(struct db_cursor *c, struct err *err)
{
	return cursor_get(c, MDB_NEXT, NULL, err);
}

int db_prev(struct db_cursor *c, struct err *err)
{
	return cursor_get(c, MDB_PREV, NULL, err);
}
