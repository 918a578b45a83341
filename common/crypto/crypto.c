#include "common/crypto/crypto.h"

#include "common/base/mem.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

struct sha256 {
	EVP_MD_CTX *ctx;
};

struct sha256 *sha256_new(void)
{
	struct sha256 *h = mem_zalloc(sizeof(*h));

	h->ctx = EVP_MD_CTX_new();
	if (!h->ctx || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1)
		fatal("SHA-256 is not available");
	return h;
}

void sha256_update(struct sha256 *h, struct span data)
{
	if (data.n > 0 && EVP_DigestUpdate(h->ctx, data.p, data.n) != 1)
		fatal("SHA-256 failed");
}

void sha256_final(struct sha256 *h, unsigned char out[SHA256_LEN])
{
	if (EVP_DigestFinal_ex(h->ctx, out, NULL) != 1)
		fatal("SHA-256 failed");
	sha256_abort(h);
}

void sha256_abort(struct sha256 *h)
{
	if (!h)
		return;
	EVP_MD_CTX_free(h->ctx);
	mem_free(h);
}

void sha256_once(struct span data, unsigned char out[SHA256_LEN])
{
	if (EVP_Digest(data.n > 0 ? data.p : "", data.n, out, NULL, EVP_sha256(), NULL) != 1)
		fatal("SHA-256 failed");
}

static void hmac(const EVP_MD *md, const char *failed, struct span key, struct span data,
    unsigned char *out, unsigned want)
{
	unsigned n = 0;

	if (key.n > INT32_MAX ||
	    !HMAC(md, key.n > 0 ? key.p : "", (int)key.n,
		(const unsigned char *)(data.n > 0 ? data.p : ""), data.n, out, &n) ||
	    n != want)
		fatal("%s", failed);
}

void hmac_sha256(struct span key, struct span data, unsigned char out[SHA256_LEN])
{
	hmac(EVP_sha256(), "HMAC-SHA-256 failed", key, data, out, SHA256_LEN);
}

void hmac_sha1(struct span key, struct span data, unsigned char out[SHA1_LEN])
{
	hmac(EVP_sha1(), "HMAC-SHA-1 failed", key, data, out, SHA1_LEN);
}

void random_bytes(void *out, size_t n)
{
	if (n > INT32_MAX || RAND_bytes(out, (int)n) != 1)
		fatal("no random bytes");
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
