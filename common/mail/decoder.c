/* Content-Transfer-Encoding in pieces. */
#include "common/mail/charset.h"

#include <string.h>

enum mail_encoding mail_encoding_of(struct span name)
{
	name = span_trim(name);
	if (span_ieq(name, SPAN("base64")))
		return MAIL_ENCODING_BASE64;
	if (span_ieq(name, SPAN("quoted-printable")))
		return MAIL_ENCODING_QP;
	return MAIL_ENCODING_NONE;
}

void mail_decoder_init(struct mail_decoder *d, enum mail_encoding encoding)
{
	*d = (struct mail_decoder){.encoding = encoding};
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (ascii_is_digit(c))
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* What a group of 2 or 3 characters still holds. */
static void end_group(struct mail_decoder *d, struct strbuf *out)
{
	if (d->have == 3) {
		strbuf_add_chr(out, (char)(d->bits >> 10));
		strbuf_add_chr(out, (char)(d->bits >> 2));
	} else if (d->have == 2) {
		strbuf_add_chr(out, (char)(d->bits >> 4));
	} else if (d->have == 1) {
		d->is_bad = true;
	}
	d->have = 0;
	d->bits = 0;
}

static void feed_base64(struct mail_decoder *d, struct strbuf *out, struct span in)
{
	char bytes[512];
	size_t n = 0;

	for (size_t i = 0; i < in.n; i++) {
		int v = base64_value(in.p[i]);

		if (v >= 0) {
			/* Some senders join several encoded pieces: go on behind the padding. */
			d->bits = d->bits << 6 | (uint32_t)v;
			if (++d->have < 4)
				continue;
			bytes[n++] = (char)(d->bits >> 16);
			bytes[n++] = (char)(d->bits >> 8);
			bytes[n++] = (char)d->bits;
			d->have = 0;
			d->bits = 0;
			if (n + 3 <= sizeof(bytes))
				continue;
		} else if (in.p[i] != '=') {
			d->is_bad |= !strchr(" \t\r\n", in.p[i]) || !in.p[i];
			continue;
		}
		strbuf_add_mem(out, bytes, n);
		n = 0;
		if (v < 0) {
			d->is_ended = true;
			end_group(d, out);
		}
	}
	strbuf_add_mem(out, bytes, n);
}

static void flush_pad(struct mail_decoder *d, struct strbuf *out)
{
	strbuf_add_mem(out, d->pad, d->spaces);
	d->spaces = 0;
}

/* A character behind "=". True if it was used up. */
static bool feed_escape(struct mail_decoder *d, struct strbuf *out, char c)
{
	int high = d->held > 1 ? ascii_hex_value(d->hold[1]) : -1;
	bool is_soft = d->hold[d->held - 1] != '=' && d->held > 1 && high < 0;

	if (d->held == 1 && ascii_hex_value(c) >= 0) {
		d->hold[d->held++] = c;
		return true;
	}
	if (d->held == 2 && high >= 0 && ascii_hex_value(c) >= 0) {
		strbuf_add_chr(out, (char)(high << 4 | ascii_hex_value(c)));
		d->held = 0;
		return true;
	}
	if ((d->held == 1 || is_soft) && (c == ' ' || c == '\t' || c == '\r')) {
		if (d->held < sizeof(d->hold))
			d->hold[d->held++] = c;
		return true;
	}
	if ((d->held == 1 || is_soft) && c == '\n') {
		d->held = 0;
		return true;
	}
	d->is_bad = true;
	strbuf_add_mem(out, d->hold, d->held);
	d->held = 0;
	return false;
}

static void feed_qp(struct mail_decoder *d, struct strbuf *out, struct span in)
{
	for (size_t i = 0, run; i < in.n; i++) {
		char c = in.p[i];

		if (d->held && feed_escape(d, out, c))
			continue;
		if (c == ' ' || c == '\t' || c == '\r') {
			if (d->spaces == sizeof(d->pad))
				flush_pad(d, out);
			d->pad[d->spaces++] = c;
		} else if (c == '\n') {
			bool cr = d->spaces && d->pad[d->spaces - 1] == '\r';

			d->spaces = 0;
			strbuf_add(out, cr ? SPAN("\r\n") : SPAN("\n"));
		} else if (c == '=') {
			flush_pad(d, out);
			d->hold[0] = c;
			d->held = 1;
		} else {
			flush_pad(d, out);
			for (run = 1; i + run < in.n && !strchr(" \t\r\n=", in.p[i + run]); run++)
				;
			strbuf_add(out, span_sub(in, i, run));
			i += run - 1;
		}
	}
}

bool mail_decoder_feed(struct mail_decoder *d, struct strbuf *out, struct span in)
{
	if (d->encoding == MAIL_ENCODING_BASE64)
		feed_base64(d, out, in);
	else if (d->encoding == MAIL_ENCODING_QP)
		feed_qp(d, out, in);
	else
		strbuf_add(out, in);
	return !out->failed;
}

bool mail_decoder_finish(struct mail_decoder *d, struct strbuf *out)
{
	if (d->encoding == MAIL_ENCODING_BASE64)
		end_group(d, out);
	/* "=X" at the very end is text, a single "=" a soft line break; white space there goes. */
	if (d->encoding == MAIL_ENCODING_QP && d->held > 1 && ascii_hex_value(d->hold[1]) >= 0)
		strbuf_add_mem(out, d->hold, d->held);
	mail_decoder_init(d, d->encoding);
	return !out->failed;
}
