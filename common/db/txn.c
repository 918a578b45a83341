#include "common/base/mem.h"
#include "common/db/db_int.h"

#include <errno.h>
#include <string.h>

static struct db_txn *txn_new(struct db_env *env, struct db_txn *parent, bool is_write)
{
	struct db_txn *txn = mem_zalloc(sizeof(*txn));

	txn->env = env;
	txn->parent = parent;
	txn->is_write = is_write;
	strbuf_init(&txn->notes, SIZE_MAX / 4);
	return txn;
}

static void txn_free(struct db_txn *txn)
{
	strbuf_clear(&txn->notes);
	mem_free(txn);
}

/* Another process made the map larger: takes the new size over, with no transaction open here. */
static int txn_adopt_map(struct db_env *env)
{
	int rc;

	pthread_rwlock_wrlock(&env->map_lock);
	rc = mdb_env_set_mapsize(env->mdb, 0);
	pthread_rwlock_unlock(&env->map_lock);
	return rc;
}

static int txn_begin(struct db_env *env, bool is_write, struct db_txn **out, struct err *err)
{
	struct db_txn *txn = txn_new(env, NULL, is_write);
	int rc;

	*out = NULL;
	for (unsigned tries = 0; tries < 100; tries++) {
		pthread_rwlock_rdlock(&env->map_lock);
		rc = mdb_txn_begin(env->mdb, NULL, is_write ? 0 : MDB_RDONLY, &txn->mdb);
		if (rc == 0) {
			*out = txn;
			return 0;
		}
		pthread_rwlock_unlock(&env->map_lock);
		if (rc == MDB_MAP_RESIZED)
			rc = txn_adopt_map(env);
		if (rc != 0)
			break;
	}
	txn_free(txn);
	return db_err_rc(err, rc ? rc : MDB_MAP_RESIZED, "starting a transaction");
}

int db_read_begin(struct db_env *env, struct db_txn **out, struct err *err)
{
	return txn_begin(env, false, out, err);
}

int db_write_begin(struct db_env *env, struct db_txn **out, struct err *err)
{
	if (atomic_load(&env->has_failed)) {
		*out = NULL;
		return err_set(
		    err, ERR_IO, "%s: a flush failed, nothing is written any more", env->dir);
	}
	return txn_begin(env, true, out, err);
}

int db_child_begin(struct db_txn *parent, struct db_txn **out, struct err *err)
{
	struct db_txn *txn = txn_new(parent->env, parent, true);
	int rc = mdb_txn_begin(parent->env->mdb, parent->mdb, 0, &txn->mdb);

	*out = NULL;
	if (rc != 0) {
		parent->rc = rc;
		txn_free(txn);
		return db_err_rc(err, rc, "starting an operation");
	}
	*out = txn;
	return 0;
}

/* Errors after which the next commit may be tried; after any other a flush cannot be trusted. */
static bool commit_may_go_on(int rc)
{
	return rc == MDB_MAP_FULL || rc == MDB_TXN_FULL || rc == MDB_BAD_TXN || rc == ENOSPC ||
	       rc == EDQUOT || rc == ENOMEM;
}

static int commit_child(struct db_txn *txn, struct err *err)
{
	struct db_txn *parent = txn->parent;
	int rc = mdb_txn_commit(txn->mdb);

	if (rc != 0) {
		parent->rc = rc;
	} else {
		strbuf_add(&parent->notes, strbuf_span(&txn->notes));
		parent->note_count += txn->note_count;
		parent->has_written |= txn->has_written;
	}
	txn_free(txn);
	return rc == 0 ? 0 : db_err_rc(err, rc, "ending an operation");
}

static int commit_root(struct db_txn *txn, int *rc, struct err *err)
{
	struct db_env *env = txn->env;
	uint64_t id = mdb_txn_id(txn->mdb);

	atomic_store(&env->is_committing, true);
	*rc = mdb_txn_commit(txn->mdb);
	if (*rc == 0 && txn->has_written) {
		atomic_fetch_add(&env->own_commits, 1);
		db_env_saw_txn(env, id);
	}
	atomic_store(&env->is_committing, false);
	pthread_rwlock_unlock(&env->map_lock);
	if (*rc == 0 && env->on_commit && txn->note_count)
		env->on_commit(env->arg, txn->notes.p, txn->note_count);
	txn_free(txn);
	if (*rc == 0)
		return 0;
	if (!commit_may_go_on(*rc))
		atomic_store(&env->has_failed, true);
	return db_err_rc(err, *rc, "committing");
}

uint64_t db_txn_id(const struct db_txn *txn)
{
	return mdb_txn_id(txn->mdb);
}

int db_commit_rc(struct db_txn *txn, int *rc, struct err *err)
{
	*rc = 0;
	if (!txn->is_write) {
		db_abort(txn);
		return 0;
	}
	if (txn->rc != 0) {
		/* Committing a transaction in which something failed would poison its parent. */
		*rc = txn->rc;
		db_abort(txn);
		return db_err_rc(err, *rc, "committing after an error");
	}
	if (txn->parent)
		return commit_child(txn, err);
	return commit_root(txn, rc, err);
}

int db_commit(struct db_txn *txn, struct err *err)
{
	int rc;

	return db_commit_rc(txn, &rc, err);
}

void db_abort(struct db_txn *txn)
{
	if (!txn)
		return;
	mdb_txn_abort(txn->mdb);
	if (!txn->parent)
		pthread_rwlock_unlock(&txn->env->map_lock);
	txn_free(txn);
}

struct db_env *db_txn_env(struct db_txn *txn)
{
	return txn->env;
}

void db_note(struct db_txn *txn, const void *note)
{
	if (txn->env->note_size == 0)
		return;
	strbuf_add_mem(&txn->notes, note, txn->env->note_size);
	txn->note_count++;
}

static MDB_val txn_val(struct span s)
{
	return (MDB_val){.mv_size = s.n, .mv_data = (void *)(uintptr_t)s.p};
}

static int txn_result(struct db_txn *txn, int rc, const char *what, struct err *err)
{
	if (rc == 0)
		return 0;
	if (rc != MDB_NOTFOUND && rc != MDB_KEYEXIST && rc != MDB_BAD_VALSIZE && txn->rc == 0)
		txn->rc = rc;
	return err ? db_err_rc(err, rc, what) : -1;
}

int db_get(struct db_txn *txn, struct span key, struct span *val, struct err *err)
{
	MDB_val k = txn_val(key), v = {0};
	int rc = mdb_get(txn->mdb, txn->env->dbi, &k, &v);

	*val = span_make(v.mv_data, v.mv_size);
	return txn_result(txn, rc, "reading a row", err);
}

static int txn_put(
    struct db_txn *txn, struct span key, struct span val, unsigned flags, struct err *err)
{
	MDB_val k = txn_val(key), v = txn_val(val);
	int rc = mdb_put(txn->mdb, txn->env->dbi, &k, &v, flags);

	txn->has_written |= rc == 0;
	return txn_result(txn, rc, "writing a row", err);
}

int db_put(struct db_txn *txn, struct span key, struct span val, struct err *err)
{
	return txn_put(txn, key, val, 0, err);
}

int db_add(struct db_txn *txn, struct span key, struct span val, struct err *err)
{
	return txn_put(txn, key, val, MDB_NOOVERWRITE, err);
}

int db_del(struct db_txn *txn, struct span key, struct err *err)
{
	MDB_val k = txn_val(key);
	int rc = mdb_del(txn->mdb, txn->env->dbi, &k, NULL);

	txn->has_written |= rc == 0;
	return txn_result(txn, rc, "deleting a row", err);
}
