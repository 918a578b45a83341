/* backup [FOLDER] [--keep=N] [--bodies] [--scheduled]: hot, consistent, and looked at before it
 * counts. */
#include "common/maint/backup.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/store/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct backup {
	struct maint *m;
	const char *dir;
	char name[BACKUP_NAME_LEN + 1];
	char temp[BACKUP_PATH]; /* generations/.<time> */
	struct blob_dir *store, *queue;
	uint64_t files, bytes; /* written, not those that were there */
	int lock;              /* held on <dir>/generations; -1: not yet */
	struct store_check seen;
	struct err err;
};

static int make_dir(struct backup *b, const char *path)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	/* A typing mistake, or a disk that is not there, must not become a folder of that name. */
	if (errno == ENOENT)
		return err_set(&b->err, ERR_NOT_FOUND,
		    "%s: the folder above it is not there; is the disk mounted?", path);
	return err_errno(&b->err, errno, "%s", path);
}

static int sub_dir(struct backup *b, const char *one, const char *two, char out[BACKUP_PATH])
{
	if (!path_join(out, b->dir, one, two))
		return err_set(&b->err, ERR_INVALID, "%s: path too long", b->dir);
	return make_dir(b, out);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int remove_tree(struct backup *b, const char *path)
{
	return nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0
		   ? 0
		   : err_errno(&b->err, errno, "removing %s", path);
}

/* One run at a time. A network's file system may know no locks; then *is_alone is false. */
static int take_lock(struct backup *b, const char *generations, bool *is_alone)
{
	b->lock = open(generations, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->lock < 0)
		return err_errno(&b->err, errno, "%s", generations);
	*is_alone = flock(b->lock, LOCK_EX | LOCK_NB) == 0;
	if (!*is_alone && errno == EWOULDBLOCK)
		return err_set(&b->err, ERR_BUSY, "%s: another backup is being made", b->dir);
	return 0;
}

/* What runs that were cut off have left: generations without a name, and files. */
static int remove_unfinished(struct backup *b, const char *generations)
{
	struct blob_dir *const dirs[] = {b->store, b->queue};
	DIR *dir = opendir(generations);
	char path[BACKUP_PATH];
	const struct dirent *e;
	struct strbuf none;
	int rc = 0;

	if (!dir)
		return err_errno(&b->err, errno, "%s", generations);
	while (rc == 0 && (e = readdir(dir)))
		if (e->d_name[0] == '.' && is_generation(e->d_name + 1) &&
		    path_join(path, generations, e->d_name, NULL))
			rc = remove_tree(b, path);
	closedir(dir);
	strbuf_init(&none, BLOB_ID_LEN);
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		for (unsigned folder = 0; rc == 0 && folder < 256; folder++)
			rc = blob_list_old(dirs[i], folder, INT64_MAX, 0, &none, &b->err);
	strbuf_clear(&none);
	return rc;
}

/* Its time; where there is one of this second already, the next. */
static int choose_name(struct backup *b, const char *generations)
{
	char path[BACKUP_PATH];
	time_t when = (time_t)clock_now();
	struct tm tm;

	do {
		if (!gmtime_r(&when, &tm) ||
		    strftime(b->name, sizeof(b->name), "%Y%m%dT%H%M%SZ", &tm) != BACKUP_NAME_LEN)
			return err_set(&b->err, ERR_INVALID, "the clock is wrong");
		if (!path_join(path, generations, b->name, NULL))
			return err_set(&b->err, ERR_INVALID, "%s: path too long", b->dir);
		when++;
	} while (access(path, F_OK) == 0);
	return 0;
}

static int prepare(struct backup *b)
{
	char path[BACKUP_PATH], generations[BACKUP_PATH], hidden[BACKUP_NAME_LEN + 2];
	bool is_alone = false;

	if (make_dir(b, b->dir) < 0 || space_check(b->dir, 0, &b->err) < 0 ||
	    sub_dir(b, "generations", NULL, generations) < 0 ||
	    take_lock(b, generations, &is_alone) < 0 || choose_name(b, generations) < 0 ||
	    sub_dir(b, "blob", NULL, path) < 0 || sub_dir(b, "blob", "store", path) < 0 ||
	    blob_dir_open(path, &b->store, &b->err) < 0 || sub_dir(b, "blob", "queue", path) < 0 ||
	    blob_dir_open(path, &b->queue, &b->err) < 0)
		return -1;
	if (is_alone && remove_unfinished(b, generations) < 0)
		return -1;
	snprintf(hidden, sizeof(hidden), ".%s", b->name);
	if (!path_join(b->temp, generations, hidden, NULL))
		return err_set(&b->err, ERR_INVALID, "%s: path too long", b->dir);
	/* Where there are no locks, two may have begun within one second. */
	if (mkdir(b->temp, 0700) < 0) {
		err_errno(&b->err, errno, "%s", b->temp);
		b->temp[0] = '\0'; /* the other's, who goes on */
		return -1;
	}
	return 0;
}

/* --- environments
 * --------------------------------------------------------------------------------------- */
static int copy_env(struct backup *b, const char *name)
{
	char to[BACKUP_PATH];
	struct db_stat st;
	struct files f;
	int rc;

	maint_progress("%s: the database", name);
	if (!path_join(to, b->temp, name, NULL))
		return err_set(&b->err, ERR_INVALID, "%s: path too long", b->temp);
	if (files_open(b->m, name, &f, &b->err) < 0)
		return -1;
	rc = db_env_stat(f.env, &st, &b->err);
	/* Gives way before it takes what mail needs, if both are on one disk. */
	if (rc == 0)
		rc = space_check(b->dir, (st.used_pages - st.free_pages) * st.page_size, &b->err);
	if (rc == 0)
		rc = db_env_copy(f.env, to, &b->err);
	files_close(&f);
	return rc;
}

static int clone_one(struct backup *b, struct blob_dir *from, struct blob_dir *to,
    const unsigned char *id, struct err *err)
{
	uint64_t n;

	if (space_check(b->dir, 0, err) < 0 || blob_clone(from, id, to, &n, err) < 0)
		return -1;
	b->files += n > 0;
	b->bytes += n;
	return 0;
}

/* Those that the copy refers to: they are kept for an hour after their last message went. */
static int copy_store_files(struct backup *b)
{
	unsigned char(*ids)[BLOB_ID_LEN] = NULL;
	char dir[BACKUP_PATH];
	struct db_env *env = NULL;
	struct db_txn *txn;
	struct files live;
	size_t n = 0;
	int rc;

	if (!path_join(dir, b->temp, "store", NULL) ||
	    files_open(b->m, "store", &live, &b->err) < 0)
		return -1;
	rc = env_open_at(dir, config_u64(b->m->cfg, SET_STORE_MAP_SIZE), &env, &b->err);
	if (rc == 0 && (rc = db_read_begin(env, &txn, &b->err)) == 0) {
		rc = store_file_ids(txn, &ids, &n, &b->err);
		db_abort(txn);
	}
	for (size_t i = 0; rc == 0 && i < n; i++) {
		rc = clone_one(b, live.blobs, b->store, ids[i], &b->err);
		maint_progress("large bodies: %zu of %zu", i + 1, n);
	}
	if (rc == 0) {
		b->seen.bodies = maint_has(b->m, "--bodies");
		rc = store_check_run(env, b->store, &b->seen, &b->err);
	}
	mem_free(ids);
	db_env_close(env);
	files_close(&live);
	return rc;
}

struct queue_copy {
	struct backup *b;
	struct blob_dir *from;
};

/* One that went meanwhile belonged to a message that needs it no more. */
static int copy_queue_file(void *arg, const unsigned char id[BLOB_ID_LEN])
{
	struct queue_copy *q = arg;
	struct err why = ERR_INIT;

	if (clone_one(q->b, q->from, q->b->queue, id, &why) == 0 || why.code == ERR_NOT_FOUND)
		return 0;
	return err_set(&q->b->err, why.code, "%s", why.text);
}

static int copy_queue_files(struct backup *b)
{
	struct queue_copy q = {.b = b};
	struct files live;
	int rc;

	if (files_open(b->m, "queue", &live, &b->err) < 0)
		return -1;
	q.from = live.blobs;
	rc = blob_each(live.blobs, copy_queue_file, &q, &b->err);
	files_close(&live);
	return rc;
}

/*
 * The bodies before the rows, so that those of what waits are there, and after them, those of what
 * came meanwhile. What came and went meanwhile is in the store's copy, or on its way far away.
 */
static int copy_queue(struct backup *b)
{
	char dir[BACKUP_PATH];

	if (copy_queue_files(b) < 0 || copy_env(b, "queue") < 0 || copy_queue_files(b) < 0)
		return -1;
	if (!path_join(dir, b->temp, "queue", NULL))
		return err_set(&b->err, ERR_INVALID, "%s: path too long", b->temp);
	return queue_copy_settle(dir, config_u64(b->m->cfg, SET_QUEUE_MAP_SIZE), b->queue, &b->err);
}

/* --- the rest
 * ---------------------------------------------------------------------------------------------- */
static int flush_dir(struct backup *b, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 || fsync(fd) < 0 ? err_errno(&b->err, errno, "flushing %s", path) : 0;

	if (fd >= 0)
		close(fd);
	return rc;
}

static int copy_state(struct backup *b)
{
	static const char *const folders[] = {"conf", "keys"};
	char from[CONFIG_PATH_MAX], to[BACKUP_PATH];

	if (!path_join(to, b->temp, "state", NULL) || make_dir(b, to) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		if (config_state_path(b->m->cfg, folders[i], from, &b->err) < 0 ||
		    !path_join(to, b->temp, "state", folders[i]) ||
		    tree_copy(from, to, &b->err) < 0)
			return -1;
	if (!path_join(to, b->temp, "state", NULL) || flush_dir(b, to) < 0)
		return -1;
	if (!path_join(to, b->temp, "mailstead.conf", NULL))
		return -1;
	return file_copy(config_path(b->m->cfg), to, &b->err);
}

static void write_account(void *arg, struct span address, uint64_t number)
{
	fprintf(arg, "%llu %.*s\n", (unsigned long long)number, SPAN_FMT(address));
}

/* For restoring one account by its address; without a running instance the numbers must do. */
static int write_accounts(struct backup *b)
{
	struct err why = ERR_INIT;
	char path[BACKUP_PATH];
	FILE *f;

	if (!path_join(path, b->temp, "accounts", NULL))
		return -1;
	f = fopen(path, "wxe");
	if (!f)
		return err_errno(&b->err, errno, "%s", path);
	if (accounts_each(b->m, write_account, f, &why) < 0)
		fprintf(stderr, "the names of accounts are not in this backup: %s\n", why.text);
	if (fflush(f) != 0 || fsync(fileno(f)) < 0) {
		fclose(f);
		return err_errno(&b->err, errno, "%s", path);
	}
	return fclose(f) == 0 ? 0 : err_errno(&b->err, errno, "%s", path);
}

/* What it holds, for people who look for the right one. */
static int write_summary(struct backup *b)
{
	char path[BACKUP_PATH];
	FILE *f = path_join(path, b->temp, "summary", NULL) ? fopen(path, "wxe") : NULL;
	bool is_good;

	if (!f)
		return err_errno(&b->err, errno, "%s", path);
	fprintf(f, "accounts %llu\nmessages %llu\n", (unsigned long long)b->seen.accounts,
	    (unsigned long long)b->seen.messages);
	is_good = fflush(f) == 0 && fsync(fileno(f)) == 0;
	if (fclose(f) == 0 && is_good)
		return 0;
	return err_errno(&b->err, errno, "%s", path);
}

static int give_name(struct backup *b)
{
	char parent[BACKUP_PATH], name[BACKUP_PATH], lock[BACKUP_PATH];

	/* Made by looking at the copy. */
	if (path_join(lock, b->temp, "store", "lock.mdb"))
		(void)unlink(lock);
	if (!path_join(parent, b->dir, "generations", NULL) ||
	    !path_join(name, parent, b->name, NULL))
		return -1;
	if (flush_dir(b, b->temp) < 0)
		return -1;
	if (rename(b->temp, name) < 0)
		return err_errno(&b->err, errno, "%s", name);
	return flush_dir(b, parent);
}

/* --- old ones
 * --------------------------------------------------------------------------------------------------
 */
struct kept_ids {
	unsigned char (*ids)[BLOB_ID_LEN];
	size_t n;
	struct backup *b;
};

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, BLOB_ID_LEN);
}

