/* A message becomes ours: its Received field, its intake, the queue's transaction, the 250. */
#include "smtpd/receive/receive.h"

#include "common/base/mem.h"
#include "common/base/rules.h"
#include "common/base/utf8.h"
#include "common/crypto/crypto.h"
#include "common/event/clock.h"
#include "common/ipc/ipc.h"
#include "common/log/log.h"
#include "common/mail/date.h"

#include <stdio.h>

#define COUNT_MS 20000

/* RFC 3848: how it came. */
static const char *with_protocol(const struct session *s)
{
	static const char *const names[3][4] = {
	    {"ESMTP", "ESMTPA", "ESMTPS", "ESMTPSA"},
	    {"UTF8SMTP", "UTF8SMTPA", "UTF8SMTPS", "UTF8SMTPSA"},
	    {"LMTP", "LMTPA", "LMTPS", "LMTPSA"},
	};

	if (!s->is_esmtp)
		return "SMTP";
	return names[s->is_lmtp     ? 2
		     : s->t.is_utf8 ? 1
				    : 0][(conn_is_tls(s->conn) ? 2 : 0) +
					 (s->account != 0 && !s->is_by_address ? 1 : 0)];
}

/* RFC 5321 section 4.4. The recipient is named only when there is one: others stay unknown. And
 * only in ASCII: a header in UTF-8 could go to fewer servers than the message. */
static void write_received(struct session *s, struct strbuf *b)
{
	char literal[NET_ADDR_TEXT], date[MAIL_DATE_LEN];

	if (s->peer.family == AF_UNIX)
		snprintf(literal, sizeof(literal), "local");
	else
		net_addr_format_literal(&s->peer, literal);
	mail_date_format(date, clock_now(), 0);
	strbuf_addf(b, "Received: from %s (%s)\r\n\tby %s with %s id %s", s->helo, literal,
	    s->listener->cfg->hostname, with_protocol(s), s->id);
	if (conn_is_tls(s->conn))
		strbuf_addf(
		    b, "\r\n\t(%s, %s)", conn_tls_version(s->conn), conn_tls_cipher(s->conn));
	if (s->t.rcpt_count == 1 && utf8_is_ascii(s->t.rcpts[0].address))
		strbuf_addf(b, "\r\n\tfor <%.*s>", SPAN_FMT(s->t.rcpts[0].address));
	strbuf_addf(b, ";\r\n\t%s\r\n", date);
}

static void on_intake_ready(void *arg)
{
	struct session *s = arg;

	if (s->conn && (s->wait == WAIT_DATA || s->wait == WAIT_BDAT))
		conn_resume(s->conn);
}

static void prepare_fields(struct session *s)
{
	struct transaction *t = &s->t;
	enum listener_role role = s->listener->cfg->role;
	bool is_submission = role == ROLE_SUBMISSION || role == ROLE_DEVICE || s->account != 0;
	char date[MAIL_DATE_LEN], id[33];

	header_clear(&t->header);
	header_init(&t->header, is_submission, t->date_field, t->id_field);
	if (!is_submission)
		return;
	mail_date_format(date, clock_now(), 0);
	random_hex(id, 16);
	snprintf(t->date_field, sizeof(t->date_field), "Date: %s\r\n", date);
	snprintf(t->id_field, sizeof(t->id_field), "Message-ID: <%s@%.255s>\r\n", id,
	    s->listener->cfg->hostname);
	if (role != ROLE_DEVICE)
		return;
	snprintf(t->from_field, sizeof(t->from_field), "From: <%s>\r\n",
	    s->listener->cfg->device_sender);
	t->header.from_field = t->from_field;
}

void message_begin(struct session *s)
{
	struct receive *p = s->server;
	struct intake_options opt = {
	    .workers = queue_workers(p->queue),
	    .dir = queue_blobs(p->queue),
	    .inline_max = p->inline_max,
	};
	struct strbuf b;

	prepare_fields(s);
	s->t.intake = intake_new(&opt, on_intake_ready, s);
	strbuf_init(&b, 4096);
	write_received(s, &b);
	intake_feed(s->t.intake, strbuf_span(&b));
	strbuf_clear(&b);
}

