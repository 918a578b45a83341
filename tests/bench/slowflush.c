/*
 * Preloaded into every program: counts flushes and bytes written to files, and makes each flush
 * take longer, as a cheap disk does. SLOW_FLUSH=microseconds:file of two counters (u64: flushes,
 * bytes).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static struct {
	_Atomic uint64_t flushes, bytes;
} * count;
static int delay_ms;

__attribute__((constructor)) static void begin(void)
{
	const char *what = getenv("SLOW_FLUSH");
	const char *path = what ? strchr(what, ':') : NULL;
	int fd = path ? open(path + 1, O_RDWR | O_CLOEXEC) : -1;
	void *map;

	if (fd < 0)
		return;
	delay_ms = (int)(strtol(what, NULL, 10) / 1000);
	map = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		count = map;
}

static void flushed(void)
{
	if (!count)
		return;
	atomic_fetch_add(&count->flushes, 1);
	if (delay_ms)
		(void)poll(NULL, 0, delay_ms);
}

static void wrote(int fd, ssize_t n)
{
	struct stat st;

	/* Not what goes to sockets and pipes. */
	if (count && n > 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		atomic_fetch_add(&count->bytes, (uint64_t)n);
}

int fdatasync(int fd)
{
	flushed();
	return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	flushed();
	return (int)syscall(SYS_fsync, fd);
}

int msync(void *p, size_t n, int flags)
{
	flushed();
	return (int)syscall(SYS_msync, p, n, flags);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
	ssize_t rc = syscall(SYS_pwrite64, fd, p, n, at);

	wrote(fd, rc);
	/* LMDB's root goes through a descriptor with O_DSYNC. */
	if (n < 512 && count && (fcntl(fd, F_GETFL) & O_DSYNC))
		flushed();
	return rc;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	return pwrite64(fd, p, n, at);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	ssize_t rc = syscall(SYS_writev, fd, v, n);

	wrote(fd, rc);
	return rc;
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	ssize_t rc = syscall(SYS_pwritev, fd, v, n, (long)at, 0L);

	wrote(fd, rc);
	return rc;
}

ssize_t write(int fd, const void *p, size_t n)
{
	ssize_t rc = syscall(SYS_write, fd, p, n);

	wrote(fd, rc);
	return rc;
}
