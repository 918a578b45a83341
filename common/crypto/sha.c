#include "common/crypto/sha.h"

#include "common/base/codec.h"
#include "common/base/mem.h"

#include <pthread.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

static const uint32_t k256[64] = {0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b,
    0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74,
    0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
    0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3,
    0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354,
    0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
    0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3,
    0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa,
    0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t right(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static uint32_t left(uint32_t x, unsigned n)
{
	return x << n | x >> (32 - n);
}

/* --- SHA-256, in C -----------------------------------------------------------------------------
 */
static void schedule256(uint32_t w[64], const unsigned char *p)
{
	for (size_t i = 0; i < 16; i++)
		w[i] = be_get32(p + 4 * i);
	for (size_t i = 16; i < 64; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];

		w[i] = w[i - 16] + (right(a, 7) ^ right(a, 18) ^ a >> 3) + w[i - 7] +
		       (right(b, 17) ^ right(b, 19) ^ b >> 10);
	}
}

/* The eight words stay where they are; what each of them is moves on by one with every round. */
static inline void round256(uint32_t v[8], unsigned i, uint32_t kw)
{
	uint32_t a = v[(0 - i) & 7], b = v[(1 - i) & 7], c = v[(2 - i) & 7], e = v[(4 - i) & 7];
	uint32_t f = v[(5 - i) & 7], g = v[(6 - i) & 7], *d = &v[(3 - i) & 7], *h = &v[(7 - i) & 7];
	uint32_t t = *h + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + (g ^ (e & (f ^ g))) + kw;

	*d += t;
	*h = t + (right(a, 2) ^ right(a, 13) ^ right(a, 22)) + ((a & b) | (c & (a | b)));
}

static void blocks256(uint32_t h[8], const unsigned char *p, size_t count)
{
	uint32_t w[64] = {0}, v[8];

	for (; count > 0; count--, p += SHA_BLOCK) {
		schedule256(w, p);
		memcpy(v, h, sizeof(v));
		for (unsigned i = 0; i < 64; i += 8) {
#pragma GCC unroll 8
			for (unsigned j = 0; j < 8; j++)
				round256(v, j, k256[i + j] + w[i + j]);
		}
		for (size_t i = 0; i < 8; i++)
			h[i] += v[i];
	}
	mem_wipe(w, sizeof(w));
	mem_wipe(v, sizeof(v));
}

/* --- SHA-256, by the processor -----------------------------------------------------------------
 */
static bool has_instructions, is_portable;

#if defined(__x86_64__)
static void look_for_instructions(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3))
		return;
	has_instructions = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29));
}

/* The halves of the state as the instructions want them: a b e f, and c d g h. */
__attribute__((target("sha,sse4.1,ssse3"))) static void fast256(
    uint32_t h[8], const unsigned char *p, size_t count)
{
	const __m128i order = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)h), 0xb1);
	__m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(h + 4)), 0x1b);
	__m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
	__m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
	__m128i feba, dchg;

	for (; count > 0; count--, p += SHA_BLOCK) {
		__m128i m[4], w, abef_was = abef, cdgh_was = cdgh;

		for (size_t i = 0; i < 4; i++)
			m[i] =
			    _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p + 16 * i)), order);
#pragma GCC unroll 16
		for (size_t i = 0; i < 16; i++) {
			w = _mm_add_epi32(
			    m[i & 3], _mm_loadu_si128((const __m128i *)(k256 + 4 * i)));
			cdgh = _mm_sha256rnds2_epu32(cdgh, abef, w);
			abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(w, 0x0e));
			if (i >= 12)
				continue;
			w = _mm_sha256msg1_epu32(m[i & 3], m[(i + 1) & 3]);
			w = _mm_add_epi32(w, _mm_alignr_epi8(m[(i + 3) & 3], m[(i + 2) & 3], 4));
			m[i & 3] = _mm_sha256msg2_epu32(w, m[(i + 3) & 3]);
		}
		abef = _mm_add_epi32(abef, abef_was);
		cdgh = _mm_add_epi32(cdgh, cdgh_was);
	}
	feba = _mm_shuffle_epi32(abef, 0x1b);
	dchg = _mm_shuffle_epi32(cdgh, 0xb1);
	_mm_storeu_si128((__m128i *)h, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128((__m128i *)(h + 4), _mm_alignr_epi8(dchg, feba, 8));
}
#else
static void look_for_instructions(void)
{
}