void message_feed(struct session *s, struct span content)
{
	struct strbuf out;

	if (s->t.header.is_over) {
		intake_feed(s->t.intake, content);
		return;
	}
	strbuf_init(&out, content.n + HEADER_LINE_MAX + 1024);
	header_feed(&s->t.header, content, &out);
	intake_feed(s->t.intake, strbuf_span(&out));
	strbuf_clear(&out);
}

/* --- into the queue --------------------------------------------------------------------------- */
/* Outlives the session: what was begun is finished, whoever still listens. */
struct receipt {
	struct db_op op;
	struct receive *server;
	struct session *session;
	struct arena arena; /* the envelope */
	struct intake *intake;
	struct queue_entry entry;
	struct queue_rcpt *rcpts;
	size_t count;
	struct trace_limits trace;
	struct span to; /* the recipients for the trace */
};

static int receipt_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct receipt *r = container_of(op, struct receipt, op);

	struct trace_record t = {
	    .time = r->entry.arrival,
	    .event = TRACE_ACCEPTED,
	    .size = r->entry.blob.size,
	    .session = r->entry.session,
	    .client = r->entry.client,
	    .from = r->entry.sender,
	    .to = r->to,
	};

	if (queue_add(txn, &r->entry, r->rcpts, r->count, err) < 0)
		return -1;
	t.qid = r->entry.qid;
	return trace_add(txn, &r->trace, &t, err);
}

static void receipt_free(struct receipt *r)
{
	struct receive *p = r->server;

	intake_free(r->intake);
	arena_clear(&r->arena);
	session_finish_op(r->session);
	mem_free(r);
	p->receipts--;
	if (p->role->is_draining && list_is_empty(&p->sessions) && p->receipts == 0)
		role_finished(p->role);
}

static void on_counted(void *arg, const struct ipc_msg *msg, const struct err *err)
{
}

/* One message more of the account's; nobody waits for the answer. */
static void tell_sent(struct receive *p, uint64_t account)
{
	struct ipc_submit m = {
	    .account = account, .step = SUBMIT_SENT, .address = span_make("", 0)};
	struct strbuf b;

	strbuf_init(&b, 64);
	ipc_enc_submit(&b, &m);
	ipc_call(p->role->authd, IPC_AUTH_SUBMIT, strbuf_span(&b), COUNT_MS, on_counted, p);
	strbuf_clear(&b);
}

static void receipt_done(struct db_op *op)
{
	struct receipt *r = container_of(op, struct receipt, op);
	struct session *s = r->session;
	char qid[QUEUE_ID_TEXT];

	queue_id_format(qid, r->entry.qid);
	if (op->err.code == ERR_NONE) {
		intake_keep(r->intake);
		r->server->accepted++;
		for (size_t i = 0; i < r->count; i++)
			tell(r->server, r->rcpts[i].class, r->entry.qid);
		log_info("smtp-accepted", LOG_STR("session", s->id), LOG_STR("qid", qid),
		    LOG_STR("client", s->client), LOG_SPAN("from", r->entry.sender),
		    LOG_SPAN("to", r->to), LOG_U64("recipients", r->count),
		    LOG_U64("size", r->entry.blob.size));
		s->messages++;
		s->idle = 0;
		guard_remember(s->server, &s->peer);
		if (r->entry.account != 0)
			tell_sent(r->server, r->entry.account);
	}
	if (s->conn) {
		if (op->err.code != ERR_NONE)
			reply_fault(s, &op->err);
		else if (RULE_ACK_LAST)
			reply(s, 250, "2.0.0", "Ok: queued as %s", qid);
		session_next(s);
	}
	receipt_free(r);
}

