#include "common/store/uidset.h"

#include "common/base/mem.h"

#include <stdlib.h>
#include <string.h>

void uidset_init(struct uidset *s)
{
	*s = (struct uidset){0};
}

void uidset_clear(struct uidset *s)
{
	mem_free(s->r);
	uidset_init(s);
}

void uidset_reset(struct uidset *s)
{
	s->n = 0;
	s->failed = false;
}

bool uidset_add(struct uidset *s, uint32_t uid)
{
	return uidset_add_range(s, uid, uid);
}

bool uidset_add_range(struct uidset *s, uint32_t first, uint32_t last)
{
	if (s->failed || first == 0 || last < first) {
		s->failed = true;
		return false;
	}
	/* The common case, ascending: the range at the end grows. */
	if (s->n) {
		struct uid_range *end = &s->r[s->n - 1];

		if (first >= end->first && (end->last == UINT32_MAX || first <= end->last + 1)) {
			if (last > end->last)
				end->last = last;
			return true;
		}
	}
	if (s->n == UIDSET_MAX) {
		s->failed = true;
		return false;
	}
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 4;
		s->r = mem_grow(s->r, s->cap, sizeof(*s->r));
	}
	s->r[s->n++] = (struct uid_range){first, last};
	return true;
}

static int range_cmp(const void *a, const void *b)
{
	const struct uid_range *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return (x->last > y->last) - (x->last < y->last);
}

void uidset_sort(struct uidset *s)
{
	size_t out = 0;

	if (s->n < 2)
		return;
	qsort(s->r, s->n, sizeof(*s->r), range_cmp);
	for (size_t i = 1; i < s->n; i++) {
		struct uid_range *end = &s->r[out];

		if (end->last == UINT32_MAX || s->r[i].first <= end->last + 1) {
			if (s->r[i].last > end->last)
				end->last = s->r[i].last;
		} else {
			s->r[++out] = s->r[i];
		}
	}
	s->n = out + 1;
}

bool uidset_has(const struct uidset *s, uint32_t uid)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (uid < s->r[mid].first)
			high = mid;
		else if (uid > s->r[mid].last)
			low = mid + 1;
		else
			return true;
	}
	return false;
}

void uidset_intersect(struct uidset *out, const struct uidset *a, const struct uidset *b)
{
	size_t i = 0, j = 0;

	while (i < a->n && j < b->n) {
		const struct uid_range x = a->r[i], y = b->r[j];
		uint32_t first = x.first > y.first ? x.first : y.first;
		uint32_t last = x.last < y.last ? x.last : y.last;

		if (first <= last)
			uidset_add_range(out, first, last);
		if (x.last < y.last)
			i++;
		else
			j++;
	}
}

uint64_t uidset_count(const struct uidset *s)
{
	uint64_t count = 0;

	for (size_t i = 0; i < s->n; i++)
		count += (uint64_t)s->r[i].last - s->r[i].first + 1;
	return count;
}

void uidset_format(struct strbuf *out, const struct uidset *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (i)
			strbuf_add_chr(out, ',');
		strbuf_add_u64(out, s->r[i].first);
		if (s->r[i].last != s->r[i].first) {
			strbuf_add_chr(out, ':');
			strbuf_add_u64(out, s->r[i].last);
		}
	}
}
