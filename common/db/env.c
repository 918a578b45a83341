/* Opening and closing an environment: the only code that touches data.mdb and lock.mdb. */
#include "common/base/mem.h"
#include "common/base/rules.h"
#include "common/db/db_int.h"
#include "common/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define FORMAT_AGAIN_MS 100

/* Environments open in this process. A second open of one, and its close, would drop the POSIX
 * locks of the first. */
static pthread_mutex_t env_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list env_list = {&env_list, &env_list};

int db_err_rc(struct err *err, int rc, const char *what)
{
	enum err_code code = ERR_IO;

	if (rc > 0)
		return err_errno(err, rc, "%s", what);
	switch (rc) {
	case MDB_NOTFOUND:
		code = ERR_NOT_FOUND;
		break;
	case MDB_KEYEXIST:
		code = ERR_EXISTS;
		break;
	case MDB_MAP_FULL:
		code = ERR_NO_SPACE;
		break;
	case MDB_TXN_FULL:
		code = ERR_LIMIT;
		break;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
		code = ERR_CORRUPT;
		break;
	case MDB_VERSION_MISMATCH:
		code = ERR_UNSUPPORTED;
		break;
	case MDB_READERS_FULL:
		code = ERR_BUSY;
		break;
	case MDB_BAD_VALSIZE:
		code = ERR_INVALID;
		break;
	}
	return err_set(err, code, "%s: %s", what, mdb_strerror(rc));
}

/* LMDB needs shared memory and POSIX locks that other machines' caches do not keep. */
bool db_fs_is_network(long type)
{
	static const uint32_t types[] = {
	    0x6969,     /* nfs */
	    0x517B,     /* smb */
	    0xFF534D42, /* cifs */
	    0xFE534D42, /* smb2 */
	    0x01021997, /* 9p */
	    0x65735546, /* fuse: sshfs and friends cannot be told from local ones */
	    0x00C36400, /* ceph */
	    0x5346414F, /* afs */
	    0x73757245, /* coda */
	    0x0BD00BD0, /* lustre */
	    0x564C,     /* ncp */
	    0x786F4256, /* vboxsf */
	};

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if ((uint32_t)type == types[i])
			return true;
	return false;
}

