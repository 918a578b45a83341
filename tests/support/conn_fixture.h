/* A conn on one end of a socket pair, its session's trace, and the bare other end. */
#ifndef MS_TESTS_CONN_FIXTURE_H
#define MS_TESTS_CONN_FIXTURE_H

#include "common/base/strbuf.h"
#include "common/net/conn.h"
#include "tests/support/loop_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct session {
	struct conn *c;
	struct strbuf got; /* what was taken */
	size_t wanted;     /* the loop stops when so much was taken */
	bool is_lazy;      /* takes nothing */
	char free_at;      /* 'i', 'd', 's', 'c': frees the conn in that callback */
	unsigned inputs, drains, secures, closes;
	struct err why;
	void (*hook)(struct session *s); /* in on_input, before taking */
};

static const struct net_addr fixture_peer = {.family = AF_INET, .ip = {127, 0, 0, 1}, .port = 9};

static inline bool session_freed(struct session *s, char at)
{
	if (s->free_at != at)
		return false;
	conn_free(s->c);
	s->c = NULL;
	loop_stop(loop);
	return true;
}

static inline void session_input(void *arg)
{
	struct session *s = arg;
	struct span in = conn_input(s->c);

	ck_assert(!conn_is_paused(s->c));
	s->inputs++;
	if (session_freed(s, 'i'))
		return;
	if (s->hook)
		s->hook(s);
	if (!s->c || s->is_lazy)
		return;
	in = conn_input(s->c);
	ck_assert(strbuf_add(&s->got, in));
	conn_consume(s->c, in.n);
	if (s->wanted && s->got.n >= s->wanted)
		loop_stop(loop);
}

static inline void session_drain(void *arg)
{
	struct session *s = arg;

	s->drains++;
	if (!session_freed(s, 'd'))
		loop_stop(loop);
}

static inline void session_secure(void *arg)
{
	struct session *s = arg;

	s->secures++;
	if (!session_freed(s, 's'))
		loop_stop(loop);
}

static inline void session_close(void *arg, const struct err *why)
{
	struct session *s = arg;

	s->closes++;
	ck_assert_uint_eq(s->closes, 1);
	s->why = *why;
	if (!session_freed(s, 'c'))
		loop_stop(loop);
}

static const struct conn_ops session_ops = {.on_input = session_input,
    .on_drain = session_drain,
    .on_secure = session_secure,
    .on_close = session_close};

static inline void session_open(struct session *s, int fd, const struct conn_limits *limits)
{
	*s = (struct session){0};
	strbuf_init(&s->got, 64 << 20);
	s->c = conn_new(loop, fd, &fixture_peer, limits, &session_ops, s);
}

static inline void session_end(struct session *s)
{
	conn_free(s->c);
	s->c = NULL;
	strbuf_clear(&s->got);
}

/* Returns the bare end. */
static inline int session_pair(struct session *s, const struct conn_limits *limits)
{
	int fds[2];

	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	session_open(s, fds[0], limits);
	return fds[1];
}

/* Sends what the socket takes; bytes sent. */
static inline size_t peer_send(int fd, struct span data)
{
	ssize_t n = send(fd, data.p, data.n, MSG_NOSIGNAL);

	return n > 0 ? (size_t)n : 0;
}

/* Everything that is there; at the end of the stream *is_end is set. */
static inline void peer_take(int fd, struct strbuf *out, bool *is_end)
{
	char buf[65536];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		ck_assert(strbuf_add_mem(out, buf, (size_t)n));
	if (is_end)
		*is_end = n == 0;
}

/* Bytes that differ at every place of a big transfer. */
static inline void pattern_add(struct strbuf *b, size_t n)
{
	char part[4096];

	while (n > 0) {
		size_t k = n < sizeof(part) ? n : sizeof(part);

		for (size_t i = 0; i < k; i++)
			part[i] = (char)((b->n + i) * 2654435761u >> 13);
		ck_assert(strbuf_add_mem(b, part, k));
		n -= k;
	}
}

#endif
