#include "smtpd/send/dsn.h"

#include "common/mail/address.h"
#include "common/mail/date.h"
#include "smtpd/send/reply.h"

#include <stdio.h>
#include <string.h>

void dsn_status(struct span reply, char out[16])
{
	struct reply r = {0};
	uint64_t code;

	if (span_u64(span_sub(reply, 0, 3), 599, &code) && reply.n > 4)
		r.code = (int)code;
	if (r.code > 0)
		snprintf(r.text, sizeof(r.text), "%.*s",
		    reply.n < REPLY_TEXT_MAX ? (int)reply.n : REPLY_TEXT_MAX, reply.p);
	if (r.code > 0 && reply_enhanced(&r, out))
		return;
	memcpy(out, r.code >= 500 ? "5.0.0" : r.code >= 400 ? "4.0.0" : "2.0.0", 6);
}

static const char *action_name(enum dsn_action a)
{
	static const char *const names[] = {"failed", "delayed", "relayed", "delivered"};

	return names[a];
}

/* A reply without its codes, folded so that no line is too long. */
static void add_folded(struct strbuf *out, struct span text, size_t width)
{
	size_t column = width;

	while (text.n > 0) {
		ssize_t space = span_chr(text, ' ');
		struct span word = span_sub(text, 0, space < 0 ? text.n : (size_t)space);

		/* A word without an end is cut. */
		if (word.n > 200)
			word = span_sub(word, 0, 200);
		if (column > 0 && column + word.n + 1 > 76) {
			strbuf_add_str(out, "\r\n ");
			column = 1;
		} else if (column > 0) {
			strbuf_add_chr(out, ' ');
			column++;
		}
		strbuf_add(out, word);
		column += word.n;
		text = span_from(text, word.n);
		while (text.n > 0 && text.p[0] == ' ')
			text = span_from(text, 1);
	}
}

/* --- head and words --------------------------------------------------------------------------- */
static void add_head(struct strbuf *out, const struct dsn *d)
{
	static const char *const subjects[] = {"Your message could not be delivered",
	    "Your message is not delivered yet", "Your message was passed on",
	    "Your message was delivered"};
	char date[MAIL_DATE_LEN];

	mail_date_format(date, d->now, 0);
	strbuf_addf(out,
	    "From: Mail Delivery System <mailer-daemon@%s>\r\nTo: <%.*s>\r\nSubject: %s\r\n",
	    d->our_name, SPAN_FMT(d->to), subjects[d->rcpts[0].action]);
	strbuf_addf(out, "Date: %s\r\nMessage-ID: <%s@%s>\r\n", date, d->unique, d->our_name);
	strbuf_addf(out,
	    "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
	    "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n"
	    "\r\nThis is a report in MIME format.\r\n",
	    d->unique);
}

static void add_words_for(struct strbuf *out, const struct dsn *d, const struct dsn_rcpt *r)
{
	const struct cause *cause = cause_of(r->reply);
	char until[MAIL_DATE_LEN];

	strbuf_addf(out, "\r\n%.*s\r\n", SPAN_FMT(r->address));
	switch (r->action) {
	case DSN_RELAYED:
		strbuf_add_str(out, "   The message was handed to a server that does not tell "
				    "whether it\r\n   reached the mailbox.\r\n");
		return;
	case DSN_DELIVERED:
		strbuf_add_str(out, "   The message is in the mailbox.\r\n");
		return;
	case DSN_DELAYED:
		mail_date_format(until, r->until, 0);
		strbuf_add_str(out, "  ");
		add_folded(out, span_of(cause->what), 2);
		strbuf_addf(out, "\r\n   It is tried until %s.\r\n", until);
		break;
	default:
		strbuf_add_str(out, "  ");
		add_folded(out, span_of(cause->what), 2);
		strbuf_add_str(out, "\r\n  ");
		add_folded(out, span_of(cause->next), 2);
		strbuf_add_str(out, "\r\n");
		break;
	}
	if (r->host.n > 0)
		strbuf_addf(out, "   %.*s said:\r\n  ", SPAN_FMT(r->host));
	else
		strbuf_add_str(out, "   Technically:\r\n  ");
	add_folded(out, r->reply, 2);
	strbuf_add_str(out, "\r\n");
}

