/* COPY and MOVE inside an account: one transaction, bodies are shared by reference. */
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/store/store_int.h"

/* A copy while it runs. src and dst are the same row if both mailboxes are the same. */
struct copy_op {
	struct db_txn *txn;
	uint64_t account;
	bool is_move;
	struct account_row a;
	struct mailbox_row rows[2];
	struct mailbox_row *src, *dst;
	struct store_message *m; /* what is copied */
	size_t n, cap;
	uint64_t bytes;
	struct store_copied *res;
};

static void copy_collect_chunk(struct copy_op *op, struct chunk_walk *w, size_t *keep)
{
	struct chunk *c = &w->c;

	*keep = 0;
	if (op->cap - op->n < c->n) {
		op->cap += op->cap / 2 + CHUNK_MAX;
		op->m = mem_grow(op->m, op->cap, sizeof(*op->m));
	}
	for (size_t i = 0; i < c->n; i++) {
		if (!chunk_walk_has(w, c->m[i].uid)) {
			c->m[(*keep)++] = c->m[i];
			continue;
		}
		op->bytes += c->m[i].size;
		op->m[op->n++] = c->m[i];
	}
}

/* Collects what is meant; a move takes it out of the source at once. */
static int copy_collect(
    struct copy_op *op, uint64_t mailbox, const struct uidset *uids, struct err *err)
{
	struct chunk_walk w;
	size_t keep;
	int rc;

	chunk_walk_init(&w, op->txn, op->account, mailbox, uids);
	while ((rc = chunk_walk_next(&w, err)) == 1) {
		copy_collect_chunk(op, &w, &keep);
		if (keep == w.c.n || !op->is_move)
			continue;
		w.c.n = keep;
		if (chunk_put_thinned(op->txn, &w.c, err) < 0)
			return -1;
	}
	return rc;
}

/* The target's bits for the source's keywords; one that finds no room there is dropped. */
static uint64_t copy_keywords(struct copy_op *op, uint64_t bits)
{
	uint64_t out = 0;

	if (op->src == op->dst)
		return bits;
	for (size_t i = 0; i < op->src->keyword_count; i++) {
		struct span name = span_of(op->src->keywords[i]);
		uint64_t bit = 0;

		if ((bits >> i & 1) &&
		    mailbox_row_keywords(op->dst, &name, 1, true, &bit, NULL) == 0)
			out |= bit;
	}
	return out;
}

static int copy_add(struct copy_op *op, struct chunk_appender *app,
    const struct store_message *from, struct err *err)
{
	struct store_message m = *from;

	m.uid = op->dst->mb.uidnext++;
	m.modseq = op->a.modseq;
	m.savedate = clock_now();
	if (m.keywords)
		m.keywords = copy_keywords(op, m.keywords);
	if (op->is_move)
		mailbox_row_count(op->src, from, -1);
	else if (object_ref(op->txn, op->account, m.object, err) < 0)
		return -1;
	mailbox_row_count(op->dst, &m, 1);
	if (!uidset_add(&op->res->from, from->uid) || !uidset_add(&op->res->to, m.uid))
		return err_set(err, ERR_LIMIT, "too many messages at once");
	return chunk_appender_add(app, &m, err);
}

static int copy_finish(struct copy_op *op, struct err *err)
{
	op->dst->mb.highestmodseq = op->a.modseq;
	if (op->is_move) {
		op->src->mb.highestmodseq = op->a.modseq;
		if (vanished_add(op->txn, op->account, op->src, &op->res->from, err) < 0)
			return -1;
	} else {
		op->a.bytes += op->bytes;
		op->a.messages += op->n;
	}
	if (mailbox_row_put(op->txn, op->account, op->dst, err) < 0 ||
	    account_put(op->txn, op->account, &op->a, err) < 0)
		return -1;
	if (op->is_move && op->src != op->dst) {
		if (mailbox_row_put(op->txn, op->account, op->src, err) < 0)
			return -1;
		store_note(op->txn, op->account, op->src->mb.id, op->a.modseq);
	}
	store_note(op->txn, op->account, op->dst->mb.id, op->a.modseq);
	return 0;
}

static int copy_run(struct copy_op *op, uint64_t mailbox, const struct uidset *uids,
    const struct store_limits *limits, struct err *err)
{
	struct chunk_appender app;

	if (copy_collect(op, mailbox, uids, err) < 0)
		return -1;
	if (op->n == 0)
		return 0;
	if (!op->is_move && account_check_quota(&op->a, limits, op->bytes, op->n, err) < 0)
		return -1;
	if (op->n >= UINT32_MAX - op->dst->mb.uidnext || op->n >= UINT32_MAX - op->dst->mb.messages)
		return err_set(err, ERR_LIMIT, "mailbox \"%s\" has no UIDs left", op->dst->mb.name);
	op->a.modseq++;
	if (chunk_appender_open(&app, op->txn, op->account, op->dst->mb.id, err) < 0)
		return -1;
	for (size_t i = 0; i < op->n; i++)
		if (copy_add(op, &app, &op->m[i], err) < 0)
			return -1;
	if (chunk_appender_flush(&app, err) < 0)
		return -1;
	return copy_finish(op, err);
}

int store_copy(struct db_txn *txn, uint64_t account, uint64_t mailbox, const struct uidset *uids,
    uint64_t target, bool is_move, const struct store_limits *limits, struct store_copied *res,
    struct err *err)
{
	struct copy_op op = {.txn = txn, .account = account, .is_move = is_move, .res = res};
	int rc;

	uidset_reset(&res->from);
	uidset_reset(&res->to);
	op.src = &op.rows[0];
	op.dst = target == mailbox ? op.src : &op.rows[1];
	if (account_get(txn, account, &op.a, err) < 0 ||
	    mailbox_row_open(txn, account, mailbox, op.src, err) < 0)
		return -1;
	if (op.dst != op.src && mailbox_row_open(txn, account, target, op.dst, err) < 0)
		return -1;
	res->uidvalidity = op.dst->mb.uidvalidity;
	rc = copy_run(&op, mailbox, uids, limits, err);
	mem_free(op.m);
	return rc;
}
