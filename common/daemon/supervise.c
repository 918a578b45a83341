#include "common/daemon/supervise.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 10000
#define STEADY_MS 60000
#define PINGS 5
#define ARGS_MAX 16

struct program {
	struct list link;
	struct supervisor *s;
	char *name;
	char *argv[ARGS_MAX + 1];
	struct identity who;
	bool has_identity, is_foreign, is_retired;
	unsigned rank;
	pid_t pid; /* 0: not running */
	struct ipc_link *end;
	bool was_ready; /* since it was last started */
	bool was_ever_ready;
	unsigned restarts, unanswered;
	uint64_t started_ms, backoff;
	struct timer again;
};

struct supervisor {
	struct loop *loop;
	struct supervisor_options opt;
	struct list programs;
	bool is_stopping, has_said_ready, has_ended;
	int status;
	unsigned rank; /* being stopped */
	struct timer kill, ping;
	struct deferred end;
};

static void start_next(struct supervisor *s);
static void program_free(struct program *p);
static void stop_next(struct supervisor *s);

static struct program *program_of(struct list *it)
{
	return container_of(it, struct program, link);
}

static void on_end(void *arg)
{
	struct supervisor *s = arg;

	s->opt.ops->on_end(s->opt.arg, s->status);
}

static void ended(struct supervisor *s)
{
	if (s->has_ended)
		return;
	s->has_ended = true;
	timer_stop(&s->kill);
	timer_stop(&s->ping);
	loop_defer(s->loop, &s->end);
}

/* --- the link --------------------------------------------------------------------------------- */
static void on_message(
    void *arg, const struct ipc_msg *msg, const int fds[IPC_LINK_FDS], size_t fd_count)
{
	struct program *p = arg;
	struct supervisor *s = p->s;

	for (size_t i = 0; i < fd_count; i++)
		close(fds[i]); /* nobody sends us any */
	p->unanswered = 0;
	if (msg->type == LINK_READY) {
		p->was_ready = p->was_ever_ready = true;
		log_info("program-ready", LOG_STR("program", p->name), LOG_I64("pid", p->pid));
		start_next(s);
	} else if (msg->type != LINK_PONG && s->opt.ops->on_message) {
		s->opt.ops->on_message(s->opt.arg, p, msg);
	}
}

static void on_link_gone(void *arg)
{
	struct program *p = arg;

	/* SIGCHLD tells how it ended; one that lives on without its link is silent from now. */
	ipc_link_free(p->end);
	p->end = NULL;
}

static void ping(struct program *p)
{
	if (p->pid == 0 || !p->was_ready || p->is_foreign)
		return;
	/* Counted, not timed: while we ourselves were stopped nobody was silent. */
	if (p->unanswered >= PINGS) {
		log_error("program-silent", LOG_STR("program", p->name), LOG_I64("pid", p->pid));
		kill(p->pid, SIGKILL);
		return;
	}
	p->unanswered++;
	(void)program_send(p, LINK_PING, 0, span_make("", 0), NULL, 0);
}

static void on_ping(void *arg)
{
	struct supervisor *s = arg;

	if (!s->is_stopping)
		LIST_EACH (it, &s->programs)
			ping(program_of(it));
	timer_set(&s->ping, s->opt.silence_ms / PINGS);
}

/* --- starting --------------------------------------------------------------------------------- */
static const struct ipc_link_ops link_ops = {.on_message = on_message, .on_gone = on_link_gone};

static int spawn(struct program *p, struct err *err)
{
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return err_errno(err, errno, "link to %s", p->name);
	pid = spawn_program(p->argv, p->has_identity ? &p->who : NULL, ends[1], err);
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return -1;
	}
	p->pid = pid;
	p->was_ready = false;
	p->unanswered = 0;
	p->started_ms = clock_mono_ms();
	p->end = ipc_link_new(p->s->loop, ends[0], &link_ops, p);
	return 0;
}

