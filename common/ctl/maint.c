/* Verbs that maint does: it is started with a socket, and its answer is printed like authd's. */
#include "common/ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAINT_FD 3
#define MAINT_ARGS 40

static const char *const verbs[] = {
    "check", "export", "import", "backup", "restore", "compact", "recover", "migrate"};

bool ctl_is_maint(struct span verb)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (span_eq(verb, span_of(verbs[i])))
			return true;
	return false;
}

static _Noreturn void become_maint(const char *path, char *const argv[], int fd)
{
	if (fd == MAINT_FD ? fcntl(fd, F_SETFD, 0) == 0 : dup2(fd, MAINT_FD) >= 0)
		execv(path, argv);
	fprintf(stderr, "mailsteadctl: %s cannot be started\n", path);
	_exit(127);
}

int ctl_maint_start(
    const char *conf, const struct span *words, size_t count, pid_t *pid, struct err *err)
{
	char path[CONFIG_PATH_MAX], option[] = "-c";
	char *argv[MAINT_ARGS + 4];
	struct config *cfg;
	size_t n = 0;
	int ends[2];

	if (count > MAINT_ARGS)
		return err_set(err, ERR_LIMIT, "too many words");
	if (config_load(conf, &cfg, err) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/maint", config_str(cfg, SET_PATHS_LIBEXEC));
	config_unref(cfg);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return err_errno(err, errno, "socketpair");
	argv[n++] = path;
	argv[n++] = option;
	argv[n++] = (char *)(uintptr_t)conf;
	/* Words of our own command line: they end in a NUL. */
	for (size_t i = 0; i < count; i++)
		argv[n++] = (char *)(uintptr_t)words[i].p;
	argv[n] = NULL;
	*pid = fork();
	if (*pid == 0)
		become_maint(path, argv, ends[1]);
	close(ends[1]);
	if (*pid > 0)
		return ends[0];
	close(ends[0]);
	return err_errno(err, errno, "fork");
}

int ctl_migrate(const char *conf, bool is_look, bool *is_old, struct strbuf *text, struct err *err)
{
	const struct span words[] = {SPAN("migrate"), SPAN("--look")};
	struct ipc_error end = {0};
	struct ipc_msg msg;
	struct strbuf buf;
	pid_t pid = 0;
	int fd = ctl_maint_start(conf, words, is_look ? 2 : 1, &pid, err);
	int rc;

	if (fd < 0)
		return -1;
	strbuf_init(&buf, IPC_BODY_MAX);
	while ((rc = ipc_sync_recv(fd, &buf, &msg, 0, err)) == 0 && msg.type == IPC_ADMIN_RECORD)
		;
	if (rc == 0 && (msg.type != IPC_ADMIN_END || !ipc_dec_error(msg.body, &end)))
		rc = err_set(err, ERR_INVALID, "maint gives no answer that makes sense");
	if (rc == 0 && end.code != ERR_NONE)
		rc = err_set(err, (enum err_code)end.code, "%.*s", SPAN_FMT(end.text));
	if (rc == 0) {
		/* Asked for a look, it says something only of what is old. */
		if (is_old)
			*is_old = end.text.n > 0;
		strbuf_add(text, end.text);
	}
	strbuf_clear(&buf);
	close(fd);
	ctl_maint_wait(pid);
	return rc;
}

void ctl_maint_wait(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
