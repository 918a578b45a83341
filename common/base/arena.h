/*
 * An arena: many small allocations freed at once, with a hard limit. Each session has one per
 * command (reset when the command ends). arena_* return NULL once the limit is reached, and the
 * caller answers with its limit error. Not thread-safe.
 */
#ifndef MS_BASE_ARENA_H
#define MS_BASE_ARENA_H

#include "common/base/span.h"

struct arena_block;
struct arena {
	struct arena_block *blocks;
	size_t used; /* bytes handed out since the last reset */
	size_t max;
};

void arena_init(struct arena *a, size_t max);
void arena_reset(struct arena *a);               /* frees all but one small block */
void arena_clear(struct arena *a);               /* frees everything */
void *arena_alloc(struct arena *a, size_t size); /* zeroed, aligned for any type */
void *arena_array(struct arena *a, size_t count, size_t size);
char *arena_strdup(struct arena *a, struct span s); /* NUL-terminated copy */
bool arena_copy(struct arena *a, struct span s, struct span *out);

#endif
