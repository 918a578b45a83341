/* Server contexts: several certificates, chosen by name and kind of key; tickets; staples. */
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/net/tls_ssl.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>

#define CHAIN_MAX 16
#define CERTIFICATES_MAX 16
#define NAMES_MAX 256
#define TICKET_SECONDS 86400

/* --- parsing ---------------------------------------------------------------------------------- */
void served_clear(struct served *s)
{
	SSL_CTX_free(s->ctx);
	X509_free(s->leaf);
	EVP_PKEY_free(s->key);
	sk_X509_pop_free(s->rest, X509_free);
	for (size_t i = 0; i < s->name_count; i++)
		mem_free(s->names[i]);
	mem_free(s->names);
	mem_free((char *)s->ocsp.p);
	*s = (struct served){0};
}

static BIO *bio_of(struct span text)
{
	return text.n <= INT32_MAX ? BIO_new_mem_buf(text.p, (int)text.n) : NULL;
}

/* Never ask a terminal for the password of an encrypted key. */
static int no_password(char *buf, int size, int rwflag, void *arg)
{
	return -1;
}

static int read_chain(struct served *s, struct span chain, struct err *err)
{
	BIO *bio = bio_of(chain);

	s->leaf = bio ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;
	s->rest = sk_X509_new_null();
	if (!s->leaf || !s->rest) {
		BIO_free(bio);
		return tls_fail(err, ERR_INVALID, "no certificate in the PEM text");
	}
	for (int i = 0; i < CHAIN_MAX; i++) {
		X509 *next = PEM_read_bio_X509(bio, NULL, no_password, NULL);

		if (!next)
			break;
		if (sk_X509_push(s->rest, next) <= 0)
			X509_free(next);
	}
	ERR_clear_error(); /* "no start line" at the end of the text */
	BIO_free(bio);
	return 0;
}

static int read_key(struct served *s, struct span key, struct err *err)
{
	BIO *bio = bio_of(key);
	int result = 0;

	s->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
	if (!s->key)
		result = tls_fail(err, ERR_INVALID, "no usable private key in the PEM text");
	else if (X509_check_private_key(s->leaf, s->key) != 1)
		result = tls_fail(err, ERR_INVALID, "the private key is not the certificate's");
	BIO_free(bio);
	return result;
}

/* DNS names only: no client asks for an address by SNI. */
static void read_names(struct served *s)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(s->leaf, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; names && i < sk_GENERAL_NAME_num(names) && i < NAMES_MAX; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		char *copy;

		if (name->type != GEN_DNS)
			continue;
		copy = mem_strndup((const char *)ASN1_STRING_get0_data(name->d.dNSName),
		    (size_t)ASN1_STRING_length(name->d.dNSName));
		for (char *p = copy; *p; p++)
			*p = ascii_lower(*p);
		s->names = mem_grow(s->names, s->name_count + 1, sizeof(*s->names));
		s->names[s->name_count++] = copy;
	}
	GENERAL_NAMES_free(names);
	ERR_clear_error();
}

