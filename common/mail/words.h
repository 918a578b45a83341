/*
 * Text in headers: encoded words (RFC 2047) and extended parameters (RFC 2231). The output is
 * always valid UTF-8 without NUL; what cannot be decoded is kept as it stands, bytes that are not
 * UTF-8 become U+FFFD.
 */
#ifndef MS_MAIL_WORDS_H
#define MS_MAIL_WORDS_H

#include "common/mail/mime.h"

/* Decodes an unfolded or folded header value; white space between adjacent encoded words goes. */
bool mail_words_decode(struct strbuf *out, struct span value);

/* The value of a parameter, with RFC 2231 continuations, charset and percent signs resolved, or
 * RFC 2047 words as many senders (wrongly) use. False if there is none or out is full. */
bool mail_param_decode(
    struct strbuf *out, const struct mime_param *params, size_t count, struct span name);

#endif
