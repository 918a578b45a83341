#include "common/daemon/notify.h"

#include "common/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME_MAX_LEN 64

static struct {
	char *path;
	int fd;
	struct timer alive;
	uint64_t alive_ms;
} manager = {.fd = -1};

static void notify_send(const char *text, const int *pass)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec io = {.iov_base = (char *)(uintptr_t)text, .iov_len = strlen(text)};
	struct msghdr msg = {.msg_name = &sun, .msg_iov = &io, .msg_iovlen = 1};
	size_t n;

	if (manager.fd < 0)
		return;
	n = strlen(manager.path);
	memcpy(sun.sun_path, manager.path, n);
	if (sun.sun_path[0] == '@')
		sun.sun_path[0] = '\0'; /* an abstract name */
	msg.msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	if (pass) {
		memset(&control, 0, sizeof(control));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), pass, sizeof(int));
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
	}
	(void)!sendmsg(manager.fd, &msg, MSG_NOSIGNAL);
}

static void on_alive(void *arg)
{
	notify_send("WATCHDOG=1", NULL);
	timer_set(&manager.alive, manager.alive_ms);
}

/* Half of the time it gives us. */
static void start_signs_of_life(struct loop *loop)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t n;

	if (usec && (!pid || strtoul(pid, NULL, 10) == (unsigned long)getpid()) &&
	    span_u64(span_of(usec), UINT64_MAX / 2, &n) && n >= 2000) {
		manager.alive_ms = n / 2000;
		timer_init(&manager.alive, loop, on_alive, NULL);
		timer_set(&manager.alive, manager.alive_ms);
	}
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void notify_open(struct loop *loop)
{
	const char *path = getenv("NOTIFY_SOCKET");

	if (!path || (path[0] != '/' && path[0] != '@') ||
	    strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return;
	manager.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (manager.fd < 0)
		return;
	manager.path = mem_strdup(path);
	unsetenv("NOTIFY_SOCKET");
	start_signs_of_life(loop);
}

void notify_ready(void)
{
	notify_send("READY=1", NULL);
}

void notify_stopping(void)
{
	notify_send("STOPPING=1", NULL);
}

/* Without a colon, which the manager takes for a separator. */
static void name_of(const struct net_addr *addr, char out[NAME_MAX_LEN])
{
	int n = snprintf(out, NAME_MAX_LEN, "port-%u-", addr->port);

	for (size_t i = 0; i < (addr->family == AF_INET ? 4u : 16u); i++)
		n += snprintf(out + n, NAME_MAX_LEN - (size_t)n, "%02x", addr->ip[i]);
}

void notify_keep(const struct net_addr *addr, int fd)
{
	char name[NAME_MAX_LEN], text[2 * NAME_MAX_LEN];

	name_of(addr, name);
	snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	notify_send(text, &fd);
}

void notify_forget(const struct net_addr *addr)
{
	char name[NAME_MAX_LEN], text[2 * NAME_MAX_LEN];

	name_of(addr, name);
	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	notify_send(text, NULL);
}

void notify_close(void)
{
	if (manager.fd < 0)
		return;
	timer_clear(&manager.alive);
	setenv("NOTIFY_SOCKET", manager.path, 1);
	if (manager.alive_ms > 0) {
		char usec[24];

		snprintf(usec, sizeof(usec), "%llu", (unsigned long long)manager.alive_ms * 2000);
		setenv("WATCHDOG_USEC", usec, 1);
	}
	close(manager.fd);
	mem_free(manager.path);
	manager.fd = -1;
	manager.path = NULL;
}
