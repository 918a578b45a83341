/* Verbs that maint does: it is started with a socket, and its answer is printed like authd's. */
#include "common/ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAINT_FD 3
#define MAINT_ARGS 40

static const char *const verbs[] = {
    "check", "export", "import", "backup", "restore", "compact", "recover"};

bool ctl_is_maint(struct span verb)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (span_eq(verb, span_of(verbs[i])))
			return true;
	return false;
}

static _Noreturn void become_maint(const char *path, char *const argv[], int fd)
{
	if (fd == MAINT_FD ? fcntl(fd, F_SETFD, 0) == 0 : dup2(fd, MAINT_FD) >= 0)
		execv(path, argv);
	fprintf(stderr, "mailsteadctl: %s cannot be started\n", path);
	_exit(127);
}

int ctl_maint_start(
    const char *conf, const struct span *words, size_t count, pid_t *pid, struct err *err)
{
	char path[CONFIG_PATH_MAX], option[] = "-c";
	char *argv[MAINT_ARGS + 4];
	struct config *cfg;
	size_t n = 0;
	int ends[2];

	if (count > MAINT_ARGS)
		return err_set(err, ERR_LIMIT, "too many words");
	if (config_load(conf, &cfg, err) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/maint", config_str(cfg, SET_PATHS_LIBEXEC));
	config_unref(cfg);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return err_errno(err, errno, "socketpair");
	argv[n++] = path;
	argv[n++] = option;
	argv[n++] = (char *)(uintptr_t)conf;
	/* Words of our own command line: they end in a NUL. */
	for (size_t i = 0; i < count; i++)
		argv[n++] = (char *)(uintptr_t)words[i].p;
	argv[n] = NULL;
	*pid = fork();
	if (*pid == 0)
		become_maint(path, argv, ends[1]);
	close(ends[1]);
	if (*pid > 0)
		return ends[0];
	close(ends[0]);
	return err_errno(err, errno, "fork");
}

void ctl_maint_wait(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
