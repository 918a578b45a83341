/*
 * The answer to one GET (RFC 9112): no more of HTTP than a policy needs. Total, bounded; every byte
 * comes from a stranger. What says no length is refused: where it ends, somebody in between could
 * have cut it.
 */
#ifndef MS_SMTPD_FETCH_HTTP_H
#define MS_SMTPD_FETCH_HTTP_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#define HTTP_LINE_MAX 8192 /* of status, a field, a chunk's size */
#define HTTP_HEAD_MAX (32 * 1024)

enum http_state {
	HTTP_STATUS,
	HTTP_FIELDS,
	HTTP_LENGTH, /* a body of so many bytes */
	HTTP_CHUNK,  /* a chunk's size */
	HTTP_CHUNK_DATA,
	HTTP_CHUNK_END,
	HTTP_TRAILER,
	HTTP_DONE,
};

struct http_reader {
	enum http_state state;
	struct strbuf body; /* its limit is the body's */
	size_t head;        /* bytes of lines so far */
	uint64_t left;      /* of the body, or of a chunk */
	bool has_length, is_chunked, is_text;
};

void http_init(struct http_reader *r, size_t body_max);
void http_clear(struct http_reader *r);
/*
 * Takes what it understands of in, *used bytes; state DONE: all is there. -1: no answer that is of
 * use, with why: another status than 200 (redirections are not followed), another type than
 * text/plain, too long, malformed.
 */
int http_read(struct http_reader *r, struct span in, size_t *used, struct err *err);

#endif
