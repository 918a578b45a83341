#include "smtpd/receive/receive.h"

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <stdarg.h>
#include <string.h>

#define ERRORS_FREE 3 /* the third costs time */
#define STRESSED_MS 10000

static void transaction_free(struct transaction *t)
{
	intake_free(t->intake);
	header_clear(&t->header);
	mail_list_clear(&t->from);
	strbuf_clear(&t->from_address);
	arena_clear(&t->arena);
}

void transaction_reset(struct session *s)
{
	struct transaction *t = &s->t;

	transaction_free(t);
	memset(t, 0, sizeof(*t));
	arena_init(&t->arena, TRANSACTION_ARENA_MAX);
	header_init(&t->header, false, "", "");
}

static void session_free(struct session *s)
{
	transaction_free(&s->t);
	sasl_clear(&s->sasl);
	config_unref(s->cfg);
	mem_free(s);
}

static void cancel_queries(struct session *s)
{
	if (s->login)
		sasl_call_cancel(s->login);
	if (s->query)
		ipc_call_cancel(s->query);
	s->login = NULL;
	s->query = NULL;
}

static size_t sessions_of(const struct session *s)
{
	return (uintptr_t)hash_get(s->server->senders, span_make(&s->account, sizeof(s->account)));
}

static void count_sessions(struct session *s, size_t n)
{
	struct span key = span_make(&s->account, sizeof(s->account));

	if (n == 0)
		hash_remove(s->server->senders, key);
	else
		hash_set(s->server->senders, key, (void *)(uintptr_t)n);
}

bool session_set_account(struct session *s, uint64_t account, uint64_t most)
{
	if (s->account != 0)
		count_sessions(s, sessions_of(s) - 1);
	s->account = account;
	if (account == 0)
		return true;
	if (most > 0 && sessions_of(s) >= most) {
		s->account = 0;
		return false;
	}
	count_sessions(s, sessions_of(s) + 1);
	return true;
}

/* The connection is gone or handed to conn_close. */
static void session_leave(struct session *s)
{
	struct receive *p = s->server;

	s->conn = NULL;
	session_set_account(s, 0, 0);
	timer_clear(&s->hold);
	list_remove(&s->link);
	role_connection_gone(p->role, s->listener, &s->peer);
	cancel_queries(s);
	if (s->pending == 0)
		session_free(s);
	if (p->role->is_draining && list_is_empty(&p->sessions) && p->receipts == 0)
		role_finished(p->role);
}

void session_end(struct session *s)
{
	log_info("smtp-end", LOG_STR("session", s->id), LOG_U64("messages", s->messages));
	if (s->has_quit)
		conn_finish(s->conn);
	else
		conn_close(s->conn);
	session_leave(s);
}

void session_finish_op(struct session *s)
{
	s->pending--;
	if (!s->conn && s->pending == 0)
		session_free(s);
}

void session_drain(struct session *s)
{
	/* A transaction under way is finished first; the session ends with its reply. */
	if (s->t.is_open || s->wait == WAIT_RESULT)
		return;
	reply(s, 421, "4.3.2", "%s Service shutting down", s->listener->cfg->hostname);
	session_end(s);
}

void session_kick(struct session *s)
{
	log_info("smtp-kick", LOG_STR("session", s->id), LOG_U64("account", s->account));
	s->is_kicked = true;
	if (s->wait == WAIT_RESULT || s->wait == WAIT_OUTPUT)
		return;
	reply(s, 421, "4.7.0", "%s The administrator has ended this session",
	    s->listener->cfg->hostname);
	session_end(s);
}

bool session_needs_tls(const struct session *s)
{
	return s->listener->cfg->tls == TLS_REQUIRED && !conn_is_tls(s->conn);
}

bool session_needs_login(const struct session *s)
{
	enum listener_role role = s->listener->cfg->role;

	return role == ROLE_SUBMISSION || (role == ROLE_DEVICE && !device_is_known(s));
}

