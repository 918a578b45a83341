/* What an administrator hands in, taken apart: PEM, DER, PKCS#7, PKCS#12. */
#include "common/base/mem.h"
#include "common/keyd/pki_int.h"
#include "common/log/log.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <string.h>

#define BLOCKS_MAX 64
#define PASSWORD_MAX 1024
#define ITERATIONS_MAX 4000000 /* of all derivations together: seconds */

void pki_input_clear(struct pki_input *in)
{
	for (size_t i = 0; i < in->key_count; i++)
		EVP_PKEY_free(in->keys[i]);
	for (size_t i = 0; i < in->cert_count; i++)
		X509_free(in->certs[i]);
	*in = (struct pki_input){0};
}

/* --- what is found ---------------------------------------------------------------------------- */
/* Takes cert over. */
int parsed_cert(struct parse *p, X509 *cert)
{
	if (p->in->cert_count == PKI_CERTS_MAX) {
		X509_free(cert);
		return err_set(p->err, ERR_LIMIT, "more than %d certificates", PKI_CERTS_MAX);
	}
	p->in->certs[p->in->cert_count++] = cert;
	return 0;
}

/* Takes key over; NULL is an error that OpenSSL told. */
int parsed_key(struct parse *p, EVP_PKEY *key)
{
	if (!key)
		return pki_fail(p->err, ERR_INVALID, "unreadable private key");
	if (pki_key_check(key, p->err) < 0) {
		EVP_PKEY_free(key);
		return -1;
	}
	if (p->in->key_count == PKI_KEYS_MAX) {
		EVP_PKEY_free(key);
		return err_set(p->err, ERR_LIMIT, "more than %d private keys", PKI_KEYS_MAX);
	}
	p->in->keys[p->in->key_count++] = key;
	return 0;
}

/* Old files are encrypted with what OpenSSL keeps in a module of its own, which is loaded when one
 * of them comes: most never do. The default one must be named then too. */
static OSSL_PROVIDER *loaded[2]; /* for as long as the process lives */

static void load_once(void)
{
	loaded[0] = OSSL_PROVIDER_load(NULL, "default");
	loaded[1] = OSSL_PROVIDER_load(NULL, "legacy");
	if (!loaded[0])
		fatal("OpenSSL's default provider is not there");
	if (!loaded[1])
		log_info("old-ciphers", LOG_STR("state", "off"));
}

static void load_old_ciphers(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, load_once);
}

/* Only kinds that we use reach OpenSSL's decoders: others compute with numbers of any size. */
int parsed_pkcs8(struct parse *p, const PKCS8_PRIV_KEY_INFO *p8)
{
	const ASN1_OBJECT *oid = NULL;
	int nid;

	if (!p8 || PKCS8_pkey_get0(&oid, NULL, NULL, NULL, p8) != 1)
		return pki_fail(p->err, ERR_INVALID, "unreadable private key");
	nid = OBJ_obj2nid(oid);
	if (nid != NID_rsaEncryption && nid != NID_X9_62_id_ecPublicKey && nid != NID_ED25519)
		return err_set(p->err, ERR_UNSUPPORTED,
		    "a private key that is neither RSA nor ECDSA nor Ed25519");
	return parsed_key(p, EVP_PKCS82PKEY(p8));
}

static int encrypted_key(struct parse *p, X509_SIG *sig)
{
	const X509_ALGOR *alg = NULL;
	const ASN1_OCTET_STRING *data = NULL;
	PKCS8_PRIV_KEY_INFO *p8;
	int result;

	if (!sig)
		return pki_fail(p->err, ERR_INVALID, "unreadable encrypted key");
	X509_SIG_get0(sig, &alg, &data);
	if (!derivation_is_bounded(p, alg))
		return err_set(p->err, ERR_LIMIT,
		    "the key's password derivation takes too long or is not known");
	load_old_ciphers();
	p8 = PKCS8_decrypt(sig, p->password, (int)p->password_n);
	if (!p8) {
		p->in->needs_password = true;
		ERR_clear_error();
		return err_set(p->err, ERR_DENIED, "%s",
		    p->password_n > 0 ? "the password does not open the private key"
				      : "the private key is encrypted: its password is needed");
	}
	result = parsed_pkcs8(p, p8);
	PKCS8_PRIV_KEY_INFO_free(p8);
	return result;
}

static int pkcs7(struct parse *p, PKCS7 *p7)
{
	STACK_OF(X509) *certs = NULL;

	if (!p7)
		return pki_fail(p->err, ERR_INVALID, "unreadable PKCS#7");
	if (PKCS7_type_is_signed(p7) && p7->d.sign)
		certs = p7->d.sign->cert;
	else if (PKCS7_type_is_signedAndEnveloped(p7) && p7->d.signed_and_enveloped)
		certs = p7->d.signed_and_enveloped->cert;
	if (sk_X509_num(certs) <= 0)
		return err_set(p->err, ERR_INVALID, "a PKCS#7 without certificates");
	for (int i = 0; i < sk_X509_num(certs); i++) {
		X509 *cert = sk_X509_value(certs, i);

		X509_up_ref(cert);
		if (parsed_cert(p, cert) < 0)
			return -1;
	}
	return 0;
}

