#include "common/net/conn_int.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_TURN (64 * 1024) /* bytes read for one connection before others get their turn */
#define HANDSHAKE_MS 15000
#define CLOSE_MS 5000 /* in which a peer takes CLOSE_BYTES of our last words, again and again */
#define CLOSE_BYTES 2500
#define LINGER_MS 2000
#define LINGER_BYTES (256 * 1024)

static const struct conn_limits default_limits = {
    .input_max = 65536,
    .output_high = 65536,
    .output_low = 16384,
    .output_max = 4 * 1024 * 1024,
};

static void update_watch(struct conn *c);

/* --- life ------------------------------------------------------------------------------------- */
static void destroy(struct conn *c)
{
	conn_drop_all(c);
	deferred_cancel(&c->turn);
	watch_clear(&c->watch);
	timer_clear(&c->timer);
	tls_session_free(c->tls);
	tls_context_unref(c->tls_context);
	deflate_free(c->deflate);
	close(c->fd);
	mem_free(c->in);
	mem_free(c);
}

static void enter(struct conn *c)
{
	c->busy++;
}

/* False if the connection went away inside: the caller must not touch it any more. */
static bool leave(struct conn *c)
{
	if (--c->busy == 0 && c->is_freed) {
		destroy(c);
		return false;
	}
	return true;
}

void conn_free(struct conn *c)
{
	if (!c || c->is_freed)
		return;
	c->is_freed = true;
	c->ops = NULL;
	if (c->busy == 0)
		destroy(c);
}

void conn_broken(struct conn *c, const struct err *why)
{
	if (c->is_broken)
		return;
	c->is_broken = true;
	c->broken = *why;
}

bool conn_is_live(const struct conn *c)
{
	return !c->is_freed && c->close_state == OPEN;
}

static void report_close(struct conn *c, const struct err *why)
{
	if (!conn_is_live(c) || c->has_reported)
		return;
	c->has_reported = true;
	c->ops->on_close(c->arg, why);
}

/* --- deadlines -------------------------------------------------------------------------------- */
static void arm_timer(struct conn *c)
{
	uint64_t at = c->deadline_at;
	uint64_t now = clock_mono_ms();

	if (c->handshake_at && (!at || c->handshake_at < at))
		at = c->handshake_at;
	if (!at)
		timer_stop(&c->timer);
	else
		timer_set(&c->timer, at > now ? at - now : 0);
}

/* Whether enough of what waited has gone since the last time. */
static bool is_taking(struct conn *c)
{
	size_t waits = c->out_bytes + conn_packed_bytes(c);
	bool is_enough = waits + CLOSE_BYTES <= c->closing_bytes;

	c->closing_bytes = waits;
	return is_enough;
}

static void on_timer(void *arg)
{
	struct conn *c = arg;
	struct err why;

	if (c->close_state != OPEN) {
		if (c->close_state == CLOSING && is_taking(c))
			timer_set(&c->timer, CLOSE_MS);
		else
			conn_free(c);
		return;
	}
	err_set(&why, ERR_TIMEOUT,
	    c->tls_state == TLS_S_HANDSHAKE ? "TLS handshake took too long" : "deadline passed");
	/* In the middle of a handshake there is no way to say anything. */
	if (c->tls_state == TLS_S_HANDSHAKE)
		why.code = ERR_CLOSED;
	c->deadline_at = c->handshake_at = 0;
	enter(c);
	report_close(c, &why);
	leave(c);
}

void conn_set_deadline(struct conn *c, uint64_t ms)
{
	if (c->close_state != OPEN)
		return;
	c->deadline_at = ms ? clock_mono_ms() + ms : 0;
	arm_timer(c);
}

