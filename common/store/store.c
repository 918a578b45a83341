/* The store of a daemon: environment, writer, readers, bodies, change notices, and the gc. */
#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/db/format.h"
#include "common/event/clock.h"
#include "common/ipc/ipc.h"
#include "common/log/log.h"
#include "common/store/store_int.h"
#include "common/store/sweep.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TICK_MS 1000
#define GC_ROUND_MS (5 * 60 * 1000)
#define GC_SLICE_MS 1000
#define GC_BUDGET 512
#define GC_FILE_SECONDS 3600

/*
 * Changes on their way to the loop. On the heap by itself: its post may still wait in the loop when
 * the store is closed.
 */
struct store_inbox {
	struct post post;
	struct store *store; /* NULL once that is closed */
	pthread_mutex_t lock;
	struct strbuf changes; /* STORE_HINT_LEN bytes each */
	bool is_posted;
	bool is_delivering; /* the loop's */
};

/* The round that removes what nobody refers to. One at a time. */
struct store_gc_job {
	struct timer timer;
	struct db_op op;
	struct work work;
	struct store_gc start, now; /* before and behind a slice */
	bool is_running;
};

struct store {
	struct loop *loop;
	struct db_env *env;
	struct db_writer *writer;
	struct db_readers *readers;
	struct blob_dir *blobs;
	size_t inline_max;
	uint64_t expunged_seconds;
	char *hint_path;
	int hint_fd;
	struct store_inbox *inbox;
	void (*on_change)(void *arg, const struct store_change *c);
	void *arg;
	struct timer tick;
	uint64_t foreign; /* commits of other processes seen so far */
	unsigned uncertain;
	struct store_gc_job gc;
	struct sweep *sweep;
	bool is_closing;
};

/* --- changes ---------------------------------------------------------------------------------- */
/* On the writer thread, behind a commit. */
static void store_on_commit(void *arg, const void *notes, size_t count)
{
	struct store *s = arg;
	struct store_inbox *inbox = s->inbox;
	const char *at = notes;

	for (size_t i = 0; i < count; i++, at += STORE_HINT_LEN) {
		/* Of several changes of one mailbox in a row the last one says it all. */
		if (i + 1 < count && be_get64(at) == be_get64(at + STORE_HINT_LEN) &&
		    be_get64(at + 8) == be_get64(at + STORE_HINT_LEN + 8))
			continue;
		if (s->hint_path)
			hint_send(s->hint_fd, s->hint_path, span_make(at, STORE_HINT_LEN));
		pthread_mutex_lock(&inbox->lock);
		strbuf_add_mem(&inbox->changes, at, STORE_HINT_LEN);
		pthread_mutex_unlock(&inbox->lock);
	}
	pthread_mutex_lock(&inbox->lock);
	if (!inbox->is_posted) {
		inbox->is_posted = true;
		loop_post(s->loop, &inbox->post);
	}
	pthread_mutex_unlock(&inbox->lock);
}

static void inbox_free(struct store_inbox *inbox)
{
	strbuf_clear(&inbox->changes);
	pthread_mutex_destroy(&inbox->lock);
	mem_free(inbox);
}

static void store_tell(struct store *s, const struct store_change *c)
{
	if (s->on_change)
		s->on_change(s->arg, c);
}

static void inbox_on_post(struct post *p)
{
	struct store_inbox *inbox = container_of(p, struct store_inbox, post);
	struct strbuf changes;
	struct store_change c;

	if (!inbox->store) {
		inbox_free(inbox);
		return;
	}
	pthread_mutex_lock(&inbox->lock);
	changes = inbox->changes;
	strbuf_init(&inbox->changes, changes.max);
	inbox->is_posted = false;
	pthread_mutex_unlock(&inbox->lock);
	inbox->is_delivering = true;
	/* Who is told may close the store. */
	for (size_t at = 0; at + STORE_HINT_LEN <= changes.n && inbox->store; at += STORE_HINT_LEN)
		if (store_change_decode(span_make(changes.p + at, STORE_HINT_LEN), &c))
			store_tell(inbox->store, &c);
	inbox->is_delivering = false;
	strbuf_clear(&changes);
	if (!inbox->store && !inbox->is_posted)
		inbox_free(inbox);
}

/* Once a second: did other processes commit? A lost hint costs a second, not a missed mail. */
static void store_on_tick(void *arg)
{
	struct store *s = arg;
	const struct store_change all = {0};
	uint64_t foreign;
	bool is_certain = db_env_foreign(s->env, &foreign);

	timer_set(&s->tick, TICK_MS);
	/* While this process is committing the number may be one off: then look again, but not for
	 * ever. */
	if (!is_certain && foreign != s->foreign && ++s->uncertain < 3)
		return;
	s->uncertain = 0;
	if (foreign == s->foreign)
		return;
	s->foreign = foreign;
	store_tell(s, &all);
}

