/*
 * The group-commit writer: whatever queued while the last flush ran goes into one transaction, each
 * operation under a child transaction. Nothing is reported before the parent's commit returned.
 */
#include "common/base/mem.h"
#include "common/base/rules.h"
#include "common/db/db_int.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <errno.h>
#include <time.h>

#define WRITER_COST_DEFAULT (16 * 1024)
#define WRITER_LAZY_MS 1000
#define WRITER_READER_CHECK_MS 30000

/*
 * Finished operations on their way to the loop. On the heap by itself, because its post may still
 * wait in the loop when the writer is freed.
 */
struct writer_inbox {
	struct post post;
	struct db_writer *writer; /* NULL once that is freed */
	bool is_posted;           /* under the writer's lock */
};

struct db_writer {
	struct db_env *env;
	struct loop *loop;
	struct writer_inbox *inbox;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake; /* the thread: there is work */
	pthread_cond_t idle; /* db_writer_free: nothing waits or runs */
	struct list queue, lazy, finished;
	uint64_t lazy_due; /* ms, while lazy is not empty */
	uint64_t check_due;
	bool is_running, is_stopping, is_flushing; /* is_flushing: lazy ones go at once */
	bool has_failed, is_failure_told;
	struct err failure;
	struct db_writer_stat stat;
	size_t waiting;
	unsigned batch_ops;
	size_t batch_bytes;
	void (*on_failure)(void *arg, const struct err *err);
	void *arg;
};

/* --- on the writer thread ------------------------------------------------------------ */

static void writer_set_failed(struct db_writer *w, const struct err *err)
{
	pthread_mutex_lock(&w->lock);
	if (!w->has_failed) {
		w->has_failed = true;
		w->failure = *err;
	}
	pthread_mutex_unlock(&w->lock);
}

static bool is_full(int rc)
{
	return rc == MDB_MAP_FULL || rc == MDB_TXN_FULL;
}

/* The room that is left is for others. */
static bool is_refused(struct db_op *op, enum db_need refused)
{
	if (op->need < refused)
		return false;
	err_set(&op->err, ERR_NO_SPACE, "the map is full but for the room to remove something");
	return true;
}

/* True if it went well. What run came across on its way is no failure then: done must not take what
 * is committed for undone. */
static bool op_succeeds(struct db_op *op, struct db_txn *txn)
{
	if (op->run(op, txn, &op->err) < 0)
		return false;
	op->err = (struct err){0};
	return true;
}

/* One attempt of one operation in a transaction of its own, without a child: aborting it is enough.
 * *rc is LMDB's code. */
static int writer_try_single(struct db_writer *w, struct db_op *op, int *rc)
{
	struct db_txn *txn;

	*rc = 0;
	op->err = (struct err){0};
	if (op->need != DB_REMOVES && is_refused(op, db_env_refused(w->env)))
		return -1;
	if (db_write_begin(w->env, &txn, &op->err) < 0)
		return -1;
	if (op_succeeds(op, txn))
		return db_commit_rc(txn, rc, &op->err);
	*rc = txn->rc;
	db_abort(txn);
	if (op->err.code == ERR_NONE)
		err_set(&op->err, ERR_IO, "an operation failed without a reason");
	return -1;
}

static bool writer_run_single(struct db_writer *w, struct db_op *op)
{
	int rc;

	while (writer_try_single(w, op, &rc) < 0) {
		if (rc != MDB_MAP_FULL)
			return false;
		/* Outside any transaction now: make room and run it again from the start. */
		op->err = (struct err){0};
		if (db_env_grow(w->env, &op->err) < 0)
			return false;
	}
	return true;
}

/* Runs one operation of a batch under a child. -1: the batch must be undone; *rc says why. */
static int writer_run_child(struct db_op *op, struct db_txn *parent, enum db_need refused, int *rc)
{
	struct db_txn *child;

	op->err = (struct err){0};
	if (is_refused(op, refused))
		return 0;
	if (db_child_begin(parent, &child, &op->err) < 0) {
		*rc = parent->rc;
		return -1;
	}
	if ((op_succeeds(op, child) || !RULE_ABORT_FAILED) && child->rc == 0) {
		if (db_commit_rc(child, rc, &op->err) == 0)
			return 0;
		*rc = *rc ? *rc : parent->rc;
		return -1;
	}
	/* Whatever it was: a child in which something failed is never committed. */
	*rc = child->rc;
	if (op->err.code == ERR_NONE)
		db_err_rc(&op->err, child->rc ? child->rc : MDB_BAD_TXN, "an operation");
	db_abort(child);
	return is_full(*rc) ? -1 : 0;
}

/* 0: committed. -1: nothing of the batch happened, *rc says why; rerun one by one. */
static int writer_try_batch(struct db_writer *w, struct list *batch, int *rc, struct err *err)
{
	struct db_txn *parent;
	size_t done = 0;
	enum db_need refused = db_env_refused(w->env);

	*rc = 0;
	if (db_write_begin(w->env, &parent, err) < 0)
		return -1;
	LIST_EACH (it, batch) {
		struct db_op *op = container_of(it, struct db_op, link);

		if (writer_run_child(op, parent, refused, rc) < 0) {
			db_abort(parent);
			return -1;
		}
		done += op->err.code == ERR_NONE;
	}
	if (done == 0) {
		db_abort(parent);
		return 0;
	}
	return db_commit_rc(parent, rc, err);
}

