/* Which destinations are to be looked at, and when. */
#include "smtpd/send/send.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <string.h>

#define TICK_MS 500

struct look {
	struct send *send;
	struct db_txn *txn;
};

static bool collect(void *arg, struct span dest)
{
	const struct look *look = arg;
	struct send *s = look->send;
	char *name = s->found[s->found_count];

	if (dest.n > QUEUE_DEST_MAX || queue_is_paused(look->txn, dest))
		return true;
	memcpy(name, dest.p, dest.n);
	name[dest.n] = '\0';
	s->found_count++;
	return s->found_count < SCAN_MAX;
}

static void scan_run(struct db_job *job, struct db_txn *txn)
{
	struct send *s = container_of(job, struct send, scan);

	struct look look = {s, txn};

	s->found_count = 0;
	s->next_look = 0;
	s->is_paused = queue_is_paused(txn, span_make("", 0));
	if (!s->is_paused)
		queue_each_dest(txn, clock_now(), collect, &look, &s->next_look, &job->err);
}

static void scan_done(struct db_job *job)
{
	struct send *s = container_of(job, struct send, scan);

	s->is_scanning = false;
	if (job->err.code != ERR_NONE)
		log_error("queue-scan", LOG_ERR(&job->err));
	for (size_t i = 0; i < s->found_count && !s->role->is_draining; i++)
		dest_look(dest_get(s, s->found[i]));
	/* A full scan found them all busy, or each one's claim moves it away: then look again. */
	if (s->found_count == SCAN_MAX)
		s->scan_again = true;
	send_check_drained(s);
}

void sched_scan(struct send *s)
{
	if (s->role->is_draining || !s->keys)
		return;
	if (s->is_scanning) {
		s->scan_again = true;
		return;
	}
	s->is_scanning = true;
	s->scan_again = false;
	s->scan.err = (struct err)ERR_INIT;
	s->scan.run = scan_run;
	s->scan.done = scan_done;
	queue_read(s->queue, &s->scan);
}

/* Covers a lost hint (the last transaction moved) and what has become due. */
static void on_tick(void *arg)
{
	struct send *s = arg;
	uint64_t txn = db_env_last_txn(queue_env(s->queue));

	timer_set(&s->tick, TICK_MS);
	if (txn != s->last_txn || s->scan_again ||
	    (s->next_look != 0 && s->next_look <= clock_now())) {
		sched_scan(s);
		bouncer_look(s->bouncer);
	}
	s->last_txn = txn;
}

void sched_init(struct send *s)
{
	s->found = mem_array(SCAN_MAX, sizeof(*s->found));
	timer_init(&s->tick, s->role->loop, on_tick, s);
	timer_set(&s->tick, TICK_MS);
	sched_scan(s);
}

void sched_stop(struct send *s)
{
	if (s->tick.loop)
		timer_clear(&s->tick);
	mem_free(s->found);
}
