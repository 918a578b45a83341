#include "smtpd/send/reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void reply_init(struct reply_reader *r)
{
	void (*on_line)(void *, unsigned, struct span) = r->on_line;
	void *arg = r->arg;

	*r = (struct reply_reader){.on_line = on_line, .arg = arg};
}

static void add_text(struct reply_reader *r, struct span text)
{
	for (size_t i = 0; i < text.n && r->n < REPLY_TEXT_MAX; i++) {
		char c = text.p[i];

		/* 8-bit bytes may be UTF-8 (RFC 6531); who shows them looks. */
		r->reply.text[r->n++] = ascii_is_ctl(c) ? '?' : c;
	}
	r->reply.text[r->n] = '\0';
}

static bool take_code(struct span line, int *code)
{
	if (line.n < 3 || !ascii_is_digit(line.p[0]) || !ascii_is_digit(line.p[1]) ||
	    !ascii_is_digit(line.p[2]))
		return false;
	*code = (line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + line.p[2] - '0';
	return *code >= 200 && *code <= 599;
}

/* 1 the last line, 0 there are more, -1 not a reply. */
static int take_line(struct reply_reader *r, struct span line, struct err *err)
{
	struct span text;
	int code;

	if (!take_code(line, &code) || (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-'))
		return err_set(
		    err, ERR_INVALID, "not a reply: %.*s", line.n < 40 ? (int)line.n : 40, line.p);
	if (r->lines > 0 && code != r->reply.code)
		return err_set(
		    err, ERR_INVALID, "a reply with two codes: %d and %d", r->reply.code, code);
	text = span_from(line, 4);
	if (r->on_line)
		r->on_line(r->arg, r->lines, text);
	r->reply.code = code;
	/* The enhanced code that begins each line is kept once. */
	add_text(r, r->lines == 0 ? span_sub(line, 0, 3) : SPAN(""));
	if (text.n > 0) {
		add_text(r, SPAN(" "));
		add_text(r, text);
	}
	r->lines++;
	return line.n > 3 && line.p[3] == '-' ? 0 : 1;
}

int reply_read(struct reply_reader *r, struct span in, size_t *used, struct err *err)
{
	*used = 0;
	for (;;) {
		ssize_t end = span_chr(in, '\n');
		struct span line = span_sub(in, 0, end < 0 ? in.n : (size_t)end);
		int got;

		if (line.n > REPLY_LINE_MAX)
			return err_set(
			    err, ERR_LIMIT, "a reply line of more than %d bytes", REPLY_LINE_MAX);
		if (end < 0)
			return 0;
		*used += line.n + 1;
		in = span_from(in, line.n + 1);
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		got = take_line(r, line, err);
		if (got != 0)
			return got;
		if (r->lines == REPLY_LINES_MAX)
			return err_set(
			    err, ERR_LIMIT, "a reply of more than %d lines", REPLY_LINES_MAX);
	}
}

bool reply_enhanced(const struct reply *r, char out[16])
{
	struct span rest = span_from(span_of(r->text), 4);
	struct span start = rest;
	uint64_t class, subject, detail;

	if (!span_take_u64(&rest, 5, &class) || !span_take_chr(&rest, '.') ||
	    !span_take_u64(&rest, 999, &subject) || !span_take_chr(&rest, '.') ||
	    !span_take_u64(&rest, 999, &detail) || (rest.n > 0 && rest.p[0] != ' ') ||
	    (int)class != r->code / 100)
		return false;
	memcpy(out, start.p, start.n - rest.n);
	out[start.n - rest.n] = '\0';
	return true;
}

void reply_make(struct reply *r, int code, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(r->text, sizeof(r->text), "%d ", code);

	r->code = code;
	va_start(ap, fmt);
	vsnprintf(r->text + n, sizeof(r->text) - (size_t)n, fmt, ap);
	va_end(ap);
	for (char *p = r->text; *p; p++)
		if (ascii_is_ctl(*p))
			*p = '?';
}

bool reply_is_good(const struct reply *r)
{
	return r->code >= 200 && r->code < 400;
}

bool reply_is_permanent(const struct reply *r)
{
	return r->code >= 500;
}
