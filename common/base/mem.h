/*
 * Memory. Out of memory is fatal (exit status 71 after one line on stderr), so no result needs a
 * check; every size that a client controls is limited before it gets here. The functions that
 * multiply check for overflow and die on it. Any thread.
 */
#ifndef MS_BASE_MEM_H
#define MS_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size);                       /* not zeroed; free with mem_free */
void *mem_zalloc(size_t size);                      /* zeroed */
void *mem_array(size_t count, size_t size);         /* zeroed, count * size checked */
void *mem_grow(void *p, size_t count, size_t size); /* realloc of an array */
void *mem_dup(const void *p, size_t size);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n); /* NUL-terminated copy of n bytes */
void mem_free(void *p);                     /* NULL is fine */
void mem_wipe(void *p, size_t size);        /* zeroes in a way the compiler keeps */
void mem_free_secret(void *p, size_t size); /* wipe, then free */

/* Constant-time comparison; true if equal. Lengths may be public. */
_Bool mem_equal_secret(const void *a, const void *b, size_t n);

/* Prints "program: text" on stderr and exits 70: for broken invariants and start-up only. */
_Noreturn void fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
