/* IMAP's section-spec (RFC 3501 section 6.4.5): which bytes BODY[1.2.HEADER] means. */
#ifndef MS_MAIL_SECTION_H
#define MS_MAIL_SECTION_H

#include "common/mail/mime.h"

enum mail_section_kind {
	MAIL_SECTION_WHOLE, /* [] or [1.2] */
	MAIL_SECTION_HEADER,
	MAIL_SECTION_TEXT,
	MAIL_SECTION_MIME,
	MAIL_SECTION_FIELDS, /* HEADER.FIELDS: the place is the header, then mail_header_select */
	MAIL_SECTION_FIELDS_NOT, /* HEADER.FIELDS.NOT */
};

struct mail_section {
	uint32_t part[MIME_DEPTH_MAX];
	uint16_t count;
	enum mail_section_kind kind;
};

/*
 * Reads "", "1.2", "1.2.TEXT", "HEADER.FIELDS" ...: what stands in the brackets up to the list of
 * field names. False on bad syntax: MIME without a number, 0, more than MIME_DEPTH_MAX numbers.
 */
bool mail_section_parse(struct span text, struct mail_section *out);

/*
 * Finds the bytes of a section in the message. False if there is no such part (the answer is then
 * NIL). Part 1 of a message that is not multipart is its body; a number below message/rfc822 counts
 * in the message it holds; HEADER and TEXT behind a number need message/rfc822.
 */
bool mail_section_find(
    const struct mime_tree *t, const struct mail_section *s, uint64_t *offset, uint64_t *size);
/* Part 1 of a multipart without parts: BODYSTRUCTURE has to show one, and it is empty. */
bool mail_section_is_placeholder(const struct mime_tree *t, const uint32_t *part, size_t count);
/* Index of the part that the numbers mean (MIME_NONE if there is none): for BINARY and search. */
uint32_t mail_section_part(const struct mime_tree *t, const uint32_t *part, size_t count);

#endif
