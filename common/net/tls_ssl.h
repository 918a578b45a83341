/* What tls.c and tls_server.c share: a context as OpenSSL sees it. */
#ifndef MS_NET_TLS_SSL_H
#define MS_NET_TLS_SSL_H

#include "common/net/tls_int.h"

#include <openssl/ssl.h>

#define TLS_CIPHERS                                                                                \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                               \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                               \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
/* Behind these, for listeners that admit TLS 1.0 and 1.1. */
#define TLS_OLD_CIPHERS                                                                            \
	":ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA" \
	":AES128-GCM-SHA256:AES128-SHA:AES256-SHA"

/* Behind these, for servers that have nothing better. */
#define TLS_OLDEST_CIPHERS                                                                         \
	":DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES128-SHA:"                 \
	"DHE-RSA-AES256-SHA:AES256-GCM-SHA384:AES128-SHA256:AES256-SHA256"

/* One certificate of a list, and the context that serves it (with its pair, if it has one). */
struct served {
	SSL_CTX *ctx;
	X509 *leaf;
	EVP_PKEY *key;
	STACK_OF(X509) * rest; /* of its chain */
	char **names;          /* lower case; may begin with "*." */
	size_t name_count;
	struct span ocsp; /* owned */
	int64_t ocsp_from, ocsp_until;
};

struct tls_context {
	SSL_CTX *ctx; /* that sessions begin with */
	struct served *served;
	size_t served_count;
	unsigned char tickets[TLS_TICKETS_MAX][TLS_TICKET_LEN];
	size_t ticket_count;
	int64_t expires;
	unsigned refs;
};

/* Sets code and text, with OpenSSL's reason if it has one; -1. */
int tls_fail(struct err *err, enum err_code code, const char *what);
SSL_CTX *tls_ssl_context(const SSL_METHOD *method, struct err *err);
void served_clear(struct served *s);

#endif
