/* One mail over a connection: MAIL, RCPT, DATA, and what the server says to each. */
#include "smtpd/send/session.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <stdio.h>
#include <string.h>

#define COMMAND_MS 300000
#define DATA_MS 120000
#define SLICE_MS 180000
#define FINAL_MS 600000
#define SLICE (64 * 1024)

/* --- the end of a mail ------------------------------------------------------------------------ */
void transfer_clear(struct session *c)
{
	blob_reader_free(c->reader_body);
	c->reader_body = NULL;
	strbuf_clear(&c->slice);
}

static void describe_host(const struct session *c, char out[DNS_NAME_MAX + 1])
{
	char address[NET_ADDR_TEXT] = "";

	if (c->conn)
		net_addr_format_port(conn_peer(c->conn), address);
	snprintf(out, DNS_NAME_MAX + 1, "%.180s%s%s%s", session_host(c), address[0] ? " [" : "",
	    address, address[0] ? "]" : "");
}

void transfer_abort(struct session *c, enum result result, const struct reply *why)
{
	char host[DNS_NAME_MAX + 1];
	struct mail *m = c->mail;

	if (!m)
		return;
	c->mail = NULL;
	describe_host(c, host);
	mail_fail(m, result, why, host[0] ? host : c->last_host);
	mail_finish(m);
}

/* The transaction is over: every target has its result. */
static void finish(struct session *c)
{
	struct reply none;

	reply_make(&none, 451, "4.3.0 no reply for this recipient");
	c->mails++;
	blob_reader_free(c->reader_body);
	c->reader_body = NULL;
	dest_is_alive(c->dest);
	transfer_abort(c, RESULT_LATER, &none);
}

static void next_mail(struct session *c, bool is_clean)
{
	c->was_alive = false;
	if (c->mails >= SESSION_MAILS_MAX || c->send->role->is_draining) {
		session_quit(c);
		return;
	}
	if (is_clean) {
		transfer_start(c);
		return;
	}
	c->step = STEP_RSET;
	conn_set_deadline(c->conn, COMMAND_MS);
	conn_write(c->conn, SPAN("RSET\r\n"));
}

/* --- the envelope ----------------------------------------------------------------------------- */
/* What the server must be able to do for this mail; false: its result is set. */
static bool check_abilities(struct session *c)
{
	const struct queue_entry *e = &c->mail->entry;
	struct reply why = {0};

	/* RFC 8689 4.2.1: rather back than over a connection that nobody has verified. */
	if (e->is_requiretls)
		reply_make(
		    &why, 554, "5.7.30 the sender wants verified TLS, which is not to be had");
	else if (e->is_utf8 && !(c->caps & CAP_SMTPUTF8))
		reply_make(
		    &why, 553, "5.6.7 %s takes no addresses or headers in UTF-8", session_host(c));
	else if (e->is_8bit && !(c->caps & CAP_8BITMIME))
		reply_make(&why, 554, "5.6.3 %s takes no 8-bit text", session_host(c));
	else if (c->size_max > 0 && e->blob.size > c->size_max)
		reply_make(&why, 552, "5.3.4 %s takes at most %llu bytes", session_host(c),
		    (unsigned long long)c->size_max);
	else
		return true;
	transfer_abort(c, RESULT_NEVER, &why);
	return false;
}

static void add_mail_command(struct session *c, struct strbuf *b)
{
	const struct queue_entry *e = &c->mail->entry;

	strbuf_addf(b, "MAIL FROM:<%.*s>", SPAN_FMT(e->sender));
	if (c->caps & CAP_SIZE)
		strbuf_addf(b, " SIZE=%llu", (unsigned long long)e->blob.size);
	if (e->is_8bit)
		strbuf_add_str(b, " BODY=8BITMIME");
	if (e->is_utf8)
		strbuf_add_str(b, " SMTPUTF8");
	if ((c->caps & CAP_DSN) && e->ret != QUEUE_RET_NONE)
		strbuf_add_str(b, e->ret == QUEUE_RET_FULL ? " RET=FULL" : " RET=HDRS");
	if ((c->caps & CAP_DSN) && e->envid.n > 0) {
		strbuf_add_str(b, " ENVID=");
		strbuf_add(b, e->envid);
	}
	strbuf_add_str(b, "\r\n");
}