bool session_may_login(const struct session *s)
{
	const struct config_listener *l = s->listener->cfg;

	return l->auth && (conn_is_tls(s->conn) || l->login_without_tls);
}

__attribute__((format(printf, 4, 0))) static void write_reply(
    struct session *s, int code, const char *enhanced, const char *fmt, va_list ap)
{
	struct strbuf b;

	strbuf_init(&b, 1024);
	strbuf_addf(&b, "%d ", code);
	if (enhanced)
		strbuf_addf(&b, "%s ", enhanced);
	strbuf_vaddf(&b, fmt, ap);
	strbuf_truncate(&b, 510);
	strbuf_add(&b, SPAN("\r\n"));
	for (; s->reply_count > 0; s->reply_count--) {
		session_log(s, "server", span_sub(strbuf_span(&b), 0, b.n - 2));
		conn_write(s->conn, strbuf_span(&b));
	}
	s->reply_count = 1;
	strbuf_clear(&b);
}

void reply(struct session *s, int code, const char *enhanced, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_reply(s, code, enhanced, fmt, ap);
	va_end(ap);
}

void reply_error(struct session *s, int code, const char *enhanced, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_reply(s, code, enhanced, fmt, ap);
	va_end(ap);
	s->server->refused++;
	log_info("smtp-refused", LOG_STR("session", s->id), LOG_STR("client", s->client),
	    LOG_I64("code", code), LOG_STR("status", enhanced ? enhanced : ""),
	    LOG_SPAN("from", s->t.sender), LOG_SPAN("to", s->t.refused_rcpt),
	    LOG_U64("errors", s->errors + 1));
	if (s->t.is_open || s->t.sender.n > 0)
		trace_refused(s, s->t.refused_rcpt, code, enhanced);
	s->t.refused_rcpt = span_make("", 0);
	s->errors++;
	s->is_to_hold = s->errors >= ERRORS_FREE && config_u64(s->cfg, SET_SMTP_ERROR_DELAY) > 0;
	if (s->errors < config_u64(s->cfg, SET_SMTP_BAD_MAX) && !session_is_stressed(s))
		return;
	reply(s, 421, "4.7.0", "%s Too many errors", s->listener->cfg->hostname);
	s->is_closing = true;
}

void reply_fault(struct session *s, const struct err *err)
{
	log_error("smtp-fault", LOG_STR("session", s->id), LOG_ERR(err));
	if (err->code == ERR_NO_SPACE)
		reply(s, 452, "4.3.1", "Insufficient system storage, try later");
	else
		reply(s, 451, "4.3.0", "Local error, try later");
}

bool session_is_stressed(const struct session *s)
{
	return limits_total(s->server->role->limits) * 100 >=
	       config_u64(s->cfg, SET_LIMITS_CONNECTIONS) * config_u64(s->cfg, SET_LIMITS_STRESS);
}

void session_set_deadline(struct session *s)
{
	uint64_t ms = config_u64(s->cfg, SET_SMTP_COMMAND_DEADLINE) * 1000;
	uint64_t now = clock_mono_ms();

	if (session_is_stressed(s) && ms > STRESSED_MS)
		ms = STRESSED_MS;
	if (s->login_by != 0 && s->account == 0 && now + ms > s->login_by)
		ms = s->login_by > now ? s->login_by - now : 1;
	conn_set_deadline(s->conn, ms);
}

/* Whoever makes errors waits for the next command to be looked at. */
static void hold(struct session *s)
{
	s->is_to_hold = false;
	s->wait = WAIT_HOLD;
	conn_pause(s->conn);
	conn_set_deadline(s->conn, 0);
	timer_set(&s->hold, config_u64(s->cfg, SET_SMTP_ERROR_DELAY) * 1000);
	log_debug("smtp-hold", LOG_STR("session", s->id), LOG_U64("errors", s->errors));
}

