/* The life of a session, and how commands are answered. */
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"
#include "imapd/imap.h"

#include <stdarg.h>
#include <string.h>

#define ANSWER_MAX (1024 * 1024) /* a tagged answer: COPYUID of a set with many holes */

/* --- the end ---------------------------------------------------------------------------------- */
static void session_free(struct session *s)
{
	if (s->task)
		task_free(s->task);
	strbuf_clear(&s->line);
	status_forget(s);
	arena_clear(&s->arena);
	uidset_clear(&s->expected.uids);
	sasl_clear(&s->sasl);
	mem_wipe(s->user, sizeof(s->user));
	config_unref(s->cfg);
	mem_free(s);
}

/* The connection is gone or handed to conn_close: leave the server, wait for what is pending. */
static void session_leave(struct session *s)
{
	struct imapd *p = s->server;

	s->conn = NULL;
	list_remove(&s->link);
	deferred_cancel(&s->turn_end);
	role_connection_gone(p->role, s->listener, &s->peer);
	if (s->login)
		sasl_call_cancel(s->login);
	s->login = NULL;
	append_clear(s);
	telling_clear(s);
	refresh_cancel(&s->refresh);
	if (s->view)
		view_close(s);
	if (s->pending == 0)
		session_free(s);
	if (p->role->is_draining && list_is_empty(&p->sessions))
		role_finished(p->role);
}

void session_end(struct session *s)
{
	log_info("imap-end", LOG_STR("session", s->id), LOG_U64("account", s->account),
	    LOG_U64("commands", s->commands));
	conn_close(s->conn);
	session_leave(s);
}

void session_finish_op(struct session *s)
{
	s->pending--;
	if (!s->conn && s->pending == 0)
		session_free(s);
}

void session_bye(struct session *s, const char *text)
{
	untagged(s, "BYE %s", text);
	s->is_closing = true;
	loop_defer(s->server->role->loop, &s->turn_end);
}

static bool is_idle(const struct session *s)
{
	return s->wait == WAIT_IDLE || (s->wait == WAIT_COMMAND && s->line_is_over);
}

void session_drain(struct session *s)
{
	/* Whoever is still in the handshake reads nothing yet: on_secure says it. */
	if (s->listener->cfg->tls == TLS_IMPLICIT && !conn_is_tls(s->conn))
		return;
	if (is_idle(s) || s->state == NOT_AUTHENTICATED)
		session_bye(s, "[UNAVAILABLE] The server is shutting down");
}

void session_kick(struct session *s)
{
	log_info("imap-kick", LOG_STR("session", s->id), LOG_U64("account", s->account));
	/* In the middle of an answer nothing else can be said. */
	if (is_idle(s))
		untagged(s, "BYE The administrator has ended this session");
	session_end(s);
}

/* Behind the last callback of a turn, so that nobody below us still looks at the session. */
static void on_turn_end(void *arg)
{
	struct session *s = arg;

	if (s->server->role->is_draining && is_idle(s) && !s->is_closing)
		untagged(s, "BYE [UNAVAILABLE] The server is shutting down");
	else if (!s->is_closing) {
		/* A part of DONE may be there already. */
		if (is_idle(s) && s->line_is_over)
			input_tidy(s);
		return;
	}
	session_end(s);
}

/* --- answers ---------------------------------------------------------------------------------- */
bool session_may_login(const struct session *s)
{
	const struct config_listener *l = s->listener->cfg;

	if (!l->auth)
		return false;
	return conn_is_tls(s->conn) || (l->login_without_tls && l->tls != TLS_REQUIRED);
}

static void arm_deadline(struct session *s)
{
	/* Before login the deadline is for the whole, set once at the start. */
	if (s->state != NOT_AUTHENTICATED)
		conn_set_deadline(s->conn, config_u64(s->cfg, SET_IMAP_IDLE_DEADLINE) * 1000);
}

