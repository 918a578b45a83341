/*
 * remove-account NUMBER queue|store: authd has decided that an account goes for good. Each step is
 * a small transaction, and there is a pause behind it that is as long as it took, so that whoever
 * else writes has its turn. The answer comes when all is gone or after some seconds, then with a
 * record that there is more: authd asks again. A cut at any place is gone on from with the next
 * question.
 */
#include "smtpd/local/local.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#define ROUND_MS 5000
#define PAUSE_MAX_MS 200

struct removal {
	struct db_op op;
	struct timer pause;
	struct local *local;
	struct admin_request rq;
	uint64_t account, rows;
	uint64_t began_ms, step_ms; /* the round, the last step */
	struct store_removal now;
};

static int removal_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct removal *k = container_of(op, struct removal, op);

	return store_account_remove(txn, k->account, &k->now, err);
}

static void removal_done(struct db_op *op);

static void removal_step(void *arg)
{
	struct removal *k = arg;

	k->step_ms = clock_mono_ms();
	store_write(k->local->store, &k->op);
}

static void removal_end(struct removal *k, const struct err *err)
{
	struct strbuf row;

	log_info("store-remove", LOG_U64("account", k->account), LOG_U64("rows", k->rows),
	    LOG_STR("done", k->now.is_done ? "yes" : "no"), LOG_ERR(err));
	if (err->code == ERR_NONE) {
		strbuf_init(&row, 256);
		ipc_rec_number(&row, "done", IPC_BOOL, k->now.is_done);
		admin_record(&k->rq, &row);
		strbuf_clear(&row);
	}
	admin_end(&k->rq, err->code, "%s", err->text);
	timer_clear(&k->pause);
	delivery_gone(k->local);
	mem_free(k);
}

static void removal_done(struct db_op *op)
{
	struct removal *k = container_of(op, struct removal, op);
	uint64_t now = clock_mono_ms(), took = now - k->step_ms;

	if (op->err.code == ERR_NONE)
		k->rows += k->now.rows;
	if (op->err.code != ERR_NONE || k->now.is_done || now - k->began_ms > ROUND_MS ||
	    k->local->role->is_draining)
		removal_end(k, &op->err);
	else
		timer_set(&k->pause, took < PAUSE_MAX_MS ? took : PAUSE_MAX_MS);
}

void removal_admin(struct local *l, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	struct removal *k;
	uint64_t account;

	if (cmd->count != 3 || !span_u64(cmd->words[1], UINT64_MAX, &account) || account == 0) {
		admin_end(rq, ERR_INVALID, "usage: remove-account NUMBER queue|store");
		return;
	}
	if (span_eq(cmd->words[2], SPAN("queue"))) {
		bulk_remove_account(l, account, rq);
		return;
	}
	k = mem_zalloc(sizeof(*k));
	k->local = l;
	k->rq = *rq;
	k->account = account;
	k->began_ms = clock_mono_ms();
	timer_init(&k->pause, l->role->loop, removal_step, k);
	k->op.run = removal_run;
	k->op.done = removal_done;
	k->op.cost = 2 * STORE_REMOVE_BYTES;
	k->op.need = DB_REMOVES;
	l->deliveries++; /* it holds on to the store as they do */
	removal_step(k);
}
