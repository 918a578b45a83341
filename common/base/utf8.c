#include "common/base/utf8.h"

/* Bytes that follow a lead byte, and the smallest code point that needs them; -1 if none may. */
static int follow_count(unsigned char lead, uint32_t *bits, uint32_t *least)
{
	if (lead < 0x80) {
		*bits = lead;
		*least = 0;
		return 0;
	}
	if (lead >= 0xc2 && lead <= 0xdf) {
		*bits = lead & 0x1fu;
		*least = 0x80;
		return 1;
	}
	if (lead >= 0xe0 && lead <= 0xef) {
		*bits = lead & 0x0fu;
		*least = 0x800;
		return 2;
	}
	if (lead >= 0xf0 && lead <= 0xf4) {
		*bits = lead & 0x07u;
		*least = 0x10000;
		return 3;
	}
	return -1;
}

bool utf8_take(struct span *s, uint32_t *cp)
{
	uint32_t v, least;
	int more;

	if (s->n == 0) {
		*cp = 0;
		return false;
	}
	more = follow_count((unsigned char)s->p[0], &v, &least);
	if (more < 0 || (size_t)more >= s->n)
		goto bad;
	for (int i = 1; i <= more; i++) {
		unsigned char c = (unsigned char)s->p[i];

		if ((c & 0xc0) != 0x80)
			goto bad;
		v = v << 6 | (c & 0x3fu);
	}
	if (v < least || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
		goto bad;
	*s = span_from(*s, (size_t)more + 1);
	*cp = v;
	return true;
bad:
	*cp = (unsigned char)s->p[0];
	*s = span_from(*s, 1);
	return false;
}

bool utf8_is_valid(struct span s)
{
	uint32_t cp;

	while (s.n > 0)
		if (!utf8_take(&s, &cp))
			return false;
	return true;
}

bool utf8_is_ascii(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return false;
	return true;
}

bool utf8_add(struct strbuf *b, uint32_t cp)
{
	char c[4];
	size_t n;

	if (cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff)) {
		b->failed = true;
		return false;
	}
	if (cp < 0x80) {
		c[0] = (char)cp;
		n = 1;
	} else if (cp < 0x800) {
		c[0] = (char)(0xc0 | cp >> 6);
		c[1] = (char)(0x80 | (cp & 0x3f));
		n = 2;
	} else if (cp < 0x10000) {
		c[0] = (char)(0xe0 | cp >> 12);
		c[1] = (char)(0x80 | (cp >> 6 & 0x3f));
		c[2] = (char)(0x80 | (cp & 0x3f));
		n = 3;
	} else {
		c[0] = (char)(0xf0 | cp >> 18);
		c[1] = (char)(0x80 | (cp >> 12 & 0x3f));
		c[2] = (char)(0x80 | (cp >> 6 & 0x3f));
		c[3] = (char)(0x80 | (cp & 0x3f));
		n = 4;
	}
	return strbuf_add_mem(b, c, n);
}
