/* The loop: timers, descriptors, signals, deferred calls, posts; the worker threads. */
#include "common/event/work.h"
#include "tests/support/loop_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static char trace[256];
static uint64_t set_at;

static void note(const char *what)
{
	snprintf(trace + strlen(trace), sizeof(trace) - strlen(trace), "%s", what);
}

static void note_arg(void *arg)
{
	note(arg);
}

static void note_and_stop(void *arg)
{
	note(arg);
	loop_stop(loop);
}

static void setup(void)
{
	loop_setup();
	trace[0] = '\0';
}

/* --- timers ----------------------------------------------------------------------------------- */
START_TEST(timers_in_order)
{
	struct timer a, b, c, never;

	timer_init(&a, loop, note_arg, (char[]){'a', 0});
	timer_init(&b, loop, note_arg, (char[]){'b', 0});
	timer_init(&c, loop, note_and_stop, (char[]){'c', 0});
	timer_init(&never, loop, note_arg, (char[]){'!', 0});
	ck_assert(!timer_is_set(&a));
	timer_stop(&a); /* never set: harmless */
	timer_set(&c, 30);
	timer_set(&b, 20);
	timer_set(&a, 1000000);
	timer_set(&a, 5); /* set again: the first time no longer counts */
	timer_set(&never, 10);
	timer_stop(&never);
	ck_assert(timer_is_set(&a) && !timer_is_set(&never));
	loop_wait();
	ck_assert_str_eq(trace, "abc");
	ck_assert(!timer_is_set(&a) && !timer_is_set(&c));
	timer_clear(&a);
	timer_clear(&b);
	timer_clear(&c);
	timer_clear(&never);
	timer_clear(&never);
}
END_TEST

struct periodic {
	struct timer t;
	unsigned left;
};

static void on_periodic(void *arg)
{
	struct periodic *p = arg;

	if (--p->left > 0) {
		timer_set(&p->t, 0);
		return;
	}
	timer_clear(&p->t);
	mem_free(p);
	loop_stop(loop);
}

/* A callback sets its own timer again, and in the end frees the object. */
START_TEST(timer_from_its_callback)
{
	struct periodic *p = mem_zalloc(sizeof(*p));

	p->left = 100;
	timer_init(&p->t, loop, on_periodic, p);
	timer_set(&p->t, 0);
	loop_wait();
}
END_TEST

static void set_after_a_long_time(void *arg)
{
	struct timer *t = arg;
	uint64_t start = clock_mono_ms();

	while (clock_mono_ms() < start + 60)
		;
	timer_set(t, 40);
	set_at = clock_mono_ms();
}

/* A timer that is set at the end of a long callback counts from then. */
START_TEST(timer_is_never_early)
{
	struct timer t, first;

	timer_init(&t, loop, note_and_stop, (char[]){'t', 0});
	timer_init(&first, loop, set_after_a_long_time, &t);
	timer_set(&first, 0);
	loop_wait();
	ck_assert_uint_ge(clock_mono_ms() - set_at, 39);
	timer_clear(&t);
	timer_clear(&first);
}
END_TEST

START_TEST(clocks)
{
	uint64_t mono = clock_mono_us();
	int64_t wall = clock_now_us();

	ck_assert_uint_ge(clock_mono_us(), mono);
	ck_assert_uint_le(clock_mono_ms() - mono / 1000, 5000);
	ck_assert_int_le(clock_now() - wall / 1000000, 5);
	ck_assert_int_gt(clock_now(), 1700000000);
}
END_TEST

/* --- deferred --------------------------------------------------------------------------------- */
struct chain {
	struct deferred d;
	unsigned left;
};

static void on_chain(void *arg)
{
	struct chain *c = arg;

	note(".");
	if (--c->left > 0)
		loop_defer(loop, &c->d);
	else
		loop_stop(loop);
}

START_TEST(deferred_in_order_and_once)
{
	struct deferred a = {.fn = note_arg, .arg = (char[]){'a', 0}},
			b = {.fn = note_arg, .arg = (char[]){'b', 0}};
	struct deferred gone = {.fn = note_arg, .arg = (char[]){'!', 0}};
	struct chain c = {.d = {.fn = on_chain}, .left = 3};

	c.d.arg = &c;
	loop_defer(loop, &a);
	loop_defer(loop, &gone);
	loop_defer(loop, &b);
	loop_defer(loop, &a);
	loop_defer(loop, &c.d);
	deferred_cancel(&gone);
	deferred_cancel(&gone);
	ck_assert_str_eq(trace, "");
	loop_wait();
	ck_assert_str_eq(trace, "ab...");
}
END_TEST

