/*
 * The cache row of an object: what FETCH, SEARCH, SORT and THREAD ask for often, made when a
 * message comes in and rebuildable from the body at any time. Versioned; a row of another version,
 * or one that does not decode, counts as missing. Pure: any thread.
 */
#ifndef MS_STORE_CACHE_H
#define MS_STORE_CACHE_H

#include "common/mail/mime.h"

#define CACHE_FIELDS_MAX (16 * 1024)
#define CACHE_STRUCTURE_MAX 4096

struct cache {
	struct span tree;      /* mime_tree_decode */
	struct span envelope;  /* IMAP ENVELOPE text, parentheses included */
	uint64_t header_size;  /* bytes of the top header block with its empty line */
	struct span fields;    /* of the header, as they stand there, those that clients ask for
				  (cache_keeps), and an empty line; .p NULL: not kept */
	struct span structure; /* IMAP BODYSTRUCTURE text; .p NULL: it is to be made from tree */
};

/* header: the message's top header block, from its beginning; fields are kept only if it is all of
 * it (tree says how long that is). */
void cache_encode(struct strbuf *out, const struct mime_tree *tree, struct span header);
bool cache_decode(struct span row, struct cache *c);

/* Are all of these fields among those that rows keep? */
bool cache_keeps(const struct span *names, size_t count);

#endif