static int64_t seconds_of(const ASN1_TIME *t)
{
	struct tm tm;

	return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

/* A staple that cannot be read is none: it would only make clients angry. */
static void read_ocsp(struct served *s, struct span der)
{
	const unsigned char *p = (const unsigned char *)der.p;
	ASN1_GENERALIZEDTIME *from = NULL, *until = NULL;
	OCSP_RESPONSE *response;
	OCSP_BASICRESP *basic = NULL;
	OCSP_SINGLERESP *single;

	if (der.n == 0 || der.n > 65535)
		return;
	response = d2i_OCSP_RESPONSE(NULL, &p, (long)der.n);
	if (response && OCSP_response_status(response) == OCSP_RESPONSE_STATUS_SUCCESSFUL)
		basic = OCSP_response_get1_basic(response);
	single = basic ? OCSP_resp_get0(basic, 0) : NULL;
	if (single &&
	    OCSP_single_get0_status(single, NULL, NULL, &from, &until) == V_OCSP_CERTSTATUS_GOOD) {
		s->ocsp = span_make(mem_dup(der.p, der.n), der.n);
		s->ocsp_from = seconds_of(from);
		s->ocsp_until = seconds_of(until);
	}
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
	ERR_clear_error();
}

/* --- names ------------------------------------------------------------------------------------ */
/* One label for "*" (RFC 6125 6.4.3). name is lower case. */
static bool name_matches(const char *pattern, struct span name)
{
	ssize_t dot;

	if (pattern[0] != '*' || pattern[1] != '.')
		return span_eq(span_of(pattern), name);
	dot = span_chr(name, '.');
	return dot > 0 && span_eq(span_of(pattern + 1), span_from(name, (size_t)dot));
}

static bool has_name(const struct served *s, struct span name)
{
	for (size_t i = 0; i < s->name_count; i++)
		if (name_matches(s->names[i], name))
			return true;
	return false;
}

/* A name with "*" must stand there as such. */
static bool covers(const struct served *s, const struct served *other)
{
	for (size_t i = 0; i < other->name_count; i++) {
		bool is_there = false;

		for (size_t k = 0; k < s->name_count && !is_there; k++)
			is_there = strcmp(s->names[k], other->names[i]) == 0;
		if (!is_there && !has_name(s, span_of(other->names[i])))
			return false;
	}
	return other->name_count > 0;
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	struct tls_context *t = arg;
	const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	char name[256];
	size_t n = 0;

	if (!asked)
		return SSL_TLSEXT_ERR_NOACK;
	for (; n < sizeof(name) && asked[n]; n++)
		name[n] = ascii_lower(asked[n]);
	if (n == sizeof(name))
		return SSL_TLSEXT_ERR_NOACK;
	for (size_t i = 0; i < t->served_count; i++) {
		if (!has_name(&t->served[i], span_make(name, n)))
			continue;
		SSL_set_SSL_CTX(ssl, t->served[i].ctx);
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_NOACK; /* the first: the client decides what it thinks of that */
}

/* --- tickets ---------------------------------------------------------------------------------- */
static int use_ticket_key(const unsigned char *key, unsigned char *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, bool is_new)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(key + 48), 32),
	    OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
	    OSSL_PARAM_construct_end(),
	};

	if (is_new && RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
		return -1;
	if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key + 16, iv, is_new) != 1 ||
	    EVP_MAC_CTX_set_params(mac, params) != 1)
		return -1;
	return 1;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 goes on, 2 and makes a new ticket, 0 no such key. */
static int on_ticket(SSL *ssl, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, int is_new)
{
	const struct tls_context *t = SSL_get_app_data(ssl);

	if (is_new) {
		memcpy(name, t->tickets[0], 16);
		return use_ticket_key(t->tickets[0], iv, cipher, mac, true);
	}
	for (size_t i = 0; i < t->ticket_count; i++) {
		if (memcmp(name, t->tickets[i], 16) != 0)
			continue;
		if (use_ticket_key(t->tickets[i], iv, cipher, mac, false) < 0)
			return -1;
		return i == 0 ? 1 : 2;
	}
	return 0;
}

/* --- staples ---------------------------------------------------------------------------------- */
static int on_status(SSL *ssl, void *arg)
{
	const struct tls_context *t = arg;
	const X509 *sent = SSL_get_certificate(ssl);
	int64_t now = clock_now();

	for (size_t i = 0; i < t->served_count; i++) {
		const struct served *s = &t->served[i];
		unsigned char *copy;

		if (s->leaf != sent || s->ocsp.n == 0 || s->ocsp_from > now || s->ocsp_until <= now)
			continue;
		copy = OPENSSL_memdup(s->ocsp.p, s->ocsp.n);
		if (!copy)
			return SSL_TLSEXT_ERR_NOACK;
		SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)s->ocsp.n);
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_NOACK;
}

/* --- contexts --------------------------------------------------------------------------------- */
static int take_anyone(X509_STORE_CTX *store, void *arg)
{
	return 1;
}

static int use_certificate(SSL_CTX *ctx, const struct served *s, struct err *err)
{
	if (SSL_CTX_use_cert_and_key(ctx, s->leaf, s->key, s->rest, 1) != 1)
		return tls_fail(err, ERR_INVALID, "the certificate cannot be used");
	return 0;
}

