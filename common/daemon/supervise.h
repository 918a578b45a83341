/*
 * Starts programs and keeps them running: the core of mailsteadctl run and of the monitors. A
 * program says it is ready by writing one byte to descriptor 3. One that ends is started again
 * after 100 ms, doubling to 10 s while it keeps ending within 60 s; exit status 1 at the first
 * start (wrong configuration) ends the whole. Loop thread.
 */
#ifndef MS_DAEMON_SUPERVISE_H
#define MS_DAEMON_SUPERVISE_H

#include "common/base/err.h"
#include "common/event/loop.h"

#include <sys/types.h>

struct supervisor;

struct supervisor_ops {
	/* All programs have said ready for the first time. */
	void (*on_ready)(void *arg);
	/* All programs have ended after supervisor_stop (status 0), or one failed at its first
	 * start (its exit status). */
	void (*on_end)(void *arg, int status);
};

struct supervisor *supervisor_new(struct loop *loop, const struct supervisor_ops *ops, void *arg);
/* argv is copied; argv[0] is the path. Programs start in the order added, each when the one before
 * is ready. */
void supervisor_add(struct supervisor *s, const char *name, char *const argv[]);
void supervisor_start(struct supervisor *s);
void supervisor_stop(struct supervisor *s); /* SIGTERM in reverse order; SIGKILL after 35 s */
void supervisor_signal(struct supervisor *s, int signo); /* to every program */
/* fn for each: pid 0 when it is not running. */
void supervisor_each(struct supervisor *s,
    void (*fn)(void *arg, const char *name, pid_t pid, unsigned restarts), void *arg);
void supervisor_free(struct supervisor *s);

#endif
