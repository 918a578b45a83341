#include "common/mail/imapstr.h"

#include <string.h>

#define QUOTED_MAX 1000 /* longer text goes as a literal: some clients have short line buffers */

static bool is_quotable(struct span s)
{
	if (s.n > QUOTED_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '\r' || s.p[i] == '\n' || (unsigned char)s.p[i] >= 0x80)
			return false;
	return true;
}

bool mail_write_string(struct strbuf *out, struct span s)
{
	bool is_quoted = is_quotable(s);

	if (is_quoted) {
		strbuf_add_chr(out, '"');
	} else {
		strbuf_addf(out, "{%zu}\r\n", s.n);
	}
	for (size_t i = 0, run; i < s.n; i += run) {
		for (run = 0; i + run < s.n; run++) {
			char c = s.p[i + run];

			if (!c || (is_quoted && (c == '"' || c == '\\')))
				break;
		}
		strbuf_add(out, span_sub(s, i, run));
		if (i + run < s.n) {
			char c = s.p[i + run++];

			if (c)
				strbuf_add_chr(out, '\\');
			strbuf_add_chr(out, c ? c : '?');
		}
	}
	if (is_quoted)
		strbuf_add_chr(out, '"');
	return !out->failed;
}

bool mail_write_nstring(struct strbuf *out, struct span s)
{
	return s.p ? mail_write_string(out, s) : strbuf_add(out, SPAN("NIL"));
}

bool mail_write_astring(struct strbuf *out, struct span s)
{
	bool is_atom = s.n > 0 && s.n <= QUOTED_MAX && !span_ieq(s, SPAN("NIL"));

	for (size_t i = 0; is_atom && i < s.n; i++) {
		char c = s.p[i];

		if (ascii_is_ctl(c) || (unsigned char)c >= 0x80 || strchr(" (){%*\"\\", c))
			is_atom = false;
	}
	return is_atom ? strbuf_add(out, s) : mail_write_string(out, s);
}

/* Where a quoted string ends whose text begins at in: the index of its quote, or -1. */
static ssize_t find_quote(struct span in, bool *is_escaped)
{
	const char *quote = in.n ? memchr(in.p, '"', in.n) : NULL;
	size_t n = 0;

	if (!quote)
		return -1;
	*is_escaped = memchr(in.p, '\\', (size_t)(quote - in.p)) != NULL;
	if (!*is_escaped)
		return quote - in.p;
	while (n < in.n && in.p[n] != '"')
		n += in.p[n] == '\\' ? 2 : 1;
	return n < in.n ? (ssize_t)n : -1;
}

/* In: behind the opening quote. */
static bool take_quoted(struct span *in, struct strbuf *scratch, struct span *out)
{
	size_t start = scratch ? scratch->n : 0;
	bool is_escaped;
	ssize_t n = find_quote(*in, &is_escaped);

	if (n < 0)
		return false;
	*out = span_sub(*in, 0, (size_t)n);
	*in = span_from(*in, (size_t)n + 1);
	if (!is_escaped || !scratch)
		return true;
	for (size_t i = 0; i < out->n; i++) {
		i += out->p[i] == '\\';
		strbuf_add_chr(scratch, out->p[i]);
	}
	*out = span_from(strbuf_span(scratch), start);
	return !scratch->failed;
}

bool mail_take_nstring(struct span *in, struct strbuf *scratch, struct span *out)
{
	struct span rest = *in;
	uint64_t n;

	if (rest.n > 0 && rest.p[0] == '"') {
		rest = span_from(rest, 1);
		if (!take_quoted(&rest, scratch, out))
			return false;
	} else if (span_take_iword(&rest, SPAN("NIL"))) {
		*out = (struct span){NULL, 0};
	} else {
		if (!span_take_chr(&rest, '{') || !span_take_u64(&rest, SIZE_MAX, &n) ||
		    !span_take_iword(&rest, SPAN("}\r\n")) || n > rest.n)
			return false;
		*out = span_sub(rest, 0, (size_t)n);
		rest = span_from(rest, (size_t)n);
	}
	*in = rest;
	return true;
}
