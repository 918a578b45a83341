#include "common/mail/mutf7.h"
#include "common/base/utf8.h"

#include <stdlib.h>
#include <utf8proc.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (ascii_is_digit(c))
		return c - '0' + 52;
	return c == '+' ? 62 : c == ',' ? 63 : -1;
}

/* One shift, in behind its "&". False unless it is canonical. */
static bool decode_shift(struct strbuf *out, struct span *in)
{
	uint32_t bits = 0, high = 0;
	unsigned have = 0;
	size_t units = 0;

	for (;;) {
		uint32_t unit;
		int v;

		if (span_take_chr(in, '-'))
			break;
		v = in->n ? value_of(in->p[0]) : -1;
		if (v < 0)
			return false;
		*in = span_from(*in, 1);
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have < 16)
			continue;
		have -= 16;
		unit = bits >> have & 0xffff;
		bits &= (1u << have) - 1;
		units++;
		if (high) {
			if (unit < 0xdc00 || unit > 0xdfff)
				return false;
			utf8_add(out, 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00));
			high = 0;
		} else if (unit >= 0xd800 && unit <= 0xdbff) {
			high = unit;
		} else if ((unit >= 0x20 && unit <= 0x7e) || !unit ||
			   (unit >= 0xdc00 && unit <= 0xdfff)) {
			return false;
		} else {
			utf8_add(out, unit);
		}
	}
	/* No half pair, no bits set in the rest, no needless character. */
	return units && !high && !bits && have < 6;
}

bool mail_mutf7_to_utf8(struct strbuf *out, struct span name)
{
	size_t start = out->n;
	bool after_shift = false;

	if (out->failed)
		return false;
	while (name.n) {
		char c = name.p[0];

		if (c < 0x20 || c > 0x7e)
			goto bad;
		name = span_from(name, 1);
		if (c != '&') {
			strbuf_add_chr(out, c);
			after_shift = false;
		} else if (span_take_chr(&name, '-')) {
			strbuf_add_chr(out, '&');
			after_shift = false;
		} else {
			if (after_shift || !decode_shift(out, &name))
				goto bad;
			after_shift = true;
		}
	}
	if (!out->failed)
		return true;
bad:
	strbuf_truncate(out, start);
	return false;
}

struct shift {
	uint32_t bits;
	unsigned have;
	bool is_open;
};

static void put_unit(struct strbuf *out, struct shift *s, uint32_t unit)
{
	if (!s->is_open)
		strbuf_add_chr(out, '&');
	s->is_open = true;
	s->bits = s->bits << 16 | unit;
	s->have += 16;
	while (s->have >= 6) {
		s->have -= 6;
		strbuf_add_chr(out, alphabet[s->bits >> s->have & 63]);
	}
	s->bits &= (1u << s->have) - 1;
}

static void close_shift(struct strbuf *out, struct shift *s)
{
	if (!s->is_open)
		return;
	if (s->have)
		strbuf_add_chr(out, alphabet[s->bits << (6 - s->have) & 63]);
	strbuf_add_chr(out, '-');
	*s = (struct shift){0};
}

bool mail_mutf7_from_utf8(struct strbuf *out, struct span name)
{
	size_t start = out->n;
	struct shift s = {0};

	if (out->failed)
		return false;
	while (name.n) {
		uint32_t cp;

		if (!utf8_take(&name, &cp) || !cp) {
			strbuf_truncate(out, start);
			return false;
		}
		if (cp >= 0x20 && cp <= 0x7e) {
			close_shift(out, &s);
			strbuf_add_chr(out, (char)cp);
			if (cp == '&')
				strbuf_add_chr(out, '-');
		} else if (cp >= 0x10000) {
			put_unit(out, &s, 0xd800 + ((cp - 0x10000) >> 10));
			put_unit(out, &s, 0xdc00 + ((cp - 0x10000) & 0x3ff));
		} else {
			put_unit(out, &s, cp);
		}
	}
	close_shift(out, &s);
	if (out->failed)
		strbuf_truncate(out, start);
	return !out->failed;
}

bool mail_utf8_nfc(struct strbuf *out, struct span s)
{
	utf8proc_uint8_t *text = NULL;
	utf8proc_ssize_t n;
	bool ok;

	if (!utf8_is_valid(s) || span_chr(s, 0) >= 0)
		return false;
	if (utf8_is_ascii(s))
		return strbuf_add(out, s);
	n = utf8proc_map((const utf8proc_uint8_t *)s.p, (utf8proc_ssize_t)s.n, &text,
	    UTF8PROC_STABLE | UTF8PROC_COMPOSE);
	ok = n >= 0 && strbuf_add_mem(out, text, (size_t)n);
	free(text);
	return ok;
}
