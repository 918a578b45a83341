#include "common/mail/envelope.h"
#include "common/base/mem.h"
#include "common/mail/address.h"
#include "common/mail/imapstr.h"

enum { DATE, SUBJECT, FROM, SENDER, REPLY_TO, TO, CC, BCC, IN_REPLY_TO, MESSAGE_ID, ITEMS };

static const struct span names[ITEMS] = {SPAN_INIT("date"), SPAN_INIT("subject"), SPAN_INIT("from"),
    SPAN_INIT("sender"), SPAN_INIT("reply-to"), SPAN_INIT("to"), SPAN_INIT("cc"), SPAN_INIT("bcc"),
    SPAN_INIT("in-reply-to"), SPAN_INIT("message-id")};

static void write_entry(struct strbuf *out, const struct mail_entry *a)
{
	strbuf_add_chr(out, '(');
	mail_write_nstring(out, a->name);
	strbuf_add_chr(out, ' ');
	mail_write_nstring(out, a->route);
	strbuf_add_chr(out, ' ');
	mail_write_nstring(out, a->local);
	strbuf_add_chr(out, ' ');
	mail_write_nstring(out, a->domain);
	strbuf_add_chr(out, ')');
}

/* The addresses of one field; *count is how many the list has so far. */
static void write_addresses(struct strbuf *out, struct span value, unsigned *count)
{
	struct mail_list l;
	struct mail_entry a;

	mail_list_init(&l, value);
	while (*count < MAIL_LIST_MAX && !out->failed && mail_list_next(&l, &a)) {
		if (!*count)
			strbuf_add_chr(out, '(');
		++*count;
		write_entry(out, &a);
	}
	mail_list_clear(&l);
}

/* One item, of all its fields (first false: only of the first). False if it would be empty. */
static bool write_list(struct strbuf *out, struct span header, int item, const struct span *first)
{
	struct mail_header h;
	struct mail_field f;
	unsigned count = 0;

	if (first) {
		write_addresses(out, *first, &count);
	} else {
		mail_header_init(&h, header);
		while (mail_header_next(&h, &f))
			if (span_ieq(f.name, names[item]))
				write_addresses(out, f.value, &count);
	}
	if (!count)
		return false;
	strbuf_add_chr(out, ')');
	return true;
}

static void write_text(struct strbuf *out, struct span value)
{
	struct strbuf text;

	if (!value.p) {
		mail_write_nstring(out, value);
		return;
	}
	strbuf_init(&text, value.n);
	mail_header_unfold(&text, value);
	mail_write_string(out, strbuf_span(&text));
	strbuf_clear(&text);
}

static void write_item(struct strbuf *out, struct span header, const struct span *values, int i)
{
	switch (i) {
	case FROM:
	case SENDER:
	case REPLY_TO:
		if (values[i].p && write_list(out, header, i, &values[i]))
			return;
		if (i != FROM && values[FROM].p && write_list(out, header, i, &values[FROM]))
			return;
		break;
	case TO:
	case CC:
	case BCC:
		if (values[i].p && write_list(out, header, i, NULL))
			return;
		break;
	default:
		write_text(out, values[i]);
		return;
	}
	strbuf_add(out, SPAN("NIL"));
}

bool mail_envelope_write(struct strbuf *out, struct span header)
{
	struct span values[ITEMS] = {{NULL, 0}};
	struct mail_header h;
	struct mail_field f;

	mail_header_init(&h, header);
	while (mail_header_next(&h, &f))
		for (int i = 0; i < ITEMS; i++)
			if (!values[i].p && span_ieq(f.name, names[i]))
				values[i] = f.value;
	strbuf_add_chr(out, '(');
	for (int i = 0; i < ITEMS; i++) {
		if (i)
			strbuf_add_chr(out, ' ');
		write_item(out, header, values, i);
	}
	return strbuf_add_chr(out, ')') && !out->failed;
}

bool mail_envelope_write_empty(struct strbuf *out)
{
	return mail_envelope_write(out, span_of(""));
}

bool mail_msgid_next(struct span *value, struct span *id)
{
	size_t open = SIZE_MAX, i;

	/* "<a <b@c>": the last opening bracket counts */
	for (i = 0; i < value->n; i++) {
		if (value->p[i] == '<')
			open = i + 1;
		else if (value->p[i] == '>' && open < i)
			break;
	}
	if (i == value->n) {
		*value = span_from(*value, i);
		return false;
	}
	*id = span_sub(*value, open, i - open);
	*value = span_from(*value, i + 1);
	return true;
}

struct span mail_msgid_of(struct span header)
{
	struct mail_field f;
	struct span id;

	if (mail_header_find(header, names[MESSAGE_ID], &f) && mail_msgid_next(&f.value, &id))
		return id;
	return span_of("");
}
