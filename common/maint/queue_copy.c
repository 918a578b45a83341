/* What a copied queue must not say: that there is a body which went while it was copied. */
#include "common/maint/backup.h"

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "smtpd/queue/queue.h"

#include <unistd.h>

struct finished {
	struct db_txn *txn;
	struct hash *there; /* ids of files */
	struct {
		uint64_t qid;
		uint32_t n;
	} * rows;
	size_t count;
	struct err *err;
	int rc;
};

static int is_there(void *arg, const unsigned char id[BLOB_ID_LEN])
{
	hash_set(arg, span_make(id, BLOB_ID_LEN), arg);
	return 0;
}

static bool on_rcpt(void *arg, const struct queue_rcpt *r)
{
	struct finished *f = arg;
	struct queue_entry e;

	f->rc = queue_entry_get(f->txn, r->qid, &e, f->err);
	if (f->rc < 0)
		return false;
	if (e.blob.is_file && !hash_get(f->there, span_make(e.blob.id, BLOB_ID_LEN))) {
		f->rows = mem_grow(f->rows, f->count + 1, sizeof(*f->rows));
		f->rows[f->count].qid = r->qid;
		f->rows[f->count++].n = r->n;
	}
	return true;
}

static int remove_finished(struct finished *f)
{
	struct blob file;

	if (queue_each_rcpt(f->txn, 0, on_rcpt, f, f->err) < 0 || f->rc < 0)
		return -1;
	for (size_t i = 0; i < f->count; i++)
		if (queue_rcpt_remove(f->txn, f->rows[i].qid, f->rows[i].n, &file, f->err) < 0)
			return -1;
	return 0;
}

int queue_copy_settle(const char *dir, size_t map_size, struct blob_dir *blobs, struct err *err)
{
	struct finished f = {.there = hash_new(), .err = err};
	struct db_env *env = NULL;
	char lock[BACKUP_PATH];
	int rc;

	rc = blob_each(blobs, is_there, f.there, err);
	if (rc == 0)
		rc = env_open_at(dir, map_size, &env, err);
	if (rc == 0)
		rc = db_write_begin(env, &f.txn, err);
	if (rc == 0 && (rc = remove_finished(&f)) == 0 && f.count > 0) {
		rc = db_commit(f.txn, err);
		f.txn = NULL;
	}
	db_abort(f.txn);
	db_env_close(env);
	if (path_join(lock, dir, "lock.mdb", NULL))
		(void)unlink(lock);
	mem_free(f.rows);
	hash_free(f.there);
	return rc;
}
