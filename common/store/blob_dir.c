/* Where large bodies live: 256 folders of immutable files named by random ids. */
#include "common/base/mem.h"
#include "common/base/rules.h"
#include "common/crypto/crypto.h"
#include "common/store/blob_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int blob_dir_open(const char *path, struct blob_dir **out, struct err *err)
{
	struct blob_dir *d;
	bool is_new = mkdir(path, 02770) == 0;
	int parent, rc;

	*out = NULL;
	if (!is_new && errno != EEXIST)
		return err_errno(err, errno, "%s", path);
	if (is_new && chmod(path, 02770) < 0)
		return err_errno(err, errno, "%s", path);
	d = mem_zalloc(sizeof(*d));
	d->path = mem_strdup(path);
	d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0) {
		rc = err_errno(err, errno, "%s", path);
		blob_dir_close(d);
		return rc;
	}
	parent = openat(d->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent >= 0) {
		rc = fsync(parent) < 0 ? err_errno(err, errno, "flushing %s/..", path) : 0;
		close(parent);
		if (rc < 0) {
			blob_dir_close(d);
			return -1;
		}
	}
	*out = d;
	return 0;
}

void blob_dir_close(struct blob_dir *d)
{
	if (!d)
		return;
	if (d->fd >= 0)
		close(d->fd);
	mem_free(d->path);
	mem_free(d);
}

static void blob_name(char out[BLOB_NAME_LEN], const unsigned char id[BLOB_ID_LEN], bool is_temp)
{
	char hex[2 * BLOB_ID_LEN + 1];
	size_t n = 3;

	hex_encode(hex, span_make(id, BLOB_ID_LEN));
	memcpy(out, hex, 2);
	out[2] = '/';
	if (is_temp)
		out[n++] = '.';
	memcpy(out + n, hex, 2 * BLOB_ID_LEN);
	n += 2 * BLOB_ID_LEN;
	if (is_temp)
		out[n++] = 't';
	out[n] = '\0';
}

/* Makes sure that the folder of an id exists, and exists after a crash too. */
static int blob_folder_make(struct blob_dir *d, unsigned char first, struct err *err)
{
	static const char digits[] = "0123456789abcdef";
	const char name[3] = {digits[first >> 4], digits[first & 15], '\0'};

	if (atomic_load(&d->is_flushed[first]))
		return 0;
	if (mkdirat(d->fd, name, 02770) == 0) {
		if (fchmodat(d->fd, name, 02770, 0) < 0)
			return err_errno(err, errno, "%s/%s", d->path, name);
	} else if (errno != EEXIST) {
		return err_errno(err, errno, "%s/%s", d->path, name);
	}
	/* Even if it was there: who made it may not have come as far as this. */
	if (RULE_FOLDER_FLUSH && fsync(d->fd) < 0)
		return err_errno(err, errno, "flushing %s", d->path);
	atomic_store(&d->is_flushed[first], true);
	return 0;
}

int blob_file_create(struct blob_dir *d, struct blob_file *f, struct err *err)
{
	char name[BLOB_NAME_LEN];

	*f = (struct blob_file){.dir = d, .fd = -1};
	random_bytes(f->id, sizeof(f->id));
	if (blob_folder_make(d, f->id[0], err) < 0)
		return -1;
	blob_name(name, f->id, true);
	f->fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0660);
	if (f->fd < 0)
		return err_errno(err, errno, "%s/%s", d->path, name);
	if (fchmod(f->fd, 0660) < 0)
		return err_errno(err, errno, "%s/%s", d->path, name);
	return 0;
}

