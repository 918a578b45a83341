/*
 * Text and bytes in 7 bits (RFC 2045 section 6), fed in pieces of any size, lines of at most 76.
 * Each CR, LF or CRLF counts as CRLF. Pure.
 */
#ifndef MS_SMTPD_SEND_ENCODE7_H
#define MS_SMTPD_SEND_ENCODE7_H

#include "common/base/strbuf.h"

enum encode7 { ENCODE7_NONE, ENCODE7_QP, ENCODE7_BASE64 };

struct encoder7 {
	enum encode7 kind;
	size_t column;
	char held[3]; /* base64: bytes of a group */
	size_t held_n;
	char blank;  /* QP: a space or tab that may end its line; 0: none */
	bool has_cr; /* its LF may follow */
};

void encode7_init(struct encoder7 *e, enum encode7 kind);
void encode7_feed(struct encoder7 *e, struct span in, struct strbuf *out);
void encode7_end(struct encoder7 *e, struct strbuf *out);

#endif