static int set_versions(SSL_CTX *ctx, unsigned min)
{
	static const int versions[] = {
	    TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION};

	if (min < 10 || min > 13)
		return -1;
	if (min < 12) {
		/* SHA-1 signatures, without which there is no TLS 1.0. */
		SSL_CTX_set_security_level(ctx, 0);
		if (SSL_CTX_set_cipher_list(ctx, TLS_CIPHERS TLS_OLD_CIPHERS) != 1)
			return -1;
	}
	return SSL_CTX_set_min_proto_version(ctx, versions[min - 10]) == 1 ? 0 : -1;
}

static int make_served_context(
    struct tls_context *t, struct served *s, const struct tls_server_options *o, struct err *err)
{
	static const unsigned char id[] = "mailstead";

	s->ctx = tls_ssl_context(TLS_server_method(), err);
	if (!s->ctx)
		return -1;
	if (set_versions(s->ctx, o->min_version) < 0 ||
	    SSL_CTX_set_session_id_context(s->ctx, id, sizeof(id) - 1) != 1)
		return tls_fail(err, ERR_IO, "TLS context");
	(void)SSL_CTX_set_timeout(s->ctx, TICKET_SECONDS);
	(void)SSL_CTX_set_tlsext_servername_callback(s->ctx, on_server_name);
	(void)SSL_CTX_set_tlsext_servername_arg(s->ctx, t);
	(void)SSL_CTX_set_tlsext_status_cb(s->ctx, on_status);
	(void)SSL_CTX_set_tlsext_status_arg(s->ctx, t);
	if (t->ticket_count > 0)
		(void)SSL_CTX_set_tlsext_ticket_key_evp_cb(s->ctx, on_ticket);
	if (o->ask_client) {
		SSL_CTX_set_verify(s->ctx, SSL_VERIFY_PEER, NULL);
		SSL_CTX_set_cert_verify_callback(s->ctx, take_anyone, NULL);
	}
	return use_certificate(s->ctx, s, err);
}

static int add_pairs(struct tls_context *t, struct served *s, struct err *err)
{
	int kind = EVP_PKEY_get_base_id(s->key);
	int taken[CERTIFICATES_MAX];
	size_t n = 0;

	for (size_t i = 0; i < t->served_count; i++) {
		const struct served *other = &t->served[i];
		int other_kind = EVP_PKEY_get_base_id(other->key);
		bool is_taken = other_kind == kind || !covers(other, s);

		for (size_t k = 0; k < n; k++)
			is_taken = is_taken || taken[k] == other_kind;
		if (is_taken)
			continue;
		taken[n++] = other_kind;
		if (use_certificate(s->ctx, other, err) < 0)
			return -1;
	}
	return 0;
}

static int fill(struct tls_context *t, const struct tls_server_options *o, struct err *err)
{
	if (o->count == 0 || o->count > CERTIFICATES_MAX || o->ticket_count > TLS_TICKETS_MAX)
		return err_set(err, ERR_INVALID, "%zu certificates", o->count);
	for (size_t i = 0; i < o->ticket_count; i++) {
		if (o->tickets[i].n != TLS_TICKET_LEN)
			return err_set(
			    err, ERR_INVALID, "a ticket key of %zu bytes", o->tickets[i].n);
		memcpy(t->tickets[i], o->tickets[i].p, TLS_TICKET_LEN);
	}
	t->ticket_count = o->ticket_count;
	t->served = mem_array(o->count, sizeof(*t->served));
	for (; t->served_count < o->count; t->served_count++) {
		struct served *s = &t->served[t->served_count];
		const struct tls_certificate *c = &o->certificates[t->served_count];

		if (read_chain(s, c->chain, err) < 0 || read_key(s, c->key, err) < 0) {
			served_clear(s);
			return -1;
		}
		read_names(s);
		read_ocsp(s, c->ocsp);
	}
	for (size_t i = 0; i < t->served_count; i++)
		if (make_served_context(t, &t->served[i], o, err) < 0 ||
		    add_pairs(t, &t->served[i], err) < 0)
			return -1;
	return 0;
}

struct tls_context *tls_server_context_new(const struct tls_server_options *o, struct err *err)
{
	struct tls_context *t = mem_zalloc(sizeof(*t));

	t->refs = 1;
	if (fill(t, o, err) < 0) {
		tls_context_unref(t);
		return NULL;
	}
	t->ctx = t->served[0].ctx;
	SSL_CTX_up_ref(t->ctx);
	t->expires = seconds_of(X509_get0_notAfter(t->served[0].leaf));
	return t;
}