void session_next(struct session *s)
{
	if (s->server->role->is_draining && !s->t.is_open) {
		reply(s, 421, "4.3.2", "%s Service shutting down", s->listener->cfg->hostname);
		s->is_closing = true;
	}
	if (s->is_kicked && !s->is_closing) {
		reply(s, 421, "4.7.0", "%s The administrator has ended this session",
		    s->listener->cfg->hostname);
		s->is_closing = true;
	}
	if (s->is_closing) {
		session_end(s);
		return;
	}
	if (s->is_to_hold) {
		hold(s);
		return;
	}
	s->wait = WAIT_COMMAND;
	session_set_deadline(s);
	conn_resume(s->conn);
}

static bool line_is_clean(struct span line)
{
	for (size_t i = 0; i < line.n; i++)
		if (line.p[i] == '\0' || line.p[i] == '\r')
			return false;
	return true;
}

/* A line in a copy of its own: the input buffer moves when it is consumed. */
static void run_line(struct session *s, struct span line)
{
	if (s->wait == WAIT_COMMAND)
		session_set_deadline(s);
	if (line.n == 0 || line.p[line.n - 1] != '\r') {
		s->wait = WAIT_COMMAND;
		reply_error(s, 500, "5.5.2", "Lines end in CRLF");
		return;
	}
	line.n--;
	session_log(s, "client", s->wait == WAIT_SASL ? SPAN("***") : line);
	if (!line_is_clean(line)) {
		s->wait = WAIT_COMMAND;
		reply_error(s, 500, "5.5.2", "Bad character in line");
	} else if (s->wait == WAIT_SASL) {
		auth_line(s, line);
	} else {
		command_run(s, line);
	}
}

/* False when there is no whole line. */
static bool take_line(struct session *s)
{
	struct span in = conn_input(s->conn);
	size_t max =
	    s->wait == WAIT_SASL ? SASL_LINE_MAX + 2 : config_u64(s->cfg, SET_SMTP_LINE_MAX);
	ssize_t lf = span_chr(in, '\n');
	char *copy;

	if (max < SASL_LINE_MAX + 64 && span_istarts(in, SPAN("AUTH ")))
		max = SASL_LINE_MAX + 64;
	if (lf < 0 && in.n < max)
		return false;
	if (lf < 0 || (size_t)lf >= max) {
		/* Where the next command would begin is anybody's guess. */
		reply(s, 500, "5.5.6", "Line longer than %zu bytes", max);
		log_info("smtp-long-line", LOG_STR("session", s->id), LOG_STR("client", s->client));
		s->is_closing = true;
		return false;
	}
	copy = mem_dup(in.p, (size_t)lf + 1);
	conn_consume(s->conn, (size_t)lf + 1);
	run_line(s, span_make(copy, (size_t)lf));
	mem_free_secret(copy, (size_t)lf + 1);
	return true;
}

static void on_input(void *arg)
{
	struct session *s = arg;

	if (s->wait == WAIT_GREETING) {
		reply_error(s, 554, "5.5.1", "Wait for the greeting");
		s->is_closing = true;
	}
	while (!s->is_closing && !s->is_to_hold) {
		if (s->wait == WAIT_DATA || s->wait == WAIT_BDAT) {
			data_input(s);
			if (s->wait == WAIT_DATA || s->wait == WAIT_BDAT)
				break;
			continue;
		}
		if (s->wait != WAIT_COMMAND && s->wait != WAIT_SASL)
			break;
		if (conn_is_congested(s->conn)) {
			s->wait = WAIT_OUTPUT;
			break;
		}
		if (!take_line(s))
			break;
	}
	if (s->is_closing) {
		session_end(s);
		return;
	}
	/* RFC 2920 section 3.2: answers to what came in one piece may leave in one piece. */
	conn_cork(s->conn, s->wait == WAIT_RESULT && conn_input(s->conn).n > 0);
	if (s->wait == WAIT_RESULT || s->wait == WAIT_OUTPUT)
		conn_pause(s->conn);
	else if (s->is_to_hold)
		hold(s);
}

static void on_drain(void *arg)
{
	struct session *s = arg;

	if (s->wait == WAIT_OUTPUT)
		session_next(s);
}

