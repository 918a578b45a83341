#include "common/mail/envelope.h"
#include "common/base/mem.h"
#include "common/mail/address.h"
#include "common/mail/imapstr.h"

#include <string.h>

#define ITEMS MAIL_ENVELOPE_ITEMS

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

/* White space of any kind and length as one space: folds do not show. */
static void flatten(struct strbuf *out, struct span value)
{
	size_t i = 0;

	while (i < value.n) {
		size_t start = i;

		while (i < value.n && !strchr(" \t\r\n", value.p[i]))
			i++;
		strbuf_add(out, span_sub(value, start, i - start));
		start = i;
		while (i < value.n && value.p[i] && strchr(" \t\r\n", value.p[i]))
			i++;
		if (i > start)
			strbuf_add_chr(out, ' ');
		if (i < value.n && !value.p[i]) {
			strbuf_add_chr(out, '?');
			i++;
		}
	}
}

static void write_text(struct strbuf *out, struct span value, bool is_subject)
{
	struct strbuf text;

	if (!value.p) {
		mail_write_nstring(out, value);
		return;
	}
	strbuf_init(&text, value.n);
	if (is_subject)
		flatten(&text, value);
	else
		mail_header_unfold(&text, value);
	mail_write_string(out, strbuf_span(&text));
	strbuf_clear(&text);
}

static void write_item(struct strbuf *out, struct span header, const struct span *values, int i)
{
	switch (i) {
	case MAIL_ENVELOPE_FROM:
	case MAIL_ENVELOPE_SENDER:
	case MAIL_ENVELOPE_REPLY_TO:
		if (values[i].p && write_list(out, header, i, &values[i]))
			return;
		if (i != MAIL_ENVELOPE_FROM && values[MAIL_ENVELOPE_FROM].p &&
		    write_list(out, header, i, &values[MAIL_ENVELOPE_FROM]))
			return;
		break;
	case MAIL_ENVELOPE_TO:
	case MAIL_ENVELOPE_CC:
	case MAIL_ENVELOPE_BCC:
		if (values[i].p && write_list(out, header, i, NULL))
			return;
		break;
	default:
		write_text(out, values[i], i == MAIL_ENVELOPE_SUBJECT);
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

/* A string, NIL or a whole parenthesised list. */
static bool take_item(struct span *in, struct span *out)
{
	struct span rest = *in, text;
	size_t depth = 0;

	if (in->n == 0 || in->p[0] != '(') {
		if (!mail_take_nstring(&rest, NULL, &text))
			return false;
		*out = span_sub(*in, 0, in->n - rest.n);
		*in = rest;
		return true;
	}
	do {
		if (span_take_chr(&rest, '('))
			depth++;
		else if (depth && span_take_chr(&rest, ')'))
			depth--;
		else if (!(depth && span_take_chr(&rest, ' ')) &&
			 !mail_take_nstring(&rest, NULL, &text))
			return false;
	} while (depth > 0 && rest.n > 0);
	if (depth > 0)
		return false;
	*out = span_sub(*in, 0, in->n - rest.n);
	*in = rest;
	return true;
}

bool mail_envelope_items(struct span text, struct span items[MAIL_ENVELOPE_ITEMS], int count)
{
	if (!span_take_chr(&text, '('))
		return false;
	for (int i = 0; i < count; i++)
		if ((i && !span_take_chr(&text, ' ')) || !take_item(&text, &items[i]))
			return false;
	return count < ITEMS || (span_take_chr(&text, ')') && text.n == 0);
}

bool mail_envelope_address(
    struct span *item, struct strbuf *scratch, struct mail_envelope_address *out)
{
	struct span *const parts[4] = {&out->name, &out->route, &out->local, &out->domain};

	/* The list's own parenthesis, before the first. */
	if (span_starts(*item, SPAN("((")))
		span_take_chr(item, '(');
	if (!span_take_chr(item, '('))
		return false;
	/* Room for all at once, so that nothing moves. */
	if (!strbuf_room(scratch, item->n))
		return false;
	for (int i = 0; i < 4; i++)
		if ((i && !span_take_chr(item, ' ')) || !mail_take_nstring(item, scratch, parts[i]))
			return false;
	return span_take_chr(item, ')');
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

	if (mail_header_find(header, names[MAIL_ENVELOPE_MESSAGE_ID], &f) &&
	    mail_msgid_next(&f.value, &id))
		return id;
	return span_of("");
}
