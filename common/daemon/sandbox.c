#include "common/daemon/sandbox.h"

#include "common/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef MS_EMULATED
/* What emulates another machine's processor takes no filter of that machine's system calls. */
int sandbox_enter(const struct sandbox *s, struct err *err)
{
	int landlock = landlock_enter(s, err);

	log_warning("sandbox", LOG_STR("seccomp", "off"), LOG_I64("landlock-version", landlock));
	return landlock < 0 ? err_wrap(err, "sandbox") : 0;
}

int sandbox_enter_launcher(
    const char *const write[SANDBOX_PATHS], bool is_inherited, struct err *err)
{
	int landlock = is_inherited ? 0 : landlock_enter_launcher(write, err);

	return landlock < 0 ? err_wrap(err, "sandbox") : 0;
}
#else
static int enter(const struct sandbox *s, int *landlock, struct err *err)
{
	*landlock = landlock_enter(s, err);
	if (*landlock < 0)
		return -1;
	return seccomp_enter(s->net != SANDBOX_NO_NET, err);
}

#ifndef MS_SANITIZED
/* A child enters, starts a program, and must not survive it. One attempt only: the kernel logs
 * each. */
static int try_deadly(const struct sandbox *s, struct err *err)
{
	char name[] = "true";
	char *argv[] = {name, NULL};
	int status = 0, version;
	pid_t pid = fork();

	if (pid < 0)
		return err_errno(err, errno, "fork");
	if (pid == 0) {
		if (enter(s, &version, NULL) == 0)
			execve("/bin/true", argv, argv + 1);
		_exit(1);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_errno(err, errno, "waiting for the self-test");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		return 0;
	if (WIFEXITED(status) && enter(s, &version, err) < 0)
		return -1; /* that tells why */
	return err_set(err, ERR_DENIED, "a program could be started from within");
}
#else
static int try_deadly(const struct sandbox *s, struct err *err)
{
	log_warning("sandbox-sanitizer", LOG_STR("allowed", "fork, clone, ptrace"));
	return 0;
}
#endif

/* True if no such socket can be made. */
static bool is_family_denied(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return errno == EAFNOSUPPORT;
	close(fd);
	return false;
}

static bool is_folder_denied(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno == EACCES;
	close(fd);
	return false;
}

static bool is_new_code_denied(void)
{
	void *p = mmap(
	    NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return errno == EPERM;
	munmap(p, 4096);
	return false;
}

static int check_inside(const struct sandbox *s, int landlock, struct err *err)
{
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 ||
	    prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != SECCOMP_MODE_FILTER)
		return err_set(err, ERR_DENIED, "the sandbox is not in force");
	if (!is_family_denied(AF_NETLINK) || !is_family_denied(AF_PACKET) ||
	    (s->net == SANDBOX_NO_NET && !is_family_denied(AF_INET)))
		return err_set(err, ERR_DENIED, "the sandbox lets us make foreign sockets");
#ifdef SYS_clone3
	if (syscall(SYS_clone3, NULL, 0) != -1 || errno != ENOSYS)
		return err_set(err, ERR_DENIED, "the sandbox lets clone3 through");
#endif
	if (!is_new_code_denied())
		return err_set(err, ERR_DENIED, "the sandbox lets us make code");
	if (landlock > 0 && !is_folder_denied("/"))
		return err_set(err, ERR_DENIED, "Landlock lets us read foreign folders");
	return 0;
}

static void say(int landlock)
{
	if (landlock == 0)
		log_warning("sandbox", LOG_STR("seccomp", "on"), LOG_STR("landlock", "off"),
		    LOG_STR("reason", "not in this kernel"));
	else
		log_info(
		    "sandbox", LOG_STR("seccomp", "on"), LOG_I64("landlock-version", landlock));
}

int sandbox_enter(const struct sandbox *s, struct err *err)
{
	int landlock;

	if (try_deadly(s, err) < 0 || enter(s, &landlock, err) < 0 ||
	    check_inside(s, landlock, err) < 0)
		return err_wrap(err, "sandbox");
	say(landlock);
	return 0;
}

/* --- who starts the others -------------------------------------------------------------------- */
/* A child enters, tries what nobody needs, and must not survive it. */
static int try_launcher(const char *const write[SANDBOX_PATHS], struct err *err)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return err_errno(err, errno, "fork");
	if (pid == 0) {
		if (landlock_enter_launcher(write, NULL) >= 0 && seccomp_enter_launcher(NULL) == 0)
			(void)syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 0);
		_exit(1);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_errno(err, errno, "waiting for the self-test");
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS
		   ? 0
		   : err_set(err, ERR_DENIED, "what nobody needs can be done from within");
}

static bool is_foreign_folder_closed(void)
{
	if (mkdir("/mailstead-probe", 0700) < 0)
		return errno == EACCES || errno == EROFS || errno == EEXIST;
	(void)rmdir("/mailstead-probe");
	return false;
}

static int check_launcher(int landlock, struct err *err)
{
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 ||
	    prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != SECCOMP_MODE_FILTER)
		return err_set(err, ERR_DENIED, "the sandbox is not in force");
	if (!is_family_denied(AF_NETLINK) || !is_family_denied(AF_PACKET))
		return err_set(err, ERR_DENIED, "the sandbox lets us make foreign sockets");
	if (landlock > 0 && !is_foreign_folder_closed())
		return err_set(err, ERR_DENIED, "Landlock lets us write in foreign folders");
	return 0;
}

int sandbox_enter_launcher(
    const char *const write[SANDBOX_PATHS], bool is_inherited, struct err *err)
{
	int landlock;

	if (is_inherited)
		return check_launcher(0, err);
	if (try_launcher(write, err) < 0)
		return err_wrap(err, "sandbox");
	landlock = landlock_enter_launcher(write, err);
	if (landlock < 0 || seccomp_enter_launcher(err) < 0 || check_launcher(landlock, err) < 0)
		return err_wrap(err, "sandbox");
	say(landlock);
	return 0;
}
#endif