void store_on_change(
    struct store *s, void (*fn)(void *arg, const struct store_change *c), void *arg)
{
	s->on_change = fn;
	s->arg = arg;
}

void store_take_hint(struct store *s, struct span hint)
{
	struct store_change c;

	if (store_change_decode(hint, &c) && c.account)
		store_tell(s, &c);
}

/* --- gc ----------------------------------------------------------------------------------------
 */
static void gc_again(struct store *s, bool is_round_done)
{
	s->gc.is_running = false;
	if (is_round_done) {
		s->gc.start = (struct store_gc){0};
		timer_set(&s->gc.timer, GC_ROUND_MS + random_below(GC_ROUND_MS / 5));
	} else {
		timer_set(&s->gc.timer, GC_SLICE_MS);
	}
}

static int gc_forget_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	const struct store *s = container_of(op, struct store, gc.op);

	return store_gc_forget(txn, s->gc.now.files, s->gc.now.file_count, err);
}

static void gc_forget_done(struct db_op *op)
{
	struct store *s = container_of(op, struct store, gc.op);

	if (op->err.code)
		log_warning("store-gc-failed", LOG_ERR(&op->err));
	gc_again(s, op->err.code != ERR_NONE);
}

static void gc_unlink_run(struct work *work)
{
	struct store *s = container_of(work, struct store, gc.work);
	struct err err = ERR_INIT;
	size_t n = 0;

	for (size_t i = 0; i < s->gc.now.file_count; i++) {
		unsigned char *id = s->gc.now.files[i];

		err = (struct err){0};
		if (blob_unlink(s->blobs, id, &err) < 0 && err.code != ERR_NOT_FOUND) {
			log_warning("store-gc-failed", LOG_ERR(&err));
			continue;
		}
		memmove(s->gc.now.files[n++], id, BLOB_ID_LEN);
	}
	s->gc.now.file_count = n;
}

static void gc_unlink_done(struct work *work)
{
	struct store *s = container_of(work, struct store, gc.work);

	if (s->is_closing || s->gc.now.file_count == 0) {
		gc_again(s, true);
		return;
	}
	s->gc.op = (struct db_op){.run = gc_forget_run, .done = gc_forget_done};
	db_write_lazy(s->writer, &s->gc.op);
}

static int gc_slice_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct store *s = container_of(op, struct store, gc.op);

	s->gc.now = s->gc.start;
	return store_gc(txn, &s->gc.now, err);
}

static void gc_slice_done(struct db_op *op)
{
	struct store *s = container_of(op, struct store, gc.op);

	if (op->err.code) {
		log_warning("store-gc-failed", LOG_ERR(&op->err));
		gc_again(s, true);
		return;
	}
	s->gc.start = s->gc.now;
	if (s->gc.now.file_count == 0 || s->is_closing) {
		gc_again(s, s->gc.now.is_done);
		return;
	}
	s->gc.work = (struct work){.run = gc_unlink_run, .done = gc_unlink_done};
	workers_submit(store_workers(s), &s->gc.work);
}

static void gc_on_timer(void *arg)
{
	struct store *s = arg;

	if (s->gc.is_running)
		return;
	s->gc.is_running = true;
	s->gc.start.now = clock_now();
	s->gc.start.expunged_seconds = s->expunged_seconds;
	s->gc.start.file_seconds = GC_FILE_SECONDS;
	s->gc.start.budget = GC_BUDGET;
	s->gc.op = (struct db_op){.run = gc_slice_run, .done = gc_slice_done};
	db_write_lazy(s->writer, &s->gc.op);
}

void store_gc_start(struct store *s)
{
	timer_set(&s->gc.timer, 0);
}

static int sweep_known(void *arg, struct db_txn *txn, const unsigned char (*ids)[BLOB_ID_LEN],
    size_t count, bool *known, struct err *err)
{
	struct file_row f;

	for (size_t i = 0; i < count; i++)
		if (file_get(txn, ids[i], &f, &known[i], err) < 0)
			return -1;
	return 0;
}

static void sweep_done(void *arg, size_t removed)
{
	struct store *s = arg;

	s->sweep = NULL;
	if (removed)
		log_info("store-sweep", LOG_U64("files", removed));
}

void store_sweep(struct store *s)
{
	if (!s->sweep)
		s->sweep = sweep_start(s->readers, s->blobs, sweep_known, s, sweep_done);
}

/* --- opening and closing -----------------------------------------------------------------------
 */
