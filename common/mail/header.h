/*
 * Header fields of a message or MIME part (RFC 5322 section 2.2), read as they are: lines end in
 * CRLF or a bare LF, 8-bit bytes pass, lines without a colon are fields without a name. Pure
 * functions, any thread; spans and offsets refer to the input.
 */
#ifndef MS_MAIL_HEADER_H
#define MS_MAIL_HEADER_H

#include "common/base/strbuf.h"

#define MAIL_HEADER_MAX (256 * 1024) /* fields beyond this many bytes are not looked at */

struct mail_field {
	struct span name; /* without white space before the colon; empty if the line has no colon */
	struct span value; /* raw, still folded; white space at both ends removed */
	size_t offset;     /* of the field in the input ... */
	size_t size;       /* ... with all its lines and the last line end */
};

struct mail_header {
	struct span in;
	size_t at;
};

/* in may be a whole message: reading stops at the empty line, or after MAIL_HEADER_MAX bytes. */
void mail_header_init(struct mail_header *h, struct span in);
bool mail_header_next(struct mail_header *h, struct mail_field *out);

/* First field of that name (ASCII case-insensitive). */
bool mail_header_find(struct span header, struct span name, struct mail_field *out);

/* Bytes of the header with its empty line; all of it if there is no empty line, and then *complete
 * (if given) is false. No limit applies. */
size_t mail_header_size(struct span message, bool *complete);

/* Appends a value with each fold, a line break and the white space behind it, as one space, and NUL
 * as "?". */
bool mail_header_unfold(struct strbuf *out, struct span value);

/*
 * IMAP's HEADER.FIELDS (keep true) and HEADER.FIELDS.NOT (keep false): appends the raw bytes of
 * the fields whose name is (is not) in names, then CRLF as the empty line. Lines without a colon
 * belong to no name. No MAIL_HEADER_MAX here: every byte of the header is answered for.
 */
bool mail_header_select(
    struct strbuf *out, struct span header, const struct span *names, size_t count, bool keep);

#endif
