/* Rows that were salvaged, into a new environment. */
#include "common/db/salvage.h"

#include "common/db/db.h"

#define BATCH_ROWS 5000
#define BATCH_BYTES ((size_t)16 << 20)

struct recovery {
	struct db_recover *r;
	struct db_txn *txn;
	size_t rows, bytes; /* in the transaction */
};

static int commit(struct recovery *c, struct err *err)
{
	struct db_txn *txn = c->txn;

	c->txn = NULL;
	c->rows = c->bytes = 0;
	return txn ? db_commit(txn, err) : 0;
}

static int take(void *arg, struct span key, struct span val, enum db_trust trust, struct err *err)
{
	struct recovery *c = arg;
	struct err why = ERR_INIT;

	if (!c->r->is_taken(key, val, trust)) {
		c->r->refused += trust != DB_GUESS;
		return 0;
	}
	if (!c->txn && db_write_begin(c->r->to, &c->txn, err) < 0)
		return -1;
	/* The first with a key is the better one. */
	if (db_add(c->txn, key, val, &why) < 0)
		return why.code == ERR_EXISTS ? 0 : err_set(err, why.code, "%s", why.text);
	c->bytes += key.n + val.n;
	if (++c->rows < BATCH_ROWS && c->bytes < BATCH_BYTES)
		return 0;
	return commit(c, err);
}

int db_recover(int fd, struct db_recover *r, struct err *err)
{
	struct recovery c = {.r = r};
	int rc;

	r->seen = (struct db_salvage){.row = take, .lost = r->lost, .lost_arg = r->arg, .arg = &c};
	rc = db_salvage(fd, &r->seen, err);
	if (rc == 0)
		rc = commit(&c, err);
	db_abort(c.txn);
	return rc;
}

bool db_recover_is_damaged(const struct db_recover *r)
{
	const struct db_salvage *s = &r->seen;

	return s->bad_pages + s->bad_rows + r->refused > 0 || s->is_short || s->has_no_root;
}
