/*
 * TLS contexts, the only place besides crypto and keyd that sees OpenSSL. TLS 1.2 and 1.3, AEAD
 * with ECDHE only, no renegotiation, no compression, no early data, tickets with a key of the
 * context, SSL_MODE_RELEASE_BUFFERS. A context is immutable and reference-counted: a connection
 * keeps the one it started with. Loop thread.
 */
#ifndef MS_NET_TLS_H
#define MS_NET_TLS_H

#include "common/base/err.h"
#include "common/base/span.h"

struct tls_context;

/* chain: PEM certificates, leaf first; key: PEM private key. Checks that they belong together. */
struct tls_context *tls_server_context_new(struct span chain, struct span key, struct err *err);
/* A client context; ca_file NULL means certificates are not verified. */
struct tls_context *tls_client_context_new(const char *ca_file, struct err *err);
struct tls_context *tls_context_ref(struct tls_context *t);
void tls_context_unref(struct tls_context *t); /* NULL is fine */

#endif
