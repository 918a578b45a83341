#include "common/base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool base64_encode(struct strbuf *out, struct span in)
{
	const unsigned char *p = (const unsigned char *)in.p;
	char *to;
	size_t n = 0;

	if (in.n > out->max)
		out->failed = true;
	if (in.n == 0 || out->failed)
		return !out->failed;
	to = strbuf_room(out, BASE64_ENCODED_LEN(in.n));
	if (!to)
		return false;
	for (size_t i = 0; i < in.n; i += 3) {
		size_t left = in.n - i;
		uint32_t v = (uint32_t)p[i] << 16;

		if (left > 1)
			v |= (uint32_t)p[i + 1] << 8;
		if (left > 2)
			v |= p[i + 2];
		to[n++] = alphabet[v >> 18];
		to[n++] = alphabet[v >> 12 & 63];
		to[n++] = left > 1 ? alphabet[v >> 6 & 63] : '=';
		to[n++] = left > 2 ? alphabet[v & 63] : '=';
	}
	strbuf_added(out, n);
	return true;
}

/* 0 to 63, or -1. */
static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One group of four; only the last of all may be padded. False if it is malformed. */
static bool decode_group(const char *in, bool is_last, char *to, size_t *n)
{
	int v[4];
	size_t bytes = 3;
	uint32_t bits = 0;

	if (is_last && in[3] == '=')
		bytes = in[2] == '=' ? 1 : 2;
	for (size_t i = 0; i < 4; i++) {
		v[i] = i > bytes ? 0 : value_of(in[i]);
		if (v[i] < 0)
			return false;
		bits = bits << 6 | (uint32_t)v[i];
	}
	/* Bits that no byte takes must be zero: one text for one value. */
	if ((bytes == 1 && (v[1] & 15)) || (bytes == 2 && (v[2] & 3)))
		return false;
	for (size_t i = 0; i < bytes; i++)
		to[(*n)++] = (char)(bits >> (16 - 8 * i));
	return true;
}

bool base64_decode(struct strbuf *out, struct span in)
{
	size_t n = 0;
	char *to;

	if (in.n == 0)
		return true;
	if (in.n % 4 != 0)
		return false;
	to = strbuf_room(out, in.n / 4 * 3);
	if (!to)
		return false;
	for (size_t i = 0; i < in.n; i += 4)
		if (!decode_group(in.p + i, i + 4 == in.n, to, &n))
			return false;
	strbuf_added(out, n);
	return true;
}
