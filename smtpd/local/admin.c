/* queue list, show, retry, delete: the administrator's view of the queue. */
#include "smtpd/local/local.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <stdio.h>

#define LIST_MAX 10000
#define LIST_BYTES_MAX (8 * 1024 * 1024)

/* --- list and show ---------------------------------------------------------------------------- */
struct listing {
	struct db_job job;
	struct admin_request rq;
	struct db_txn *txn;
	uint64_t qid;       /* show: of this message only */
	struct strbuf rows; /* each a byte string */
	size_t count;
	bool is_cut;
};

static void add_row(struct listing *l, const struct queue_rcpt *r, const struct queue_entry *e)
{
	static const char *const states[] = {"waiting", "failed", "held", "sent"};
	struct strbuf row;
	char id[QUEUE_ID_TEXT];

	queue_id_format(id, r->qid);
	strbuf_init(&row, 16 * 1024);
	ipc_rec_text(&row, "id", span_make(id, QUEUE_ID_TEXT - 1));
	ipc_rec_text(&row, "sender", e->sender);
	ipc_rec_text(&row, "recipient", r->address);
	ipc_rec_text(&row, "class", r->class == QUEUE_LOCAL ? SPAN("local") : SPAN("remote"));
	ipc_rec_text(&row, "state", span_of(states[r->state]));
	ipc_rec_number(&row, "tries", IPC_NUMBER, r->tries);
	ipc_rec_number(&row, "next", IPC_TIME, (uint64_t)r->next);
	ipc_rec_number(&row, "arrival", IPC_TIME, (uint64_t)e->arrival);
	ipc_rec_number(&row, "size", IPC_BYTES, e->blob.size);
	ipc_rec_text(&row, "reply", r->last_reply);
	ipc_rec_text(&row, "host", r->host);
	enc_bytes(&l->rows, strbuf_span(&row));
	strbuf_clear(&row);
}

static bool list_rcpt(void *arg, const struct queue_rcpt *r)
{
	struct listing *l = arg;
	struct queue_entry e;

	if (l->qid && r->qid != l->qid)
		return false;
	if (l->count == LIST_MAX || l->rows.n > LIST_BYTES_MAX - 16 * 1024) {
		l->is_cut = true;
		return false;
	}
	if (queue_entry_get(l->txn, r->qid, &e, NULL) < 0)
		return true;
	add_row(l, r, &e);
	l->count++;
	return true;
}

static void listing_run(struct db_job *job, struct db_txn *txn)
{
	struct listing *l = container_of(job, struct listing, job);

	l->txn = txn;
	queue_each_rcpt(txn, l->qid, list_rcpt, l, &job->err);
}

static void listing_done(struct db_job *job)
{
	struct listing *l = container_of(job, struct listing, job);
	struct dec rows = dec_of(strbuf_span(&l->rows));

	while (rows.in.n > 0 && dec_ok(&rows)) {
		struct strbuf row;

		strbuf_init(&row, 16 * 1024);
		strbuf_add(&row, dec_bytes(&rows));
		admin_record(&l->rq, &row);
		strbuf_clear(&row);
	}
	if (job->err.code != ERR_NONE)
		admin_end(&l->rq, job->err.code, "%s", job->err.text);
	else if (l->qid && l->count == 0)
		admin_end(&l->rq, ERR_NOT_FOUND, "no such message in the queue");
	else
		admin_end(&l->rq, ERR_NONE, "%s", l->is_cut ? "there are more" : "");
	strbuf_clear(&l->rows);
	mem_free(l);
}

static void list(struct local *l, uint64_t qid, const struct admin_request *rq)
{
	struct listing *k = mem_zalloc(sizeof(*k));

	k->rq = *rq;
	k->qid = qid;
	strbuf_init(&k->rows, LIST_BYTES_MAX);
	k->job.run = listing_run;
	k->job.done = listing_done;
	queue_read(l->queue, &k->job);
}

/* --- retry and delete ------------------------------------------------------------------------- */
static const struct queue_verb verbs[] = {
    {"retry", "is due now", QUEUE_WAITING, false, false},
    {"hold", "is held", QUEUE_HELD, false, false},
    {"release", "is released", QUEUE_WAITING, false, true},
    {"return", "goes back to its sender", QUEUE_FAILED, false, false},
    {"delete", "deleted", QUEUE_WAITING, true, false},
};