/* --- DER -------------------------------------------------------------------------------------- */
/* Each tries one reading of the bytes: 1 it was that, 0 it was not, -1 it was, and is bad. */
static int try_cert(struct parse *p, const unsigned char *der, long n)
{
	X509 *cert = d2i_X509(NULL, &der, n);

	if (!cert)
		return 0;
	return parsed_cert(p, cert) < 0 ? -1 : 1;
}

static int try_pkcs12(struct parse *p, const unsigned char *der, long n)
{
	PKCS12 *p12 = d2i_PKCS12(NULL, &der, n);
	int result;

	if (!p12)
		return 0;
	load_old_ciphers();
	result = parsed_pkcs12(p, p12);
	PKCS12_free(p12);
	return result < 0 ? -1 : 1;
}

static int try_pkcs7(struct parse *p, const unsigned char *der, long n)
{
	PKCS7 *p7 = d2i_PKCS7(NULL, &der, n);
	int result;

	if (!p7)
		return 0;
	result = pkcs7(p, p7);
	PKCS7_free(p7);
	return result < 0 ? -1 : 1;
}

static int try_pkcs8(struct parse *p, const unsigned char *der, long n)
{
	PKCS8_PRIV_KEY_INFO *p8 = d2i_PKCS8_PRIV_KEY_INFO(NULL, &der, n);
	int result;

	if (!p8)
		return 0;
	result = parsed_pkcs8(p, p8);
	PKCS8_PRIV_KEY_INFO_free(p8);
	return result < 0 ? -1 : 1;
}

static int try_encrypted(struct parse *p, const unsigned char *der, long n)
{
	X509_SIG *sig = d2i_X509_SIG(NULL, &der, n);
	int result;

	if (!sig)
		return 0;
	result = encrypted_key(p, sig);
	X509_SIG_free(sig);
	return result < 0 ? -1 : 1;
}

static int try_old_key(struct parse *p, const unsigned char *der, long n)
{
	static const int kinds[] = {EVP_PKEY_EC, EVP_PKEY_RSA};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const unsigned char *at = der;
		EVP_PKEY *key = d2i_PrivateKey(kinds[i], NULL, &at, n);

		if (key)
			return parsed_key(p, key) < 0 ? -1 : 1;
	}
	return 0;
}

static int try_request(struct parse *p, const unsigned char *der, long n)
{
	X509_REQ *request = d2i_X509_REQ(NULL, &der, n);

	if (!request)
		return 0;
	X509_REQ_free(request);
	p->in->has_request = true;
	return 1;
}

static int der_object(struct parse *p, struct span der)
{
	static int (*const tries[])(struct parse * p, const unsigned char *der, long n) = {
	    try_cert, try_pkcs12, try_pkcs7, try_pkcs8, try_encrypted, try_old_key, try_request};

	for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
		int got = tries[i](p, (const unsigned char *)der.p, (long)der.n);

		ERR_clear_error();
		if (got != 0)
			return got < 0 ? -1 : 0;
	}
	return err_set(p->err, ERR_INVALID,
	    "neither a certificate nor a private key, in PEM, DER, PKCS#7 or PKCS#12");
}

/* DER objects, one behind the other: files that were joined. */
static int parse_der(struct parse *p, struct span in)
{
	for (int count = 0; in.n > 0; count++) {
		const unsigned char *start = (const unsigned char *)in.p, *at = start;
		long body = 0;
		int tag, class, how = ASN1_get_object(&at, &body, &tag, &class, (long)in.n);
		size_t whole = in.n;

		if (count == BLOCKS_MAX)
			return err_set(p->err, ERR_LIMIT, "more than %d objects", BLOCKS_MAX);
		ERR_clear_error();
		/* Of an indefinite length: it takes all that is left. */
		if (!(how & 0x80) && !(how & 1))
			whole = (size_t)(at - start) + (size_t)body;
		if (whole > in.n || whole == 0)
			whole = in.n;
		if (der_object(p, span_sub(in, 0, whole)) < 0)
			return -1;
		in = span_from(in, whole);
		if (in.n > 0 && (in.p[0] == '\n' || in.p[0] == '\r'))
			in = span_trim(in);
	}
	return 0;
}

/* --- PEM -------------------------------------------------------------------------------------- */
static int give_password(char *buf, int size, int rwflag, void *arg)
{
	const struct parse *p = arg;

	if (size < 0 || p->password_n == 0 || p->password_n > (size_t)size)
		return -1;
	memcpy(buf, p->password, p->password_n);
	return (int)p->password_n;
}

static int typed_key(struct parse *p, int kind, const unsigned char *der, long n)
{
	return parsed_key(p, d2i_PrivateKey(kind, NULL, &der, n));
}

static int one_way(struct parse *p, int got, const char *what)
{
	if (got == 0)
		return pki_fail(p->err, ERR_INVALID, what);
	return got < 0 ? -1 : 0;
}

