#include "common/mail/idna.h"

#include "common/base/utf8.h"

#include <idn2.h>
#include <string.h>

/* A pure computation over libidn2's tables. */
static bool to_a_labels(struct span in, char out[MAIL_DOMAIN_MAX + 1], size_t *n)
{
	char text[MAIL_DOMAIN_MAX + 1];
	uint8_t *found = NULL;

	memcpy(text, in.p, in.n);
	text[in.n] = '\0';
	if (idn2_lookup_u8((const uint8_t *)text, &found, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) !=
	    IDN2_OK)
		return false;
	*n = strlen((const char *)found);
	if (*n <= MAIL_DOMAIN_MAX)
		memcpy(out, found, *n + 1);
	idn2_free(found);
	return *n <= MAIL_DOMAIN_MAX;
}

bool mail_domain_ascii(struct span domain, char out[MAIL_DOMAIN_MAX + 1], size_t *n)
{
	if (!mail_domain_is_valid(domain, true))
		return false;
	if (utf8_is_ascii(domain)) {
		memcpy(out, domain.p, domain.n);
		out[domain.n] = '\0';
		*n = domain.n;
	} else if (!to_a_labels(domain, out, n)) {
		return false;
	}
	for (size_t i = 0; i < *n; i++)
		out[i] = ascii_lower(out[i]);
	return mail_domain_is_valid(span_make(out, *n), false);
}