struct change {
	struct db_op op;
	struct work unlink;
	struct local *local;
	struct admin_request rq;
	uint64_t qid;
	const struct queue_verb *verb;
	uint32_t *numbers;
	size_t count, cap;
	struct blob file;
	struct trace_limits limits;
};

static bool collect_number(void *arg, const struct queue_rcpt *r)
{
	struct change *c = arg;

	if (r->qid != c->qid)
		return false;
	if (c->count == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 16;
		c->numbers = mem_grow(c->numbers, c->cap, sizeof(*c->numbers));
	}
	c->numbers[c->count++] = r->n;
	return true;
}

#define RETURNED "554 5.7.0 returned by the administrator"

/* A word about what the administrator does to a message, or to one recipient of it. */
static int trace_verb(struct db_txn *txn, const struct trace_limits *limits, uint64_t qid,
    struct trace_record *r, struct err *err)
{
	struct queue_entry e;
	struct strbuf text;
	int result;

	if (queue_entry_get(txn, qid, &e, err) < 0)
		return -1;
	strbuf_init(&text, 4096);
	strbuf_add(&text, e.session);
	strbuf_add(&text, e.sender);
	strbuf_add(&text, r->to);
	r->time = clock_now();
	r->qid = qid;
	r->size = e.blob.size;
	r->session = span_sub(strbuf_span(&text), 0, e.session.n);
	r->from = span_sub(strbuf_span(&text), e.session.n, e.sender.n);
	r->to = span_from(strbuf_span(&text), e.session.n + e.sender.n);
	result = trace_add(txn, limits, r, err);
	strbuf_clear(&text);
	return result;
}

int queue_trace_removed(
    struct db_txn *txn, const struct trace_limits *limits, uint64_t qid, struct err *err)
{
	struct trace_record r = {.event = TRACE_REMOVED};

	return trace_verb(txn, limits, qid, &r, err);
}

int queue_change_rcpt(struct db_txn *txn, const struct queue_verb *verb,
    const struct trace_limits *limits, uint64_t qid, uint32_t n, struct err *err)
{
	struct trace_record told = {.event = TRACE_FAILED, .text = SPAN(RETURNED)};
	struct queue_rcpt r;
	char reply[QUEUE_REPLY_MAX] = "", host[QUEUE_REPLY_MAX] = "";

	if (queue_rcpt_get(txn, qid, n, &r, err) < 0)
		return -1;
	/* Held is what waits, released what is held: the others stay as they are. */
	if ((verb->to == QUEUE_HELD && r.state != QUEUE_WAITING) ||
	    (verb->is_release && r.state != QUEUE_HELD))
		return 0;
	snprintf(reply, sizeof(reply), "%.*s", SPAN_FMT(r.last_reply));
	snprintf(host, sizeof(host), "%.*s", SPAN_FMT(r.host));
	r.last_reply = span_of(reply);
	r.host = span_of(host);
	r.state = verb->to;
	if (r.state == QUEUE_WAITING)
		r.next = clock_now();
	if (r.state != QUEUE_HELD)
		r.host = span_make("", 0);
	if (r.state == QUEUE_FAILED)
		r.last_reply = SPAN(RETURNED);
	else if (r.state == QUEUE_WAITING)
		r.last_reply = span_make("", 0);
	told.to = r.address;
	if (r.state == QUEUE_FAILED && trace_verb(txn, limits, qid, &told, err) < 0)
		return -1;
	return queue_rcpt_update(txn, &r, err);
}

static int change_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct change *c = container_of(op, struct change, op);

	c->count = 0;
	if (queue_each_rcpt(txn, c->qid, collect_number, c, err) < 0)
		return -1;
	if (c->count == 0)
		return err_set(err, ERR_NOT_FOUND, "no such message in the queue");
	if (c->verb->is_delete && queue_trace_removed(txn, &c->limits, c->qid, err) < 0)
		return -1;
	for (size_t i = 0; i < c->count; i++) {
		int result =
		    c->verb->is_delete
			? queue_rcpt_remove(txn, c->qid, c->numbers[i], &c->file, err)
			: queue_change_rcpt(txn, c->verb, &c->limits, c->qid, c->numbers[i], err);

		if (result < 0)
			return -1;
	}
	return 0;
}