static int add_ids(struct backup *b, const char *generation, struct kept_ids *k)
{
	unsigned char(*ids)[BLOB_ID_LEN] = NULL;
	char dir[BACKUP_PATH], lock[BACKUP_PATH];
	struct db_env *env;
	struct db_txn *txn;
	size_t n = 0;
	int rc;

	if (!path_join(dir, generation, "store", NULL) ||
	    env_open_at(dir, config_u64(b->m->cfg, SET_STORE_MAP_SIZE), &env, &b->err) < 0)
		return -1;
	rc = db_read_begin(env, &txn, &b->err);
	if (rc == 0) {
		rc = store_file_ids(txn, &ids, &n, &b->err);
		db_abort(txn);
	}
	db_env_close(env);
	if (path_join(lock, dir, "lock.mdb", NULL))
		(void)unlink(lock);
	if (rc == 0 && n > 0) {
		k->ids = mem_grow(k->ids, k->n + n, sizeof(*k->ids));
		memcpy(k->ids + k->n, ids, n * sizeof(*ids));
		k->n += n;
	}
	mem_free(ids);
	return rc;
}

static int drop_unkept(void *arg, const unsigned char id[BLOB_ID_LEN])
{
	struct kept_ids *k = arg;

	if (k->n > 0 && bsearch(id, k->ids, k->n, sizeof(*k->ids), by_id))
		return 0;
	return blob_unlink(k->b->store, id, &k->b->err);
}

