#include "common/base/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_BROKEN 70
#define EXIT_NO_MEMORY 71

static _Noreturn void no_memory(void)
{
	static const char text[] = "mailstead: out of memory\n";

	(void)!write(2, text, sizeof(text) - 1);
	_exit(EXIT_NO_MEMORY);
}

static size_t product(size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes))
		no_memory();
	return bytes ? bytes : 1;
}

void *mem_alloc(size_t size)
{
	void *p = malloc(size ? size : 1);

	if (!p)
		no_memory();
	return p;
}

void *mem_zalloc(size_t size)
{
	return mem_array(1, size);
}

void *mem_array(size_t count, size_t size)
{
	void *p = calloc(1, product(count, size));

	if (!p)
		no_memory();
	return p;
}

void *mem_grow(void *p, size_t count, size_t size)
{
	void *q = realloc(p, product(count, size));

	if (!q)
		no_memory();
	return q;
}

void *mem_dup(const void *p, size_t size)
{
	void *q = mem_alloc(size);

	if (size > 0)
		memcpy(q, p, size);
	return q;
}

char *mem_strdup(const char *s)
{
	return mem_dup(s, strlen(s) + 1);
}

char *mem_strndup(const char *s, size_t n)
{
	size_t size;
	char *p;

	if (__builtin_add_overflow(n, (size_t)1, &size))
		no_memory();
	p = mem_alloc(size);
	if (n > 0)
		memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

void mem_free(void *p)
{
	free(p);
}

void mem_wipe(void *p, size_t size)
{
	if (size > 0)
		explicit_bzero(p, size);
}

void mem_free_secret(void *p, size_t size)
{
	if (!p)
		return;
	mem_wipe(p, size);
	free(p);
}

_Bool mem_equal_secret(const void *a, const void *b, size_t n)
{
	const volatile unsigned char *x = a;
	const volatile unsigned char *y = b;
	unsigned char differ = 0;

	for (size_t i = 0; i < n; i++)
		differ |= x[i] ^ y[i];
	return differ == 0;
}

void fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	_exit(EXIT_BROKEN);
}
