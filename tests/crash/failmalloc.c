/*
 * Preloaded: lets an allocation fail. FAIL_MALLOC=program:file names whose, and a file of eight
 * bytes that holds how many more succeed; 0 is none to fail. Whoever wants one to fail writes a
 * number there while the program runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);

static _Atomic uint64_t *left;

__attribute__((constructor)) static void open_counter(void)
{
	const char *what = getenv("FAIL_MALLOC");
	const char *path = what ? strchr(what, ':') : NULL;
	void *map;
	int fd;

	if (!path || strncmp(program_invocation_short_name, what, (size_t)(path - what)) != 0 ||
	    program_invocation_short_name[path - what] != '\0')
		return;
	fd = open(path + 1, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(*left), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		left = map;
}

/* True once, when the count comes to its end. */
static int must_fail(void)
{
	uint64_t n = left ? atomic_load(left) : 0;

	while (n > 0)
		if (atomic_compare_exchange_weak(left, &n, n - 1)) {
			if (n > 1)
				return 0;
			errno = ENOMEM;
			return 1;
		}
	return 0;
}

void *malloc(size_t size)
{
	return must_fail() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return must_fail() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *p, size_t size)
{
	return must_fail() ? NULL : __libc_realloc(p, size);
}