/* --- input ------------------------------------------------------------------------------------ */
static void store_input(struct conn *c, const char *p, size_t n)
{
	if (c->in_start == c->in_end)
		c->in_start = c->in_end = 0;
	if (c->in_cap - c->in_end < n && c->in_start > 0) {
		memmove(c->in, c->in + c->in_start, c->in_end - c->in_start);
		c->in_end -= c->in_start;
		c->in_start = 0;
	}
	if (c->in_cap - c->in_end < n) {
		size_t cap = c->in_cap * 2 > c->in_end + n ? c->in_cap * 2 : c->in_end + n;

		c->in = mem_grow(c->in, cap, 1);
		c->in_cap = cap;
	}
	memcpy(c->in + c->in_end, p, n);
	c->in_end += n;
	c->has_new_input = true;
}

/* One read into buf: bytes, 0 when there is nothing now, -1 at the end or on an error. */
static ssize_t read_wire(struct conn *c, char *buf, size_t cap)
{
	struct err err = ERR_INIT;
	size_t n = 0;
	ssize_t got;

	if (c->tls_state == TLS_S_ON) {
		switch (tls_session_read(c->tls, buf, cap, &n, &err)) {
		case TLS_R_OK:
			return (ssize_t)n;
		case TLS_R_WANT_WRITE:
			c->read_wants_write = true;
			return 0;
		case TLS_R_WANT_READ:
			return 0;
		case TLS_R_EOF:
			c->is_eof = true;
			return -1;
		default:
			conn_broken(c, &err);
			return -1;
		}
	}
	do {
		got = recv(c->fd, buf, cap, 0);
	} while (got < 0 && errno == EINTR);
	if (got > 0)
		return got;
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	if (got == 0) {
		c->is_eof = true;
	} else {
		err_errno(&err, errno, "read");
		conn_broken(c, &err);
	}
	return -1;
}

static ssize_t read_some(struct conn *c, char *buf, size_t cap)
{
	struct err err = ERR_INIT;
	ssize_t n;

	if (!c->deflate)
		return read_wire(c, buf, cap);
	while ((n = deflate_read(c->deflate, buf, cap, &err)) == 0) {
		size_t room;
		char *raw = deflate_room(c->deflate, &room);
		ssize_t got = read_wire(c, raw, room);

		deflate_took(c->deflate, got > 0 ? (size_t)got : 0);
		if (got <= 0)
			return got;
	}
	if (n < 0)
		conn_broken(c, &err);
	return n;
}

static bool may_read(const struct conn *c)
{
	return conn_is_live(c) && !c->is_paused && !c->is_eof && !c->is_broken &&
	       !c->has_reported && (c->tls_state == TLS_S_NONE || c->tls_state == TLS_S_ON);
}

static void do_read(struct conn *c)
{
	static _Thread_local char scratch[16 * 1024];
	size_t total = 0;

	/* While the session is paused it stays noted that there is more. */
	c->read_was_cut |= c->read_wants_write;
	c->read_wants_write = false;
	if (!may_read(c))
		return;
	c->read_was_cut = false;
	while (may_read(c)) {
		size_t held = c->in_end - c->in_start;
		size_t space = held < c->limits.input_max ? c->limits.input_max - held : 0;
		ssize_t n;

		if (space == 0 || total >= READ_TURN) {
			c->read_was_cut = true;
			return;
		}
		n = read_some(c, scratch, space < sizeof(scratch) ? space : sizeof(scratch));
		if (n <= 0)
			return;
		store_input(c, scratch, (size_t)n);
		total += (size_t)n;
		/* A short read from a plain socket: nothing more now, spare the second call. */
		if (c->tls_state == TLS_S_NONE && !c->deflate && (size_t)n < sizeof(scratch) &&
		    (size_t)n < space)
			return;
	}
}

struct span conn_input(const struct conn *c)
{
	return span_make(c->in ? c->in + c->in_start : "", c->in_end - c->in_start);
}

void conn_consume(struct conn *c, size_t n)
{
	if (n > c->in_end - c->in_start)
		fatal("conn_consume: more than there is");
	c->in_start += n;
	if (c->in_start == c->in_end) {
		mem_free(c->in);
		c->in = NULL;
		c->in_start = c->in_end = c->in_cap = 0;
	}
	if (c->read_was_cut)
		conn_schedule(c);
}

