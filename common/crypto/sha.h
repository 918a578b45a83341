/*
 * SHA-256 and SHA-1 (FIPS 180-4): nettle's, since OpenSSL takes 0.7 MB of each process that only
 * wants these. Its header stays out of this one: it has functions of the same names as ours. Any
 * thread.
 */
#ifndef MS_CRYPTO_SHA_H
#define MS_CRYPTO_SHA_H

#include "common/base/span.h"

#define SHA_BLOCK 64
#define SHA_CONTEXT 128

struct sha_state {
	bool is_sha1;
	uint64_t context[SHA_CONTEXT / sizeof(uint64_t)];
};

void sha_begin(struct sha_state *s, bool is_sha1);
void sha_add(struct sha_state *s, struct span data);
/* 32 or 20 bytes; wipes the state. */
void sha_end(struct sha_state *s, unsigned char *out);

#endif
