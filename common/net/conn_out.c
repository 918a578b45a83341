/* The output of a connection: chunks that wait, through the compressor if there is one, into TLS or
 * the socket. */
#include "common/net/conn_int.h"

#include "common/base/mem.h"
#include "common/base/strbuf.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define CHUNK_SIZE (16 * 1024 - 64)
#define IOV_MAX_USED 8

struct chunk {
	struct list link;
	uint32_t start, end, cap;
	char data[];
};

/* The chunk that takes the next bytes, of which there are n. */
static struct chunk *open_chunk(struct conn *c, size_t n)
{
	size_t cap = CHUNK_SIZE;
	struct chunk *k;

	if (!list_is_empty(&c->out)) {
		k = container_of(c->out.prev, struct chunk, link);
		if (k->end < k->cap)
			return k;
	} else if (n < 512) {
		cap = 512;
	}
	k = mem_alloc(sizeof(*k) + cap);
	*k = (struct chunk){.cap = (uint32_t)cap};
	list_append(&c->out, &k->link);
	return k;
}

void conn_write(struct conn *c, struct span data)
{
	if (!conn_is_live(c) || c->is_broken || data.n == 0)
		return;
	if (data.n > c->limits.output_max || c->out_bytes > c->limits.output_max - data.n) {
		struct err err;

		err_set(&err, ERR_LIMIT, "the client does not take its output");
		conn_broken(c, &err);
		conn_schedule(c);
		return;
	}
	c->out_bytes += data.n;
	if (c->out_bytes > c->limits.output_high)
		c->is_congested = true;
	while (data.n > 0) {
		struct chunk *k = open_chunk(c, data.n);
		size_t n = data.n < k->cap - k->end ? data.n : k->cap - k->end;

		memcpy(k->data + k->end, data.p, n);
		k->end += (uint32_t)n;
		data = span_from(data, n);
	}
	conn_schedule(c);
}

void conn_writef(struct conn *c, const char *fmt, ...)
{
	struct strbuf b;
	va_list ap;

	strbuf_init(&b, 64 * 1024);
	va_start(ap, fmt);
	strbuf_vaddf(&b, fmt, ap);
	va_end(ap);
	conn_write(c, strbuf_span(&b));
	strbuf_clear(&b);
}

static void drop_output(struct conn *c, size_t n)
{
	c->out_bytes -= n;
	if (c->clear_bytes > 0)
		c->clear_bytes -= n;
	while (n > 0) {
		struct chunk *k = container_of(c->out.next, struct chunk, link);
		size_t part = k->end - k->start < n ? k->end - k->start : n;

		k->start += (uint32_t)part;
		n -= part;
		if (k->start == k->end) {
			list_remove(&k->link);
			mem_free(k);
		}
	}
}

/* Sends one piece of at most max bytes: bytes sent, 0 would block, -1 broken. */
static ssize_t send_plain(struct conn *c, size_t max)
{
	struct iovec iov[IOV_MAX_USED];
	struct msghdr msg = {.msg_iov = iov};
	struct err err;
	ssize_t n;

	LIST_EACH (it, &c->out) {
		struct chunk *k = container_of(it, struct chunk, link);
		size_t part = k->end - k->start < max ? k->end - k->start : max;

		if (part == 0 || msg.msg_iovlen == IOV_MAX_USED)
			break;
		iov[msg.msg_iovlen++] = (struct iovec){k->data + k->start, part};
		max -= part;
	}
	do {
		n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	if (n < 0) {
		err_errno(&err, errno, "write");
		conn_broken(c, &err);
	}
	return n;
}

static ssize_t send_tls(struct conn *c, struct span data)
{
	struct err err = ERR_INIT;
	size_t n = 0;

	switch (tls_session_write(c->tls, data.p, data.n, &n, &err)) {
	case TLS_R_OK:
		return (ssize_t)n;
	case TLS_R_WANT_READ:
		c->write_wants_read = true;
		return 0;
	case TLS_R_WANT_WRITE:
		return 0;
	case TLS_R_EOF:
		err_set(&err, ERR_CLOSED, "closed by the peer");
		conn_broken(c, &err);
		return -1;
	default:
		conn_broken(c, &err);
		return -1;
	}
}

size_t conn_sendable(const struct conn *c)
{
	if (c->is_broken || c->tls_state == TLS_S_HANDSHAKE)
		return 0;
	if (c->tls_state == TLS_S_PENDING || c->clear_bytes > 0)
		return c->clear_bytes;
	if (c->is_corked && c->close_state == OPEN && !c->is_congested)
		return 0;
	return c->out_bytes;
}

static struct span first_output(struct conn *c, size_t max)
{
	struct chunk *k = container_of(c->out.next, struct chunk, link);

	return span_sub(span_make(k->data + k->start, k->end - k->start), 0, max);
}

/* What was written goes into the compressor; its last piece is flushed, so that the peer has it. */
static void pack_output(struct conn *c)
{
	struct span data = first_output(c, c->out_bytes);

	deflate_write(c->deflate, data, data.n == c->out_bytes);
	drop_output(c, data.n);
}

static bool send_packed(struct conn *c)
{
	struct span data = deflate_output(c->deflate);
	ssize_t n;

	if (c->tls_state == TLS_S_ON) {
		n = send_tls(c, data);
	} else {
		do {
			n = send(c->fd, data.p, data.n, MSG_NOSIGNAL);
		} while (n < 0 && errno == EINTR);
		if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
			struct err err;

			err_errno(&err, errno, "write");
			conn_broken(c, &err);
		}
	}
	if (n > 0)
		deflate_sent(c->deflate, (size_t)n);
	return n > 0;
}

/* Bytes that wait in front of those of out_bytes, compressed. */
size_t conn_packed_bytes(const struct conn *c)
{
	return c->deflate ? deflate_output(c->deflate).n : 0;
}

void conn_send(struct conn *c)
{
	c->write_wants_read = false;
	while (!c->is_broken && (conn_packed_bytes(c) > 0 || conn_sendable(c) > 0)) {
		ssize_t n;

		if (conn_packed_bytes(c) > 0) {
			if (!send_packed(c))
				return;
			continue;
		}
		if (c->deflate && c->clear_bytes == 0) {
			pack_output(c);
			continue;
		}
		n = c->tls_state == TLS_S_ON ? send_tls(c, first_output(c, conn_sendable(c)))
					     : send_plain(c, conn_sendable(c));
		if (n <= 0)
			return;
		drop_output(c, (size_t)n);
	}
}

size_t conn_output_waiting(const struct conn *c)
{
	return c->out_bytes;
}

bool conn_is_congested(const struct conn *c)
{
	return c->is_congested;
}

void conn_drop_all(struct conn *c)
{
	for (struct list *it; (it = list_take_first(&c->out));)
		mem_free(container_of(it, struct chunk, link));
}
