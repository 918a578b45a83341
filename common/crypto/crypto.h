/*
 * Hashes (sha.h), HMAC (RFC 2104) and random numbers, the kernel's. Who wants only these is not
 * linked with OpenSSL. No random numbers is fatal. Any thread.
 */
#ifndef MS_CRYPTO_CRYPTO_H
#define MS_CRYPTO_CRYPTO_H

#include "common/base/span.h"

#define SHA256_LEN 32
#define SHA1_LEN 20

struct sha256; /* one running hash */

struct sha256 *sha256_new(void);
void sha256_update(struct sha256 *h, struct span data);
void sha256_final(struct sha256 *h, unsigned char out[SHA256_LEN]); /* and frees h */
void sha256_abort(struct sha256 *h);                                /* frees h; NULL is fine */
void sha256_once(struct span data, unsigned char out[SHA256_LEN]);
void hmac_sha256(struct span key, struct span data, unsigned char out[SHA256_LEN]);
/* For one-time passwords (RFC 6238), whose programs know no other. */
void hmac_sha1(struct span key, struct span data, unsigned char out[SHA1_LEN]);

void random_bytes(void *out, size_t n);
uint64_t random_u64(void);
uint32_t random_below(uint32_t limit); /* uniform in 0 .. limit-1; limit > 0 */
/* n bytes of randomness as 2n lower-case hex digits and a NUL. */
void random_hex(char *out, size_t n);

void hex_encode(char *out, struct span in);                        /* 2n digits and a NUL */
bool hex_decode(void *out, size_t cap, struct span in, size_t *n); /* strict */

#endif
