/* What is checked about data.mdb before LMDB may map it: a short file is SIGBUS on first use. */
#include "common/base/mem.h"
#include "common/db/db_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LMDB_MAGIC 0xBEEFC0DEu
#define LMDB_VERSION 1u
#define LMDB_PAGE_META 0x08u

/* LMDB 0.9's layout of a meta page: native byte order and word size, as the library has it. */
struct lmdb_db {
	uint32_t pad; /* of the first: the page size */
	uint16_t flags, depth;
	size_t branch, leaf, overflow, entries, root;
};

struct lmdb_meta {
	size_t page_number;
	uint16_t pad, flags;
	uint32_t unused;
	uint32_t magic, version;
	size_t address, map_size;
	struct lmdb_db dbs[2];
	size_t last_page, txn;
};

static int file_read_meta(int fd, const char *path, off_t at, struct lmdb_meta *m, struct err *err)
{
	ssize_t n;

	do
		n = pread(fd, m, sizeof(*m), at);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_errno(err, errno, "%s", path);
	if (n != (ssize_t)sizeof(*m))
		return err_set(err, ERR_CORRUPT, "%s: too short for a database", path);
	if (m->magic != LMDB_MAGIC || !(m->flags & LMDB_PAGE_META))
		return err_set(err, ERR_CORRUPT,
		    "%s: not a database of this kind of machine (word size, byte order)", path);
	if (m->version != LMDB_VERSION)
		return err_set(err, ERR_UNSUPPORTED, "%s: database format %u, expected %u", path,
		    m->version, LMDB_VERSION);
	return 0;
}

static int file_check_fd(int fd, const char *path, struct db_file_head *out, struct err *err)
{
	struct lmdb_meta a, b;
	const struct lmdb_meta *newest;
	struct stat st;
	size_t page;

	if (file_read_meta(fd, path, 0, &a, err) < 0)
		return -1;
	page = a.dbs[0].pad;
	if (page < 512 || page > 65536 || (page & (page - 1)) != 0)
		return err_set(err, ERR_CORRUPT, "%s: page size %zu", path, page);
	if (file_read_meta(fd, path, (off_t)page, &b, err) < 0)
		return -1;
	newest = b.txn > a.txn ? &b : &a;
	/* Read after the metas: another process only makes the file longer. */
	if (fstat(fd, &st) < 0)
		return err_errno(err, errno, "%s", path);
	out->map_size = newest->map_size;
	out->page_size = page;
	out->last_page = newest->last_page;
	out->file_bytes = (uint64_t)st.st_size;
	if (newest->last_page >= SIZE_MAX / page)
		return err_set(err, ERR_CORRUPT, "%s: last page %zu", path, newest->last_page);
	return 0;
}

int db_file_check(const char *path, struct db_file_head *out, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	int rc = -1;

	*out = (struct db_file_head){0};
	if (fd < 0 && errno == ENOENT) {
		out->is_new = true;
		return 0;
	}
	if (fd < 0)
		return err_errno(err, errno, "%s", path);
	if (fstat(fd, &st) < 0) {
		err_errno(err, errno, "%s", path);
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(err, ERR_INVALID, "%s: not a regular file", path);
		goto out;
	}
	out->is_new = st.st_size == 0;
	rc = out->is_new ? 0 : file_check_fd(fd, path, out, err);
out:
	close(fd);
	return rc;
}

bool db_file_reserve(struct db_env *env, uint64_t used_end)
{
	mdb_filehandle_t fd;

	if (env->has_no_reserve || env->reserved_end >= used_end + DB_RESERVE / 2)
		return true;
	if (mdb_env_get_fd(env->mdb, &fd) != 0)
		return true;
	/* The file does not become longer: its length tells LMDB and us what was written. */
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)used_end, (off_t)DB_RESERVE) == 0) {
		env->reserved_end = used_end + DB_RESERVE;
		return true;
	}
	if (errno == ENOSPC || errno == EDQUOT)
		return false;
	env->has_no_reserve = errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL;
	return true;
}

/* Counts the free pages in [from, end); bit by bit, so that a page listed twice counts once. */
static int file_count_free(MDB_txn *mdb, size_t from, size_t end, size_t *count)
{
	unsigned char *seen = mem_array((end - from) / 8 + 1, 1);
	MDB_cursor *mc = NULL;
	MDB_val key, val;
	int rc = mdb_cursor_open(mdb, 0, &mc);

	*count = 0;
	while (rc == 0 && (rc = mdb_cursor_get(mc, &key, &val, MDB_NEXT)) == 0) {
		size_t n = val.mv_size / sizeof(size_t);

		/* A list of page numbers, its length first. */
		for (size_t i = 1; i < n; i++) {
			size_t page, at;

			memcpy(&page, (char *)val.mv_data + i * sizeof(page), sizeof(page));
			if (page < from || page >= end)
				continue;
			at = page - from;
			*count += !(seen[at / 8] & (1u << (at % 8)));
			seen[at / 8] |= (unsigned char)(1u << (at % 8));
		}
	}
	if (mc)
		mdb_cursor_close(mc);
	mem_free(seen);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Under the write lock, so that nobody else makes the file longer meanwhile. */
static int file_extend_locked(struct db_env *env, MDB_txn *mdb, struct err *err)
{
	MDB_envinfo info;
	MDB_stat ms;
	struct stat st;
	mdb_filehandle_t fd;
	size_t have, need, free_pages;
	int rc;

	if (mdb_env_get_fd(env->mdb, &fd) != 0 || mdb_env_info(env->mdb, &info) != 0 ||
	    mdb_env_stat(env->mdb, &ms) != 0)
		return err_set(err, ERR_IO, "%s: no information", env->dir);
	if (fstat(fd, &st) < 0)
		return err_errno(err, errno, "%s", env->dir);
	have = (size_t)st.st_size / ms.ms_psize;
	need = info.me_last_pgno + 1;
	if (have >= need)
		return 0;
	if (ftruncate(fd, (off_t)(need * ms.ms_psize)) < 0)
		return err_errno(err, errno, "%s", env->dir);
	rc = file_count_free(mdb, have, need, &free_pages);
	if (rc == 0 && free_pages == need - have)
		return 0;
	if (ftruncate(fd, st.st_size) < 0)
		return err_errno(err, errno, "%s", env->dir);
	return err_set(err, ERR_CORRUPT, "%s/data.mdb is cut off: %zu pages, %zu are in use",
	    env->dir, have, need);
}

int db_file_extend(struct db_env *env, struct err *err)
{
	MDB_txn *lock, *mdb;
	int rc = mdb_txn_begin(env->mdb, NULL, 0, &lock);

	if (rc != 0)
		return db_err_rc(err, rc, env->dir);
	/* LMDB shows the list of free pages to reading transactions only. */
	rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &mdb);
	if (rc != 0) {
		rc = db_err_rc(err, rc, env->dir);
	} else {
		rc = file_extend_locked(env, mdb, err);
		mdb_txn_abort(mdb);
	}
	mdb_txn_abort(lock);
	return rc;
}
