/*
 * Telling senders what became of their mail. What is to be told stands in the queue; a notice goes
 * in with one transaction that takes the reason for it out, so it is sent once, whatever happens.
 *
 *   scan -> read (rows, header) -> whose is the sender (authd) -> write the text -> queue
 */
#include "smtpd/send/dsn.h"
#include "smtpd/send/send.h"

#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/event/clock.h"
#include "common/log/log.h"
#include "common/mail/header.h"

#include <stdio.h>
#include <string.h>

#define SCAN_ROWS 256
#define TOGETHER_MS                                                                                \
	300 /* recipients of a message that fail one behind the other are one notice               \
	     */
#define AGAIN_MS 30000
#define NOTICES_MAX 8 /* under way at once */
#define HEADER_MAX (32 * 1024)
#define WHOLE_MAX (256 * 1024)
#define TEXT_MAX (WHOLE_MAX + 256 * 1024)
#define AUTH_MS 20000

struct bouncer {
	struct send *send;
	struct db_job scan;
	struct timer soon;
	uint64_t qids[SCAN_ROWS];
	size_t count;
	bool is_scanning, look_again;
	struct list notices;
	size_t notice_count;
};

struct told {
	struct queue_rcpt row; /* spans in the arena */
	bool is_told;          /* else it just goes */
};

struct notice {
	struct list link;
	struct bouncer *b;
	struct arena arena;
	struct db_job job;
	struct db_op op;
	struct work work;
	struct ipc_call *query;
	struct queue_entry entry;
	struct told *rows;
	size_t count, told_count;
	struct strbuf original;
	bool is_whole;
	char to[QUEUE_ADDRESS_MAX + 1];
	enum queue_class class;
	struct blob_writer *writer;
	struct queue_entry added; /* the notice itself */
	struct queue_rcpt rcpt;
	struct blob file; /* of the message, if it goes */
	struct err err;
	struct config *cfg; /* threads use it */
	int64_t life;
};

/* --- looking ---------------------------------------------------------------------------------- */
static bool collect(void *arg, uint64_t qid, uint32_t n)
{
	struct bouncer *b = arg;

	if (b->count == 0 || b->qids[b->count - 1] != qid)
		b->qids[b->count++] = qid;
	return b->count < SCAN_ROWS;
}

static void scan_run(struct db_job *job, struct db_txn *txn)
{
	struct bouncer *b = container_of(job, struct bouncer, scan);

	b->count = 0;
	queue_each_told(txn, collect, b, &job->err);
}

static bool is_busy(const struct bouncer *b, uint64_t qid)
{
	LIST_EACH (it, &b->notices)
		if (container_of(it, struct notice, link)->entry.qid == qid)
			return true;
	return false;
}

static void notice_start(struct bouncer *b, uint64_t qid);

static void scan_done(struct db_job *job)
{
	struct bouncer *b = container_of(job, struct bouncer, scan);

	b->is_scanning = false;
	if (job->err.code != ERR_NONE)
		log_error("bounce-scan", LOG_ERR(&job->err));
	for (size_t i = 0; i < b->count && !b->send->role->is_draining; i++) {
		if (b->notice_count == NOTICES_MAX) {
			b->look_again = true;
			break;
		}
		if (!is_busy(b, b->qids[i]))
			notice_start(b, b->qids[i]);
	}
	send_check_drained(b->send);
}

static void on_soon(void *arg)
{
	struct bouncer *b = arg;

	if (b->send->role->is_draining)
		return;
	if (b->is_scanning) {
		b->look_again = true;
		return;
	}
	b->is_scanning = true;
	b->look_again = false;
	b->scan = (struct db_job){.run = scan_run, .done = scan_done};
	queue_read(b->send->queue, &b->scan);
}

void bouncer_look(struct bouncer *b)
{
	if (!timer_is_set(&b->soon))
		timer_set(&b->soon, TOGETHER_MS);
}

struct bouncer *bouncer_new(struct send *s)
{
	struct bouncer *b = mem_zalloc(sizeof(*b));

	b->send = s;
	list_init(&b->notices);
	timer_init(&b->soon, s->role->loop, on_soon, b);
	bouncer_look(b);
	return b;
}

void bouncer_free(struct bouncer *b)
{
	if (!b)
		return;
	timer_clear(&b->soon);
	mem_free(b);
}

