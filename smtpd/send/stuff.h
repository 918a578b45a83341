/*
 * A message on its way out (RFC 5321 section 4.5.2): whatever lines it has, only CRLF leaves, and
 * no line but the last is a dot alone. Pure.
 */
#ifndef MS_SMTPD_SEND_STUFF_H
#define MS_SMTPD_SEND_STUFF_H

#include "common/base/strbuf.h"

struct stuffer {
	bool with_dots;  /* DATA; BDAT needs none */
	bool is_in_line; /* something of the current line has gone out */
	bool has_cr;     /* the last byte was CR: its LF may follow */
};

/* Appends at most twice in.n + 2 bytes. */
void stuff(struct stuffer *s, struct span in, struct strbuf *out);
/* The end of the last line, if it has none, and with_dots the dot. */
void stuff_end(struct stuffer *s, struct strbuf *out);

#endif
