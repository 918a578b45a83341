#include "common/net/tls_int.h"

#include "common/base/mem.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#define CHAIN_MAX 16

struct tls_context {
	SSL_CTX *ctx;
	unsigned refs;
};

struct tls_session {
	SSL *ssl;
	struct tls_context *context;
};

static int fail(struct err *err, enum err_code code, const char *what)
{
	unsigned long e = ERR_get_error();
	const char *reason = e ? ERR_reason_error_string(e) : NULL;

	ERR_clear_error();
	return err_set(err, code, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
}

static struct tls_context *context_new(const SSL_METHOD *method, struct err *err)
{
	struct tls_context *t;
	SSL_CTX *ctx;

	ERR_clear_error();
	ctx = SSL_CTX_new(method);
	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_cipher_list(ctx,
		"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
		"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
		"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384") != 1 ||
	    SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") != 1) {
		SSL_CTX_free(ctx);
		fail(err, ERR_IO, "TLS context");
		return NULL;
	}
	SSL_CTX_set_options(
	    ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* Tickets resume sessions; a cache of them would be memory that strangers fill. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	t = mem_zalloc(sizeof(*t));
	t->ctx = ctx;
	t->refs = 1;
	return t;
}

static BIO *bio_of(struct span text)
{
	return text.n <= INT32_MAX ? BIO_new_mem_buf(text.p, (int)text.n) : NULL;
}

static int use_chain(SSL_CTX *ctx, struct span chain, struct err *err)
{
	BIO *bio = bio_of(chain);
	X509 *leaf = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	X509 *next;
	int result = -1;

	if (!leaf || SSL_CTX_use_certificate(ctx, leaf) != 1) {
		fail(err, ERR_INVALID, "no certificate in the PEM text");
		goto out;
	}
	for (int i = 0; i < CHAIN_MAX; i++) {
		next = PEM_read_bio_X509(bio, NULL, NULL, NULL);
		if (!next)
			break;
		if (SSL_CTX_add0_chain_cert(ctx, next) != 1) {
			X509_free(next);
			fail(err, ERR_INVALID, "certificate chain");
			goto out;
		}
	}
	ERR_clear_error(); /* "no start line" at the end of the text */
	result = 0;
out:
	X509_free(leaf);
	BIO_free(bio);
	return result;
}

/* Never ask a terminal for the password of an encrypted key. */
static int no_password(char *buf, int size, int rwflag, void *arg)
{
	return -1;
}

static int use_key(SSL_CTX *ctx, struct span key, struct err *err)
{
	BIO *bio = bio_of(key);
	EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
	int result = 0;

	if (!pkey || SSL_CTX_use_PrivateKey(ctx, pkey) != 1)
		result = fail(err, ERR_INVALID, "no usable private key in the PEM text");
	else if (SSL_CTX_check_private_key(ctx) != 1)
		result = fail(err, ERR_INVALID, "the private key is not the certificate's");
	EVP_PKEY_free(pkey);
	BIO_free(bio);
	return result;
}

struct tls_context *tls_server_context_new(struct span chain, struct span key, struct err *err)
{
	struct tls_context *t = context_new(TLS_server_method(), err);

	if (!t)
		return NULL;
	if (use_chain(t->ctx, chain, err) < 0 || use_key(t->ctx, key, err) < 0) {
		tls_context_unref(t);
		return NULL;
	}
	return t;
}

struct tls_context *tls_client_context_new(const char *ca_file, struct err *err)
{
	struct tls_context *t = context_new(TLS_client_method(), err);

	if (!t || !ca_file)
		return t;
	if (SSL_CTX_load_verify_locations(t->ctx, ca_file, NULL) != 1) {
		fail(err, ERR_INVALID, ca_file);
		tls_context_unref(t);
		return NULL;
	}
	SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
	return t;
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
	SSL_CTX_free(t->ctx);
	mem_free(t);
}

/* --- one session ------------------------------------------------------------------------------ */
struct tls_session *tls_session_new(
    struct tls_context *t, int fd, bool is_server, const char *server_name, struct err *err)
{
	struct tls_session *s = mem_zalloc(sizeof(*s));

	ERR_clear_error();
	s->ssl = SSL_new(t->ctx);
	if (!s->ssl || SSL_set_fd(s->ssl, fd) != 1)
		goto bad;
	if (server_name && (SSL_set_tlsext_host_name(s->ssl, server_name) != 1 ||
			       SSL_set1_host(s->ssl, server_name) != 1))
		goto bad;
	if (is_server)
		SSL_set_accept_state(s->ssl);
	else
		SSL_set_connect_state(s->ssl);
	s->context = tls_context_ref(t);
	return s;
bad:
	fail(err, ERR_IO, "TLS session");
	SSL_free(s->ssl);
	mem_free(s);
	return NULL;
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
	fail(err, ERR_IO, "TLS");
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
