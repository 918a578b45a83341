/* UTF-8 (RFC 3629): validation and stepping; no overlong forms, no surrogates, <= U+10FFFF. */
#ifndef MS_BASE_UTF8_H
#define MS_BASE_UTF8_H

#include "common/base/strbuf.h"

bool utf8_is_valid(struct span s);
bool utf8_is_ascii(struct span s);
/* Takes one code point; invalid input takes one byte and gives false. */
bool utf8_take(struct span *s, uint32_t *cp);
bool utf8_add(struct strbuf *b, uint32_t cp);

#endif
