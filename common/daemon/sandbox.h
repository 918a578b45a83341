/*
 * What a process may still do once it has begun its work: no new program, no new process, no other
 * user, no other kind of socket (seccomp), and no file but those it is there for (Landlock, where
 * the kernel has it). Entered once, before the first thread is started, and for good.
 *
 * Killed: execve, fork, vfork, clone without CLONE_THREAD, ptrace and the like, setuid and the
 * like, mounts, modules and other rights of root. ENOSYS: clone3 (else threads could not be told
 * from processes) and io_uring. EAFNOSUPPORT: socket families other than the policy's. EPERM:
 * memory that is both new and executable. Builds with sanitizers allow fork, clone and ptrace (the
 * leak checker needs them) and say so in the log.
 */
#ifndef MS_DAEMON_SANDBOX_H
#define MS_DAEMON_SANDBOX_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sandbox_net {
	SANDBOX_NO_NET,  /* makes no internet sockets; it may use those it is given */
	SANDBOX_RESOLVE, /* asks name servers: UDP, and TCP to the policy's ports */
	SANDBOX_ANY_NET, /* connects anywhere */
};

#define SANDBOX_PATHS 8
#define SANDBOX_PORTS 4

struct sandbox {
	enum sandbox_net net;
	uint16_t ports[SANDBOX_PORTS]; /* TCP, with SANDBOX_RESOLVE; 0: none */
	/* Paths of folders and files, NULL behind the last. What is not there is passed over,
	 * except the folders it may write to. The system's libraries and certificates can be read
	 * always. */
	const char *write[SANDBOX_PATHS];
	const char *read[SANDBOX_PATHS];
};

/* A child enters and must be killed when it starts a program; then this process enters, tries the
 * rest, and says in the log what is in force. The process must have one thread. Any error: do not
 * serve. */
int sandbox_enter(const struct sandbox *s, struct err *err);

/*
 * The same for who starts programs, and for all of those: monitors, and acme while it
 * gets a certificate. They make processes,
 * start programs and become somebody else, and read what the system lets them read. Looking into
 * other processes is killed, rights of root fail with EPERM, other socket families as above; files
 * are written, made and renamed in the folders named only (but for sockets, which listeners may
 * have anywhere). What they start enters a sandbox of its own inside of this one. It stays through
 * an upgrade: the new image must not enter again (is_inherited), since each time is a layer more
 * and there are only so many.
 */
int sandbox_enter_launcher(
    const char *const write[SANDBOX_PATHS], bool is_inherited, struct err *err);

/* --- the parts -------------------------------------------------------------------------------- */
int seccomp_enter(bool has_inet, struct err *err);
int seccomp_enter_launcher(struct err *err);
/* The version of Landlock in force; 0: the kernel has none. -1: it failed. */
int landlock_enter(const struct sandbox *s, struct err *err);
int landlock_enter_launcher(const char *const write[SANDBOX_PATHS], struct err *err);

#endif
