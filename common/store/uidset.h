/*
 * Sets of UIDs as sorted, disjoint ranges. Bounded: adding beyond UIDSET_MAX ranges fails. Owned by
 * whoever initialised it; not thread-safe.
 */
#ifndef MS_STORE_UIDSET_H
#define MS_STORE_UIDSET_H

#include "common/base/strbuf.h"

#define UIDSET_MAX (1024 * 1024)

struct uid_range {
	uint32_t first, last; /* both inside, 1 <= first <= last */
};

struct uidset {
	struct uid_range *r;
	size_t n, cap;
	bool failed;
};

void uidset_init(struct uidset *s);
void uidset_clear(struct uidset *s);
void uidset_reset(struct uidset *s);
/* Appending in ascending order is O(1); out of order is sorted in by uidset_sort. */
bool uidset_add(struct uidset *s, uint32_t uid);
bool uidset_add_range(struct uidset *s, uint32_t first, uint32_t last);
void uidset_sort(struct uidset *s); /* sorts and merges; after out-of-order adds */
bool uidset_has(const struct uidset *s, uint32_t uid);
/* What is in both of two sorted sets, added to out. */
void uidset_intersect(struct uidset *out, const struct uidset *a, const struct uidset *b);
uint64_t uidset_count(const struct uidset *s);
void uidset_format(struct strbuf *out, const struct uidset *s); /* "1:3,5", RFC 3501 form */

#endif
