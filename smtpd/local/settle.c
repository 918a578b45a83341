/* Results go to the queue in batches: a message that was delivered costs no flush of its own here,
 * and a crash in between replays it as a no-op, because the store remembers the delivery. */
#include "smtpd/local/local.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

struct settle {
	struct db_op op;
	struct local *local;
	bool is_delivered; /* else deferred */
	struct list outcomes;
	size_t count;
	struct trace_limits trace;
	struct blob *files; /* of entries that went: unlinked after the commit */
	size_t file_count;
	struct work unlink;
};

static void outcome_free(struct outcome *o)
{
	mem_free(o->address);
	mem_free(o->reply);
	for (size_t i = 0; i < o->forward_count; i++)
		mem_free(o->forwards[i]);
	mem_free(o->forwards);
	mem_free(o->session);
	mem_free(o->sender);
	mem_free(o->from);
	mem_free(o);
}

static int trace(
    const struct settle *s, const struct outcome *o, struct db_txn *txn, struct err *err)
{
	struct trace_record r = {
	    .time = clock_now(),
	    .event = s->is_delivered                ? TRACE_DELIVERED
		     : o->row.state == QUEUE_FAILED ? TRACE_FAILED
						    : TRACE_DEFERRED,
	    .qid = o->qid,
	    .size = o->size,
	    .session = span_of(o->session),
	    .from = span_of(o->from),
	    .to = o->row.address,
	    .text = s->is_delivered ? span_make("", 0) : o->row.last_reply,
	};

	return trace_add(txn, &s->trace, &r, err);
}

/* In the transaction that takes the recipient out: so each happens once, or neither does. */
static int forward_all(
    const struct settle *s, const struct outcome *o, struct db_txn *txn, struct err *err)
{
	struct trace_record t = {
	    .time = clock_now(),
	    .event = TRACE_FORWARDED,
	    .qid = o->qid,
	    .size = o->size,
	    .session = span_of(o->session),
	    .from = span_of(o->from),
	    .text = o->row.address,
	};
	struct queue_rcpt there;
	struct strbuf orcpt;
	struct err missing;
	int result = 0;

	if (o->forward_count == 0 || queue_rcpt_get(txn, o->qid, o->row.n, &there, &missing) < 0)
		return 0;
	strbuf_init(&orcpt, 1024);
	strbuf_add(&orcpt, there.orcpt);
	for (size_t i = 0; i < o->forward_count && result == 0; i++) {
		struct queue_rcpt r = {
		    .qid = o->qid,
		    .class = QUEUE_REMOTE,
		    .state = QUEUE_WAITING,
		    .address = span_of(o->forwards[i]),
		    .next = t.time,
		    .last_reply = span_make("", 0),
		    .host = span_make("", 0),
		    .notify = there.notify,
		    .orcpt = strbuf_span(&orcpt),
		    .sender = span_of(o->sender),
		};

		t.to = r.address;
		result = queue_rcpt_add(txn, &r, err);
		if (result == 0)
			result = trace_add(txn, &s->trace, &t, err);
	}
	strbuf_clear(&orcpt);
	return result;
}

/* RFC 3461 section 6.3: who asked is told that it arrived; smtpd-send writes the notice. */
static bool wants_success(const struct outcome *o)
{
	return (o->row.notify & QUEUE_NOTIFY_SUCCESS) && o->from[0] != '\0' &&
	       !o->is_only_forwarded;
}

static int remove_one(
    const struct outcome *o, struct db_txn *txn, struct blob *file, struct err *err)
{
	struct queue_rcpt row = o->row;

	file->is_file = false;
	if (!wants_success(o))
		return queue_rcpt_remove(txn, o->qid, o->row.n, file, err);
	row.state = QUEUE_SENT;
	row.last_reply = SPAN("250 2.1.5 delivered");
	return queue_rcpt_update(txn, &row, err);
}

static int remove_all(struct settle *s, struct db_txn *txn, struct err *err)
{
	s->file_count = 0;
	LIST_EACH (it, &s->outcomes) {
		struct outcome *o = container_of(it, struct outcome, link);
		struct blob *file = &s->files[s->file_count];

		if (forward_all(s, o, txn, err) < 0 || remove_one(o, txn, file, err) < 0)
			return -1;
		if (file->is_file)
			s->file_count++;
		if (!o->is_only_forwarded && trace(s, o, txn, err) < 0)
			return -1;
	}
	return 0;
}

