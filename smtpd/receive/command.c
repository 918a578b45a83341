#include "smtpd/receive/receive.h"

#include "common/base/mem.h"
#include "common/log/log.h"

/* What must hold before a command is run; the first that does not gives its reply. */
#define BEFORE_TLS 1u /* allowed although the listener requires TLS first */
#define NEEDS_HELO 2u
#define NEEDS_MAIL 4u
#define NO_ARGUMENT 8u
#define NOT_LMTP 16u
#define ONLY_LMTP 32u
#define IDLE 64u /* brings no mail */

struct command {
	struct span name;
	unsigned flags;
	void (*run)(struct session *s, struct span arg);
};

static const struct command commands[] = {
    {SPAN_INIT("EHLO"), BEFORE_TLS | NOT_LMTP | IDLE, cmd_ehlo},
    {SPAN_INIT("HELO"), BEFORE_TLS | NOT_LMTP | IDLE, cmd_helo},
    {SPAN_INIT("LHLO"), BEFORE_TLS | ONLY_LMTP | IDLE, cmd_ehlo},
    {SPAN_INIT("STARTTLS"), BEFORE_TLS | NO_ARGUMENT, cmd_starttls},
    {SPAN_INIT("AUTH"), NEEDS_HELO, cmd_auth},
    {SPAN_INIT("MAIL"), NEEDS_HELO, cmd_mail},
    {SPAN_INIT("RCPT"), NEEDS_HELO | NEEDS_MAIL, cmd_rcpt},
    {SPAN_INIT("DATA"), NEEDS_HELO | NEEDS_MAIL | NO_ARGUMENT, cmd_data},
    {SPAN_INIT("BDAT"), BEFORE_TLS, cmd_bdat}, /* looks itself, behind its chunk */
    {SPAN_INIT("RSET"), BEFORE_TLS | NO_ARGUMENT | IDLE, cmd_rset},
    {SPAN_INIT("NOOP"), BEFORE_TLS | IDLE, cmd_noop},
    {SPAN_INIT("QUIT"), BEFORE_TLS | NO_ARGUMENT, cmd_quit},
    {SPAN_INIT("HELP"), BEFORE_TLS | IDLE, cmd_help},
    {SPAN_INIT("VRFY"), IDLE, cmd_vrfy},
    {SPAN_INIT("EXPN"), 0, cmd_not_here},
    {SPAN_INIT("ETRN"), 0, cmd_not_here},
    {SPAN_INIT("TURN"), 0, cmd_not_here},
    {SPAN_INIT("SEND"), 0, cmd_not_here},
    {SPAN_INIT("SOML"), 0, cmd_not_here},
    {SPAN_INIT("SAML"), 0, cmd_not_here},
};

/* A browser that was made to talk to us (cross-protocol attack): nothing it says is worth a reply.
 */
static bool is_http(struct span name)
{
	static const struct span verbs[] = {SPAN_INIT("GET"), SPAN_INIT("POST"), SPAN_INIT("PUT"),
	    SPAN_INIT("HEAD"), SPAN_INIT("CONNECT"), SPAN_INIT("OPTIONS"), SPAN_INIT("Host:")};

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (span_ieq(name, verbs[i]))
			return true;
	return false;
}

static const struct command *command_find(struct span name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (span_ieq(commands[i].name, name))
			return &commands[i];
	return NULL;
}

/* A client that only keeps its place. */
static bool is_idling(struct session *s, const struct command *c)
{
	if (!(c->flags & IDLE) || ++s->idle <= config_u64(s->cfg, SET_SMTP_IDLE_MAX))
		return false;
	log_info("smtp-idle", LOG_STR("session", s->id), LOG_STR("client", s->client));
	reply(s, 421, "4.7.0", "%s Too many commands without mail", s->listener->cfg->hostname);
	s->is_closing = true;
	return true;
}

void command_run(struct session *s, struct span line)
{
	ssize_t space = span_chr(line, ' ');
	struct span name = space < 0 ? line : span_sub(line, 0, (size_t)space);
	struct span arg = space < 0 ? span_make("", 0) : span_from(line, (size_t)space + 1);
	const struct command *c = command_find(name);

	while (arg.n > 0 && (arg.p[arg.n - 1] == ' ' || arg.p[arg.n - 1] == '\t'))
		arg.n--;
	if (is_http(name)) {
		log_info("smtp-http", LOG_STR("session", s->id), LOG_STR("client", s->client));
		s->is_closing = true;
	} else if (!c || (c->flags & (s->is_lmtp ? NOT_LMTP : ONLY_LMTP))) {
		reply_error(s, 500, "5.5.1", "Unknown command");
	} else if (session_needs_tls(s) && !(c->flags & BEFORE_TLS)) {
		reply_error(s, 530, "5.7.0", "Must issue a STARTTLS command first");
	} else if ((c->flags & NEEDS_HELO) && s->helo[0] == '\0') {
		reply_error(s, 503, "5.5.1", "Say %s first", s->is_lmtp ? "LHLO" : "EHLO");
	} else if ((c->flags & NEEDS_MAIL) && !s->t.is_open) {
		reply_error(s, 503, "5.5.1", "MAIL comes first");
	} else if ((c->flags & NO_ARGUMENT) && arg.n > 0) {
		reply_error(s, 501, "5.5.4", "No argument expected");
	} else if (!is_idling(s, c)) {
		c->run(s, arg);
	}
}
