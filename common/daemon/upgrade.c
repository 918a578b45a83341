#include "common/daemon/upgrade.h"

#include "common/base/mem.h"
#include "common/daemon/notify.h"
#include "common/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATE_MAX (256 * 1024)
#define FDS_MAX 2048
#define ARGS_MAX 16
#define CHECK_SECONDS 5
#define HEAD "mailstead upgrade 1\n"

/* --- the check -------------------------------------------------------------------------------- */
static _Noreturn void run_check(char *const argv[])
{
	char option[] = "--check";
	char *args[ARGS_MAX + 2];
	size_t n = 0;

	for (; n < ARGS_MAX && argv[n]; n++)
		args[n] = argv[n];
	args[n] = option;
	args[n + 1] = NULL;
	unsetenv("MS_LINK");
	(void)signal(SIGALRM, SIG_DFL);
	alarm(CHECK_SECONDS);
	execve(args[0], args, environ);
	_exit(127);
}

int upgrade_check(char *const argv[], struct err *err)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return err_errno(err, errno, "fork");
	if (pid == 0)
		run_check(argv);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_errno(err, errno, "waiting for %s", argv[0]);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return err_set(err, ERR_INVALID, "%s does not start as it is now (status %d)", argv[0],
	    WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* --- the old program -------------------------------------------------------------------------- */
struct upgrade {
	struct strbuf text;
	int fds[FDS_MAX]; /* that stay open */
	size_t count;
};

struct upgrade *upgrade_new(void)
{
	struct upgrade *u = mem_zalloc(sizeof(*u));

	strbuf_init(&u->text, STATE_MAX);
	strbuf_add_str(&u->text, HEAD);
	return u;
}

void upgrade_free(struct upgrade *u)
{
	strbuf_clear(&u->text);
	mem_free(u);
}

static void keep(struct upgrade *u, int fd)
{
	if (fd < 0)
		return;
	if (u->count == FDS_MAX)
		u->text.failed = true;
	else
		u->fds[u->count++] = fd;
}

void upgrade_add_socket(struct upgrade *u, int fd)
{
	strbuf_addf(&u->text, "socket %d\n", fd);
	keep(u, fd);
}

void upgrade_add_child(struct upgrade *u, const char *name, pid_t pid, int link_fd, bool is_retired)
{
	strbuf_addf(
	    &u->text, "%s %ld %d %s\n", is_retired ? "retired" : "child", (long)pid, link_fd, name);
	keep(u, link_fd);
}

static void set_cloexec(const struct upgrade *u, int flag)
{
	for (size_t i = 0; i < u->count; i++)
		(void)fcntl(u->fds[i], F_SETFD, flag);
}

static int write_state(const struct upgrade *u, struct err *err)
{
	int fd = memfd_create("upgrade", MFD_CLOEXEC);

	if (fd < 0)
		return err_errno(err, errno, "a memory file");
	if (write(fd, u->text.p, u->text.n) != (ssize_t)u->text.n) {
		err_errno(err, errno, "a memory file");
		close(fd);
		return -1;
	}
	return fd;
}

int upgrade_exec(struct upgrade *u, char *const argv[], int parent_fd, struct err *err)
{
	char number[24];
	int fd = -1;

	if (u->text.failed)
		err_set(err, ERR_LIMIT, "too many sockets and processes to hand on");
	else
		fd = write_state(u, err);
	if (fd >= 0) {
		keep(u, fd);
		keep(u, parent_fd);
		snprintf(number, sizeof(number), "%d", fd);
		setenv("MS_UPGRADE", number, 1);
		if (parent_fd >= 0)
			setenv("MS_LINK", "3", 1);
		set_cloexec(u, 0);
		execve(argv[0], argv, environ);
		err_errno(err, errno, "%s", argv[0]);
		set_cloexec(u, FD_CLOEXEC);
		unsetenv("MS_UPGRADE");
		unsetenv("MS_LINK");
		close(fd);
	}
	upgrade_free(u);
	return -1;
}

/* --- the new one ------------------------------------------------------------------------------ */
static int state_fd = -1;
static int inherited[FDS_MAX];
static size_t inherited_count;

static void inherit(int fd)
{
	if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return;
	if (inherited_count == FDS_MAX)
		fatal("an upgrade with more than %d descriptors", FDS_MAX);
	inherited[inherited_count++] = fd;
}

static bool take_number(struct span *s, int *out)
{
	bool is_negative = span_take_chr(s, '-');
	uint64_t n;

	if (!span_take_u64(s, INT32_MAX, &n))
		return false;
	*out = is_negative ? -(int)n : (int)n;
	(void)span_take_chr(s, ' ');
	return true;
}

static void take_line(struct span line, struct list *survivors)
{
	bool is_child = span_starts(line, SPAN("child ")), is_socket;
	struct survivor *s;
	int pid, fd;

	is_socket = span_starts(line, SPAN("socket "));
	line = span_from(line, (size_t)span_chr(line, ' ') + 1);
	if (is_socket && take_number(&line, &fd)) {
		parked_add(fd);
		inherit(fd);
		return;
	}
	if (is_socket || !take_number(&line, &pid) || !take_number(&line, &fd) ||
	    line.n >= sizeof(s->name))
		fatal("an upgrade from a program that speaks differently");
	inherit(fd);
	s = mem_zalloc(sizeof(*s));
	snprintf(s->name, sizeof(s->name), "%.*s", SPAN_FMT(line));
	s->pid = pid;
	s->link_fd = fd;
	s->is_retired = !is_child;
	list_append(survivors, &s->link);
}

bool upgrade_take(struct list *survivors)
{
	const char *number = getenv("MS_UPGRADE");
	struct strbuf text;
	struct span rest, line;
	uint64_t fd;
	char *room;
	ssize_t n;

	if (!number || !span_u64(span_of(number), INT32_MAX, &fd))
		return false;
	unsetenv("MS_UPGRADE");
	state_fd = (int)fd;
	(void)fcntl(state_fd, F_SETFD, FD_CLOEXEC);
	strbuf_init(&text, STATE_MAX);
	room = strbuf_room(&text, STATE_MAX);
	n = room ? pread(state_fd, room, STATE_MAX, 0) : -1;
	if (n > 0)
		strbuf_added(&text, (size_t)n);
	rest = strbuf_span(&text);
	if (!span_starts(rest, SPAN(HEAD)))
		fatal("an upgrade from a program that speaks differently");
	rest = span_from(rest, sizeof(HEAD) - 1);
	while (span_split(&rest, '\n', &line))
		if (line.n > 0)
			take_line(line, survivors);
	strbuf_clear(&text);
	return true;
}

void upgrade_again(char *const argv[])
{
	char number[24];

	if (state_fd < 0)
		return;
	log_error("upgrade-again", LOG_STR("program", argv[0]));
	sleep(1);
	for (size_t i = 0; i < inherited_count; i++)
		(void)fcntl(inherited[i], F_SETFD, 0);
	(void)fcntl(state_fd, F_SETFD, 0);
	snprintf(number, sizeof(number), "%d", state_fd);
	setenv("MS_UPGRADE", number, 1);
	if (fcntl(3, F_GETFD) >= 0) {
		(void)fcntl(3, F_SETFD, 0);
		setenv("MS_LINK", "3", 1);
	}
	execve(argv[0], argv, environ);
	fatal("%s: %s", argv[0], strerror(errno));
}
