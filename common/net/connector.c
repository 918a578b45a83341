#include "common/net/connector.h"

#include "common/base/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

struct connector {
	struct watch watch;
	struct timer timer;
	struct deferred failed;
	int fd;
	struct err why;
	void (*on_done)(void *arg, int fd, const struct err *why);
	void *arg;
};

static void release(struct connector *c)
{
	if (c->watch.loop)
		watch_clear(&c->watch);
	timer_clear(&c->timer);
	deferred_cancel(&c->failed);
}

void connector_free(struct connector *c)
{
	if (!c)
		return;
	release(c);
	if (c->fd >= 0)
		close(c->fd);
	mem_free(c);
}

static void done(struct connector *c, const struct err *why)
{
	void (*on_done)(void *, int, const struct err *) = c->on_done;
	void *arg = c->arg;
	struct err copy = *why;
	int fd = c->fd;

	release(c);
	mem_free(c);
	if (copy.code != ERR_NONE && fd >= 0) {
		close(fd);
		fd = -1;
	}
	on_done(arg, fd, &copy);
}

static void on_failed(void *arg)
{
	struct connector *c = arg;

	done(c, &c->why);
}

static void on_timer(void *arg)
{
	struct connector *c = arg;

	err_set(&c->why, ERR_TIMEOUT, "connecting took too long");
	done(c, &c->why);
}

static void on_ready(void *arg, unsigned ready)
{
	struct connector *c = arg;
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error != 0)
		err_errno(&c->why, error, "connecting");
	done(c, &c->why);
}

static int begin(
    struct connector *c, struct loop *loop, const struct net_addr *to, const struct net_addr *from)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int on = 1;

	c->fd = socket(to->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return err_errno(&c->why, errno, "socket");
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (from && from->family == to->family) {
		len = net_addr_to_sockaddr(from, &ss);
		if (bind(c->fd, (struct sockaddr *)&ss, len) < 0)
			return err_errno(&c->why, errno, "binding to our address");
	}
	len = net_addr_to_sockaddr(to, &ss);
	if (connect(c->fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS)
		return err_errno(&c->why, errno, "connecting");
	watch_init(&c->watch, loop, c->fd, on_ready, c);
	watch_set(&c->watch, WATCH_WRITE);
	return 0;
}

struct connector *connector_new(struct loop *loop, const struct net_addr *to,
    const struct net_addr *from, uint64_t ms,
    void (*on_done)(void *arg, int fd, const struct err *why), void *arg)
{
	struct connector *c = mem_zalloc(sizeof(*c));

	c->on_done = on_done;
	c->arg = arg;
	c->failed = (struct deferred){.fn = on_failed, .arg = c};
	timer_init(&c->timer, loop, on_timer, c);
	if (begin(c, loop, to, from) < 0)
		loop_defer(loop, &c->failed);
	else
		timer_set(&c->timer, ms);
	return c;
}
