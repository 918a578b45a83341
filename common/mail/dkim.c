#include "common/mail/dkim.h"

void dkim_body_init(struct dkim_body *b, void (*sink)(void *arg, struct span bytes), void *arg)
{
	*b = (struct dkim_body){.sink = sink, .arg = arg};
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* Content is behind what was held back. */
static void let_go(struct dkim_body *b)
{
	static const struct span many =
	    SPAN_INIT("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n");

	while (b->line_ends > 0) {
		uint64_t n = b->line_ends < many.n / 2 ? b->line_ends : many.n / 2;

		b->sink(b->arg, span_sub(many, 0, (size_t)n * 2));
		b->line_ends -= n;
	}
	if (b->has_space)
		b->sink(b->arg, SPAN(" "));
	b->has_space = false;
	b->has_content = true;
}

/* A CR that began no line end. */
static void lone_cr(struct dkim_body *b)
{
	b->has_cr = false;
	let_go(b);
	b->sink(b->arg, SPAN("\r"));
}

void dkim_body_feed(struct dkim_body *b, struct span in)
{
	while (in.n > 0) {
		size_t n = 0;

		if (b->has_cr && in.p[0] == '\n') {
			b->has_cr = b->has_space = false;
			b->line_ends++;
			in = span_from(in, 1);
			continue;
		}
		if (b->has_cr)
			lone_cr(b);
		if (in.p[0] == '\r' || is_space(in.p[0])) {
			b->has_cr = in.p[0] == '\r';
			b->has_space = b->has_space || !b->has_cr;
			in = span_from(in, 1);
			continue;
		}
		while (n < in.n && in.p[n] != '\r' && !is_space(in.p[n]))
			n++;
		let_go(b);
		b->sink(b->arg, span_sub(in, 0, n));
		in = span_from(in, n);
	}
}

void dkim_body_end(struct dkim_body *b)
{
	if (b->has_cr)
		lone_cr(b);
	if (b->has_content)
		b->sink(b->arg, SPAN("\r\n"));
}

void dkim_field(struct strbuf *out, struct span field)
{
	ssize_t colon = span_chr(field, ':');
	struct span name = span_sub(field, 0, colon >= 0 ? (size_t)colon : field.n);
	struct span value = span_from(field, name.n + 1);
	bool has_space = false;
	bool has_value = false;

	name = span_trim(name);
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] != '\r' && name.p[i] != '\n')
			strbuf_add_chr(out, ascii_lower(name.p[i]));
	strbuf_add_chr(out, ':');
	for (size_t i = 0; i < value.n; i++) {
		char c = value.p[i];

		if (c == '\r' || c == '\n')
			continue;
		if (is_space(c)) {
			has_space = true;
			continue;
		}
		if (has_space && has_value)
			strbuf_add_chr(out, ' ');
		has_space = false;
		has_value = true;
		strbuf_add_chr(out, c);
	}
}
