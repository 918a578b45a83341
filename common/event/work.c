#include "common/event/work.h"

#include "common/base/mem.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#define STACK_SIZE (256 * 1024)

struct workers {
	struct loop *loop;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list queue;
	size_t waiting;
	bool is_ending;
	unsigned thread_count;
	pthread_t *threads;
	const char *name;
};

static void on_done(struct post *p)
{
	struct work *w = container_of(p, struct work, post);

	w->done(w);
}

static void *worker(void *arg)
{
	struct workers *ws = arg;

	pthread_mutex_lock(&ws->lock);
	for (;;) {
		struct list *it;
		struct work *w;

		while (list_is_empty(&ws->queue) && !ws->is_ending)
			pthread_cond_wait(&ws->more, &ws->lock);
		it = list_take_first(&ws->queue);
		if (!it)
			break;
		ws->waiting--;
		pthread_mutex_unlock(&ws->lock);
		w = container_of(it, struct work, post.link);
		w->run(w);
		loop_post(ws->loop, &w->post);
		pthread_mutex_lock(&ws->lock);
	}
	pthread_mutex_unlock(&ws->lock);
	return NULL;
}

static void start_thread(struct workers *ws, unsigned i)
{
	pthread_attr_t attr;
	char name[16];

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	if (pthread_create(&ws->threads[i], &attr, worker, ws) != 0)
		fatal("no thread for %s", ws->name);
	pthread_attr_destroy(&attr);
	snprintf(name, sizeof(name), "%.10s/%u", ws->name, (unsigned char)i);
	pthread_setname_np(ws->threads[i], name);
}

struct workers *workers_new(struct loop *loop, unsigned threads, const char *name)
{
	struct workers *ws = mem_zalloc(sizeof(*ws));
	sigset_t all, old;

	ws->loop = loop;
	ws->name = name;
	ws->thread_count = threads;
	ws->threads = mem_array(threads, sizeof(*ws->threads));
	list_init(&ws->queue);
	pthread_mutex_init(&ws->lock, NULL);
	pthread_cond_init(&ws->more, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < threads; i++)
		start_thread(ws, i);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ws;
}

void workers_submit(struct workers *ws, struct work *w)
{
	w->post.fn = on_done;
	w->post.link = (struct list){0};
	pthread_mutex_lock(&ws->lock);
	list_append(&ws->queue, &w->post.link);
	ws->waiting++;
	pthread_mutex_unlock(&ws->lock);
	/* Behind the lock: who wakes would only wait for it. */
	pthread_cond_signal(&ws->more);
}

struct loop *workers_loop(const struct workers *ws)
{
	return ws->loop;
}

size_t workers_waiting(const struct workers *ws)
{
	struct workers *w = (struct workers *)ws;
	size_t n;

	pthread_mutex_lock(&w->lock);
	n = w->waiting;
	pthread_mutex_unlock(&w->lock);
	return n;
}

void workers_free(struct workers *ws)
{
	if (!ws)
		return;
	pthread_mutex_lock(&ws->lock);
	ws->is_ending = true;
	pthread_cond_broadcast(&ws->more);
	pthread_mutex_unlock(&ws->lock);
	for (unsigned i = 0; i < ws->thread_count; i++)
		pthread_join(ws->threads[i], NULL);
	loop_take_posts(ws->loop);
	/* What a done submitted just now has no thread any more: it runs here. */
	for (struct list *it; (it = list_take_first(&ws->queue));) {
		struct work *w = container_of(it, struct work, post.link);

		w->run(w);
		w->done(w);
	}
	pthread_cond_destroy(&ws->more);
	pthread_mutex_destroy(&ws->lock);
	mem_free(ws->threads);
	mem_free(ws);
}