static bool fill_entry(struct receipt *r, struct session *s)
{
	struct queue_entry *e = &r->entry;

	e->arrival = clock_now();
	e->account = s->account;
	e->is_utf8 = s->t.is_utf8;
	/* Who sends it without saying so, as many do, sends it all the same. */
	e->is_8bit = s->t.is_8bit || (s->t.decoder.bits & 0x80);
	e->is_requiretls = s->t.is_requiretls;
	e->ret = s->t.ret;
	return arena_copy(&r->arena, s->t.sender.p ? s->t.sender : span_make("", 0), &e->sender) &&
	       arena_copy(&r->arena, span_of(s->client), &e->client) &&
	       arena_copy(&r->arena, span_of(s->helo), &e->helo) &&
	       arena_copy(&r->arena, span_of(s->id), &e->session) &&
	       arena_copy(&r->arena, s->t.envid, &e->envid);
}

/* As many recipients as there is room for. */
static bool fill_to(struct receipt *r)
{
	struct strbuf b;
	bool is_kept;

	strbuf_init(&b, TRACE_TO_MAX);
	for (size_t i = 0; i < r->count; i++) {
		if (b.n + r->rcpts[i].address.n + 1 > TRACE_TO_MAX)
			break;
		if (i > 0)
			strbuf_add_chr(&b, ' ');
		strbuf_add(&b, r->rcpts[i].address);
	}
	is_kept = arena_copy(&r->arena, strbuf_span(&b), &r->to);
	strbuf_clear(&b);
	return is_kept;
}

static bool fill_rcpts(struct receipt *r, const struct transaction *t)
{
	r->rcpts = arena_array(&r->arena, t->rcpt_count, sizeof(*r->rcpts));
	if (!r->rcpts)
		return false;
	for (size_t i = 0; i < t->rcpt_count; i++) {
		struct queue_rcpt *q = &r->rcpts[i];

		q->class = t->rcpts[i].class;
		q->state = QUEUE_WAITING;
		q->next = r->entry.arrival;
		q->notify = t->rcpts[i].notify;
		q->last_reply = span_make("", 0);
		if (!arena_copy(&r->arena, t->rcpts[i].address, &q->address) ||
		    !arena_copy(&r->arena, t->rcpts[i].orcpt, &q->orcpt))
			return false;
	}
	r->count = t->rcpt_count;
	return fill_to(r);
}

static void on_intake_done(void *arg, const struct intake_result *res, const struct err *err)
{
	struct session *s = arg;
	struct receipt *r;

	/* The intake is ours until here; a session that ended meanwhile has freed it with itself.
	 */
	if (err->code != ERR_NONE) {
		reply_fault(s, err);
		transaction_reset(s);
		session_next(s);
		return;
	}
	r = mem_zalloc(sizeof(*r));
	r->server = s->server;
	r->session = s;
	arena_init(&r->arena, 2 * TRANSACTION_ARENA_MAX);
	r->op = (struct db_op){.run = receipt_run, .done = receipt_done, .need = DB_ADDS};
	if (!fill_entry(r, s) || !fill_rcpts(r, &s->t))
		fatal("an envelope larger than its limits");
	r->trace = trace_limits_of(s->cfg);
	r->entry.blob = res->blob;
	r->intake = s->t.intake;
	s->t.intake = NULL;
	s->pending++;
	s->server->receipts++;
	transaction_reset(s);
	r->op.cost = res->blob.is_file ? 0 : res->blob.stored + 16 * 1024;
	queue_write(s->server->queue, &r->op);
	if (!RULE_ACK_LAST)
		reply(s, 250, "2.0.0", "Ok");
}

void message_finish(struct session *s)
{
	s->wait = WAIT_RESULT;
	conn_set_deadline(s->conn, 0); /* it is our turn: the client has nothing to be late with */
	intake_finish(s->t.intake, on_intake_done);
}

void message_accept(struct session *s)
{
	struct strbuf out;

	strbuf_init(&out, HEADER_LINE_MAX + 1024);
	header_end(&s->t.header, &out);
	intake_feed(s->t.intake, strbuf_span(&out));
	strbuf_clear(&out);
	if (s->account != 0 && !s->t.header.from_field)
		from_check(s);
	else
		message_finish(s);
}
