#include "common/base/mem.h"
#include "common/net/addr.h"
#include "common/net/tls_ssl.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

struct tls_session {
	SSL *ssl;
	struct tls_context *context;
};

int tls_fail(struct err *err, enum err_code code, const char *what)
{
	unsigned long e = ERR_get_error();
	const char *reason = e ? ERR_reason_error_string(e) : NULL;

	ERR_clear_error();
	return err_set(err, code, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
}

SSL_CTX *tls_ssl_context(const SSL_METHOD *method, struct err *err)
{
	SSL_CTX *ctx;

	ERR_clear_error();
	ctx = SSL_CTX_new(method);
	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_cipher_list(ctx, TLS_CIPHERS) != 1 ||
	    SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") != 1) {
		SSL_CTX_free(ctx);
		tls_fail(err, ERR_IO, "TLS context");
		return NULL;
	}
	SSL_CTX_set_options(
	    ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* A record's head and body in one read; the buffer goes when it is empty. */
	SSL_CTX_set_read_ahead(ctx, 1);
	/* Tickets resume sessions (mail clients use one at a time); a cache of them would be memory
	 * that strangers fill. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_num_tickets(ctx, 1);
	return ctx;
}

struct tls_context *tls_client_context_new(const char *ca_file, struct err *err)
{
	SSL_CTX *ctx = tls_ssl_context(TLS_client_method(), err);
	struct tls_context *t;

	if (!ctx)
		return NULL;
	t = mem_zalloc(sizeof(*t));
	t->ctx = ctx;
	t->refs = 1;
	if (!ca_file) {
		if (SSL_CTX_dane_enable(ctx) == 1)
			return t;
		tls_fail(err, ERR_IO, "DANE");
		tls_context_unref(t);
		return NULL;
	}
	if (SSL_CTX_load_verify_locations(ctx, ca_file, NULL) != 1) {
		tls_fail(err, ERR_INVALID, ca_file);
		tls_context_unref(t);
		return NULL;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return t;
}

struct tls_context *tls_client_context_weak(struct err *err)
{
	struct tls_context *t = tls_client_context_new(NULL, err);

	if (!t)
		return NULL;
	/* SHA-1 signatures and short keys, which old servers have. */
	SSL_CTX_set_security_level(t->ctx, 0);
	if (SSL_CTX_set_min_proto_version(t->ctx, TLS1_VERSION) == 1 &&
	    SSL_CTX_set_cipher_list(t->ctx, TLS_CIPHERS TLS_OLD_CIPHERS TLS_OLDEST_CIPHERS) == 1 &&
	    SSL_CTX_set1_groups_list(t->ctx, "X25519:P-256:P-384:P-521") == 1)
		return t;
	tls_fail(err, ERR_IO, "TLS context");
	tls_context_unref(t);
	return NULL;
}

struct tls_context *tls_context_ref(struct tls_context *t)
{
	t->refs++;
	return t;
}

void tls_context_unref(struct tls_context *t)
{
	if (!t || --t->refs > 0)
		return;
	for (size_t i = 0; i < t->served_count; i++)
		served_clear(&t->served[i]);
	mem_free(t->served);
	SSL_CTX_free(t->ctx);
	mem_wipe(t->tickets, sizeof(t->tickets));
	mem_free(t);
}

int64_t tls_context_expires(const struct tls_context *t)
{
	return t->expires;
}

/* --- one session ------------------------------------------------------------------------------ */
/* Who the certificate has to name: a host, or an address, which is not asked for by name (RFC 6066
 * section 3). */
static bool set_server_name(SSL *ssl, const char *name)
{
	struct span text = span_of(name);
	char address[NET_ADDR_TEXT];
	struct net_addr a;

	if (text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']') {
		text = span_sub(text, 1, text.n - 2);
		(void)span_take_iword(&text, SPAN("IPv6:"));
	}
	if (net_addr_parse(&a, text, 0, NULL) < 0)
		return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1;
	net_addr_format(&a, address);
	return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), address) == 1;
}

struct tls_session *tls_session_new(
    struct tls_context *t, int fd, bool is_server, const char *server_name, struct err *err)
{
	struct tls_session *s = mem_zalloc(sizeof(*s));

	ERR_clear_error();
	s->ssl = SSL_new(t->ctx);
	if (!s->ssl || SSL_set_fd(s->ssl, fd) != 1)
		goto bad;
	if (server_name && !set_server_name(s->ssl, server_name))
		goto bad;
	SSL_set_app_data(s->ssl, t);
	if (is_server)
		SSL_set_accept_state(s->ssl);
	else
		SSL_set_connect_state(s->ssl);
	s->context = tls_context_ref(t);
	return s;
bad:
	tls_fail(err, ERR_IO, "TLS session");
	SSL_free(s->ssl);
	mem_free(s);
	return NULL;
}

