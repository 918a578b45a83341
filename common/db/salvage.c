#include "common/db/salvage.h"

#include "common/base/mem.h"
#include "common/db/page.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GAPS_MAX 100000 /* more are one that is everything behind them */

struct edge {
	uint16_t n;
	bool is_end; /* behind every key */
	unsigned char b[PAGE_KEY_MAX];
};

/* Keys that may be missing; in order. */
struct gap {
	char *from, *to; /* to NULL: to the end */
	size_t from_n, to_n;
};

enum tree { TREE_MAIN, TREE_FREE, TREE_OLDER, TREE_GUESS };

/* A branch on the way down. */
struct level {
	unsigned char *bytes;
	struct page page;
	size_t next; /* node */
	struct edge low, high;
};

struct salvage {
	struct db_salvage *s;
	int fd;
	size_t size; /* of a page */
	uint64_t pages;
	unsigned char *seen, *is_free; /* a bit each */
	struct gap *gaps;
	size_t gap_count;
	bool is_free_known;
	struct level *stack;
	size_t depth;
	struct err *err;
};

static bool bit_get(const unsigned char *bits, uint64_t i)
{
	return bits[i / 8] >> (i % 8) & 1;
}

static void bit_set(unsigned char *bits, uint64_t i)
{
	bits[i / 8] |= (unsigned char)(1u << (i % 8));
}

/* True if all of it is there. */
static bool read_at(struct salvage *v, void *buf, size_t n, uint64_t at)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = pread(v->fd, (char *)buf + got, n - got, (off_t)(at + got));

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false; /* a bad sector is a bad page */
		got += (size_t)r;
	}
	return true;
}

/* --- edges and gaps --------------------------------------------------------------------------- */
static int compare(struct span a, struct span b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int rc = n > 0 ? memcmp(a.p, b.p, n) : 0;

	return rc ? rc : a.n < b.n ? -1 : a.n > b.n;
}

static struct span edge_span(const struct edge *e)
{
	return span_make(e->b, e->n);
}

static void edge_set(struct edge *e, struct span key)
{
	e->is_end = false;
	e->n = (uint16_t)(key.n < PAGE_KEY_MAX ? key.n : PAGE_KEY_MAX);
	memcpy(e->b, key.p, e->n);
}

static bool is_within(struct span key, const struct edge *low, const struct edge *high)
{
	return compare(key, edge_span(low)) >= 0 &&
	       (high->is_end || compare(key, edge_span(high)) < 0);
}

static void gap_end(struct gap *g, const struct edge *high)
{
	mem_free(g->to);
	g->to = high->is_end ? NULL : mem_dup(high->b, high->n);
	g->to_n = high->is_end ? 0 : high->n;
}

/* One that overlaps the one before makes it longer, and so does one too many. */
static void gap_add(struct salvage *v, const struct edge *low, const struct edge *high)
{
	struct gap *last = v->gap_count ? &v->gaps[v->gap_count - 1] : NULL;
	struct gap *next;

	if (last && !last->to)
		return;
	if (last && (v->gap_count == GAPS_MAX ||
			compare(edge_span(low), span_make(last->to, last->to_n)) <= 0)) {
		if (high->is_end || compare(edge_span(high), span_make(last->to, last->to_n)) > 0)
			gap_end(last, high);
		return;
	}
	v->gaps = mem_grow(v->gaps, v->gap_count + 1, sizeof(*v->gaps));
	next = &v->gaps[v->gap_count++];
	*next = (struct gap){.from = mem_dup(low->b, low->n), .from_n = low->n};
	gap_end(next, high);
}

