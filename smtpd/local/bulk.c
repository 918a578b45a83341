/*
 * queue VERB domain NAME|all, and what an account that is removed has sent, in steps that delay
 * nobody; queue pause, resume.
 */
#include "smtpd/local/local.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <stdio.h>

#define STEP 256       /* recipients of one transaction */
#define LOOK_MAX 20000 /* rows looked at in one */

/* --- all of a domain -------------------------------------------------------------------------- */
struct bulk {
	struct db_op op;
	struct work unlink;
	struct local *local;
	struct admin_request rq;
	const struct queue_verb *verb;
	char domain[QUEUE_DEST_MAX + 1]; /* "": all */
	uint64_t account;                /* who submitted it; 0: whoever */
	struct db_txn *txn;
	struct trace_limits limits;
	uint64_t qid; /* where to go on: behind this recipient */
	uint32_t n;
	uint64_t looked;
	bool is_over;
	struct due found[STEP];
	size_t count;
	uint64_t changed;
	struct blob files[STEP];
	size_t file_count;
};

static bool is_of(const struct bulk *k, const struct queue_rcpt *r)
{
	struct queue_entry e;

	if (k->account != 0 &&
	    (queue_entry_get(k->txn, r->qid, &e, NULL) < 0 || e.account != k->account))
		return false;
	return k->domain[0] == '\0' ||
	       (r->class == QUEUE_REMOTE && span_eq(queue_dest_of(r), span_of(k->domain)));
}

static bool collect(void *arg, const struct queue_rcpt *r)
{
	struct bulk *k = arg;

	if (r->qid == k->qid && r->n <= k->n && k->qid != 0)
		return true;
	if (k->count == STEP || k->looked == LOOK_MAX) {
		k->is_over = false;
		return false;
	}
	k->looked++;
	k->qid = r->qid;
	k->n = r->n;
	if (is_of(k, r))
		k->found[k->count++] = (struct due){r->qid, r->n};
	return true;
}

static int take_out(struct bulk *k, struct db_txn *txn, const struct due *d, struct err *err)
{
	struct blob *file = &k->files[k->file_count];

	if (queue_trace_removed(txn, &k->limits, d->qid, err) < 0 ||
	    queue_rcpt_remove(txn, d->qid, d->n, file, err) < 0)
		return -1;
	k->file_count += file->is_file;
	return 0;
}

static int bulk_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct bulk *k = container_of(op, struct bulk, op);
	uint64_t qid = k->qid;
	uint32_t n = k->n;
	int rc;

	k->count = k->file_count = 0;
	k->looked = 0;
	k->is_over = true;
	k->txn = txn;
	rc = queue_each_rcpt(txn, qid, collect, k, err);
	for (size_t i = 0; i < k->count && rc == 0; i++)
		rc = k->verb->is_delete ? take_out(k, txn, &k->found[i], err)
					: queue_change_rcpt(txn, k->verb, &k->limits,
					      k->found[i].qid, k->found[i].n, err);
	if (rc < 0) {
		/* It may run again. */
		k->qid = qid;
		k->n = n;
	}
	return rc;
}

static void bulk_next(struct bulk *k)
{
	struct local *l = k->local;

	k->changed += k->count;
	if (!k->is_over && !l->role->is_draining) {
		queue_write(l->queue, &k->op);
		return;
	}
	admin_end(&k->rq, k->is_over ? ERR_NONE : ERR_TEMP, "%llu recipients: %s%s",
	    (unsigned long long)k->changed, k->verb->done, k->is_over ? "" : "; the rest is not");
	scan_start(l);
	local_tell_send(l);
	mem_free(k);
}

static void bulk_unlink(struct work *w)
{
	struct bulk *k = container_of(w, struct bulk, unlink);
	struct err err = ERR_INIT;

	for (size_t i = 0; i < k->file_count; i++)
		if (blob_unlink(queue_blobs(k->local->queue), k->files[i].id, &err) < 0)
			log_warning("queue-unlink", LOG_ERR(&err));
}

static void bulk_unlinked(struct work *w)
{
	bulk_next(container_of(w, struct bulk, unlink));
}

static void bulk_done(struct db_op *op)
{
	struct bulk *k = container_of(op, struct bulk, op);

	if (op->err.code != ERR_NONE) {
		admin_end(&k->rq, op->err.code, "after %llu recipients: %s",
		    (unsigned long long)k->changed, op->err.text);
		mem_free(k);
	} else if (k->file_count > 0) {
		k->unlink.run = bulk_unlink;
		k->unlink.done = bulk_unlinked;
		workers_submit(queue_workers(k->local->queue), &k->unlink);
	} else {
		bulk_next(k);
	}
}

