/* LOGIN and AUTHENTICATE. */
#include "common/base/mem.h"
#include "common/log/log.h"
#include "imapd/imap.h"

#include <string.h>

static bool refuse_login(struct session *s)
{
	if (session_may_login(s))
		return false;
	if (!s->listener->cfg->auth)
		finish(s, "NO [NOPERM] No logins on this port");
	else
		finish(s, "NO [PRIVACYREQUIRED] Use STARTTLS before logging in");
	return true;
}

/* --- the account's first mailboxes --------------------------------------------------------------
 */
static int ensure_write(struct task *t, struct db_txn *txn, struct err *err)
{
	return store_account_ensure(txn, t->session->account, err);
}

static void ensure_read(struct task *t, struct db_txn *txn, struct err *err)
{
	struct store_mailbox mb;

	store_mailbox_find(txn, t->session->account, SPAN("INBOX"), &mb, err);
}

static void entered(struct session *s)
{
	struct strbuf caps;

	s->state = AUTHENTICATED;
	strbuf_init(&caps, 4096);
	write_capabilities(s, &caps);
	finish(s, "OK [CAPABILITY %s] Logged in", caps.p);
	strbuf_clear(&caps);
}

static void ensure_failed(struct session *s, const struct err *err)
{
	s->account = 0;
	finish_err(s, err);
}

static void ensure_done(struct task *t)
{
	struct session *s = t->session;

	if (t->err.code == ERR_NONE)
		entered(s);
	else
		ensure_failed(s, &t->err);
	task_free(t);
}

static void ensure_read_done(struct task *t)
{
	if (t->err.code == ERR_NOT_FOUND) {
		t->write = ensure_write;
		t->done = ensure_done;
		task_write(t);
		return;
	}
	ensure_done(t);
}

static void enter(struct session *s, const struct ipc_login_result *res)
{
	struct task *t = task_new(s, sizeof(*t));

	s->account = res->account;
	s->limits = (struct store_limits){
	    res->quota_bytes, res->quota_messages, config_bool(s->cfg, SET_STORE_UNDELETE_COUNTS)};
	t->read = ensure_read;
	t->done = ensure_read_done;
	task_read(t);
}

/* --- the question to authd ----------------------------------------------------------------------
 */
static void on_login(void *arg, const struct ipc_login_result *res)
{
	struct session *s = arg;

	s->login = NULL;
	log_info("imap-login", LOG_STR("session", s->id), LOG_STR("client", s->client),
	    LOG_U64("status", res->status), LOG_U64("account", res->account),
	    LOG_SPAN("address", res->address));
	switch (res->status) {
	case LOGIN_OK:
		enter(s, res);
		return;
	case LOGIN_FAILED:
		finish(s, "NO [AUTHENTICATIONFAILED] Authentication failed");
		/* A guesser pays with its connection. */
		if (++s->bad >= config_u64(s->cfg, SET_IMAP_BAD_MAX))
			session_bye(s, "Too many failed logins");
		return;
	case LOGIN_NOT_HERE:
		finish(s, "NO [AUTHORIZATIONFAILED] IMAP is switched off for this account");
		return;
	case LOGIN_THROTTLED:
		finish(s, "NO [UNAVAILABLE] Too many failed logins, try later");
		return;
	default:
		finish(s, "NO [UNAVAILABLE] Temporary authentication failure");
		return;
	}
}

static void ask(struct session *s, struct span user, struct span password)
{
	struct sasl_question q = {
	    .authd = s->server->role->authd,
	    .protocol = "imap",
	    .listener = s->listener->cfg->name,
	    .client = s->client,
	    .user = user,
	    .password = password,
	};

	s->wait = WAIT_RESULT;
	s->login = sasl_ask(&q, on_login, s);
}

void cmd_login(struct session *s, struct parser *p)
{
	struct span user, password;

	if (refuse_login(s))
		return;
	if (!parse_astring(p, &user) || !parse_sp(p) || !parse_astring(p, &password) ||
	    !parse_end(p))
		finish_bad(s, "LOGIN needs a user and a password");
	else if (user.n == 0 || user.n > SASL_USER_MAX || password.n == 0 ||
		 password.n > SASL_PASSWORD_MAX)
		finish(s, "NO [AUTHENTICATIONFAILED] Authentication failed");
	else
		ask(s, user, password);
	mem_wipe(s->line.p, s->line.n);
}

static void auth_step(struct session *s, enum sasl_step step)
{
	switch (step) {
	case SASL_CHALLENGE:
		conn_writef(s->conn, "+ %s\r\n", s->sasl.challenge);
		s->wait = WAIT_SASL;
		return;
	case SASL_READY:
		ask(s, span_of(s->sasl.user), span_of(s->sasl.password));
		break;
	case SASL_BAD:
		finish_bad(s, "Malformed authentication exchange");
		break;
	case SASL_ABORTED:
		finish_bad(s, "Authentication cancelled");
		break;
	case SASL_UNKNOWN:
		finish(s, "NO [CANNOT] Unknown mechanism");
		break;
	}
	sasl_clear(&s->sasl);
}

void cmd_authenticate(struct session *s, struct parser *p)
{
	struct span mechanism, initial = {NULL, 0};

	if (refuse_login(s))
		return;
	if (!parse_atom(p, &mechanism) || (parse_sp(p) && !parse_word(p, &initial)) ||
	    !parse_end(p)) {
		finish_bad(s, "AUTHENTICATE needs a mechanism");
		return;
	}
	sasl_init(&s->sasl);
	auth_step(s, sasl_start(&s->sasl, mechanism, initial));
	mem_wipe(s->line.p, s->line.n);
}

void sasl_line(struct session *s, struct span line)
{
	s->wait = WAIT_COMMAND;
	auth_step(s, sasl_continue(&s->sasl, line));
	mem_wipe(s->line.p, s->line.n);
}
