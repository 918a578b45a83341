#include "common/base/strbuf.h"

#include "common/base/mem.h"

#include <stdio.h>
#include <string.h>

static char empty[1] = "";

void strbuf_init(struct strbuf *b, size_t max)
{
	*b = (struct strbuf){.p = empty, .max = max};
}

void strbuf_clear(struct strbuf *b)
{
	if (b->cap > 0)
		mem_free(b->p);
	strbuf_init(b, b->max);
}

void strbuf_reset(struct strbuf *b)
{
	b->n = 0;
	b->failed = false;
	if (b->cap > 0)
		b->p[0] = '\0';
	else
		b->p = empty;
}

char *strbuf_room(struct strbuf *b, size_t n)
{
	size_t need;
	size_t cap = b->cap ? b->cap : 64;

	if (n > b->max || b->n > b->max - n || __builtin_add_overflow(b->n + n, (size_t)1, &need)) {
		b->failed = true;
		return NULL;
	}
	if (need > b->cap) {
		while (cap < need)
			cap = cap > SIZE_MAX / 2 ? need : cap * 2;
		if (cap > b->max && need <= b->max + 1)
			cap = b->max + 1;
		b->p = mem_grow(b->cap > 0 ? b->p : NULL, cap, 1);
		b->cap = cap;
		b->p[b->n] = '\0';
	}
	return b->p + b->n;
}

void strbuf_added(struct strbuf *b, size_t n)
{
	b->n += n;
	if (b->n >= b->cap)
		fatal("strbuf_added: more than there was room for");
	b->p[b->n] = '\0';
}

bool strbuf_add_mem(struct strbuf *b, const void *p, size_t n)
{
	char *to;

	if (n == 0)
		return true;
	to = strbuf_room(b, n);
	if (!to)
		return false;
	memcpy(to, p, n);
	strbuf_added(b, n);
	return true;
}

bool strbuf_add(struct strbuf *b, struct span s)
{
	return strbuf_add_mem(b, s.p, s.n);
}

bool strbuf_add_str(struct strbuf *b, const char *s)
{
	return strbuf_add_mem(b, s, strlen(s));
}

bool strbuf_add_chr(struct strbuf *b, char c)
{
	return strbuf_add_mem(b, &c, 1);
}

bool strbuf_add_u64(struct strbuf *b, uint64_t v)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	return strbuf_add_mem(b, digits + at, sizeof(digits) - at);
}

bool strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
	va_list ap;
	bool ok;

	va_start(ap, fmt);
	ok = strbuf_vaddf(b, fmt, ap);
	va_end(ap);
	return ok;
}

bool strbuf_vaddf(struct strbuf *b, const char *fmt, va_list ap)
{
	va_list again;
	int n;
	char *to;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0) {
		b->failed = true;
		return false;
	}
	if (n == 0)
		return true;
	to = strbuf_room(b, (size_t)n);
	if (!to)
		return false;
	vsnprintf(to, (size_t)n + 1, fmt, ap);
	strbuf_added(b, (size_t)n);
	return true;
}

void strbuf_drop_front(struct strbuf *b, size_t n)
{
	if (n >= b->n) {
		strbuf_truncate(b, 0);
		return;
	}
	if (n == 0)
		return;
	memmove(b->p, b->p + n, b->n - n);
	strbuf_truncate(b, b->n - n);
}

void strbuf_truncate(struct strbuf *b, size_t n)
{
	if (n >= b->n)
		return;
	b->n = n;
	b->p[n] = '\0';
}

struct span strbuf_span(const struct strbuf *b)
{
	return span_make(b->p, b->n);
}

char *strbuf_steal(struct strbuf *b, size_t *n)
{
	char *p = b->cap > 0 ? b->p : mem_strdup("");

	if (n)
		*n = b->n;
	strbuf_init(b, b->max);
	return p;
}