static struct chain endless;

static void on_endless(void *arg)
{
	loop_defer(loop, &endless.d);
}

/* A call that defers itself for ever does not keep a timer or a socket from its turn. */
START_TEST(deferred_starves_nobody)
{
	struct timer t;

	endless.d = (struct deferred){.fn = on_endless};
	timer_init(&t, loop, note_and_stop, (char[]){'t', 0});
	timer_set(&t, 1);
	loop_defer(loop, &endless.d);
	loop_wait();
	ck_assert_str_eq(trace, "t");
	deferred_cancel(&endless.d);
	timer_clear(&t);
}
END_TEST

/* What is deferred when the loop stops still runs: a last write goes out. */
START_TEST(deferred_at_the_stop)
{
	struct deferred first = {.fn = note_and_stop, .arg = (char[]){'1', 0}},
			last = {.fn = note_arg, .arg = (char[]){'2', 0}};

	loop_defer(loop, &first);
	loop_defer(loop, &last);
	loop_wait();
	ck_assert_str_eq(trace, "12");
}
END_TEST

/* --- descriptors ------------------------------------------------------------------------------ */
struct end {
	struct watch w;
	int fd;
	unsigned wanted_next, calls;
};

static void on_end(void *arg, unsigned ready)
{
	struct end *e = arg;
	char buf[16];

	e->calls++;
	if (ready & WATCH_READ) {
		note("r");
		(void)!read(e->fd, buf, sizeof(buf));
	}
	if (ready & WATCH_WRITE)
		note("w");
	watch_set(&e->w, e->wanted_next);
	if (e->wanted_next == 0)
		loop_stop(loop);
}

