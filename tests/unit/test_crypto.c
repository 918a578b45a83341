/* Hashes against published vectors, hex over everything, random numbers for what can be seen. */
#include "common/crypto/crypto.h"
#include "common/crypto/sha.h"
#include "tests/support/unit.h"

#include <openssl/evp.h>

static void expect_hex(const unsigned char digest[SHA256_LEN], const char *want)
{
	char text[2 * SHA256_LEN + 1];

	hex_encode(text, span_make(digest, SHA256_LEN));
	ck_assert_str_eq(text, want);
}

START_TEST(sha256_vectors)
{
	unsigned char digest[SHA256_LEN];

	sha256_once(span_make(NULL, 0), digest);
	expect_hex(digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	sha256_once(SPAN("abc"), digest);
	expect_hex(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	sha256_once(SPAN("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), digest);
	expect_hex(digest, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}
END_TEST

/* The running hash, at every split. */
START_TEST(sha256_in_pieces)
{
	char text[200];
	unsigned char whole[SHA256_LEN], parts[SHA256_LEN];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 7);
	sha256_once(span_make(text, sizeof(text)), whole);
	for (size_t at = 0; at <= sizeof(text); at++) {
		struct span first = exact(text, at), second = exact(text + at, sizeof(text) - at);
		struct sha256 *h = sha256_new();

		sha256_update(h, first);
		sha256_update(h, second);
		sha256_final(h, parts);
		ck_assert_mem_eq(whole, parts, SHA256_LEN);
		exact_free(first);
		exact_free(second);
	}
	sha256_abort(sha256_new());
	sha256_abort(NULL);
}
END_TEST

/* As OpenSSL does it: every length around a block, and a long one in odd pieces; SHA-256 (_i 0) and
 * SHA-1 (1). */
START_TEST(as_the_library)
{
	static char text[100000];
	const EVP_MD *md = _i == 1 ? EVP_sha1() : EVP_sha256();
	unsigned char want[EVP_MAX_MD_SIZE], got[SHA256_LEN];
	size_t n = _i == 1 ? SHA1_LEN : SHA256_LEN, piece = 1;
	struct sha_state s;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 31 + i / 251);
	for (size_t length = 0; length < 400; length++) {
		struct span in = exact(text, length);

		ck_assert_int_eq(EVP_Digest(in.p, length, want, NULL, md, NULL), 1);
		sha_begin(&s, _i == 1);
		sha_add(&s, in);
		sha_end(&s, got);
		ck_assert_msg(memcmp(want, got, n) == 0, "%zu bytes", length);
		exact_free(in);
	}
	ck_assert_int_eq(EVP_Digest(text, sizeof(text), want, NULL, md, NULL), 1);
	sha_begin(&s, _i == 1);
	for (size_t at = 0; at < sizeof(text); at += piece, piece = piece * 3 % 1009 + 1)
		sha_add(&s, span_sub(span_make(text, sizeof(text)), at, piece));
	sha_end(&s, got);
	ck_assert_mem_eq(want, got, n);
}
END_TEST

/* RFC 2202, cases 1, 2 and 6. */
START_TEST(hmac_sha1_vectors)
{
	unsigned char digest[SHA1_LEN];
	char text[2 * SHA1_LEN + 1], key[80];

	memset(key, 0x0b, 20);
	hmac_sha1(span_make(key, 20), SPAN("Hi There"), digest);
	hex_encode(text, span_make((const char *)digest, SHA1_LEN));
	ck_assert_str_eq(text, "b617318655057264e28bc0b6fb378c8ef146be00");
	hmac_sha1(SPAN("Jefe"), SPAN("what do ya want for nothing?"), digest);
	hex_encode(text, span_make((const char *)digest, SHA1_LEN));
	ck_assert_str_eq(text, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
	memset(key, 0xaa, sizeof(key));
	hmac_sha1(span_make(key, sizeof(key)),
	    SPAN("Test Using Larger Than Block-Size Key - Hash Key First"), digest);
	hex_encode(text, span_make((const char *)digest, SHA1_LEN));
	ck_assert_str_eq(text, "aa4ae5e15272d00e95705637ce8a3b55ed402112");
}
END_TEST

/* RFC 4231, cases 1, 2 and 6 (a key longer than a block). */
START_TEST(hmac_vectors)
{
	unsigned char digest[SHA256_LEN];
	char key[131];

	memset(key, 0x0b, 20);
	hmac_sha256(span_make(key, 20), SPAN("Hi There"), digest);
	expect_hex(digest, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	hmac_sha256(SPAN("Jefe"), SPAN("what do ya want for nothing?"), digest);
	expect_hex(digest, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof(key));
	hmac_sha256(span_make(key, sizeof(key)),
	    SPAN("Test Using Larger Than Block-Size Key - Hash Key First"), digest);
	expect_hex(digest, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	hmac_sha256(span_make(NULL, 0), span_make(NULL, 0), digest);
	expect_hex(digest, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}
END_TEST

START_TEST(hex_every_length)
{
	unsigned char raw[256], back[256];

	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = (unsigned char)i;
	for (size_t n = 0; n <= sizeof(raw); n++) {
		struct span in = exact(raw, n), text;
		char *out = malloc(2 * n + 1);
		size_t got = 99;

		hex_encode(out, in);
		ck_assert_uint_eq(strlen(out), 2 * n);
		text = exact(out, 2 * n);
		ck_assert(hex_decode(back, n, text, &got) && got == n);
		ck_assert(n == 0 || memcmp(back, raw, n) == 0);
		ck_assert(n == 0 || !hex_decode(back, n - 1, text, &got));
		ck_assert(n == 0 || !hex_decode(back, n, span_sub(text, 0, 2 * n - 1), &got));
		exact_free(in);
		exact_free(text);
		free(out);
	}
}
END_TEST

START_TEST(hex_is_strict)
{
	unsigned char out[1];
	size_t n;

	for (int c = 0; c < 256; c++) {
		char high[2] = {(char)c, '0'}, low[2] = {'0', (char)c};
		bool is_digit =
		    (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');

		ck_assert_int_eq(hex_decode(out, 1, span_make(high, 2), &n), is_digit);
		ck_assert_int_eq(hex_decode(out, 1, span_make(low, 2), &n), is_digit);
	}
}
END_TEST

START_TEST(random_numbers)
{
	unsigned counts[7] = {0};
	char a[129], b[129];

	for (int i = 0; i < 7000; i++)
		counts[random_below(7)]++;
	for (int i = 0; i < 7; i++) /* 15 standard deviations */
		ck_assert(counts[i] > 560 && counts[i] < 1440);
	ck_assert_uint_eq(random_below(1), 0);
	ck_assert_uint_ne(random_u64(), random_u64());
	for (size_t n = 0; n <= 64; n++) {
		random_hex(a, n);
		ck_assert_uint_eq(strlen(a), 2 * n);
		ck_assert_uint_eq(strspn(a, "0123456789abcdef"), 2 * n);
	}
	random_hex(b, 64);
	ck_assert_str_ne(a, b);
}
END_TEST

START_TEST(random_hex_too_long)
{
	char out[131];

	random_hex(out, 65);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {sha256_vectors, sha256_in_pieces, hmac_vectors,
	    hmac_sha1_vectors, hex_every_length, hex_is_strict, random_numbers};
	TCase *tc = tcase_create("crypto");

	unit_add(tc, tests, ARRAY_LEN(tests));
	tcase_add_loop_test(tc, as_the_library, 0, 2);
	tcase_add_exit_test(tc, random_hex_too_long, 70);
	return unit_finish(tc);
}
