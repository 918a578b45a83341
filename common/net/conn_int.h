/* What the two files of a connection share: conn.c (life, input, TLS) and conn_out.c (output). */
#ifndef MS_NET_CONN_INT_H
#define MS_NET_CONN_INT_H

#include "common/net/conn.h"
#include "common/net/deflate.h"
#include "common/net/tls_int.h"

enum tls_state { TLS_S_NONE, TLS_S_PENDING, TLS_S_HANDSHAKE, TLS_S_ON };
enum close_state { OPEN, CLOSING, LINGERING };

struct conn {
	struct loop *loop;
	int fd;
	struct net_addr peer;
	struct conn_limits limits;
	const struct conn_ops *ops;
	void *arg;
	struct watch watch;
	struct timer timer;
	struct deferred turn;
	uint64_t deadline_at, handshake_at; /* monotonic ms; 0 is none */

	char *in;
	size_t in_start, in_end, in_cap;
	struct list out;
	size_t out_bytes;
	size_t clear_bytes; /* of out_bytes, those that go before the handshake, or uncompressed */
	size_t lingered;
	size_t closing_bytes; /* that waited when the timer was set last */

	struct tls_context *tls_context;
	struct tls_session *tls;
	enum tls_state tls_state;
	struct deflate *deflate; /* NULL: the stream is not compressed */
	bool tls_is_server;
	enum close_state close_state;
	bool is_paused, is_eof, is_congested, is_freed, has_new_input;
	bool read_wants_write, write_wants_read, is_broken, has_reported;
	bool is_corked;
	bool is_farewell;  /* the peer is not waited for */
	bool was_woken;    /* there is something to read although we are paused */
	bool read_was_cut; /* more may be there although the socket says nothing */
	unsigned busy;     /* callbacks below us on the stack */
	struct err broken; /* why */
};

/* conn.c */
void conn_schedule(struct conn *c); /* a turn at the end of the loop's */
void conn_broken(struct conn *c, const struct err *why);
bool conn_is_live(const struct conn *c);

/* conn_out.c */
void conn_send(struct conn *c);                 /* as much as the socket takes */
size_t conn_sendable(const struct conn *c);     /* of out_bytes, what may go now */
size_t conn_packed_bytes(const struct conn *c); /* waiting in front of those, compressed */
void conn_drop_all(struct conn *c);

#endif
