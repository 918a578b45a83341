/* Copies of files and folders, durable. */
#include "common/maint/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DEPTH_MAX 8

bool path_join(char out[BACKUP_PATH], const char *a, const char *b, const char *c)
{
	int n = c ? snprintf(out, BACKUP_PATH, "%s/%s/%s", a, b, c)
		  : snprintf(out, BACKUP_PATH, "%s/%s", a, b);

	return n > 0 && n < BACKUP_PATH;
}

int space_check(const char *path, uint64_t bytes, struct err *err)
{
	struct statvfs v;

	if (statvfs(path, &v) < 0)
		return err_errno(err, errno, "%s", path);
	if ((uint64_t)v.f_bavail * v.f_frsize >= SPACE_FLOOR + bytes)
		return 0;
	return err_set(err, ERR_NO_SPACE, "%s: %llu MB must be free", path,
	    (unsigned long long)((SPACE_FLOOR + bytes) >> 20));
}

static int copy_fd(int in, int out, const char *to, struct err *err)
{
	char buf[65536];
	ssize_t n;

	while ((n = read(in, buf, sizeof(buf))) != 0) {
		for (ssize_t at = 0; at < n;) {
			ssize_t w = write(out, buf + at, (size_t)(n - at));

			if (w < 0 && errno != EINTR)
				return err_errno(err, errno, "%s", to);
			at += w > 0 ? w : 0;
		}
		if (n < 0 && errno != EINTR)
			return err_errno(err, errno, "reading for %s", to);
	}
	return fsync(out) == 0 ? 0 : err_errno(err, errno, "flushing %s", to);
}

int file_copy(const char *from, const char *to, struct err *err)
{
	int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	int out, rc;

	if (in < 0 || fstat(in, &st) < 0) {
		rc = err_errno(err, errno, "%s", from);
		if (in >= 0)
			close(in);
		return rc;
	}
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	/* Whatever the umask: settings that others may read must be readable when they come back.
	 */
	rc = out < 0 || fchmod(out, st.st_mode & 0777) < 0 ? err_errno(err, errno, "%s", to)
							   : copy_fd(in, out, to, err);
	close(in);
	if (out >= 0 && close(out) < 0 && rc == 0)
		rc = err_errno(err, errno, "%s", to);
	return rc;
}

static int copy_level(const char *from, const char *to, unsigned depth, struct err *err);

static int copy_entry(
    const char *from, const char *to, const char *name, unsigned depth, struct err *err)
{
	char source[BACKUP_PATH], target[BACKUP_PATH];
	struct stat st;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	if (!path_join(source, from, name, NULL) || !path_join(target, to, name, NULL))
		return err_set(err, ERR_INVALID, "%s/%s: path too long", from, name);
	if (lstat(source, &st) < 0)
		return errno == ENOENT ? 0 : err_errno(err, errno, "%s", source);
	if (S_ISREG(st.st_mode))
		return file_copy(source, target, err);
	if (!S_ISDIR(st.st_mode) || depth == DEPTH_MAX)
		return 0;
	return copy_level(source, target, depth + 1, err);
}

/* The folders are our own, a few levels deep; never deeper than DEPTH_MAX. */
static int copy_level(const char *from, const char *to, unsigned depth, struct err *err)
{
	DIR *dir = opendir(from);
	const struct dirent *e;
	struct stat st;
	int fd, rc = 0;

	if (!dir)
		return errno == ENOENT ? 0 : err_errno(err, errno, "%s", from);
	if (fstat(dirfd(dir), &st) < 0 || mkdir(to, st.st_mode & 07777) < 0)
		rc = err_errno(err, errno, "%s", to);
	while (rc == 0 && (e = readdir(dir)))
		rc = copy_entry(from, to, e->d_name, depth, err);
	closedir(dir);
	if (rc < 0)
		return -1;
	fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = fd < 0 || fsync(fd) < 0 ? err_errno(err, errno, "flushing %s", to) : 0;
	if (fd >= 0)
		close(fd);
	return rc;
}

int tree_copy(const char *from, const char *to, struct err *err)
{
	return copy_level(from, to, 0, err);
}

int env_open_at(const char *dir, size_t map_size, struct db_env **env, struct err *err)
{
	struct db_options opt = {
	    .dir = dir, .map_size = map_size, .map_max = map_size, .mode = 0600};
	char file[BACKUP_PATH];

	if (!path_join(file, dir, "data.mdb", NULL) || access(file, F_OK) < 0)
		return err_errno(err, errno, "%s", dir);
	return db_env_open(&opt, env, err);
}