bool bouncer_is_idle(const struct bouncer *b)
{
	return b->notice_count == 0 && !b->is_scanning;
}

/* --- the end ---------------------------------------------------------------------------------- */
static void notice_end(struct notice *n)
{
	struct bouncer *b = n->b;
	char qid[QUEUE_ID_TEXT];

	if (n->err.code != ERR_NONE) {
		queue_id_format(qid, n->entry.qid);
		log_error("bounce", LOG_STR("qid", qid), LOG_ERR(&n->err));
		timer_set(&b->soon, AGAIN_MS);
	} else if (b->look_again) {
		bouncer_look(b);
	}
	list_remove(&n->link);
	b->notice_count--;
	if (n->writer)
		blob_writer_free(n->writer);
	config_unref(n->cfg);
	strbuf_clear(&n->original);
	arena_clear(&n->arena);
	mem_free(n);
	send_check_drained(b->send);
}

/* --- into the queue --------------------------------------------------------------------------- */
static int write_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct notice *n = container_of(op, struct notice, op);

	n->file.is_file = false;
	for (size_t i = 0; i < n->count; i++) {
		struct queue_rcpt row = n->rows[i].row;
		struct blob file;

		if (row.state == QUEUE_FAILED || row.state == QUEUE_SENT) {
			if (queue_rcpt_remove(txn, row.qid, row.n, &file, err) < 0)
				return -1;
			if (file.is_file)
				n->file = file;
			continue;
		}
		row.notice = NOTICE_SENT;
		if (queue_rcpt_update(txn, &row, err) < 0)
			return -1;
	}
	return n->told_count > 0 ? queue_add(txn, &n->added, &n->rcpt, 1, err) : 0;
}

static void unlink_run(struct work *w)
{
	struct notice *n = container_of(w, struct notice, work);

	if (n->writer)
		blob_writer_free(n->writer);
	n->writer = NULL;
	if (n->file.is_file)
		(void)blob_unlink(queue_blobs(n->b->send->queue), n->file.id, NULL);
}

static void unlink_done(struct work *w)
{
	notice_end(container_of(w, struct notice, work));
}

static void write_done(struct db_op *op)
{
	struct notice *n = container_of(op, struct notice, op);
	char qid[QUEUE_ID_TEXT], added[QUEUE_ID_TEXT];

	n->err = op->err;
	if (op->err.code == ERR_NONE && n->told_count > 0) {
		queue_id_format(qid, n->entry.qid);
		queue_id_format(added, n->added.qid);
		log_info("bounce-queued", LOG_STR("qid", added), LOG_STR("about", qid),
		    LOG_STR("to", n->to), LOG_U64("recipients", n->told_count));
		blob_keep(n->writer);
		if (n->class == QUEUE_LOCAL)
			send_tell_local(n->b->send, n->added.qid);
		else
			sched_scan(n->b->send);
	}
	/* Files come and go on a thread. */
	n->work.run = unlink_run;
	n->work.done = unlink_done;
	workers_submit(queue_workers(n->b->send->queue), &n->work);
}

static void write_rows(struct notice *n)
{
	n->op = (struct db_op){.run = write_run,
	    .done = write_done,
	    .cost = 8192 * (n->count + 1) + n->added.blob.stored,
	    .need = DB_REMOVES};
	queue_write(n->b->send->queue, &n->op);
}

/* --- the text --------------------------------------------------------------------------------- */
static enum dsn_action action_of(const struct queue_rcpt *r)
{
	if (r->state == QUEUE_SENT)
		return r->class == QUEUE_LOCAL ? DSN_DELIVERED : DSN_RELAYED;
	return r->state == QUEUE_FAILED ? DSN_FAILED : DSN_DELAYED;
}

static void fill_rcpts(const struct notice *n, struct dsn_rcpt *out, size_t *count)
{
	for (size_t i = 0; i < n->count; i++) {
		const struct queue_rcpt *r = &n->rows[i].row;

		if (!n->rows[i].is_told)
			continue;
		out[(*count)++] = (struct dsn_rcpt){
		    .action = action_of(r),
		    .address = r->address,
		    .orcpt = r->orcpt,
		    .host = r->host,
		    .reply = r->last_reply.n > 0 ? r->last_reply : SPAN("451 4.4.7 no answer yet"),
		    .until = n->entry.arrival + n->life,
		};
	}
}

