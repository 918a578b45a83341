/* Listening sockets of a former life. */
#include "common/daemon/notify.h"

#include "common/base/mem.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_FIRST 3
#define PARKED_MAX 1024

static int parked[PARKED_MAX];
static size_t parked_count;

/* The address of a listening internet socket. */
static bool address_of(int fd, struct net_addr *out)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss), size = sizeof(int);
	int listens = 0;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens &&
	       getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
	       net_addr_from_sockaddr(out, (struct sockaddr *)&ss, len) == 0;
}

void parked_add(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (parked_count == PARKED_MAX || flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return;
	parked[parked_count++] = fd;
}

void parked_open(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	uint64_t p, n;

	if (pid && fds && span_u64(span_of(pid), INT32_MAX, &p) && (pid_t)p == getpid() &&
	    span_u64(span_of(fds), PARKED_MAX, &n))
		for (int fd = LISTEN_FIRST; fd < LISTEN_FIRST + (int)n; fd++)
			parked_add(fd);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

int parked_take(const struct net_addr *addr)
{
	for (size_t i = 0; i < parked_count; i++) {
		struct net_addr a;
		int fd = parked[i];

		if (!address_of(fd, &a) || a.port != addr->port || !net_addr_equal_ip(&a, addr))
			continue;
		parked[i] = parked[--parked_count];
		return fd;
	}
	return -1;
}

int parked_take_path(const char *path)
{
	for (size_t i = 0; i < parked_count; i++) {
		struct sockaddr_un sun = {.sun_family = AF_UNSPEC};
		socklen_t len = sizeof(sun);
		int fd = parked[i];

		if (getsockname(fd, (struct sockaddr *)&sun, &len) < 0 ||
		    sun.sun_family != AF_UNIX || strcmp(sun.sun_path, path) != 0)
			continue;
		parked[i] = parked[--parked_count];
		return fd;
	}
	return -1;
}

void parked_close(void)
{
	while (parked_count > 0) {
		struct net_addr a;
		int fd = parked[--parked_count];

		if (address_of(fd, &a) && a.family != AF_UNIX)
			notify_forget(&a);
		close(fd);
	}
}
