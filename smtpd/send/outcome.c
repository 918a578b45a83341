/* What came of a mail goes into the queue: sent recipients leave it, the others keep what was said.
 */
#include "smtpd/send/send.h"

#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/event/clock.h"
#include "common/log/log.h"
#include "smtpd/queue/trace.h"

#include <stdio.h>

struct outcome {
	struct db_op op;
	struct work unlink;
	struct mail *mail;
	struct blob file; /* of a message that went with its last recipient */
	bool is_return;   /* not tried after all */
	/* Taken on the loop: a reload may change them while the writer works. */
	struct trace_limits limits;
	struct schedule schedule;
};

struct busy_key {
	char b[12];
};

static struct span busy_key(struct busy_key *k, uint64_t qid, uint32_t n)
{
	be_put64(k->b, qid);
	be_put32(k->b + 8, n);
	return span_make(k->b, sizeof(k->b));
}

bool mail_is_busy(const struct send *s, uint64_t qid, uint32_t n)
{
	struct busy_key k;

	return hash_get(s->busy, busy_key(&k, qid, n)) != NULL;
}

void mail_set_busy(struct mail *m)
{
	struct busy_key k;

	m->is_busy = true;
	for (size_t i = 0; i < m->count; i++)
		hash_set(m->dest->send->busy,
		    busy_key(&k, m->targets[i].row.qid, m->targets[i].row.n), m);
}

void mail_free(struct mail *m)
{
	struct busy_key k;

	for (size_t i = 0; m->is_busy && i < m->count; i++)
		hash_remove(
		    m->dest->send->busy, busy_key(&k, m->targets[i].row.qid, m->targets[i].row.n));
	arena_clear(&m->arena);
	mem_free(m);
}

void mail_fail(struct mail *m, enum result result, const struct reply *why, const char *host)
{
	for (size_t i = 0; i < m->count; i++) {
		struct target *t = &m->targets[i];

		if (t->result != RESULT_NONE)
			continue;
		t->result = result;
		t->reply = *why;
	}
	snprintf(m->host, sizeof(m->host), "%s", host);
}

/* --- writing ---------------------------------------------------------------------------------- */
static bool wants_success(const struct target *t)
{
	return t->is_relayed && (t->row.notify & QUEUE_NOTIFY_SUCCESS);
}

static int write_target(struct outcome *o, struct db_txn *txn, struct target *t, struct err *err)
{
	struct queue_rcpt row = t->row, now;
	struct err missing;
	struct blob file;

	if (t->result == RESULT_SENT && !wants_success(t)) {
		if (queue_rcpt_remove(txn, row.qid, row.n, &file, err) < 0)
			return -1;
		if (file.is_file)
			o->file = file;
		return 0;
	}
	if (t->result == RESULT_SENT)
		row.state = QUEUE_SENT;
	else if (t->result == RESULT_NEVER)
		row.state = QUEUE_FAILED;
	if (o->is_return) {
		row.tries--;
		row.next = clock_now();
	} else {
		row.last_reply = span_of(t->reply.text);
		row.host = span_of(o->mail->host);
		/* The attempt took longer than the time to the next. */
		if (row.next <= clock_now())
			row.next = clock_now() + schedule_delay(&o->schedule, row.tries,
						     random_below(UINT32_MAX));
	}
	if (queue_rcpt_get(txn, row.qid, row.n, &now, &missing) < 0)
		return missing.code == ERR_NOT_FOUND
			   ? 0
			   : err_set(err, missing.code, "%s", missing.text);
	/* What happened to it meanwhile: a notice went out, the administrator holds it. */
	row.notice = now.notice;
	if (row.state == QUEUE_WAITING)
		row.state = now.state;
	return queue_rcpt_update(txn, &row, err);
}

static int write_trace(
    struct outcome *o, struct db_txn *txn, const struct target *t, struct err *err)
{
	static const enum trace_event events[] = {[RESULT_SENT] = TRACE_SENT,
	    [RESULT_LATER] = TRACE_DEFERRED,
	    [RESULT_NEVER] = TRACE_FAILED};
	const struct mail *m = o->mail;
	struct trace_record r = {.time = clock_now(),
	    .event = events[t->result],
	    .qid = m->entry.qid,
	    .size = m->entry.blob.size,
	    .session = m->entry.session,
	    .from = m->entry.sender,
	    .to = t->row.address,
	    .text = span_of(t->reply.text),
	    .server = span_of(m->host),
	    .tls = span_of(m->tls)};

