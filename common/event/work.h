/*
 * Worker threads: work that may block or take long (disk, compression, argon2) runs off the loop,
 * its result comes back to it. A work item is embedded in the caller's object and must stay alive
 * until done was called.
 */
#ifndef MS_EVENT_WORK_H
#define MS_EVENT_WORK_H

#include "common/event/loop.h"

struct work {
	struct post post;
	void (*run)(struct work *w);  /* on a worker thread */
	void (*done)(struct work *w); /* on the loop; may free w or submit it again */
};

struct workers;

/* Threads named "name/0"...; stack of 256 KiB each; all signals blocked in them. */
struct workers *workers_new(struct loop *loop, unsigned threads, const char *name);
/* Finishes what runs and what waits, also what a done submits meanwhile; done is called on the
 * caller (the loop's thread). */
void workers_free(struct workers *ws);
void workers_submit(struct workers *ws, struct work *w); /* loop thread; first in, first out */
struct loop *workers_loop(const struct workers *ws);
size_t workers_waiting(const struct workers *ws); /* submitted, not yet running */

#endif
