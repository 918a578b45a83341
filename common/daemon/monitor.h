/*
 * A monitor: starts the roles of one protocol, each under a user of its own, and hands them what
 * they need: the configuration, certificates with their keys (from keyd), and the listening
 * sockets, which only a monitor binds. It parses no byte that comes from the network and links no
 * OpenSSL.
 *
 * It keeps of root's rights, if it has them, NET_BIND_SERVICE, SETUID, SETGID and KILL. A role that
 * ends or does not answer is started again. Its control socket is <run>/<name>/ctl. SIGTERM drains
 * its roles and ends, SIGHUP loads the configuration again: all of it, or nothing.
 *
 * Exit status: 0 stopped as asked, 1 wrong configuration, a port that cannot be bound, or a role
 * that failed at its first start.
 */
#ifndef MS_DAEMON_MONITOR_H
#define MS_DAEMON_MONITOR_H

#include "common/daemon/identity.h"

struct monitor_role {
	const char *name; /* the program in paths.libexec */
	enum who who;
	unsigned listeners; /* 1u << enum listener_role, of those it serves */
	bool signs;         /* is handed the keys that mail of domains is signed with */
};

struct monitor_spec {
	const char *name;
	const struct monitor_role *roles; /* started in this order */
	size_t count;
	/* Folders below <state> where it and its roles write, besides the run folder. */
	const char *write[4];
};

int monitor_main(int argc, char **argv, const struct monitor_spec *spec);

#endif