static void change_free(struct change *c)
{
	mem_free(c->numbers);
	mem_free(c);
}

static void change_unlink(struct work *w)
{
	struct change *c = container_of(w, struct change, unlink);
	struct err err = ERR_INIT;

	if (blob_unlink(queue_blobs(c->local->queue), c->file.id, &err) < 0)
		log_warning("queue-unlink", LOG_ERR(&err));
}

static void change_unlinked(struct work *w)
{
	change_free(container_of(w, struct change, unlink));
}

static void change_done(struct db_op *op)
{
	struct change *c = container_of(op, struct change, op);
	char id[QUEUE_ID_TEXT];

	queue_id_format(id, c->qid);
	if (op->err.code != ERR_NONE)
		admin_end(&c->rq, op->err.code, "%s", op->err.text);
	else
		admin_end(&c->rq, ERR_NONE, "message %s %s", id, c->verb->done);
	if (op->err.code == ERR_NONE && !c->verb->is_delete) {
		scan_start(c->local);
		local_tell_send(c->local);
	}
	if (op->err.code == ERR_NONE && c->verb->is_delete && c->file.is_file) {
		c->unlink.run = change_unlink;
		c->unlink.done = change_unlinked;
		workers_submit(queue_workers(c->local->queue), &c->unlink);
		return;
	}
	change_free(c);
}

static void change(
    struct local *l, uint64_t qid, const struct queue_verb *verb, const struct admin_request *rq)
{
	struct change *c = mem_zalloc(sizeof(*c));

	c->local = l;
	c->rq = *rq;
	c->qid = qid;
	c->verb = verb;
	c->limits = trace_limits_of(l->role->cfg);
	c->op.run = change_run;
	c->op.done = change_done;
	queue_write(l->queue, &c->op);
}

static const struct queue_verb *verb_find(struct span name)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (span_eq(name, span_of(verbs[i].name)))
			return &verbs[i];
	return NULL;
}

static bool queue_admin(
    struct local *l, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	struct span word = cmd->count > 1 ? cmd->words[1] : span_make("", 0);
	const struct queue_verb *verb = verb_find(word);
	uint64_t qid = 0;

	if (cmd->count == 2 && span_eq(word, SPAN("list")))
		list(l, 0, rq);
	else if (cmd->count <= 3 && (span_eq(word, SPAN("pause")) || span_eq(word, SPAN("resume"))))
		pause_admin(l, cmd, rq);
	else if (cmd->count == 3 && span_eq(word, SPAN("paused")) &&
		 span_eq(cmd->words[2], SPAN("list")))
		pause_list(l, rq);
	else if (verb && (cmd->count == 4 ? span_eq(cmd->words[2], SPAN("domain"))
					  : cmd->count == 3 && span_eq(cmd->words[2], SPAN("all"))))
		bulk_admin(l, verb, cmd->count == 4 ? cmd->words[3] : span_make("", 0), rq);
	else if (cmd->count != 3 || !queue_id_parse(cmd->words[2], &qid) || qid == 0)
		return false;
	else if (span_eq(word, SPAN("show")))
		list(l, qid, rq);
	else if (verb)
		change(l, qid, verb, rq);
	else
		return false;
	return true;
}

void local_admin(struct role *r, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	struct local *l = r->ctx;

	if (span_eq(cmd->words[0], SPAN("trace")))
		trace_admin(l, cmd, rq);
	else if (span_eq(cmd->words[0], SPAN("traffic")))
		traffic_admin(l, cmd, rq);
	else if (span_eq(cmd->words[0], SPAN("route")))
		suggest_admin(l, rq);
	else if (span_eq(cmd->words[0], SPAN("remove-account")))
		removal_admin(l, cmd, rq);
	else if (!span_eq(cmd->words[0], SPAN("queue")))
		admin_end(rq, ERR_UNSUPPORTED, "smtpd-local has no such verb");
	else if (!queue_admin(l, cmd, rq))
		admin_end(rq, ERR_INVALID,
		    "usage: queue list, queue show ID, "
		    "queue retry|hold|release|return|delete ID|domain NAME|all, "
		    "queue pause|resume [DOMAIN], queue paused list");
}