static void add_notify(struct strbuf *b, uint8_t notify)
{
	static const struct {
		uint8_t bit;
		const char *word;
	} words[] = {{QUEUE_NOTIFY_SUCCESS, "SUCCESS"}, {QUEUE_NOTIFY_FAILURE, "FAILURE"},
	    {QUEUE_NOTIFY_DELAY, "DELAY"}};
	bool is_first = true;

	if (notify == 0)
		return;
	strbuf_add_str(b, " NOTIFY=");
	if (notify & QUEUE_NOTIFY_NEVER) {
		strbuf_add_str(b, "NEVER");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (!(notify & words[i].bit))
			continue;
		strbuf_addf(b, "%s%s", is_first ? "" : ",", words[i].word);
		is_first = false;
	}
}

static void add_rcpt_command(struct session *c, const struct target *t, struct strbuf *b)
{
	strbuf_addf(b, "RCPT TO:<%.*s>", SPAN_FMT(t->row.address));
	if (c->caps & CAP_DSN) {
		add_notify(b, t->row.notify);
		if (t->row.orcpt.n > 0)
			strbuf_addf(b, " ORCPT=%.*s", SPAN_FMT(t->row.orcpt));
	}
	strbuf_add_str(b, "\r\n");
}

void transfer_start(struct session *c)
{
	struct strbuf b;

	if (!c->mail)
		c->mail = dest_take(c->dest);
	while (c->mail && !check_abilities(c))
		c->mail = dest_take(c->dest);
	if (!c->mail) {
		session_idle(c);
		return;
	}
	c->step = STEP_MAIL;
	c->replies = c->accepted = 0;
	conn_set_deadline(c->conn, COMMAND_MS);
	strbuf_init(&b, 256 * 1024);
	add_mail_command(c, &b);
	for (size_t i = 0; (c->caps & CAP_PIPELINING) && i < c->mail->count; i++)
		add_rcpt_command(c, &c->mail->targets[i], &b);
	conn_write(c->conn, strbuf_span(&b));
	strbuf_clear(&b);
}

static void say_rcpt(struct session *c)
{
	struct strbuf b;

	strbuf_init(&b, 8192);
	add_rcpt_command(c, &c->mail->targets[c->replies - 1], &b);
	conn_set_deadline(c->conn, COMMAND_MS);
	conn_write(c->conn, strbuf_span(&b));
	strbuf_clear(&b);
}

static void set_result(struct target *t, const struct reply *r)
{
	t->reply = *r;
	/* RFC 5321 4.5.3.1.10: "too many recipients" means later, whatever its first digit. */
	t->result = reply_is_permanent(r) && r->code != 552 ? RESULT_NEVER : RESULT_LATER;
}

static void set_all(struct session *c, const struct reply *r)
{
	for (size_t i = 0; i < c->mail->count; i++)
		if (c->mail->targets[i].result == RESULT_NONE)
			set_result(&c->mail->targets[i], r);
}

static void envelope_is_over(struct session *c)
{
	if (c->accepted == 0) {
		finish(c);
		next_mail(c, false);
		return;
	}
	c->step = STEP_DATA;
	conn_set_deadline(c->conn, DATA_MS);
	conn_write(c->conn, SPAN("DATA\r\n"));
}

static void on_envelope(struct session *c, const struct reply *r)
{
	size_t n = c->replies++;

	c->was_alive = true;
	if (n == 0 && !reply_is_good(r)) {
		/* A sender, or a server, that is not wanted: it says so for all. */
		for (size_t i = 0; i < c->mail->count; i++) {
			c->mail->targets[i].reply = *r;
			c->mail->targets[i].result =
			    reply_is_permanent(r) ? RESULT_NEVER : RESULT_LATER;
		}
		if (!(c->caps & CAP_PIPELINING))
			c->replies = c->mail->count + 1;
	} else if (n > 0 && c->mail->targets[n - 1].result == RESULT_NONE) {
		struct target *t = &c->mail->targets[n - 1];

		t->is_accepted = reply_is_good(r);
		if (t->is_accepted)
			c->accepted++;
		else
			set_result(t, r);
	}
	if (c->replies == c->mail->count + 1)
		envelope_is_over(c);
	else if (!(c->caps & CAP_PIPELINING))
		say_rcpt(c);
}

