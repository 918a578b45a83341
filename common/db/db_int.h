/* Inside of common/db, and what its tests look at. */
#ifndef MS_DB_DB_INT_H
#define MS_DB_DB_INT_H

#include "common/base/list.h"
#include "common/base/strbuf.h"
#include "common/db/db.h"

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

struct db_env {
	MDB_env *mdb;
	MDB_dbi dbi;
	/* Held shared by every transaction, exclusively to change the map: LMDB moves the map then.
	 */
	pthread_rwlock_t map_lock;
	char *dir;
	int dir_fd;
	dev_t dev; /* of the folder: who else in this process has it open */
	ino_t ino;
	struct list link;
	size_t map_max;
	mode_t mode;
	void (*on_commit)(void *arg, const void *notes, size_t count);
	void *arg;
	size_t note_size;
	atomic_uint_fast64_t own_commits;
	atomic_uint_fast64_t last_txn; /* as seen last */
	atomic_bool is_committing;
	atomic_bool has_failed; /* a sync failed: nothing is committed any more */
	uint64_t reserved_end;  /* writer thread: the disk keeps room for the file up to here */
	bool has_no_reserve;    /* its file system cannot do that */
};

struct db_txn {
	struct db_env *env;
	struct db_txn *parent;
	MDB_txn *mdb;
	bool is_write, has_written;
	int rc; /* first LMDB error that makes the transaction unusable */
	struct strbuf notes;
	size_t note_count;
};

void db_env_saw_txn(struct db_env *env, uint64_t id);
/* Sets err from an LMDB return code; returns -1. */
int db_err_rc(struct err *err, int rc, const char *what);
/* Puts a child transaction under a write transaction; ends with db_commit or db_abort. */
int db_child_begin(struct db_txn *parent, struct db_txn **out, struct err *err);
/* As db_commit, and says what LMDB said: MDB_MAP_FULL and MDB_TXN_FULL mean "try again". */
int db_commit_rc(struct db_txn *txn, int *rc, struct err *err);
/* Doubles the map up to its limit: ERR_NO_SPACE if it is there. No transaction on this thread. */
int db_env_grow(struct db_env *env, struct err *err);
/* True if more than 80 % of the map is in use and it may still grow. */
bool db_env_is_nearly_full(struct db_env *env);
/* The first need that is refused now, with free pages counted; DB_ADDS + 1: none. No transaction on
 * this thread; the writer's. */
enum db_need db_env_refused(struct db_env *env);
int db_env_check_readers(struct db_env *env, int *dead);
/*
 * Room on the disk behind the pages in use, so that what only removes (or changes what is there)
 * finds it also when nothing else does: DB_RESERVE bytes, made anew when half of them are used.
 * False if the disk has no room for them: then nothing may be added.
 */
#define DB_RESERVE ((uint64_t)4 << 20)
bool db_file_reserve(struct db_env *env, uint64_t used_end);
void db_env_keep_reserve(struct db_env *env); /* writer thread */
/* A thread that no signal interrupts. */
#ifdef MS_SANITIZED
#define DB_STACK_SIZE (2048 * 1024)
#else
#define DB_STACK_SIZE (256 * 1024)
#endif
int db_thread_start(pthread_t *thread, void *(*fn)(void *arg), void *arg, const char *name);
/* By f_type of statfs(2). */
bool db_fs_is_network(long type);

/* The first bytes of both pages that LMDB keeps its root in, read without LMDB. */
struct db_file_head {
	bool is_new; /* no file, or an empty one */
	size_t map_size, page_size;
	uint64_t last_page;
	uint64_t file_bytes;
};

int db_file_check(const char *path, struct db_file_head *out, struct err *err);
/*
 * The data file ends before its last page. Legitimate only if the missing pages are free (LMDB
 * does not write pages that a transaction took and gave back): then the file is made longer, else
 * it is ERR_CORRUPT.
 */
int db_file_extend(struct db_env *env, struct err *err);

#endif
