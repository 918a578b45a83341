/* clock set TIME, clock advance SECONDS: moves the clock of an appliance under test. */
#include "common/ctl/ctl.h"

#include "common/event/clock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int ctl_clock(const struct span *words, size_t count, struct err *err)
{
	const char *path = secure_getenv(CLOCK_VARIABLE);
	int64_t moved = 0;
	uint64_t number;
	int fd, rc = 0;

	if (!path)
		return err_set(err, ERR_UNSUPPORTED,
		    "there is no clock to move: " CLOCK_VARIABLE " names no file");
	if (count != 3 || !span_u64(words[2], (uint64_t)1 << 40, &number) ||
	    (!span_eq(words[1], SPAN("set")) && !span_eq(words[1], SPAN("advance"))))
		return err_set(err, ERR_INVALID, "usage: clock set TIME, clock advance SECONDS");
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || pread(fd, &moved, sizeof(moved), 0) != (ssize_t)sizeof(moved))
		rc = err_set(err, ERR_IO, "%s has no 8 bytes to read", path);
	if (span_eq(words[1], SPAN("set")))
		moved += (int64_t)number - clock_now();
	else
		moved += (int64_t)number;
	if (rc == 0 && pwrite(fd, &moved, sizeof(moved), 0) != (ssize_t)sizeof(moved))
		rc = err_set(err, ERR_IO, "%s cannot be written", path);
	if (fd >= 0)
		close(fd);
	return rc;
}