START_TEST(watch_directions)
{
	struct end e = {0};
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	e.fd = fds[0];
	watch_init(&e.w, loop, fds[0], on_end, &e);
	watch_set(&e.w, WATCH_WRITE);
	loop_wait();
	ck_assert_str_eq(trace, "w");
	/* Nothing to read: only writing is ready. */
	watch_set(&e.w, WATCH_READ | WATCH_WRITE);
	loop_wait();
	ck_assert_str_eq(trace, "ww");
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	watch_set(&e.w, WATCH_READ);
	loop_wait();
	ck_assert_str_eq(trace, "wwr");
	/* Level-triggered: the peer's end is told again and again until nobody asks. */
	shutdown(fds[1], SHUT_WR);
	e.wanted_next = WATCH_READ;
	watch_set(&e.w, WATCH_READ);
	while (e.calls < 6)
		loop_settle();
	watch_clear(&e.w);
	watch_clear(&e.w);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

static void on_signal(void *arg, int signo)
{
	note(signo == SIGUSR1 ? "1" : signo == SIGUSR2 ? "2" : "?");
	if (strlen(trace) == 2)
		loop_stop(loop);
}

START_TEST(signals)
{
	loop_on_signal(loop, SIGUSR1, on_signal, NULL);
	loop_on_signal(loop, SIGUSR2, on_signal, NULL);
	raise(SIGUSR1);
	raise(SIGUSR2);
	loop_wait();
	ck_assert(strcmp(trace, "12") == 0 || strcmp(trace, "21") == 0);
}
END_TEST

/* A peer that is gone is an error of one write, not the end of the process. */
START_TEST(no_sigpipe)
{
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	close(fds[0]);
	ck_assert_int_eq(write(fds[1], "x", 1), -1);
	ck_assert_int_eq(errno, EPIPE);
	close(fds[1]);
}
END_TEST

/* --- posts ------------------------------------------------------------------------------------ */
#define POSTERS 4
#define POSTS 500

struct numbered {
	struct post p;
	unsigned thread, n;
};

static unsigned next_of[POSTERS], received;

static void on_numbered(struct post *p)
{
	struct numbered *m = container_of(p, struct numbered, p);

	/* In the order in which each thread posted. */
	ck_assert_uint_eq(m->n, next_of[m->thread]++);
	mem_free(m);
	if (++received == POSTERS * POSTS)
		loop_stop(loop);
}

static void *poster(void *arg)
{
	for (unsigned i = 0; i < POSTS; i++) {
		struct numbered *m = mem_zalloc(sizeof(*m));

		m->p.fn = on_numbered;
		m->thread = (unsigned)(uintptr_t)arg;
		m->n = i;
		loop_post(loop, &m->p);
	}
	return NULL;
}

START_TEST(posts_from_threads)
{
	pthread_t threads[POSTERS];

	for (uintptr_t i = 0; i < POSTERS; i++)
		pthread_create(&threads[i], NULL, poster, (void *)i);
	loop_wait();
	for (size_t i = 0; i < POSTERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(received, POSTERS * POSTS);
}
END_TEST

/* --- worker threads --------------------------------------------------------------------------- */
struct item {
	struct work w;
	unsigned value, rounds;
};

static unsigned items_done;
static struct workers *workers;
static pthread_t loop_thread;
static _Atomic unsigned running, most;
static _Atomic bool is_ending;

static void item_run(struct work *w)
{
	struct item *i = container_of(w, struct item, w);
	unsigned now = atomic_fetch_add(&running, 1) + 1;

	if (now > atomic_load(&most))
		atomic_store(&most, now);
	ck_assert(is_ending || !pthread_equal(pthread_self(), loop_thread));
	i->value++;
	atomic_fetch_sub(&running, 1);
}

static void item_done(struct work *w)
{
	struct item *i = container_of(w, struct item, w);

	ck_assert(pthread_equal(pthread_self(), loop_thread));
	if (--i->rounds > 0) {
		workers_submit(workers, w);
		return;
	}
	if (++items_done == 50)
		loop_stop(loop);
}

START_TEST(work_runs_elsewhere_and_comes_back)
{
	struct item items[50] = {0};

	loop_thread = pthread_self();
	workers = workers_new(loop, 3, "test");
	for (size_t i = 0; i < 50; i++) {
		items[i].w = (struct work){.run = item_run, .done = item_done};
		items[i].rounds = 4;
		workers_submit(workers, &items[i].w);
	}
	loop_wait();
	for (size_t i = 0; i < 50; i++)
		ck_assert_uint_eq(items[i].value, 4);
	ck_assert_uint_le(most, 3);
	ck_assert_uint_eq(workers_waiting(workers), 0);
	workers_free(workers);
	workers_free(NULL);
}
END_TEST

/* Everything that waits is run and told before workers_free returns, also what a done submits. */
START_TEST(work_is_finished_at_the_end)
{
	struct item items[40] = {0};

	loop_thread = pthread_self();
	workers = workers_new(loop, 1, "a-name-that-is-too-long");
	for (size_t i = 0; i < 40; i++) {
		items[i].w = (struct work){.run = item_run, .done = item_done};
		items[i].rounds = 3;
		workers_submit(workers, &items[i].w);
	}
	is_ending = true; /* what is submitted now may run on the caller */
	workers_free(workers);
	for (size_t i = 0; i < 40; i++)
		ck_assert_uint_eq(items[i].value, 3);
	ck_assert_uint_eq(items_done, 40);
}
END_TEST

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void gate_run(struct work *w)
{
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
}

static void order_done(struct work *w)
{
	char c[2] = {(char)container_of(w, struct item, w)->value, 0};

	note(c);
	if (strlen(trace) == 6)
		loop_stop(loop);
}

START_TEST(work_first_in_first_out)
{
	struct item items[6] = {0};

	workers = workers_new(loop, 1, "test");
	pthread_mutex_lock(&gate);
	for (size_t i = 0; i < 6; i++) {
		items[i].w = (struct work){.run = gate_run, .done = order_done};
		items[i].value = (unsigned)('a' + i);
		workers_submit(workers, &items[i].w);
	}
	ck_assert_uint_ge(workers_waiting(workers), 5);
	pthread_mutex_unlock(&gate);
	loop_wait();
	ck_assert_str_eq(trace, "abcdef");
	workers_free(workers);
}
END_TEST

static void signals_run(struct work *w)
{
	sigset_t blocked;

	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	container_of(w, struct item, w)->value =
	    sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGHUP);
}

/* Signals are the loop's: a worker must not be interrupted in the middle of a write. */
START_TEST(work_blocks_signals)
{
	struct item i = {.w = {.run = signals_run, .done = order_done}};
	sigset_t mine;

	workers = workers_new(loop, 1, "test");
	workers_submit(workers, &i.w);
	workers_free(workers);
	ck_assert_uint_eq(i.value, 1);
	pthread_sigmask(SIG_BLOCK, NULL, &mine);
	ck_assert(!sigismember(&mine, SIGTERM));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {timers_in_order, timer_from_its_callback,
	    timer_is_never_early, clocks, deferred_in_order_and_once, deferred_starves_nobody,
	    deferred_at_the_stop, watch_directions, signals, no_sigpipe, posts_from_threads,
	    work_runs_elsewhere_and_comes_back, work_is_finished_at_the_end,
	    work_first_in_first_out, work_blocks_signals};
	TCase *tc = tcase_create("event");

	tcase_add_checked_fixture(tc, setup, loop_teardown);
	tcase_set_timeout(tc, 60);
	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
