#include "webadmin/server/server.h"

#include "common/base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_FD 3
#define HIGH_FD 10 /* out of the way of those that are handed on */
#define BACKLOG 128

/* A listening socket, -1 with an error, or -2: this machine has no such address. */
static int bind_one(int family, const char *address, unsigned port, struct err *err)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	bool is_six = family == AF_INET6;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1, high, result;

	if (fd < 0)
		return errno == EAFNOSUPPORT ? -2 : err_errno(err, errno, "socket");
	(void)inet_pton(family, address, is_six ? (void *)&six.sin6_addr : (void *)&four.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (is_six)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	result = is_six ? bind(fd, (struct sockaddr *)&six, sizeof(six))
			: bind(fd, (struct sockaddr *)&four, sizeof(four));
	if (result == 0)
		result = listen(fd, BACKLOG);
	high = result == 0 ? fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD) : -1;
	if (high < 0) {
		high = is_six && errno == EADDRNOTAVAIL
			   ? -2
			   : err_errno(err, errno, "%s port %u", address, port);
	}
	close(fd);
	return high;
}

static int add_place(
    struct places *p, int family, const char *address, const struct config *cfg, struct err *err)
{
	static const enum setting ports[] = {SET_WEB_PORT, SET_WEB_HTTP_PORT};

	for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
		unsigned port = (unsigned)config_u64(cfg, ports[i]);
		int fd;

		if (port == 0)
			continue;
		fd = bind_one(family, address, port, err);
		if (fd < 0)
			return fd == -2 ? 0 : -1;
		p->fds[p->fd_count++] = fd;
	}
	snprintf(
	    p->text[p->count++], sizeof(p->text[0]), family == AF_INET6 ? "[%s]" : "%s", address);
	return 0;
}

int places_bind(const struct config *cfg, struct places *p, struct err *err)
{
	const char *address = config_str(cfg, SET_WEB_ADDRESS);
	unsigned char raw[sizeof(struct in6_addr)];

	*p = (struct places){0};
	if (strcmp(address, "*") == 0) {
		if (add_place(p, AF_INET, "0.0.0.0", cfg, err) < 0 ||
		    add_place(p, AF_INET6, "::", cfg, err) < 0)
			return -1;
	} else if (inet_pton(AF_INET, address, raw) == 1) {
		if (add_place(p, AF_INET, address, cfg, err) < 0)
			return -1;
	} else if (inet_pton(AF_INET6, address, raw) == 1) {
		if (add_place(p, AF_INET6, address, cfg, err) < 0)
			return -1;
	} else {
		return err_set(err, ERR_INVALID,
		    "web.address: found \"%s\", expected an IPv4 or IPv6 address or *", address);
	}
	if (p->count == 0)
		return err_set(err, ERR_IO, "web.address: this machine has no address %s", address);
	return 0;
}

int places_hand_on(const struct places *p, struct err *err)
{
	char text[24];

	for (size_t i = 0; i < p->fd_count; i++)
		if (dup2(p->fds[i], FIRST_FD + (int)i) < 0)
			return err_errno(err, errno, "descriptor %d", FIRST_FD + (int)i);
	snprintf(text, sizeof(text), "%zu", p->fd_count);
	setenv("LISTEN_FDS", text, 1);
	snprintf(text, sizeof(text), "%ld", (long)getpid());
	setenv("LISTEN_PID", text, 1);
	unsetenv("LISTEN_FDNAMES");
	return 0;
}
