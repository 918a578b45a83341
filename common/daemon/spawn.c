#include "common/daemon/supervise.h"

#include "common/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINK_FD 3
#define EXIT_EXEC 127

/* Handlers are reset by execve, what is ignored stays so; and libevent may have blocked some. */
static void reset_signals(void)
{
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		if (signo != SIGKILL && signo != SIGSTOP)
			(void)signal(signo, SIG_DFL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What systemd tells its direct child is not for grandchildren. */
static void clean_environment(void)
{
	static const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
	    "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
	setenv("MS_LINK", "3", 1);
}

static _Noreturn void become_program(char *const argv[], const struct identity *who, int link_fd)
{
	struct err err = ERR_INIT;

	reset_signals();
	clean_environment();
	if (link_fd == LINK_FD) {
		(void)fcntl(LINK_FD, F_SETFD, 0);
	} else if (dup2(link_fd, LINK_FD) < 0) {
		err_errno(&err, errno, "descriptor %d", LINK_FD);
		goto out;
	}
	/* All of ours are close-on-exec: this is for those of libraries. */
	(void)close_range(LINK_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	if (who && identity_become(who, &err) < 0)
		goto out;
	execve(argv[0], argv, environ);
	err_errno(&err, errno, "%s", argv[0]);
out:
	log_error("program-start", LOG_ERR(&err));
	_exit(EXIT_EXEC);
}

pid_t spawn_program(char *const argv[], const struct identity *who, int link_fd, struct err *err)
{
	sigset_t all, before;
	pid_t pid;

	/* A signal that comes before the child has become the program would end in our handler, and
	 * the program, told to end, would never know. */
	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		become_program(argv, who, link_fd);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return err_errno(err, errno, "fork for %s", argv[0]);
	return pid;
}
