/*
 * A span is a pointer and a length into memory that somebody else owns. It is the type of all
 * input: never NUL-terminated, may hold any byte. Functions that "take" from a span move its start
 * forward. No allocation; any thread.
 */
#ifndef MS_BASE_SPAN_H
#define MS_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct span {
	const char *p;
	size_t n;
};

/* A span of a string literal. */
#define SPAN(lit) ((struct span){"" lit, sizeof(lit) - 1})
/* The same as a static initialiser, for const tables. */
#define SPAN_INIT(lit)                                                                             \
	{                                                                                          \
		"" lit, sizeof(lit) - 1                                                            \
	}
/* For printf's "%.*s". */
#define SPAN_FMT(s) (int)(s).n, (s).p

struct span span_of(const char *cstr); /* NULL gives an empty span */
static inline struct span span_make(const void *p, size_t n)
{
	return (struct span){p, n};
}

/* What stands behind start bytes; clamps. */
static inline struct span span_from(struct span s, size_t start)
{
	if (start > s.n)
		start = s.n;
	if (start > 0)
		s.p += start;
	s.n -= start;
	return s;
}

/* n bytes from start on; clamps. */
static inline struct span span_sub(struct span s, size_t start, size_t n)
{
	s = span_from(s, start);
	if (n < s.n)
		s.n = n;
	return s;
}

bool span_eq(struct span a, struct span b);
bool span_ieq(struct span a, struct span b); /* ASCII case-insensitive */
bool span_starts(struct span s, struct span prefix);
bool span_istarts(struct span s, struct span prefix);
bool span_ends(struct span s, struct span suffix);
int span_cmp(struct span a, struct span b); /* byte order, shorter first */
ssize_t span_chr(struct span s, char c);    /* index or -1 */
ssize_t span_rchr(struct span s, char c);
ssize_t span_find(struct span s, struct span needle);  /* index or -1, linear time */
ssize_t span_ifind(struct span s, struct span needle); /* ASCII case-insensitive */
struct span span_trim(struct span s);                  /* SP, HTAB, CR, LF at both ends */

/* True and *out set to what stands before sep, s moved past it; at the last piece s becomes empty
 * with p NULL. False when s.p is NULL. */
bool span_split(struct span *s, char sep, struct span *out);
/* Takes c if it is next. */
bool span_take_chr(struct span *s, char c);
/* Takes the literal if it is next, ASCII case-insensitive. */
bool span_take_iword(struct span *s, struct span word);

/*
 * Decimal digits only: no sign, no space, no empty input; at most max. The whole span must be
 * the number (span_u64), or its leading digits (span_take_u64). False on anything else, with
 * *out untouched.
 */
bool span_u64(struct span s, uint64_t max, uint64_t *out);
bool span_take_u64(struct span *s, uint64_t max, uint64_t *out);

/* Copies s to to, ASCII letters in lower case. False if there is a byte that is not ASCII. */
bool span_lower(char *to, struct span s);

/* ASCII only, independent of the locale. */
static inline char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static inline char ascii_upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static inline bool ascii_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool ascii_is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool ascii_is_alnum(char c)
{
	return ascii_is_alpha(c) || ascii_is_digit(c);
}

static inline bool ascii_is_ctl(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

/* 0 to 15, or -1. */
static inline int ascii_hex_value(char c)
{
	if (ascii_is_digit(c))
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of two hex digits. */
static inline bool ascii_hex_byte(char high, char low, char *out)
{
	int h = ascii_hex_value(high);
	int l = ascii_hex_value(low);

	if (h < 0 || l < 0)
		return false;
	*out = (char)(h << 4 | l);
	return true;
}

#endif
