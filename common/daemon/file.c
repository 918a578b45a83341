#include "common/daemon/file.h"

#include "common/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_LEN_MAX 256

int file_open_folder(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 ? fd : err_errno(err, errno, "%s", path);
}

static int write_all(int fd, struct span s)
{
	while (s.n > 0) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		s = span_from(s, (size_t)n);
	}
	return 0;
}

static int write_new(int dir, const char *name, mode_t mode, struct span data, struct err *err)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	int result = 0;

	if (fd < 0)
		return err_errno(err, errno, "%s", name);
	/* The mode that was asked for, whatever the umask says. */
	if (fchmod(fd, mode) < 0 || write_all(fd, data) < 0 || fsync(fd) < 0)
		result = err_errno(err, errno, "%s", name);
	close(fd);
	return result;
}

int file_write(int dir, const char *name, mode_t mode, struct span data, struct err *err)
{
	char temp[NAME_LEN_MAX];
	int n = snprintf(temp, sizeof(temp), "%s.new", name);

	if (n < 0 || n >= (int)sizeof(temp))
		return err_set(err, ERR_INVALID, "file name too long: %.60s...", name);
	if (write_new(dir, temp, mode, data, err) < 0) {
		(void)unlinkat(dir, temp, 0);
		return -1;
	}
	if (renameat(dir, temp, dir, name) < 0 || fsync(dir) < 0) {
		err_errno(err, errno, "%s", name);
		(void)unlinkat(dir, temp, 0);
		return -1;
	}
	return 0;
}

int file_read(int dir, const char *name, struct strbuf *out, struct err *err)
{
	char buf[8192];
	struct stat st;
	ssize_t n = 0;
	int result = 0;
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, errno, "%s", name);
	if (fstat(fd, &st) < 0)
		result = err_errno(err, errno, "%s", name);
	else if (!S_ISREG(st.st_mode))
		result = err_set(err, ERR_INVALID, "%s: not a regular file", name);
	while (result == 0 && (n = read(fd, buf, sizeof(buf))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			result = err_errno(err, errno, "%s", name);
		else if (!strbuf_add_mem(out, buf, (size_t)n))
			result =
			    err_set(err, ERR_LIMIT, "%s: larger than %zu bytes", name, out->max);
	}
	mem_wipe(buf, sizeof(buf));
	close(fd);
	return result;
}
