/* Inside of the parsers. */
#ifndef MS_KEYD_PKI_INT_H
#define MS_KEYD_PKI_INT_H

#include "common/keyd/pki.h"

#include <openssl/pkcs12.h>

struct parse {
	struct pki_input *in;
	struct err *err;
	const char *password; /* NUL-terminated */
	size_t password_n;
	uint64_t budget; /* iterations of password derivations that may still run */
};

int parsed_cert(struct parse *p, X509 *cert);
int parsed_key(struct parse *p, EVP_PKEY *key);
int parsed_pkcs8(struct parse *p, const PKCS8_PRIV_KEY_INFO *p8);
int parsed_pkcs12(struct parse *p, PKCS12 *p12); /* pkcs12.c */

/* Whether what a password is stretched with (RFC 8018) ends within the input's budget of a few
 * seconds; takes it off the budget. pkcs12.c */
bool derivation_is_bounded(struct parse *p, const X509_ALGOR *alg);

#endif