static void text_run(struct work *w)
{
	struct notice *n = container_of(w, struct notice, work);
	struct dsn_rcpt *rcpts = mem_array(n->told_count, sizeof(*rcpts));
	struct send *s = n->b->send;
	struct dsn d = {.our_name = config_str(n->cfg, SET_SERVER_HOSTNAME),
	    .to = span_of(n->to),
	    .from = n->entry.sender,
	    .envid = n->entry.envid,
	    .arrival = n->entry.arrival,
	    .now = clock_now(),
	    .rcpts = rcpts,
	    .original = strbuf_span(&n->original),
	    .is_whole = n->is_whole,
	    .is_utf8 = n->entry.is_utf8};
	struct strbuf text;
	char unique[33];

	random_hex(unique, 16);
	d.unique = unique;
	fill_rcpts(n, rcpts, &d.count);
	strbuf_init(&text, TEXT_MAX);
	dsn_write(&text, &d);
	n->writer =
	    blob_writer_new(queue_blobs(s->queue), config_u64(n->cfg, SET_STORE_INLINE_MAX));
	if (text.failed)
		err_set(&n->err, ERR_LIMIT, "the notice is too long");
	else if (blob_write(n->writer, strbuf_span(&text), &n->err) == 0)
		blob_finish(n->writer, &n->added.blob, &n->err);
	strbuf_clear(&text);
	mem_free(rcpts);
}

static void text_done(struct work *w)
{
	struct notice *n = container_of(w, struct notice, work);

	if (n->err.code != ERR_NONE) {
		notice_end(n);
		return;
	}
	n->added.sender = span_make("", 0);
	n->added.arrival = clock_now();
	n->added.client = n->added.session = n->added.helo = n->added.envid = span_make("", 0);
	n->added.is_utf8 = n->entry.is_utf8;
	n->added.is_8bit = true;
	n->rcpt = (struct queue_rcpt){.class = n->class,
	    .address = span_of(n->to),
	    .next = n->added.arrival,
	    .last_reply = span_make("", 0),
	    .host = span_make("", 0),
	    .orcpt = span_make("", 0)};
	write_rows(n);
}

static void write_text(struct notice *n)
{
	n->work.run = text_run;
	n->work.done = text_done;
	workers_submit(queue_workers(n->b->send->queue), &n->work);
}

/* --- who is told ------------------------------------------------------------------------------ */
static void on_resolved(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	struct notice *n = arg;
	struct ipc_resolved m;

	n->query = NULL;
	if (!msg || msg->type != IPC_AUTH_RESOLVED || !ipc_dec_resolved(msg->body, &m) ||
	    m.status == RESOLVE_TEMP) {
		err_set(&n->err, ERR_TEMP, "whose address %s is cannot be asked now", n->to);
		notice_end(n);
		return;
	}
	n->class = m.status == RESOLVE_REMOTE ? QUEUE_REMOTE : QUEUE_LOCAL;
	/* One of ours who is gone: the administrator is told instead. */
	if (m.status == RESOLVE_UNKNOWN) {
		snprintf(n->to, sizeof(n->to), "postmaster");
		n->class = QUEUE_LOCAL;
	}
	write_text(n);
}

static void resolve(struct notice *n)
{
	struct ipc_resolve m = {.address = span_of(n->to)};
	struct strbuf body;

	strbuf_init(&body, 4096);
	ipc_enc_resolve(&body, &m);
	n->query = ipc_call(
	    n->b->send->role->authd, IPC_AUTH_RESOLVE, strbuf_span(&body), AUTH_MS, on_resolved, n);
	strbuf_clear(&body);
}

static bool is_postmaster(struct span address)
{
	return span_ieq(address, SPAN("postmaster")) || span_istarts(address, SPAN("postmaster@"));
}

static bool is_wanted(const struct queue_entry *e, const struct queue_rcpt *r)
{
	/* RFC 3461 5.2.3 to 5.2.7. A notice that fails is for the postmaster alone. */
	if (r->state == QUEUE_SENT)
		return e->sender.n > 0 && (r->notify & QUEUE_NOTIFY_SUCCESS);
	if (r->state != QUEUE_FAILED)
		return e->sender.n > 0;
	if (e->sender.n == 0)
		return !is_postmaster(r->address);
	return r->notify == 0 || (r->notify & QUEUE_NOTIFY_FAILURE);
}