static struct bulk *bulk_new(
    struct local *l, const struct queue_verb *verb, const struct admin_request *rq)
{
	struct bulk *k = mem_zalloc(sizeof(*k));

	k->local = l;
	k->rq = *rq;
	k->verb = verb;
	k->limits = trace_limits_of(l->role->cfg);
	k->op = (struct db_op){.run = bulk_run,
	    .done = bulk_done,
	    .cost = STEP * 4096,
	    .need = verb->is_delete ? DB_REMOVES : DB_CHANGES};
	return k;
}

void bulk_admin(struct local *l, const struct queue_verb *verb, struct span domain,
    const struct admin_request *rq)
{
	struct bulk *k;

	if (domain.n > QUEUE_DEST_MAX) {
		admin_end(rq, ERR_INVALID, "not a domain");
		return;
	}
	k = bulk_new(l, verb, rq);
	for (size_t i = 0; i < domain.n; i++)
		k->domain[i] = ascii_lower(domain.p[i]);
	queue_write(l->queue, &k->op);
}

void bulk_remove_account(struct local *l, uint64_t account, const struct admin_request *rq)
{
	static const struct queue_verb removed = {
	    .name = "delete", .done = "deleted", .is_delete = true};
	struct bulk *k = bulk_new(l, &removed, rq);

	k->account = account;
	queue_write(l->queue, &k->op);
}

/* --- pauses ----------------------------------------------------------------------------------- */
struct pausing {
	struct local *local;
	struct db_op op;
	struct db_job job;
	struct admin_request rq;
	char domain[QUEUE_DEST_MAX + 1];
	bool is_paused;
	struct strbuf rows;
};

static int pause_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct pausing *p = container_of(op, struct pausing, op);

	return queue_pause_set(txn, span_of(p->domain), p->is_paused, err);
}

static void pause_done(struct db_op *op)
{
	struct pausing *p = container_of(op, struct pausing, op);

	if (op->err.code != ERR_NONE)
		admin_end(&p->rq, op->err.code, "%s", op->err.text);
	else
		admin_end(&p->rq, ERR_NONE, "mail to %s %s",
		    p->domain[0] ? p->domain : "other servers",
		    p->is_paused ? "waits until queue resume" : "goes on");
	local_tell_send(p->local);
	mem_free(p);
}

void pause_admin(struct local *l, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	struct span domain = cmd->count > 2 ? cmd->words[2] : span_make("", 0);
	struct pausing *p;

	if (domain.n > QUEUE_DEST_MAX) {
		admin_end(rq, ERR_INVALID, "not a domain");
		return;
	}
	p = mem_zalloc(sizeof(*p));
	p->local = l;
	p->rq = *rq;
	p->is_paused = span_eq(cmd->words[1], SPAN("pause"));
	for (size_t i = 0; i < domain.n; i++)
		p->domain[i] = ascii_lower(domain.p[i]);
	p->op = (struct db_op){.run = pause_run, .done = pause_done, .need = DB_REMOVES};
	queue_write(l->queue, &p->op);
}

static bool add_pause(void *arg, struct span dest)
{
	struct pausing *p = arg;

	enc_bytes(&p->rows, dest);
	return p->rows.n < 512 * 1024;
}

static void pauses_run(struct db_job *job, struct db_txn *txn)
{
	struct pausing *p = container_of(job, struct pausing, job);

	queue_each_pause(txn, add_pause, p, &job->err);
}

static void pauses_done(struct db_job *job)
{
	struct pausing *p = container_of(job, struct pausing, job);
	struct dec rows = dec_of(strbuf_span(&p->rows));

	while (rows.in.n > 0 && dec_ok(&rows)) {
		struct span dest = dec_bytes(&rows);
		struct strbuf row;

		strbuf_init(&row, 1024);
		ipc_rec_text(&row, "paused", dest.n > 0 ? dest : SPAN("all"));
		admin_record(&p->rq, &row);
		strbuf_clear(&row);
	}
	admin_end(&p->rq, job->err.code, "%s", job->err.text);
	strbuf_clear(&p->rows);
	mem_free(p);
}

void pause_list(struct local *l, const struct admin_request *rq)
{
	struct pausing *p = mem_zalloc(sizeof(*p));

	p->rq = *rq;
	strbuf_init(&p->rows, 1024 * 1024);
	p->job = (struct db_job){.run = pauses_run, .done = pauses_done};
	queue_read(l->queue, &p->job);
}
