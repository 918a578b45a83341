/* Which files a process can reach. The constants are ours: headers are older than kernels. */
#include "common/daemon/sandbox.h"

#include "common/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NR_CREATE_RULESET 444
#define NR_ADD_RULE 445
#define NR_RESTRICT_SELF 446

#define FS_EXECUTE (1ull << 0)
#define FS_WRITE_FILE (1ull << 1)
#define FS_READ_FILE (1ull << 2)
#define FS_READ_DIR (1ull << 3)
#define FS_REMOVE_DIR (1ull << 4)
#define FS_REMOVE_FILE (1ull << 5)
#define FS_MAKE_CHAR (1ull << 6)
#define FS_MAKE_DIR (1ull << 7)
#define FS_MAKE_REG (1ull << 8)
#define FS_MAKE_SOCK (1ull << 9)
#define FS_MAKE_FIFO (1ull << 10)
#define FS_MAKE_BLOCK (1ull << 11)
#define FS_MAKE_SYM (1ull << 12)
#define FS_REFER (1ull << 13)     /* version 2 */
#define FS_TRUNCATE (1ull << 14)  /* 3 */
#define FS_IOCTL_DEV (1ull << 15) /* 5 */
#define NET_BIND_TCP (1ull << 0)  /* 4 */
#define NET_CONNECT_TCP (1ull << 1)
#define SCOPE_ABSTRACT_UNIX (1ull << 0) /* 6 */
#define SCOPE_SIGNAL (1ull << 1)

#define RULE_PATH 1
#define RULE_PORT 2

#define FS_VERSION_1 ((FS_MAKE_SYM << 1) - 1)
#define FS_READ (FS_READ_FILE | FS_READ_DIR)
#define FS_WRITE                                                                                   \
	(FS_READ | FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG |    \
	    FS_MAKE_SOCK | FS_REFER | FS_TRUNCATE)
/* What who starts programs may do in its folders only. Sockets of listeners may be anywhere. */
#define FS_LAUNCHER                                                                                \
	(FS_WRITE_FILE | FS_REMOVE_DIR | FS_MAKE_CHAR | FS_MAKE_DIR | FS_MAKE_REG | FS_MAKE_FIFO | \
	    FS_MAKE_BLOCK | FS_MAKE_SYM)
#define FS_LAUNCHER_ALLOWED                                                                        \
	((FS_LAUNCHER & ~(FS_MAKE_CHAR | FS_MAKE_BLOCK)) | FS_REFER | FS_TRUNCATE)
/* What a rule about a single file may say. */
#define FS_OF_FILE (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

struct ruleset_attr {
	uint64_t fs, net, scoped;
};

struct path_attr {
	uint64_t allowed;
	int32_t parent_fd;
} __attribute__((packed));

struct port_attr {
	uint64_t allowed, port;
};

/* Libraries, their modules and settings, certificates that everybody trusts: nothing secret. */
static const char *const system_paths[] = {"/usr", "/lib", "/lib64", "/lib32", "/etc/ssl",
    "/etc/pki", "/etc/crypto-policies", "/etc/ld.so.cache", "/etc/localtime", "/etc/passwd",
    "/etc/group", "/dev/urandom", "/proc/self"};
