/* What a mail needs of a server, and its MAIL and RCPT commands. */
#include "smtpd/send/session.h"

#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/mail/idna.h"

bool envelope_is_acceptable(struct session *c, struct reply *why)
{
	const struct queue_entry *e = &c->mail->entry;

	/* RFC 8689 4.2.1: rather back than over a connection that nobody has verified. */
	if (e->is_requiretls && !(c->is_verified && (c->caps & CAP_REQUIRETLS)))
		reply_make(why, 554,
		    "5.7.30 the sender wants verified TLS all the way, which %s does not offer",
		    session_host(c));
	else if (c->size_max > 0 && e->blob.size > c->size_max)
		reply_make(why, 552, "5.3.4 %s takes at most %llu bytes", session_host(c),
		    (unsigned long long)c->size_max);
	else
		return true;
	return false;
}

/* UTF-8 in an address counts only where it cannot be written otherwise (RFC 6531 section 3.2). */
static bool is_ascii_address(struct span address)
{
	ssize_t at = span_rchr(address, '@');
	char domain[MAIL_DOMAIN_MAX + 1];
	size_t n;

	if (utf8_is_ascii(address))
		return true;
	return at >= 0 && utf8_is_ascii(span_sub(address, 0, (size_t)at)) &&
	       mail_domain_ascii(span_from(address, (size_t)at + 1), domain, &n);
}

struct span mail_sender(const struct mail *m)
{
	return m->sender.n > 0 ? m->sender : m->entry.sender;
}

void mail_sender_domain(const struct mail *m, char out[QUEUE_DEST_MAX + 1])
{
	struct span sender = mail_sender(m);
	ssize_t at = span_rchr(sender, '@');
	size_t n;

	if (at < 0 || !mail_domain_ascii(span_from(sender, (size_t)at + 1), out, &n))
		out[0] = '\0';
}

static bool has_ascii_addresses(const struct mail *m)
{
	if (!is_ascii_address(mail_sender(m)))
		return false;
	for (size_t i = 0; i < m->count; i++)
		if (!is_ascii_address(m->targets[i].row.address))
			return false;
	return true;
}

bool envelope_needs_plan(const struct session *c)
{
	return !(c->caps & CAP_8BITMIME) || (c->mail->entry.is_utf8 && !(c->caps & CAP_SMTPUTF8));
}

bool envelope_is_possible(struct session *c, struct reply *why)
{
	bool needs_utf8 = c->mail->entry.is_utf8 || !utf8_is_ascii(mail_sender(c->mail));

	c->says_utf8 = needs_utf8 && (c->caps & CAP_SMTPUTF8);
	if (needs_utf8 && !c->says_utf8 && (c->has_utf8_header || !has_ascii_addresses(c->mail)))
		reply_make(
		    why, 553, "5.6.7 %s takes no addresses or headers in UTF-8", session_host(c));
	else if (!(c->caps & CAP_8BITMIME) && c->content == CONVERT_IMPOSSIBLE)
		reply_make(why, 554,
		    "5.6.3 %s takes no 8-bit text, and the message must not change: %s",
		    session_host(c), c->obstacle);
	else
		return true;
	return false;
}

/* The domain in A-labels, unless the server takes others. */
static void add_address(const struct session *c, struct span address, struct strbuf *b)
{
	ssize_t at = span_rchr(address, '@');
	struct span domain = span_from(address, (size_t)(at + 1));
	char ascii[MAIL_DOMAIN_MAX + 1];
	size_t n;

	if (at < 0 || c->says_utf8 || utf8_is_ascii(domain) ||
	    !mail_domain_ascii(domain, ascii, &n)) {
		strbuf_add(b, address);
		return;
	}
	strbuf_add(b, span_sub(address, 0, (size_t)at + 1));
	strbuf_add_mem(b, ascii, n);
}

void envelope_add_mail(struct session *c, struct strbuf *b)
{
	const struct queue_entry *e = &c->mail->entry;

	strbuf_add_str(b, "MAIL FROM:<");
	add_address(c, mail_sender(c->mail), b);
	strbuf_add_str(b, ">");
	if (c->caps & CAP_SIZE)
		strbuf_addf(b, " SIZE=%llu", (unsigned long long)e->blob.size + c->signature_size);
	if (e->is_8bit && (c->caps & CAP_8BITMIME))
		strbuf_add_str(b, " BODY=8BITMIME");
	if (c->says_utf8)
		strbuf_add_str(b, " SMTPUTF8");
	if (e->is_requiretls)
		strbuf_add_str(b, " REQUIRETLS");
	if ((c->caps & CAP_DSN) && e->ret != QUEUE_RET_NONE)
		strbuf_add_str(b, e->ret == QUEUE_RET_FULL ? " RET=FULL" : " RET=HDRS");
	if ((c->caps & CAP_DSN) && e->envid.n > 0) {
		strbuf_add_str(b, " ENVID=");
		strbuf_add(b, e->envid);
	}
	strbuf_add_str(b, "\r\n");
}

static void add_notify(struct strbuf *b, uint8_t notify)
{
	static const struct {
		uint8_t bit;
		const char *word;
	} words[] = {{QUEUE_NOTIFY_SUCCESS, "SUCCESS"}, {QUEUE_NOTIFY_FAILURE, "FAILURE"},
	    {QUEUE_NOTIFY_DELAY, "DELAY"}};
	bool is_first = true;

	if (notify == 0)
		return;
	strbuf_add_str(b, " NOTIFY=");
	if (notify & QUEUE_NOTIFY_NEVER) {
		strbuf_add_str(b, "NEVER");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (!(notify & words[i].bit))
			continue;
		strbuf_addf(b, "%s%s", is_first ? "" : ",", words[i].word);
		is_first = false;
	}
}

void envelope_add_rcpt(struct session *c, const struct target *t, struct strbuf *b)
{
	strbuf_add_str(b, "RCPT TO:<");
	add_address(c, t->row.address, b);
	strbuf_add_str(b, ">");
	if (c->caps & CAP_DSN) {
		add_notify(b, t->row.notify);
		if (t->row.orcpt.n > 0)
			strbuf_addf(b, " ORCPT=%.*s", SPAN_FMT(t->row.orcpt));
	}
	strbuf_add_str(b, "\r\n");
}