void conn_pause(struct conn *c)
{
	c->is_paused = true;
	c->was_woken = false;
}

void conn_resume(struct conn *c)
{
	if (!c->is_paused)
		return;
	c->is_paused = false;
	c->has_new_input = c->in_end > c->in_start;
	conn_schedule(c);
}

bool conn_is_paused(const struct conn *c)
{
	return c->is_paused;
}

void conn_cork(struct conn *c, bool is_corked)
{
	if (c->is_corked && !is_corked)
		conn_schedule(c);
	c->is_corked = is_corked;
}

void conn_set_input_max(struct conn *c, size_t n)
{
	c->limits.input_max = n;
	conn_schedule(c);
}

/* --- TLS -------------------------------------------------------------------------------------- */
static int start_tls(struct conn *c, struct tls_context *t, bool is_server, const char *name,
    struct tls_dane *dane, struct err *err)
{
	if (c->tls_state != TLS_S_NONE)
		return err_set(err, ERR_INVALID, "TLS is on already");
	if (c->in_end > c->in_start)
		return err_set(err, ERR_DENIED, "bytes in the clear behind STARTTLS");
	c->tls = tls_session_new(t, c->fd, is_server, name, err);
	if (!c->tls)
		return -1;
	if (dane && tls_session_set_dane(c->tls, dane, err) < 0) {
		tls_session_free(c->tls);
		c->tls = NULL;
		return -1;
	}
	c->tls_context = tls_context_ref(t);
	c->tls_is_server = is_server;
	c->tls_state = TLS_S_PENDING;
	c->clear_bytes = c->out_bytes;
	c->handshake_at = clock_mono_ms() + HANDSHAKE_MS;
	arm_timer(c);
	conn_schedule(c);
	return 0;
}

int conn_start_tls(struct conn *c, struct tls_context *t, struct err *err)
{
	return start_tls(c, t, true, NULL, NULL, err);
}

int conn_start_tls_client(
    struct conn *c, struct tls_context *t, const char *server_name, struct err *err)
{
	return start_tls(c, t, false, server_name, NULL, err);
}

int conn_start_tls_dane(
    struct conn *c, struct tls_context *t, struct tls_dane *dane, struct err *err)
{
	return start_tls(c, t, false, dane->base, dane, err);
}

int conn_start_deflate(struct conn *c, struct err *err)
{
	if (c->deflate || (c->tls_state != TLS_S_NONE && c->tls_state != TLS_S_ON))
		return err_set(err, ERR_INVALID, "the connection cannot be compressed now");
	if (c->in_end > c->in_start)
		return err_set(err, ERR_DENIED, "bytes behind the command that starts compression");
	c->deflate = deflate_new();
	c->clear_bytes = c->out_bytes;
	return 0;
}

bool conn_is_compressed(const struct conn *c)
{
	return c->deflate != NULL;
}

/* A client that showed a certificate: nothing depends on it but the log. */
static void log_peer(const struct conn *c)
{
	struct tls_peer peer;
	char addr[NET_ADDR_TEXT];

	if (!c->tls_is_server || !tls_session_peer(c->tls, &peer))
		return;
	net_addr_format(&c->peer, addr);
	log_info("tls-client-certificate", LOG_STR("client", addr), LOG_STR("sha256", peer.sha256),
	    LOG_STR("subject", peer.subject));
}