int blob_file_write(struct blob_file *f, struct span data, struct err *err)
{
	while (data.n) {
		ssize_t n = write(f->fd, data.p, data.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(
			    err, n < 0 ? errno : ENOSPC, "writing a body in %s", f->dir->path);
		data = span_from(data, (size_t)n);
	}
	return 0;
}

static int blob_folder_flush(struct blob_dir *d, const char *name, struct err *err)
{
	const char folder[3] = {name[0], name[1], '\0'};
	int fd = openat(d->fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int rc = 0;

	if (fd < 0)
		return err_errno(err, errno, "%s/%s", d->path, folder);
	if (RULE_FOLDER_FLUSH && fsync(fd) < 0)
		rc = err_errno(err, errno, "flushing %s/%s", d->path, folder);
	close(fd);
	return rc;
}

/* rename, not link of an unnamed file: what a crash leaves is then a whole file or a temporary
 * name, under every file system's rules. */
int blob_file_commit(struct blob_file *f, struct err *err)
{
	return blob_file_commit_as(f, f->id, err);
}

int blob_file_commit_as(struct blob_file *f, const unsigned char id[BLOB_ID_LEN], struct err *err)
{
	char temp[BLOB_NAME_LEN], name[BLOB_NAME_LEN];
	int fd = f->fd;

	blob_name(temp, f->id, true);
	blob_name(name, id, false);
	if (RULE_FLUSH && fsync(fd) < 0)
		return err_errno(err, errno, "flushing %s/%s", f->dir->path, temp);
	f->fd = -1;
	if (close(fd) < 0)
		return err_errno(err, errno, "closing %s/%s", f->dir->path, temp);
	if (renameat(f->dir->fd, temp, f->dir->fd, name) < 0)
		return err_errno(err, errno, "naming %s/%s", f->dir->path, name);
	f->is_named = true;
	return blob_folder_flush(f->dir, name, err);
}

void blob_file_discard(struct blob_file *f)
{
	char name[BLOB_NAME_LEN];

	if (!f->dir)
		return;
	if (f->fd >= 0)
		close(f->fd);
	blob_name(name, f->id, !f->is_named);
	unlinkat(f->dir->fd, name, 0);
	*f = (struct blob_file){.fd = -1};
}

int blob_file_open(struct blob_dir *d, const unsigned char id[BLOB_ID_LEN], struct err *err)
{
	char name[BLOB_NAME_LEN];
	int fd;

	blob_name(name, id, false);
	fd = openat(d->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? err_errno(err, errno, "%s/%s", d->path, name) : fd;
}

int blob_unlink(struct blob_dir *d, const unsigned char id[BLOB_ID_LEN], struct err *err)
{
	char name[BLOB_NAME_LEN];

	blob_name(name, id, false);
	if (unlinkat(d->fd, name, 0) < 0)
		return err_errno(err, errno, "%s/%s", d->path, name);
	return 0;
}

/* --- what lies there -------------------------------------------------------------------------- */
static void list_entry(
    int folder, const char *name, int64_t age, int64_t temp_age, struct strbuf *ids)
{
	unsigned char id[BLOB_ID_LEN];
	struct stat st;
	size_t n;
	int64_t old;

	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return; /* gone meanwhile, or nothing of ours */
	old = (int64_t)time(NULL) - st.st_mtime;
	if (name[0] == '.' && old >= temp_age)
		(void)unlinkat(folder, name, 0);
	else if (old >= age && hex_decode(id, sizeof(id), span_of(name), &n) && n == sizeof(id))
		strbuf_add_mem(ids, id, sizeof(id));
}

int blob_list_old(struct blob_dir *d, unsigned folder, int64_t age, int64_t temp_age,
    struct strbuf *ids, struct err *err)
{
	struct dirent *entry;
	char name[3];
	DIR *dir;
	int fd;

	snprintf(name, sizeof(name), "%02x", folder & 255);
	fd = openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_errno(err, errno, "%s/%s", d->path, name);
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return err_errno(err, errno, "%s/%s", d->path, name);
	}
	while ((entry = readdir(dir)))
		list_entry(dirfd(dir), entry->d_name, age, temp_age, ids);
	closedir(dir);
	return 0;
}

/* --- copying ---------------------------------------------------------------------------------- */
static int copy_by_hand(int fd, struct blob_file *out, uint64_t left, struct err *err)
{
	char *buf = mem_alloc(64 * 1024);
	int rc = 0;

	while (left && rc == 0) {
		ssize_t n = read(fd, buf, left < 64 * 1024 ? (size_t)left : 64 * 1024);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			rc = err_errno(err, errno, "reading a body");
		} else if (n == 0) {
			rc = err_set(err, ERR_CORRUPT, "a body's file is too short");
		} else {
			rc = blob_file_write(out, span_make(buf, (size_t)n), err);
			left -= (uint64_t)n;
		}
	}
	mem_free(buf);
	return rc;
}

static int copy_bytes(int fd, struct blob_file *out, uint64_t left, struct err *err)
{
	while (left) {
		size_t want = left < (1u << 30) ? (size_t)left : (1u << 30);
		ssize_t n = copy_file_range(fd, NULL, out->fd, NULL, want, 0);

		/* Not between these file systems, or a short file: the plain way tells which. */
		if (n <= 0)
			return copy_by_hand(fd, out, left, err);
		left -= (uint64_t)n;
	}
	return 0;
}

int blob_copy(struct blob_dir *from, const struct blob *src, struct blob_dir *to, struct blob *dst,
    struct err *err)
{
	struct blob_file out = {.fd = -1};
	int fd, rc = -1;

	*dst = *src;
	if (!src->is_file)
		return 0;
	fd = blob_file_open(from, src->id, err);
	if (fd < 0)
		return -1;
	if (blob_file_create(to, &out, err) == 0 && copy_bytes(fd, &out, src->stored, err) == 0 &&
	    blob_file_commit(&out, err) == 0) {
		memcpy(dst->id, out.id, sizeof(dst->id));
		rc = 0;
	} else {
		blob_file_discard(&out);
	}
	close(fd);
	return rc;
}

/* --- the same files elsewhere -------------------------------------------------------------------
 */
static int clone_missing(
    int fd, uint64_t size, const unsigned char *id, struct blob_dir *to, struct err *err)
{
	struct blob_file out;

	if (blob_file_create(to, &out, err) < 0)
		return -1;
	/* Under the temporary name of a new id, then under the old one. */
	if (copy_bytes(fd, &out, size, err) < 0 || blob_folder_make(to, id[0], err) < 0) {
		blob_file_discard(&out);
		return -1;
	}
	return blob_file_commit_as(&out, id, err);
}

int blob_clone(struct blob_dir *from, const unsigned char id[BLOB_ID_LEN], struct blob_dir *to,
    uint64_t *copied, struct err *err)
{
	char name[BLOB_NAME_LEN];
	struct stat have, want;
	int fd, rc = 0;

	*copied = 0;
	fd = blob_file_open(from, id, err);
	if (fd < 0)
		return -1;
	blob_name(name, id, false);
	if (fstat(fd, &want) < 0)
		rc = err_errno(err, errno, "%s/%s", from->path, name);
	else if (fstatat(to->fd, name, &have, AT_SYMLINK_NOFOLLOW) < 0 ||
		 have.st_size != want.st_size) {
		rc = clone_missing(fd, (uint64_t)want.st_size, id, to, err);
		*copied = (uint64_t)want.st_size;
	}
	close(fd);
	return rc;
}

static int each_in_folder(struct blob_dir *d, const char *folder,
    int (*fn)(void *arg, const unsigned char id[BLOB_ID_LEN]), void *arg)
{
	int fd = openat(d->fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	int rc = 0;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while (rc == 0 && (e = readdir(dir))) {
		unsigned char id[BLOB_ID_LEN];
		size_t n;

		if (hex_decode(id, sizeof(id), span_of(e->d_name), &n) && n == sizeof(id))
			rc = fn(arg, id);
	}
	closedir(dir);
	return rc;
}

int blob_each(struct blob_dir *d, int (*fn)(void *arg, const unsigned char id[BLOB_ID_LEN]),
    void *arg, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < 256 && rc == 0; i++) {
		char folder[3];

		snprintf(folder, sizeof(folder), "%02x", i);
		rc = each_in_folder(d, folder, fn, arg);
	}
	return rc;
}
