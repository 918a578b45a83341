#include "common/base/span.h"

#include <string.h>

struct span span_of(const char *cstr)
{
	return (struct span){cstr, cstr ? strlen(cstr) : 0};
}

static bool equal_ignoring_case(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ascii_lower(a[i]) != ascii_lower(b[i]))
			return false;
	return true;
}

bool span_eq(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool span_ieq(struct span a, struct span b)
{
	return a.n == b.n && equal_ignoring_case(a.p, b.p, a.n);
}

bool span_starts(struct span s, struct span prefix)
{
	return s.n >= prefix.n && span_eq(span_sub(s, 0, prefix.n), prefix);
}

bool span_istarts(struct span s, struct span prefix)
{
	return s.n >= prefix.n && span_ieq(span_sub(s, 0, prefix.n), prefix);
}

bool span_ends(struct span s, struct span suffix)
{
	return s.n >= suffix.n && span_eq(span_from(s, s.n - suffix.n), suffix);
}

int span_cmp(struct span a, struct span b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int order = n > 0 ? memcmp(a.p, b.p, n) : 0;

	if (order != 0)
		return order;
	return a.n < b.n ? -1 : a.n > b.n;
}

ssize_t span_chr(struct span s, char c)
{
	const char *at = s.n > 0 ? memchr(s.p, c, s.n) : NULL;

	return at ? at - s.p : -1;
}

ssize_t span_rchr(struct span s, char c)
{
	const char *at = s.n > 0 ? memrchr(s.p, c, s.n) : NULL;

	return at ? at - s.p : -1;
}

ssize_t span_find(struct span s, struct span needle)
{
	const char *at;

	if (needle.n == 0)
		return 0;
	if (s.n < needle.n)
		return -1;
	at = memmem(s.p, s.n, needle.p, needle.n); /* two-way: linear */
	return at ? at - s.p : -1;
}

/* Knuth-Morris-Pratt on a needle of up to 256 bytes; longer ones are found by their first 256. */
#define IFIND_PREFIX 256

static void build_failure(const char *needle, size_t n, unsigned short *failure)
{
	size_t k = 0;

	failure[0] = 0;
	for (size_t i = 1; i < n; i++) {
		while (k > 0 && ascii_lower(needle[i]) != ascii_lower(needle[k]))
			k = failure[k - 1];
		if (ascii_lower(needle[i]) == ascii_lower(needle[k]))
			k++;
		failure[i] = (unsigned short)k;
	}
}

ssize_t span_ifind(struct span s, struct span needle)
{
	unsigned short failure[IFIND_PREFIX];
	size_t m = needle.n < IFIND_PREFIX ? needle.n : IFIND_PREFIX;
	size_t k = 0;

	if (needle.n == 0)
		return 0;
	if (s.n < needle.n)
		return -1;
	build_failure(needle.p, m, failure);
	for (size_t i = 0; i < s.n; i++) {
		while (k > 0 && ascii_lower(s.p[i]) != ascii_lower(needle.p[k]))
			k = failure[k - 1];
		if (ascii_lower(s.p[i]) == ascii_lower(needle.p[k]))
			k++;
		if (k < m)
			continue;
		if (span_istarts(span_from(s, i + 1 - m), needle))
			return (ssize_t)(i + 1 - m);
		k = failure[k - 1];
	}
	return -1;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct span span_trim(struct span s)
{
	while (s.n > 0 && is_space(s.p[0]))
		s = span_from(s, 1);
	while (s.n > 0 && is_space(s.p[s.n - 1]))
		s.n--;
	return s;
}

bool span_split(struct span *s, char sep, struct span *out)
{
	ssize_t at;

	if (!s->p)
		return false;
	at = span_chr(*s, sep);
	if (at < 0) {
		*out = *s;
		*s = (struct span){NULL, 0};
	} else {
		*out = span_sub(*s, 0, (size_t)at);
		*s = span_from(*s, (size_t)at + 1);
	}
	return true;
}

bool span_take_chr(struct span *s, char c)
{
	if (s->n == 0 || s->p[0] != c)
		return false;
	*s = span_from(*s, 1);
	return true;
}

bool span_take_iword(struct span *s, struct span word)
{
	if (!span_istarts(*s, word))
		return false;
	*s = span_from(*s, word.n);
	return true;
}

bool span_take_u64(struct span *s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;
	size_t i = 0;

	for (; i < s->n && ascii_is_digit(s->p[i]); i++) {
		if (__builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s->p[i] - '0'), &v) || v > max)
			return false;
	}
	if (i == 0)
		return false;
	*s = span_from(*s, i);
	*out = v;
	return true;
}

bool span_u64(struct span s, uint64_t max, uint64_t *out)
{
	uint64_t v;

	if (!span_take_u64(&s, max, &v) || s.n > 0)
		return false;
	*out = v;
	return true;
}

/* Eight bytes at a time: in each, the top bit of upper says that it is a capital letter. */
bool span_lower(char *to, struct span s)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
	uint64_t all = 0, w, low, upper;
	size_t i = 0;

	for (; s.n - i >= sizeof(w); i += sizeof(w)) {
		memcpy(&w, s.p + i, sizeof(w));
		low = w & ~tops;
		upper = ~w & tops & ((low + ones * (0x80 - 'A')) ^ (low + ones * (0x7f - 'Z')));
		all |= w;
		w |= upper >> 2;
		memcpy(to + i, &w, sizeof(w));
	}
	for (; i < s.n; i++) {
		all |= (unsigned char)s.p[i];
		to[i] = ascii_lower(s.p[i]);
	}
	return !(all & tops);
}
