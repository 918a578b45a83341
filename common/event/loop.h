/*
 * The event loop of a process: descriptors, timers, signals, deferred calls, and posts from other
 * threads. libevent core underneath; nobody else includes its headers. Everything runs on the
 * loop's thread, except loop_post, which any thread may call. Callbacks may free the object they
 * belong to.
 */
#ifndef MS_EVENT_LOOP_H
#define MS_EVENT_LOOP_H

#include "common/base/err.h"
#include "common/base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct event; /* libevent's */
struct loop;

struct loop *loop_new(void);
void loop_free(struct loop *loop);
void loop_run(struct loop *loop); /* until loop_stop */
void loop_stop(struct loop *loop);

/* --- timers: one shot, in milliseconds of the monotonic clock ------------------------------- */
struct timer {
	struct loop *loop;
	void (*fn)(void *arg);
	void *arg;
	struct event *ev; /* allocated when first set */
};

void timer_init(struct timer *t, struct loop *loop, void (*fn)(void *arg), void *arg);
void timer_set(struct timer *t, uint64_t ms); /* (re)starts it */
void timer_stop(struct timer *t);
bool timer_is_set(const struct timer *t);
void timer_clear(struct timer *t); /* stops and frees */

/* --- descriptors ----------------------------------------------------------------------------- */
#define WATCH_READ 1u
#define WATCH_WRITE 2u

struct watch {
	struct loop *loop;
	int fd; /* borrowed */
	void (*fn)(void *arg, unsigned ready);
	void *arg;
	unsigned wanted;
	struct event *ev;
};

void watch_init(
    struct watch *w, struct loop *loop, int fd, void (*fn)(void *arg, unsigned ready), void *arg);
void watch_set(struct watch *w, unsigned wanted); /* 0 watches nothing */
void watch_clear(struct watch *w);                /* before the descriptor is closed */

/* --- signals: fn runs on the loop; one handler per signal ------------------------------------ */
void loop_on_signal(struct loop *loop, int signo, void (*fn)(void *arg, int signo), void *arg);

/* --- calls at the end of the current turn, in order; a deferred is in the queue once ---------- */
struct deferred {
	struct list link;
	void (*fn)(void *arg);
	void *arg;
};

void loop_defer(struct loop *loop, struct deferred *d);
void deferred_cancel(struct deferred *d);

/* --- posts: from any thread to the loop's ----------------------------------------------------- */
struct post {
	struct list link;
	void (*fn)(struct post *p); /* runs on the loop; may free p */
};

void loop_post(struct loop *loop, struct post *p);
/* Runs what was posted so far, on the loop's thread: when threads end, before their objects go. */
void loop_take_posts(struct loop *loop);

#endif