static int env_open_dir(struct db_env *env, struct err *err)
{
	/* Where a group may use the files its folder passes the group on. */
	mode_t mode = env->mode & 0070 ? 02770 : 0700;
	struct statfs fs;
	struct stat st;

	if (mkdir(env->dir, mode) == 0) {
		/* By path and not by umask; the group comes from the parent folder. */
		if (chmod(env->dir, mode) < 0)
			return err_errno(err, errno, "%s", env->dir);
	} else if (errno != EEXIST) {
		return err_errno(err, errno, "%s", env->dir);
	}
	env->dir_fd = open(env->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (env->dir_fd < 0 || fstat(env->dir_fd, &st) < 0 || fstatfs(env->dir_fd, &fs) < 0)
		return err_errno(err, errno, "%s", env->dir);
	if (db_fs_is_network((long)fs.f_type))
		return err_set(err, ERR_UNSUPPORTED,
		    "%s is on a network file system: the store needs a local one", env->dir);
	env->dev = st.st_dev;
	env->ino = st.st_ino;
	return 0;
}

static int env_register(struct db_env *env, struct err *err)
{
	int rc = 0;

	pthread_mutex_lock(&env_lock);
	LIST_EACH (it, &env_list) {
		const struct db_env *other = container_of(it, struct db_env, link);

		if (other->dev == env->dev && other->ino == env->ino)
			rc = err_set(err, ERR_BUSY, "%s is open in this process already", env->dir);
	}
	if (rc == 0)
		list_append(&env_list, &env->link);
	pthread_mutex_unlock(&env_lock);
	return rc;
}

static int env_fix_mode(const struct db_env *env, const char *name, struct err *err)
{
	struct stat st;

	/* By path: a descriptor of lock.mdb that we closed would drop our lock on it. */
	if (fstatat(env->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_errno(err, errno, "%s/%s", env->dir, name);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, "%s/%s: not a regular file", env->dir, name);
	if ((st.st_mode & 07777) == env->mode || st.st_uid != geteuid())
		return 0;
	if (fchmodat(env->dir_fd, name, env->mode, 0) < 0)
		return err_errno(err, errno, "%s/%s", env->dir, name);
	return 0;
}

/* LMDB never flushes the folder: without this a crash may leave no data.mdb at all. */
static int env_flush_files(const struct db_env *env, struct err *err)
{
	mdb_filehandle_t fd;
	int parent, rc = 0;

	if (!RULE_FLUSH || !RULE_FOLDER_FLUSH)
		return 0;
	if (mdb_env_get_fd(env->mdb, &fd) != 0 || fsync(fd) < 0 || fsync(env->dir_fd) < 0)
		return err_errno(err, errno, "flushing %s", env->dir);
	parent = openat(env->dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0) /* not ours to read: then it was not ours to create in either */
		return errno == EACCES ? 0 : err_errno(err, errno, "%s/..", env->dir);
	if (fsync(parent) < 0)
		rc = err_errno(err, errno, "flushing %s/..", env->dir);
	close(parent);
	return rc;
}

/* LMDB writes the first pages of a new file. The file lies under another name meanwhile. */
static int env_make_file(const char *path, mode_t mode, struct err *err)
{
	MDB_env *mdb;
	mdb_filehandle_t fd;
	mode_t mask = umask(007);
	int rc = mdb_env_create(&mdb);

	if (rc == 0) {
		rc = mdb_env_open(mdb, path, MDB_NOTLS | MDB_NOSUBDIR, mode);
		if (rc == 0 && (mdb_env_get_fd(mdb, &fd) != 0 || (RULE_FLUSH && fsync(fd) < 0)))
			rc = errno;
		mdb_env_close(mdb);
	}
	umask(mask);
	return rc == 0 ? 0 : db_err_rc(err, rc, path);
}

static int env_flock(const struct db_env *env, int how, struct err *err)
{
	while (flock(env->dir_fd, how) < 0)
		if (errno != EINTR)
			return err_errno(err, errno, "locking %s", env->dir);
	return 0;
}

/*
 * A new data.mdb appears under its name when it is whole and durable: else a crash in its first
 * moments would leave a piece of one, which counts as damage for ever. The folder's lock keeps
 * others from making one at the same time; shared, it is kept as long as the environment is open.
 */
static int env_create(const struct db_env *env, bool is_alone, struct err *err)
{
	static const char *const names[] = {"data.new", "data.new-lock"};
	char path[PATH_MAX];
	struct stat st;
	int rc = 0;

	if (is_alone)
		return 0;
	if (fstatat(env->dir_fd, "data.mdb", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0)
		return env_flock(env, LOCK_SH, err);
	if (env_flock(env, LOCK_EX, err) < 0)
		return -1;
	if (fstatat(env->dir_fd, "data.mdb", &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_size == 0) {
		for (size_t i = 0; i < ARRAY_LEN(names); i++)
			(void)unlinkat(env->dir_fd, names[i], 0); /* of one that was cut off */
		if (snprintf(path, sizeof(path), "%s/data.new", env->dir) >= (int)sizeof(path))
			rc = err_set(err, ERR_INVALID, "%s/data.new: path too long", env->dir);
		else
			rc = env_make_file(path, env->mode, err);
		if (rc == 0 && renameat(env->dir_fd, names[0], env->dir_fd, "data.mdb") < 0)
			rc = err_errno(err, errno, "naming %s/data.mdb", env->dir);
		(void)unlinkat(env->dir_fd, names[1], 0);
	}
	return rc == 0 ? env_flock(env, LOCK_SH, err) : rc;
}

int db_folder_lock(const char *dir, struct err *err)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, errno, "%s", dir);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	if (errno == EWOULDBLOCK)
		err_set(err, ERR_BUSY, "%s is in use", dir);
	else
		err_errno(err, errno, "locking %s", dir);
	close(fd);
	return -1;
}

static int env_open_dbi(struct db_env *env, struct err *err)
{
	MDB_txn *mdb;
	int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &mdb);

	if (rc == 0) {
		rc = mdb_dbi_open(mdb, NULL, 0, &env->dbi);
		mdb_txn_abort(mdb);
	}
	return rc == 0 ? 0 : db_err_rc(err, rc, env->dir);
}

static int env_open_mdb(struct db_env *env, const struct db_options *opt,
    const struct db_file_head *head, struct err *err)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t map = opt->map_size > head->map_size ? opt->map_size : head->map_size;
	mode_t mask;
	int rc, dead;

	map = (map + page - 1) / page * page;
	if (env->map_max < map)
		env->map_max = map;
	rc = mdb_env_create(&env->mdb);
	if (rc == 0)
		rc = mdb_env_set_mapsize(env->mdb, map);
	if (rc == 0)
		rc = mdb_env_set_maxreaders(env->mdb, opt->max_readers ? opt->max_readers : 512);
	if (rc != 0)
		return db_err_rc(err, rc, env->dir);
	/* Never wider than the group, even for a moment; the exact mode follows by path. */
	mask = umask(007);
	rc = mdb_env_open(env->mdb, env->dir, MDB_NOTLS | (RULE_FLUSH ? 0 : MDB_NOSYNC), env->mode);
	umask(mask);
	if (rc != 0)
		return db_err_rc(err, rc, env->dir);
	if (env_fix_mode(env, "data.mdb", err) < 0 || env_fix_mode(env, "lock.mdb", err) < 0 ||
	    env_flush_files(env, err) < 0)
		return -1;
	if (!head->is_new && head->file_bytes < (head->last_page + 1) * head->page_size &&
	    db_file_extend(env, err) < 0)
		return -1;
	if (db_env_check_readers(env, &dead) == 0 && dead > 0)
		log_info("db-readers-cleared", LOG_STR("dir", env->dir), LOG_I64("count", dead));
	return env_open_dbi(env, err);
}

