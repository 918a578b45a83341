/*
 * send-test: a message through the queue like any other, and what becomes of it: watched in the
 * trace until it is taken, refused, or has to wait.
 */
#include "smtpd/send/check.h"

#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/event/clock.h"
#include "common/mail/date.h"
#include "smtpd/queue/trace.h"

#include <stdio.h>
#include <string.h>

#define TEXT_MAX 8192
#define ROW_MAX 4096
#define LOOK_MS 200
#define PATIENCE_MS 50000
#define LOOK_BACK 5000 /* records of other messages between two looks */
#define AT_ONCE_MAX 8

static size_t running;

struct seen {
	enum trace_event event; /* 0: nothing new */
	uint64_t number;
	int64_t time;
	char text[QUEUE_REPLY_MAX];
};

struct send_test {
	struct send *send;
	struct config *cfg;
	struct admin_request rq;
	struct work work;
	struct db_op op;
	struct db_job job;
	struct timer look;
	uint64_t give_up; /* steady clock, ms */
	uint64_t number;  /* of the trace's last record that was told */
	char from[QUEUE_ADDRESS_MAX + 1], to[QUEUE_ADDRESS_MAX + 1];
	char id[QUEUE_ID_TEXT];
	struct blob_writer *writer;
	struct queue_entry entry;
	struct queue_rcpt rcpt;
	struct seen seen;
	struct err err;
};

static void test_end(struct send_test *t, enum err_code code, const char *text)
{
	admin_end(&t->rq, code, "%s", text);
	timer_clear(&t->look);
	if (t->writer)
		blob_writer_free(t->writer);
	config_unref(t->cfg);
	running--;
	mem_free(t);
}

static void tell(struct send_test *t, enum trace_event event, int64_t time, const char *text)
{
	struct strbuf row;

	strbuf_init(&row, ROW_MAX);
	ipc_rec_number(&row, "time", IPC_TIME, (uint64_t)time);
	ipc_rec_text(&row, "event", span_of(trace_event_name(event)));
	ipc_rec_text(&row, "id", span_of(t->id));
	ipc_rec_text(&row, "from", span_of(t->from));
	ipc_rec_text(&row, "to", span_of(t->to));
	ipc_rec_text(&row, "text", span_of(text));
	admin_record(&t->rq, &row);
	strbuf_clear(&row);
}

/* --- watching --------------------------------------------------------------------------------- */
static bool collect(void *arg, const struct trace_record *r)
{
	struct send_test *t = arg;

	if (r->number <= t->number)
		return false;
	if (r->qid != t->entry.qid)
		return true;
	t->seen.event = r->event;
	t->seen.number = r->number;
	t->seen.time = r->time;
	snprintf(t->seen.text, sizeof(t->seen.text), "%.*s", SPAN_FMT(r->text));
	return false;
}

static void look_run(struct db_job *job, struct db_txn *txn)
{
	struct send_test *t = container_of(job, struct send_test, job);
	uint64_t next;

	t->seen.event = 0;
	(void)trace_back(txn, 0, LOOK_BACK, collect, t, &next, &job->err);
}

static void look_done(struct db_job *job)
{
	struct send_test *t = container_of(job, struct send_test, job);
	char text[200];

	if (job->err.code != ERR_NONE) {
		test_end(t, job->err.code, job->err.text);
		return;
	}
	if (t->seen.event != 0) {
		tell(t, t->seen.event, t->seen.time, t->seen.text);
		t->number = t->seen.number;
	}
	if (t->seen.event == TRACE_SENT || t->seen.event == TRACE_DELIVERED) {
		test_end(t, ERR_NONE,
		    t->seen.event == TRACE_SENT
			? "the other server has taken it: look whether it arrives, and "
			  "not as spam"
			: "it is in the mailbox");
	} else if (t->seen.event == TRACE_DEFERRED) {
		snprintf(text, sizeof(text),
		    "not now: it is tried again by itself; trace %s shows how it goes on", t->id);
		test_end(t, ERR_TEMP, text);
	} else if (t->seen.event != 0 && t->seen.event != TRACE_FORWARDED) {
		test_end(t, ERR_DENIED, "refused: the sender is told why in a notice");
	} else if (clock_mono_ms() >= t->give_up) {
		snprintf(
		    text, sizeof(text), "still under way: trace %s shows how it goes on", t->id);
		test_end(t, ERR_TIMEOUT, text);
	} else {
		timer_set(&t->look, LOOK_MS);
	}
}

static void on_look(void *arg)
{
	struct send_test *t = arg;

	if (t->send->role->is_draining) {
		test_end(t, ERR_TEMP, "shutting down; the message is in the queue");
		return;
	}
	t->job = (struct db_job){.run = look_run, .done = look_done};
	queue_read(t->send->queue, &t->job);
}

