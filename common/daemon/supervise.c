#include "common/daemon/supervise.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_FD 3
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 10000
#define STEADY_MS 60000
#define KILL_MS 35000
#define ARGS_MAX 16

struct program {
	struct list link;
	struct supervisor *s;
	char *name;
	char *argv[ARGS_MAX + 1];
	pid_t pid; /* 0: not running */
	int ready_fd;
	struct watch ready;
	bool was_ready; /* since it was last started */
	bool was_ever_ready;
	unsigned restarts;
	uint64_t started_ms, backoff;
	struct timer again;
};

struct supervisor {
	struct loop *loop;
	const struct supervisor_ops *ops;
	void *arg;
	struct list programs;
	bool is_stopping, has_said_ready, has_ended;
	int status;
	struct timer kill;
	struct deferred end;
};

static void start_next(struct supervisor *s);
static void stop_next(struct supervisor *s);

static struct program *program_of(struct list *it)
{
	return container_of(it, struct program, link);
}

static void on_end(void *arg)
{
	struct supervisor *s = arg;

	s->ops->on_end(s->arg, s->status);
}

static void ended(struct supervisor *s)
{
	if (s->has_ended)
		return;
	s->has_ended = true;
	timer_stop(&s->kill);
	loop_defer(s->loop, &s->end);
}

/* The new process: default signals, our standard descriptors, the pipe's end as descriptor 3. */
static int spawn(struct program *p, int write_end)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, defaults;
	int result;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, write_end, READY_FD);
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	sigfillset(&defaults);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	result = posix_spawn(&p->pid, p->argv[0], &actions, &attr, p->argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	if (result != 0)
		p->pid = 0;
	return result;
}

static void ready_clear(struct program *p)
{
	if (p->ready_fd < 0)
		return;
	watch_clear(&p->ready);
	close(p->ready_fd);
	p->ready_fd = -1;
}