static struct db_env *env_new(const struct db_options *opt)
{
	struct db_env *env = mem_zalloc(sizeof(*env));
	pthread_rwlockattr_t attr;

	env->dir = mem_strdup(opt->dir);
	env->dir_fd = -1;
	env->map_max = opt->map_max;
	env->mode = opt->mode ? opt->mode : 0660;
	env->on_commit = opt->on_commit;
	env->arg = opt->arg;
	env->note_size = opt->note_size;
	if (env->note_size > 64)
		fatal("a note of %zu bytes", env->note_size);
	pthread_rwlockattr_init(&attr);
	/* Else a stream of reading slices could hold up a change of the map for ever. */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&env->map_lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	return env;
}

/* --- the format of the rows ------------------------------------------------------------------- */
/* Before all rows of the store; no kind of row of the queue or of accounts begins like that. */
static const char format_key[9] = {0, 0, 0, 0, 0, 0, 0, 0, 67};

int db_format_get(struct db_env *env, unsigned *format, struct err *err)
{
	struct err why = ERR_INIT;
	struct db_txn *txn;
	struct span val;
	int rc = 0;

	*format = 1; /* the first one has no row */
	if (db_read_begin(env, &txn, err) < 0)
		return -1;
	if (db_get(txn, span_make(format_key, sizeof(format_key)), &val, &why) == 0) {
		*format = val.n == 5 && val.p[0] == 1 ? be_get32(val.p + 1) : 0;
		if (*format == 0)
			rc = err_set(err, ERR_CORRUPT, "%s: the number of its format", env->dir);
	} else if (why.code != ERR_NOT_FOUND) {
		rc = err_set(err, why.code, "%s", why.text);
	}
	db_abort(txn);
	return rc;
}

int db_format_put(struct db_txn *txn, unsigned format, struct err *err)
{
	char row[5] = {1};

	be_put32(row + 1, format);
	return db_put(
	    txn, span_make(format_key, sizeof(format_key)), span_make(row, sizeof(row)), err);
}

int db_format_set(struct db_env *env, unsigned format, struct err *err)
{
	struct db_txn *txn;

	if (db_write_begin(env, &txn, err) < 0)
		return -1;
	if (db_format_put(txn, format, err) < 0) {
		db_abort(txn);
		return -1;
	}
	return db_commit(txn, err);
}

/* ERR_BUSY: it is older. */
static int env_check_format(struct db_env *env, unsigned format, struct err *err)
{
	MDB_envinfo info;
	unsigned found;

	if (format == 0)
		return 0;
	if (format > 1 && mdb_env_info(env->mdb, &info) == 0 && info.me_last_txnid == 0)
		return db_format_set(env, format, err);
	if (db_format_get(env, &found, err) < 0)
		return -1;
	if (found > format)
		return err_set(err, ERR_UNSUPPORTED,
		    "%s has format %u, of a newer version of mailstead; this one knows %u: install "
		    "that version again, or restore a backup of this one",
		    env->dir, found, format);
	if (found < format)
		return err_set(err, ERR_BUSY,
		    "%s has format %u, of an older version; this one needs %u: mailsteadctl "
		    "migrate",
		    env->dir, found, format);
	return 0;
}

