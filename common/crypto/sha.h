/*
 * SHA-256 and SHA-1 (FIPS 180-4), block by block. Our own, since OpenSSL takes 0.7 MB of each
 * process that only wants these. Where the processor has instructions for SHA-256 they are used.
 * Any thread.
 */
#ifndef MS_CRYPTO_SHA_H
#define MS_CRYPTO_SHA_H

#include "common/base/span.h"

#define SHA_BLOCK 64

struct sha_state {
	bool is_sha1;
	uint32_t h[8];
	uint64_t bytes;
	unsigned char block[SHA_BLOCK]; /* the last one, not full */
};

void sha_begin(struct sha_state *s, bool is_sha1);
void sha_add(struct sha_state *s, struct span data);
/* 32 or 20 bytes; wipes the state. */
void sha_end(struct sha_state *s, unsigned char *out);

/* For tests: never the processor's instructions. */
void sha_be_portable(bool on);

#endif
