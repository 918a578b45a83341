/* Strings in IMAP responses (RFC 3501 section 9). All return false once out is full. */
#ifndef MS_MAIL_IMAPSTR_H
#define MS_MAIL_IMAPSTR_H

#include "common/base/strbuf.h"

/* Quoted if it is short 7-bit text without CR and LF, else a literal "{n}CRLF". A NUL, which no
 * IMAP string may hold, is written as "?". */
bool mail_write_string(struct strbuf *out, struct span s);
bool mail_write_nstring(struct strbuf *out, struct span s); /* NIL if s.p is NULL */
bool mail_write_astring(struct strbuf *out, struct span s); /* an atom where it can be one */

/* Takes an nstring (RFC 3501 section 9) off in; NIL gives .p NULL. *out points into in, or where
 * there was a backslash into scratch, to which it is appended (whose memory may move then). With
 * scratch NULL the backslashes stay. */
bool mail_take_nstring(struct span *in, struct strbuf *scratch, struct span *out);

#endif
