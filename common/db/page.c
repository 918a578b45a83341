#include "common/db/page.h"

#include <stddef.h>
#include <string.h>

#define LMDB_MAGIC 0xBEEFC0DEu
#define LMDB_VERSION 1u
#define FLAG_BRANCH 0x01u
#define FLAG_LEAF 0x02u
#define FLAG_OVERFLOW 0x04u
#define FLAG_META 0x08u
#define NODE_BIG 0x01u
#define NODE_HEAD 8u
#define PAGE_NODES_MAX 32768u

/* What a page begins with: its number, a pad, flags, and where its room begins and ends. */
struct head {
	size_t number;
	uint16_t pad, flags;
	uint16_t lower, upper;
};

struct db {
	uint32_t pad;
	uint16_t flags, depth;
	size_t branch, leaf, overflow, entries, root;
};

struct meta {
	struct head head;
	uint32_t magic, version;
	size_t address, map_size;
	struct db dbs[2];
	size_t last_page, txn;
};

_Static_assert(sizeof(struct meta) <= PAGE_META_BYTES, "a meta page's beginning");

size_t page_head(void)
{
	return sizeof(size_t) + 8;
}

static uint16_t u16_at(const struct page *p, size_t at)
{
	uint16_t v;

	memcpy(&v, p->bytes + at, sizeof(v));
	return v;
}

static size_t offset_of(const struct page *p, size_t i)
{
	return u16_at(p, page_head() + 2 * i);
}

static size_t size_of(const struct page_node *n)
{
	return (NODE_HEAD + n->key.n + (n->is_big ? sizeof(size_t) : n->val.n) + 1) & ~(size_t)1;
}

/* Nodes lie one behind the other up to the page's end: do their sizes add up? */
static bool adds_up(const struct page *p, size_t upper)
{
	struct page_node n;
	size_t sum = 0;

	for (size_t i = 0; i < p->count; i++) {
		if (!page_node(p, i, &n))
			return false;
		sum += size_of(&n);
	}
	return sum == p->size - upper;
}

bool page_node_fits(const struct page *p, size_t i)
{
	struct page_node n;
	size_t end;

	if (!page_node(p, i, &n))
		return false;
	end = offset_of(p, i) + size_of(&n);
	if (end == p->size)
		return true;
	for (size_t k = 0; k < p->count; k++)
		if (offset_of(p, k) == end)
			return true;
	return false;
}

bool page_read(struct page *p, const unsigned char *bytes, size_t size, uint64_t number)
{
	struct head h;
	uint32_t run;

	*p = (struct page){.bytes = bytes, .size = size};
	memcpy(&h, bytes, sizeof(h));
	if (h.number != number)
		return false;
	if (h.flags == FLAG_OVERFLOW) {
		memcpy(&run, bytes + offsetof(struct head, lower), sizeof(run));
		p->overflow = run;
		p->kind = run > 0 ? PAGE_OVERFLOW : PAGE_BAD;
		return run > 0;
	}
	if ((h.flags != FLAG_BRANCH && h.flags != FLAG_LEAF) || h.lower < page_head() ||
	    (h.lower - page_head()) % 2 != 0 || h.lower > h.upper || h.upper > size)
		return false;
	p->count = (h.lower - page_head()) / 2;
	if (p->count > PAGE_NODES_MAX)
		return false;
	p->kind = h.flags == FLAG_LEAF ? PAGE_LEAF : PAGE_BRANCH;
	p->is_suspect = !adds_up(p, h.upper);
	return true;
}

static uint64_t number_at(const unsigned char *at)
{
	size_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static bool branch_node(const struct page *p, size_t at, size_t key_n, struct page_node *n)
{
	uint64_t low = u16_at(p, at), middle = u16_at(p, at + 2), high = u16_at(p, at + 4);

	n->key = span_make(p->bytes + at + NODE_HEAD, key_n);
	n->child = low | middle << 16 | high << 32;
	return key_n <= p->size - at - NODE_HEAD;
}

static bool leaf_node(const struct page *p, size_t at, size_t key_n, struct page_node *n)
{
	size_t room = p->size - at - NODE_HEAD;
	uint64_t len = u16_at(p, at) | (uint64_t)u16_at(p, at + 2) << 16;
	unsigned flags = u16_at(p, at + 4);
	const unsigned char *val;

	if ((flags & ~NODE_BIG) != 0 || key_n == 0 || key_n > room)
		return false;
	val = p->bytes + at + NODE_HEAD + key_n;
	room -= key_n;
	n->key = span_make(p->bytes + at + NODE_HEAD, key_n);
	n->is_big = flags == NODE_BIG;
	n->val_len = len;
	if (n->is_big) {
		if (room < sizeof(size_t))
			return false;
		n->child = number_at(val);
		return true;
	}
	if (len > room)
		return false;
	n->val = span_make(val, (size_t)len);
	return true;
}

bool page_node(const struct page *p, size_t i, struct page_node *n)
{
	size_t at, key_n;

	*n = (struct page_node){.child = PAGE_NONE};
	if (i >= p->count)
		return false;
	at = offset_of(p, i);
	/* Behind the table of offsets, and with room for its own head. */
	if (at < page_head() + 2 * p->count || at % 2 != 0 || at + NODE_HEAD > p->size)
		return false;
	key_n = u16_at(p, at + 6);
	if (key_n > PAGE_KEY_MAX)
		return false;
	return p->kind == PAGE_BRANCH ? branch_node(p, at, key_n, n) : leaf_node(p, at, key_n, n);
}

static uint64_t root_of(size_t root)
{
	return root == SIZE_MAX ? PAGE_NONE : root;
}

void page_meta_read(struct page_meta *m, const unsigned char *bytes, uint64_t number)
{
	struct meta raw;
	size_t size;

	memcpy(&raw, bytes, sizeof(raw));
	size = raw.dbs[0].pad;
	*m = (struct page_meta){.page_size = size,
	    .map_size = raw.map_size,
	    .last_page = raw.last_page,
	    .txn = raw.txn,
	    .free_root = root_of(raw.dbs[0].root),
	    .main_root = root_of(raw.dbs[1].root)};
	/* The numbers of transactions say which of both pages it is. */
	m->is_good = raw.head.number == number && raw.head.flags == FLAG_META &&
		     (raw.txn == 0 || raw.txn % 2 == number) && raw.magic == LMDB_MAGIC &&
		     raw.version == LMDB_VERSION && size >= 512 && size <= 65536 &&
		     (size & (size - 1)) == 0;
}
