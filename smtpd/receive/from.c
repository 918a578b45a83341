/* Whoever logged in writes as himself: each address in From is asked about (RFC 6409 section 6.1).
 */
#include "smtpd/receive/receive.h"

#include "common/base/mem.h"

#define QUERY_MS 20000

static void next(struct session *s);

static void refuse(struct session *s, const char *fmt, struct span what)
{
	reply_error(s, 550, "5.7.1", "%s%s%.*s", fmt, what.n > 0 ? ": " : "", SPAN_FMT(what));
	transaction_reset(s);
	session_next(s);
}

static void on_answer(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	struct session *s = arg;

	s->query = NULL;
	if (err || msg->type != IPC_AUTH_SENDER_RESULT || msg->body.n != 1) {
		reply(s, 451, "4.3.0", "Temporary lookup failure, try later");
		transaction_reset(s);
		session_next(s);
	} else if (msg->body.p[0] != 1) {
		refuse(s, "From is not your address", strbuf_span(&s->t.from_address));
	} else {
		next(s);
	}
}

static void ask(struct session *s, const struct mail_entry *e)
{
	struct mail_address a = {e->local, e->domain};
	struct ipc_sender m = {.account = s->account};
	struct strbuf b;

	strbuf_reset(&s->t.from_address);
	mail_address_format(&s->t.from_address, &a);
	m.address = strbuf_span(&s->t.from_address);
	strbuf_init(&b, 4096);
	ipc_enc_sender(&b, &m);
	s->query = ipc_call(
	    s->server->role->authd, IPC_AUTH_SENDER, strbuf_span(&b), QUERY_MS, on_answer, s);
	strbuf_clear(&b);
}

/* Every "@" that is not in a quoted string or a comment. */
static size_t count_ats(struct span value)
{
	size_t count = 0, comments = 0;
	bool is_quoted = false;

	for (size_t i = 0; i < value.n; i++) {
		char c = value.p[i];

		if (c == '\\' && (is_quoted || comments > 0))
			i++;
		else if (c == '"' && comments == 0)
			is_quoted = !is_quoted;
		else if (c == '(' && !is_quoted)
			comments++;
		else if (c == ')' && !is_quoted && comments > 0)
			comments--;
		else if (c == '@' && !is_quoted && comments == 0)
			count++;
	}
	return count;
}

/* The next address; behind the last one the message is taken. */
static void next(struct session *s)
{
	struct mail_entry e;

	while (mail_list_next(&s->t.from, &e)) {
		if (e.kind != MAIL_ENTRY_MAILBOX)
			continue;
		if (e.bad || ++s->t.from_count > FROM_ADDRESSES_MAX)
			refuse(s,
			    e.bad ? "From has no proper address" : "From has too many addresses",
			    span_make("", 0));
		else
			ask(s, &e);
		return;
	}
	/* The reader is tolerant; what it passed over another one might show as the sender. */
	if (count_ats(strbuf_span(&s->t.header.from)) != s->t.from_count)
		refuse(s, "From has no proper address", span_make("", 0));
	else
		message_finish(s);
}

void from_check(struct session *s)
{
	const struct header_filter *f = &s->t.header;

	s->wait = WAIT_RESULT;
	conn_set_deadline(s->conn, 0);
	if (f->from_fields > 1 || f->from.failed) {
		refuse(s, f->from.failed ? "From is too long" : "More than one From field",
		    span_make("", 0));
		return;
	}
	mail_list_init(&s->t.from, strbuf_span(&f->from));
	strbuf_init(&s->t.from_address, 2048);
	next(s);
}