static int env_open(const struct db_options *opt, struct db_env **out, struct err *err)
{
	struct db_env *env = env_new(opt);
	const char *allow = getenv("MAILSTEAD_ALLOW_ROOT");
	struct db_file_head head;
	char path[PATH_MAX];

	*out = NULL;
	if (snprintf(path, sizeof(path), "%s/data.mdb", opt->dir) >= (int)sizeof(path)) {
		err_set(err, ERR_INVALID, "%s/data.mdb: path too long", opt->dir);
		goto fail;
	}
	if (geteuid() == 0 && access(path, F_OK) != 0 && (!allow || strcmp(allow, "1") != 0)) {
		err_set(err, ERR_DENIED,
		    "%s: root may not create a database, its service's user must", opt->dir);
		goto fail;
	}
	if (env_open_dir(env, err) < 0 || env_register(env, err) < 0 ||
	    env_create(env, opt->is_alone, err) < 0)
		goto fail;
	if (db_file_check(path, &head, err) < 0 || env_open_mdb(env, opt, &head, err) < 0 ||
	    env_check_format(env, opt->format, err) < 0)
		goto fail;
	*out = env;
	return 0;
fail:
	db_env_close(env);
	return -1;
}

int db_env_open(const struct db_options *opt, struct db_env **out, struct err *err)
{
	const struct timespec pause = {.tv_nsec = FORMAT_AGAIN_MS * 1000000L};
	struct err why = ERR_INIT;

	for (unsigned i = 0; env_open(opt, out, &why) < 0; i++) {
		if (why.code != ERR_BUSY || opt->format == 0 ||
		    i >= opt->format_wait_ms / FORMAT_AGAIN_MS) {
			*err = why;
			return -1;
		}
		if (i == 0)
			log_warning("db-format", LOG_ERR(&why));
		why = (struct err){0};
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

int db_env_copy(struct db_env *env, const char *dir, struct err *err)
{
	mode_t mask;
	char path[PATH_MAX];
	int fd, rc;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_errno(err, errno, "%s", dir);
	if (snprintf(path, sizeof(path), "%s/data.mdb", dir) >= (int)sizeof(path))
		return err_set(err, ERR_INVALID, "%s: path too long", dir);
	pthread_rwlock_rdlock(&env->map_lock);
	mask = umask(077);
	rc = mdb_env_copy2(env->mdb, dir, MDB_CP_COMPACT);
	umask(mask);
	pthread_rwlock_unlock(&env->map_lock);
	if (rc != 0)
		return db_err_rc(err, rc, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	rc = fd < 0 || fsync(fd) < 0 ? err_errno(err, errno, "flushing %s", path) : 0;
	if (fd >= 0)
		close(fd);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rc == 0 && (fd < 0 || fsync(fd) < 0))
		rc = err_errno(err, errno, "flushing %s", dir);
	if (fd >= 0)
		close(fd);
	return rc;
}

void db_env_close(struct db_env *env)
{
	if (!env)
		return;
	if (env->mdb)
		mdb_env_close(env->mdb);
	pthread_mutex_lock(&env_lock);
	list_remove(&env->link);
	pthread_mutex_unlock(&env_lock);
	if (env->dir_fd >= 0)
		close(env->dir_fd);
	pthread_rwlock_destroy(&env->map_lock);
	mem_free(env->dir);
	mem_free(env);
}

int db_env_check_readers(struct db_env *env, int *dead)
{
	*dead = 0;
	return mdb_reader_check(env->mdb, dead) == 0 ? 0 : -1;
}

/* The number only grows, whoever looked when. */
void db_env_saw_txn(struct db_env *env, uint64_t id)
{
	uint64_t seen = atomic_load(&env->last_txn);

	while (seen < id && !atomic_compare_exchange_weak(&env->last_txn, &seen, id))
		;
}

uint64_t db_env_last_txn(struct db_env *env)
{
	MDB_envinfo info;

	/* Looks into the map, which must not be moved meanwhile; while somebody waits to do that,
	 * the answer of before will do: the loop asks, and must not wait. */
	if (pthread_rwlock_tryrdlock(&env->map_lock) == 0) {
		if (mdb_env_info(env->mdb, &info) == 0)
			db_env_saw_txn(env, info.me_last_txnid);
		pthread_rwlock_unlock(&env->map_lock);
	}
	return atomic_load(&env->last_txn);
}

bool db_env_foreign(struct db_env *env, uint64_t *count)
{
	uint64_t own = atomic_load(&env->own_commits);
	bool is_quiet = !atomic_load(&env->is_committing);

	*count = db_env_last_txn(env) - own;
	return is_quiet && !atomic_load(&env->is_committing) &&
	       own == atomic_load(&env->own_commits);
}

int db_env_grow(struct db_env *env, struct err *err)
{
	MDB_envinfo info;
	size_t map;
	int rc;

	pthread_rwlock_wrlock(&env->map_lock);
	rc = mdb_env_info(env->mdb, &info);
	if (rc == 0 && info.me_mapsize >= env->map_max)
		rc = MDB_MAP_FULL;
	if (rc == 0) {
		map = info.me_mapsize > env->map_max / 2 ? env->map_max : info.me_mapsize * 2;
		rc = mdb_env_set_mapsize(env->mdb, map);
	}
	pthread_rwlock_unlock(&env->map_lock);
	return rc == 0 ? 0 : db_err_rc(err, rc, env->dir);
}

bool db_env_is_nearly_full(struct db_env *env)
{
	MDB_envinfo info;
	MDB_stat ms;
	bool is_full = false;

	pthread_rwlock_rdlock(&env->map_lock);
	if (mdb_env_info(env->mdb, &info) == 0 && mdb_env_stat(env->mdb, &ms) == 0)
		is_full = info.me_mapsize < env->map_max &&
			  info.me_last_pgno > info.me_mapsize / ms.ms_psize / 5 * 4;
	pthread_rwlock_unlock(&env->map_lock);
	return is_full;
}

static int env_count_free(MDB_txn *mdb, uint64_t *pages)
{
	MDB_cursor *mc;
	MDB_val key, val;
	int rc = mdb_cursor_open(mdb, 0, &mc);

	*pages = 0;
	if (rc != 0)
		return rc;
	while ((rc = mdb_cursor_get(mc, &key, &val, MDB_NEXT)) == 0) {
		size_t n = 0;

		if (val.mv_size >= sizeof(n))
			memcpy(&n, val.mv_data, sizeof(n));
		*pages += n;
	}
	mdb_cursor_close(mc);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

void db_env_keep_reserve(struct db_env *env)
{
	MDB_envinfo info;
	MDB_stat ms;

	pthread_rwlock_rdlock(&env->map_lock);
	if (mdb_env_info(env->mdb, &info) == 0 && mdb_env_stat(env->mdb, &ms) == 0)
		(void)db_file_reserve(env, ((uint64_t)info.me_last_pgno + 1) * ms.ms_psize);
	pthread_rwlock_unlock(&env->map_lock);
}

enum db_need db_env_refused(struct db_env *env)
{
	MDB_envinfo info;
	MDB_stat ms;
	struct db_txn *txn;
	uint64_t pages, left, freed;

	pthread_rwlock_rdlock(&env->map_lock);
	if (mdb_env_info(env->mdb, &info) != 0 || mdb_env_stat(env->mdb, &ms) != 0) {
		pthread_rwlock_unlock(&env->map_lock);
		return DB_ADDS + 1;
	}
	pthread_rwlock_unlock(&env->map_lock);
	if (!db_file_reserve(env, ((uint64_t)info.me_last_pgno + 1) * ms.ms_psize))
		return DB_ADDS;
	pages = (env->map_max > info.me_mapsize ? env->map_max : info.me_mapsize) / ms.ms_psize;
	left = pages > info.me_last_pgno ? pages - info.me_last_pgno : 0;
	if (left >= pages / 4)
		return DB_ADDS + 1;
	/* The list of free pages is only read when it matters, and LMDB shows it only to readers.
	 */
	if (db_read_begin(env, &txn, NULL) == 0) {
		if (env_count_free(txn->mdb, &freed) == 0)
			left += freed;
		db_abort(txn);
	}
	if (left >= pages / 4)
		return DB_ADDS + 1;
	return left >= pages / 16 ? DB_ADDS : DB_CHANGES;
}

int db_env_stat(struct db_env *env, struct db_stat *st, struct err *err)
{
	struct db_txn *txn;
	MDB_envinfo info;
	MDB_stat ms;
	struct stat file;
	mdb_filehandle_t fd;
	int rc;

	*st = (struct db_stat){0};
	if (db_read_begin(env, &txn, err) < 0)
		return -1;
	rc = mdb_env_info(env->mdb, &info);
	if (rc == 0)
		rc = mdb_stat(txn->mdb, env->dbi, &ms);
	if (rc == 0)
		rc = env_count_free(txn->mdb, &st->free_pages);
	if (rc == 0)
		rc = mdb_env_get_fd(env->mdb, &fd);
	if (rc == 0 && fstat(fd, &file) < 0)
		rc = errno;
	db_abort(txn);
	if (rc != 0)
		return db_err_rc(err, rc, env->dir);
	st->map_bytes = info.me_mapsize;
	st->file_bytes = (uint64_t)file.st_size;
	st->used_pages = info.me_last_pgno + 1;
	st->page_size = ms.ms_psize;
	st->entries = ms.ms_entries;
	st->depth = ms.ms_depth;
	st->last_txn = info.me_last_txnid;
	st->readers = info.me_numreaders;
	st->max_readers = info.me_maxreaders;
	return 0;
}