/* Its name first: what has one is whole. */
static int drop_generation(struct backup *b, const char *parent, const char *name)
{
	char path[BACKUP_PATH], hidden[BACKUP_NAME_LEN + 2], gone[BACKUP_PATH];

	snprintf(hidden, sizeof(hidden), ".%s", name);
	if (!path_join(path, parent, name, NULL) || !path_join(gone, parent, hidden, NULL))
		return err_set(&b->err, ERR_INVALID, "%s: path too long", parent);
	if (rename(path, gone) < 0)
		return err_errno(&b->err, errno, "%s", path);
	return flush_dir(b, parent) < 0 ? -1 : remove_tree(b, gone);
}

/* Generations beyond keep go, then the bodies that none of the others refers to. */
static int prune(struct backup *b, size_t keep)
{
	static struct generations all;
	struct kept_ids k = {.b = b};
	char parent[BACKUP_PATH], path[BACKUP_PATH];
	int rc = 0;

	if (!path_join(parent, b->dir, "generations", NULL) ||
	    generations_list(b->dir, &all, &b->err) < 0)
		return -1;
	if (all.n <= keep)
		return 0;
	for (size_t i = 0; rc == 0 && i < all.n; i++) {
		if (i < all.n - keep)
			rc = drop_generation(b, parent, all.list[i]);
		else if (!path_join(path, parent, all.list[i], NULL))
			rc = err_set(&b->err, ERR_INVALID, "%s: path too long", parent);
		else
			rc = add_ids(b, path, &k);
	}
	if (rc == 0) {
		if (k.n > 0)
			qsort(k.ids, k.n, sizeof(*k.ids), by_id);
		rc = blob_each(b->store, drop_unkept, &k, &b->err);
	}
	mem_free(k.ids);
	return rc;
}