static int trusted_cert(struct parse *p, const unsigned char *der, long n)
{
	X509 *cert = d2i_X509_AUX(NULL, &der, n);

	return cert ? parsed_cert(p, cert)
		    : pki_fail(p->err, ERR_INVALID, "unreadable certificate");
}

static int pem_block(struct parse *p, const char *name, const unsigned char *der, long n)
{
	if (strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0)
		return one_way(p, try_cert(p, der, n), "unreadable certificate");
	if (strcmp(name, PEM_STRING_X509_TRUSTED) == 0)
		return trusted_cert(p, der, n);
	if (strcmp(name, PEM_STRING_PKCS8INF) == 0)
		return one_way(p, try_pkcs8(p, der, n), "unreadable private key");
	if (strcmp(name, PEM_STRING_PKCS8) == 0)
		return one_way(p, try_encrypted(p, der, n), "unreadable encrypted key");
	if (strcmp(name, PEM_STRING_RSA) == 0)
		return typed_key(p, EVP_PKEY_RSA, der, n);
	if (strcmp(name, PEM_STRING_ECPRIVATEKEY) == 0)
		return typed_key(p, EVP_PKEY_EC, der, n);
	if (strcmp(name, PEM_STRING_PKCS7) == 0 || strcmp(name, PEM_STRING_PKCS7_SIGNED) == 0 ||
	    strcmp(name, PEM_STRING_CMS) == 0)
		return one_way(p, try_pkcs7(p, der, n), "unreadable PKCS#7");
	if (strcmp(name, PEM_STRING_X509_REQ) == 0 || strcmp(name, PEM_STRING_X509_REQ_OLD) == 0)
		return one_way(p, try_request(p, der, n), "unreadable signing request");
	if (strcmp(name, "PKCS12") == 0)
		return one_way(p, try_pkcs12(p, der, n), "unreadable PKCS#12");
	if (strcmp(name, PEM_STRING_DSA) == 0)
		return err_set(p->err, ERR_UNSUPPORTED, "a DSA key: nothing can use it");
	return 0; /* parameters and the like */
}

/* Keys in the old encrypted form: one MD5 for each block of the derivation, so no bound needed. */
static int open_block(struct parse *p, char *header, unsigned char *der, long *n)
{
	EVP_CIPHER_INFO cipher;

	if (PEM_get_EVP_CIPHER_INFO(header, &cipher) != 1)
		return pki_fail(p->err, ERR_INVALID, "unreadable encryption of a PEM block");
	if (PEM_do_header(&cipher, der, n, give_password, p) == 1)
		return 0;
	ERR_clear_error();
	p->in->needs_password = true;
	return err_set(p->err, ERR_DENIED, "%s",
	    p->password_n > 0 ? "the password does not open the private key"
			      : "the private key is encrypted: its password is needed");
}

static int parse_pem(struct parse *p, struct span in)
{
	BIO *bio = BIO_new_mem_buf(in.p, (int)in.n);
	int result = bio ? 0 : pki_fail(p->err, ERR_IO, "memory");
	int count = 0;
	char *name, *header;
	unsigned char *der;
	long n;

	while (result == 0 && PEM_read_bio(bio, &name, &header, &der, &n) == 1) {
		if (count++ == BLOCKS_MAX)
			result = err_set(p->err, ERR_LIMIT, "more than %d PEM blocks", BLOCKS_MAX);
		if (result == 0)
			result = open_block(p, header, der, &n);
		if (result == 0)
			result = pem_block(p, name, der, n);
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_clear_free(der, n > 0 ? (size_t)n : 0);
	}
	if (result == 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		result = pki_fail(p->err, ERR_INVALID, "a broken PEM block");
	ERR_clear_error();
	BIO_free(bio);
	return result;
}

int pki_parse(struct span input, struct span password, struct pki_input *in, struct err *err)
{
	char text[PASSWORD_MAX + 1];
	struct parse p = {.in = in,
	    .err = err,
	    .password = text,
	    .password_n = password.n,
	    .budget = ITERATIONS_MAX};
	int result;

	*in = (struct pki_input){0};
	if (input.n == 0)
		return err_set(err, ERR_INVALID, "the file is empty");
	if (input.n > PKI_INPUT_MAX)
		return err_set(err, ERR_LIMIT, "%zu bytes, at most %d", input.n, PKI_INPUT_MAX);
	if (password.n > PASSWORD_MAX)
		return err_set(err, ERR_LIMIT, "a password of more than %d bytes", PASSWORD_MAX);
	/* PKCS#12 wants it with a NUL behind it. */
	memcpy(text, password.p ? password.p : "", password.n);
	text[password.n] = '\0';
	ERR_clear_error();
	if (span_find(input, SPAN("-----BEGIN ")) >= 0)
		result = parse_pem(&p, input);
	else
		result = parse_der(&p, input);
	mem_wipe(text, sizeof(text));
	ERR_clear_error();
	if (result == 0 && in->cert_count + in->key_count == 0)
		result = err_set(err, ERR_INVALID, "%s",
		    in->has_request ? "this is a signing request: what the CA sends back is wanted"
				    : "no certificate and no private key in it");
	return result;
}