	return trace_add(txn, &o->limits, &r, err);
}

static int outcome_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct outcome *o = container_of(op, struct outcome, op);

	o->file.is_file = false;
	for (size_t i = 0; i < o->mail->count; i++)
		if (write_target(o, txn, &o->mail->targets[i], err) < 0 ||
		    (!o->is_return && write_trace(o, txn, &o->mail->targets[i], err) < 0))
			return -1;
	return 0;
}

static void outcome_free(struct outcome *o)
{
	struct dest *d = o->mail->dest;

	mail_free(o->mail);
	mem_free(o);
	d->outcomes--;
	dest_run(d);
}

static void unlink_run(struct work *w)
{
	struct outcome *o = container_of(w, struct outcome, unlink);
	struct err err = ERR_INIT;

	if (blob_unlink(queue_blobs(o->mail->dest->send->queue), o->file.id, &err) < 0)
		log_warning("queue-unlink", LOG_ERR(&err));
}

static void unlink_done(struct work *w)
{
	outcome_free(container_of(w, struct outcome, unlink));
}

static void outcome_done(struct db_op *op)
{
	struct outcome *o = container_of(op, struct outcome, op);
	struct send *s = o->mail->dest->send;

	/* The rows say "tried": a message that was sent will be sent again. Better than lost. */
	if (op->err.code != ERR_NONE)
		log_error(
		    "queue-outcome", LOG_STR("domain", o->mail->dest->name), LOG_ERR(&op->err));
	else
		bouncer_look(s->bouncer);
	if (op->err.code == ERR_NONE && o->file.is_file) {
		o->unlink.run = unlink_run;
		o->unlink.done = unlink_done;
		workers_submit(queue_workers(s->queue), &o->unlink);
		return;
	}
	outcome_free(o);
}

static void submit(struct mail *m, bool is_return)
{
	struct outcome *o = mem_zalloc(sizeof(*o));
	bool removes = true;

	for (size_t i = 0; i < m->count; i++)
		removes = removes && m->targets[i].result == RESULT_SENT;
	o->mail = m;
	o->is_return = is_return;
	o->limits = trace_limits_of(m->dest->send->role->cfg);
	o->schedule = m->dest->send->schedule;
	o->op = (struct db_op){.run = outcome_run,
	    .done = outcome_done,
	    .cost = 4096 * m->count,
	    .need = removes ? DB_REMOVES : DB_CHANGES};
	m->dest->outcomes++;
	queue_write(m->dest->send->queue, &o->op);
}

/* --- the log ---------------------------------------------------------------------------------- */
static void log_target(struct send *s, const struct mail *m, const struct target *t)
{
	static const char *const events[] = {[RESULT_SENT] = "smtp-sent",
	    [RESULT_LATER] = "smtp-deferred",
	    [RESULT_NEVER] = "smtp-failed"};
	char qid[QUEUE_ID_TEXT];

	queue_id_format(qid, m->entry.qid);
	log_info(events[t->result], LOG_STR("qid", qid), LOG_SPAN("from", m->entry.sender),
	    LOG_SPAN("to", t->row.address), LOG_STR("host", m->host), LOG_STR("tls", m->tls),
	    LOG_STR("reply", t->reply.text), LOG_U64("tries", t->row.tries),
	    LOG_I64("age", clock_now() - m->entry.arrival));
	s->sent += t->result == RESULT_SENT;
	s->deferred += t->result == RESULT_LATER;
	s->failed += t->result == RESULT_NEVER;
}

void mail_finish(struct mail *m)
{
	struct reply none;

	reply_make(&none, 451, "4.3.0 not tried");
	for (size_t i = 0; i < m->count; i++) {
		if (m->targets[i].result == RESULT_NONE) {
			m->targets[i].result = RESULT_LATER;
			m->targets[i].reply = none;
		}
		log_target(m->dest->send, m, &m->targets[i]);
	}
	submit(m, false);
}

void mail_give_back(struct mail *m)
{
	submit(m, true);
}
