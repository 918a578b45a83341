/* EHLO, HELO, STARTTLS, AUTH and the small ones. */
#include "smtpd/receive/receive.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <string.h>

/* A domain or an address literal; anything printable without spaces is taken, as peers do. */
static bool take_helo(struct session *s, struct span arg)
{
	if (arg.n == 0 || arg.n >= sizeof(s->helo))
		return false;
	for (size_t i = 0; i < arg.n; i++)
		if (ascii_is_ctl(arg.p[i]) || arg.p[i] == ' ' || arg.p[i] == '(' || arg.p[i] == ')')
			return false;
	memcpy(s->helo, arg.p, arg.n);
	s->helo[arg.n] = '\0';
	return true;
}

void cmd_helo(struct session *s, struct span arg)
{
	if (!take_helo(s, arg)) {
		reply_error(s, 501, "5.5.4", "HELO needs a host name");
		return;
	}
	transaction_reset(s);
	s->is_esmtp = false;
	reply(s, 250, NULL, "%s", s->listener->cfg->hostname);
}

void cmd_ehlo(struct session *s, struct span arg)
{
	struct span lines, line;
	struct strbuf b;

	if (!take_helo(s, arg)) {
		reply_error(s, 501, "5.5.4", "%s needs a host name", s->is_lmtp ? "LHLO" : "EHLO");
		return;
	}
	transaction_reset(s);
	s->is_esmtp = true;
	strbuf_init(&b, 1024);
	strbuf_addf(&b,
	    "250-%s\r\n250-PIPELINING\r\n250-SIZE %llu\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
	    "250-CHUNKING\r\n250-DSN\r\n250-LIMITS RCPTMAX=%llu\r\n",
	    s->listener->cfg->hostname,
	    (unsigned long long)config_u64(s->cfg, SET_SMTP_MESSAGE_MAX),
	    (unsigned long long)config_u64(s->cfg, SET_SMTP_RECIPIENTS_MAX));
	if (s->listener->tls && !conn_is_tls(s->conn))
		strbuf_add(&b, SPAN("250-STARTTLS\r\n"));
	if (conn_is_tls(s->conn)) /* RFC 8689 section 2 */
		strbuf_add(&b, SPAN("250-REQUIRETLS\r\n"));
	if (session_may_login(s) && s->account == 0)
		strbuf_add(&b, SPAN("250-AUTH PLAIN LOGIN\r\n"));
	strbuf_add(&b, SPAN("250 ENHANCEDSTATUSCODES\r\n"));
	conn_write(s->conn, strbuf_span(&b));
	lines = strbuf_span(&b);
	while (s->is_logged && span_split(&lines, '\r', &line) && lines.n > 0) {
		session_log(s, "server", line);
		lines = span_from(lines, 1);
	}
	strbuf_clear(&b);
}

void cmd_starttls(struct session *s, struct span arg)
{
	struct err err = ERR_INIT;

	if (conn_is_tls(s->conn) || !s->listener->tls) {
		reply_error(
		    s, 503, "5.5.1", conn_is_tls(s->conn) ? "TLS is active" : "No TLS here");
		return;
	}
	/* RFC 3207 section 4.2: what was said in the clear is forgotten. */
	transaction_reset(s);
	s->helo[0] = '\0';
	session_set_account(s, 0, 0);
	s->user[0] = '\0';
	reply(s, 220, "2.0.0", "Ready to start TLS");
	if (conn_start_tls(s->conn, s->listener->tls, &err) < 0) {
		log_warning("smtp-injection", LOG_STR("session", s->id),
		    LOG_STR("client", s->client), LOG_ERR(&err));
		s->is_closing = true;
	}
}

void cmd_noop(struct session *s, struct span arg)
{
	reply(s, 250, "2.0.0", "Ok");
}

void cmd_rset(struct session *s, struct span arg)
{
	transaction_reset(s);
	reply(s, 250, "2.0.0", "Ok");
}

void cmd_quit(struct session *s, struct span arg)
{
	reply(s, 221, "2.0.0", "%s Bye", s->listener->cfg->hostname);
	s->is_closing = s->has_quit = true;
}

void cmd_help(struct session *s, struct span arg)
{
	reply(s, 214, "2.0.0", "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT");
}

