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

/* In: behind the opening quote. */
static bool take_quoted(struct span *in, struct strbuf *scratch, struct span *out)
{
	size_t n = 0, start = scratch ? scratch->n : 0;
	bool is_escaped = false;
	struct span raw;

	while (n < in->n && in->p[n] != '"') {
		if (in->p[n] == '\\') {
			is_escaped = true;
			n++;
		}
		n++;
	}
	if (n >= in->n)
		return false;
	raw = span_sub(*in, 0, n);
	*in = span_from(*in, n + 1);
	*out = raw;
	if (!is_escaped || !scratch)
		return true;
	for (size_t i = 0; i < raw.n; i++) {
		i += raw.p[i] == '\\';
		strbuf_add_chr(scratch, raw.p[i]);
	}
	*out = span_from(strbuf_span(scratch), start);
	return !scratch->failed;
}

bool mail_take_nstring(struct span *in, struct strbuf *scratch, struct span *out)
{
	struct span rest = *in;
	uint64_t n;

	if (span_take_iword(&rest, SPAN("NIL"))) {
		*out = (struct span){NULL, 0};
	} else if (span_take_chr(&rest, '"')) {
		if (!take_quoted(&rest, scratch, out))
			return false;
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
