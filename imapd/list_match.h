/*
 * Patterns of LIST (RFC 3501 section 6.3.8): '*' stands for any characters, '%' for any but '/'.
 * All positions of a pattern are followed at once, a bit each, so that a name takes time in
 * proportion to its length, whatever the pattern. A compiled pattern is read-only: any thread.
 */
#ifndef MS_IMAPD_LIST_MATCH_H
#define MS_IMAPD_LIST_MATCH_H

#include "common/base/arena.h"

/* States are one more than characters; a longer pattern asks for more than a name can hold. */
#define LIST_PATTERN_MAX 1023
#define LIST_PATTERN_WORDS ((LIST_PATTERN_MAX + 64) / 64)

struct list_pattern {
	size_t length, words;
	bool ends_in_percent;
	uint64_t inbox;           /* the first positions, as far as they spell INBOX in any case */
	uint64_t *star, *percent; /* positions that hold one */
	uint64_t *chars;          /* for each byte: positions that hold it */
};

/* text is UTF-8 in NFC. False if it is too long or the arena is full. */
bool list_pattern_compile(struct list_pattern *p, struct arena *arena, struct span text);
/* INBOX at the first level is matched in any case. */
bool list_pattern_matches(const struct list_pattern *p, struct span name);

#endif
