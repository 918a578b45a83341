/*
 * Pages of a data.mdb, read without LMDB and without trust: every number in a page is checked
 * before it is followed, and what fails a check is not there. LMDB 0.9's layout, in the byte order
 * and word size of this machine. No state, any thread.
 */
#ifndef MS_DB_PAGE_H
#define MS_DB_PAGE_H

#include "common/base/err.h"
#include "common/base/span.h"

#define PAGE_KEY_MAX 511
#define PAGE_DEPTH_MAX 32

enum page_kind { PAGE_BAD, PAGE_BRANCH, PAGE_LEAF, PAGE_OVERFLOW };

struct page {
	const unsigned char *bytes;
	size_t size;
	enum page_kind kind;
	size_t count;      /* nodes of a branch or leaf */
	uint64_t overflow; /* pages of an overflow run */
	bool is_suspect;   /* its nodes do not fill it as LMDB fills pages */
};

struct page_node {
	struct span key;
	uint64_t child;   /* of a branch; of a leaf: the first overflow page, if is_big */
	struct span val;  /* of a leaf, unless is_big */
	uint64_t val_len; /* of a leaf */
	bool is_big;
};

/* False, and kind PAGE_BAD, if it is not page number of a tree. size is LMDB's page size. */
bool page_read(struct page *p, const unsigned char *bytes, size_t size, uint64_t number);
/* False if the node is damaged. */
bool page_node(const struct page *p, size_t i, struct page_node *n);
/* Does the node end where another one begins, or the page ends? Of a suspect page: is its length to
 * be believed? */
bool page_node_fits(const struct page *p, size_t i);
/* Bytes of a page's head: the value of an overflow run begins behind it. */
size_t page_head(void);

struct page_meta {
	bool is_good;
	size_t page_size;
	uint64_t map_size, last_page, txn;
	uint64_t free_root, main_root; /* PAGE_NONE: empty */
};
#define PAGE_NONE UINT64_MAX
#define PAGE_META_BYTES 256
/* Of bytes (PAGE_META_BYTES) at the beginning of page 0 or 1. */
void page_meta_read(struct page_meta *m, const unsigned char *bytes, uint64_t number);

#endif
