#include "common/base/mem.h"
#include "imapd/imap.h"

#include <string.h>

/* Where a command may be given (RFC 3501 section 6), and what it needs. */
#define IN_NOT_AUTH (1u << NOT_AUTHENTICATED)
#define IN_AUTH (1u << AUTHENTICATED)
#define IN_SELECTED (1u << SELECTED)
#define LOGGED_IN (IN_AUTH | IN_SELECTED)
#define ANYWHERE (IN_NOT_AUTH | LOGGED_IN)
#define NO_ARGUMENT 8u
#define IN_CLEAR 16u /* also where the listener demands STARTTLS first */
#define UID 32u      /* with the prefix UID */

struct command {
	struct span name;
	unsigned flags;
	void (*run)(struct session *s, struct parser *p);
};

static const struct command commands[] = {
    {SPAN_INIT("CAPABILITY"), ANYWHERE | NO_ARGUMENT | IN_CLEAR, cmd_capability},
    {SPAN_INIT("NOOP"), ANYWHERE | NO_ARGUMENT | IN_CLEAR, cmd_noop},
    {SPAN_INIT("LOGOUT"), ANYWHERE | NO_ARGUMENT | IN_CLEAR, cmd_logout},
    {SPAN_INIT("ID"), ANYWHERE | IN_CLEAR, cmd_id},
    {SPAN_INIT("STARTTLS"), IN_NOT_AUTH | NO_ARGUMENT | IN_CLEAR, cmd_starttls},
    {SPAN_INIT("LOGIN"), IN_NOT_AUTH, cmd_login},
    {SPAN_INIT("AUTHENTICATE"), IN_NOT_AUTH, cmd_authenticate},
    {SPAN_INIT("COMPRESS"), LOGGED_IN, cmd_compress},
    {SPAN_INIT("ENABLE"), LOGGED_IN, cmd_enable},
    {SPAN_INIT("NAMESPACE"), LOGGED_IN | NO_ARGUMENT, cmd_namespace},
    {SPAN_INIT("IDLE"), LOGGED_IN | NO_ARGUMENT, cmd_idle},
    {SPAN_INIT("SELECT"), LOGGED_IN, cmd_select},
    {SPAN_INIT("EXAMINE"), LOGGED_IN, cmd_examine},
    {SPAN_INIT("CREATE"), LOGGED_IN, cmd_create},
    {SPAN_INIT("DELETE"), LOGGED_IN, cmd_delete},
    {SPAN_INIT("RENAME"), LOGGED_IN, cmd_rename},
    {SPAN_INIT("SUBSCRIBE"), LOGGED_IN, cmd_subscribe},
    {SPAN_INIT("UNSUBSCRIBE"), LOGGED_IN, cmd_unsubscribe},
    {SPAN_INIT("LIST"), LOGGED_IN, cmd_list},
    {SPAN_INIT("LSUB"), LOGGED_IN, cmd_lsub},
    {SPAN_INIT("STATUS"), LOGGED_IN, cmd_status},
    {SPAN_INIT("APPEND"), LOGGED_IN, cmd_append},
    {SPAN_INIT("REPLACE"), IN_SELECTED, cmd_replace},
    {SPAN_INIT("REPLACE"), IN_SELECTED | UID, cmd_replace},
    {SPAN_INIT("GETQUOTA"), LOGGED_IN, cmd_getquota},
    {SPAN_INIT("GETQUOTAROOT"), LOGGED_IN, cmd_getquotaroot},
    {SPAN_INIT("SETQUOTA"), LOGGED_IN, cmd_setquota},
    {SPAN_INIT("CHECK"), IN_SELECTED | NO_ARGUMENT, cmd_check},
    {SPAN_INIT("CLOSE"), IN_SELECTED | NO_ARGUMENT, cmd_close},
    {SPAN_INIT("UNSELECT"), IN_SELECTED | NO_ARGUMENT, cmd_unselect},
    {SPAN_INIT("EXPUNGE"), IN_SELECTED | NO_ARGUMENT, cmd_expunge},
    {SPAN_INIT("EXPUNGE"), IN_SELECTED | UID, cmd_uid_expunge},
    {SPAN_INIT("FETCH"), IN_SELECTED, cmd_fetch},
    {SPAN_INIT("FETCH"), IN_SELECTED | UID, cmd_fetch},
    {SPAN_INIT("SEARCH"), IN_SELECTED, cmd_search},
    {SPAN_INIT("SEARCH"), IN_SELECTED | UID, cmd_search},
    {SPAN_INIT("SORT"), IN_SELECTED, cmd_sort},
    {SPAN_INIT("SORT"), IN_SELECTED | UID, cmd_sort},
    {SPAN_INIT("THREAD"), IN_SELECTED, cmd_thread},
    {SPAN_INIT("THREAD"), IN_SELECTED | UID, cmd_thread},
    {SPAN_INIT("STORE"), IN_SELECTED, cmd_store},
    {SPAN_INIT("STORE"), IN_SELECTED | UID, cmd_uid_store},
    {SPAN_INIT("COPY"), IN_SELECTED, cmd_copy},
    {SPAN_INIT("COPY"), IN_SELECTED | UID, cmd_uid_copy},
    {SPAN_INIT("MOVE"), IN_SELECTED, cmd_move},
    {SPAN_INIT("MOVE"), IN_SELECTED | UID, cmd_uid_move},
};

