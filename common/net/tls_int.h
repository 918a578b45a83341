/* One TLS session over a socket: what conn.c needs of OpenSSL, without its headers. */
#ifndef MS_NET_TLS_INT_H
#define MS_NET_TLS_INT_H

#include "common/net/tls.h"

enum tls_result {
	TLS_R_OK,
	TLS_R_WANT_READ,
	TLS_R_WANT_WRITE,
	TLS_R_EOF,
	TLS_R_ERROR, /* err is filled */
};

struct tls_session;

struct tls_session *tls_session_new(
    struct tls_context *t, int fd, bool is_server, const char *server_name, struct err *err);
/* Before the handshake: these records say what the server has to show. */
int tls_session_set_dane(struct tls_session *s, struct tls_dane *dane, struct err *err);
void tls_session_free(struct tls_session *s);
enum tls_result tls_session_handshake(struct tls_session *s, struct err *err);
enum tls_result tls_session_read(
    struct tls_session *s, void *buf, size_t cap, size_t *n, struct err *err);
enum tls_result tls_session_write(
    struct tls_session *s, const void *buf, size_t len, size_t *n, struct err *err);
/* Bytes that OpenSSL holds already: no socket event will tell of them. */
bool tls_session_has_pending(const struct tls_session *s);
void tls_session_shutdown(struct tls_session *s); /* sends close_notify, waits for nothing */
const char *tls_session_version(const struct tls_session *s);
const char *tls_session_cipher(const struct tls_session *s);
enum tls_fault tls_session_fault(const struct tls_session *s);

/* False if it showed no certificate. */
bool tls_session_peer(const struct tls_session *s, struct tls_peer *peer);

#endif
