/*
 * LMDB, wrapped: the only includer of lmdb.h. An environment is one tree (one unnamed database),
 * default durable flags plus MDB_NOTLS. This header is the whole interface; db/env.c is the only
 * code that touches data.mdb and lock.mdb.
 *
 * Threads: a process opens an environment once (twice is fatal: closing one would drop the POSIX
 * lock on lock.mdb and let other processes recycle pages under live readers). One writer thread
 * groups operations into transactions; reader threads run jobs in a read transaction each. The
 * loop thread never touches a transaction: a page fault is a disk read. Results come back to the
 * loop. Tests may use db_txn_* directly on one thread.
 *
 * Keys are at most 511 bytes and compare as bytes. Values returned point into the map and are
 * valid until the next write in the same transaction or its end.
 */
#ifndef MS_DB_DB_H
#define MS_DB_DB_H

#include "common/base/codec.h"
#include "common/base/err.h"
#include "common/event/work.h"

#include <sys/types.h>

struct db_env;
struct db_txn;

#define DB_FORMAT_WAIT_MS 60000

struct db_options {
	const char *dir;      /* made if missing, 2770 or, without group rights, 0700 */
	size_t map_size;      /* first size; an existing larger file wins */
	size_t map_max;       /* growth (doubling, in steps) stops here: then ERR_NO_SPACE */
	unsigned max_readers; /* 0: 512 */
	mode_t mode;          /* of data.mdb and lock.mdb, set by path whatever the umask; 0660 */
	/* Of the rows (db/format.h); 0: whatever it is. A database of another format is refused,
	 * and a new one gets the number. A daemon waits for one of an older format
	 * (DB_FORMAT_WAIT_MS): maint is about to bring it up. */
	unsigned format, format_wait_ms;
	bool is_alone; /* the caller has db_folder_lock */
	/*
	 * Called on the writer thread after each commit that returned 0, with the notes of all its
	 * operations in order. May be NULL.
	 */
	void (*on_commit)(void *arg, const void *notes, size_t count);
	size_t note_size; /* bytes of one note, at most 64 */
	void *arg;
};

/*
 * Opens or creates. Refuses (with a reason) uid 0 creating a new environment unless
 * MAILSTEAD_ALLOW_ROOT=1 is in the process environment, network file systems, a data file shorter
 * than its last used page (a truncated map would be SIGBUS), and a foreign format. Clears stale
 * reader slots. A new file and its folder are flushed before this returns.
 */
int db_env_open(const struct db_options *opt, struct db_env **out, struct err *err);
/*
 * A consistent copy, compacted, as <dir>/data.mdb, which must not be there; dir is made if it is
 * missing. Durable when this returns 0. One read transaction for as long as it takes.
 */
int db_env_copy(struct db_env *env, const char *dir, struct err *err);
/*
 * A process has the folder's lock, shared, for as long as it has the environment open. This one is
 * for maint: nobody has it open, and who opens it waits. A descriptor to be closed; ERR_BUSY.
 */
int db_folder_lock(const char *dir, struct err *err);
/* What the database says of itself. */
int db_format_get(struct db_env *env, unsigned *format, struct err *err);
int db_format_put(struct db_txn *txn, unsigned format, struct err *err);
int db_format_set(
    struct db_env *env, unsigned format, struct err *err); /* in a transaction of its own */
void db_env_close(struct db_env *env); /* writer and readers must have been freed */
/* The last one committed: at least those whose commit has returned here, maybe one that is just
 * being flushed and that readers do not see yet. Any thread; cheap. */
uint64_t db_env_last_txn(struct db_env *env);
/* How many of those were committed by other processes (up to a constant): it changes when they
 * write. False if this process is committing just now, the number may be one off then. */
bool db_env_foreign(struct db_env *env, uint64_t *count);
struct db_stat {
	uint64_t map_bytes, file_bytes, used_pages, free_pages, page_size, entries, depth, last_txn;
	unsigned readers, max_readers;
};
int db_env_stat(struct db_env *env, struct db_stat *st, struct err *err); /* reader thread */

/* --- transactions ----------------------------------------------------------------------------- */
int db_read_begin(struct db_env *env, struct db_txn **out, struct err *err);
int db_write_begin(struct db_env *env, struct db_txn **out, struct err *err); /* tests, maint */
int db_commit(struct db_txn *txn, struct err *err); /* durable when 0; frees txn either way */
void db_abort(struct db_txn *txn);                  /* also ends a read; NULL is fine */
struct db_env *db_txn_env(struct db_txn *txn);
/* Of a read transaction: it sees all commits up to this one, and none behind it. */
uint64_t db_txn_id(const struct db_txn *txn);
/* What a commit will announce through on_commit; dropped when the operation fails. */
void db_note(struct db_txn *txn, const void *note);

/* 0; -1 with ERR_NOT_FOUND; or another error. */
int db_get(struct db_txn *txn, struct span key, struct span *val, struct err *err);
int db_put(struct db_txn *txn, struct span key, struct span val, struct err *err);
/* Puts only if the key is absent: ERR_EXISTS otherwise. */
int db_add(struct db_txn *txn, struct span key, struct span val, struct err *err);
int db_del(struct db_txn *txn, struct span key, struct err *err); /* ERR_NOT_FOUND if absent */

