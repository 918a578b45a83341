#include "pop3d/pop3.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <stdarg.h>
#include <string.h>

static void session_free(struct session *s)
{
	transfer_clear(&s->transfer);
	maildrop_close(s);
	if (s->login)
		sasl_call_cancel(s->login);
	sasl_clear(&s->sasl);
	mem_wipe(s->user, sizeof(s->user));
	config_unref(s->cfg);
	mem_free(s);
}

/* The connection is gone or handed to conn_close: leave the server, wait for what is pending. */
static void session_leave(struct session *s)
{
	struct pop3d *p = s->server;

	s->conn = NULL;
	list_remove(&s->link);
	role_connection_gone(p->role, s->listener, &s->peer);
	if (s->login) {
		sasl_call_cancel(s->login);
		s->login = NULL;
	}
	if (s->pending == 0)
		session_free(s);
	if (p->role->is_draining && list_is_empty(&p->sessions))
		role_finished(p->role);
}

void session_end(struct session *s)
{
	log_info("pop3-end", LOG_STR("session", s->id), LOG_U64("account", s->account),
	    LOG_U64("retrieved", s->retrieved), LOG_U64("deleted", s->deleted));
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
	/* Whoever is still in the handshake reads nothing yet: on_secure says it. */
	if (s->listener->cfg->tls == TLS_IMPLICIT && !conn_is_tls(s->conn))
		return;
	if (s->is_in_transaction || s->wait == WAIT_RESULT)
		return;
	reply_err(s, "[SYS/TEMP] Server is shutting down");
	session_end(s);
}

void session_kick(struct session *s)
{
	log_info("pop3-kick", LOG_STR("session", s->id), LOG_U64("account", s->account));
	/* In the middle of an answer nothing else can be said. */
	if (s->wait == WAIT_COMMAND)
		reply_err(s, "[AUTH] The administrator has ended this session");
	session_end(s);
}

bool session_login_allowed(const struct session *s)
{
	const struct config_listener *l = s->listener->cfg;

	return l->auth && (conn_is_tls(s->conn) || l->login_without_tls);
}

/* Half an answer must not stay in a client that waits for it: answers are short, conn flushes. */
__attribute__((format(printf, 3, 0))) static void reply(
    struct session *s, const char *status, const char *fmt, va_list ap)
{
	struct strbuf b;

	strbuf_init(&b, 2048);
	strbuf_add_str(&b, status);
	strbuf_vaddf(&b, fmt, ap);
	strbuf_add(&b, SPAN("\r\n"));
	conn_write(s->conn, strbuf_span(&b));
	strbuf_clear(&b);
}

void reply_ok(struct session *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	reply(s, "+OK ", fmt, ap);
	va_end(ap);
}

void reply_err(struct session *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	reply(s, "-ERR ", fmt, ap);
	va_end(ap);
}

void reply_bad(struct session *s, const char *text)
{
	reply_err(s, "%s", text);
	s->bad_commands++;
	log_info("pop3-bad", LOG_STR("session", s->id), LOG_STR("why", text),
	    LOG_U64("count", s->bad_commands));
	if (s->bad_commands >= config_u64(s->cfg, SET_POP3_BAD_MAX))
		s->is_closing = true;
}

void session_next(struct session *s)
{
	s->wait = WAIT_COMMAND;
	/* Before login the deadline is for the whole, set once at the start. */
	if (s->is_in_transaction)
		conn_set_deadline(s->conn, config_u64(s->cfg, SET_POP3_DEADLINE) * 1000);
	conn_resume(s->conn);
}

static bool line_is_clean(struct span line)
{
	for (size_t i = 0; i < line.n; i++)
		if (line.p[i] == '\0' || line.p[i] == '\r')
			return false;
	return true;
}

/* Takes one line and acts on it. False when there is no whole line or the session must wait. */
static bool take_line(struct session *s)
{
	struct span in = conn_input(s->conn);
	ssize_t lf = span_chr(in, '\n');
	struct span line;
	char copy[POP3_LINE_MAX];

	if (lf < 0 && in.n < POP3_LINE_MAX)
		return false;
	if (lf < 0 || (size_t)lf >= POP3_LINE_MAX) {
		reply_bad(s, "Line too long");
		s->is_closing = true;
		return false;
	}
	/* The buffer moves when it is consumed: work on a copy. */
	memcpy(copy, in.p, (size_t)lf);
	conn_consume(s->conn, (size_t)lf + 1);
	line = span_make(copy, (size_t)lf);
	if (line.n == 0 || line.p[line.n - 1] != '\r') {
		reply_bad(s, "Lines end in CRLF");
		return true;
	}
	line.n--;
	if (!line_is_clean(line))
		reply_bad(s, "Bad character in line");
	else if (s->wait == WAIT_SASL)
		command_sasl_line(s, line);
	else
		command_run(s, line);
	mem_wipe(copy, sizeof(copy));
	return true;
}

static void on_input(void *arg)
{
	struct session *s = arg;

	while ((s->wait == WAIT_COMMAND || s->wait == WAIT_SASL) && !s->is_closing) {
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
	if (s->wait == WAIT_RESULT || s->wait == WAIT_OUTPUT)
		conn_pause(s->conn);
}

static void on_drain(void *arg)
{
	struct session *s = arg;

	if (s->wait != WAIT_OUTPUT)
		return;
	conn_set_deadline(s->conn, config_u64(s->cfg, SET_POP3_DEADLINE) * 1000);
	if (s->listing.is_active)
		listing_continue(s);
	else if (s->transfer.session)
		transfer_continue(s);
	else
		session_next(s);
}

static void greet(struct session *s)
{
	reply_ok(s, "%s POP3 ready", s->listener->cfg->hostname);
}

static void on_secure(void *arg)
{
	struct session *s = arg;

	if (s->listener->cfg->tls != TLS_IMPLICIT)
		return;
	if (s->server->role->is_draining)
		session_drain(s);
	else
		greet(s);
}

static void on_close(void *arg, const struct err *why)
{
	struct session *s = arg;

	log_info("pop3-close", LOG_STR("session", s->id), LOG_ERR(why));
	if (why->code == ERR_TIMEOUT) {
		reply_err(s, "Timeout");
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

void session_start(struct pop3d *p, struct role_listener *l, int fd, const struct net_addr *peer)
{
	static const struct conn_limits limits = {
	    .input_max = POP3_LINE_MAX + 4096,
	    .output_high = 64 * 1024,
	    .output_low = 16 * 1024,
	    .output_max = 1024 * 1024,
	};
	struct session *s = mem_zalloc(sizeof(*s));
	struct err err = ERR_INIT;

	s->server = p;
	s->listener = l;
	s->cfg = config_ref(p->role->cfg);
	s->peer = *peer;
	role_session_id(s->id);
	net_addr_format(peer, s->client);
	sasl_init(&s->sasl);
	list_append(&p->sessions, &s->link);
	s->conn = conn_new(p->role->loop, fd, peer, &limits, &session_conn_ops, s);
	conn_set_deadline(s->conn, config_u64(s->cfg, SET_LIMITS_PREAUTH) * 1000);
	log_info("pop3-connect", LOG_STR("session", s->id), LOG_STR("client", s->client),
	    LOG_U64("port", peer->port), LOG_STR("listener", l->cfg->name));
	if (l->cfg->tls != TLS_IMPLICIT)
		greet(s);
	else if (conn_start_tls(s->conn, l->tls, &err) < 0)
		session_end(s);
}
