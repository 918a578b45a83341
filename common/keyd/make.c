/* Making keys, self-signed certificates and signing requests. */
#include "common/base/mem.h"
#include "common/keyd/pki.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>

#define SERIAL_LEN 16
#define HOUR 3600
#define DAY 86400

EVP_PKEY *pki_key_new(struct span kind, struct err *err)
{
	static const struct {
		const char *name;
		unsigned bits;
	} rsa[] = {{"rsa2048", 2048}, {"rsa3072", 3072}, {"rsa4096", 4096}};
	EVP_PKEY *key = NULL;

	if (span_eq(kind, SPAN("ecdsa")))
		key = EVP_EC_gen("P-256");
	else if (span_eq(kind, SPAN("ed25519")))
		key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	else {
		for (size_t i = 0; i < ARRAY_LEN(rsa) && !key; i++)
			if (span_eq(kind, span_of(rsa[i].name)))
				key = EVP_RSA_gen(rsa[i].bits);
		if (!key && ERR_peek_error() == 0) {
			err_set(err, ERR_INVALID,
			    "found \"%.*s\", expected ecdsa, rsa2048, rsa3072 or rsa4096",
			    kind.n < 40 ? (int)kind.n : 40, kind.p);
			return NULL;
		}
	}
	if (!key)
		pki_fail(err, ERR_IO, "making a key");
	return key;
}

static bool add_part(X509_NAME *name, const char *field, struct span value)
{
	if (value.n == 0)
		return true;
	return value.n < 256 && X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
				    (const unsigned char *)value.p, (int)value.n, -1, 0) == 1;
}

static int fill_name(X509_NAME *name, const struct pki_subject *s, struct err *err)
{
	if (add_part(name, "C", s->c) && add_part(name, "ST", s->st) && add_part(name, "L", s->l) &&
	    add_part(name, "O", s->o) && add_part(name, "OU", s->ou) && add_part(name, "CN", s->cn))
		return 0;
	return pki_fail(err, ERR_INVALID,
	    "the subject: C has two letters, CN and OU at most 64, the others at most 128");
}

/* An address where it is one, else a host name; NULL for no memory. */
static GENERAL_NAME *general_name(struct span text)
{
	char copy[256];
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_OCTET_STRING *ip;
	ASN1_IA5STRING *host;

	if (!name || text.n >= sizeof(copy)) {
		GENERAL_NAME_free(name);
		return NULL;
	}
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	ip = a2i_IPADDRESS(copy);
	ERR_clear_error();
	if (ip) {
		GENERAL_NAME_set0_value(name, GEN_IPADD, ip);
		return name;
	}
	host = ASN1_IA5STRING_new();
	if (!host || ASN1_STRING_set(host, copy, (int)text.n) != 1) {
		ASN1_IA5STRING_free(host);
		GENERAL_NAME_free(name);
		return NULL;
	}
	GENERAL_NAME_set0_value(name, GEN_DNS, host);
	return name;
}

static X509_EXTENSION *alternative_names(const struct pki_subject *s)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	X509_EXTENSION *ext = NULL;
	bool is_good = names != NULL;

	for (size_t i = 0; is_good && i < s->name_count; i++) {
		GENERAL_NAME *name = general_name(s->names[i]);

		is_good = name && sk_GENERAL_NAME_push(names, name) > 0;
		if (!is_good)
			GENERAL_NAME_free(name);
	}
	if (is_good)
		ext = X509V3_EXT_i2d(NID_subject_alt_name, 0, names);
	GENERAL_NAMES_free(names);
	return ext;
}

static bool add_text_extension(X509 *cert, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	bool result;

	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	result = ext && X509_add_ext(cert, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return result;
}

static bool add_alternative_names(X509 *cert, const struct pki_subject *s)
{
	X509_EXTENSION *ext = alternative_names(s);
	bool result = ext && X509_add_ext(cert, ext, -1) == 1;

	X509_EXTENSION_free(ext);
	return result;
}

static bool set_serial(X509 *cert)
{
	unsigned char raw[SERIAL_LEN];
	BIGNUM *n;
	bool result;

	if (RAND_bytes(raw, sizeof(raw)) != 1)
		return false;
	raw[0] &= 0x7f;
	n = BN_bin2bn(raw, sizeof(raw), NULL);
	result = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
	BN_free(n);
	return result;
}

static bool fill_cert(
    X509 *cert, EVP_PKEY *key, const struct pki_subject *s, unsigned days, int64_t now)
{
	return X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
	       ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)(now - HOUR)) &&
	       ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)(now + (int64_t)days * DAY)) &&
	       X509_set_issuer_name(cert, X509_get_subject_name(cert)) == 1 &&
	       X509_set_pubkey(cert, key) == 1 &&
	       add_text_extension(cert, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_text_extension(cert, NID_key_usage, "critical,digitalSignature") &&
	       add_text_extension(cert, NID_ext_key_usage, "serverAuth") &&
	       add_alternative_names(cert, s) &&
	       add_text_extension(cert, NID_subject_key_identifier, "hash") &&
	       X509_sign(cert, key, EVP_sha256()) > 0;
}

static int check_names(const struct pki_subject *s, struct err *err)
{
	if (s->name_count == 0)
		return err_set(err, ERR_INVALID, "a certificate needs a host name");
	for (size_t i = 0; i < s->name_count; i++)
		if (!pki_name_is_good(s->names[i]))
			return err_set(err, ERR_INVALID,
			    "\"%.*s\" is neither a host name nor an IP address",
			    s->names[i].n < 80 ? (int)s->names[i].n : 80, s->names[i].p);
	return 0;
}

int pki_self_sign(EVP_PKEY *key, const struct pki_subject *s, unsigned days, int64_t now,
    struct pki_bundle *out, struct err *err)
{
	X509 *cert;

	*out = (struct pki_bundle){0};
	if (check_names(s, err) < 0)
		return -1;
	cert = X509_new();
	if (!cert || fill_name(X509_get_subject_name(cert), s, err) < 0) {
		X509_free(cert);
		return -1;
	}
	if (!fill_cert(cert, key, s, days, now)) {
		X509_free(cert);
		return pki_fail(err, ERR_IO, "making a certificate");
	}
	EVP_PKEY_up_ref(key);
	*out = (struct pki_bundle){.key = key, .chain = {cert}, .count = 1};
	return 0;
}

static bool fill_request(X509_REQ *request, EVP_PKEY *key, const struct pki_subject *s)
{
	STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
	X509_EXTENSION *ext = alternative_names(s);
	bool result = list && ext && sk_X509_EXTENSION_push(list, ext) > 0 &&
		      X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
		      X509_REQ_set_pubkey(request, key) == 1 &&
		      X509_REQ_add_extensions(request, list) == 1 &&
		      X509_REQ_sign(request, key, EVP_sha256()) > 0;

	sk_X509_EXTENSION_free(list);
	X509_EXTENSION_free(ext);
	return result;
}

int pki_make_request(
    EVP_PKEY *key, const struct pki_subject *s, struct pki_bundle *out, struct err *err)
{
	X509_REQ *request;

	*out = (struct pki_bundle){0};
	if (check_names(s, err) < 0)
		return -1;
	request = X509_REQ_new();
	if (!request || fill_name(X509_REQ_get_subject_name(request), s, err) < 0) {
		X509_REQ_free(request);
		return -1;
	}
	if (!fill_request(request, key, s)) {
		X509_REQ_free(request);
		return pki_fail(err, ERR_IO, "making a signing request");
	}
	EVP_PKEY_up_ref(key);
	*out = (struct pki_bundle){.key = key, .request = request};
	return 0;
}