static void start(struct program *p)
{
	struct supervisor *s = p->s;
	struct err err = ERR_INIT;

	if (spawn(p, &err) == 0) {
		if (s->opt.ops->on_start)
			s->opt.ops->on_start(s->opt.arg, p);
		return;
	}
	log_error("program-start", LOG_STR("program", p->name), LOG_ERR(&err));
	if (!p->was_ever_ready && !s->opt.is_patient) {
		s->status = 1;
		supervisor_stop(s);
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

		if (p->was_ever_ready || p->is_retired)
			continue;
		if (p->pid == 0 && !timer_is_set(&p->again))
			start(p);
		return;
	}
	if (!s->has_said_ready) {
		s->has_said_ready = true;
		s->opt.ops->on_ready(s->opt.arg);
	}
}

/* --- ending ----------------------------------------------------------------------------------- */
static int exit_status_of(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void program_ended(struct program *p, int status)
{
	struct supervisor *s = p->s;
	bool was_steady = clock_mono_ms() - p->started_ms >= STEADY_MS;

	p->pid = 0;
	ipc_link_free(p->end);
	p->end = NULL;
	if (s->opt.ops->on_gone)
		s->opt.ops->on_gone(s->opt.arg, p);
	if (s->is_stopping) {
		stop_next(s);
		return;
	}
	if (p->is_retired) {
		log_info("program-retired", LOG_STR("program", p->name),
		    LOG_I64("status", exit_status_of(status)));
		program_free(p);
		return;
	}
	log_warning("program-ended", LOG_STR("program", p->name),
	    LOG_I64("status", exit_status_of(status)));
	if (!p->was_ever_ready && !s->opt.is_patient) {
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

/* By rank: who needs another's answers ends before it. */
static void stop_next(struct supervisor *s)
{
	unsigned highest = 0;
	bool is_any = false;

	LIST_EACH (it, &s->programs) {
		struct program *p = program_of(it);

		if (p->pid > 0 && (!is_any || p->rank > highest))
			highest = p->rank;
		is_any = is_any || p->pid > 0;
	}
	if (!is_any) {
		ended(s);
		return;
	}
	if (highest == s->rank)
		return; /* told already */
	s->rank = highest;
	timer_set(&s->kill, s->opt.stop_ms);
	LIST_EACH (it, &s->programs)
		if (program_of(it)->rank == highest)
			program_signal(program_of(it), SIGTERM);
}

static void on_kill(void *arg)
{
	struct supervisor *s = arg;

	LIST_EACH (it, &s->programs) {
		struct program *p = program_of(it);

		if (p->pid > 0 && p->rank == s->rank) {
			log_error("program-killed", LOG_STR("program", p->name));
			kill(p->pid, SIGKILL);
		}
	}
	timer_set(&s->kill, s->opt.stop_ms);
}

void supervisor_stop(struct supervisor *s)
{
	if (s->is_stopping)
		return;
	s->is_stopping = true;
	s->rank = ~0U;
	stop_next(s);
}

/* --- the set ---------------------------------------------------------------------------------- */
struct supervisor *supervisor_new(struct loop *loop, const struct supervisor_options *opt)
{
	struct supervisor *s = mem_zalloc(sizeof(*s));

	s->loop = loop;
	s->opt = *opt;
	s->end = (struct deferred){.fn = on_end, .arg = s};
	list_init(&s->programs);
	timer_init(&s->kill, loop, on_kill, s);
	timer_init(&s->ping, loop, on_ping, s);
	loop_on_signal(loop, SIGCHLD, on_child, s);
	return s;
}

struct program *supervisor_add(struct supervisor *s, const struct program_spec *spec)
{
	struct program *p = mem_zalloc(sizeof(*p));

	p->s = s;
	p->name = mem_strdup(spec->name);
	p->rank = spec->rank;
	p->is_foreign = spec->is_foreign;
	p->has_identity = spec->who != NULL;
	if (spec->who)
		p->who = *spec->who;
	for (size_t i = 0; spec->argv[i]; i++) {
		if (i == ARGS_MAX)
			fatal("%s: more than %d arguments", spec->name, ARGS_MAX);
		p->argv[i] = mem_strdup(spec->argv[i]);
	}
	timer_init(&p->again, s->loop, on_again, p);
	list_append(&s->programs, &p->link);
	return p;
}

void supervisor_start(struct supervisor *s)
{
	on_child(s, SIGCHLD); /* adopted ones that ended meanwhile */
	on_ping(s);
	start_next(s);
}

static void program_free(struct program *p)
{
	list_remove(&p->link);
	ipc_link_free(p->end);
	timer_clear(&p->again);
	for (size_t i = 0; p->argv[i]; i++)
		mem_free(p->argv[i]);
	mem_free(p->name);
	mem_free(p);
}

void supervisor_free(struct supervisor *s)
{
	if (!s)
		return;
	while (!list_is_empty(&s->programs))
		program_free(program_of(s->programs.next));
	deferred_cancel(&s->end);
	timer_clear(&s->kill);
	timer_clear(&s->ping);
	mem_free(s);
}

bool program_send(struct program *p, uint16_t type, uint32_t id, struct span body, const int *fds,
    size_t fd_count)
{
	return p->end && ipc_link_send(p->end, type, id, body, fds, fd_count);
}

const char *program_name(const struct program *p)
{
	return p->name;
}

pid_t program_pid(const struct program *p)
{
	return p->pid;
}

unsigned program_restarts(const struct program *p)
{
	return p->restarts;
}

void program_signal(struct program *p, int signo)
{
	if (p->pid > 0)
		kill(p->pid, signo);
}

/* --- upgrades --------------------------------------------------------------------------------- */
static struct program *find_program(struct supervisor *s, const char *name)
{
	LIST_EACH (it, &s->programs)
		if (!program_of(it)->is_retired && strcmp(program_of(it)->name, name) == 0)
			return program_of(it);
	return NULL;
}

void supervisor_adopt(struct supervisor *s, const struct survivor *child)
{
	struct program *p = child->is_retired ? NULL : find_program(s, child->name);

	if (!p) {
		char *argv[] = {NULL};

		p = supervisor_add(s, &(struct program_spec){.name = child->name, .argv = argv});
		p->is_retired = true;
	}
	p->pid = child->pid;
	p->was_ready = p->was_ever_ready = true;
	p->started_ms = clock_mono_ms();
	if (child->link_fd >= 0)
		p->end = ipc_link_new(s->loop, child->link_fd, &link_ops, p);
	else
		p->is_foreign = true;
	/* Nobody is told that they have begun to serve; and one may have ended already. */
	s->has_said_ready = s->has_said_ready || !p->is_retired;
}

int supervisor_hand_on(struct supervisor *s, struct upgrade *u, struct err *err)
{
	LIST_EACH (it, &s->programs) {
		struct program *p = program_of(it);

		if (p->pid == 0)
			continue;
		if (!p->was_ready || (p->end && !ipc_link_is_idle(p->end)))
			return err_set(err, ERR_BUSY, "%s is busy, try again", p->name);
		upgrade_add_child(
		    u, p->name, p->pid, p->end ? ipc_link_fd(p->end) : -1, p->is_retired);
	}
	return 0;
}

void supervisor_tell_all(struct supervisor *s, uint16_t type, struct span body)
{
	LIST_EACH (it, &s->programs)
		(void)program_send(program_of(it), type, 0, body, NULL, 0);
}

void supervisor_tell_retired(struct supervisor *s, uint16_t type, struct span body)
{
	LIST_EACH (it, &s->programs)
		if (program_of(it)->is_retired)
			(void)program_send(program_of(it), type, 0, body, NULL, 0);
}

size_t supervisor_retired(const struct supervisor *s)
{
	size_t n = 0;

	LIST_EACH (it, &s->programs)
		n += program_of(it)->is_retired;
	return n;
}
