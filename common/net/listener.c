#include "common/net/listener.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPTS_A_TURN 64
#define PAUSE_MS 100
#define BACKLOG 1024

struct listener {
	struct loop *loop;
	int fd;
	int reserve_fd; /* closed to accept and answer one client when no descriptor is left */
	struct watch watch;
	struct timer pause;
	bool is_paused;
	struct span full_reply;
	void (*on_accept)(void *arg, int fd, const struct net_addr *peer);
	void *arg;
	struct net_addr addr;
};

static int set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

static int open_listening(const struct net_addr *addr, bool is_shared, struct err *err)
{
	struct sockaddr_storage ss;
	socklen_t len = net_addr_to_sockaddr(addr, &ss);
	char text[NET_ADDR_TEXT];
	int fd;

	net_addr_format_port(addr, text);
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, errno, "socket for %s", text);
	if (set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0 ||
	    (is_shared && set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0) ||
	    (ss.ss_family == AF_INET6 && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) < 0)) {
		err_errno(err, errno, "options of %s", text);
		goto bad;
	}
	if (bind(fd, (struct sockaddr *)&ss, len) < 0) {
		err_errno(err, errno, "bind %s", text);
		goto bad;
	}
	if (listen(fd, BACKLOG) < 0) {
		err_errno(err, errno, "listen on %s", text);
		goto bad;
	}
	return fd;
bad:
	close(fd);
	return -1;
}

int listen_unix(const char *path, struct err *err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct stat st;
	int fd;

	if (strlen(path) >= sizeof(sun.sun_path))
		return err_set(err, ERR_INVALID, "%s: too long for a socket", path);
	memcpy(sun.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, errno, "socket for %s", path);
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 && errno == ECONNREFUSED)
		(void)unlink(path);
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || chmod(path, 0666) < 0 ||
	    listen(fd, BACKLOG) < 0) {
		err_errno(err, errno, "listen on %s", path);
		close(fd);
		return -1;
	}
	return fd;
}

int listen_tcp(const struct net_addr *addr, struct err *err)
{
	return open_listening(addr, false, err);
}

/* Nobody but us may share, and not for longer than it takes. */
int listen_tcp_beside(const struct net_addr *addr, const int *ours, size_t count, struct err *err)
{
	int fd;

	for (size_t i = 0; i < count; i++)
		(void)set_option(ours[i], SOL_SOCKET, SO_REUSEPORT, 1);
	fd = open_listening(addr, true, err);
	for (size_t i = 0; i < count; i++)
		(void)set_option(ours[i], SOL_SOCKET, SO_REUSEPORT, 0);
	if (fd >= 0)
		(void)set_option(fd, SOL_SOCKET, SO_REUSEPORT, 0);
	return fd;
}

static int open_reserve(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* No descriptor left: tell the one that waits longest, then leave the socket alone for a while. */
static void refuse_one(struct listener *l)
{
	int fd;

	log_warning("accept-full", LOG_STR("reason", "no descriptor left"));
	if (l->reserve_fd >= 0) {
		close(l->reserve_fd);
		fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			(void)!send(fd, l->full_reply.p, l->full_reply.n, MSG_NOSIGNAL);
			close(fd);
		}
		l->reserve_fd = open_reserve();
	}
	watch_set(&l->watch, 0);
	timer_set(&l->pause, PAUSE_MS);
}

static void on_acceptable(void *arg, unsigned ready)
{
	struct listener *l = arg;

	for (int i = 0; i < ACCEPTS_A_TURN && !l->is_paused; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		struct net_addr peer;
		int fd = accept4(l->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0 &&
		    (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
			refuse_one(l);
		if (fd < 0)
			return;
		if (net_addr_from_sockaddr(&peer, (struct sockaddr *)&ss, len) < 0) {
			close(fd);
			continue;
		}
		l->on_accept(l->arg, fd, &peer);
	}
}

static void on_pause_over(void *arg)
{
	struct listener *l = arg;

	if (!l->is_paused)
		watch_set(&l->watch, WATCH_READ);
}

struct listener *listener_new(struct loop *loop, int fd, struct span full_reply,
    void (*on_accept)(void *arg, int fd, const struct net_addr *peer), void *arg)
{
	struct listener *l = mem_zalloc(sizeof(*l));
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	l->loop = loop;
	l->fd = fd;
	l->full_reply = full_reply;
	l->on_accept = on_accept;
	l->arg = arg;
	l->reserve_fd = open_reserve();
	if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
		net_addr_from_sockaddr(&l->addr, (struct sockaddr *)&ss, len);
	/* Accepted sockets inherit it. */
	(void)set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	watch_init(&l->watch, loop, fd, on_acceptable, l);
	timer_init(&l->pause, loop, on_pause_over, l);
	watch_set(&l->watch, WATCH_READ);
	return l;
}

void listener_free(struct listener *l)
{
	if (!l)
		return;
	watch_clear(&l->watch);
	timer_clear(&l->pause);
	close(l->fd);
	if (l->reserve_fd >= 0)
		close(l->reserve_fd);
	mem_free(l);
}

void listener_pause(struct listener *l)
{
	l->is_paused = true;
	watch_set(&l->watch, 0);
}

void listener_resume(struct listener *l)
{
	l->is_paused = false;
	if (!timer_is_set(&l->pause))
		watch_set(&l->watch, WATCH_READ);
}

int listener_fd(const struct listener *l)
{
	return l->fd;
}

const struct net_addr *listener_addr(const struct listener *l)
{
	return &l->addr;
}