static const struct command *command_find(struct span name, bool is_uid)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (span_ieq(commands[i].name, name) && !(commands[i].flags & UID) == !is_uid)
			return &commands[i];
	return NULL;
}

/* tag = 1*<any ASTRING-CHAR except "+"> (RFC 3501 section 9) */
static bool is_tag_char(char c)
{
	return (unsigned char)c > 0x20 && (unsigned char)c < 0x7f &&
	       span_chr(SPAN("(){%*\"\\+"), c) < 0;
}

bool command_tag(struct session *s, struct span line, struct span *rest)
{
	size_t n = 0;

	while (n < line.n && is_tag_char(line.p[n]))
		n++;
	if (n == 0 || n > TAG_MAX || (n < line.n && line.p[n] != ' '))
		return false;
	memcpy(s->tag, line.p, n);
	s->tag[n] = '\0';
	*rest = span_from(line, n + 1);
	return n < line.n;
}

/* The name behind the tag, and whether UID stood before it. */
static bool take_name(struct parser *p, struct span *name, bool *is_uid)
{
	*is_uid = false;
	if (!parse_atom(p, name))
		return false;
	if (!span_ieq(*name, SPAN("UID")))
		return true;
	*is_uid = true;
	return parse_sp(p) && parse_atom(p, name);
}

bool command_is_append(struct session *s)
{
	struct parser p = {.arena = &s->arena};
	struct span name, mailbox;
	struct sequence seq;
	bool is_uid, is_replace;

	if (s->state == NOT_AUTHENTICATED || !command_tag(s, strbuf_span(&s->line), &p.in) ||
	    !take_name(&p, &name, &is_uid) || !parse_sp(&p))
		return false;
	is_replace = span_ieq(name, SPAN("REPLACE"));
	if (!is_replace && (is_uid || !span_ieq(name, SPAN("APPEND"))))
		return false;
	if (is_replace && (!parse_sequence(&p, &seq) || !parse_sp(&p)))
		return false;
	/* The name of the mailbox may be a literal of its own. */
	return parse_astring(&p, &mailbox);
}

static const char *wrong_state(const struct session *s, const struct command *c)
{
	if (s->state == NOT_AUTHENTICATED)
		return "Log in first";
	if (c->flags & IN_NOT_AUTH)
		return "Already logged in";
	return "Select a mailbox first";
}

static bool is_before_tls(const struct session *s)
{
	return s->listener->cfg->tls == TLS_REQUIRED && !conn_is_tls(s->conn);
}

static void run(struct session *s, struct parser *p, const struct command *c)
{
	bool has_argument = parse_sp(p);

	if (!(c->flags & (1u << s->state)))
		finish_bad(s, wrong_state(s, c));
	else if (!(c->flags & IN_CLEAR) && is_before_tls(s))
		finish(s, "NO [PRIVACYREQUIRED] STARTTLS comes first");
	else if (c->flags & NO_ARGUMENT ? has_argument || !parse_end(p)
					: !has_argument || parse_end(p))
		finish_bad(
		    s, c->flags & NO_ARGUMENT ? "No argument expected" : "Arguments missing");
	else
		c->run(s, p);
}

void command_run(struct session *s)
{
	struct parser p = {.arena = &s->arena, .is_utf8 = s->has_utf8};
	const struct command *c;
	struct span name;
	bool is_uid;

	if (!command_tag(s, span_sub(strbuf_span(&s->line), 0, s->line.n - 2), &p.in)) {
		finish_bad(s, "A command begins with a tag and a space");
		return;
	}
	s->commands++;
	c = take_name(&p, &name, &is_uid) ? command_find(name, is_uid) : NULL;
	if (!c) {
		finish_bad(s, "Unknown command");
		return;
	}
	s->is_uid = is_uid;
	run(s, &p, c);
}
