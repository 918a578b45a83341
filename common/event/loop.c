#include "common/event/loop.h"

#include "common/base/mem.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SIGNALS_MAX 8
#define COARSE_MS 5 /* what the kernel's coarse clock may be behind */

struct signal_watch {
	struct loop *loop;
	struct event *ev;
	void (*fn)(void *arg, int signo);
	void *arg;
	int signo;
};

struct loop {
	struct event_base *base;
	struct list deferred;
	struct signal_watch signals[SIGNALS_MAX];
	size_t signal_count;
	bool is_stopped;

	/* Posts: any thread appends under the lock, the loop takes them all at once. */
	pthread_mutex_t lock;
	struct list posts;
	int wake_fd;
	struct watch wake;
};

void loop_take_posts(struct loop *loop)
{
	struct list taken;

	list_init(&taken);
	pthread_mutex_lock(&loop->lock);
	list_splice(&taken, &loop->posts);
	pthread_mutex_unlock(&loop->lock);
	for (struct list *it; (it = list_take_first(&taken));) {
		struct post *p = container_of(it, struct post, link);

		p->fn(p);
	}
}

static void on_wake(void *arg, unsigned ready)
{
	struct loop *loop = arg;
	uint64_t count;

	(void)!read(loop->wake_fd, &count, sizeof(count));
	loop_take_posts(loop);
}

struct loop *loop_new(void)
{
	struct loop *loop = mem_zalloc(sizeof(*loop));
	struct event_config *cfg = event_config_new();

	/* A peer that closes early must be an error of one write, not the end of the process. */
	signal(SIGPIPE, SIG_IGN);
	if (!cfg)
		fatal("no memory for the event loop");
	/* Without precise timers, which cost a system call a turn: timer_set makes up for it. With
	 * a time that was read before a long callback a timer would be early by its length. */
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_NO_CACHE_TIME);
	loop->base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	if (!loop->base)
		fatal("the event loop cannot be made");
	list_init(&loop->deferred);
	list_init(&loop->posts);
	pthread_mutex_init(&loop->lock, NULL);
	loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (loop->wake_fd < 0)
		fatal("eventfd: no descriptor left");
	watch_init(&loop->wake, loop, loop->wake_fd, on_wake, loop);
	watch_set(&loop->wake, WATCH_READ);
	return loop;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	for (size_t i = 0; i < loop->signal_count; i++)
		event_free(loop->signals[i].ev);
	watch_clear(&loop->wake);
	close(loop->wake_fd);
	pthread_mutex_destroy(&loop->lock);
	event_base_free(loop->base);
	mem_free(loop);
}

/* Deferred calls may defer again: those run in the next turn, so that sockets get their share. */
static void run_deferred(struct loop *loop)
{
	struct list taken;

	list_init(&taken);
	list_splice(&taken, &loop->deferred);
	for (struct list *it; (it = list_take_first(&taken));) {
		struct deferred *d = container_of(it, struct deferred, link);

		d->fn(d->arg);
	}
}

void loop_run(struct loop *loop)
{
	loop->is_stopped = false;
	while (!loop->is_stopped) {
		int flags = EVLOOP_ONCE;

		run_deferred(loop);
		if (loop->is_stopped)
			break;
		if (!list_is_empty(&loop->deferred))
			flags |= EVLOOP_NONBLOCK;
		if (event_base_loop(loop->base, flags) < 0)
			fatal("the event loop failed");
	}
	run_deferred(loop);
}

void loop_stop(struct loop *loop)
{
	loop->is_stopped = true;
	event_base_loopbreak(loop->base);
}

void loop_defer(struct loop *loop, struct deferred *d)
{
	if (!list_is_linked(&d->link))
		list_append(&loop->deferred, &d->link);
}

void deferred_cancel(struct deferred *d)
{
	list_remove(&d->link);
}

void loop_post(struct loop *loop, struct post *p)
{
	uint64_t one = 1;
	bool was_empty;

	pthread_mutex_lock(&loop->lock);
	was_empty = list_is_empty(&loop->posts);
	p->link = (struct list){0};
	list_append(&loop->posts, &p->link);
	pthread_mutex_unlock(&loop->lock);
	if (was_empty)
		(void)!write(loop->wake_fd, &one, sizeof(one));
}

/* --- timers ----------------------------------------------------------------------------------- */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct timer *t = arg;

	t->fn(t->arg);
}

void timer_init(struct timer *t, struct loop *loop, void (*fn)(void *arg), void *arg)
{
	*t = (struct timer){.loop = loop, .fn = fn, .arg = arg};
}

void timer_set(struct timer *t, uint64_t ms)
{
	struct timeval tv;

	/* A timer may be late, never early. */
	if (ms > 0)
		ms += COARSE_MS;
	tv = (struct timeval){.tv_sec = (time_t)(ms / 1000), .tv_usec = (long)(ms % 1000) * 1000};

	if (!t->ev)
		t->ev = event_new(t->loop->base, -1, 0, on_timer, t);
	if (!t->ev || event_add(t->ev, &tv) < 0)
		fatal("no memory for a timer");
}

void timer_stop(struct timer *t)
{
	if (t->ev)
		event_del(t->ev);
}

bool timer_is_set(const struct timer *t)
{
	return t->ev && event_pending(t->ev, EV_TIMEOUT, NULL);
}

void timer_clear(struct timer *t)
{
	if (t->ev)
		event_free(t->ev);
	t->ev = NULL;
}

/* --- descriptors ------------------------------------------------------------------------------ */
static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = arg;
	unsigned ready = 0;

	if (what & EV_READ)
		ready |= WATCH_READ;
	if (what & EV_WRITE)
		ready |= WATCH_WRITE;
	w->fn(w->arg, ready);
}

void watch_init(
    struct watch *w, struct loop *loop, int fd, void (*fn)(void *arg, unsigned ready), void *arg)
{
	*w = (struct watch){.loop = loop, .fd = fd, .fn = fn, .arg = arg};
}

void watch_set(struct watch *w, unsigned wanted)
{
	short what = EV_PERSIST;

	if (wanted == w->wanted)
		return;
	w->wanted = wanted;
	if (wanted & WATCH_READ)
		what |= EV_READ;
	if (wanted & WATCH_WRITE)
		what |= EV_WRITE;
	if (w->ev)
		event_del(w->ev);
	if (wanted == 0)
		return;
	if (!w->ev)
		w->ev = event_new(w->loop->base, w->fd, what, on_ready, w);
	else
		event_assign(w->ev, w->loop->base, w->fd, what, on_ready, w);
	if (!w->ev || event_add(w->ev, NULL) < 0)
		fatal("no memory for an event");
}

void watch_clear(struct watch *w)
{
	if (w->ev)
		event_free(w->ev);
	w->ev = NULL;
	w->wanted = 0;
}

/* --- signals ---------------------------------------------------------------------------------- */
static void on_signal(evutil_socket_t signo, short what, void *arg)
{
	struct signal_watch *s = arg;

	s->fn(s->arg, (int)signo);
}

void loop_on_signal(struct loop *loop, int signo, void (*fn)(void *arg, int signo), void *arg)
{
	struct signal_watch *s;

	if (loop->signal_count == SIGNALS_MAX)
		fatal("more than %d signals", SIGNALS_MAX);
	s = &loop->signals[loop->signal_count++];
	*s = (struct signal_watch){.loop = loop, .fn = fn, .arg = arg, .signo = signo};
	s->ev = evsignal_new(loop->base, signo, on_signal, s);
	if (!s->ev || event_add(s->ev, NULL) < 0)
		fatal("signal %d cannot be handled", signo);
}
