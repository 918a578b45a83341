/*
 * The DEFLATE layer of a connection (RFC 1951, as RFC 4978 uses it): what conn.c needs of zlib,
 * without its header. Memory is bounded: the reading side keeps the window that the peer may refer
 * to, the writing side exists only while there is something to write. Loop thread.
 */
#ifndef MS_NET_DEFLATE_H
#define MS_NET_DEFLATE_H

#include "common/base/err.h"
#include "common/base/span.h"

struct deflate;

struct deflate *deflate_new(void);
void deflate_free(struct deflate *d); /* NULL is fine */

/* --- reading ---------------------------------------------------------------------------------- */
/* Where the next compressed bytes go; *cap is 0 while some are still there. */
char *deflate_room(struct deflate *d, size_t *cap);
void deflate_took(struct deflate *d, size_t n); /* so many were put there */
/* Unpacks at most cap bytes: how many (0: more compressed bytes are needed), or -1. However much
 * they unpack to, no more than cap is held; 64 KiB that unpack to nothing are ERR_LIMIT. */
ssize_t deflate_read(struct deflate *d, char *buf, size_t cap, struct err *err);
/* deflate_read may have something without new bytes. */
bool deflate_has_pending(const struct deflate *d);

/* --- writing ---------------------------------------------------------------------------------- */
/* Compresses data, at most 16 KiB. is_last: all of it reaches the peer, which waits for it. */
void deflate_write(struct deflate *d, struct span data, bool is_last);
/* What is to be sent, the same bytes until deflate_sent has taken all of them. */
struct span deflate_output(const struct deflate *d);
void deflate_sent(struct deflate *d, size_t n);

#endif
