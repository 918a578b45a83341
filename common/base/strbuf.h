/*
 * A growing byte buffer with a hard limit. Always NUL-terminated behind its bytes (the NUL is not
 * counted), so .p can go to printf. Writing past the limit stores nothing of that write, sets
 * .failed and keeps it set: write everything, then check once. Owned by whoever initialised it; not
 * thread-safe.
 */
#ifndef MS_BASE_STRBUF_H
#define MS_BASE_STRBUF_H

#include "common/base/span.h"

#include <stdarg.h>

struct strbuf {
	char *p;     /* never NULL: "" while empty */
	size_t n;    /* bytes held */
	size_t cap;  /* bytes allocated */
	size_t max;  /* limit for n */
	bool failed; /* a write did not fit */
};

void strbuf_init(struct strbuf *b, size_t max);
void strbuf_clear(struct strbuf *b); /* frees; b is as after init */
void strbuf_reset(struct strbuf *b); /* empties, keeps memory, clears failed */
bool strbuf_add(struct strbuf *b, struct span s);
bool strbuf_add_mem(struct strbuf *b, const void *p, size_t n);
bool strbuf_add_str(struct strbuf *b, const char *s);
bool strbuf_add_chr(struct strbuf *b, char c);
bool strbuf_add_u64(struct strbuf *b, uint64_t v);
bool strbuf_addf(struct strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool strbuf_vaddf(struct strbuf *b, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
/* Room for n more bytes at .p + .n (NULL if over the limit); strbuf_added says how many came. */
char *strbuf_room(struct strbuf *b, size_t n);
void strbuf_added(struct strbuf *b, size_t n);
void strbuf_drop_front(struct strbuf *b, size_t n); /* moves the rest down */
void strbuf_truncate(struct strbuf *b, size_t n);
struct span strbuf_span(const struct strbuf *b);
/* Hands the memory over (free with mem_free, never NULL); b is as after init. */
char *strbuf_steal(struct strbuf *b, size_t *n);

#endif