/* --- the body --------------------------------------------------------------------------------- */
static void read_more(struct session *c);

static void read_run(struct db_job *job, struct db_txn *txn)
{
	struct session *c = container_of(job, struct session, job);
	struct queue_entry e;

	if (!c->reader_body &&
	    (queue_entry_get(txn, c->mail->entry.qid, &e, &job->err) < 0 ||
		blob_open(queue_blobs(c->send->queue), &e.blob, &c->reader_body, &job->err) < 0))
		return;
	while (!c->is_read && c->slice.n < SLICE) {
		char *room = strbuf_room(&c->slice, 16 * 1024);
		size_t n = 0;

		if (!room || blob_read(c->reader_body, room, 16 * 1024, &n, &job->err) < 0)
			return;
		strbuf_added(&c->slice, n);
		c->is_read = n == 0;
	}
}

static void write_slice(struct session *c)
{
	struct strbuf out;

	strbuf_init(&out, 2 * c->slice.n + 16);
	stuff(&c->stuffer, strbuf_span(&c->slice), &out);
	strbuf_reset(&c->slice);
	if (c->is_read)
		stuff_end(&c->stuffer, &out);
	conn_write(c->conn, strbuf_span(&out));
	strbuf_clear(&out);
}

static void read_done(struct db_job *job)
{
	struct session *c = container_of(job, struct session, job);

	c->is_reading = false;
	if (c->is_dropped) {
		session_drop(c);
		return;
	}
	if (job->err.code != ERR_NONE) {
		/* Half a message must not look like a whole one: the connection just ends. */
		session_broken(c, 451, "4.3.0 local error: %s", job->err.text);
		return;
	}
	write_slice(c);
	if (c->is_read) {
		c->step = STEP_FINAL;
		conn_set_deadline(c->conn, FINAL_MS);
		return;
	}
	conn_set_deadline(c->conn, SLICE_MS);
	if (!conn_is_congested(c->conn))
		read_more(c);
}

static void read_more(struct session *c)
{
	c->is_reading = true;
	c->job = (struct db_job){.run = read_run, .done = read_done};
	queue_read(c->send->queue, &c->job);
}

void transfer_drain(struct session *c)
{
	if (c->step == STEP_BODY && !c->is_reading)
		read_more(c);
}

static void on_data(struct session *c, const struct reply *r)
{
	if (r->code != 354) {
		set_all(c, r);
		finish(c);
		next_mail(c, false);
		return;
	}
	c->step = STEP_BODY;
	c->is_read = false;
	c->stuffer = (struct stuffer){.with_dots = true};
	conn_set_deadline(c->conn, SLICE_MS);
	read_more(c);
}

static void on_final(struct session *c, const struct reply *r)
{
	for (size_t i = 0; i < c->mail->count; i++) {
		struct target *t = &c->mail->targets[i];

		if (!t->is_accepted)
			continue;
		if (reply_is_good(r)) {
			t->reply = *r;
			t->result = RESULT_SENT;
			t->is_relayed = !(c->caps & CAP_DSN);
		} else {
			t->reply = *r;
			t->result = reply_is_permanent(r) ? RESULT_NEVER : RESULT_LATER;
		}
	}
	finish(c);
	next_mail(c, true);
}

void transfer_reply(struct session *c, const struct reply *r)
{
	/* Closing: what it was about is not said. */
	if (r->code == 421) {
		session_broken(c, 421, "%s", r->text + 4);
		return;
	}
	switch (c->step) {
	case STEP_MAIL:
		on_envelope(c, r);
		break;
	case STEP_DATA:
		on_data(c, r);
		break;
	case STEP_FINAL:
		on_final(c, r);
		break;
	case STEP_RSET:
		if (reply_is_good(r))
			transfer_start(c);
		else
			session_quit(c);
		break;
	default:
		session_broken(c, 451, "4.5.0 a reply that nobody asked for: %s", r->text);
		break;
	}
}
