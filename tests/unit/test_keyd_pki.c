/* What an administrator hands in: every form is understood, the chain is put in order, and whatever
 * the bytes are, it ends soon, within bounds and without a leak. */
#include "common/keyd/pki.h"
#include "common/keyd/shelf.h"
#include "tests/support/ca.h"
#include "tests/support/unit.h"

#include <openssl/err.h>
#include <openssl/provider.h>

#define PASSWORD "pass word"

static struct ca_cert root, middle, leaf, other;
static X509 *any_order[3];

static void make_all(void)
{
	root = ca_make(&(struct ca_want){.name = "Test Root", .is_ca = true}, NULL);
	middle = ca_make(&(struct ca_want){.name = "Test Intermediate", .is_ca = true}, &root);
	leaf = ca_make(&(struct ca_want){.name = "mail.example.test"}, &middle);
	other = ca_make(&(struct ca_want){.name = "other.example.test"}, &middle);
	any_order[0] = root.cert;
	any_order[1] = leaf.cert;
	any_order[2] = middle.cert;
}

static void free_all(void)
{
	ca_free(&root);
	ca_free(&middle);
	ca_free(&leaf);
	ca_free(&other);
}

/* Parses and assembles; the result's chain must be the leaf and the intermediate. */
static void expect_chain(struct span input, struct span password)
{
	struct pki_input in;
	struct pki_bundle b;
	struct err err = ERR_INIT;
	size_t left_out;

	ck_assert_msg(pki_parse(input, password, &in, &err) == 0, "%s", err.text);
	ck_assert_msg(pki_assemble(&in, NULL, &b, &left_out, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(b.count, 2);
	ck_assert_int_eq(X509_cmp(b.chain[0], leaf.cert), 0);
	ck_assert_int_eq(X509_cmp(b.chain[1], middle.cert), 0);
	ck_assert_int_eq(EVP_PKEY_eq(b.key, leaf.key), 1);
	ck_assert_uint_eq(left_out, 0);
	pki_bundle_clear(&b);
	pki_input_clear(&in);
}

static void expect_refused(
    struct span input, struct span password, enum err_code code, const char *why)
{
	struct pki_input in;
	struct pki_bundle b = {0};
	struct err err = ERR_INIT;
	size_t left_out;
	int result = pki_parse(input, password, &in, &err);

	if (result == 0)
		result = pki_assemble(&in, NULL, &b, &left_out, &err);
	ck_assert_int_lt(result, 0);
	ck_assert_msg(strstr(err.text, why) != NULL, "%s, expected %s", err.text, why);
	ck_assert_msg(err.code == code, "%s: %s", err_code_name(err.code), err.text);
	ck_assert_uint_eq(ERR_peek_error(), 0);
	pki_bundle_clear(&b);
	pki_input_clear(&in);
}

/* --- forms ------------------------------------------------------------------------------------ */
static void add_pem(struct strbuf *out, const char *password)
{
	strbuf_add_str(out, "Bag Attributes\n    friendlyName: mail\n");
	for (size_t i = 0; i < 3; i++)
		ca_add_cert(out, any_order[i], false);
	strbuf_add_str(out, "some text\r\n");
	ca_add_key(out, leaf.key, password);
}

static void add_der(struct strbuf *out)
{
	BIO *bio = BIO_new(BIO_s_mem());

	for (size_t i = 0; i < 3; i++)
		ca_add_cert(out, any_order[i], true);
	ck_assert_int_eq(i2d_PKCS8PrivateKey_bio(bio, leaf.key, NULL, NULL, 0, NULL, NULL), 1);
	ca_take(bio, out);
}

START_TEST(every_form)
{
	X509 *rest[] = {root.cert, middle.cert};
	struct strbuf b;

	strbuf_init(&b, PKI_INPUT_MAX);
	add_pem(&b, NULL);
	expect_chain(strbuf_span(&b), SPAN(""));
	strbuf_reset(&b);
	add_pem(&b, PASSWORD);
	expect_chain(strbuf_span(&b), SPAN(PASSWORD));
	strbuf_reset(&b);
	add_der(&b);
	expect_chain(strbuf_span(&b), SPAN(""));
	strbuf_reset(&b);
	ca_add_pkcs12(&b, &leaf, rest, 2, PASSWORD, 0, 2048);
	expect_chain(strbuf_span(&b), SPAN(PASSWORD));
	strbuf_reset(&b);
	ca_add_pkcs12(&b, &leaf, rest, 2, "", NID_pbe_WithSHA1And3_Key_TripleDES_CBC, 1);
	expect_chain(strbuf_span(&b), SPAN(""));
	/* PKCS#7 holds certificates only: the key beside it. */
	for (int is_der = 0; is_der < 2; is_der++) {
		strbuf_reset(&b);
		ca_add_pkcs7(&b, any_order, 3, is_der);
		if (is_der) {
			BIO *bio = BIO_new(BIO_s_mem());

			ck_assert_int_eq(i2d_PrivateKey_bio(bio, leaf.key), 1);
			ca_take(bio, &b);
		} else {
			ca_add_key(&b, leaf.key, NULL);
		}
		expect_chain(strbuf_span(&b), SPAN(""));
	}
	strbuf_clear(&b);
}
END_TEST

/* What Windows and old programs write: RC2 with 40 bits, which OpenSSL 3 keeps apart. */
START_TEST(old_pkcs12)
{
	X509 *rest[] = {middle.cert};
	OSSL_PROVIDER *normal = OSSL_PROVIDER_load(NULL, "default");
	OSSL_PROVIDER *legacy = OSSL_PROVIDER_load(NULL, "legacy");
	struct strbuf b;

	strbuf_init(&b, PKI_INPUT_MAX);
	if (legacy) {
		ca_add_pkcs12(&b, &leaf, rest, 1, PASSWORD, NID_pbe_WithSHA1And40BitRC2_CBC, 2000);
		expect_chain(strbuf_span(&b), SPAN(PASSWORD));
		OSSL_PROVIDER_unload(legacy);
	}
	OSSL_PROVIDER_unload(normal);
	strbuf_clear(&b);
}
END_TEST

START_TEST(refused_with_reason)
{
	struct strbuf b;

	strbuf_init(&b, PKI_INPUT_MAX + 10);
	expect_refused(SPAN(""), SPAN(""), ERR_INVALID, "empty");
	expect_refused(SPAN("hello"), SPAN(""), ERR_INVALID, "neither a certificate nor");
	expect_refused(SPAN("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
	    SPAN(""), ERR_INVALID, "unreadable certificate");
	expect_refused(
	    SPAN("-----BEGIN CERTIFICATE-----\n!!"), SPAN(""), ERR_INVALID, "broken PEM");
	ca_add_cert(&b, leaf.cert, false);
	expect_refused(strbuf_span(&b), SPAN(""), ERR_INVALID, "no private key");
	ca_add_key(&b, other.key, NULL);
	expect_refused(strbuf_span(&b), SPAN(""), ERR_INVALID, "not the key of the certificate");
	strbuf_reset(&b);
	ca_add_key(&b, leaf.key, NULL);
	expect_refused(strbuf_span(&b), SPAN(""), ERR_INVALID, "no certificate");
	strbuf_reset(&b);
	add_pem(&b, PASSWORD);
	expect_refused(strbuf_span(&b), SPAN(""), ERR_DENIED, "password is needed");
	expect_refused(strbuf_span(&b), SPAN("wrong"), ERR_DENIED, "does not open");
	strbuf_reset(&b);
	ca_add_pkcs12(&b, &leaf, NULL, 0, PASSWORD, 0, 1);
	expect_refused(strbuf_span(&b), SPAN(""), ERR_DENIED, "password is needed");
	expect_refused(strbuf_span(&b), SPAN("wrong"), ERR_DENIED, "does not open");
	strbuf_reset(&b);
	while (b.n <= PKI_INPUT_MAX)
		strbuf_add_chr(&b, 'x');
	expect_refused(strbuf_span(&b), SPAN(""), ERR_LIMIT, "at most");
	strbuf_clear(&b);
}
END_TEST

START_TEST(too_many)
{
	struct strbuf b;

	strbuf_init(&b, PKI_INPUT_MAX);
	for (int i = 0; i <= PKI_CERTS_MAX; i++)
		ca_add_cert(&b, leaf.cert, false);
	expect_refused(strbuf_span(&b), SPAN(""), ERR_LIMIT, "more than 32 certificates");
	strbuf_reset(&b);
	for (int i = 0; i <= PKI_KEYS_MAX; i++)
		ca_add_key(&b, leaf.key, NULL);
	expect_refused(strbuf_span(&b), SPAN(""), ERR_LIMIT, "more than 4 private keys");
	strbuf_clear(&b);
}
END_TEST

/* Keys that nothing could use, or that would make each signature last. */
START_TEST(odd_keys)
{
	static const char *const curves[] = {"secp256k1", "P-224"};
	EVP_PKEY *small = EVP_RSA_gen(1024);
	struct strbuf b;

	strbuf_init(&b, PKI_INPUT_MAX);
	ca_add_key(&b, small, NULL);
	expect_refused(strbuf_span(&b), SPAN(""), ERR_UNSUPPORTED, "1024 bits");
	EVP_PKEY_free(small);
	for (size_t i = 0; i < ARRAY_LEN(curves); i++) {
		EVP_PKEY *key = EVP_EC_gen(curves[i]);

		strbuf_reset(&b);
		ca_add_key(&b, key, NULL);
		expect_refused(strbuf_span(&b), SPAN(""), ERR_UNSUPPORTED, "curve");
		EVP_PKEY_free(key);
	}
	strbuf_clear(&b);
}
END_TEST

/* Changes every INTEGER of this value to the other, of the same length. */
static unsigned change_integer(struct strbuf *b, struct span from, struct span to)
{
	unsigned count = 0;

	for (size_t i = 0; i + from.n <= b->n; i++) {
		if (memcmp(b->p + i, from.p, from.n) != 0)
			continue;
		memcpy(b->p + i, to.p, to.n);
		count++;
	}
	return count;
}

/* 8,388,607 iterations in the mac's, or only in a key's derivation: nobody waits for that. */
START_TEST(endless_derivations)
{
	struct strbuf b;

	strbuf_init(&b, PKI_INPUT_MAX);
	ca_add_pkcs12(&b, &leaf, NULL, 0, PASSWORD, 0, 65537);
	ck_assert_uint_ge(
	    change_integer(&b, SPAN("\x02\x03\x01\x00\x01"), SPAN("\x02\x03\x7f\xff\xff")), 1);
	expect_refused(strbuf_span(&b), SPAN(PASSWORD), ERR_LIMIT, "takes too long");
	strbuf_clear(&b);
}
END_TEST

START_TEST(endless_derivation_of_a_key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	unsigned char salt[16] = {1};
	X509_ALGOR *pbe = PKCS5_pbe2_set_iv(EVP_aes_128_cbc(), 65537, salt, sizeof(salt), NULL, -1);
	PKCS8_PRIV_KEY_INFO *p8 = EVP_PKEY2PKCS8(leaf.key);
	X509_SIG *sig = PKCS8_set0_pbe(PASSWORD, (int)strlen(PASSWORD), p8, pbe);
	struct strbuf b;

	ck_assert_ptr_nonnull(sig);
	strbuf_init(&b, PKI_INPUT_MAX);
	ck_assert_int_eq(i2d_PKCS8_bio(bio, sig), 1);
	ca_take(bio, &b);
	ck_assert_uint_eq(
	    change_integer(&b, SPAN("\x02\x03\x01\x00\x01"), SPAN("\x02\x03\x7f\xff\xff")), 1);
	expect_refused(strbuf_span(&b), SPAN(PASSWORD), ERR_LIMIT, "takes too long");
	X509_SIG_free(sig);
	PKCS8_PRIV_KEY_INFO_free(p8);
	strbuf_clear(&b);
}
END_TEST

/* --- mutations -------------------------------------------------------------------------------- */
static uint32_t random_state = 12345;

static uint32_t next_random(void)
{
	random_state = random_state * 1664525 + 1013904223;
	return random_state >> 8;
}

static void mutate(struct strbuf *b)
{
	static const unsigned char bytes[] = {0, 1, 0x30, 0x7f, 0x80, 0x84, 0xff, '-', '\n', '='};
	unsigned changes = 1 + next_random() % 4;

	for (unsigned i = 0; i < changes && b->n > 1; i++) {
		size_t at = next_random() % b->n;

		switch (next_random() % 6) {
		case 0:
			strbuf_truncate(b, at > 0 ? at : 1);
			break;
		case 1:
			b->p[at] = (char)(b->p[at] ^ (1 << next_random() % 8));
			break;
		case 2:
			memmove(b->p + at, b->p + at + 1, b->n - at - 1);
			strbuf_truncate(b, b->n - 1);
			break;
		default:
			b->p[at] = (char)bytes[next_random() % ARRAY_LEN(bytes)];
			break;
		}
	}
}

/* Parsed or refused; a good one is a bundle that can be written and read back. */
static void try_mutant(struct span input)
{
	struct pki_input in;
	struct pki_bundle b, again;
	struct err err = ERR_INIT;
	struct strbuf text;
	size_t left_out;

	if (pki_parse(input, SPAN(PASSWORD), &in, &err) == 0 &&
	    pki_assemble(&in, NULL, &b, &left_out, &err) == 0) {
		shelf_buf_init(&text);
		ck_assert_msg(pki_bundle_write(&b, &text, &err) == 0, "%s", err.text);
		ck_assert_msg(
		    pki_bundle_read(strbuf_span(&text), &again, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(again.count, b.count);
		pki_bundle_clear(&again);
		shelf_buf_clear(&text);
		pki_bundle_clear(&b);
	} else {
		ck_assert_int_ne(err.code, ERR_NONE);
	}
	pki_input_clear(&in);
	ck_assert_uint_eq(ERR_peek_error(), 0);
}

START_TEST(mutants)
{
	X509 *rest[] = {root.cert, middle.cert};
	struct strbuf seed, one;

	strbuf_init(&seed, PKI_INPUT_MAX);
	strbuf_init(&one, PKI_INPUT_MAX);
	switch (_i) {
	case 0:
		add_pem(&seed, NULL);
		break;
	case 1:
		add_der(&seed);
		break;
	case 2:
		ca_add_pkcs12(&seed, &leaf, rest, 2, PASSWORD, 0, 1);
		break;
	case 3:
		ca_add_pkcs7(&seed, any_order, 3, true);
		break;
	default:
		add_pem(&seed, PASSWORD);
		break;
	}
	for (int i = 0; i < 1000; i++) {
		struct span in;

		strbuf_reset(&one);
		strbuf_add(&one, strbuf_span(&seed));
		mutate(&one);
		in = exact(one.p, one.n);
		try_mutant(in);
		exact_free(in);
	}
	strbuf_clear(&seed);
	strbuf_clear(&one);
}
END_TEST

/* --- making ----------------------------------------------------------------------------------- */
START_TEST(self_signed)
{
	static const char *const kinds[] = {"ecdsa", "rsa2048"};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct pki_subject s = {.cn = SPAN("mail.example.test"),
		    .names = {SPAN("mail.example.test"), SPAN("*.example.test"), SPAN("192.0.2.1"),
			SPAN("2001:db8::1")},
		    .name_count = 4};
		struct err err = ERR_INIT;
		EVP_PKEY *key = pki_key_new(span_of(kinds[i]), &err);
		struct pki_bundle b;
		struct pki_names names;

		ck_assert_msg(pki_self_sign(key, &s, 90, CA_NOW, &b, &err) == 0, "%s", err.text);
		ck_assert(pki_key_matches(b.chain[0], b.key));
		ck_assert(pki_is_self_signed(b.chain[0]));
		ck_assert_int_eq(X509_verify(b.chain[0], key), 1);
		ck_assert_int_eq(pki_time(X509_get0_notAfter(b.chain[0])), CA_NOW + 90 * CA_DAY);
		ck_assert_int_lt(pki_time(X509_get0_notBefore(b.chain[0])), CA_NOW);
		pki_names_of(b.chain[0], &names);
		ck_assert_uint_eq(names.count, 4);
		ck_assert_str_eq(names.list[3], "2001:db8::1");
		ck_assert(pki_names_match(&names, SPAN("MAIL.example.test")));
		ck_assert(pki_names_match(&names, SPAN("imap.example.test")));
		ck_assert(!pki_names_match(&names, SPAN("a.b.example.test")));
		ck_assert(!pki_names_match(&names, SPAN("example.test")));
		pki_names_clear(&names);
		pki_bundle_clear(&b);
		EVP_PKEY_free(key);
	}
}
END_TEST

START_TEST(requests)
{
	struct pki_subject s = {.cn = SPAN("mail.example.test"),
	    .o = SPAN("B\xc3\xbc"
		      "cher"),
	    .ou = SPAN("Mail"),
	    .l = SPAN("Bern"),
	    .st = SPAN("BE"),
	    .c = SPAN("CH"),
	    .names = {SPAN("mail.example.test"), SPAN("smtp.example.test")},
	    .name_count = 2};
	struct err err = ERR_INIT;
	EVP_PKEY *key = pki_key_new(SPAN("ecdsa"), &err);
	struct pki_bundle b, again;
	struct strbuf text;
	BIO *bio = BIO_new(BIO_s_mem());
	char name[200] = "";

	ck_assert_msg(pki_make_request(key, &s, &b, &err) == 0, "%s", err.text);
	ck_assert_int_eq(X509_REQ_verify(b.request, key), 1);
	ck_assert_int_ge(X509_NAME_print_ex(bio, X509_REQ_get_subject_name(b.request), 0,
			     XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB),
	    0);
	ck_assert_int_gt(BIO_read(bio, name, sizeof(name) - 1), 0);
	ck_assert_str_eq(name, "CN=mail.example.test,OU=Mail,O=B\xc3\xbc"
			       "cher,L=Bern,ST=BE,C=CH");
	BIO_free(bio);
	shelf_buf_init(&text);
	ck_assert(pki_bundle_write(&b, &text, &err) == 0);
	ck_assert(pki_bundle_read(strbuf_span(&text), &again, &err) == 0);
	ck_assert(again.request && again.count == 0);
	ck_assert_int_eq(EVP_PKEY_eq(again.key, key), 1);
	pki_bundle_clear(&again);
	shelf_buf_clear(&text);
	pki_bundle_clear(&b);
	s.c = SPAN("CHE");
	ck_assert_int_lt(pki_make_request(key, &s, &b, &err), 0);
	EVP_PKEY_free(key);
}
END_TEST

START_TEST(names_that_are_none)
{
	static const char *const bad[] = {"", " ", "a b", "-a", "a-", "a..b", ".a", "a.", "*",
	    "a.*.b", "*.", "a\nb", "b\xc3\xbc", "a/b", "::g", "a_b"};
	static const char *const good[] = {
	    "a", "a.b", "*.a.b", "xn--bcher-kva.test", "192.0.2.1", "::1", "2001:db8::1"};
	char longest[260];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(!pki_name_is_good(span_of(bad[i])), "%s", bad[i]);
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		ck_assert_msg(pki_name_is_good(span_of(good[i])), "%s", good[i]);
	memset(longest, 'a', sizeof(longest));
	for (size_t i = 50; i < sizeof(longest); i += 50)
		longest[i] = '.';
	ck_assert(pki_name_is_good(span_make(longest, 253)));
	ck_assert(!pki_name_is_good(span_make(longest, 254)));
	ck_assert(
	    !pki_name_is_good(span_make("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
					"aaaaaaaaaaa",
		64)));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {every_form, old_pkcs12, refused_with_reason, too_many,
	    odd_keys, endless_derivations, endless_derivation_of_a_key, self_signed, requests,
	    names_that_are_none};
	TCase *tc = tcase_create("pki");

	tcase_set_timeout(tc, 200);
	tcase_add_unchecked_fixture(tc, make_all, free_all);
	unit_add(tc, tests, ARRAY_LEN(tests));
	tcase_add_loop_test(tc, mutants, 0, 5);
	return unit_finish(tc);
}