/* How a resolver learns of name servers; the file is replaced when they change. */
static const char *const resolver_paths[] = {
    "/etc", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager"};

static int add_path(int ruleset, const char *path, uint64_t allowed, uint64_t handled, bool must_be,
    struct err *err)
{
	struct path_attr a = {.allowed = allowed & handled};
	struct stat st;
	int result = 0;

	a.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (a.parent_fd < 0)
		return must_be ? err_errno(err, errno, "%s", path) : 0;
	if (fstat(a.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
		a.allowed &= FS_OF_FILE;
	if (syscall(NR_ADD_RULE, ruleset, RULE_PATH, &a, 0) < 0)
		result = err_errno(err, errno, "a rule for %s", path);
	close(a.parent_fd);
	return result;
}

static int add_paths(int ruleset, const struct sandbox *s, uint64_t handled, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(system_paths); i++)
		if (add_path(ruleset, system_paths[i], FS_READ, handled, false, err) < 0)
			return -1;
	for (size_t i = 0; s->net != SANDBOX_NO_NET && i < ARRAY_LEN(resolver_paths); i++)
		if (add_path(ruleset, resolver_paths[i], FS_READ, handled, false, err) < 0)
			return -1;
	for (size_t i = 0; i < SANDBOX_PATHS && s->read[i]; i++)
		if (add_path(ruleset, s->read[i], FS_READ, handled, false, err) < 0)
			return -1;
	for (size_t i = 0; i < SANDBOX_PATHS && s->write[i]; i++)
		if (add_path(ruleset, s->write[i], FS_WRITE, handled, true, err) < 0)
			return -1;
	return add_path(ruleset, "/dev/null", FS_READ_FILE | FS_WRITE_FILE, handled, false, err);
}

static int add_ports(int ruleset, const struct sandbox *s, struct err *err)
{
	for (size_t i = 0; i < SANDBOX_PORTS && s->ports[i]; i++) {
		struct port_attr a = {.allowed = NET_CONNECT_TCP, .port = s->ports[i]};

		if (syscall(NR_ADD_RULE, ruleset, RULE_PORT, &a, 0) < 0)
			return err_errno(err, errno, "a rule for port %u", s->ports[i]);
	}
	return 0;
}

static struct ruleset_attr handled_by(int version, const struct sandbox *s)
{
	struct ruleset_attr a = {.fs = FS_VERSION_1};

	if (version >= 2)
		a.fs |= FS_REFER;
	if (version >= 3)
		a.fs |= FS_TRUNCATE;
	if (version >= 5)
		a.fs |= FS_IOCTL_DEV;
	if (version >= 4 && s->net != SANDBOX_ANY_NET)
		a.net = NET_BIND_TCP | NET_CONNECT_TCP;
	if (version >= 6)
		a.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
	return a;
}

/* 0: this kernel has none. */
static int landlock_version(void)
{
	long version = syscall(NR_CREATE_RULESET, NULL, 0, 1u);

	return version < 1 ? 0 : (int)version;
}

/* Older kernels take a longer structure if what they do not know is zero. */
static int make_ruleset(const struct ruleset_attr *a, struct err *err)
{
	long ruleset = syscall(NR_CREATE_RULESET, a, sizeof(*a), 0u);

	return ruleset < 0 ? err_errno(err, errno, "Landlock takes no rules") : (int)ruleset;
}

static int restrict_self(int ruleset, struct err *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(NR_RESTRICT_SELF, ruleset, 0u) < 0)
		return err_errno(err, errno, "Landlock");
	return 0;
}

int landlock_enter(const struct sandbox *s, struct err *err)
{
	int version = landlock_version();
	struct ruleset_attr a;
	int ruleset, result = -1;

	if (version == 0)
		return 0;
	a = handled_by(version, s);
	ruleset = make_ruleset(&a, err);
	if (ruleset < 0)
		return -1;
	if (add_paths(ruleset, s, a.fs, err) == 0 && (!a.net || add_ports(ruleset, s, err) == 0) &&
	    restrict_self(ruleset, err) == 0)
		result = version;
	close(ruleset);
	return result;
}

int landlock_enter_launcher(const char *const write[SANDBOX_PATHS], struct err *err)
{
	int version = landlock_version();
	struct ruleset_attr a = {.fs = FS_LAUNCHER};
	int ruleset, result = -1;

	if (version == 0)
		return 0;
	if (version >= 2)
		a.fs |= FS_REFER;
	if (version >= 3)
		a.fs |= FS_TRUNCATE;
	if (version >= 6)
		a.scoped = SCOPE_SIGNAL;
	ruleset = make_ruleset(&a, err);
	if (ruleset < 0)
		return -1;
	for (size_t i = 0; i < SANDBOX_PATHS && write[i]; i++)
		if (add_path(ruleset, write[i], FS_LAUNCHER_ALLOWED, a.fs, false, err) < 0)
			goto out;
	if (add_path(ruleset, "/dev/null", FS_WRITE_FILE | FS_TRUNCATE, a.fs, false, err) == 0 &&
	    restrict_self(ruleset, err) == 0)
		result = version;
out:
	close(ruleset);
	return result;
}