/*
 * Cursors. Each move gives 1 with key and value, 0 at the end (no more key with the prefix), -1
 * with err. A write to the transaction ends the validity of a cursor's spans, not of the cursor:
 * copy what is needed, then go on with db_seek from a key.
 */
struct db_cursor {
	struct db_txn *txn;
	void *mc;
	struct span key, val;
	char prefix[64];
	size_t prefix_n;
};

int db_cursor_open(struct db_txn *txn, struct db_cursor *c, struct span prefix, struct err *err);
void db_cursor_close(struct db_cursor *c);                          /* harmless on a zeroed one */
int db_first(struct db_cursor *c, struct err *err);                 /* first with the prefix */
int db_last(struct db_cursor *c, struct err *err);                  /* last with the prefix */
int db_seek(struct db_cursor *c, struct span key, struct err *err); /* first key >= key */
/* The last key <= key that has the prefix. */
int db_seek_back(struct db_cursor *c, struct span key, struct err *err);
int db_next(struct db_cursor *c, struct err *err);
int db_prev(struct db_cursor *c, struct err *err);

/* --- keys: built in a fixed buffer, big-endian, so that byte order is number order ------------ */
struct db_key {
	unsigned char b[511];
	size_t n;
	bool failed;
};

void db_key_init(struct db_key *k);
void db_key_u8(struct db_key *k, uint8_t v);
void db_key_u32(struct db_key *k, uint32_t v);
void db_key_u64(struct db_key *k, uint64_t v);
void db_key_raw(struct db_key *k, struct span s);
struct span db_key_span(const struct db_key *k);

/* --- the group-commit writer ------------------------------------------------------------------ */
/*
 * What an operation does, for when the largest map is almost full, or the disk is. Whoever only
 * removes must always find the pages that this takes, else what is full could never be emptied: the
 * disk keeps some room for that. What is refused gets ERR_NO_SPACE.
 */
enum db_need {
	DB_REMOVES, /* or must not be refused: goes on to the last page */
	DB_CHANGES, /* rows that are there: refused when less than a sixteenth is left */
	DB_ADDS,    /* new data: refused when less than a quarter is left, or nothing on the disk */
};

/*
 * An operation is a record that can be run again: run may be called several times (after a failed
 * batch it runs alone), each time from the start, and must only write to txn and to its own
 * results. Each run is under a child transaction: on -1 the child is aborted and nothing of it
 * remains, the other operations of the batch are not touched. done comes on the loop after the
 * parent's commit returned 0 (err.code 0: durable, whatever run left in err), or with the error. If
 * a commit fails with EIO on a sync, every operation gets ERR_IO and the process must exit:
 * db_writer_failed.
 */
struct db_op {
	struct post post;
	struct list link;
	int (*run)(struct db_op *op, struct db_txn *txn, struct err *err); /* writer thread */
	void (*done)(struct db_op *op);                                    /* loop */
	struct err err;
	size_t cost; /* estimated dirty bytes; 0 means 16 KiB. Above the batch limit: runs alone */
	enum db_need need;
};

struct db_writer;

struct db_writer_options {
	unsigned batch_ops; /* 0: 256 */
	size_t batch_bytes; /* 0: 16 MiB */
	/* A failed sync: stop acknowledging; called once on the loop. NULL: fatal. */
	void (*on_failure)(void *arg, const struct err *err);
	void *arg;
};

struct db_writer *db_writer_new(
    struct db_env *env, struct loop *loop, const struct db_writer_options *opt);
void db_writer_free(struct db_writer *w); /* finishes what waits, calls their done, then stops */
void db_write(struct db_writer *w, struct db_op *op); /* loop thread */
/*
 * As db_write, but the operation alone never causes a commit: it rides in the next one, or goes
 * after 1 s at the latest (removal of queue entries).
 */
void db_write_lazy(struct db_writer *w, struct db_op *op);
struct db_writer_stat {
	uint64_t commits, operations, failed, reruns;
	size_t waiting;
};
void db_writer_stat(const struct db_writer *w, struct db_writer_stat *st); /* loop thread */

/* --- readers ---------------------------------------------------------------------------------- */
/* A job runs on a reader thread inside a read transaction that lasts as long as run: one slice
 * (at most some hundred rows or 256 KiB of output), then done on the loop. txn is NULL and err set
 * if no transaction could be begun: run is not called then. */
struct db_job {
	struct work work;
	struct db_readers *readers;
	void (*run)(struct db_job *job, struct db_txn *txn);
	void (*done)(struct db_job *job);
	struct err err;
};

struct db_readers;

struct db_readers *db_readers_new(struct db_env *env, struct loop *loop, unsigned threads);
void db_readers_free(struct db_readers *r);
void db_read(struct db_readers *r, struct db_job *job);   /* loop thread */
struct workers *db_readers_workers(struct db_readers *r); /* for work without a transaction */

#endif
