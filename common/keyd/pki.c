/* Bundles: a key and its chain put together, and what can be said about them. */
#include "common/keyd/pki.h"

#include "common/base/mem.h"

#include <arpa/inet.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192

int pki_fail(struct err *err, enum err_code code, const char *what)
{
	unsigned long e = ERR_get_error();
	const char *reason = e ? ERR_reason_error_string(e) : NULL;

	ERR_clear_error();
	return err_set(err, code, "%s%s%s%s", what, reason ? " (" : "", reason ? reason : "",
	    reason ? ")" : "");
}

/* --- looking ---------------------------------------------------------------------------------- */
static bool number_is_up_to(const EVP_PKEY *key, const char *name, int bits)
{
	BIGNUM *n = NULL;
	bool result = EVP_PKEY_get_bn_param(key, name, &n) == 1 ? BN_num_bits(n) <= bits : true;

	BN_clear_free(n);
	return result;
}

/* Numbers larger than the modulus would make each signature a computation without an end. */
static int check_rsa(const EVP_PKEY *key, struct err *err)
{
	static const char *const parts[] = {OSSL_PKEY_PARAM_RSA_D, OSSL_PKEY_PARAM_RSA_FACTOR1,
	    OSSL_PKEY_PARAM_RSA_FACTOR2, OSSL_PKEY_PARAM_RSA_EXPONENT1,
	    OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
	int bits = EVP_PKEY_get_bits(key);

	if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
		return err_set(err, ERR_UNSUPPORTED, "an RSA key of %d bits: %d to %d are good",
		    bits, RSA_BITS_MIN, RSA_BITS_MAX);
	if (!number_is_up_to(key, OSSL_PKEY_PARAM_RSA_E, 64))
		return err_set(err, ERR_UNSUPPORTED, "an RSA key with a huge exponent");
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (!number_is_up_to(key, parts[i], bits))
			return err_set(err, ERR_INVALID, "an RSA key that is not one");
	return 0;
}

static int curve_of(const EVP_PKEY *key)
{
	char name[64] = "";
	size_t n = 0;

	if (EVP_PKEY_get_group_name(key, name, sizeof(name), &n) != 1)
		return NID_undef;
	return OBJ_sn2nid(name) != NID_undef ? OBJ_sn2nid(name) : OBJ_ln2nid(name);
}

int pki_key_check(const EVP_PKEY *key, struct err *err)
{
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA:
		return check_rsa(key, err);
	case EVP_PKEY_EC:
		switch (curve_of(key)) {
		case NID_X9_62_prime256v1:
		case NID_secp384r1:
		case NID_secp521r1:
			return 0;
		default:
			return err_set(err, ERR_UNSUPPORTED,
			    "an ECDSA key on a curve other than P-256, P-384 and P-521");
		}
	case EVP_PKEY_ED25519:
		return 0;
	default:
		return err_set(
		    err, ERR_UNSUPPORTED, "a key that is neither RSA nor ECDSA nor Ed25519");
	}
}

void pki_key_text(const EVP_PKEY *key, char out[40])
{
	int kind = key ? EVP_PKEY_get_base_id(key) : EVP_PKEY_NONE;

	if (kind == EVP_PKEY_RSA)
		snprintf(out, 40, "RSA %d", EVP_PKEY_get_bits(key));
	else if (kind == EVP_PKEY_EC)
		snprintf(out, 40, "ECDSA P-%d", EVP_PKEY_get_bits(key));
	else if (kind == EVP_PKEY_ED25519)
		snprintf(out, 40, "Ed25519");
	else
		snprintf(out, 40, "unknown");
}

int64_t pki_time(const ASN1_TIME *t)
{
	struct tm tm;

	return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

bool pki_is_self_signed(const X509 *cert)
{
	return X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0;
}

bool pki_key_matches(const X509 *cert, EVP_PKEY *key)
{
	static const unsigned char text[] = "the key is the certificate's";
	EVP_PKEY *public = X509_get0_pubkey(cert);
	unsigned char sig[RSA_BITS_MAX / 8];
	size_t n = sizeof(sig);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const EVP_MD *md = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
	bool result = ctx && public && EVP_PKEY_eq(public, key) == 1 &&
		      EVP_DigestSignInit(ctx, NULL, md, NULL, key) == 1 &&
		      EVP_DigestSign(ctx, sig, &n, text, sizeof(text)) == 1 &&
		      EVP_MD_CTX_reset(ctx) == 1 &&
		      EVP_DigestVerifyInit(ctx, NULL, md, NULL, public) == 1 &&
		      EVP_DigestVerify(ctx, sig, n, text, sizeof(text)) == 1;

	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	return result;
}

/* --- names ------------------------------------------------------------------------------------ */
static void add_name(struct pki_names *n, const char *text, size_t len)
{
	char *copy;

	if (len == 0 || len > 255 || memchr(text, '\0', len))
		return;
	if (n->count == PKI_NAMES_MAX) {
		n->is_cut = true;
		return;
	}
	copy = mem_strndup(text, len);
	for (char *p = copy; *p; p++)
		*p = ascii_lower(*p);
	n->list[n->count++] = copy;
}

static void add_address(struct pki_names *n, const ASN1_OCTET_STRING *ip)
{
	char text[INET6_ADDRSTRLEN];
	int len = ASN1_STRING_length(ip);

	if ((len == 4 || len == 16) &&
	    inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(ip), text, sizeof(text)))
		add_name(n, text, strlen(text));
}