static int settle_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct settle *s = container_of(op, struct settle, op);

	if (s->is_delivered)
		return remove_all(s, txn, err);
	LIST_EACH (it, &s->outcomes) {
		const struct outcome *o = container_of(it, struct outcome, link);

		if (queue_rcpt_update(txn, &o->row, err) < 0 || trace(s, o, txn, err) < 0)
			return -1;
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

/*
 * The queue takes nothing now: a full disk or map. What was delivered is written again in a moment,
 * in smaller pieces, which take fewer pages; were the process to end, it would be found again, and
 * known. What was deferred is forgotten: its row is still due, and will be tried again.
 */
static void settle_failed(struct settle *s)
{
	struct local *l = s->local;

	if (!l->is_stuck)
		log_error("queue-settle", LOG_ERR(&s->op.err));
	if (s->is_delivered && !l->role->is_draining) {
		l->settled_count += s->count;
		list_splice(&l->delivered_list, &s->outcomes);
		l->settle_max = l->settle_max > 1 ? l->settle_max / 2 : 1;
	}
	settle_free(s);
	l->is_stuck = true;
	if (!l->role->is_draining)
		timer_set(&l->settle_timer, SETTLE_MS);
}

static void settle_done(struct db_op *op)
{
	struct settle *s = container_of(op, struct settle, op);
	struct local *l = s->local;
	bool has_forwards = false;

	if (op->err.code != ERR_NONE) {
		settle_failed(s);
		return;
	}
	LIST_EACH (it, &s->outcomes)
		has_forwards |= container_of(it, struct outcome, link)->forward_count > 0;
	if (has_forwards)
		local_tell_send(l);
	if (s->is_delivered && l->settle_max < SETTLE_MAX)
		l->settle_max *= 2;
	if (l->settled_count > 0 && !timer_is_set(&l->settle_timer))
		timer_set(&l->settle_timer, l->is_stuck ? 0 : SETTLE_MS);
	if (s->local->role->is_draining) /* the queue may be closing: its threads are gone */
		unlink_run(&s->unlink);
	if (s->file_count == 0 || s->local->role->is_draining) {
		settle_free(s);
		return;
	}
	s->unlink.run = unlink_run;
	s->unlink.done = unlink_done;
	workers_submit(queue_workers(l->queue), &s->unlink);
}

static void settle_list(struct local *l, struct list *from, bool is_delivered)
{
	struct settle *s;

	if (list_is_empty(from))
		return;
	s = mem_zalloc(sizeof(*s));
	s->local = l;
	s->is_delivered = is_delivered;
	s->trace = trace_limits_of(l->role->cfg);
	list_init(&s->outcomes);
	for (struct list *it; s->count < l->settle_max && (it = list_take_first(from));) {
		list_append(&s->outcomes, it);
		s->count++;
	}
	s->files = mem_array(s->count + 1, sizeof(*s->files));
	l->settled_count -= s->count;
	l->settling++;
	s->op.run = settle_run;
	s->op.done = settle_done;
	s->op.cost = s->count * 4096;
	s->op.need = is_delivered ? DB_REMOVES : DB_CHANGES;
	queue_write(l->queue, &s->op);
}

static void settle_write(void *arg)
{
	struct local *l = arg;

	timer_stop(&l->settle_timer);
	settle_list(l, &l->delivered_list, true);
	settle_list(l, &l->deferred_list, false);
	if (l->is_stuck && list_is_empty(&l->delivered_list)) {
		l->is_stuck = false;
		l->scan_again = true;
		scan_more(l);
	}
}

static void keep_forwards(struct outcome *o, const struct rcpt *r)
{
	o->sender = mem_strndup(r->sender.p ? r->sender.p : "", r->sender.n);
	o->forwards = mem_array(r->target_count + 1, sizeof(*o->forwards));
	o->is_only_forwarded = r->target_count > 0;
	for (uint32_t i = 0; i < r->target_count; i++) {
		o->is_only_forwarded &= r->targets[i].account == 0;
		if (r->targets[i].account == 0)
			o->forwards[o->forward_count++] =
			    mem_strndup(r->targets[i].address.p, r->targets[i].address.n);
	}
}

void settle_add(
    struct local *l, const struct queue_entry *e, const struct rcpt *r, bool is_delivered)
{
	struct outcome *o = mem_zalloc(sizeof(*o));
	int64_t now = clock_now();

	o->qid = e->qid;
	o->size = e->blob.size;
	o->session = mem_strndup(e->session.p, e->session.n);
	o->from = mem_strndup(e->sender.p, e->sender.n);
	o->row = r->row;
	o->reply = mem_strdup(r->reply);
	o->row.last_reply = span_of(o->reply);
	o->address = mem_strndup(r->row.address.p, r->row.address.n);
	o->row.address = span_make(o->address, r->row.address.n);
	o->row.host = o->row.orcpt = span_make("", 0);
	keep_forwards(o, r);
	if (is_delivered) {
		l->delivered++;
	} else {
		l->deferred++;
		o->row.next = now + (r->is_fault ? queue_fault_delay(o->row.tries)
						 : queue_retry_delay(o->row.tries));
		o->row.tries++;
		/* A queue id is the time of arrival in microseconds. */
		if (now - (int64_t)(e->qid / 1000000) > QUEUE_LIFE_SECONDS)
			o->row.state = QUEUE_FAILED;
	}
	list_append(is_delivered ? &l->delivered_list : &l->deferred_list, &o->link);
	if (++l->settled_count >= SETTLE_MAX && !l->is_stuck)
		settle_write(l);
	else if (!timer_is_set(&l->settle_timer))
		timer_set(&l->settle_timer, SETTLE_MS);
}

void settle_init(struct local *l)
{
	list_init(&l->delivered_list);
	list_init(&l->deferred_list);
	l->settle_max = SETTLE_MAX;
	timer_init(&l->settle_timer, l->role->loop, settle_write, l);
}

void settle_stop(struct local *l)
{
	while (l->settled_count > 0)
		settle_write(l);
	timer_clear(&l->settle_timer);
}