/* --- reading ---------------------------------------------------------------------------------- */
static bool keep(struct notice *n, struct span *s)
{
	return arena_copy(&n->arena, s->p ? *s : span_make("", 0), s);
}

static bool add_row(void *arg, const struct queue_rcpt *r)
{
	struct notice *n = arg;
	struct told *t;

	if (r->qid != n->entry.qid)
		return false;
	if (r->state != QUEUE_FAILED && r->state != QUEUE_SENT && r->notice != NOTICE_DUE)
		return true;
	if (n->count == SCAN_ROWS)
		return false;
	t = &n->rows[n->count++];
	*t = (struct told){.row = *r, .is_told = is_wanted(&n->entry, r)};
	if (!keep(n, &t->row.address) || !keep(n, &t->row.orcpt) || !keep(n, &t->row.host) ||
	    !keep(n, &t->row.last_reply)) {
		n->count--;
		return false;
	}
	n->told_count += t->is_told;
	return true;
}

/* The header, and the whole message if that was asked for and it is small. */
static int read_original(struct notice *n, struct err *err)
{
	struct blob_reader *reader;
	bool is_whole = n->entry.ret != QUEUE_RET_HEADERS && n->entry.blob.size <= WHOLE_MAX;
	size_t max = is_whole ? WHOLE_MAX : HEADER_MAX, got = 1;
	bool is_complete;

	if (blob_open(queue_blobs(n->b->send->queue), &n->entry.blob, &reader, err) < 0)
		return -1;
	while (got > 0 && n->original.n < max) {
		size_t part = max - n->original.n < 16384 ? max - n->original.n : 16384;
		char *room = strbuf_room(&n->original, part);

		if (!room || blob_read(reader, room, part, &got, err) < 0) {
			blob_reader_free(reader);
			return -1;
		}
		strbuf_added(&n->original, got);
	}
	blob_reader_free(reader);
	n->is_whole = is_whole;
	if (!is_whole)
		strbuf_truncate(
		    &n->original, mail_header_size(strbuf_span(&n->original), &is_complete));
	return 0;
}

static void read_run(struct db_job *job, struct db_txn *txn)
{
	struct notice *n = container_of(job, struct notice, job);
	struct queue_entry *e = &n->entry;

	if (queue_entry_get(txn, e->qid, e, &job->err) < 0)
		return;
	n->rows = arena_array(&n->arena, SCAN_ROWS, sizeof(*n->rows));
	if (!n->rows || queue_each_rcpt(txn, e->qid, add_row, n, &job->err) < 0)
		return;
	if (n->told_count > 0 && read_original(n, &job->err) < 0)
		return;
	if (!keep(n, &e->sender) || !keep(n, &e->envid))
		err_set(&job->err, ERR_LIMIT, "an envelope that is too large");
	e->client = e->helo = e->session = e->blob.data = span_make("", 0);
}

static void read_done(struct db_job *job)
{
	struct notice *n = container_of(job, struct notice, job);

	if (job->err.code == ERR_NOT_FOUND || (job->err.code == ERR_NONE && n->count == 0)) {
		notice_end(n); /* deleted meanwhile */
		return;
	}
	n->err = job->err;
	if (job->err.code != ERR_NONE) {
		notice_end(n);
	} else if (n->told_count == 0) {
		write_rows(n);
	} else if (n->entry.sender.n == 0) {
		snprintf(n->to, sizeof(n->to), "postmaster");
		n->class = QUEUE_LOCAL;
		write_text(n);
	} else {
		snprintf(n->to, sizeof(n->to), "%.*s", SPAN_FMT(n->entry.sender));
		resolve(n);
	}
}

static void notice_start(struct bouncer *b, uint64_t qid)
{
	struct notice *n = mem_zalloc(sizeof(*n));

	n->b = b;
	n->entry.qid = qid;
	n->cfg = config_ref(b->send->role->cfg);
	n->life = b->send->schedule.life;
	arena_init(&n->arena, MAIL_ARENA_MAX * 4);
	strbuf_init(&n->original, WHOLE_MAX + 16384);
	list_append(&b->notices, &n->link);
	b->notice_count++;
	n->job = (struct db_job){.run = read_run, .done = read_done};
	queue_read(b->send->queue, &n->job);
}
