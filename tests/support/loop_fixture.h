/* A loop for one test, that fails the test instead of running for ever. */
#ifndef MS_TESTS_LOOP_FIXTURE_H
#define MS_TESTS_LOOP_FIXTURE_H

#include "common/event/clock.h"
#include "common/event/loop.h"
#include "tests/support/unit.h"

static struct loop *loop;
static struct timer loop_guard;

static inline void loop_guard_passed(void *arg)
{
	(void)arg;
	ck_abort_msg("what the test waits for did not happen");
}

static inline void loop_setup(void)
{
	loop = loop_new();
	timer_init(&loop_guard, loop, loop_guard_passed, NULL);
}

static inline void loop_teardown(void)
{
	timer_clear(&loop_guard);
	loop_free(loop);
}

/* Until loop_stop, for at most 30 s. */
static inline void loop_wait(void)
{
	timer_set(&loop_guard, 30000);
	loop_run(loop);
	timer_stop(&loop_guard);
}

static inline void loop_stop_by_timer(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

/* Lets everything happen that is ready now: a turn, and those it brings. */
static inline void loop_settle(void)
{
	struct timer t;

	timer_init(&t, loop, loop_stop_by_timer, NULL);
	timer_set(&t, 20);
	loop_wait();
	timer_clear(&t);
}

#endif
