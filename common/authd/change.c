/* A change of rows: one transaction, then memory. */
#include "common/authd/authd.h"

#include "common/base/mem.h"

struct change_row {
	struct span key, row; /* owned; row.p NULL: deleted */
	bool is_update;       /* put only where there is one */
};

struct change {
	struct db_op op;
	struct authd *a;
	struct change_row *rows;
	size_t n, cap;
	bool is_applied;
	void (*done)(void *arg, const struct err *err);
	void *arg;
};

struct change *change_new(struct authd *a)
{
	struct change *c = mem_zalloc(sizeof(*c));

	c->a = a;
	return c;
}

static struct change_row *add_row(struct change *c, const struct db_key *key)
{
	struct span k = db_key_span(key);
	struct change_row *r;

	if (key->failed)
		fatal("a key of the auth environment is too long");
	if (c->n == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 8;
		c->rows = mem_grow(c->rows, c->cap, sizeof(*c->rows));
	}
	r = &c->rows[c->n++];
	*r = (struct change_row){.key = span_make(mem_dup(k.p, k.n), k.n)};
	return r;
}

void change_put(struct change *c, const struct db_key *key, struct strbuf *row)
{
	struct change_row *r = add_row(c, key);
	size_t n;

	if (row->failed)
		fatal("a row of the auth environment is too long");
	r->row.p = strbuf_steal(row, &n);
	r->row.n = n;
}

void change_update(struct change *c, const struct db_key *key, struct strbuf *row)
{
	change_put(c, key, row);
	c->rows[c->n - 1].is_update = true;
}

void change_del(struct change *c, const struct db_key *key)
{
	add_row(c, key);
}

void change_free(struct change *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++) {
		mem_free((void *)(uintptr_t)c->rows[i].key.p);
		/* A row may hold a hash. */
		mem_free_secret((void *)(uintptr_t)c->rows[i].row.p, c->rows[i].row.n);
	}
	mem_free(c->rows);
	mem_free(c);
}

static int run_row(struct db_txn *txn, const struct change_row *r, struct err *err)
{
	struct err why = ERR_INIT;
	struct span old;
	int rc = 0;

	if (r->is_update)
		rc = db_get(txn, r->key, &old, &why);
	if (rc == 0)
		rc = r->row.p ? db_put(txn, r->key, r->row, &why) : db_del(txn, r->key, &why);
	if (rc == 0 || why.code == ERR_NOT_FOUND)
		return 0;
	*err = why;
	return -1;
}

static int run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct change *c = container_of(op, struct change, op);

	for (size_t i = 0; i < c->n; i++)
		if (run_row(txn, &c->rows[i], err) < 0)
			return -1;
	return 0;
}

static void apply(struct change *c)
{
	struct err err = ERR_INIT;

	for (size_t i = 0; i < c->n && !c->is_applied; i++)
		if (state_apply(c->a, c->rows[i].key, c->rows[i].row, &err) < 0)
			role_fail(c->a->role, &err); /* memory and disk differ: start again */
	c->is_applied = true;
}

static void on_done(struct db_op *op)
{
	struct change *c = container_of(op, struct change, op);
	struct err err = op->err;

	if (err.code == ERR_NONE)
		apply(c);
	if (c->done)
		c->done(c->arg, &err);
	change_free(c);
}

void change_commit(struct change *c, void (*done)(void *arg, const struct err *err), void *arg)
{
	c->op.run = run;
	c->op.done = on_done;
	c->done = done;
	c->arg = arg;
	db_write(c->a->writer, &c->op);
}

void change_commit_lazy(struct change *c)
{
	c->op.run = run;
	c->op.done = on_done;
	apply(c);
	db_write_lazy(c->a->writer, &c->op);
}
