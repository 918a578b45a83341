#include "pop3d/pop3.h"

#include "common/base/mem.h"

/* Where a command may be given (RFC 1939 section 3), and what it needs. */
#define IN_AUTHORIZATION 1u
#define IN_TRANSACTION 2u
#define NO_ARGUMENT 4u

struct command {
	struct span name;
	unsigned flags;
	void (*run)(struct session *s, struct span arg);
};

static const struct command commands[] = {
    {SPAN_INIT("USER"), IN_AUTHORIZATION, cmd_user},
    {SPAN_INIT("PASS"), IN_AUTHORIZATION, cmd_pass},
    {SPAN_INIT("AUTH"), IN_AUTHORIZATION, cmd_auth},
    {SPAN_INIT("STLS"), IN_AUTHORIZATION | NO_ARGUMENT, cmd_stls},
    {SPAN_INIT("UTF8"), IN_AUTHORIZATION | NO_ARGUMENT, cmd_utf8},
    {SPAN_INIT("CAPA"), IN_AUTHORIZATION | IN_TRANSACTION | NO_ARGUMENT, cmd_capa},
    {SPAN_INIT("QUIT"), IN_AUTHORIZATION | IN_TRANSACTION | NO_ARGUMENT, cmd_quit},
    {SPAN_INIT("STAT"), IN_TRANSACTION | NO_ARGUMENT, cmd_stat},
    {SPAN_INIT("LIST"), IN_TRANSACTION, cmd_list},
    {SPAN_INIT("UIDL"), IN_TRANSACTION, cmd_uidl},
    {SPAN_INIT("RETR"), IN_TRANSACTION, cmd_retr},
    {SPAN_INIT("TOP"), IN_TRANSACTION, cmd_top},
    {SPAN_INIT("DELE"), IN_TRANSACTION, cmd_dele},
    {SPAN_INIT("RSET"), IN_TRANSACTION | NO_ARGUMENT, cmd_rset},
    {SPAN_INIT("NOOP"), IN_TRANSACTION | NO_ARGUMENT, cmd_noop},
};

static const struct command *command_find(struct span name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (span_ieq(commands[i].name, name))
			return &commands[i];
	return NULL;
}

void command_run(struct session *s, struct span line)
{
	ssize_t space = span_chr(line, ' ');
	struct span name = space < 0 ? line : span_sub(line, 0, (size_t)space);
	struct span arg = space < 0 ? span_make("", 0) : span_from(line, (size_t)space + 1);
	const struct command *c = command_find(name);

	/* A password may begin or end with spaces; nothing else does. */
	if (!span_ieq(name, SPAN("PASS")))
		arg = span_trim(arg);
	if (!c)
		reply_bad(s, "Unknown command");
	else if (!(c->flags & (s->is_in_transaction ? IN_TRANSACTION : IN_AUTHORIZATION)))
		reply_bad(s, s->is_in_transaction ? "Already logged in" : "Log in first");
	else if ((c->flags & NO_ARGUMENT) && arg.n > 0)
		reply_bad(s, "No argument expected");
	else
		c->run(s, arg);
	if (s->wait == WAIT_COMMAND && s->is_in_transaction)
		conn_set_deadline(s->conn, config_u64(s->cfg, SET_POP3_DEADLINE) * 1000);
}

void command_sasl_line(struct session *s, struct span line)
{
	s->wait = WAIT_COMMAND;
	auth_step(s, sasl_continue(&s->sasl, line));
}