static size_t writer_rerun(struct db_writer *w, struct list *batch)
{
	size_t failed = 0;

	LIST_EACH (it, batch)
		failed += !writer_run_single(w, container_of(it, struct db_op, link));
	return failed;
}

static size_t writer_count_failed(struct list *batch)
{
	size_t failed = 0;

	LIST_EACH (it, batch)
		failed += container_of(it, struct db_op, link)->err.code != ERR_NONE;
	return failed;
}

static void writer_run_batch(struct db_writer *w, struct list *batch, size_t count)
{
	struct err err = ERR_INIT;
	uint64_t before = atomic_load(&w->env->own_commits), commits;
	size_t failed, reruns = 0;
	int rc;

	db_env_keep_reserve(w->env);
	if (count == 1) {
		failed = writer_rerun(w, batch);
	} else if (writer_try_batch(w, batch, &rc, &err) == 0) {
		failed = writer_count_failed(batch);
	} else {
		if (rc == MDB_MAP_FULL)
			db_env_grow(w->env, NULL);
		/* After a failed sync each is refused in turn: db_write_begin sees to it. */
		failed = writer_rerun(w, batch);
		reruns = count;
	}
	commits = atomic_load(&w->env->own_commits) - before;
	if (atomic_load(&w->env->has_failed)) {
		struct list *last = batch->prev;

		writer_set_failed(
		    w, err.code ? &err : &container_of(last, struct db_op, link)->err);
	} else if (db_env_is_nearly_full(w->env)) {
		db_env_grow(w->env, NULL);
	}
	pthread_mutex_lock(&w->lock);
	w->stat.commits += commits;
	w->stat.operations += count;
	w->stat.failed += failed;
	w->stat.reruns += reruns;
	pthread_mutex_unlock(&w->lock);
}

static void writer_check_readers(struct db_writer *w)
{
	int dead;

	if (db_env_check_readers(w->env, &dead) == 0 && dead > 0)
		log_info("db-readers-cleared", LOG_STR("dir", w->env->dir), LOG_I64("count", dead));
}

/* With the lock held: moves operations from one list to the batch, within its limits. */
static void writer_take(
    struct db_writer *w, struct list *from, struct list *batch, size_t *count, size_t *bytes)
{
	while (!list_is_empty(from) && *count < w->batch_ops) {
		struct db_op *op = container_of(from->next, struct db_op, link);
		size_t cost = op->cost ? op->cost : WRITER_COST_DEFAULT;

		if (*count > 0 && (cost > w->batch_bytes || *bytes > w->batch_bytes - cost))
			return;
		list_remove(&op->link);
		list_append(batch, &op->link);
		(*count)++;
		*bytes += cost < w->batch_bytes ? cost : w->batch_bytes;
	}
}

/* With the lock held. Lazy operations ride along, and go alone once they are due. */
static size_t writer_take_batch(struct db_writer *w, struct list *batch)
{
	size_t count = 0, bytes = 0;

	list_init(batch);
	writer_take(w, &w->queue, batch, &count, &bytes);
	if (count || w->is_flushing || clock_mono_ms() >= w->lazy_due)
		writer_take(w, &w->lazy, batch, &count, &bytes);
	w->waiting -= count;
	return count;
}

/* With the lock held: sleeps until something may have to be done. */
static void writer_wait(struct db_writer *w)
{
	uint64_t due = w->check_due;
	struct timespec ts;

	if (!list_is_empty(&w->lazy) && w->lazy_due < due)
		due = w->lazy_due;
	ts.tv_sec = (time_t)(due / 1000);
	ts.tv_nsec = (long)(due % 1000) * 1000000;
	pthread_cond_timedwait(&w->wake, &w->lock, &ts);
}

/* With the lock held: hands the batch to the loop. */
static void writer_finish(struct db_writer *w, struct list *batch)
{
	list_splice(&w->finished, batch);
	w->is_running = false;
	if (!w->inbox->is_posted) {
		w->inbox->is_posted = true;
		loop_post(w->loop, &w->inbox->post);
	}
}