static void add_words(struct strbuf *out, const struct dsn *d)
{
	strbuf_addf(out,
	    "\r\n--%s\r\nContent-Type: text/plain; charset=utf-8\r\n"
	    "Content-Transfer-Encoding: 8bit\r\n\r\n",
	    d->unique);
	strbuf_addf(out, "This is the mail server %s.\r\n\r\n", d->our_name);
	if (!span_eq(d->to, d->from))
		strbuf_addf(out, "The sender <%.*s> cannot be told, so you are.\r\n\r\n",
		    SPAN_FMT(d->from));
	switch (d->rcpts[0].action) {
	case DSN_FAILED:
		strbuf_add_str(out, "The message below could not be delivered to:\r\n");
		break;
	case DSN_DELAYED:
		strbuf_add_str(out,
		    "The message below is still under way; there is nothing that you "
		    "have to\r\ndo. It is not delivered yet to:\r\n");
		break;
	case DSN_DELIVERED:
		strbuf_add_str(out, "The message below was delivered to:\r\n");
		break;
	default:
		strbuf_add_str(out, "The message below was passed on to:\r\n");
		break;
	}
	for (size_t i = 0; i < d->count; i++)
		add_words_for(out, d, &d->rcpts[i]);
}

/* --- what programs read ----------------------------------------------------------------------- */
/* What xtext stands for (RFC 3464 2.2.1, 2.3.1); what is none is left out. */
static void add_decoded(struct strbuf *out, const char *field, struct span text)
{
	struct strbuf plain;
	ssize_t semicolon = span_chr(text, ';');
	struct span type = span_sub(text, 0, semicolon < 0 ? 0 : (size_t)semicolon + 1);

	strbuf_init(&plain, 2048);
	if (text.n > 0 && mail_xtext_decode(&plain, span_from(text, type.n)))
		strbuf_addf(out, "%s: %.*s%.*s\r\n", field, SPAN_FMT(type), (int)plain.n, plain.p);
	strbuf_clear(&plain);
}

static void add_rcpt_fields(struct strbuf *out, const struct dsn *d, const struct dsn_rcpt *r)
{
	char status[16], date[MAIL_DATE_LEN];
	ssize_t space;

	dsn_status(r->reply, status);
	/* RFC 3464 2.3.4: the class goes with the action. */
	status[0] = r->action == DSN_FAILED ? '5' : r->action == DSN_DELAYED ? '4' : '2';
	strbuf_add_str(out, "\r\n");
	add_decoded(out, "Original-Recipient", r->orcpt);
	strbuf_addf(out, "Final-Recipient: %s; %.*s\r\nAction: %s\r\nStatus: %s\r\n",
	    d->is_utf8 ? "utf-8" : "rfc822", SPAN_FMT(r->address), action_name(r->action), status);
	space = span_chr(r->host, ' ');
	if (r->host.n > 0) {
		strbuf_addf(out, "Remote-MTA: dns; %.*s\r\nDiagnostic-Code: smtp;",
		    (int)(space < 0 ? (ssize_t)r->host.n : space), r->host.p);
		add_folded(out, r->reply, 22);
		strbuf_add_str(out, "\r\n");
	}
	mail_date_format(date, d->now, 0);
	strbuf_addf(out, "Last-Attempt-Date: %s\r\n", date);
	if (r->action == DSN_DELAYED) {
		mail_date_format(date, r->until, 0);
		strbuf_addf(out, "Will-Retry-Until: %s\r\n", date);
	}
}

static void add_fields(struct strbuf *out, const struct dsn *d)
{
	char date[MAIL_DATE_LEN];

	strbuf_addf(out, "\r\n--%s\r\nContent-Type: message/%sdelivery-status\r\n", d->unique,
	    d->is_utf8 ? "global-" : "");
	if (d->is_utf8)
		strbuf_add_str(out, "Content-Transfer-Encoding: 8bit\r\n");
	strbuf_add_str(out, "\r\n");
	add_decoded(out, "Original-Envelope-Id", d->envid);
	mail_date_format(date, d->arrival, 0);
	strbuf_addf(out, "Reporting-MTA: dns; %s\r\nArrival-Date: %s\r\n", d->our_name, date);
	for (size_t i = 0; i < d->count; i++)
		add_rcpt_fields(out, d, &d->rcpts[i]);
}

static bool is_8bit(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return true;
	return false;
}

static void add_original(struct strbuf *out, const struct dsn *d)
{
	const char *type = d->is_whole  ? (d->is_utf8 ? "message/global" : "message/rfc822")
			   : d->is_utf8 ? "message/global-headers"
					: "text/rfc822-headers";

	strbuf_addf(out, "\r\n--%s\r\nContent-Type: %s\r\n", d->unique, type);
	if (is_8bit(d->original))
		strbuf_add_str(out, "Content-Transfer-Encoding: 8bit\r\n");
	strbuf_add_str(out, "\r\n");
	strbuf_add(out, d->original);
	strbuf_addf(out, "\r\n--%s--\r\n", d->unique);
}

void dsn_write(struct strbuf *out, const struct dsn *d)
{
	add_head(out, d);
	add_words(out, d);
	add_fields(out, d);
	add_original(out, d);
}