static void on_ready(void *arg, unsigned what)
{
	struct program *p = arg;
	char byte;
	ssize_t n = read(p->ready_fd, &byte, 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	ready_clear(p);
	if (n != 1)
		return; /* it ended: SIGCHLD tells how */
	p->was_ready = p->was_ever_ready = true;
	log_info("program-ready", LOG_STR("program", p->name), LOG_I64("pid", p->pid));
	start_next(p->s);
}

static void start(struct program *p)
{
	int ends[2];
	int result = pipe2(ends, O_CLOEXEC | O_NONBLOCK);

	if (result == 0) {
		/* Descriptor 3 itself would keep its close-on-exec flag through dup2. */
		int write_end = fcntl(ends[1], F_DUPFD_CLOEXEC, 10);

		close(ends[1]);
		p->was_ready = false;
		p->started_ms = clock_mono_ms();
		result = write_end < 0 ? errno : spawn(p, write_end);
		if (write_end >= 0)
			close(write_end);
		p->ready_fd = ends[0];
		watch_init(&p->ready, p->s->loop, p->ready_fd, on_ready, p);
		watch_set(&p->ready, WATCH_READ);
	} else {
		result = errno;
	}
	if (result == 0)
		return;
	log_error(
	    "program-start", LOG_STR("program", p->argv[0]), LOG_STR("why", strerror(result)));
	ready_clear(p);
	if (!p->was_ever_ready) {
		p->s->status = 1;
		supervisor_stop(p->s);
	} else {
		timer_set(&p->again, BACKOFF_MAX_MS);
	}
}

static void on_again(void *arg)
{
	struct program *p = arg;

	if (!p->s->is_stopping)
		start(p);
}

static void start_next(struct supervisor *s)
{
	if (s->is_stopping)
		return;
	LIST_EACH (it, &s->programs) {
		struct program *p = program_of(it);

		if (p->was_ever_ready)
			continue;
		if (p->pid == 0 && !timer_is_set(&p->again))
			start(p);
		return;
	}
	if (!s->has_said_ready) {
		s->has_said_ready = true;
		s->ops->on_ready(s->arg);
	}
}

static int exit_status_of(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void program_ended(struct program *p, int status)
{
	struct supervisor *s = p->s;
	bool was_steady = clock_mono_ms() - p->started_ms >= STEADY_MS;

	p->pid = 0;
	ready_clear(p);
	if (s->is_stopping) {
		stop_next(s);
		return;
	}
	log_warning("program-ended", LOG_STR("program", p->name),
	    LOG_I64("status", exit_status_of(status)));
	if (!p->was_ever_ready) {
		s->status = exit_status_of(status) ? exit_status_of(status) : 1;
		supervisor_stop(s);
		return;
	}
	p->restarts++;
	if (was_steady || p->backoff == 0)
		p->backoff = BACKOFF_MIN_MS;
	timer_set(&p->again, p->backoff);
	p->backoff = p->backoff * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : p->backoff * 2;
}

static void on_child(void *arg, int signo)
{
	struct supervisor *s = arg;

	LIST_EACH_SAFE (it, &s->programs) {
		struct program *p = program_of(it);
		int status;

		if (p->pid > 0 && waitpid(p->pid, &status, WNOHANG) == p->pid)
			program_ended(p, status);
	}
}

/* In reverse order, one after the other: who needs another's answers ends before it. */
static void stop_next(struct supervisor *s)
{
	for (struct list *it = s->programs.prev; it != &s->programs; it = it->prev) {
		struct program *p = program_of(it);

		if (p->pid > 0) {
			kill(p->pid, SIGTERM);
			return;
		}
	}
	ended(s);
}

static void on_kill(void *arg)
{
	struct supervisor *s = arg;

	LIST_EACH (it, &s->programs) {
		struct program *p = program_of(it);

		if (p->pid > 0) {
			log_error("program-killed", LOG_STR("program", p->name));
			kill(p->pid, SIGKILL);
		}
	}
	timer_set(&s->kill, KILL_MS);
}

struct supervisor *supervisor_new(struct loop *loop, const struct supervisor_ops *ops, void *arg)
{
	struct supervisor *s = mem_zalloc(sizeof(*s));

	s->loop = loop;
	s->ops = ops;
	s->arg = arg;
	s->end = (struct deferred){.fn = on_end, .arg = s};
	list_init(&s->programs);
	timer_init(&s->kill, loop, on_kill, s);
	loop_on_signal(loop, SIGCHLD, on_child, s);
	setenv("MS_READY_FD", "3", 1);
	return s;
}

void supervisor_add(struct supervisor *s, const char *name, char *const argv[])
{
	struct program *p = mem_zalloc(sizeof(*p));

	p->s = s;
	p->name = mem_strdup(name);
	p->ready_fd = -1;
	for (size_t i = 0; argv[i]; i++) {
		if (i == ARGS_MAX)
			fatal("%s: more than %d arguments", name, ARGS_MAX);
		p->argv[i] = mem_strdup(argv[i]);
	}
	timer_init(&p->again, s->loop, on_again, p);
	list_append(&s->programs, &p->link);
}

void supervisor_start(struct supervisor *s)
{
	start_next(s);
}

void supervisor_stop(struct supervisor *s)
{
	if (s->is_stopping)
		return;
	s->is_stopping = true;
	timer_set(&s->kill, KILL_MS);
	stop_next(s);
}

void supervisor_signal(struct supervisor *s, int signo)
{
	LIST_EACH (it, &s->programs)
		if (program_of(it)->pid > 0)
			kill(program_of(it)->pid, signo);
}

void supervisor_each(struct supervisor *s,
    void (*fn)(void *arg, const char *name, pid_t pid, unsigned restarts), void *arg)
{
	LIST_EACH (it, &s->programs) {
		struct program *p = program_of(it);

		fn(arg, p->name, p->pid, p->restarts);
	}
}

void supervisor_free(struct supervisor *s)
{
	if (!s)
		return;
	for (struct list *it; (it = list_take_first(&s->programs));) {
		struct program *p = program_of(it);

		ready_clear(p);
		timer_clear(&p->again);
		for (size_t i = 0; p->argv[i]; i++)
			mem_free(p->argv[i]);
		mem_free(p->name);
		mem_free(p);
	}
	deferred_cancel(&s->end);
	timer_clear(&s->kill);
	mem_free(s);
}
