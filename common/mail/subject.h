/* The base subject (RFC 5256 section 2.1), and the order of texts (RFC 5051). */
#ifndef MS_MAIL_SUBJECT_H
#define MS_MAIL_SUBJECT_H

#include "common/base/strbuf.h"

#define MAIL_SUBJECT_MAX 2000 /* bytes of a decoded subject that are looked at */

/*
 * Appends the base subject of a raw Subject value (decoded, without "Re:", "[list]", "(fwd)" and
 * the like), in its own case. *is_reply: something that marks a reply or a forwarded message was
 * removed.
 */
bool mail_base_subject(struct strbuf *out, struct span value, bool *is_reply);

/* Appends the i;unicode-casemap form of valid UTF-8: what compares as bytes the way IMAP sorts. */
bool mail_casemap(struct strbuf *out, struct span utf8);

#endif