/* --- the verb
 * ----------------------------------------------------------------------------------------------------
 */
static int make(struct backup *b)
{
	if (prepare(b) < 0)
		return -1;
	/* The queue before the store: what is delivered in between is in both, not in neither. */
	if (copy_queue(b) < 0 || copy_env(b, "store") < 0 || copy_env(b, "auth") < 0 ||
	    copy_store_files(b) < 0 || copy_state(b) < 0 || write_accounts(b) < 0)
		return -1;
	if (b->seen.damaged > 0)
		return err_set(&b->err, ERR_CORRUPT,
		    "the store has %llu damages: mailsteadctl check names them",
		    (unsigned long long)b->seen.damaged);
	return write_summary(b) < 0 ? -1 : give_name(b);
}

static int new_generation(struct maint *m)
{
	struct backup b = {.m = m, .lock = -1};
	struct span keep_text = maint_option(m, "--keep");
	uint64_t keep = config_u64(m->cfg, SET_BACKUP_KEEP);
	int rc;

	/* What runs every night has nothing to do, and nothing to complain of. */
	if (maint_has(m, "--scheduled") && maint_word(m, 1).n == 0 &&
	    !config_str(m->cfg, SET_BACKUP_FOLDER)[0])
		return maint_end(m, ERR_NONE, "backup.folder is not set: no backup");
	b.dir = backup_folder(m, 1);
	if (!b.dir)
		return -1;
	if (keep_text.p && (!span_u64(keep_text, GENERATIONS_MAX, &keep) || keep == 0))
		return maint_end(
		    m, ERR_INVALID, "--keep: expected a number from 1 to %d", GENERATIONS_MAX);
	umask(077);
	rc = make(&b);
	if (rc < 0 && b.temp[0])
		(void)nftw(b.temp, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	if (rc == 0)
		rc = prune(&b, keep);
	blob_dir_close(b.store);
	blob_dir_close(b.queue);
	if (b.lock >= 0)
		close(b.lock);
	if (rc < 0)
		return maint_fail(m, &b.err);
	return maint_end(m, ERR_NONE,
	    "generation %s: %llu messages of %llu accounts, %llu large bodies (%llu new, %llu MB), "
	    "looked at: all well",
	    b.name, (unsigned long long)b.seen.messages, (unsigned long long)b.seen.accounts,
	    (unsigned long long)b.seen.files, (unsigned long long)b.files,
	    (unsigned long long)(b.bytes >> 20));
}

/* A folder of such a name is ./list. */
int verb_backup(struct maint *m)
{
	bool is_list = span_eq(maint_word(m, 1), SPAN("list"));
	bool is_verify = span_eq(maint_word(m, 1), SPAN("verify"));

	if (!is_list && !is_verify && maint_word(m, 2).n > 0)
		return maint_end(m, ERR_INVALID,
		    "usage: backup [FOLDER] [--keep=N] [--bodies] | backup list [FOLDER] | "
		    "backup verify [FOLDER] [--generation=TIME]");
	if (is_list)
		return backup_list(m, backup_folder(m, 2));
	return is_verify ? backup_verify(m) : new_generation(m);
}