void session_next(struct session *s)
{
	s->wait = WAIT_COMMAND;
	s->line_is_over = true;
	s->is_uid = false;
	s->final = NULL;
	s->expected.is_set = false;
	uidset_clear(&s->expected.uids);
	arm_deadline(s);
	conn_resume(s->conn);
	loop_defer(s->server->role->loop, &s->turn_end);
}

__attribute__((format(printf, 3, 0))) static void answer(
    struct session *s, const char *tag, const char *fmt, va_list ap)
{
	struct strbuf b;

	strbuf_init(&b, ANSWER_MAX);
	strbuf_add_str(&b, tag);
	strbuf_add_chr(&b, ' ');
	strbuf_vaddf(&b, fmt, ap);
	/* Half an answer would be taken for a whole one. */
	if (b.failed) {
		strbuf_reset(&b);
		strbuf_addf(&b, "%s OK (the details were too long)", tag);
	}
	strbuf_add(&b, SPAN("\r\n"));
	conn_write(s->conn, strbuf_span(&b));
	strbuf_clear(&b);
}

void untagged(struct session *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	answer(s, "*", fmt, ap);
	va_end(ap);
}

void finish(struct session *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	answer(s, s->tag[0] ? s->tag : "*", fmt, ap);
	va_end(ap);
	session_next(s);
}

void finish_bad(struct session *s, const char *text)
{
	s->bad++;
	log_info(
	    "imap-bad", LOG_STR("session", s->id), LOG_STR("why", text), LOG_U64("count", s->bad));
	finish(s, "BAD %s", text);
	if (s->bad >= config_u64(s->cfg, SET_IMAP_BAD_MAX))
		session_bye(s, "Too many bad commands");
}

/* The response code of RFC 5530 and RFC 9208; those of our own faults are logged. */
static const char *code_of(enum err_code code)
{
	switch (code) {
	case ERR_NOT_FOUND:
		return "NONEXISTENT";
	case ERR_EXISTS:
		return "ALREADYEXISTS";
	case ERR_INVALID:
	case ERR_UNSUPPORTED:
		return "CANNOT";
	case ERR_DENIED:
		return "NOPERM";
	case ERR_LIMIT:
		return "LIMIT";
	case ERR_QUOTA:
		return "OVERQUOTA";
	case ERR_BUSY:
		return "INUSE";
	default:
		return NULL;
	}
}

void finish_err(struct session *s, const struct err *err)
{
	const char *code = code_of(err->code);
	char text[sizeof(err->text)];
	size_t n = strlen(err->text);
	struct strbuf b;

	if (!code) {
		log_error("imap-failed", LOG_STR("session", s->id), LOG_U64("account", s->account),
		    LOG_ERR(err));
		finish(s, "NO [%s] The server could not do it, try later (session %s)",
		    err->code == ERR_CORRUPT ? "SERVERBUG" : "UNAVAILABLE", s->id);
		return;
	}
	/* Names may stand in it; response text is printable ASCII. */
	for (size_t i = 0; i <= n; i++) {
		unsigned char c = (unsigned char)err->text[i];

		text[i] = c == 0 || (c >= 0x20 && c < 0x7f) ? (char)c : '?';
	}
	if (err->code != ERR_NOT_FOUND || !s->view) {
		finish(s, "NO [%s] %s", code, text);
		return;
	}
	/* Maybe it is the selected mailbox that has gone. */
	strbuf_init(&b, 512);
	strbuf_addf(&b, "NO [%s] %s", code, text);
	finish_refresh(s, false, b.p);
	strbuf_clear(&b);
}

static void finish_told(struct session *s)
{
	bool is_gone = s->view && s->view->mbox->is_gone;

	finish(s, "%s", s->final);
	if (is_gone)
		session_bye(s, "The selected mailbox was deleted");
}

static bool keep_final(struct session *s, bool may_expunge, const char *text)
{
	s->final_may_expunge = may_expunge;
	s->final = arena_strdup(&s->arena, span_of(text));
	return s->final != NULL;
}