static bool is_usable(SSL *ssl, struct span rdata)
{
	unsigned char usage, selector, matching;

	if (rdata.n < 4)
		return false;
	usage = (unsigned char)rdata.p[0];
	selector = (unsigned char)rdata.p[1];
	matching = (unsigned char)rdata.p[2];
	/* RFC 7672 3.1.3: what needs an authority from a list (0, 1) means nothing between mail
	 * servers. */
	return (usage == 2 || usage == 3) && selector <= 1 && matching <= 2 &&
	       SSL_dane_tlsa_add(ssl, usage, selector, matching, (const unsigned char *)rdata.p + 3,
		   rdata.n - 3) > 0;
}

int tls_session_set_dane(struct tls_session *s, struct tls_dane *dane, struct err *err)
{
	dane->is_usable = false;
	ERR_clear_error();
	if (SSL_dane_enable(s->ssl, dane->base) != 1 || SSL_add1_host(s->ssl, dane->domain) != 1)
		return tls_fail(err, ERR_IO, "DANE");
	/* RFC 7672 3.1.1: with usage 3 the key is all that counts. */
	(void)SSL_dane_set_flags(s->ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
	SSL_set_hostflags(s->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	for (size_t i = 0; i < dane->count; i++)
		if (is_usable(s->ssl, dane->records[i]))
			dane->is_usable = true;
	ERR_clear_error();
	if (dane->is_usable)
		SSL_set_verify(s->ssl, SSL_VERIFY_PEER, NULL);
	return 0;
}

void tls_session_free(struct tls_session *s)
{
	if (!s)
		return;
	SSL_free(s->ssl);
	tls_context_unref(s->context);
	mem_free(s);
}

static enum tls_result result_of(struct tls_session *s, int ret, int saved_errno, struct err *err)
{
	switch (SSL_get_error(s->ssl, ret)) {
	case SSL_ERROR_NONE:
		return TLS_R_OK;
	case SSL_ERROR_WANT_READ:
		return TLS_R_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_R_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_R_EOF;
	case SSL_ERROR_SYSCALL:
		if (ERR_peek_error() == 0) {
			if (saved_errno == 0)
				return TLS_R_EOF;
			err_errno(err, saved_errno, "TLS");
			return TLS_R_ERROR;
		}
		break;
	default:
		break;
	}
	if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		ERR_clear_error();
		return TLS_R_EOF;
	}
	tls_fail(err, ERR_IO, "TLS");
	return TLS_R_ERROR;
}

enum tls_result tls_session_handshake(struct tls_session *s, struct err *err)
{
	int ret;

	ERR_clear_error();
	errno = 0;
	ret = SSL_do_handshake(s->ssl);
	return result_of(s, ret, errno, err);
}

enum tls_result tls_session_read(
    struct tls_session *s, void *buf, size_t cap, size_t *n, struct err *err)
{
	int ret;

	ERR_clear_error();
	errno = 0;
	ret = SSL_read_ex(s->ssl, buf, cap, n);
	return result_of(s, ret, errno, err);
}

enum tls_result tls_session_write(
    struct tls_session *s, const void *buf, size_t len, size_t *n, struct err *err)
{
	int ret;

	ERR_clear_error();
	errno = 0;
	ret = SSL_write_ex(s->ssl, buf, len, n);
	return result_of(s, ret, errno, err);
}

bool tls_session_has_pending(const struct tls_session *s)
{
	return SSL_has_pending(s->ssl) == 1;
}

void tls_session_shutdown(struct tls_session *s)
{
	ERR_clear_error();
	if (SSL_is_init_finished(s->ssl))
		(void)SSL_shutdown(s->ssl);
	ERR_clear_error();
}

const char *tls_session_version(const struct tls_session *s)
{
	return SSL_get_version(s->ssl);
}

const char *tls_session_cipher(const struct tls_session *s)
{
	const char *name = SSL_get_cipher_name(s->ssl);

	return name ? name : "";
}

enum tls_fault tls_session_fault(const struct tls_session *s)
{
	if (SSL_get_verify_mode(s->ssl) == SSL_VERIFY_NONE)
		return TLS_FAULT_NONE;
	switch (SSL_get_verify_result(s->ssl)) {
	case X509_V_OK:
		return TLS_FAULT_NONE;
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return TLS_FAULT_EXPIRED;
	case X509_V_ERR_HOSTNAME_MISMATCH:
		return TLS_FAULT_NAME;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_UNTRUSTED:
		return TLS_FAULT_UNTRUSTED;
	default:
		return TLS_FAULT_OTHER;
	}
}

bool tls_session_peer(const struct tls_session *s, struct tls_peer *peer)
{
	static const char digits[] = "0123456789abcdef";
	X509 *cert = SSL_get0_peer_certificate(s->ssl);
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	BIO *bio;

	*peer = (struct tls_peer){0};
	if (!cert || X509_digest(cert, EVP_sha256(), hash, &n) != 1 || n > 32)
		return false;
	for (unsigned i = 0; i < n; i++) {
		peer->sha256[2 * i] = digits[hash[i] >> 4];
		peer->sha256[2 * i + 1] = digits[hash[i] & 15];
	}
	bio = BIO_new(BIO_s_mem());
	if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253) >= 0) {
		int got = BIO_read(bio, peer->subject, sizeof(peer->subject) - 1);

		peer->subject[got > 0 ? got : 0] = '\0';
	}
	BIO_free(bio);
	ERR_clear_error();
	return true;
}
