/* The AUTHORIZATION state: USER, PASS, AUTH, STLS, CAPA, UTF8. */
#include "pop3d/pop3.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <string.h>

static bool refuse_without_tls(struct session *s)
{
	if (session_login_allowed(s))
		return false;
	if (!s->listener->cfg->auth)
		reply_bad(s, "[SYS/PERM] No logins on this port");
	else
		reply_bad(s, "[SYS/PERM] Use STLS before logging in");
	return true;
}

static void on_login(void *arg, const struct ipc_login_result *res)
{
	struct session *s = arg;

	s->login = NULL;
	log_info("pop3-login", LOG_STR("session", s->id), LOG_STR("client", s->client),
	    LOG_U64("status", res->status), LOG_U64("account", res->account),
	    LOG_SPAN("address", res->address));
	switch (res->status) {
	case LOGIN_OK:
		maildrop_open(s, res->account);
		return;
	case LOGIN_FAILED:
		reply_err(s, "[AUTH] Authentication failed");
		break;
	case LOGIN_NOT_HERE:
		reply_err(s, "[AUTH] POP3 is switched off for this account");
		break;
	case LOGIN_THROTTLED:
		reply_err(s, "[SYS/TEMP] Too many failed logins, try later");
		break;
	default:
		reply_err(s, "[SYS/TEMP] Temporary authentication failure");
		break;
	}
	session_next(s);
	/* A guesser pays with its connection. */
	if (res->status == LOGIN_FAILED &&
	    ++s->bad_commands >= config_u64(s->cfg, SET_POP3_BAD_MAX))
		session_end(s);
}

static void ask(struct session *s, struct span user, struct span password)
{
	struct sasl_question q = {
	    .authd = s->server->role->authd,
	    .protocol = "pop3",
	    .listener = s->listener->cfg->name,
	    .client = s->client,
	    .user = user,
	    .password = password,
	};

	s->wait = WAIT_RESULT;
	s->login = sasl_ask(&q, on_login, s);
}

void cmd_user(struct session *s, struct span arg)
{
	if (refuse_without_tls(s))
		return;
	if (arg.n == 0 || arg.n > SASL_USER_MAX) {
		reply_bad(s, "USER needs a name");
		return;
	}
	memcpy(s->user, arg.p, arg.n);
	s->user[arg.n] = '\0';
	/* The same answer for every name: nobody learns who has a mailbox. */
	reply_ok(s, "Send PASS");
}

void cmd_pass(struct session *s, struct span arg)
{
	if (refuse_without_tls(s))
		return;
	if (s->user[0] == '\0') {
		reply_bad(s, "USER comes first");
		return;
	}
	if (arg.n == 0 || arg.n > SASL_PASSWORD_MAX) {
		reply_bad(s, "PASS needs a password");
		return;
	}
	ask(s, span_of(s->user), arg);
	s->user[0] = '\0';
}

void auth_step(struct session *s, enum sasl_step step)
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
		reply_bad(s, "Malformed authentication exchange");
		break;
	case SASL_ABORTED:
		reply_err(s, "Authentication cancelled");
		break;
	case SASL_UNKNOWN:
		reply_bad(s, "Unknown mechanism");
		break;
	}
	sasl_clear(&s->sasl);
}

void cmd_auth(struct session *s, struct span arg)
{
	ssize_t space = span_chr(arg, ' ');
	struct span mechanism = space < 0 ? arg : span_sub(arg, 0, (size_t)space);
	struct span initial = {NULL, 0};

	if (refuse_without_tls(s))
		return;
	if (arg.n == 0) {
		/* Not in RFC 5034, but clients of before it ask this way. */
		reply_ok(s, "Mechanisms follow");
		conn_write(s->conn, SPAN("PLAIN\r\nLOGIN\r\n.\r\n"));
		return;
	}
	if (space >= 0)
		initial = span_trim(span_from(arg, (size_t)space + 1));
	sasl_init(&s->sasl);
	auth_step(s, sasl_start(&s->sasl, mechanism, initial));
}

void cmd_stls(struct session *s, struct span arg)
{
	struct err err = ERR_INIT;

	if (conn_is_tls(s->conn) || !s->listener->tls) {
		reply_bad(s, conn_is_tls(s->conn) ? "TLS is active" : "No TLS on this port");
		return;
	}
	/* RFC 6856 section 2.1 */
	if (s->has_utf8) {
		reply_bad(s, "STLS comes before UTF8");
		return;
	}
	s->user[0] = '\0';
	reply_ok(s, "Begin TLS");
	if (conn_start_tls(s->conn, s->listener->tls, &err) < 0) {
		log_warning("pop3-injection", LOG_STR("session", s->id),
		    LOG_STR("client", s->client), LOG_ERR(&err));
		s->is_closing = true;
	}
}

void cmd_capa(struct session *s, struct span arg)
{
	reply_ok(s, "Capabilities follow");
	conn_write(s->conn, SPAN("TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n"
				 "UTF8\r\nEXPIRE NEVER\r\n"));
	/* RFC 2449 section 6: these are announced in both states. */
	if (session_login_allowed(s))
		conn_write(s->conn, SPAN("USER\r\nSASL PLAIN LOGIN\r\n"));
	if (!s->is_in_transaction && s->listener->tls && !conn_is_tls(s->conn))
		conn_write(s->conn, SPAN("STLS\r\n"));
	conn_write(s->conn, SPAN("IMPLEMENTATION mailstead\r\n.\r\n"));
}

/* RFC 6856 section 2: messages as they came. LIST and STAT say the size of that form in any case
 * (RFC 6858 lets them). */
void cmd_utf8(struct session *s, struct span arg)
{
	s->has_utf8 = true;
	reply_ok(s, "UTF-8 enabled");
}
