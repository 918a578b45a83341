/*
 * The forms of headers and bodies that DKIM signs and verifies (RFC 6376 section 3.4): "relaxed",
 * in pieces of any size. Input is a message as it goes over the wire, with CRLF; other bytes pass
 * as they are. Pure, any thread, nothing is kept but a few counters.
 */
#ifndef MS_MAIL_DKIM_H
#define MS_MAIL_DKIM_H

#include "common/base/strbuf.h"

struct dkim_body {
	void (*sink)(void *arg, struct span bytes); /* gets the form, piece by piece */
	void *arg;
	uint64_t line_ends; /* held back: at the end only one of them counts */
	bool has_space;     /* held back: none counts at the end of a line */
	bool has_cr;
	bool has_content;
};

void dkim_body_init(struct dkim_body *b, void (*sink)(void *arg, struct span bytes), void *arg);
void dkim_body_feed(struct dkim_body *b, struct span in);
void dkim_body_end(struct dkim_body *b);

/*
 * Appends the form of one field, "name:value" without CRLF at its end: name in lower case, folds
 * and white space as one space each, none at the ends. field is raw, with or without its last line
 * end.
 */
void dkim_field(struct strbuf *out, struct span field);

#endif