void pki_names_of(const X509 *cert, struct pki_names *out)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

	*out = (struct pki_names){0};
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_DNS)
			add_name(out, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
			    (size_t)ASN1_STRING_length(name->d.dNSName));
		else if (name->type == GEN_IPADD)
			add_address(out, name->d.iPAddress);
	}
	GENERAL_NAMES_free(names);
	ERR_clear_error();
}

void pki_names_clear(struct pki_names *n)
{
	for (size_t i = 0; i < n->count; i++)
		mem_free(n->list[i]);
	*n = (struct pki_names){0};
}

bool pki_names_match(const struct pki_names *n, struct span host)
{
	ssize_t dot = span_chr(host, '.');

	for (size_t i = 0; i < n->count; i++) {
		struct span name = span_of(n->list[i]);

		if (span_ieq(name, host))
			return true;
		if (span_starts(name, SPAN("*.")) && dot > 0 &&
		    span_ieq(span_from(name, 1), span_from(host, (size_t)dot)))
			return true;
	}
	return false;
}

bool pki_name_is_good(struct span name)
{
	struct span label;
	unsigned char ip[16];
	char text[INET6_ADDRSTRLEN];

	if (name.n > 0 && name.n < sizeof(text) && span_chr(name, ':') >= 0) {
		memcpy(text, name.p, name.n);
		text[name.n] = '\0';
		return inet_pton(AF_INET6, text, ip) == 1;
	}
	if (span_starts(name, SPAN("*.")))
		name = span_from(name, 2);
	if (name.n == 0 || name.n > 253)
		return false;
	while (span_split(&name, '.', &label)) {
		if (label.n == 0 || label.n > 63 || label.p[0] == '-' ||
		    label.p[label.n - 1] == '-')
			return false;
		for (size_t i = 0; i < label.n; i++)
			if (!ascii_is_alnum(label.p[i]) && label.p[i] != '-')
				return false;
	}
	return true;
}

/* --- putting together ------------------------------------------------------------------------- */
void pki_bundle_clear(struct pki_bundle *b)
{
	EVP_PKEY_free(b->key);
	X509_REQ_free(b->request);
	for (size_t i = 0; i < b->count; i++)
		X509_free(b->chain[i]);
	*b = (struct pki_bundle){0};
}

static X509 *leaf_of(const struct pki_input *in, const EVP_PKEY *key)
{
	X509 *best = NULL;

	for (size_t i = 0; i < in->cert_count; i++) {
		EVP_PKEY *public = X509_get0_pubkey(in->certs[i]);

		/* Of several (an old one beside its renewal) the one that lasts longest. */
		if (public && EVP_PKEY_eq(public, key) == 1 &&
		    (!best || pki_time(X509_get0_notAfter(in->certs[i])) >
				  pki_time(X509_get0_notAfter(best))))
			best = in->certs[i];
	}
	return best;
}

/* The certificate of the input that signed this one, not yet in the chain. */
static X509 *issuer_of(const struct pki_input *in, const struct pki_bundle *b, X509 *cert)
{
	for (size_t i = 0; i < in->cert_count; i++) {
		X509 *other = in->certs[i];
		EVP_PKEY *public = X509_get0_pubkey(other);
		bool is_used = false;

		for (size_t k = 0; k < b->count; k++)
			is_used = is_used || X509_cmp(b->chain[k], other) == 0;
		if (!is_used && public && X509_check_issued(other, cert) == X509_V_OK &&
		    X509_verify(cert, public) == 1)
			return other;
	}
	return NULL;
}

