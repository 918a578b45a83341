/*
 * Starts programs and keeps them running: the core of mailsteadctl run and of the monitors. Each
 * gets one end of a link as its descriptor 3 (MS_LINK=3 says so) and sends LINK_READY over it when
 * it serves. One that ends is started again after 100 ms, doubling to 10 s while it keeps ending
 * within 60 s; one that ends before it was ever ready ends the whole (wrong configuration). One
 * that was ready and does not answer five pings in a row is killed. A retired one, of an older
 * generation, is not started again. Loop thread.
 */
#ifndef MS_DAEMON_SUPERVISE_H
#define MS_DAEMON_SUPERVISE_H

#include "common/daemon/identity.h"
#include "common/daemon/upgrade.h"
#include "common/event/loop.h"
#include "common/ipc/ipc.h"
#include "common/ipc/msg.h"

struct supervisor;
struct program;

struct supervisor_ops {
	/* All programs have said ready for the first time. */
	void (*on_ready)(void *arg);
	/* All programs have ended after supervisor_stop (status 0), or one failed at its first
	 * start (its exit status). */
	void (*on_end)(void *arg, int status);
	/* A process runs and its link is there: the first messages to it. May be NULL. */
	void (*on_start)(void *arg, struct program *p);
	/* What is neither "ready" nor a pong. May be NULL. */
	void (*on_message)(void *arg, struct program *p, const struct ipc_msg *msg);
	/* The process has ended. May be NULL. */
	void (*on_gone)(void *arg, struct program *p);
};

struct supervisor_options {
	const struct supervisor_ops *ops;
	void *arg;
	uint64_t silence_ms; /* of five pings */
	uint64_t stop_ms;    /* from SIGTERM to SIGKILL */
	bool is_patient;     /* a first start that fails is tried again too */
};

struct program_spec {
	const char *name;
	char *const *argv;          /* copied; argv[0] is the path */
	const struct identity *who; /* copied; NULL: as this process is */
	unsigned rank;              /* higher ranks are stopped first, the same together */
	bool is_foreign;            /* says ready, but then answers nothing */
};

struct supervisor *supervisor_new(struct loop *loop, const struct supervisor_options *opt);
/* Programs start in the order added, each when the one before is ready. */
struct program *supervisor_add(struct supervisor *s, const struct program_spec *spec);
void supervisor_start(struct supervisor *s);
void supervisor_stop(struct supervisor *s);
void supervisor_free(struct supervisor *s);

/*
 * After an upgrade, before supervisor_start: children that live on. As the program of this name,
 * which then needs no start; or, retired, beside it, until they end by themselves.
 */
void supervisor_adopt(struct supervisor *s, const struct survivor *child);
/* The other side: all that run go into u. ERR_BUSY while something is on its way over a link. */
int supervisor_hand_on(struct supervisor *s, struct upgrade *u, struct err *err);
/* Sends to all that run, retired or not. */
void supervisor_tell_all(struct supervisor *s, uint16_t type, struct span body);
/* Sends to all that are retired. */
void supervisor_tell_retired(struct supervisor *s, uint16_t type, struct span body);
size_t supervisor_retired(const struct supervisor *s);

/* False if the process is not there or too much waits for it. */
bool program_send(struct program *p, uint16_t type, uint32_t id, struct span body, const int *fds,
    size_t fd_count);
const char *program_name(const struct program *p);
pid_t program_pid(const struct program *p); /* 0: it is not running */
unsigned program_restarts(const struct program *p);
void program_signal(struct program *p, int signo);

/* --- spawn.c ---------------------------------------------------------------------------------- */
/* Starts argv[0] with default signals, link_fd as descriptor 3, and nothing else of ours but the
 * standard descriptors. Returns the pid; the child ends with status 127 after a line in the log if
 * it cannot become who or be executed. The process must have one thread. */
pid_t spawn_program(char *const argv[], const struct identity *who, int link_fd, struct err *err);

#endif
