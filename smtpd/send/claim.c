/* From the queue's rows to mails: what is due is read, the attempt is written down, then it counts.
 */
#include "smtpd/send/send.h"

#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <stdio.h>
#include <string.h>

struct claim {
	struct db_job job;
	struct db_op op;
	struct dest *dest;
	struct schedule schedule; /* as it was: a reload may change it */
	int64_t now, next;
	size_t due;
	bool is_full;  /* there may be more */
	bool is_asked; /* the administrator said: now */
	struct {
		uint64_t qid;
		uint32_t n;
	} rows[LOAD_MAX];
	struct list mails; /* what was claimed */
};

/* --- reading ---------------------------------------------------------------------------------- */
static bool collect(void *arg, uint64_t qid, uint32_t n)
{
	struct claim *c = arg;

	c->rows[c->due].qid = qid;
	c->rows[c->due].n = n;
	c->due++;
	return c->due < LOAD_MAX;
}

static void load_run(struct db_job *job, struct db_txn *txn)
{
	struct claim *c = container_of(job, struct claim, job);

	if (queue_is_paused(txn, span_make("", 0)) || queue_is_paused(txn, span_of(c->dest->name)))
		return;
	queue_each_due_of(txn, span_of(c->dest->name), c->now, collect, c, &c->next, &job->err);
}

static bool keep(struct mail *m, struct span *s)
{
	return arena_copy(&m->arena, s->p ? *s : span_make("", 0), s);
}

static struct mail *mail_new(struct dest *d, struct db_txn *txn, uint64_t qid, struct err *err)
{
	struct mail *m = mem_zalloc(sizeof(*m));
	struct queue_entry *e = &m->entry;

	m->dest = d;
	arena_init(&m->arena, MAIL_ARENA_MAX);
	if (queue_entry_get(txn, qid, e, err) == 0) {
		e->blob.data = span_make("", 0);
		if (keep(m, &e->sender) && keep(m, &e->client) && keep(m, &e->helo) &&
		    keep(m, &e->session) && keep(m, &e->envid))
			return m;
		err_set(err, ERR_LIMIT, "an envelope that is too large");
	}
	mail_free(m);
	return NULL;
}

/* The mail of this message and sender with room for a recipient, made if need be. */
static struct mail *mail_of(
    struct claim *c, struct db_txn *txn, uint64_t qid, struct span sender, struct err *err)
{
	struct mail *m;

	LIST_EACH (it, &c->mails) {
		m = container_of(it, struct mail, link);
		if (m->entry.qid == qid && m->count < MAIL_RCPTS_MAX && span_eq(m->sender, sender))
			return m;
	}
	m = mail_new(c->dest, txn, qid, err);
	if (!m)
		return NULL;
	list_append(&c->mails, &m->link);
	m->sender = sender;
	if (keep(m, &m->sender))
		return m;
	err_set(err, ERR_LIMIT, "an envelope that is too large");
	return NULL;
}

/* --- writing the attempt down ----------------------------------------------------------------- */
static void give_up(struct queue_rcpt *r)
{
	r->state = QUEUE_FAILED;
	if (r->last_reply.n == 0)
		r->last_reply = SPAN("451 4.4.7 could not be delivered in time");
}

static bool wants_notice(
    const struct schedule *s, const struct queue_entry *e, const struct queue_rcpt *r, int64_t now)
{
	if (s->notice == 0 || r->notice != NOTICE_NONE || e->account == 0 || e->sender.n == 0 ||
	    now - e->arrival < s->notice)
		return false;
	return r->notify == 0 || (r->notify & QUEUE_NOTIFY_DELAY);
}

/* Most mails have one. */
static struct target *target_add(struct mail *m)
{
	size_t cap = m->target_cap ? m->target_cap * 2 : 1;
	struct target *grown;

	if (m->count < m->target_cap)
		return &m->targets[m->count];
	grown = arena_array(&m->arena, cap, sizeof(*grown));
	if (!grown)
		return NULL;
	if (m->count > 0)
		memcpy(grown, m->targets, m->count * sizeof(*grown));
	m->targets = grown;
	m->target_cap = cap;
	return &m->targets[m->count];
}

