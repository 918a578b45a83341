/*
 * One mail over a connection: its content is looked at, then MAIL, RCPT and DATA go out together,
 * or with BDAT a small message too, and what the server says to each is noted.
 */
#include "smtpd/send/session.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <stdio.h>
#include <string.h>

#define COMMAND_MS 300000
#define DATA_MS 120000
#define SLICE_MS 180000
#define FINAL_MS 600000

/* --- the end of a mail ------------------------------------------------------------------------ */
void transfer_clear(struct session *c)
{
	source_close(&c->source);
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

/* "TLSv1.3 TLS_AES_256_GCM_SHA384, opportunistic by outbound.tls", "none, ...". */
static void describe_tls(const struct session *c, char *out, size_t size)
{
	if (!c->conn)
		return;
	snprintf(out, size, "%s%s%s, %s by %s",
	    conn_is_tls(c->conn) ? conn_tls_version(c->conn) : "none",
	    conn_is_tls(c->conn) ? " " : "", conn_tls_cipher(c->conn), out_tls_name(c->tls.stance),
	    tls_source_name(c->tls.source));
}

void transfer_abort(struct session *c, enum result result, const struct reply *why)
{
	char host[DNS_NAME_MAX + 1];
	struct mail *m = c->mail;

	if (!m)
		return;
	c->mail = NULL;
	source_close(&c->source);
	describe_host(c, host);
	describe_tls(c, m->tls, sizeof(m->tls));
	mail_fail(m, result, why, host[0] ? host : c->last_host);
	mail_finish(m);
}

/* The transaction is over: every target has its result. */
static void finish(struct session *c)
{
	struct reply none;

	reply_make(&none, 451, "4.3.0 no reply for this recipient");
	c->mails++;
	dest_is_alive(c->dest);
	transfer_abort(c, RESULT_LATER, &none);
}

/* It was made as settings and routes wanted it then. */
static bool is_stale(const struct session *c)
{
	return c->generation != c->send->generation;
}

static void next_mail(struct session *c, bool is_clean)
{
	c->was_alive = false;
	if (c->mails >= SESSION_MAILS_MAX || c->send->role->is_draining || is_stale(c)) {
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

/* --- before the first command ----------------------------------------------------------------- */
/* On a worker thread. */
static void prepare(struct session *c, const struct queue_entry *e, struct err *err)
{
	struct blob_dir *dir = queue_blobs(c->send->queue);
	struct convert_plan *plan = NULL;

	c->content = CONVERT_NOTHING;
	if (envelope_needs_plan(c) && source_plan(dir, &e->blob, &plan, &c->content, err) < 0)
		return;
	c->has_utf8_header = plan && convert_plan_has_utf8_header(plan);
	snprintf(c->obstacle, sizeof(c->obstacle), "%s", plan ? convert_plan_why(plan) : "");
	if (c->content != CONVERT_NEEDED || (c->caps & CAP_8BITMIME)) {
		convert_plan_free(plan);
		plan = NULL;
	}
	if (source_open(dir, &e->blob, plan, &c->source, err) == 0)
		(void)sign_first_slice(c, e, err);
}

/* A body in the queue's environment is small: read within the transaction. */
static void prepare_run(struct db_job *job, struct db_txn *txn)
{
	struct session *c = container_of(job, struct session, job);
	struct queue_entry e;

	if (queue_entry_get(txn, c->mail->entry.qid, &e, &job->err) == 0)
		prepare(c, &e, &job->err);
}

/* A file is read without one: it may take a while. */
static void prepare_file(struct work *w)
{
	struct session *c = container_of(w, struct session, work);

	prepare(c, &c->mail->entry, &c->job.err);
}

static void say_envelope(struct session *c);

static void prepared(struct session *c)
{
	const struct err *err = &c->job.err;
	struct reply why;

	c->is_reading = false;
	dkim_keys_unref(c->keys);
	c->keys = NULL;
	if (c->is_dropped) {
		c->is_dropped = false;
		source_close(&c->source);
		session_go_on(c);
		return;
	}
	if (err->code != ERR_NONE) {
		reply_make(&why, 451, "4.3.0 local error: %s", err->text);
		transfer_abort(c, RESULT_LATER, &why);
	} else if (!envelope_is_possible(c, &why)) {
		transfer_abort(c, RESULT_NEVER, &why);
	}
	if (c->mail)
		say_envelope(c);
	else
		transfer_start(c);
}

static void prepare_done(struct db_job *job)
{
	prepared(container_of(job, struct session, job));
}

static void prepare_file_done(struct work *w)
{
	prepared(container_of(w, struct session, work));
}

static struct mail *take_next(struct session *c)
{
	if (is_stale(c))
		return NULL;
	return c->route.is_by_sender ? dest_take_from(c->dest, c->sender_domain)
				     : dest_take(c->dest);
}

void transfer_start(struct session *c)
{
	struct reply why;

	if (!c->mail)
		c->mail = take_next(c);
	while (c->mail && !envelope_is_acceptable(c, &why)) {
		transfer_abort(c, RESULT_NEVER, &why);
		c->mail = take_next(c);
	}
	if (!c->mail) {
		session_idle(c);
		return;
	}
	c->step = STEP_PREPARE;
	conn_set_deadline(c->conn, COMMAND_MS);
	strbuf_reset(&c->slice);
	source_close(&c->source);
	c->is_reading = true;
	c->keys = dkim_keys_ref(c->send->keys);
	c->job = (struct db_job){.run = prepare_run, .done = prepare_done};
	c->work = (struct work){.run = prepare_file, .done = prepare_file_done};
	if (c->mail->entry.blob.is_file)
		workers_submit(queue_workers(c->send->queue), &c->work);
	else
		queue_read(c->send->queue, &c->job);
}

/* --- the content ------------------------------------------------------------------------------ */
/* The slice as it goes out, with its end if it is the last. */
static void stuff_slice(struct session *c, struct strbuf *out)
{
	strbuf_init(out, 2 * c->slice.n + 16);
	stuff(&c->stuffer, strbuf_span(&c->slice), out);
	strbuf_reset(&c->slice);
	if (c->source.is_done)
		stuff_end(&c->stuffer, out);
}

static void write_chunk(struct session *c)
{
	struct strbuf out;

	stuff_slice(c, &out);
	conn_writef(c->conn, "BDAT %zu%s\r\n", out.n, c->source.is_done ? " LAST" : "");
	conn_write(c->conn, strbuf_span(&out));
	strbuf_clear(&out);
	c->chunks++;
}

static void read_more(struct session *c);

/* What was read goes out; then there is more of it, or the last reply to wait for. */
static void write_slice(struct session *c)
{
	struct strbuf out;

	if (c->is_chunking) {
		write_chunk(c);
	} else {
		stuff_slice(c, &out);
		conn_write(c->conn, strbuf_span(&out));
		strbuf_clear(&out);
	}
	if (c->source.is_done) {
		c->step = STEP_FINAL;
		conn_set_deadline(c->conn, FINAL_MS);
		return;
	}
	conn_set_deadline(c->conn, SLICE_MS);
	transfer_drain(c);
}

static void read_run(struct db_job *job, struct db_txn *txn)
{
	struct session *c = container_of(job, struct session, job);

	(void)source_read(&c->source, &c->slice, SLICE, &job->err);
}

static void read_done(struct db_job *job)
{
	struct session *c = container_of(job, struct session, job);

	c->is_reading = false;
	if (c->is_dropped)
		session_go_on(c);
	else if (job->err.code != ERR_NONE)
		/* Half a message must not look like a whole one: the connection just ends. */
		session_broken(c, 451, "4.3.0 local error: %s", job->err.text);
	else
		write_slice(c);
}

static void read_more(struct session *c)
{
	c->is_reading = true;
	c->job = (struct db_job){.run = read_run, .done = read_done};
	queue_read(c->send->queue, &c->job);
}

void transfer_drain(struct session *c)
{
	/* Without PIPELINING each chunk waits for the reply to the last. */
	bool may_send = !c->is_chunking || (c->caps & CAP_PIPELINING) || c->chunks == 0;

	if (c->step == STEP_BODY && !c->is_reading && may_send && !conn_is_congested(c->conn))
		read_more(c);
}

static void begin_content(struct session *c)
{
	c->step = STEP_BODY;
	c->stuffer = (struct stuffer){.with_dots = !c->is_chunking};
	write_slice(c);
}

/* --- the envelope ----------------------------------------------------------------------------- */
static void say_envelope(struct session *c)
{
	struct strbuf b;

	c->step = STEP_MAIL;
	c->replies = c->accepted = c->chunks = 0;
	c->is_chunking = c->caps & CAP_CHUNKING;
	c->is_data_said = (c->caps & CAP_PIPELINING) && (!c->is_chunking || c->source.is_done);
	conn_set_deadline(c->conn, COMMAND_MS);
	strbuf_init(&b, 256 * 1024);
	envelope_add_mail(c, &b);
	for (size_t i = 0; (c->caps & CAP_PIPELINING) && i < c->mail->count; i++)
		envelope_add_rcpt(c, &c->mail->targets[i], &b);
	if (c->is_data_said && !c->is_chunking)
		strbuf_add_str(&b, "DATA\r\n");
	conn_write(c->conn, strbuf_span(&b));
	strbuf_clear(&b);
	if (!c->is_data_said || !c->is_chunking)
		return;
	/* All of it at once: its reply is the one behind those to the recipients. */
	c->stuffer = (struct stuffer){0};
	write_chunk(c);
}

static void say_rcpt(struct session *c)
{
	struct strbuf b;

	strbuf_init(&b, 8192);
	envelope_add_rcpt(c, &c->mail->targets[c->replies - 1], &b);
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
	if (c->is_data_said) {
		c->step = c->is_chunking ? STEP_FINAL : STEP_DATA;
		conn_set_deadline(c->conn, c->is_chunking ? FINAL_MS : DATA_MS);
	} else if (c->accepted == 0) {
		finish(c);
		next_mail(c, false);
	} else if (c->is_chunking) {
		begin_content(c);
	} else {
		c->step = STEP_DATA;
		conn_set_deadline(c->conn, DATA_MS);
		conn_write(c->conn, SPAN("DATA\r\n"));
	}
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

/* --- what the server says to the content ------------------------------------------------------ */
static void on_data(struct session *c, const struct reply *r)
{
	if (r->code != 354) {
		set_all(c, r);
		finish(c);
		next_mail(c, false);
		return;
	}
	if (c->accepted > 0) {
		begin_content(c);
		return;
	}
	/* RFC 2920 3.1: it was said before the answers were known. */
	c->step = STEP_FINAL;
	conn_set_deadline(c->conn, FINAL_MS);
	conn_write(c->conn, SPAN(".\r\n"));
}

static void on_final(struct session *c, const struct reply *r)
{
	bool is_clean = c->accepted > 0 && reply_is_good(r);

	for (size_t i = 0; i < c->mail->count; i++) {
		struct target *t = &c->mail->targets[i];

		if (!t->is_accepted)
			continue;
		t->reply = *r;
		if (reply_is_good(r)) {
			t->result = RESULT_SENT;
			t->is_relayed = !(c->caps & CAP_DSN);
		} else {
			t->result = reply_is_permanent(r) ? RESULT_NEVER : RESULT_LATER;
		}
	}
	finish(c);
	next_mail(c, is_clean);
}

/* To a chunk before the last: nothing is taken yet, but all may be refused. */
static void on_chunk(struct session *c, const struct reply *r)
{
	if (reply_is_good(r)) {
		transfer_drain(c);
		return;
	}
	for (size_t i = 0; i < c->mail->count; i++) {
		struct target *t = &c->mail->targets[i];

		if (!t->is_accepted)
			continue;
		t->reply = *r;
		t->result = reply_is_permanent(r) ? RESULT_NEVER : RESULT_LATER;
	}
	/* Replies to other chunks may be on their way: this connection is of no use any more. */
	if (c->is_reading) {
		session_broken(c, 451, "4.5.0 refused in its middle: %s", r->text);
		return;
	}
	finish(c);
	session_quit(c);
}

static void on_content(struct session *c, const struct reply *r)
{
	if (c->is_chunking && c->chunks > 0 && (--c->chunks > 0 || c->step == STEP_BODY))
		on_chunk(c, r);
	else if (c->step == STEP_FINAL)
		on_final(c, r);
	else
		session_broken(c, 451, "4.5.0 a reply that nobody asked for: %s", r->text);
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
	case STEP_BODY:
	case STEP_FINAL:
		on_content(c, r);
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
