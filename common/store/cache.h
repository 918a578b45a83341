/*
 * The cache row of an object: what FETCH asks for often, made when a message comes in and
 * rebuildable from the body at any time. Versioned; a row of another version, or one that does not
 * decode, counts as missing. Pure: any thread.
 */
#ifndef MS_STORE_CACHE_H
#define MS_STORE_CACHE_H

#include "common/mail/mime.h"

struct cache {
	struct span tree;     /* mime_tree_decode */
	struct span envelope; /* IMAP ENVELOPE text, parentheses included */
	uint64_t header_size; /* bytes of the top header block with its empty line */
};

/* header: the message's top header block. */
void cache_encode(struct strbuf *out, const struct mime_tree *tree, struct span header);
bool cache_decode(struct span row, struct cache *c);

#endif
