#include "common/base/codec.h"

#include <string.h>

void be_put16(void *p, uint16_t v)
{
	unsigned char *b = p;

	b[0] = (unsigned char)(v >> 8);
	b[1] = (unsigned char)v;
}

void be_put32(void *p, uint32_t v)
{
	unsigned char *b = p;

	be_put16(b, (uint16_t)(v >> 16));
	be_put16(b + 2, (uint16_t)v);
}

void be_put64(void *p, uint64_t v)
{
	unsigned char *b = p;

	be_put32(b, (uint32_t)(v >> 32));
	be_put32(b + 4, (uint32_t)v);
}

uint16_t be_get16(const void *p)
{
	const unsigned char *b = p;

	return (uint16_t)(b[0] << 8 | b[1]);
}

uint32_t be_get32(const void *p)
{
	const unsigned char *b = p;

	return (uint32_t)be_get16(b) << 16 | be_get16(b + 2);
}

uint64_t be_get64(const void *p)
{
	const unsigned char *b = p;

	return (uint64_t)be_get32(b) << 32 | be_get32(b + 4);
}

void enc_u8(struct strbuf *b, uint8_t v)
{
	strbuf_add_mem(b, &v, 1);
}

void enc_u16(struct strbuf *b, uint16_t v)
{
	unsigned char raw[2];

	be_put16(raw, v);
	strbuf_add_mem(b, raw, sizeof(raw));
}

void enc_u32(struct strbuf *b, uint32_t v)
{
	unsigned char raw[4];

	be_put32(raw, v);
	strbuf_add_mem(b, raw, sizeof(raw));
}

void enc_u64(struct strbuf *b, uint64_t v)
{
	unsigned char raw[8];

	be_put64(raw, v);
	strbuf_add_mem(b, raw, sizeof(raw));
}

void enc_varint(struct strbuf *b, uint64_t v)
{
	unsigned char raw[10];
	size_t n = 0;

	do {
		raw[n] = (unsigned char)(v & 0x7f);
		v >>= 7;
		if (v > 0)
			raw[n] |= 0x80;
		n++;
	} while (v > 0);
	strbuf_add_mem(b, raw, n);
}

void enc_bytes(struct strbuf *b, struct span s)
{
	if (s.n > UINT32_MAX) {
		b->failed = true;
		return;
	}
	enc_u32(b, (uint32_t)s.n);
	strbuf_add(b, s);
}

void enc_str(struct strbuf *b, const char *s)
{
	enc_bytes(b, span_of(s));
}

struct dec dec_of(struct span in)
{
	return (struct dec){.in = in};
}

struct span dec_raw(struct dec *d, size_t n)
{
	struct span out;

	if (d->bad || n > d->in.n) {
		d->bad = true;
		return span_make("", 0);
	}
	out = span_sub(d->in, 0, n);
	d->in = span_from(d->in, n);
	return out;
}

uint8_t dec_u8(struct dec *d)
{
	struct span s = dec_raw(d, 1);

	return s.n ? (uint8_t)s.p[0] : 0;
}

uint16_t dec_u16(struct dec *d)
{
	struct span s = dec_raw(d, 2);

	return s.n ? be_get16(s.p) : 0;
}

uint32_t dec_u32(struct dec *d)
{
	struct span s = dec_raw(d, 4);

	return s.n ? be_get32(s.p) : 0;
}

uint64_t dec_u64(struct dec *d)
{
	struct span s = dec_raw(d, 8);

	return s.n ? be_get64(s.p) : 0;
}

uint64_t dec_varint(struct dec *d)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 70; shift += 7) {
		uint8_t byte = dec_u8(d);

		/* The tenth byte holds one bit; a last byte of zero is a longer form than needed.
		 */
		if (d->bad || (shift == 63 && byte > 1) || (shift > 0 && byte == 0))
			break;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return v;
	}
	d->bad = true;
	return 0;
}

struct span dec_bytes(struct dec *d)
{
	return dec_raw(d, dec_u32(d));
}

void dec_cstr(struct dec *d, char *buf, size_t cap)
{
	struct span s = dec_bytes(d);

	if (cap == 0 || s.n >= cap || span_chr(s, '\0') >= 0) {
		d->bad = true;
		s.n = 0;
	}
	if (cap == 0)
		return;
	if (s.n > 0)
		memcpy(buf, s.p, s.n);
	buf[s.n] = '\0';
}

bool dec_ok(const struct dec *d)
{
	return !d->bad;
}

bool dec_done(const struct dec *d)
{
	return !d->bad && d->in.n == 0;
}