static void greet(struct session *s)
{
	reply(s, 220, NULL, "%s %s", s->listener->cfg->hostname, s->is_lmtp ? "LMTP" : "ESMTP");
}

/* A mail server waits for our greeting; what spams in a hurry often does not. */
static bool is_to_wait(const struct session *s)
{
	const struct config_listener *l = s->listener->cfg;

	return l->role == ROLE_SMTP && l->tls != TLS_IMPLICIT &&
	       config_u64(s->cfg, SET_SMTP_GREET_DELAY) > 0 && !net_addr_is_loopback(&s->peer) &&
	       !guard_is_known(s->server, &s->peer);
}

static void on_hold_over(void *arg)
{
	struct session *s = arg;

	if (s->wait == WAIT_GREETING)
		greet(s);
	session_next(s);
}

static void on_secure(void *arg)
{
	struct session *s = arg;

	log_debug(
	    "smtp-tls", LOG_STR("session", s->id), LOG_STR("version", conn_tls_version(s->conn)));
	if (s->listener->cfg->tls != TLS_IMPLICIT)
		return;
	greet(s);
	s->wait = WAIT_COMMAND;
}

static void on_close(void *arg, const struct err *why)
{
	struct session *s = arg;

	log_info(
	    "smtp-close", LOG_STR("session", s->id), LOG_STR("client", s->client), LOG_ERR(why));
	if (why->code == ERR_TIMEOUT) {
		reply(s, 421, "4.4.2", "%s Timeout", s->listener->cfg->hostname);
		conn_close(s->conn);
	} else {
		conn_free(s->conn);
	}
	session_leave(s);
}

static const struct conn_ops session_conn_ops = {
    .on_input = on_input,
    .on_drain = on_drain,
    .on_secure = on_secure,
    .on_close = on_close,
};

static struct session *session_new(
    struct receive *p, struct role_listener *l, const struct net_addr *peer)
{
	struct session *s = mem_zalloc(sizeof(*s));

	s->server = p;
	s->listener = l;
	s->cfg = config_ref(p->role->cfg);
	s->is_lmtp = l->cfg->role == ROLE_LMTP;
	s->reply_count = 1;
	s->peer = *peer;
	s->is_logged = l->cfg->protocol_log || guard_is_recorded(p, peer);
	if (session_needs_login(s))
		s->login_by = clock_mono_ms() + config_u64(s->cfg, SET_LIMITS_PREAUTH) * 1000;
	role_session_id(s->id);
	net_addr_format(peer, s->client);
	sasl_init(&s->sasl);
	arena_init(&s->t.arena, TRANSACTION_ARENA_MAX);
	header_init(&s->t.header, false, "", "");
	timer_init(&s->hold, p->role->loop, on_hold_over, s);
	list_append(&p->sessions, &s->link);
	return s;
}

void session_start(struct receive *p, struct role_listener *l, int fd, const struct net_addr *peer)
{
	static const struct conn_limits limits = {
	    .input_max = SESSION_INPUT_MAX,
	    .output_high = 32 * 1024,
	    .output_low = 8 * 1024,
	    .output_max = 256 * 1024,
	};
	struct session *s = session_new(p, l, peer);
	struct err err = ERR_INIT;

	s->conn = conn_new(p->role->loop, fd, peer, &limits, &session_conn_ops, s);
	session_set_deadline(s);
	log_info("smtp-connect", LOG_STR("session", s->id), LOG_STR("client", s->client),
	    LOG_U64("port", peer->port), LOG_STR("listener", l->cfg->name));
	if (l->cfg->tls == TLS_IMPLICIT) {
		if (conn_start_tls(s->conn, l->tls, &err) < 0)
			session_end(s);
	} else if (is_to_wait(s)) {
		timer_set(&s->hold, config_u64(s->cfg, SET_SMTP_GREET_DELAY) * 1000);
	} else {
		greet(s);
		s->wait = WAIT_COMMAND;
	}
}
