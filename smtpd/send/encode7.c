#include "smtpd/send/encode7.h"

#include "common/base/base64.h"

#define LINE_MAX 76

void encode7_init(struct encoder7 *e, enum encode7 kind)
{
	*e = (struct encoder7){.kind = kind};
}

/* --- quoted-printable ------------------------------------------------------------------------- */
static void qp_add(struct encoder7 *e, struct span token, struct strbuf *out)
{
	/* One column stays free for the "=" of a break that may follow. */
	if (e->column + token.n > LINE_MAX - 1) {
		strbuf_add_mem(out, "=\r\n", 3);
		e->column = 0;
	}
	strbuf_add(out, token);
	e->column += token.n;
}

static void qp_hex(struct encoder7 *e, char c, struct strbuf *out)
{
	static const char digits[] = "0123456789ABCDEF";
	char token[3] = {'=', digits[(unsigned char)c >> 4], digits[(unsigned char)c & 15]};

	qp_add(e, span_make(token, sizeof(token)), out);
}

static void qp_flush(struct encoder7 *e, bool is_line_end, struct strbuf *out)
{
	char blank = e->blank;

	e->blank = 0;
	if (blank && is_line_end)
		qp_hex(e, blank, out);
	else if (blank)
		qp_add(e, span_make(&blank, 1), out);
}

static void qp_byte(struct encoder7 *e, char c, struct strbuf *out)
{
	qp_flush(e, false, out);
	/* A line that begins with "-" might come to look like a boundary. */
	if (c == '-' && e->column >= LINE_MAX - 1) {
		strbuf_add_mem(out, "=\r\n", 3);
		e->column = 0;
	}
	if (c == ' ' || c == '\t')
		e->blank = c;
	else if (c > ' ' && c < 0x7f && c != '=' && (c != '-' || e->column > 0))
		qp_add(e, span_make(&c, 1), out);
	else
		qp_hex(e, c, out);
}

static void qp_line_end(struct encoder7 *e, struct strbuf *out)
{
	qp_flush(e, true, out);
	strbuf_add_mem(out, "\r\n", 2);
	e->column = 0;
}

/* --- base64 ----------------------------------------------------------------------------------- */
static void base64_group(struct encoder7 *e, struct strbuf *out)
{
	if (e->column == LINE_MAX) {
		strbuf_add_mem(out, "\r\n", 2);
		e->column = 0;
	}
	base64_encode(out, span_make(e->held, e->held_n));
	e->column += 4;
	e->held_n = 0;
}

static void base64_byte(struct encoder7 *e, char c, struct strbuf *out)
{
	e->held[e->held_n++] = c;
	if (e->held_n == sizeof(e->held))
		base64_group(e, out);
}

/* --- both ------------------------------------------------------------------------------------- */
static void byte(struct encoder7 *e, char c, struct strbuf *out)
{
	if (e->kind == ENCODE7_QP)
		qp_byte(e, c, out);
	else
		base64_byte(e, c, out);
}

static void line_end(struct encoder7 *e, struct strbuf *out)
{
	if (e->kind == ENCODE7_QP) {
		qp_line_end(e, out);
	} else {
		base64_byte(e, '\r', out);
		base64_byte(e, '\n', out);
	}
}

void encode7_feed(struct encoder7 *e, struct span in, struct strbuf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];
		bool had_cr = e->has_cr;

		e->has_cr = false;
		if (had_cr)
			line_end(e, out);
		if (c == '\r')
			e->has_cr = true;
		else if (c != '\n')
			byte(e, c, out);
		else if (!had_cr)
			line_end(e, out);
	}
}

void encode7_end(struct encoder7 *e, struct strbuf *out)
{
	if (e->has_cr)
		line_end(e, out);
	e->has_cr = false;
	if (e->kind == ENCODE7_QP)
		qp_flush(e, true, out);
	else if (e->held_n > 0)
		base64_group(e, out);
}
