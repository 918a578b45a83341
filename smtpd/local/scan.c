#include "smtpd/local/local.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#define TICK_MS 1000

static bool collect(void *arg, uint64_t qid, uint32_t n)
{
	struct local *l = arg;

	l->due[l->due_count++] = (struct due){qid, n};
	return l->due_count < SCAN_MAX;
}

static void scan_run(struct db_job *job, struct db_txn *txn)
{
	struct local *l = container_of(job, struct local, scan);

	l->due_count = l->due_next = 0;
	queue_each_due(txn, clock_now(), collect, l, &l->next_due, &job->err);
}

static bool is_busy(const struct local *l, uint64_t qid)
{
	return hash_get(l->busy, span_make(&qid, sizeof(qid))) != NULL;
}

static void scan_done(struct db_job *job)
{
	struct local *l = container_of(job, struct local, scan);

	l->is_scanning = false;
	if (job->err.code != ERR_NONE)
		log_error("queue-scan", LOG_ERR(&job->err));
	l->scan_again |= l->due_count == SCAN_MAX;
	scan_more(l);
	if (l->role->is_draining && l->deliveries == 0)
		role_finished(l->role);
}

void scan_more(struct local *l)
{
	if (l->role->is_draining || l->is_scanning || l->is_stuck)
		return;
	for (; l->due_next < l->due_count && l->deliveries < DELIVERIES_MAX; l->due_next++) {
		if (is_busy(l, l->due[l->due_next].qid))
			continue;
		l->has_started = true;
		delivery_start(l, l->due[l->due_next].qid);
	}
	/* All of them settled and not yet written: the tick looks again. */
	if (l->has_started && l->scan_again && l->due_next == l->due_count &&
	    l->deliveries < DELIVERIES_MAX / 2)
		scan_start(l);
}

void scan_start(struct local *l)
{
	if (l->role->is_draining)
		return;
	if (l->is_scanning || l->is_stuck || l->due_next < l->due_count ||
	    l->deliveries >= DELIVERIES_MAX) {
		l->scan_again = true;
		return;
	}
	l->is_scanning = true;
	l->has_started = false;
	l->scan_again = false;
	l->scan.err = (struct err)ERR_INIT;
	l->scan.run = scan_run;
	l->scan.done = scan_done;
	queue_read(l->queue, &l->scan);
}

void scan_hint(struct local *l, uint64_t qid)
{
	if (l->role->is_draining || (qid != 0 && is_busy(l, qid)))
		return;
	if (l->is_stuck || l->is_scanning || l->due_next < l->due_count ||
	    l->deliveries >= DELIVERIES_MAX)
		l->scan_again = l->has_started = true; /* something new is there */
	else if (qid == 0)
		scan_start(l);
	else
		delivery_start(l, qid);
}

/* Covers a lost hint (the last transaction moved) and what has become due. */
static void on_tick(void *arg)
{
	struct local *l = arg;
	uint64_t txn = db_env_last_txn(queue_env(l->queue));

	if (txn != l->last_txn || l->scan_again || (l->next_due && l->next_due <= clock_now()))
		scan_start(l);
	l->last_txn = txn;
	timer_set(&l->tick, TICK_MS);
}

void scan_init(struct local *l)
{
	timer_init(&l->tick, l->role->loop, on_tick, l);
	timer_set(&l->tick, TICK_MS);
	scan_start(l);
}

void scan_stop(struct local *l)
{
	timer_clear(&l->tick);
}
