#include "common/authd/hashq.h"

#include "common/base/mem.h"

struct hashq {
	struct workers *workers;
	struct list urgent, waiting;
	size_t waiting_n;
	unsigned threads, active;
	uint64_t started;
	bool is_dispatching, is_closing;
};

struct hashq *hashq_new(struct loop *loop, unsigned threads)
{
	struct hashq *q = mem_zalloc(sizeof(*q));

	q->workers = workers_new(loop, threads, "hash");
	q->threads = threads;
	list_init(&q->urgent);
	list_init(&q->waiting);
	return q;
}

static void finish(struct hash_job *job)
{
	char *password = job->password;
	size_t n = job->password_n;

	job->done(job); /* may look at the password, and free the job */
	mem_free_secret(password, n);
}

static void drop(struct hash_job *job)
{
	job->is_dropped = true;
	finish(job);
}

static void run(struct work *w)
{
	struct hash_job *job = container_of(w, struct hash_job, work);
	struct span password = span_make(job->password, job->password_n);

	if (job->is_verify)
		job->result = password_verify(span_of(job->phc), password, &job->err);
	else
		job->result = password_make(&job->params, password, job->phc, &job->err);
}

static void dispatch(struct hashq *q);

static void done(struct work *w)
{
	struct hash_job *job = container_of(w, struct hash_job, work);
	struct hashq *q = job->q;

	q->active--;
	finish(job);
	dispatch(q);
}

/* The next job that may start, out of its list. */
static struct hash_job *take(struct hashq *q)
{
	struct list *first = list_take_first(&q->urgent);

	if (first)
		return container_of(first, struct hash_job, link);
	LIST_EACH_SAFE (it, &q->waiting) {
		struct hash_job *job = container_of(it, struct hash_job, link);
		enum hash_start start = job->may_start ? job->may_start(job) : HASH_GO;

		if (start == HASH_WAIT)
			continue;
		list_remove(&job->link);
		q->waiting_n--;
		if (start == HASH_GO)
			return job;
		drop(job);
	}
	return NULL;
}

static void dispatch(struct hashq *q)
{
	if (q->is_dispatching || q->is_closing)
		return;
	q->is_dispatching = true;
	while (q->active < q->threads) {
		struct hash_job *job = take(q);

		if (!job)
			break;
		job->work.run = run;
		job->work.done = done;
		q->active++;
		q->started++;
		workers_submit(q->workers, &job->work);
	}
	q->is_dispatching = false;
}

bool hashq_submit(
    struct hashq *q, struct hash_job *job, struct span password, size_t max, bool is_urgent)
{
	if (!is_urgent && q->waiting_n >= max)
		return false;
	job->q = q;
	job->password = mem_dup(password.n > 0 ? password.p : "", password.n > 0 ? password.n : 1);
	job->password_n = password.n;
	if (is_urgent) {
		list_append(&q->urgent, &job->link);
	} else {
		list_append(&q->waiting, &job->link);
		q->waiting_n++;
	}
	dispatch(q);
	return true;
}

void hashq_free(struct hashq *q)
{
	struct list *it;

	if (!q)
		return;
	q->is_closing = true;
	workers_free(q->workers);
	while ((it = list_take_first(&q->urgent)) || (it = list_take_first(&q->waiting)))
		drop(container_of(it, struct hash_job, link));
	mem_free(q);
}

size_t hashq_waiting(const struct hashq *q)
{
	return q->waiting_n;
}

uint64_t hashq_started(const struct hashq *q)
{
	return q->started;
}
