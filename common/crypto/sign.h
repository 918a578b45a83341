/*
 * Signatures with a private key, over OpenSSL: RSA (PKCS #1 v1.5 with SHA-256) and Ed25519 (RFC
 * 8032). Any thread, also several with one key.
 */
#ifndef MS_CRYPTO_SIGN_H
#define MS_CRYPTO_SIGN_H

#include "common/base/err.h"
#include "common/base/strbuf.h"
#include "common/crypto/crypto.h"

#define SIGNATURE_MAX 1024 /* bytes; RSA keys have at most 8192 bits */

struct sign_key;

/* From PEM. ERR_INVALID: no private key, or one of another kind or size. */
struct sign_key *sign_key_read(struct span pem, struct err *err);
void sign_key_free(struct sign_key *k); /* NULL is fine */
bool sign_key_is_rsa(const struct sign_key *k);
/* Of a SHA-256 hash: RSA signs it as the hash it is, Ed25519 as a message (RFC 8463 section 3).
 * *n is the signature's size. ERR_IO: OpenSSL cannot. */
int sign_hash(const struct sign_key *k, const unsigned char hash[SHA256_LEN],
    unsigned char out[SIGNATURE_MAX], size_t *n, struct err *err);

#endif
