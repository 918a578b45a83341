#include "common/mail/header.h"
#include "common/base/mem.h"

#include <stdlib.h>
#include <string.h>

static bool is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

/* End of the line that starts at: behind its LF, or the end of the input. */
static size_t line_end(struct span in, size_t at)
{
	const char *lf = memchr(in.p + at, '\n', in.n - at);

	return lf ? (size_t)(lf - in.p) + 1 : in.n;
}

static bool is_empty_line(struct span in, size_t at)
{
	return in.p[at] == '\n' || (in.p[at] == '\r' && in.n - at > 1 && in.p[at + 1] == '\n');
}

/* A name is printable ASCII or 8-bit bytes; a "From " line of an mbox is none. */
static size_t name_len(struct span line)
{
	const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
	size_t n = colon ? (size_t)(colon - line.p) : 0;

	while (n && is_wsp(line.p[n - 1]))
		n--;
	for (size_t i = 0; i < n; i++)
		if (line.p[i] == ' ' || ascii_is_ctl(line.p[i]))
			return 0;
	return n;
}

void mail_header_init(struct mail_header *h, struct span in)
{
	h->in = span_sub(in, 0, MAIL_HEADER_MAX);
	h->at = 0;
}

/* The next field, its value untouched. */
static bool take_field(struct mail_header *h, struct mail_field *out)
{
	struct span in = h->in;
	size_t end;

	if (h->at >= in.n || is_empty_line(in, h->at))
		return false;
	end = line_end(in, h->at);
	out->name = span_sub(in, h->at, name_len(span_sub(in, h->at, end - h->at)));
	while (end < in.n && is_wsp(in.p[end]))
		end = line_end(in, end);
	out->offset = h->at;
	out->size = end - h->at;
	h->at = end;
	return true;
}

bool mail_header_next(struct mail_header *h, struct mail_field *out)
{
	if (!take_field(h, out))
		return false;
	out->value = span_sub(h->in, out->offset, out->size);
	if (out->name.n)
		out->value = span_from(out->value, (size_t)span_chr(out->value, ':') + 1);
	out->value = span_trim(out->value);
	return true;
}

bool mail_header_find(struct span header, struct span name, struct mail_field *out)
{
	struct mail_header h;

	mail_header_init(&h, header);
	while (mail_header_next(&h, out))
		if (name.n && span_ieq(out->name, name))
			return true;
	return false;
}

size_t mail_header_size(struct span message, bool *complete)
{
	size_t at = 0;

	if (complete)
		*complete = true;
	while (at < message.n) {
		if (is_empty_line(message, at))
			return line_end(message, at);
		at = line_end(message, at);
	}
	if (complete)
		*complete = false;
	return message.n;
}

static bool is_line_break(struct span s)
{
	return s.p[0] == '\n' || (s.p[0] == '\r' && s.n > 1 && s.p[1] == '\n');
}

bool mail_header_unfold(struct strbuf *out, struct span value)
{
	while (value.n) {
		size_t n = 0;

		while (n < value.n && value.p[n] && !is_line_break(span_from(value, n)))
			n++;
		strbuf_add(out, span_sub(value, 0, n));
		value = span_from(value, n);
		if (!value.n)
			break;
		if (!value.p[0]) {
			strbuf_add_chr(out, '?');
			value = span_from(value, 1);
			continue;
		}
		while (value.n && (is_wsp(value.p[0]) || is_line_break(value)))
			value = span_from(value, value.p[0] == '\r' ? 2 : 1);
		strbuf_add_chr(out, ' ');
	}
	return !out->failed;
}

static int compare_names(const void *a, const void *b)
{
	const struct span *x = a, *y = b;
	size_t n = x->n < y->n ? x->n : y->n;

	for (size_t i = 0; i < n; i++) {
		int d = (unsigned char)ascii_lower(x->p[i]) - (unsigned char)ascii_lower(y->p[i]);

		if (d)
			return d;
	}
	return (x->n > y->n) - (x->n < y->n);
}

#define FEW_NAMES 16

static bool is_among(struct span name, const struct span *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (span_ieq(name, names[i]))
			return true;
	return false;
}

bool mail_header_select(
    struct strbuf *out, struct span header, const struct span *names, size_t count, bool keep)
{
	struct mail_header h = {header, 0};
	struct span *sorted = NULL;
	struct mail_field f;

	/* Sorted, so that many names times many fields is not quadratic. */
	if (count > FEW_NAMES) {
		sorted = mem_dup(names, count * sizeof(*sorted));
		qsort(sorted, count, sizeof(*sorted), compare_names);
	}
	while (mail_header_next(&h, &f)) {
		bool is_listed =
		    sorted ? bsearch(&f.name, sorted, count, sizeof(*sorted), compare_names) != NULL
			   : is_among(f.name, names, count);

		if ((f.name.n && is_listed) == keep)
			strbuf_add(out, span_sub(header, f.offset, f.size));
	}
	mem_free(sorted);
	return strbuf_add(out, SPAN("\r\n")) && !out->failed;
}
