/* The audit trail: who changed what, from where, and what came of it. AUDIT_MAX rows are kept. */
#include "common/authd/call.h"

#include "common/base/mem.h"
#include "common/event/clock.h"

#define LIST_DEFAULT 100
#define LIST_MAX 1000
#define SLICE 100

void audit_put(struct change *c, uint64_t number, struct span who, struct span client,
    struct span words, struct span result)
{
	struct audit_row r = {
	    .time = (uint64_t)clock_now(),
	    .who = who,
	    .client = client,
	    .words = words,
	    .result = result,
	};
	struct strbuf row;
	struct db_key key;

	strbuf_init(&row, 4096);
	row_enc_audit(&row, &r);
	row_key_number(&key, ROW_AUDIT, number);
	change_put(c, &key, &row);
}

uint64_t audit_add(struct change *c, struct authd *a, struct span who, struct span client,
    struct span words, struct span result)
{
	uint64_t number = a->next_audit++;
	struct db_key key;

	audit_put(c, number, who, client, words, result);
	if (number > AUDIT_MAX) {
		row_key_number(&key, ROW_AUDIT, number - AUDIT_MAX);
		change_del(c, &key);
	}
	return number;
}

/* --- audit list: the newest, oldest of them first, a slice of rows at a time --------------------
 */
struct listing {
	struct db_job job;
	struct call *call;
	uint64_t from, to; /* numbers; to is not included */
	struct strbuf records[SLICE];
	size_t count;
};

static void add_record(struct listing *l, uint64_t number, struct span val)
{
	struct strbuf *b = &l->records[l->count];
	struct audit_row r;

	if (!row_dec_audit(val, &r))
		return;
	strbuf_init(b, 8192);
	ipc_rec_number(b, "number", IPC_NUMBER, number);
	ipc_rec_number(b, "time", IPC_TIME, r.time);
	ipc_rec_text(b, "who", r.who);
	ipc_rec_text(b, "client", r.client);
	ipc_rec_text(b, "command", r.words);
	ipc_rec_text(b, "result", r.result);
	l->count++;
}

/* Reader thread. */
static void run(struct db_job *job, struct db_txn *txn)
{
	struct listing *l = container_of(job, struct listing, job);

	for (l->count = 0; l->from < l->to && l->count < SLICE; l->from++) {
		struct db_key key;
		struct span val;

		row_key_number(&key, ROW_AUDIT, l->from);
		if (db_get(txn, db_key_span(&key), &val, NULL) == 0)
			add_record(l, l->from, val);
	}
}

static void done(struct db_job *job)
{
	struct listing *l = container_of(job, struct listing, job);
	struct call *call = l->call;

	for (size_t i = 0; i < l->count; i++)
		call_record(call, &l->records[i]);
	l->count = 0;
	if (job->err.code == ERR_NONE && l->from < l->to && !call->a->is_stopping) {
		db_read(call->a->readers, job);
		return;
	}
	if (job->err.code != ERR_NONE)
		call_fail_err(call, &job->err);
	else
		call_ok(call, "%s", "");
	mem_free(l);
}

void verb_audit_list(struct call *call)
{
	uint64_t count = LIST_DEFAULT;
	struct listing *l;

	if (call->arg_count > 0 && (!span_u64(call->args[0], LIST_MAX, &count) || count == 0)) {
		call_fail(call, ERR_INVALID, "COUNT is a number from 1 to %d", LIST_MAX);
		return;
	}
	l = mem_zalloc(sizeof(*l));
	l->call = call;
	l->to = call->a->next_audit;
	l->from = l->to > count ? l->to - count : 1;
	l->job.run = run;
	l->job.done = done;
	db_read(call->a->readers, &l->job);
}
