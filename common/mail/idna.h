/* Domain names with letters beyond ASCII (IDNA 2008, RFC 5891). Pure; any thread. */
#ifndef MS_MAIL_IDNA_H
#define MS_MAIL_IDNA_H

#include "common/mail/address.h"

/*
 * The domain in lower case with A-labels for its U-labels, NUL-terminated, *n bytes. An address
 * literal, and what is no domain name, is refused.
 */
bool mail_domain_ascii(struct span domain, char out[MAIL_DOMAIN_MAX + 1], size_t *n);

#endif
