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