/* Gaps come in the order of their keys. */
static bool is_missing(const struct salvage *v, struct span key)
{
	size_t low = 0, high = v->gap_count;
	const struct gap *g;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (compare(span_make(v->gaps[middle].from, v->gaps[middle].from_n), key) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return false;
	g = &v->gaps[low - 1];
	return !g->to || compare(key, span_make(g->to, g->to_n)) < 0;
}

/* --- rows ------------------------------------------------------------------------------------- */
/* The value of an overflow run, to be mem_free'd; NULL if it is damaged, or belongs to a newer row.
 */
static char *big_value(struct salvage *v, enum tree tree, const struct page_node *n)
{
	uint64_t first = n->child, room;
	unsigned char head[64];
	struct page p;
	char *val;

	if (first < 2 || first >= v->pages || n->val_len > DB_SALVAGE_VALUE_MAX ||
	    !read_at(v, head, sizeof(head), first * v->size) ||
	    !page_read(&p, head, sizeof(head), first) || p.kind != PAGE_OVERFLOW ||
	    p.overflow > v->pages - first)
		return NULL;
	for (uint64_t i = first; tree != TREE_MAIN && i < first + p.overflow; i++)
		if (bit_get(v->seen, i))
			return NULL;
	room = p.overflow * v->size - page_head();
	if (n->val_len > room)
		return NULL;
	val = mem_alloc((size_t)n->val_len + 1);
	if (!read_at(v, val, (size_t)n->val_len, first * v->size + page_head())) {
		mem_free(val);
		return NULL;
	}
	for (uint64_t i = first; i < first + p.overflow; i++)
		bit_set(v->seen, i);
	return val;
}

static void free_list(struct salvage *v, struct span val)
{
	size_t page;

	/* Its length, then page numbers. */
	for (size_t at = sizeof(page); at + sizeof(page) <= val.n; at += sizeof(page)) {
		memcpy(&page, val.p + at, sizeof(page));
		if (page < v->pages)
			bit_set(v->is_free, page);
	}
}

/* With one root only it may be the older one. */
static enum db_trust trust_of(const struct salvage *v, enum tree tree)
{
	if (tree == TREE_GUESS)
		return DB_GUESS;
	return tree == TREE_OLDER || v->s->has_no_root ? DB_OLDER : DB_CERTAIN;
}

static int give(struct salvage *v, enum tree tree, const struct page_node *n)
{
	struct span val = n->val;
	char *big = NULL;
	int rc = 0;

	if (tree >= TREE_OLDER && !is_missing(v, n->key))
		return 0;
	if (n->is_big) {
		big = big_value(v, tree, n);
		if (!big)
			return 1;
		val = span_make(big, (size_t)n->val_len);
	}
	if (tree == TREE_FREE) {
		free_list(v, val);
	} else {
		v->s->rows++;
		v->s->uncertain_rows += trust_of(v, tree) != DB_CERTAIN;
		rc = v->s->row(v->s->arg, n->key, val, trust_of(v, tree), v->err);
	}
	mem_free(big);
	return rc;
}

/* Is this key where it should be? One that jumps ahead of the next one is the wrong one of both; of
 * two that are equal either may be. */
static bool is_in_order(
    const struct page *p, size_t i, struct span key, const struct edge *last, bool has_last)
{
	struct page_node next;

	if (has_last && compare(key, edge_span(last)) <= 0)
		return false;
	if (!page_node(p, i + 1, &next) || compare(key, next.key) < 0)
		return true;
	return has_last && compare(next.key, edge_span(last)) <= 0;
}

static bool is_double(const struct page *p, size_t i, struct span key)
{
	struct page_node next;

	return page_node(p, i + 1, &next) && compare(key, next.key) == 0;
}

/* Keys of the free list are numbers of this machine: not in the order of bytes. */
static bool is_placed(enum tree tree, const struct page *p, size_t i, struct span key,
    const struct edge *low, const struct edge *high, const struct edge *last, bool has_last)
{
	if (tree == TREE_FREE)
		return true;
	if (!is_within(key, low, high) || (has_last && compare(key, edge_span(last)) <= 0))
		return false;
	return is_double(p, i, key) || is_in_order(p, i, key, last, has_last);
}

/* The rows of a leaf: 0, or 1 if some are damaged, -1. */
static int leaf(struct salvage *v, enum tree tree, const struct page *p, const struct edge *low,
    const struct edge *high)
{
	struct edge last;
	bool has_last = false;
	int damaged = p->is_suspect && tree == TREE_MAIN;

	for (size_t i = 0; i < p->count; i++) {
		struct page_node n;
		int rc = 1;

		if (page_node(p, i, &n) && (!p->is_suspect || page_node_fits(p, i)) &&
		    is_placed(tree, p, i, n.key, low, high, &last, has_last)) {
			if (tree == TREE_FREE || !is_double(p, i, n.key))
				rc = give(v, tree, &n);
			edge_set(&last, n.key);
			has_last = true;
		}
		if (rc < 0)
			return -1;
		if (rc > 0) {
			damaged = 1;
			v->s->bad_rows += tree == TREE_MAIN;
		}
	}
	return damaged;
}

/* --- trees ------------------------------------------------------------------------------------ */
static void lose(struct salvage *v, enum tree tree, const struct edge *low, const struct edge *high)
{
	if (tree == TREE_FREE)
		v->is_free_known = false;
	if (tree == TREE_MAIN)
		gap_add(v, low, high);
}

/* Has it anything of these keys? A number that points elsewhere must not take the page that it
 * hits away from where it belongs. */
static bool is_ours(
    enum tree tree, const struct page *p, const struct edge *low, const struct edge *high)
{
	struct page_node n;

	if (p->kind == PAGE_OVERFLOW)
		return false;
	if (tree == TREE_FREE)
		return true;
	/* The first key of a branch is empty. */
	for (size_t i = p->kind == PAGE_BRANCH; i < p->count; i++)
		if (page_node(p, i, &n) && is_within(n.key, low, high))
			return true;
	return p->kind == PAGE_BRANCH && p->count == 1;
}

/* A page below the root: its rows, or one more level. -1 only if a row said so. */
static int visit(struct salvage *v, enum tree tree, uint64_t number, const struct edge *low,
    const struct edge *high)
{
	struct level *l = &v->stack[v->depth];
	bool is_there = number >= 2 && number < v->pages;
	int rc;

	/* Shared with the newer tree: it was given from there. */
	if (is_there && bit_get(v->seen, number) && tree == TREE_OLDER)
		return 0;
	if (!is_there || bit_get(v->seen, number) || v->depth == PAGE_DEPTH_MAX ||
	    !read_at(v, l->bytes, v->size, number * v->size) ||
	    !page_read(&l->page, l->bytes, v->size, number) ||
	    !is_ours(tree, &l->page, low, high)) {
		v->s->bad_pages += tree == TREE_MAIN;
		lose(v, tree, low, high);
		return 0;
	}
	bit_set(v->seen, number);
	if (l->page.kind == PAGE_LEAF) {
		rc = leaf(v, tree, &l->page, low, high);
		if (rc > 0)
			lose(v, tree, low, high);
		return rc < 0 ? -1 : 0;
	}
	l->next = 0;
	l->low = *low;
	l->high = *high;
	v->depth++;
	return 0;
}

/* Child i, and between which keys it lies: from its own, or the last one that was good, to the next
 * one that is. False if there is no number to follow. */
static bool child(struct level *l, size_t i, enum tree tree, uint64_t *number, struct edge *low,
    struct edge *high)
{
	struct page_node n, next;
	bool is_there = page_node(&l->page, i, &n);

	if (tree != TREE_FREE && is_there && i > 0 && is_within(n.key, &l->low, &l->high) &&
	    is_in_order(&l->page, i, n.key, &l->low, i > 1))
		edge_set(&l->low, n.key);
	*low = l->low;
	*high = l->high;
	*number = n.child;
	for (size_t k = i + 1; tree != TREE_FREE && k < l->page.count; k++)
		if (page_node(&l->page, k, &next) && is_within(next.key, low, &l->high) &&
		    compare(next.key, edge_span(low)) > 0) {
			edge_set(high, next.key);
			break;
		}
	return is_there;
}

static int walk(struct salvage *v, enum tree tree, uint64_t root)
{
	struct edge low = {.n = 0}, high = {.is_end = true};
	uint64_t number;
	int rc;

	v->depth = 0;
	rc = visit(v, tree, root, &low, &high);
	while (rc == 0 && v->depth > 0) {
		struct level *l = &v->stack[v->depth - 1];
		size_t i = l->next++;

		if (i == l->page.count) {
			v->depth--;
		} else if (child(l, i, tree, &number, &low, &high)) {
			rc = visit(v, tree, number, &low, &high);
		} else {
			v->s->bad_rows += tree == TREE_MAIN;
			lose(v, tree, &low, &high);
		}
	}
	return rc;
}

/* Leaves that no tree refers to. */
static int orphans(struct salvage *v, enum tree tree)
{
	struct edge low = {.n = 0}, high = {.is_end = true};
	struct level *l = &v->stack[0];

	for (uint64_t i = 2; i < v->pages; i++) {
		if (bit_get(v->seen, i) || bit_get(v->is_free, i) ||
		    !read_at(v, l->bytes, v->size, i * v->size) ||
		    !page_read(&l->page, l->bytes, v->size, i))
			continue;
		/* Values are not pages, whatever somebody wrote into them. */
		if (l->page.kind == PAGE_OVERFLOW && l->page.overflow <= v->pages - i)
			i += l->page.overflow - 1;
		if (l->page.kind != PAGE_LEAF)
			continue;
		bit_set(v->seen, i);
		if (leaf(v, tree, &l->page, &low, &high) < 0)
			return -1;
	}
	return 0;
}

/* --- the whole -------------------------------------------------------------------------------- */
/* Both metas, the newer one first. The page size is that of one of them, or what it mostly is. */
static int read_metas(struct salvage *v, struct page_meta m[2], uint64_t bytes)
{
	static const size_t sizes[] = {4096, 16384, 65536, 8192, 32768, 512, 1024, 2048};
	unsigned char raw[PAGE_META_BYTES];

	memset(m, 0, 2 * sizeof(*m));
	if (read_at(v, raw, sizeof(raw), 0))
		page_meta_read(&m[0], raw, 0);
	for (size_t i = 0; i < ARRAY_LEN(sizes) && !m[1].is_good; i++)
		if ((!m[0].is_good || m[0].page_size == sizes[i]) &&
		    read_at(v, raw, sizeof(raw), sizes[i])) {
			page_meta_read(&m[1], raw, 1);
			m[1].is_good = m[1].is_good && m[1].page_size == sizes[i];
		}
	v->size = m[0].is_good ? m[0].page_size : m[1].is_good ? m[1].page_size : sizes[0];
	v->pages = bytes / v->size;
	if (v->pages < 2)
		return err_set(v->err, ERR_CORRUPT, "too short for a database");
	if (m[1].is_good && (!m[0].is_good || m[1].txn > m[0].txn)) {
		struct page_meta newer = m[1];

		m[1] = m[0];
		m[0] = newer;
	}
	v->s->pages = v->pages;
	v->s->is_short = m[0].is_good && m[0].last_page >= v->pages;
	/* They are written in turn. */
	v->s->has_no_root =
	    !m[0].is_good || !m[1].is_good || (m[0].txn > 1 && m[0].txn != m[1].txn + 1);
	return 0;
}

static int run(struct salvage *v, const struct page_meta m[2])
{
	struct edge low = {.n = 0}, high = {.is_end = true};
	int rc = 0;

	v->is_free_known = m[0].is_good;
	if (m[0].is_good && m[0].free_root != PAGE_NONE)
		rc = walk(v, TREE_FREE, m[0].free_root);
	if (!m[0].is_good)
		gap_add(v, &low, &high);
	else if (rc == 0 && m[0].main_root != PAGE_NONE)
		rc = walk(v, TREE_MAIN, m[0].main_root);
	for (size_t i = 0; v->s->lost && i < v->gap_count; i++)
		v->s->lost(v->s->lost_arg, span_make(v->gaps[i].from, v->gaps[i].from_n),
		    span_make(v->gaps[i].to, v->gaps[i].to_n));
	if (rc < 0 || v->gap_count == 0)
		return rc;
	if (v->is_free_known)
		rc = orphans(v, TREE_OLDER);
	if (rc == 0 && m[1].is_good && m[1].main_root != PAGE_NONE)
		rc = walk(v, TREE_OLDER, m[1].main_root);
	if (rc == 0 && !v->is_free_known) {
		memset(v->is_free, 0, (size_t)(v->pages / 8 + 1));
		rc = orphans(v, TREE_GUESS);
	}
	return rc;
}

int db_salvage(int fd, struct db_salvage *s, struct err *err)
{
	struct salvage v = {.s = s, .fd = fd, .err = err};
	struct page_meta m[2];
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return err_errno(err, errno, "the database");
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, "not a regular file");
	if (read_metas(&v, m, (uint64_t)st.st_size) < 0)
		return -1;
	v.seen = mem_zalloc((size_t)(v.pages / 8 + 1));
	v.is_free = mem_zalloc((size_t)(v.pages / 8 + 1));
	v.stack = mem_array(PAGE_DEPTH_MAX + 1, sizeof(*v.stack));
	for (size_t i = 0; i <= PAGE_DEPTH_MAX; i++)
		v.stack[i].bytes = mem_alloc(v.size);
	rc = run(&v, m);
	for (size_t i = 0; i <= PAGE_DEPTH_MAX; i++)
		mem_free(v.stack[i].bytes);
	for (size_t i = 0; i < v.gap_count; i++) {
		mem_free(v.gaps[i].from);
		mem_free(v.gaps[i].to);
	}
	mem_free(v.gaps);
	mem_free(v.stack);
	mem_free(v.seen);
	mem_free(v.is_free);
	return rc;
}
