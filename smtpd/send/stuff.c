#include "smtpd/send/stuff.h"

#include <string.h>

static void end_line(struct stuffer *s, struct strbuf *out)
{
	strbuf_add_mem(out, "\r\n", 2);
	s->is_in_line = false;
}

/* Bytes that end no line. */
static void add_run(struct stuffer *s, struct span run, struct strbuf *out)
{
	if (!s->is_in_line && s->with_dots && run.p[0] == '.')
		strbuf_add_chr(out, '.');
	strbuf_add(out, run);
	s->is_in_line = true;
}

void stuff(struct stuffer *s, struct span in, struct strbuf *out)
{
	while (in.n > 0) {
		size_t n = 0;

		if (s->has_cr) {
			/* A CR alone ends a line too: it never leaves by itself. */
			s->has_cr = false;
			end_line(s, out);
			if (in.p[0] == '\n') {
				in = span_from(in, 1);
				continue;
			}
		}
		while (n < in.n && in.p[n] != '\r' && in.p[n] != '\n')
			n++;
		if (n > 0)
			add_run(s, span_sub(in, 0, n), out);
		if (n == in.n)
			return;
		if (in.p[n] == '\r')
			s->has_cr = true;
		else
			end_line(s, out);
		in = span_from(in, n + 1);
	}
}

void stuff_end(struct stuffer *s, struct strbuf *out)
{
	if (s->has_cr || s->is_in_line)
		end_line(s, out);
	s->has_cr = false;
	if (s->with_dots)
		strbuf_add_mem(out, ".\r\n", 3);
}
