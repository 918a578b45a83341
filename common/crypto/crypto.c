#include "common/crypto/crypto.h"

#include "common/base/mem.h"
#include "common/crypto/sha.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

struct sha256 {
	struct sha_state state;
};

struct sha256 *sha256_new(void)
{
	struct sha256 *h = mem_zalloc(sizeof(*h));

	sha_begin(&h->state, false);
	return h;
}

void sha256_update(struct sha256 *h, struct span data)
{
	sha_add(&h->state, data);
}

void sha256_final(struct sha256 *h, unsigned char out[SHA256_LEN])
{
	sha_end(&h->state, out);
	mem_free(h);
}

void sha256_abort(struct sha256 *h)
{
	mem_free_secret(h, sizeof(*h));
}

void sha256_once(struct span data, unsigned char out[SHA256_LEN])
{
	struct sha_state s;

	sha_begin(&s, false);
	sha_add(&s, data);
	sha_end(&s, out);
}

/* RFC 2104 */
static void hmac(bool is_sha1, struct span key, struct span data, unsigned char *out)
{
	size_t length = is_sha1 ? SHA1_LEN : SHA256_LEN;
	unsigned char pad[SHA_BLOCK] = {0}, inner[SHA256_LEN];
	struct sha_state s;

	if (key.n > sizeof(pad)) {
		sha_begin(&s, is_sha1);
		sha_add(&s, key);
		sha_end(&s, pad);
	} else if (key.n > 0) {
		memcpy(pad, key.p, key.n);
	}
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	sha_begin(&s, is_sha1);
	sha_add(&s, span_make((const char *)pad, sizeof(pad)));
	sha_add(&s, data);
	sha_end(&s, inner);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	sha_begin(&s, is_sha1);
	sha_add(&s, span_make((const char *)pad, sizeof(pad)));
	sha_add(&s, span_make((const char *)inner, length));
	sha_end(&s, out);
	mem_wipe(pad, sizeof(pad));
	mem_wipe(inner, sizeof(inner));
}

void hmac_sha256(struct span key, struct span data, unsigned char out[SHA256_LEN])
{
	hmac(false, key, data, out);
}

void hmac_sha1(struct span key, struct span data, unsigned char out[SHA1_LEN])
{
	hmac(true, key, data, out);
}

void random_bytes(void *out, size_t n)
{
	char *to = out;

	while (n > 0) {
		ssize_t got = getrandom(to, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			fatal("no random bytes from the kernel");
		to += got;
		n -= (size_t)got;
	}
}

uint64_t random_u64(void)
{
	uint64_t v;

	random_bytes(&v, sizeof(v));
	return v;
}

uint32_t random_below(uint32_t limit)
{
	/* Values of the last, incomplete round would favour small results. */
	uint64_t rounds = UINT64_MAX / limit;
	uint64_t v;

	do {
		v = random_u64();
	} while (v >= rounds * limit);
	return (uint32_t)(v % limit);
}

void hex_encode(char *out, struct span in)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < in.n; i++) {
		out[2 * i] = digits[(unsigned char)in.p[i] >> 4];
		out[2 * i + 1] = digits[(unsigned char)in.p[i] & 15];
	}
	out[2 * in.n] = '\0';
}

void random_hex(char *out, size_t n)
{
	unsigned char raw[64];

	if (n > sizeof(raw))
		fatal("random_hex: at most %zu bytes", sizeof(raw));
	random_bytes(raw, n);
	hex_encode(out, span_make(raw, n));
	mem_wipe(raw, sizeof(raw));
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_decode(void *out, size_t cap, struct span in, size_t *n)
{
	unsigned char *to = out;

	if (in.n % 2 != 0 || in.n / 2 > cap)
		return false;
	for (size_t i = 0; i < in.n; i += 2) {
		int high = digit_value(in.p[i]);
		int low = digit_value(in.p[i + 1]);

		if (high < 0 || low < 0)
			return false;
		to[i / 2] = (unsigned char)(high << 4 | low);
	}
	*n = in.n / 2;
	return true;
}