static void *writer_main(void *arg)
{
	struct db_writer *w = arg;
	struct list batch;
	size_t count;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		count = writer_take_batch(w, &batch);
		w->is_running = count > 0;
		if (count) {
			pthread_mutex_unlock(&w->lock);
			writer_run_batch(w, &batch, count);
			pthread_mutex_lock(&w->lock);
			writer_finish(w, &batch);
		} else if (w->is_stopping) {
			break;
		}
		if (!w->waiting)
			pthread_cond_signal(&w->idle);
		if (clock_mono_ms() >= w->check_due) {
			w->check_due = clock_mono_ms() + WRITER_READER_CHECK_MS;
			pthread_mutex_unlock(&w->lock);
			writer_check_readers(w);
			pthread_mutex_lock(&w->lock);
		} else if (!count && list_is_empty(&w->queue) && !w->is_stopping) {
			writer_wait(w);
		}
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* --- on the loop --------------------------------------------------------------------- */

static void writer_tell_failure(struct db_writer *w, const struct err *failure)
{
	log_error("db-commit-failed", LOG_STR("dir", w->env->dir), LOG_ERR(failure));
	if (!w->on_failure)
		fatal("%s: %s", w->env->dir, failure->text);
	w->on_failure(w->arg, failure);
}

/* Calls done of all that is finished; they may submit more, or free nothing of the writer. */
static void writer_deliver(struct db_writer *w)
{
	struct list finished, *node;
	struct err failure;
	bool tell;

	list_init(&finished);
	pthread_mutex_lock(&w->lock);
	list_splice(&finished, &w->finished);
	tell = w->has_failed && !w->is_failure_told;
	w->is_failure_told |= tell;
	failure = w->failure;
	pthread_mutex_unlock(&w->lock);
	/* First, so that nobody acknowledges anything on the way. */
	if (tell)
		writer_tell_failure(w, &failure);
	while ((node = list_take_first(&finished)) != NULL) {
		struct db_op *op = container_of(node, struct db_op, link);

		op->done(op);
	}
}

static void writer_on_post(struct post *p)
{
	struct writer_inbox *inbox = container_of(p, struct writer_inbox, post);
	struct db_writer *w = inbox->writer;

	if (!w) {
		mem_free(inbox);
		return;
	}
	pthread_mutex_lock(&w->lock);
	inbox->is_posted = false;
	pthread_mutex_unlock(&w->lock);
	writer_deliver(w);
}

struct db_writer *db_writer_new(
    struct db_env *env, struct loop *loop, const struct db_writer_options *opt)
{
	struct db_writer *w = mem_zalloc(sizeof(*w));
	pthread_condattr_t attr;

	w->env = env;
	w->loop = loop;
	w->batch_ops = opt && opt->batch_ops ? opt->batch_ops : 256;
	w->batch_bytes = opt && opt->batch_bytes ? opt->batch_bytes : (size_t)16 * 1024 * 1024;
	w->on_failure = opt ? opt->on_failure : NULL;
	w->arg = opt ? opt->arg : NULL;
	w->check_due = clock_mono_ms() + WRITER_READER_CHECK_MS;
	list_init(&w->queue);
	list_init(&w->lazy);
	list_init(&w->finished);
	w->inbox = mem_zalloc(sizeof(*w->inbox));
	w->inbox->writer = w;
	w->inbox->post.fn = writer_on_post;
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &attr);
	pthread_cond_init(&w->idle, &attr);
	pthread_condattr_destroy(&attr);
	if (db_thread_start(&w->thread, writer_main, w, "db-writer") != 0)
		fatal("no thread for the writer of %s", env->dir);
	return w;
}

/* True if something was waiting or running, and is finished now. */
static bool writer_drain(struct db_writer *w)
{
	bool had_work;

	pthread_mutex_lock(&w->lock);
	had_work = w->waiting || w->is_running || !list_is_empty(&w->finished);
	w->is_flushing = true;
	pthread_cond_signal(&w->wake);
	while (w->waiting || w->is_running)
		pthread_cond_wait(&w->idle, &w->lock);
	pthread_mutex_unlock(&w->lock);
	writer_deliver(w);
	return had_work;
}

void db_writer_free(struct db_writer *w)
{
	bool is_posted;

	if (!w)
		return;
	/* A done may submit more: until nothing comes any more. */
	while (writer_drain(w))
		;
	pthread_mutex_lock(&w->lock);
	w->is_stopping = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	is_posted = w->inbox->is_posted;
	w->inbox->writer = NULL;
	if (is_posted)
		loop_take_posts(w->loop); /* the inbox frees itself */
	else
		mem_free(w->inbox);
	pthread_cond_destroy(&w->wake);
	pthread_cond_destroy(&w->idle);
	pthread_mutex_destroy(&w->lock);
	mem_free(w);
}

static void writer_submit(struct db_writer *w, struct db_op *op, bool is_lazy)
{
	bool is_asleep;

	op->link = (struct list){0};
	pthread_mutex_lock(&w->lock);
	w->waiting++;
	if (is_lazy && list_is_empty(&w->lazy))
		w->lazy_due = clock_mono_ms() + WRITER_LAZY_MS;
	list_append(is_lazy ? &w->lazy : &w->queue, &op->link);
	/* A sleeping thread must learn of the new deadline too. */
	is_asleep = !w->is_running;
	pthread_mutex_unlock(&w->lock);
	if (is_asleep)
		pthread_cond_signal(&w->wake);
}

void db_write(struct db_writer *w, struct db_op *op)
{
	writer_submit(w, op, false);
}

void db_write_lazy(struct db_writer *w, struct db_op *op)
{
	writer_submit(w, op, true);
}

void db_writer_stat(const struct db_writer *w, struct db_writer_stat *st)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&w->lock;

	pthread_mutex_lock(lock);
	*st = w->stat;
	st->waiting = w->waiting;
	pthread_mutex_unlock(lock);
}
