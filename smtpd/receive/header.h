/*
 * The header of a message while it streams through: counts Received fields, and for submission does
 * what RFC 6409 section 8 lets a submission server do: adds Date and Message-ID if they are missing
 * and takes Bcc out; for a device it puts its own From there. Nothing else is changed. Pure; lines
 * come in any split.
 */
#ifndef MS_SMTPD_RECEIVE_HEADER_H
#define MS_SMTPD_RECEIVE_HEADER_H

#include "common/base/strbuf.h"

#define HEADER_LINE_MAX (64 * 1024) /* a longer line passes as it is */
#define HEADER_FROM_MAX (16 * 1024)

struct header_filter {
	bool is_over, is_submission, is_dropping, is_long;
	bool has_date, has_message_id;
	unsigned received;
	struct strbuf line;
	bool is_from; /* the field that the lines belong to is From */
	unsigned from_fields;
	struct strbuf from;            /* its value, for submission; .failed: too long */
	const char *from_field;        /* in place of From and Sender; NULL: as they are */
	const char *date, *message_id; /* complete fields with CRLF, added if missing */
};

void header_init(
    struct header_filter *f, bool is_submission, const char *date, const char *message_id);
void header_clear(struct header_filter *f);
void header_feed(struct header_filter *f, struct span in, struct strbuf *out);
void header_end(struct header_filter *f, struct strbuf *out); /* the message is over */

#endif
