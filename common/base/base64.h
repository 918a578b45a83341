/* Base64 (RFC 4648 section 4). Decoding is strict: right padding, no white space, no spare bits. */
#ifndef MS_BASE_BASE64_H
#define MS_BASE_BASE64_H

#include "common/base/strbuf.h"

#define BASE64_ENCODED_LEN(n) (((n) + 2) / 3 * 4)

bool base64_encode(struct strbuf *out, struct span in);
bool base64_decode(struct strbuf *out, struct span in);

#endif
