/* IMAP's BODY and BODYSTRUCTURE (RFC 3501 section 7.4.2) from a MIME tree. */
#ifndef MS_MAIL_BODYSTRUCTURE_H
#define MS_MAIL_BODYSTRUCTURE_H

#include "common/mail/mime.h"

/* Appends the parenthesised list; extended adds the extension data (BODYSTRUCTURE). Parameters
 * appear as they stand in the message (RFC 2231 not decoded). No recursion. False once out is
 * full. */
bool mail_bodystructure_write(struct strbuf *out, const struct mime_tree *t, bool extended);

#endif
