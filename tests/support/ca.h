/* A small certificate authority for tests: root, intermediate, leaves, made in memory. */
#ifndef MS_TESTS_CA_H
#define MS_TESTS_CA_H

#include "common/base/mem.h"
#include "common/base/strbuf.h"

#include <check.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/pkcs7.h>
#include <openssl/x509v3.h>

#define CA_NOW 1800000000 /* 2027-01-15: the time of all tests */
#define CA_DAY 86400

struct ca_cert {
	EVP_PKEY *key;
	X509 *cert;
};

struct ca_want {
	const char *name;  /* CN, and DNS name unless is_ca or without_san */
	const char *names; /* instead: "DNS:a,DNS:b" */
	bool is_ca, without_san;
	int64_t from, until; /* 0: a day ago, in 90 days */
	EVP_PKEY *key;       /* NULL: ECDSA P-256 */
	const EVP_MD *md;    /* NULL: SHA-256 */
};

static inline void ca_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ck_assert_ptr_nonnull(ext);
	ck_assert_int_eq(X509_add_ext(cert, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

/* issuer NULL: self-signed. */
static inline struct ca_cert ca_make(const struct ca_want *w, const struct ca_cert *issuer)
{
	static long serial = 1000;
	struct ca_cert c = {.key = w->key, .cert = X509_new()};
	X509_NAME *name = X509_get_subject_name(c.cert);
	char san[300];

	if (c.key)
		EVP_PKEY_up_ref(c.key);
	else
		c.key = EVP_EC_gen("P-256");
	ck_assert_ptr_nonnull(c.key);
	X509_set_version(c.cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(c.cert), ++serial);
	ASN1_TIME_set(X509_getm_notBefore(c.cert), w->from ? w->from : CA_NOW - CA_DAY);
	ASN1_TIME_set(X509_getm_notAfter(c.cert), w->until ? w->until : CA_NOW + 90 * CA_DAY);
	X509_NAME_add_entry_by_txt(
	    name, "CN", MBSTRING_UTF8, (const unsigned char *)w->name, -1, -1, 0);
	X509_set_issuer_name(c.cert, issuer ? X509_get_subject_name(issuer->cert) : name);
	X509_set_pubkey(c.cert, c.key);
	ca_extension(c.cert, c.cert, NID_basic_constraints,
	    w->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	ca_extension(c.cert, c.cert, NID_key_usage,
	    w->is_ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
	if (!w->is_ca && !w->without_san) {
		snprintf(san, sizeof(san), "DNS:%s", w->name);
		ca_extension(c.cert, c.cert, NID_subject_alt_name, w->names ? w->names : san);
	}
	ck_assert_int_gt(
	    X509_sign(c.cert, issuer ? issuer->key : c.key, w->md ? w->md : EVP_sha256()), 0);
	return c;
}

static inline void ca_free(struct ca_cert *c)
{
	EVP_PKEY_free(c->key);
	X509_free(c->cert);
	*c = (struct ca_cert){0};
}

static inline void ca_take(BIO *bio, struct strbuf *out)
{
	char *p;
	long n = BIO_get_mem_data(bio, &p);

	ck_assert_int_gt(n, 0);
	ck_assert(strbuf_add_mem(out, p, (size_t)n));
	BIO_free(bio);
}

static inline void ca_add_cert(struct strbuf *out, X509 *cert, bool is_der)
{
	BIO *bio = BIO_new(BIO_s_mem());

	ck_assert_int_eq(is_der ? i2d_X509_bio(bio, cert) : PEM_write_bio_X509(bio, cert), 1);
	ca_take(bio, out);
}

/* password NULL: in the clear. */
static inline void ca_add_key(struct strbuf *out, EVP_PKEY *key, const char *password)
{
	BIO *bio = BIO_new(BIO_s_mem());

	ck_assert_int_eq(
	    PEM_write_bio_PKCS8PrivateKey(bio, key, password ? EVP_aes_128_cbc() : NULL, password,
		password ? (int)strlen(password) : 0, NULL, NULL),
	    1);
	ca_take(bio, out);
}

/* nid: of the encryption of keys and certificates; 0 is AES. */
static inline void ca_add_pkcs12(struct strbuf *out, const struct ca_cert *leaf, X509 **rest,
    size_t count, const char *password, int nid, int iterations)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	BIO *bio = BIO_new(BIO_s_mem());
	PKCS12 *p12;

	for (size_t i = 0; i < count; i++)
		sk_X509_push(chain, rest[i]);
	p12 = PKCS12_create(
	    password, "name", leaf->key, leaf->cert, chain, nid, nid, iterations, iterations, 0);
	ck_assert_ptr_nonnull(p12);
	ck_assert_int_eq(i2d_PKCS12_bio(bio, p12), 1);
	ca_take(bio, out);
	PKCS12_free(p12);
	sk_X509_free(chain);
}

static inline void ca_add_pkcs7(struct strbuf *out, X509 **certs, size_t count, bool is_der)
{
	PKCS7 *p7 = PKCS7_new();
	BIO *bio = BIO_new(BIO_s_mem());

	ck_assert_int_eq(PKCS7_set_type(p7, NID_pkcs7_signed), 1);
	ck_assert_int_eq(PKCS7_content_new(p7, NID_pkcs7_data), 1);
	for (size_t i = 0; i < count; i++)
		ck_assert_int_eq(PKCS7_add_certificate(p7, certs[i]), 1);
	ck_assert_int_eq(is_der ? i2d_PKCS7_bio(bio, p7) : PEM_write_bio_PKCS7(bio, p7), 1);
	ca_take(bio, out);
	PKCS7_free(p7);
}

#endif
