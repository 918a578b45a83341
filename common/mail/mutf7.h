/* Mailbox names: modified UTF-7 of RFC 3501 section 5.1.3, strict, and NFC. */
#ifndef MS_MAIL_MUTF7_H
#define MS_MAIL_MUTF7_H

#include "common/base/strbuf.h"

/* False (out unchanged in length) on anything that is not the one canonical encoding: unended or
 * empty shifts, printable ASCII inside a shift, two adjacent shifts, spare bits, lone surrogates,
 * bytes outside 0x20 to 0x7e. */
bool mail_mutf7_to_utf8(struct strbuf *out, struct span name);
/* False (out unchanged in length) if name is not valid UTF-8 or out is full. */
bool mail_mutf7_from_utf8(struct strbuf *out, struct span name);
/* Appends the NFC form of valid UTF-8. False on invalid UTF-8, NUL, or if out is full. */
bool mail_utf8_nfc(struct strbuf *out, struct span s);

#endif
