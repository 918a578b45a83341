#include "common/crypto/sha.h"

#include "common/base/mem.h"

#include <nettle/sha1.h>
#include <nettle/sha2.h>

#define FITS(type) (sizeof(type) <= SHA_CONTEXT && _Alignof(type) <= _Alignof(uint64_t))
_Static_assert(FITS(struct sha1_ctx) && FITS(struct sha256_ctx), "SHA_CONTEXT");

void sha_begin(struct sha_state *s, bool is_sha1)
{
	s->is_sha1 = is_sha1;
	if (is_sha1)
		nettle_sha1_init((void *)s->context);
	else
		nettle_sha256_init((void *)s->context);
}

void sha_add(struct sha_state *s, struct span data)
{
	const uint8_t *p = (const uint8_t *)data.p;

	if (data.n == 0)
		return;
	if (s->is_sha1)
		nettle_sha1_update((void *)s->context, data.n, p);
	else
		nettle_sha256_update((void *)s->context, data.n, p);
}

void sha_end(struct sha_state *s, unsigned char *out)
{
	if (s->is_sha1)
		nettle_sha1_digest((void *)s->context, SHA1_DIGEST_SIZE, out);
	else
		nettle_sha256_digest((void *)s->context, SHA256_DIGEST_SIZE, out);
	mem_wipe(s, sizeof(*s));
}
