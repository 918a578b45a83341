#include "smtpd/queue/queue.h"

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/db/format.h"
#include "common/log/log.h"
#include "common/store/sweep.h"

#include <stdio.h>

struct queue {
	struct db_env *env;
	struct db_writer *writer;
	struct db_readers *readers;
	struct blob_dir *blobs;
	struct sweep *sweep;
};

static int open_parts(struct queue *q, const struct queue_options *opt, struct err *err)
{
	char env_dir[CONFIG_PATH_MAX], blob_path[CONFIG_PATH_MAX];
	struct db_options db = {
	    .dir = env_dir,
	    .map_size = config_u64(opt->cfg, SET_QUEUE_MAP_SIZE),
	    .map_max = config_u64(opt->cfg, SET_QUEUE_MAP_SIZE),
	    .mode = 0660,
	    .format = db_format_of("queue"),
	    .format_wait_ms = DB_FORMAT_WAIT_MS,
	};
	struct db_writer_options writer = {.on_failure = opt->on_failure, .arg = opt->arg};

	if (config_state_path(opt->cfg, "queue/env", env_dir, err) < 0 ||
	    config_state_path(opt->cfg, "queue/blob", blob_path, err) < 0 ||
	    db_env_open(&db, &q->env, err) < 0 || blob_dir_open(blob_path, &q->blobs, err) < 0)
		return err_wrap(err, "queue");
	q->writer = db_writer_new(q->env, opt->loop, &writer);
	q->readers = db_readers_new(q->env, opt->loop, opt->reader_threads);
	return 0;
}

int queue_open(const struct queue_options *opt, struct queue **out, struct err *err)
{
	struct queue *q = mem_zalloc(sizeof(*q));

	*out = NULL;
	if (open_parts(q, opt, err) < 0) {
		queue_close(q);
		return -1;
	}
	*out = q;
	return 0;
}

void queue_close(struct queue *q)
{
	if (!q)
		return;
	sweep_stop(q->sweep);
	if (q->readers)
		db_readers_free(q->readers);
	if (q->writer)
		db_writer_free(q->writer);
	if (q->env)
		db_env_close(q->env);
	if (q->blobs)
		blob_dir_close(q->blobs);
	mem_free(q);
}

/* Entries are not found by their files: one walk through them answers for all. */
static int sweep_known(void *arg, struct db_txn *txn, const unsigned char (*ids)[BLOB_ID_LEN],
    size_t count, bool *known, struct err *err)
{
	struct hash *found = hash_new();
	int rc = queue_each_file(txn, found, err);

	for (size_t i = 0; rc == 0 && i < count; i++)
		known[i] = hash_get(found, span_make(ids[i], BLOB_ID_LEN)) != NULL;
	hash_free(found);
	return rc;
}

static void sweep_done(void *arg, size_t removed)
{
	struct queue *q = arg;

	q->sweep = NULL;
	if (removed)
		log_info("queue-sweep", LOG_U64("files", removed));
}

void queue_sweep(struct queue *q)
{
	if (!q->sweep)
		q->sweep = sweep_start(q->readers, q->blobs, sweep_known, q, sweep_done);
}

void queue_write(struct queue *q, struct db_op *op)
{
	db_write(q->writer, op);
}

void queue_write_lazy(struct queue *q, struct db_op *op)
{
	db_write_lazy(q->writer, op);
}

void queue_read(struct queue *q, struct db_job *job)
{
	db_read(q->readers, job);
}

struct db_env *queue_env(struct queue *q)
{
	return q->env;
}

struct blob_dir *queue_blobs(struct queue *q)
{
	return q->blobs;
}

struct workers *queue_workers(struct queue *q)
{
	return db_readers_workers(q->readers);
}

void queue_id_format(char out[QUEUE_ID_TEXT], uint64_t qid)
{
	snprintf(out, QUEUE_ID_TEXT, "%016llx", (unsigned long long)qid);
}

bool queue_id_parse(struct span text, uint64_t *qid)
{
	uint64_t v = 0;

	if (text.n != QUEUE_ID_TEXT - 1)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];

		if (!ascii_is_digit(c) && !(c >= 'a' && c <= 'f'))
			return false;
		v = v << 4 | (uint64_t)(ascii_is_digit(c) ? c - '0' : c - 'a' + 10);
	}
	*qid = v;
	return true;
}

int64_t queue_retry_delay(uint32_t tries)
{
	static const int64_t delays[] = {60, 300, 900, 1800, 3600, 7200};

	return tries < ARRAY_LEN(delays) ? delays[tries] : 14400;
}

int64_t queue_fault_delay(uint32_t tries)
{
	return tries < 6 ? (int64_t)1 << tries : 60;
}
