#include "common/daemon/probe.h"

#include "common/base/mem.h"
#include "common/net/addr.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARG_MAX_LEN 512

bool probe_is_on(void)
{
	const char *v = secure_getenv("MAILSTEAD_PROBE");

	return v && strcmp(v, "1") == 0;
}

static int close_after(int fd)
{
	if (fd >= 0)
		close(fd);
	return fd < 0 ? -1 : 0;
}

static int try_open(const char *path, const char *more)
{
	return close_after(open(path, O_RDONLY | O_CLOEXEC));
}

static int try_create(const char *path, const char *more)
{
	return close_after(open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
}

static int try_unlink(const char *path, const char *more)
{
	return unlink(path);
}

static int try_exec(const char *path, const char *more)
{
	char name[] = "probe";

	return execve(path, (char *[]){name, NULL}, environ);
}

static int try_fork(const char *arg, const char *more)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 ? -1 : waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

static void *do_nothing(void *arg)
{
	return NULL;
}

static int try_thread(const char *arg, const char *more)
{
	pthread_t t;

	errno = pthread_create(&t, NULL, do_nothing, NULL);
	return errno == 0 ? pthread_join(t, NULL) : -1;
}

static int try_trace(const char *arg, const char *more)
{
	return (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static int try_setuid(const char *arg, const char *more)
{
	return setuid(getuid());
}

static int try_kill(const char *pid, const char *more)
{
	return kill((pid_t)strtol(pid, NULL, 10), 0);
}

static int try_socket(const char *family, const char *more)
{
	return close_after(socket((int)strtol(family, NULL, 10), SOCK_STREAM | SOCK_CLOEXEC, 0));
}

/* Loopback answers at once, so that waiting for it keeps nobody waiting. */
static int try_connect(const char *address, const char *port)
{
	struct sockaddr_storage ss;
	struct net_addr a;
	socklen_t len;
	int fd, result;

	if (net_addr_parse(&a, span_of(address), (uint16_t)strtol(port, NULL, 10), NULL) < 0) {
		errno = EINVAL;
		return -1;
	}
	len = net_addr_to_sockaddr(&a, &ss);
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	result = connect(fd, (struct sockaddr *)&ss, len);
	close(fd);
	return result;
}

static int try_unix(const char *path, const char *more)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd, result;

	if (snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path) >= (int)sizeof(sun.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	result = connect(fd, (struct sockaddr *)&sun, sizeof(sun));
	close(fd);
	return result;
}

static const struct {
	const char *name;
	int (*run)(const char *arg, const char *more);
} attempts[] = {
    {"open", try_open},
    {"create", try_create},
    {"unlink", try_unlink},
    {"exec", try_exec},
    {"fork", try_fork},
    {"thread", try_thread},
    {"trace", try_trace},
    {"setuid", try_setuid},
    {"kill", try_kill},
    {"socket", try_socket},
    {"connect", try_connect},
    {"unix", try_unix},
};

void probe_run(const struct ipc_admin *cmd, const struct admin_request *rq)
{
	char args[2][ARG_MAX_LEN] = {"", ""};

	for (uint32_t i = 2; i < cmd->count && i < 4; i++)
		snprintf(args[i - 2], ARG_MAX_LEN, "%.*s", SPAN_FMT(cmd->words[i]));
	for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
		if (cmd->count < 2 || !span_eq(cmd->words[1], span_of(attempts[i].name)))
			continue;
		if (attempts[i].run(args[0], args[1]) == 0)
			admin_end(rq, ERR_NONE, "%s", "ok");
		else
			admin_end(rq, ERR_NONE, "%s", strerrorname_np(errno));
		return;
	}
	admin_end(rq, ERR_INVALID, "no such probe");
}
