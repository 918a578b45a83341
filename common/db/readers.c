#include "common/base/mem.h"
#include "common/db/db_int.h"

#include <signal.h>

struct db_readers {
	struct db_env *env;
	struct workers *workers;
};

static void job_run(struct work *work)
{
	struct db_job *job = container_of(work, struct db_job, work);
	struct db_txn *txn;

	if (db_read_begin(job->readers->env, &txn, &job->err) < 0)
		return;
	job->run(job, txn);
	db_abort(txn);
}

static void job_done(struct work *work)
{
	struct db_job *job = container_of(work, struct db_job, work);

	job->done(job);
}

struct db_readers *db_readers_new(struct db_env *env, struct loop *loop, unsigned threads)
{
	struct db_readers *r = mem_zalloc(sizeof(*r));

	r->env = env;
	r->workers = workers_new(loop, threads ? threads : 1, "db-reader");
	return r;
}

void db_readers_free(struct db_readers *r)
{
	if (!r)
		return;
	workers_free(r->workers);
	mem_free(r);
}

void db_read(struct db_readers *r, struct db_job *job)
{
	job->readers = r;
	job->err = (struct err){0};
	job->work = (struct work){.run = job_run, .done = job_done};
	workers_submit(r->workers, &job->work);
}

struct workers *db_readers_workers(struct db_readers *r)
{
	return r->workers;
}

/* A thread that no signal interrupts, with a stack that fits a small machine. */
int db_thread_start(pthread_t *thread, void *(*fn)(void *arg), void *arg, const char *name)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, DB_STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(thread, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc == 0)
		pthread_setname_np(*thread, name);
	return rc;
}