static int store_open_env(struct store *s, const struct store_options *opt, struct err *err)
{
	struct db_options db = {.map_size = opt->map_size,
	    .map_max = opt->map_max,
	    .mode = 0660,
	    .format = db_format_of("store"),
	    .format_wait_ms = DB_FORMAT_WAIT_MS,
	    .on_commit = store_on_commit,
	    .note_size = STORE_HINT_LEN,
	    .arg = s};
	char path[PATH_MAX];

	if (mkdir(opt->dir, 02770) == 0) {
		if (chmod(opt->dir, 02770) < 0)
			return err_errno(err, errno, "%s", opt->dir);
	} else if (errno != EEXIST) {
		return err_errno(err, errno, "%s", opt->dir);
	}
	if (snprintf(path, sizeof(path), "%s/blob", opt->dir) >= (int)sizeof(path))
		return err_set(err, ERR_INVALID, "%s: path too long", opt->dir);
	if (blob_dir_open(path, &s->blobs, err) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/env", opt->dir);
	db.dir = path;
	return db_env_open(&db, &s->env, err);
}

static void store_start(struct store *s, const struct store_options *opt)
{
	const struct db_writer_options w = {.batch_ops = opt->batch_ops,
	    .batch_bytes = opt->batch_bytes,
	    .on_failure = opt->on_failure,
	    .arg = opt->arg};

	s->writer = db_writer_new(s->env, s->loop, &w);
	s->readers = db_readers_new(s->env, s->loop, opt->reader_threads);
	db_env_foreign(s->env, &s->foreign);
	timer_init(&s->tick, s->loop, store_on_tick, s);
	timer_set(&s->tick, TICK_MS);
	timer_init(&s->gc.timer, s->loop, gc_on_timer, s);
	timer_set(&s->gc.timer, GC_ROUND_MS / 5 + random_below(GC_ROUND_MS));
}

int store_open(const struct store_options *opt, struct store **out, struct err *err)
{
	struct store *s = mem_zalloc(sizeof(*s));

	*out = NULL;
	s->loop = opt->loop;
	s->inline_max = opt->inline_max;
	s->expunged_seconds = opt->expunged_seconds;
	s->hint_fd = -1;
	s->inbox = mem_zalloc(sizeof(*s->inbox));
	s->inbox->store = s;
	s->inbox->post.fn = inbox_on_post;
	pthread_mutex_init(&s->inbox->lock, NULL);
	strbuf_init(&s->inbox->changes, SIZE_MAX / 2);
	if (opt->hint_path) {
		s->hint_path = mem_strdup(opt->hint_path);
		s->hint_fd = hint_socket();
	}
	if (store_open_env(s, opt, err) < 0) {
		store_close(s);
		return -1;
	}
	store_start(s, opt);
	*out = s;
	return 0;
}

void store_close(struct store *s)
{
	bool is_posted;

	if (!s)
		return;
	s->is_closing = true;
	s->on_change = NULL;
	sweep_stop(s->sweep);
	/* Readers first: what their results write is still done. What the writer's results would
	 * read gets an error from store_read. */
	db_readers_free(s->readers);
	s->readers = NULL;
	db_writer_free(s->writer);
	if (s->env) {
		timer_clear(&s->tick);
		timer_clear(&s->gc.timer);
	}
	db_env_close(s->env);
	blob_dir_close(s->blobs);
	pthread_mutex_lock(&s->inbox->lock);
	is_posted = s->inbox->is_posted;
	s->inbox->store = NULL;
	pthread_mutex_unlock(&s->inbox->lock);
	if (is_posted)
		loop_take_posts(s->loop); /* it frees itself */
	else if (!s->inbox->is_delivering)
		inbox_free(s->inbox);
	if (s->hint_fd >= 0)
		close(s->hint_fd);
	mem_free(s->hint_path);
	mem_free(s);
}

void store_write(struct store *s, struct db_op *op)
{
	db_write(s->writer, op);
}

static void job_refused(struct post *p)
{
	struct db_job *job = container_of(p, struct db_job, work.post);

	job->done(job);
}

void store_read(struct store *s, struct db_job *job)
{
	if (!s->readers) {
		job->err = (struct err){0};
		err_set(&job->err, ERR_TEMP, "the store is being closed");
		job->work.post = (struct post){.fn = job_refused};
		loop_post(s->loop, &job->work.post);
		return;
	}
	db_read(s->readers, job);
}

struct db_env *store_env(struct store *s)
{
	return s->env;
}

struct blob_dir *store_blobs(struct store *s)
{
	return s->blobs;
}

struct workers *store_workers(struct store *s)
{
	return db_readers_workers(s->readers);
}

size_t store_inline_max(const struct store *s)
{
	return s->inline_max;
}

struct db_writer *store_writer(struct store *s)
{
	return s->writer;
}