/* --- into the queue --------------------------------------------------------------------------- */
static int add_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct send_test *t = container_of(op, struct send_test, op);
	struct trace_limits limits = trace_limits_of(t->cfg);
	struct trace_record r = {.time = t->entry.arrival,
	    .event = TRACE_ACCEPTED,
	    .size = t->entry.blob.size,
	    .session = span_make("", 0),
	    .client = span_make("", 0),
	    .from = span_of(t->from),
	    .to = span_of(t->to),
	    .text = SPAN("send-test")};

	if (queue_add(txn, &t->entry, &t->rcpt, 1, err) < 0)
		return -1;
	r.qid = t->entry.qid;
	if (trace_add(txn, &limits, &r, err) < 0)
		return -1;
	t->number = r.number;
	return 0;
}

static void add_done(struct db_op *op)
{
	struct send_test *t = container_of(op, struct send_test, op);

	if (op->err.code != ERR_NONE) {
		test_end(t, op->err.code, op->err.text);
		return;
	}
	blob_keep(t->writer);
	queue_id_format(t->id, t->entry.qid);
	tell(t, TRACE_ACCEPTED, t->entry.arrival, "");
	if (t->rcpt.class == QUEUE_LOCAL)
		send_tell_local(t->send, t->entry.qid);
	else
		sched_scan(t->send);
	t->give_up = clock_mono_ms() + PATIENCE_MS;
	timer_set(&t->look, LOOK_MS);
}

/* --- the text --------------------------------------------------------------------------------- */
static void add_text(const struct send_test *t, struct strbuf *out)
{
	const char *host = config_str(t->cfg, SET_SERVER_HOSTNAME);
	char date[MAIL_DATE_LEN], unique[33];

	random_hex(unique, 16);
	mail_date_format(date, t->entry.arrival, 0);
	strbuf_addf(out,
	    "From: <%s>\r\nTo: <%s>\r\nSubject: Test message from %s\r\nDate: %s\r\n"
	    "Message-ID: <%s@%s>\r\nMIME-Version: 1.0\r\n"
	    "Content-Type: text/plain; charset=us-ascii\r\n\r\n",
	    t->from, t->to, host, date, unique, host);
	strbuf_addf(out,
	    "This message was sent by the administrator of %s to see whether mail\r\n"
	    "arrives. Nothing needs to be done. If it is among the spam, its header says why.\r\n",
	    host);
}

static void text_run(struct work *w)
{
	struct send_test *t = container_of(w, struct send_test, work);
	struct strbuf text;

	strbuf_init(&text, TEXT_MAX);
	add_text(t, &text);
	t->writer =
	    blob_writer_new(queue_blobs(t->send->queue), config_u64(t->cfg, SET_STORE_INLINE_MAX));
	if (blob_write(t->writer, strbuf_span(&text), &t->err) == 0)
		(void)blob_finish(t->writer, &t->entry.blob, &t->err);
	strbuf_clear(&text);
}

static void text_done(struct work *w)
{
	struct send_test *t = container_of(w, struct send_test, work);

	if (t->err.code != ERR_NONE) {
		test_end(t, t->err.code, t->err.text);
		return;
	}
	t->op = (struct db_op){.run = add_run,
	    .done = add_done,
	    .cost = 16384 + t->entry.blob.stored,
	    .need = DB_ADDS};
	queue_write(t->send->queue, &t->op);
}

void send_test(struct send *s, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	struct send_test *t;

	if (cmd->count != 4 || cmd->words[1].n > QUEUE_ADDRESS_MAX ||
	    cmd->words[2].n > QUEUE_ADDRESS_MAX) {
		admin_end(rq, ERR_INVALID, "malformed request");
		return;
	}
	if (running == AT_ONCE_MAX || s->role->is_draining) {
		admin_end(rq, ERR_TEMP, "too many tests at once");
		return;
	}
	t = mem_zalloc(sizeof(*t));
	running++;
	t->send = s;
	t->cfg = config_ref(s->role->cfg);
	t->rq = *rq;
	timer_init(&t->look, s->role->loop, on_look, t);
	memcpy(t->from, cmd->words[1].p, cmd->words[1].n);
	memcpy(t->to, cmd->words[2].p, cmd->words[2].n);
	t->entry.sender = span_of(t->from);
	t->entry.arrival = clock_now();
	t->entry.client = t->entry.helo = t->entry.session = t->entry.envid = span_make("", 0);
	t->rcpt = (struct queue_rcpt){
	    .class = span_eq(cmd->words[3], SPAN("local")) ? QUEUE_LOCAL : QUEUE_REMOTE,
	    .address = span_of(t->to),
	    .next = t->entry.arrival,
	    .last_reply = span_make("", 0),
	    .host = span_make("", 0),
	    .orcpt = span_make("", 0)};
	t->work.run = text_run;
	t->work.done = text_done;
	workers_submit(queue_workers(s->queue), &t->work);
}