static void fast256(uint32_t h[8], const unsigned char *p, size_t count)
{
	blocks256(h, p, count);
}
#endif

void sha_be_portable(bool on)
{
	is_portable = on;
}

/* --- SHA-1: for one-time passwords only --------------------------------------------------------
 */
static void round1(uint32_t v[5], uint32_t f, uint32_t k, uint32_t w)
{
	uint32_t t = left(v[0], 5) + f + v[4] + k + w;

	v[4] = v[3];
	v[3] = v[2];
	v[2] = left(v[1], 30);
	v[1] = v[0];
	v[0] = t;
}

static void blocks1(uint32_t h[5], const unsigned char *p, size_t count)
{
	uint32_t w[80], v[5];

	for (; count > 0; count--, p += SHA_BLOCK) {
		for (size_t i = 0; i < 80; i++)
			w[i] = i < 16 ? be_get32(p + 4 * i)
				      : left(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
		memcpy(v, h, sizeof(v));
		for (size_t i = 0; i < 80; i++) {
			uint32_t b = v[1], c = v[2], d = v[3];

			if (i < 20)
				round1(v, (b & c) | (~b & d), 0x5a827999, w[i]);
			else if (i < 40)
				round1(v, b ^ c ^ d, 0x6ed9eba1, w[i]);
			else if (i < 60)
				round1(v, (b & c) | (b & d) | (c & d), 0x8f1bbcdc, w[i]);
			else
				round1(v, b ^ c ^ d, 0xca62c1d6, w[i]);
		}
		for (size_t i = 0; i < 5; i++)
			h[i] += v[i];
	}
	mem_wipe(w, sizeof(w));
	mem_wipe(v, sizeof(v));
}

/* --- both --------------------------------------------------------------------------------------
 */
static void add_blocks(struct sha_state *s, const unsigned char *p, size_t count)
{
	if (s->is_sha1)
		blocks1(s->h, p, count);
	else if (has_instructions && !is_portable)
		fast256(s->h, p, count);
	else
		blocks256(s->h, p, count);
}

void sha_begin(struct sha_state *s, bool is_sha1)
{
	static const uint32_t first[2][8] = {
	    {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
		0x5be0cd19},
	    {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0},
	};
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, look_for_instructions);
	s->is_sha1 = is_sha1;
	memcpy(s->h, first[is_sha1], sizeof(s->h));
	s->bytes = 0;
}

void sha_add(struct sha_state *s, struct span data)
{
	const unsigned char *p = (const unsigned char *)data.p;
	size_t n = data.n, held = s->bytes % SHA_BLOCK, room = SHA_BLOCK - held;

	s->bytes += n;
	if (held > 0 && n >= room) {
		memcpy(s->block + held, p, room);
		add_blocks(s, s->block, 1);
		p += room;
		n -= room;
		held = 0;
	}
	if (n >= SHA_BLOCK) {
		add_blocks(s, p, n / SHA_BLOCK);
		p += n / SHA_BLOCK * SHA_BLOCK;
		n %= SHA_BLOCK;
	}
	if (n > 0)
		memcpy(s->block + held, p, n);
}

void sha_end(struct sha_state *s, unsigned char *out)
{
	uint64_t bits = s->bytes * 8;
	size_t held = s->bytes % SHA_BLOCK;

	s->block[held++] = 0x80;
	if (held > SHA_BLOCK - 8) {
		memset(s->block + held, 0, SHA_BLOCK - held);
		add_blocks(s, s->block, 1);
		held = 0;
	}
	memset(s->block + held, 0, SHA_BLOCK - 8 - held);
	be_put64(s->block + SHA_BLOCK - 8, bits);
	add_blocks(s, s->block, 1);
	for (size_t i = 0; i < (s->is_sha1 ? 5 : 8); i++)
		be_put32(out + 4 * i, s->h[i]);
	mem_wipe(s, sizeof(*s));
}
