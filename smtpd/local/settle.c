/* Results go to the queue in batches: a message that was delivered costs no flush of its own here,
 * and a crash in between replays it as a no-op, because the store remembers the delivery. */
#include "smtpd/local/local.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

struct settle {
	struct db_op op;
	struct local *local;
	struct list outcomes;
	struct blob *files; /* of entries that went: unlinked after the commit */
	size_t file_count, count;
	struct work unlink;
};

static void outcome_free(struct outcome *o)
{
	mem_free(o->address);
	mem_free(o->reply);
	mem_free(o);
}

static int settle_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct settle *s = container_of(op, struct settle, op);

	s->file_count = 0;
	LIST_EACH (it, &s->outcomes) {
		struct outcome *o = container_of(it, struct outcome, link);
		struct blob *file = &s->files[s->file_count];

		if (!o->is_delivered) {
			if (queue_rcpt_update(txn, &o->row, err) < 0)
				return -1;
			continue;
		}
		if (queue_rcpt_remove(txn, o->qid, o->row.n, file, err) < 0)
			return -1;
		if (file->is_file)
			s->file_count++;
	}
	return 0;
}

static void settle_free(struct settle *s)
{
	struct local *l = s->local;

	for (struct list *it; (it = list_take_first(&s->outcomes));) {
		struct outcome *o = container_of(it, struct outcome, link);

		hash_remove(l->busy, span_make(&o->qid, sizeof(o->qid)));
		outcome_free(o);
	}
	mem_free(s->files);
	mem_free(s);
	l->settling--;
}

static void unlink_run(struct work *w)
{
	struct settle *s = container_of(w, struct settle, unlink);
	struct err err = ERR_INIT;

	for (size_t i = 0; i < s->file_count; i++)
		if (blob_unlink(queue_blobs(s->local->queue), s->files[i].id, &err) < 0)
			log_warning("queue-unlink", LOG_ERR(&err));
}

static void unlink_done(struct work *w)
{
	settle_free(container_of(w, struct settle, unlink));
}

static void settle_done(struct db_op *op)
{
	struct settle *s = container_of(op, struct settle, op);

	if (op->err.code != ERR_NONE) {
		/* The rows stay as they were: what was delivered is found again and known. */
		log_error("queue-settle", LOG_ERR(&op->err));
		settle_free(s);
		return;
	}
	if (s->file_count == 0) {
		settle_free(s);
		return;
	}
	s->unlink.run = unlink_run;
	s->unlink.done = unlink_done;
	workers_submit(queue_workers(s->local->queue), &s->unlink);
}

static void settle_write(void *arg)
{
	struct local *l = arg;
	struct settle *s;

	timer_stop(&l->settle_timer);
	if (l->settled_count == 0)
		return;
	s = mem_zalloc(sizeof(*s));
	s->local = l;
	list_init(&s->outcomes);
	list_splice(&s->outcomes, &l->settled);
	s->count = l->settled_count;
	s->files = mem_array(s->count + 1, sizeof(*s->files));
	l->settled_count = 0;
	l->settling++;
	s->op.run = settle_run;
	s->op.done = settle_done;
	s->op.cost = s->count * 4096;
	queue_write(l->queue, &s->op);
}

void settle_add(struct local *l, uint64_t qid, const struct rcpt *r, bool is_delivered)
{
	struct outcome *o = mem_zalloc(sizeof(*o));
	int64_t now = clock_now();

	o->qid = qid;
	o->is_delivered = is_delivered;
	o->row = r->row;
	o->address = mem_strndup(r->row.address.p, r->row.address.n);
	o->reply = mem_strdup(r->reply);
	o->row.address = span_make(o->address, r->row.address.n);
	o->row.last_reply = span_of(o->reply);
	if (is_delivered) {
		l->delivered++;
	} else {
		l->deferred++;
		o->row.next = now + queue_retry_delay(o->row.tries);
		o->row.tries++;
		/* A queue id is the time of arrival in microseconds. */
		if (now - (int64_t)(qid / 1000000) > QUEUE_LIFE_SECONDS)
			o->row.state = QUEUE_FAILED;
	}
	list_append(&l->settled, &o->link);
	if (++l->settled_count >= SETTLE_MAX)
		settle_write(l);
	else if (!timer_is_set(&l->settle_timer))
		timer_set(&l->settle_timer, SETTLE_MS);
}

void settle_init(struct local *l)
{
	list_init(&l->settled);
	timer_init(&l->settle_timer, l->role->loop, settle_write, l);
}

void settle_stop(struct local *l)
{
	settle_write(l);
	timer_clear(&l->settle_timer);
}
