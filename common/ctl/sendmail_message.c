/* The message: read, its recipients found, what every message needs added. */
#include "common/ctl/sendmail.h"

#include "common/base/mem.h"
#include "common/mail/address.h"
#include "common/mail/date.h"
#include "common/mail/header.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define FIELDS_MAX (64 * 1024) /* of what is added */

char *sendmail_qualify(const struct sendmail *s, struct span address, struct err *err)
{
	char buf[MAIL_PATH_MAX];
	struct mail_address parsed;
	struct strbuf full;
	char *result = NULL;

	strbuf_init(&full, 1024);
	strbuf_add(&full, address);
	if (span_rchr(address, '@') < 0) {
		strbuf_add_chr(&full, '@');
		strbuf_add_str(&full, s->domain);
	}
	if (full.failed) {
		err_set(err, ERR_LIMIT, "an address is too long");
	} else if (mail_address_parse(strbuf_span(&full), 0, buf, &parsed, err) < 0) {
		err_wrap(err, "%.*s", address.n < 80 ? (int)address.n : 80, address.p);
	} else {
		strbuf_reset(&full);
		mail_address_format(&full, &parsed);
		result = strbuf_steal(&full, NULL);
	}
	strbuf_clear(&full);
	return result;
}

int sendmail_add_recipient(struct sendmail *s, struct span address, struct err *err)
{
	char *full;

	if (s->count == SENDMAIL_RECIPIENTS)
		return err_set(err, ERR_LIMIT, "more than %d recipients", SENDMAIL_RECIPIENTS);
	full = sendmail_qualify(s, address, err);
	if (!full)
		return -1;
	for (size_t i = 0; i < s->count; i++) {
		if (strcmp(s->recipients[i], full) == 0) {
			mem_free(full);
			return 0;
		}
	}
	s->recipients[s->count++] = full;
	return 0;
}

/* --- reading -----------------------------------------------------------------------------------
 */
struct reader {
	struct sendmail *s;
	size_t line;   /* where the current line begins in the message */
	bool has_cr;   /* the last byte was a CR whose line end is written already */
	bool is_ended; /* by a dot */
};

static void end_line(struct reader *r)
{
	struct strbuf *m = &r->s->message;

	if (!r->s->has_dots && m->n == r->line + 1 && m->p[r->line] == '.') {
		strbuf_truncate(m, r->line);
		r->is_ended = true;
		return;
	}
	strbuf_add_str(m, "\r\n");
	r->line = m->n;
}

static void take(struct reader *r, const char *p, size_t n)
{
	for (size_t i = 0; i < n && !r->is_ended; i++) {
		bool is_lf = p[i] == '\n';

		/* LF, CRLF and a lone CR each end a line. */
		if (is_lf && r->has_cr)
			r->has_cr = false;
		else if (is_lf || p[i] == '\r')
			end_line(r);
		else
			strbuf_add_chr(&r->s->message, p[i] ? p[i] : '?');
		r->has_cr = p[i] == '\r';
	}
}

int sendmail_read(struct sendmail *s, int fd, struct err *err)
{
	struct reader r = {.s = s};
	char buf[16384];
	ssize_t n;

	while (!r.is_ended && (n = read(fd, buf, sizeof(buf))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, errno, "reading the message");
		take(&r, buf, (size_t)n);
		if (s->message.failed)
			return err_set(
			    err, ERR_LIMIT, "the message is larger than %zu bytes", s->message.max);
	}
	if (!r.is_ended && s->message.n > r.line)
		end_line(&r);
	return 0;
}

/* --- what is missing ---------------------------------------------------------------------------
 */
/* Whether the text begins with a header: "name: value", or an empty one. */
static bool begins_with_header(struct span message)
{
	size_t i = 0;

	if (span_starts(message, SPAN("\r\n")))
		return true;
	while (i < message.n && message.p[i] > ' ' && message.p[i] < 0x7f && message.p[i] != ':')
		i++;
	return i > 0 && i < message.n && message.p[i] == ':';
}