void finish_sync(struct session *s, bool may_expunge, const char *text)
{
	if (!s->view || !keep_final(s, may_expunge, text)) {
		finish(s, "%s", text);
		return;
	}
	view_sync(s, may_expunge, finish_told);
}

static void finish_refreshed(struct refresh *r)
{
	struct session *s = container_of(r, struct session, refresh);

	view_sync(s, s->final_may_expunge, finish_told);
}

void finish_refresh(struct session *s, bool may_expunge, const char *text)
{
	if (!s->view || mbox_is_current(s->view->mbox) || !keep_final(s, may_expunge, text)) {
		finish_sync(s, may_expunge, text);
		return;
	}
	s->wait = WAIT_RESULT;
	mbox_refresh(s->view->mbox, &s->refresh, finish_refreshed);
}

bool session_flow(struct session *s, void (*on_drain)(struct session *s))
{
	if (!conn_is_congested(s->conn))
		return true;
	s->wait = WAIT_OUTPUT;
	s->on_drain = on_drain;
	return false;
}

void session_enable_condstore(struct session *s)
{
	if (s->has_condstore)
		return;
	s->has_condstore = true;
	if (s->view)
		untagged(s, "OK [HIGHESTMODSEQ %llu] Highest",
		    (unsigned long long)s->view->snap->highestmodseq);
}

/* --- the connection --------------------------------------------------------------------------- */
static void on_input(void *arg)
{
	input_run(arg);
}

static void on_drain(void *arg)
{
	struct session *s = arg;

	if (s->wait != WAIT_OUTPUT)
		return;
	arm_deadline(s);
	s->wait = WAIT_RESULT;
	s->on_drain(s);
}

static void greet(struct session *s)
{
	struct strbuf caps;

	strbuf_init(&caps, 4096);
	write_capabilities(s, &caps);
	untagged(s, "OK [CAPABILITY %s] %s IMAP ready", caps.p, s->listener->cfg->hostname);
	strbuf_clear(&caps);
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

	log_info("imap-close", LOG_STR("session", s->id), LOG_U64("account", s->account),
	    LOG_U64("commands", s->commands), LOG_ERR(why));
	/* In the middle of an answer a BYE could be taken for bytes of a literal. */
	if (why->code == ERR_TIMEOUT && s->wait != WAIT_OUTPUT) {
		untagged(s, "BYE Idle for too long");
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

void session_start(struct imapd *p, struct role_listener *l, int fd, const struct net_addr *peer)
{
	/* Input is taken out as it comes: lines and literals grow in the session. */
	static const struct conn_limits limits = {
	    .input_max = 16 * 1024,
	    .output_high = 64 * 1024,
	    .output_low = 16 * 1024,
	    .output_max = 4 * 1024 * 1024,
	};
	struct session *s = mem_zalloc(sizeof(*s));
	struct err err = ERR_INIT;

	s->server = p;
	s->listener = l;
	s->cfg = config_ref(p->role->cfg);
	s->peer = *peer;
	role_session_id(s->id);
	net_addr_format(peer, s->client);
	s->turn_end.fn = on_turn_end;
	s->turn_end.arg = s;
	s->line_is_over = true;
	strbuf_init(&s->line, COMMAND_MAX);
	arena_init(&s->arena, COMMAND_ARENA_MAX);
	uidset_init(&s->expected.uids);
	sasl_init(&s->sasl);
	list_append(&p->sessions, &s->link);
	s->conn = conn_new(p->role->loop, fd, peer, &limits, &session_conn_ops, s);
	conn_set_deadline(s->conn, config_u64(s->cfg, SET_LIMITS_PREAUTH) * 1000);
	log_info("imap-connect", LOG_STR("session", s->id), LOG_STR("client", s->client),
	    LOG_STR("listener", l->cfg->name));
	if (l->cfg->tls != TLS_IMPLICIT)
		greet(s);
	else if (conn_start_tls(s->conn, l->tls, &err) < 0)
		session_end(s);
}