static int claim_one(struct claim *c, struct db_txn *txn, uint64_t qid, uint32_t n, struct err *err)
{
	const struct schedule *schedule = &c->schedule;
	struct queue_rcpt r;
	struct err missing;
	struct target *t;
	struct mail *m;

	if (queue_rcpt_get(txn, qid, n, &r, &missing) < 0)
		return missing.code == ERR_NOT_FOUND
			   ? 0
			   : err_set(err, missing.code, "%s", missing.text);
	if (r.state != QUEUE_WAITING || r.next > c->now)
		return 0;
	m = mail_of(c, txn, qid, r.sender, err);
	if (!m)
		return -1;
	/* After an attempt there is a reply, unless it was taken back (queue retry). */
	c->is_asked |= r.tries > 0 && r.last_reply.n == 0;
	t = target_add(m);
	if (!t)
		return err_set(err, ERR_LIMIT, "an envelope that is too large");
	*t = (struct target){.row = r};
	if (!keep(m, &t->row.address) || !keep(m, &t->row.orcpt) || !keep(m, &t->row.last_reply) ||
	    !keep(m, &t->row.host) || !keep(m, &t->row.sender))
		return err_set(err, ERR_LIMIT, "an envelope that is too large");
	if (r.tries > 0 &&
	    schedule_is_over(schedule, m->entry.arrival, m->entry.sender.n > 0, c->now)) {
		give_up(&t->row);
		return queue_rcpt_update(txn, &t->row, err);
	}
	t->row.tries++;
	t->row.next = c->now + schedule_delay(schedule, t->row.tries, random_below(UINT32_MAX));
	if (wants_notice(schedule, &m->entry, &t->row, c->now))
		t->row.notice = NOTICE_DUE;
	m->count++;
	return queue_rcpt_update(txn, &t->row, err);
}

static void drop_mails(struct claim *c)
{
	for (struct list *it; (it = list_take_first(&c->mails));)
		mail_free(container_of(it, struct mail, link));
}

static int claim_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct claim *c = container_of(op, struct claim, op);

	/* It may run again. */
	drop_mails(c);
	for (size_t i = 0; i < c->due; i++)
		if (claim_one(c, txn, c->rows[i].qid, c->rows[i].n, err) < 0)
			return -1;
	return queue_dest_settle(txn, span_of(c->dest->name), err);
}

static void claim_done(struct db_op *op)
{
	struct claim *c = container_of(op, struct claim, op);
	struct dest *d = c->dest;
	struct send *s = d->send;
	struct list *it;

	if (op->err.code != ERR_NONE) {
		log_error("queue-claim", LOG_STR("domain", d->name), LOG_ERR(&op->err));
		drop_mails(c);
	}
	while ((it = list_take_first(&c->mails))) {
		struct mail *m = container_of(it, struct mail, link);

		/* All its recipients were given up. */
		if (m->count == 0) {
			mail_free(m);
			continue;
		}
		mail_set_busy(m);
		list_append(&d->mails, &m->link);
		d->mail_count++;
	}
	if (c->is_asked)
		d->dead_until = 0;
	d->is_loading = false;
	s->loads--;
	d->may_have_more |= c->is_full && op->err.code == ERR_NONE;
	mem_free(c);
	bouncer_look(s->bouncer);
	dest_run(d);
	dests_run_ready(s);
}

/* What is being worked on is due again only for the queue. */
static void drop_busy(struct claim *c)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->due; i++)
		if (!mail_is_busy(c->dest->send, c->rows[i].qid, c->rows[i].n))
			c->rows[kept++] = c->rows[i];
	c->is_full = c->due == LOAD_MAX && kept > 0;
	c->due = kept;
}

static void load_done(struct db_job *job)
{
	struct claim *c = container_of(job, struct claim, job);

	if (job->err.code != ERR_NONE) {
		log_error("queue-load", LOG_STR("domain", c->dest->name), LOG_ERR(&job->err));
		c->due = 0;
	}
	drop_busy(c);
	/* Also when nothing is due: its place in the index is put right. */
	c->op = (struct db_op){
	    .run = claim_run, .done = claim_done, .cost = 4096 * (c->due + 1), .need = DB_CHANGES};
	queue_write(c->dest->send->queue, &c->op);
}

void claim_start(struct dest *d)
{
	struct claim *c = mem_zalloc(sizeof(*c));

	d->send->loads++;
	c->dest = d;
	c->now = clock_now();
	c->schedule = d->send->schedule;
	list_init(&c->mails);
	c->job.run = load_run;
	c->job.done = load_done;
	queue_read(d->send->queue, &c->job);
}