/* RFC 5321 section 3.5.3: tells nothing. */
void cmd_vrfy(struct session *s, struct span arg)
{
	if (arg.n == 0)
		reply_error(s, 501, "5.5.4", "VRFY needs an address");
	else
		reply(s, 252, "2.5.0", "Send some mail, I will try my best");
}

void cmd_not_here(struct session *s, struct span arg)
{
	reply_error(s, 502, "5.5.1", "Command not implemented");
}

/* --- AUTH (RFC 4954) -------------------------------------------------------------------------- */
static void on_login(void *arg, const struct ipc_login_result *res)
{
	struct session *s = arg;

	s->login = NULL;
	log_info("smtp-login", LOG_STR("session", s->id), LOG_STR("client", s->client),
	    LOG_U64("status", res->status), LOG_U64("account", res->account),
	    LOG_SPAN("address", res->address));
	switch (res->status) {
	case LOGIN_OK:
		if (!session_set_account(s, res->account, res->sessions_max)) {
			reply_error(s, 454, "4.7.0",
			    "Sending limit of %llu sessions at once, until one ends",
			    (unsigned long long)res->sessions_max);
			break;
		}
		s->is_by_address = false;
		if (res->address.n < sizeof(s->user)) {
			memcpy(s->user, res->address.p, res->address.n);
			s->user[res->address.n] = '\0';
		}
		reply(s, 235, "2.7.0", "Authentication succeeded");
		break;
	case LOGIN_FAILED:
		reply_error(s, 535, "5.7.8", "Authentication failed");
		break;
	case LOGIN_NOT_HERE:
		reply_error(s, 535, "5.7.8", "Sending is switched off for this account");
		break;
	case LOGIN_THROTTLED:
		reply_error(s, 454, "4.7.0", "Too many failed logins, try later");
		break;
	default:
		reply(s, 454, "4.7.0", "Temporary authentication failure");
		break;
	}
	session_next(s);
}

static void ask(struct session *s)
{
	struct sasl_question q = {
	    .authd = s->server->role->authd,
	    .protocol = "smtp",
	    .listener = s->listener->cfg->name,
	    .client = s->client,
	    .user = span_of(s->sasl.user),
	    .password = span_of(s->sasl.password),
	};

	s->wait = WAIT_RESULT;
	s->login = sasl_ask(&q, on_login, s);
}

static void auth_step(struct session *s, enum sasl_step step)
{
	switch (step) {
	case SASL_CHALLENGE:
		reply(s, 334, NULL, "%s", s->sasl.challenge);
		s->wait = WAIT_SASL;
		return;
	case SASL_READY:
		ask(s);
		break;
	case SASL_BAD:
		reply_error(s, 501, "5.5.2", "Malformed authentication exchange");
		break;
	case SASL_ABORTED:
		reply(s, 501, "5.0.0", "Authentication cancelled");
		break;
	case SASL_UNKNOWN:
		reply_error(s, 504, "5.5.4", "Unknown mechanism");
		break;
	}
	sasl_clear(&s->sasl);
}

void auth_line(struct session *s, struct span line)
{
	s->wait = WAIT_COMMAND;
	auth_step(s, sasl_continue(&s->sasl, line));
}

void cmd_auth(struct session *s, struct span arg)
{
	ssize_t space = span_chr(arg, ' ');
	struct span mechanism = space < 0 ? arg : span_sub(arg, 0, (size_t)space);
	struct span initial = {NULL, 0};

	if (!s->listener->cfg->auth) {
		reply_error(s, 503, "5.5.1", "No authentication on this port");
	} else if (!session_may_login(s)) {
		reply_error(s, 530, "5.7.0", "Must issue a STARTTLS command first");
	} else if (s->account != 0) {
		reply_error(s, 503, "5.5.1", "Already authenticated");
	} else if (s->t.is_open) {
		reply_error(s, 503, "5.5.1", "Not during a mail transaction");
	} else if (mechanism.n == 0) {
		reply_error(s, 501, "5.5.4", "AUTH needs a mechanism");
	} else {
		if (space >= 0)
			initial = span_trim(span_from(arg, (size_t)space + 1));
		sasl_init(&s->sasl);
		auth_step(s, sasl_start(&s->sasl, mechanism, initial));
	}
}