static int find_key(const struct pki_input *in, EVP_PKEY *with_key, struct pki_bundle *out,
    X509 **leaf, struct err *err)
{
	if (with_key) {
		*leaf = leaf_of(in, with_key);
		if (!*leaf)
			return err_set(err, ERR_INVALID,
			    "none of the certificates belongs to the key of the request");
		EVP_PKEY_up_ref(with_key);
		out->key = with_key;
		return 0;
	}
	if (in->key_count == 0)
		return err_set(err, ERR_INVALID, "there is no private key with the certificate");
	for (size_t i = 0; i < in->key_count; i++) {
		*leaf = leaf_of(in, in->keys[i]);
		if (!*leaf)
			continue;
		EVP_PKEY_up_ref(in->keys[i]);
		out->key = in->keys[i];
		return 0;
	}
	return err_set(err, ERR_INVALID, "the private key is not the key of %s",
	    in->cert_count > 1 ? "any of the certificates" : "the certificate");
}

static int assemble(const struct pki_input *in, EVP_PKEY *with_key, struct pki_bundle *out,
    size_t *left_out, struct err *err)
{
	X509 *next = NULL;

	*out = (struct pki_bundle){0};
	*left_out = 0;
	if (in->cert_count == 0)
		return err_set(err, ERR_INVALID, "there is no certificate in it");
	if (find_key(in, with_key, out, &next, err) < 0 || !next)
		return -1;
	if (!pki_key_matches(next, out->key)) {
		pki_bundle_clear(out);
		return err_set(err, ERR_INVALID, "the private key does not work");
	}
	while (next && out->count < PKI_CHAIN_MAX) {
		/* Clients have the roots: sending one is waste. */
		if (out->count > 0 && pki_is_self_signed(next)) {
			*left_out = *left_out + 1;
			break;
		}
		X509_up_ref(next);
		out->chain[out->count++] = next;
		next = pki_is_self_signed(next) ? NULL : issuer_of(in, out, next);
	}
	*left_out = in->cert_count - out->count - (*left_out > 0 ? 1 : 0);
	return 0;
}

int pki_assemble(const struct pki_input *in, EVP_PKEY *with_key, struct pki_bundle *out,
    size_t *left_out, struct err *err)
{
	int result = assemble(in, with_key, out, left_out, err);

	/* Keys that OpenSSL does not know leave their trace. */
	ERR_clear_error();
	return result;
}

/* --- as text ---------------------------------------------------------------------------------- */
/* What was written to bio, wiped behind. */
static int take_bio(BIO *bio, struct strbuf *out, struct err *err)
{
	BUF_MEM *mem = NULL;
	int result = 0;

	BIO_get_mem_ptr(bio, &mem);
	if (!strbuf_add_mem(out, mem->data, mem->length))
		result = err_set(
		    err, ERR_LIMIT, "key and certificates are more than %zu bytes", out->max);
	mem_wipe(mem->data, mem->max);
	BIO_free(bio);
	return result;
}

static int write_parts(
    const struct pki_bundle *b, bool with_key, bool with_rest, struct strbuf *out, struct err *err)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	bool is_good = bio != NULL;

	if (is_good && with_key)
		is_good = PEM_write_bio_PrivateKey(bio, b->key, NULL, NULL, 0, NULL, NULL) == 1;
	for (size_t i = 0; is_good && with_rest && i < b->count; i++)
		is_good = PEM_write_bio_X509(bio, b->chain[i]) == 1;
	if (is_good && with_rest && b->request)
		is_good = PEM_write_bio_X509_REQ(bio, b->request) == 1;
	if (is_good)
		return take_bio(bio, out, err);
	BIO_free(bio);
	return pki_fail(err, ERR_IO, "writing PEM");
}

int pki_bundle_write(const struct pki_bundle *b, struct strbuf *out, struct err *err)
{
	return write_parts(b, true, true, out, err);
}

int pki_chain_pem(const struct pki_bundle *b, struct strbuf *out, struct err *err)
{
	return write_parts(b, false, true, out, err);
}

int pki_request_pem(const struct pki_bundle *b, struct strbuf *out, struct err *err)
{
	return write_parts(b, false, true, out, err);
}

int pki_key_pem(const struct pki_bundle *b, struct strbuf *out, struct err *err)
{
	return write_parts(b, true, false, out, err);
}

/* The text is our own, so what is missing is damage. */
int pki_bundle_read(struct span text, struct pki_bundle *b, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(text.p, (int)text.n);
	X509 *cert;

	*b = (struct pki_bundle){0};
	b->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	while (bio && b->count < PKI_CHAIN_MAX && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		b->chain[b->count++] = cert;
	BIO_free(bio);
	if (b->key && b->count == 0) {
		bio = BIO_new_mem_buf(text.p, (int)text.n);
		b->request = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
		BIO_free(bio);
	}
	ERR_clear_error();
	if (b->key && (b->count > 0 || b->request))
		return 0;
	pki_bundle_clear(b);
	return err_set(err, ERR_CORRUPT, "a damaged file of a certificate");
}