static int take_list(struct sendmail *s, struct span value, struct err *err)
{
	struct mail_list list;
	struct mail_entry e;
	int result = 0;

	mail_list_init(&list, value);
	while (result == 0 && mail_list_next(&list, &e)) {
		struct strbuf address;

		if (e.kind != MAIL_ENTRY_MAILBOX)
			continue;
		strbuf_init(&address, 1024);
		strbuf_add(&address, e.local);
		/* The reader's word for "no domain". */
		if (!span_eq(e.domain, SPAN("MISSING_DOMAIN"))) {
			strbuf_add_chr(&address, '@');
			strbuf_add(&address, e.domain);
		}
		result = sendmail_add_recipient(s, strbuf_span(&address), err);
		strbuf_clear(&address);
	}
	mail_list_clear(&list);
	return result;
}

/* A name that can stand before an address: printable ASCII, in quotes. */
static void add_name(struct strbuf *out, const char *name)
{
	if (!name || !name[0])
		return;
	for (const char *c = name; *c; c++)
		if (*c < ' ' || *c > '~')
			return;
	strbuf_add_chr(out, '"');
	for (const char *c = name; *c; c++) {
		if (*c == '"' || *c == '\\')
			strbuf_add_chr(out, '\\');
		strbuf_add_chr(out, *c);
	}
	strbuf_add_str(out, "\" ");
}

static void add_missing(const struct sendmail *s, struct span header, struct strbuf *out)
{
	char date[MAIL_DATE_LEN];
	struct mail_field f;
	uint64_t id[2];
	time_t now = time(NULL);

	if (!mail_header_find(header, SPAN("From"), &f)) {
		strbuf_add_str(out, "From: ");
		add_name(out, s->full_name);
		strbuf_addf(out, "<%s>\r\n", s->sender[0] ? s->sender : "MAILER-DAEMON");
	}
	if (!mail_header_find(header, SPAN("Date"), &f)) {
		mail_date_format(date, (int64_t)now, 0);
		strbuf_addf(out, "Date: %s\r\n", date);
	}
	if (!mail_header_find(header, SPAN("Message-ID"), &f)) {
		if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
			fatal("no random numbers");
		strbuf_addf(out, "Message-ID: <%016llx%016llx@%s>\r\n", (unsigned long long)id[0],
		    (unsigned long long)id[1], s->domain);
	}
}

static bool is_list_field(struct span name)
{
	return span_ieq(name, SPAN("To")) || span_ieq(name, SPAN("Cc")) ||
	       span_ieq(name, SPAN("Bcc"));
}

/* The header without Bcc, whose recipients nobody shall see. */
static int copy_header(
    struct sendmail *s, struct span header, bool *has_to, struct strbuf *out, struct err *err)
{
	struct mail_header h;
	struct mail_field f;

	mail_header_init(&h, header);
	while (mail_header_next(&h, &f)) {
		if (s->has_list && is_list_field(f.name) && take_list(s, f.value, err) < 0)
			return -1;
		if (span_ieq(f.name, SPAN("Bcc")))
			continue;
		*has_to = *has_to || is_list_field(f.name);
		strbuf_add(out, span_sub(header, f.offset, f.size));
	}
	return 0;
}

int sendmail_complete(struct sendmail *s, struct err *err)
{
	struct span message = strbuf_span(&s->message);
	bool has_header = begins_with_header(message), is_complete = false, has_to = false;
	size_t size = has_header ? mail_header_size(message, &is_complete) : 0;
	struct span header = span_sub(message, 0, is_complete ? size - 2 : size);
	struct strbuf out;
	int result;

	strbuf_init(&out, s->message.max + FIELDS_MAX);
	add_missing(s, header, &out);
	result = copy_header(s, header, &has_to, &out, err);
	if (!has_to)
		strbuf_add_str(&out, "To: undisclosed-recipients:;\r\n");
	strbuf_add_str(&out, "\r\n");
	strbuf_add(&out, span_from(message, size));
	if (result == 0 && out.failed)
		result = err_set(err, ERR_LIMIT, "the message is too large");
	strbuf_clear(&s->message);
	s->message = out;
	return result;
}
