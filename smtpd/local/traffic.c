/* traffic [HOURS]: what happened in each hour, counted from the trace: nothing else is kept. */
#include "smtpd/local/local.h"

#include "common/base/mem.h"
#include "common/event/clock.h"

#define HOUR 3600
#define HOURS_DEFAULT 48
#define HOURS_MAX 336
#define SLICE 2000 /* records looked at in one read transaction */

struct hour {
	uint64_t accepted, bytes, refused, delivered, sent, failed;
};

struct traffic {
	struct db_job job;
	struct local *local;
	struct admin_request rq;
	int64_t first; /* beginning of the first hour */
	uint64_t count, next;
	struct hour hours[HOURS_MAX];
};

static bool take(void *arg, const struct trace_record *r)
{
	struct traffic *t = arg;
	struct hour *h;
	uint64_t at;

	/* Clocks are set back now and then: what lies in the future belongs to the last hour. */
	if (r->time < t->first)
		return false;
	at = (uint64_t)(r->time - t->first) / HOUR;
	h = &t->hours[at < t->count ? at : t->count - 1];
	h->accepted += r->event == TRACE_ACCEPTED;
	h->bytes += r->event == TRACE_ACCEPTED ? r->size : 0;
	h->refused += r->event == TRACE_REFUSED;
	h->delivered += r->event == TRACE_DELIVERED;
	h->sent += r->event == TRACE_SENT;
	h->failed += r->event == TRACE_FAILED;
	return true;
}

static void traffic_run(struct db_job *job, struct db_txn *txn)
{
	struct traffic *t = container_of(job, struct traffic, job);

	trace_back(txn, t->next, SLICE, take, t, &t->next, &job->err);
}

static void add_hour(const struct traffic *t, uint64_t i)
{
	const struct hour *h = &t->hours[i];
	struct strbuf row;

	strbuf_init(&row, 1024);
	ipc_rec_number(&row, "time", IPC_TIME, (uint64_t)t->first + i * HOUR);
	ipc_rec_number(&row, "accepted", IPC_NUMBER, h->accepted);
	ipc_rec_number(&row, "bytes", IPC_BYTES, h->bytes);
	ipc_rec_number(&row, "refused", IPC_NUMBER, h->refused);
	ipc_rec_number(&row, "delivered", IPC_NUMBER, h->delivered);
	ipc_rec_number(&row, "sent", IPC_NUMBER, h->sent);
	ipc_rec_number(&row, "failed", IPC_NUMBER, h->failed);
	admin_record(&t->rq, &row);
	strbuf_clear(&row);
}

static void traffic_done(struct db_job *job)
{
	struct traffic *t = container_of(job, struct traffic, job);

	if (job->err.code == ERR_NONE && t->next != 0) {
		queue_read(t->local->queue, &t->job);
		return;
	}
	for (uint64_t i = 0; job->err.code == ERR_NONE && i < t->count; i++)
		add_hour(t, i);
	admin_end(&t->rq, job->err.code, "%s", job->err.text);
	mem_free(t);
}

void traffic_admin(struct local *l, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	uint64_t hours = HOURS_DEFAULT;
	int64_t now = clock_now();
	struct traffic *t;

	if (cmd->count > 2 ||
	    (cmd->count == 2 && (!span_u64(cmd->words[1], HOURS_MAX, &hours) || hours == 0))) {
		admin_end(rq, ERR_INVALID, "usage: traffic [HOURS], at most %d", HOURS_MAX);
		return;
	}
	t = mem_zalloc(sizeof(*t));
	t->local = l;
	t->rq = *rq;
	t->count = hours;
	t->first = now - now % HOUR - (int64_t)(hours - 1) * HOUR;
	t->job.run = traffic_run;
	t->job.done = traffic_done;
	queue_read(l->queue, &t->job);
}
