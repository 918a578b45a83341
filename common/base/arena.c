#include "common/base/arena.h"

#include "common/base/mem.h"

#include <stdalign.h>
#include <string.h>

#define BLOCK_MIN 1024

struct arena_block {
	struct arena_block *next;
	size_t size, used;
	alignas(max_align_t) char data[];
};

void arena_init(struct arena *a, size_t max)
{
	*a = (struct arena){.max = max};
}

void arena_clear(struct arena *a)
{
	while (a->blocks) {
		struct arena_block *next = a->blocks->next;

		mem_free(a->blocks);
		a->blocks = next;
	}
	a->used = 0;
}

void arena_reset(struct arena *a)
{
	struct arena_block *keep = NULL;

	while (a->blocks) {
		struct arena_block *next = a->blocks->next;

		if (!keep && a->blocks->size == BLOCK_MIN)
			keep = a->blocks;
		else
			mem_free(a->blocks);
		a->blocks = next;
	}
	if (keep) {
		keep->next = NULL;
		keep->used = 0;
	}
	a->blocks = keep;
	a->used = 0;
}

/* Blocks double with what was used, so that many small allocations stay few mallocs. */
static struct arena_block *add_block(struct arena *a, size_t size)
{
	size_t want = a->blocks ? a->used : BLOCK_MIN;
	struct arena_block *block;

	if (want < BLOCK_MIN)
		want = BLOCK_MIN;
	if (want > 64 * 1024)
		want = 64 * 1024;
	if (want < size)
		want = size;
	block = mem_alloc(sizeof(*block) + want);
	block->size = want;
	block->used = 0;
	block->next = a->blocks;
	a->blocks = block;
	return block;
}

void *arena_alloc(struct arena *a, size_t size)
{
	const size_t unit = alignof(max_align_t);
	struct arena_block *block = a->blocks;
	void *p;

	if (size == 0)
		size = 1;
	/* Rounding up what is at most PTRDIFF_MAX cannot wrap around. */
	if (size > PTRDIFF_MAX || size > a->max || a->used > a->max - size)
		return NULL;
	size = (size + unit - 1) / unit * unit;
	if (!block || block->size - block->used < size)
		block = add_block(a, size);
	p = block->data + block->used;
	block->used += size;
	a->used += size;
	memset(p, 0, size);
	return p;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes))
		return NULL;
	return arena_alloc(a, bytes);
}

char *arena_strdup(struct arena *a, struct span s)
{
	size_t size;
	char *p;

	if (__builtin_add_overflow(s.n, (size_t)1, &size))
		return NULL;
	p = arena_alloc(a, size);
	if (p && s.n > 0)
		memcpy(p, s.p, s.n);
	return p;
}

bool arena_copy(struct arena *a, struct span s, struct span *out)
{
	char *p = arena_strdup(a, s);

	if (!p)
		return false;
	*out = span_make(p, s.n);
	return true;
}
