#include "common/ipc/frame.h"

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/log/log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAUSE_MS 100

struct peer_conn {
	struct ipc_server *server;
	struct ipc_peer peer;
	struct frame_io io;
	struct deferred flush;
	bool is_gone; /* dies at the end of the turn */
};

struct ipc_server {
	struct loop *loop;
	int fd;
	char *path;
	struct watch watch;
	struct timer pause;
	const struct ipc_server_ops *ops;
	void *arg;
	struct hash *peers; /* number -> peer_conn */
	dev_t dev;          /* of the socket at path */
	ino_t ino;
	uint64_t next_number;
};

static struct span number_key(const uint64_t *number)
{
	return span_make(number, sizeof(*number));
}

static void peer_free(struct peer_conn *p)
{
	hash_remove(p->server->peers, number_key(&p->peer.number));
	deferred_cancel(&p->flush);
	frame_io_clear(&p->io);
	mem_free(p);
}

static void peer_gone(struct peer_conn *p)
{
	struct ipc_server *s = p->server;
	struct ipc_peer peer = p->peer;

	peer_free(p);
	if (s->ops->on_gone)
		s->ops->on_gone(s->arg, &peer);
}

static void on_flush(void *arg)
{
	struct peer_conn *p = arg;

	if (p->is_gone || !frame_io_write(&p->io))
		peer_gone(p);
}

static void take_messages(struct peer_conn *p)
{
	struct ipc_msg msg;
	size_t taken = 0;
	int got;

	while (!p->is_gone &&
	       (got = frame_take(span_from(strbuf_span(&p->io.in), taken), &msg)) == 1) {
		taken += FRAME_HEAD + msg.body.n;
		p->server->ops->on_message(p->server->arg, &p->peer, &msg);
	}
	if (!p->is_gone && got < 0) {
		log_warning(
		    "ipc-format", LOG_STR("socket", p->server->path), LOG_I64("pid", p->peer.pid));
		p->is_gone = true;
		loop_defer(p->server->loop, &p->flush);
	}
	mem_wipe(p->io.in.p, taken);
	strbuf_drop_front(&p->io.in, taken);
	if (p->io.in.n == 0)
		strbuf_clear(&p->io.in);
}

static void on_peer_ready(void *arg, unsigned ready)
{
	struct peer_conn *p = arg;

	if ((ready & WATCH_WRITE) && !frame_io_write(&p->io)) {
		peer_gone(p);
		return;
	}
	if (!(ready & WATCH_READ))
		return;
	if (frame_io_read(&p->io)) {
		take_messages(p);
		return;
	}
	peer_gone(p);
}

static void on_connection(void *arg, unsigned ready)
{
	struct ipc_server *s = arg;
	struct peer_conn *p;
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		/* No descriptor or memory left: rest, instead of being told so again and again. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			watch_set(&s->watch, 0);
			timer_set(&s->pause, PAUSE_MS);
		}
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0) {
		close(fd);
		return;
	}
	p = mem_zalloc(sizeof(*p));
	p->server = s;
	p->peer = (struct ipc_peer){.number = ++s->next_number, .uid = cred.uid, .pid = cred.pid};
	p->flush = (struct deferred){.fn = on_flush, .arg = p};
	frame_io_init(&p->io, s->loop, fd, on_peer_ready, p);
	hash_set(s->peers, number_key(&p->peer.number), p);
}

static void on_pause_over(void *arg)
{
	struct ipc_server *s = arg;

	watch_set(&s->watch, WATCH_READ);
}

static int bind_path(const char *path, mode_t mode, struct err *err)
{
	struct sockaddr_un sun;
	int fd;

	if (frame_address(path, &sun, err) < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, errno, "socket for %s", path);
	(void)unlink(path);
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || chmod(path, mode) < 0 ||
	    listen(fd, 128) < 0) {
		err_errno(err, errno, "%s", path);
		close(fd);
		return -1;
	}
	return fd;
}

struct ipc_server *ipc_server_new(struct loop *loop, const char *path, mode_t mode,
    const struct ipc_server_ops *ops, void *arg, struct err *err)
{
	struct ipc_server *s;
	int fd = bind_path(path, mode, err);

	if (fd < 0)
		return NULL;
	s = mem_zalloc(sizeof(*s));
	s->loop = loop;
	s->fd = fd;
	s->path = mem_strdup(path);
	s->ops = ops;
	s->arg = arg;
	s->peers = hash_new();
	frame_identify(path, &s->dev, &s->ino);
	timer_init(&s->pause, loop, on_pause_over, s);
	watch_init(&s->watch, loop, fd, on_connection, s);
	watch_set(&s->watch, WATCH_READ);
	return s;
}

static void free_each(struct span key, void *value, void *arg)
{
	peer_free(value);
}

void ipc_server_free(struct ipc_server *s)
{
	if (!s)
		return;
	hash_each(s->peers, free_each, NULL);
	hash_free(s->peers);
	watch_clear(&s->watch);
	timer_clear(&s->pause);
	close(s->fd);
	frame_unlink(s->path, s->dev, s->ino);
	mem_free(s->path);
	mem_free(s);
}

bool ipc_reply(
    struct ipc_server *s, const struct ipc_peer *peer, uint32_t id, uint16_t type, struct span body)
{
	struct peer_conn *p = hash_get(s->peers, number_key(&peer->number));

	if (!p || p->is_gone)
		return false;
	frame_add(&p->io.out, type, id, body);
	/* Not freed here: the caller may stand inside a callback of this peer. */
	p->is_gone = p->io.out.failed;
	loop_defer(s->loop, &p->flush);
	return !p->is_gone;
}
