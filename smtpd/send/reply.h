/*
 * Replies of another server (RFC 5321 section 4.2), which may be hostile: lines of at most 2 KiB,
 * at most 100 of them, CRLF or a bare LF. What is kept of the text is printable. Pure functions.
 */
#ifndef MS_SMTPD_SEND_REPLY_H
#define MS_SMTPD_SEND_REPLY_H

#include "common/base/err.h"
#include "common/base/span.h"

#define REPLY_LINE_MAX 2048
#define REPLY_LINES_MAX 100
#define REPLY_TEXT_MAX 400

struct reply {
	int code;                      /* 200 to 599 */
	char text[REPLY_TEXT_MAX + 1]; /* "550 5.1.1 No such user", lines joined by a space */
};

struct reply_reader {
	unsigned lines;
	struct reply reply;
	size_t n; /* of its text */
	/* Each line's text behind the code, before they are joined. May be NULL. */
	void (*on_line)(void *arg, unsigned number, struct span text);
	void *arg;
};

void reply_init(struct reply_reader *r);
/*
 * Takes what there is of a reply from the front of in: *used bytes are done with. 1: r->reply is
 * whole; 0: more must come; -1: no reply, or too long a one (err).
 */
int reply_read(struct reply_reader *r, struct span in, size_t *used, struct err *err);

/* "5.1.1" of the text; false if it has none that fits its code (RFC 3463). */
bool reply_enhanced(const struct reply *r, char out[16]);
/* Of our own: code and text as if a server had said so. */
void reply_make(struct reply *r, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool reply_is_good(const struct reply *r);
bool reply_is_permanent(const struct reply *r);

#endif
