/*
 * Headers in UTF-8 (RFC 6532) for programs that know only ASCII: the simplified downgrade of
 * RFC 6858. Pure function, any thread.
 */
#ifndef MS_MAIL_DOWNGRADE_H
#define MS_MAIL_DOWNGRADE_H

#include "common/base/strbuf.h"

/*
 * Appends a header (of a message or a MIME part, with its empty line) so that nothing but ASCII is
 * left of its fields; what is ASCII already stays as it stands. Subject, Comments and
 * Content-Description, and the names of addresses, become encoded words. An address with UTF-8 in
 * it becomes <invalid@internationalized-address.invalid> behind the name, or else the address, as
 * text. Parameters of Content-Type and Content-Disposition go into the form of RFC 2231, but for
 * the boundary. All else that cannot be shown is left out. Linear time; at most thirty
 * times as long as it was (an address of one letter). False once out is full.
 */
bool mail_downgrade_header(struct strbuf *out, struct span header);

#endif
