/*
 * TLS contexts, the only place besides crypto and keyd that sees OpenSSL. TLS 1.2 and 1.3, AEAD
 * with ECDHE only (a listener for old devices may go below), no renegotiation, no compression, no
 * early data, SSL_MODE_RELEASE_BUFFERS. A context is immutable and reference-counted: a connection
 * keeps the one it started with. Loop thread.
 */
#ifndef MS_NET_TLS_H
#define MS_NET_TLS_H

#include "common/base/err.h"
#include "common/base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct tls_context;

struct tls_certificate {
	struct span chain; /* PEM, leaf first */
	struct span key;   /* PEM, the leaf's: checked */
	struct span ocsp;  /* DER of a response to staple while it is valid, or empty */
};

#define TLS_TICKET_LEN 80 /* name 16, AES-256 key 32, HMAC-SHA-256 key 32 */
#define TLS_TICKETS_MAX 3

struct tls_server_options {
	/*
	 * Served is the first whose names match the server name that the client asks for, or the
	 * first of all. A later one with a key of another kind that covers all its names makes a
	 * pair with it, of which the client gets what it supports, ECDSA if both.
	 */
	const struct tls_certificate *certificates;
	size_t count;
	unsigned min_version; /* 10, 11, 12, 13; below 12 with the ciphers of that time */
	bool ask_client; /* request a certificate; whatever comes is taken, and never trusted */
	/* Ticket keys, newest first: it makes tickets, all read them. None: OpenSSL's own. */
	struct span tickets[TLS_TICKETS_MAX];
	size_t ticket_count;
};

struct tls_context *tls_server_context_new(const struct tls_server_options *o, struct err *err);
/* What the other side showed of itself. */
struct tls_peer {
	char sha256[65];   /* of its certificate, in hex */
	char subject[256]; /* RFC 4514, cut if longer */
};

/* When the first certificate expires; 0 for a client's context. */
int64_t tls_context_expires(const struct tls_context *t);
/* A client context; ca_file NULL means certificates are not verified. */
struct tls_context *tls_client_context_new(const char *ca_file, struct err *err);
/* One that verifies nothing and takes even TLS 1.0: only where the alternative is the clear. */
struct tls_context *tls_client_context_weak(struct err *err);

/* What a host's TLSA records say (RFC 7672); usages other than 2 and 3 are passed over. */
struct tls_dane {
	const char *base;   /* the name that the records stand at, without port and protocol */
	const char *domain; /* another name that the certificate may have */
	const struct span *records; /* RDATA */
	size_t count;
	bool is_usable; /* out: one of them is; if not, nothing is verified */
};

/* Why a certificate did not do (RFC 8460 section 4.3 tells these apart). */
enum tls_fault {
	TLS_FAULT_NONE,    /* it was not the certificate, or nothing was verified */
	TLS_FAULT_EXPIRED, /* or not yet valid */
	TLS_FAULT_NAME,
	TLS_FAULT_UNTRUSTED, /* by no authority that is known */
	TLS_FAULT_OTHER,     /* also: none of the TLSA records fits */
};

struct tls_context *tls_context_ref(struct tls_context *t);
void tls_context_unref(struct tls_context *t); /* NULL is fine */

#endif
