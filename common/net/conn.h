/*
 * A buffered stream connection, plain or TLS, on the event loop: the only way sessions do socket
 * I/O. Bounded on both sides: when the input buffer is full, nothing more is read until some is
 * consumed; when more than the high-water mark of output waits, conn_is_congested says so and
 * on_drain tells when it fell below the low-water mark. Memory follows what was received; an idle
 * connection holds no buffers. Loop thread only.
 *
 * A session gets on_input when there are new bytes, looks at conn_input, takes what it understands
 * with conn_consume, and leaves the rest. While an operation of its own runs elsewhere it calls
 * conn_pause: no on_input comes and nothing is read until conn_resume (which brings on_input again
 * if bytes are waiting). After the peer's end of file the session still gets on_input for what
 * came before it; on_close follows when the session is not paused and has taken no more of it.
 *
 * conn_free may be called from any callback. After on_close the session must call conn_free.
 */
#ifndef MS_NET_CONN_H
#define MS_NET_CONN_H

#include "common/event/loop.h"
#include "common/net/addr.h"
#include "common/net/tls.h"

struct conn;

struct conn_ops {
	void (*on_input)(void *arg);
	/* Output fell below the low-water mark after conn_is_congested was true. May be NULL. */
	void (*on_drain)(void *arg);
	/* A handshake ended well. May be NULL. */
	void (*on_secure)(void *arg);
	/* The peer went away, an I/O or TLS error, or the deadline passed (ERR_TIMEOUT); never
	 * after conn_free. why->code says which. Nothing more can be sent except after ERR_TIMEOUT
	 * (a farewell, then conn_close). */
	void (*on_close)(void *arg, const struct err *why);
};

struct conn_limits {
	size_t input_max;   /* bytes buffered in; default 65,536 */
	size_t output_high; /* congested above; default 65,536 */
	size_t output_low;  /* on_drain below; default 16,384 */
	size_t output_max;  /* more is an ERR_LIMIT close; default 4 MiB */
};

/* Takes over a connected non-blocking descriptor. limits NULL means the defaults. Reading starts
 * at once. */
struct conn *conn_new(struct loop *loop, int fd, const struct net_addr *peer,
    const struct conn_limits *limits, const struct conn_ops *ops, void *arg);
void conn_free(struct conn *c); /* closes at once, unsent output is lost; NULL is fine */
/* Sends what waits (TLS close_notify too), then closes; the conn frees itself, no callback comes
 * any more. Who does not take at least 500 B/s loses the rest. The session must forget it. */
void conn_close(struct conn *c);
/* The same for a peer that said goodbye: it has nothing more to say, so nobody waits for its end.
 */
void conn_finish(struct conn *c);

struct span conn_input(const struct conn *c);
void conn_consume(struct conn *c, size_t n);
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);
bool conn_is_paused(const struct conn *c);
/* Lets input_max grow or shrink (a session after login may take longer lines). */
void conn_set_input_max(struct conn *c, size_t n);

/* Copies; sent at the end of the loop's turn, so that many small writes are one packet. */
void conn_write(struct conn *c, struct span data);
void conn_writef(struct conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* While corked, output waits for more of it (up to the high-water mark): for answers to commands
 * that came in one piece. Closing sends all the same. */
void conn_cork(struct conn *c, bool is_corked);
size_t conn_output_waiting(const struct conn *c);
bool conn_is_congested(const struct conn *c);

/* A deadline in ms from now, replacing the last; 0 takes it away. */
void conn_set_deadline(struct conn *c, uint64_t ms);

/*
 * Starts the server's (or client's) side of a handshake. After STARTTLS: first conn_write the
 * reply, then this; the reply goes out in the clear, then the handshake begins. Bytes that are in
 * the input buffer already would have come before the handshake in the clear (command injection):
 * then -1 with ERR_DENIED, and the session must close. The handshake has 15 s.
 */
int conn_start_tls(struct conn *c, struct tls_context *t, struct err *err);
/* server_name is a host, or an address, also as "[192.0.2.1]" and "[IPv6:2001:db8::1]". */
int conn_start_tls_client(
    struct conn *c, struct tls_context *t, const char *server_name, struct err *err);
/* The same, verified by TLSA records; t without authorities (RFC 7672). */
int conn_start_tls_dane(
    struct conn *c, struct tls_context *t, struct tls_dane *dane, struct err *err);
/*
 * From now on both directions are DEFLATE streams (RFC 4978), inside of TLS if there is any; what
 * was written before goes as it is. All that a turn of the loop wrote is flushed. Input that is
 * there already: -1 with ERR_DENIED, as for TLS. What the peer's bytes unpack to is bounded by
 * input_max.
 */
int conn_start_deflate(struct conn *c, struct err *err);
bool conn_is_compressed(const struct conn *c);
bool conn_is_tls(const struct conn *c); /* handshake done */
/* "TLSv1.3", "TLS_AES_256_GCM_SHA384": static text; "" without TLS. */
const char *conn_tls_version(const struct conn *c);
const char *conn_tls_cipher(const struct conn *c);
/* In on_close: what was wrong with the other side's certificate in the handshake. */
enum tls_fault conn_tls_fault(const struct conn *c);
/* False without TLS, or if the other side showed no certificate. */
bool conn_tls_peer(const struct conn *c, struct tls_peer *peer);
const struct net_addr *conn_peer(const struct conn *c);
/* Our side's address. */
int conn_local(const struct conn *c, struct net_addr *out);

#endif
