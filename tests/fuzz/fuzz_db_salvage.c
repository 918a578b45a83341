/* A data.mdb of any bytes. Oracles: it ends; no row is longer than the file, no key empty or longer
 * than keys are; a file that did not change gives the same rows again. */
#include "common/base/mem.h"
#include "common/db/page.h"
#include "common/db/salvage.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
	size_t size;
	uint64_t rows, bytes;
};

static void need(bool ok)
{
	if (!ok)
		abort();
}

static int take(void *arg, struct span key, struct span val, enum db_trust trust, struct err *err)
{
	struct sum *s = arg;

	need(key.n > 0 && key.n <= PAGE_KEY_MAX && val.n <= s->size);
	for (size_t i = 0; i < key.n; i++)
		s->bytes += (unsigned char)key.p[i];
	for (size_t i = 0; i < val.n; i++)
		s->bytes += (unsigned char)val.p[i];
	s->rows++;
	return 0;
}

static void lost(void *arg, struct span from, struct span to)
{
	need(from.n <= PAGE_KEY_MAX && to.n <= PAGE_KEY_MAX);
}

static struct sum salvage(int fd, size_t size)
{
	struct sum sum = {.size = size};
	struct db_salvage s = {.row = take, .lost = lost, .arg = &sum};
	struct err err = ERR_INIT;

	need(db_salvage(fd, &s, &err) == 0 || err.code != ERR_NONE);
	need(s.rows == sum.rows && s.uncertain_rows <= s.rows);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("data.mdb", MFD_CLOEXEC);
	struct sum one, two;

	need(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	one = salvage(fd, size);
	two = salvage(fd, size);
	need(one.rows == two.rows && one.bytes == two.bytes);
	close(fd);
	return 0;
}
