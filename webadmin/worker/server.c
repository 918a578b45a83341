/* lighttpd as a child: one that serves, and those before it that finish. */
#include "webadmin/worker/worker.h"

#include "common/base/list.h"
#include "common/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST_FD 3
#define HIGH_FD 16 /* out of the way of those that are handed on */

struct child {
	struct list link;
	pid_t pid;
};

struct server {
	struct loop *loop;
	const struct server_ops *ops;
	void *arg;
	struct list children;
	pid_t current; /* 0: none serves */
	bool is_finishing;
};

static void remove_child(struct server *s, pid_t pid, int status)
{
	char how[64];

	LIST_EACH_SAFE (it, &s->children) {
		struct child *c = container_of(it, struct child, link);

		if (c->pid == pid) {
			list_remove(&c->link);
			mem_free(c);
		}
	}
	if (pid != s->current)
		return;
	s->current = 0;
	if (WIFSIGNALED(status))
		snprintf(how, sizeof(how), "signal %d", WTERMSIG(status));
	else
		snprintf(how, sizeof(how), "exit status %d", WEXITSTATUS(status));
	if (!s->is_finishing)
		s->ops->on_death(s->arg, how);
}

static void on_child(void *arg, int signo)
{
	struct server *s = arg;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		remove_child(s, pid, status);
	if (s->is_finishing && list_is_empty(&s->children))
		s->ops->on_finished(s->arg);
}

struct server *server_new(struct loop *loop, const struct server_ops *ops, void *arg)
{
	struct server *s = mem_zalloc(sizeof(*s));

	s->loop = loop;
	s->ops = ops;
	s->arg = arg;
	list_init(&s->children);
	loop_on_signal(loop, SIGCHLD, on_child, s);
	return s;
}

/* The sockets as descriptors 3 and up, said in LISTEN_FDS. */
static void hand_on(const struct places *p)
{
	int high[WEB_SOCKETS];
	char text[24];

	for (size_t i = 0; i < p->fd_count; i++)
		high[i] = fcntl(p->fds[i], F_DUPFD_CLOEXEC, HIGH_FD);
	for (size_t i = 0; i < p->fd_count; i++)
		if (high[i] < 0 || dup2(high[i], FIRST_FD + (int)i) < 0)
			_exit(126);
	snprintf(text, sizeof(text), "%zu", p->fd_count);
	setenv("LISTEN_FDS", text, 1);
	snprintf(text, sizeof(text), "%ld", (long)getpid());
	setenv("LISTEN_PID", text, 1);
	unsetenv("LISTEN_FDNAMES");
}

static _Noreturn void become(
    const char *lighttpd, const char *conf, const struct places *p, pid_t parent)
{
	static const int ours[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGPIPE, SIGUSR1, SIGUSR2};
	sigset_t none;

	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		signal(ours[i], SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* It ends with us, who may be gone already. */
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
	if (getppid() != parent)
		_exit(126);
	hand_on(p);
	execl(lighttpd, "lighttpd", "-D", "-f", conf, (char *)NULL);
	_exit(127);
}

void server_stop(struct server *s)
{
	if (s->current > 0)
		kill(s->current, SIGINT);
	s->current = 0;
}

int server_start(struct server *s, const char *lighttpd, const char *conf, const struct places *p,
    struct err *err)
{
	struct child *c = mem_zalloc(sizeof(*c));
	pid_t self = getpid();

	c->pid = fork();
	if (c->pid == 0)
		become(lighttpd, conf, p, self);
	if (c->pid < 0) {
		mem_free(c);
		return err_errno(err, errno, "fork");
	}
	server_stop(s);
	s->current = c->pid;
	list_append(&s->children, &c->link);
	return 0;
}

void server_finish(struct server *s)
{
	s->is_finishing = true;
	server_stop(s);
	if (list_is_empty(&s->children))
		s->ops->on_finished(s->arg);
}

bool server_is_running(const struct server *s)
{
	return s->current > 0;
}

void server_free(struct server *s)
{
	if (!s)
		return;
	LIST_EACH_SAFE (it, &s->children) {
		struct child *c = container_of(it, struct child, link);

		kill(c->pid, SIGTERM);
		mem_free(c);
	}
	mem_free(s);
}
