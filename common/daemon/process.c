#include "common/daemon/process.h"

#include "common/daemon/notify.h"
#include "common/ipc/frame.h"
#include "common/ipc/msg.h"
#include "common/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define LINK_FD 3

#define MMAP_THRESHOLD (256 * 1024)
#define TRIM_THRESHOLD (1024 * 1024)
#define TRIM_FIRST_MS 3000
#define TRIM_MS 60000

void process_settle(void)
{
	struct rlimit nofile;

#ifndef MS_SANITIZED
	/* The leak checker traces its own process. */
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	/* Under a parent that was killed nobody would start us again: end as if told to. */
	if (getenv("MS_LINK"))
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
	umask(0007);
	if (getrlimit(RLIMIT_NOFILE, &nofile) == 0) {
		nofile.rlim_cur = nofile.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &nofile);
	}
	/* An arena a thread would keep memory that the others cannot use. */
	(void)mallopt(M_ARENA_MAX, 2);
	/* malloc would learn from the first large piece that comes back (a database that was opened
	 * twice, a password's hash) to keep such pieces, 2 to 20 MB each. */
	(void)mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
	(void)mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD);
}

int process_link_fd(void)
{
	const char *fd = getenv("MS_LINK");

	if (!fd || strcmp(fd, "3") != 0)
		return -1;
	unsetenv("MS_LINK");
	return fcntl(LINK_FD, F_SETFD, FD_CLOEXEC) < 0 ? -1 : LINK_FD;
}

void process_say_ready(int link)
{
	static const unsigned char ready[FRAME_HEAD] = {[5] = LINK_READY}; /* no body */

	if (link >= 0) {
		(void)!write(link, ready, sizeof(ready));
		close(link);
	}
	notify_ready();
}

int process_make_run_folder(const struct config *cfg, const char *name, struct err *err)
{
	char path[CONFIG_PATH_MAX];

	if (config_run_path(cfg, name, path, err) < 0)
		return -1;
	if (mkdir(path, 0700) == 0)
		return chmod(path, 02711) == 0 ? 0 : err_errno(err, errno, "%s", path);
	return errno == EEXIST ? 0 : err_errno(err, errno, "%s", path);
}

void process_apply_log_level(const struct config *cfg)
{
	enum log_level level;

	if (log_level_parse(span_of(config_str(cfg, SET_LOG_LEVEL)), &level))
		log_set_level(level);
}

/* --- memory of busier times ---------------------------------------------------------------------
 */
static void on_trim(void *arg)
{
	struct timer *t = arg;

	(void)malloc_trim(0);
	timer_set(t, TRIM_MS);
}

void process_trim(struct loop *loop, struct timer *t)
{
	timer_init(t, loop, on_trim, t);
	timer_set(t, TRIM_FIRST_MS);
}