static void do_handshake(struct conn *c)
{
	struct err err = ERR_INIT;

	if (c->tls_state == TLS_S_PENDING && c->clear_bytes == 0)
		c->tls_state = TLS_S_HANDSHAKE;
	if (c->tls_state != TLS_S_HANDSHAKE || c->is_broken)
		return;
	c->read_wants_write = false;
	switch (tls_session_handshake(c->tls, &err)) {
	case TLS_R_OK:
		c->tls_state = TLS_S_ON;
		c->handshake_at = 0;
		arm_timer(c);
		log_peer(c);
		c->read_was_cut = tls_session_has_pending(c->tls);
		if (c->ops && c->ops->on_secure && conn_is_live(c))
			c->ops->on_secure(c->arg);
		break;
	case TLS_R_WANT_READ:
		break;
	case TLS_R_WANT_WRITE:
		c->read_wants_write = true;
		break;
	case TLS_R_EOF:
		err_set(&err, ERR_CLOSED, "closed by the peer during the TLS handshake");
		conn_broken(c, &err);
		break;
	case TLS_R_ERROR:
		conn_broken(c, &err);
		break;
	}
}

bool conn_is_tls(const struct conn *c)
{
	return c->tls_state == TLS_S_ON;
}

const char *conn_tls_version(const struct conn *c)
{
	return conn_is_tls(c) ? tls_session_version(c->tls) : "";
}

const char *conn_tls_cipher(const struct conn *c)
{
	return conn_is_tls(c) ? tls_session_cipher(c->tls) : "";
}

enum tls_fault conn_tls_fault(const struct conn *c)
{
	return c->tls ? tls_session_fault(c->tls) : TLS_FAULT_NONE;
}

bool conn_tls_peer(const struct conn *c, struct tls_peer *peer)
{
	return conn_is_tls(c) && tls_session_peer(c->tls, peer);
}

/* --- one turn --------------------------------------------------------------------------------- */
static void deliver(struct conn *c)
{
	if (!c->has_new_input || c->is_paused || !conn_is_live(c) || c->has_reported ||
	    (c->tls_state != TLS_S_NONE && c->tls_state != TLS_S_ON))
		return;
	c->has_new_input = false;
	c->ops->on_input(c->arg);
}

static void deliver_end(struct conn *c)
{
	struct err why;

	if (!conn_is_live(c) || c->has_reported)
		return;
	if (c->is_broken) {
		report_close(c, &c->broken);
		return;
	}
	/* What was answered to the peer's last words goes out first. */
	if (c->is_eof && !c->is_paused && !c->has_new_input && c->out_bytes == 0 &&
	    conn_packed_bytes(c) == 0) {
		err_set(&why, ERR_CLOSED, "closed by the peer");
		report_close(c, &why);
	}
}

static void drained(struct conn *c)
{
	if (!c->is_congested || c->out_bytes >= c->limits.output_low || c->is_broken)
		return;
	c->is_congested = false;
	if (conn_is_live(c) && c->ops->on_drain && !c->has_reported)
		c->ops->on_drain(c->arg);
}

static void close_turn(struct conn *c);

static void run_turn(struct conn *c, bool is_readable)
{
	enter(c);
	conn_send(c);
	do_handshake(c);
	if (is_readable || c->read_was_cut)
		do_read(c);
	deliver(c);
	if (!c->is_freed) {
		conn_send(c);
		drained(c);
	}
	if (!c->is_freed)
		do_handshake(c);
	deliver_end(c);
	if (!leave(c))
		return;
	if (c->close_state != OPEN) {
		close_turn(c);
		return;
	}
	if (c->read_was_cut && may_read(c) && c->in_end - c->in_start < c->limits.input_max)
		conn_schedule(c);
	update_watch(c);
}

static void on_turn(void *arg)
{
	run_turn(arg, false);
}

void conn_schedule(struct conn *c)
{
	loop_defer(c->loop, &c->turn);
}

static void on_ready(void *arg, unsigned ready)
{
	struct conn *c = arg;

	c->was_woken = c->is_paused && (ready & WATCH_READ);
	run_turn(c, (ready & WATCH_READ) || ((ready & WATCH_WRITE) && c->read_wants_write));
}

static void update_watch(struct conn *c)
{
	unsigned wanted = 0;

	if (c->is_freed || c->is_broken)
		return watch_set(&c->watch, 0);
	if (c->close_state == LINGERING || c->tls_state == TLS_S_HANDSHAKE || c->write_wants_read)
		wanted |= WATCH_READ;
	if (may_read(c) && c->in_end - c->in_start < c->limits.input_max)
		wanted |= WATCH_READ;
	/* A pause is short, and most peers wait for our answer in it: the kernel is only told when
	 * one does not. */
	if (c->is_paused && !c->was_woken && !c->is_eof && c->close_state == OPEN)
		wanted |= c->watch.wanted & WATCH_READ;
	if (((conn_sendable(c) > 0 || conn_packed_bytes(c) > 0) && !c->write_wants_read) ||
	    c->read_wants_write)
		wanted |= WATCH_WRITE;
	watch_set(&c->watch, wanted);
}

/* --- closing ---------------------------------------------------------------------------------- */
/* Reads and throws away what still comes, so that closing does not reset our last words away. */
static void linger(struct conn *c)
{
	char buf[4096];
	ssize_t n;

	while ((n = recv(c->fd, buf, sizeof(buf), 0)) > 0) {
		c->lingered += (size_t)n;
		if (c->lingered > LINGER_BYTES)
			break;
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || c->lingered > LINGER_BYTES)
		conn_free(c);
}

/* Closing with bytes unread resets the connection, and our last words with it. */
static bool has_unread(const struct conn *c)
{
	char byte;

	return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void close_turn(struct conn *c)
{
	if (c->is_broken || c->tls_state == TLS_S_HANDSHAKE || c->tls_state == TLS_S_PENDING) {
		conn_free(c);
		return;
	}
	if (c->close_state == CLOSING && c->out_bytes == 0 && conn_packed_bytes(c) == 0) {
		if (c->tls_state == TLS_S_ON)
			tls_session_shutdown(c->tls);
		if (c->is_farewell && !has_unread(c)) {
			conn_free(c);
			return;
		}
		(void)shutdown(c->fd, SHUT_WR);
		c->close_state = LINGERING;
		if (c->is_eof) {
			conn_free(c);
			return;
		}
		timer_set(&c->timer, LINGER_MS);
	}
	update_watch(c);
	if (c->close_state == LINGERING)
		linger(c);
}

void conn_close(struct conn *c)
{
	if (!c || c->is_freed || c->close_state != OPEN)
		return;
	c->close_state = CLOSING;
	c->ops = NULL;
	c->is_paused = true;
	mem_free(c->in);
	c->in = NULL;
	c->in_start = c->in_end = c->in_cap = 0;
	c->deadline_at = c->handshake_at = 0;
	c->closing_bytes = c->out_bytes + conn_packed_bytes(c);
	timer_set(&c->timer, CLOSE_MS);
	conn_schedule(c);
}

void conn_finish(struct conn *c)
{
	if (c)
		c->is_farewell = true;
	conn_close(c);
}

/* --- the rest --------------------------------------------------------------------------------- */
struct conn *conn_new(struct loop *loop, int fd, const struct net_addr *peer,
    const struct conn_limits *limits, const struct conn_ops *ops, void *arg)
{
	struct conn *c = mem_zalloc(sizeof(*c));

	c->loop = loop;
	c->fd = fd;
	c->peer = *peer;
	c->limits = limits ? *limits : default_limits;
	c->ops = ops;
	c->arg = arg;
	list_init(&c->out);
	watch_init(&c->watch, loop, fd, on_ready, c);
	timer_init(&c->timer, loop, on_timer, c);
	c->turn.fn = on_turn;
	c->turn.arg = c;
	update_watch(c);
	return c;
}

const struct net_addr *conn_peer(const struct conn *c)
{
	return &c->peer;
}

int conn_local(const struct conn *c, struct net_addr *out)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getsockname(c->fd, (struct sockaddr *)&ss, &len) < 0)
		return -1;
	return net_addr_from_sockaddr(out, (struct sockaddr *)&ss, len);
}
