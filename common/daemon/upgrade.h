/*
 * Becoming the program that is installed now, without letting go of anything: the process executes
 * its own path again, with its listening sockets, its children and the links to them. What they are
 * stands in a memory file whose descriptor MS_UPGRADE names. Loop thread; the process has no other.
 */
#ifndef MS_DAEMON_UPGRADE_H
#define MS_DAEMON_UPGRADE_H

#include "common/base/err.h"
#include "common/base/list.h"
#include "common/base/strbuf.h"

#include <sys/types.h>

/* A child that lives on. */
struct survivor {
	struct list link;
	char name[64];
	pid_t pid;
	int link_fd;     /* -1: it has none */
	bool is_retired; /* one of an older generation, that ends when its sessions do */
};

/* Whether the program at argv[0] starts and likes its configuration: argv with "--check" behind
 * it. Waits for at most five seconds. */
int upgrade_check(char *const argv[], struct err *err);

struct upgrade;

struct upgrade *upgrade_new(void);
void upgrade_free(struct upgrade *u);
void upgrade_add_socket(struct upgrade *u, int fd); /* found again by parked_take */
void upgrade_add_child(
    struct upgrade *u, const char *name, pid_t pid, int link_fd, bool is_retired);
/* parent_fd: the link to who started us, or -1. Returns only if it failed: then all is as before,
 * and u is gone. */
int upgrade_exec(struct upgrade *u, char *const argv[], int parent_fd, struct err *err);

/* In the new program, before anything else: whether it is one. Sockets are parked; survivors go
 * into the list (free each with mem_free). */
bool upgrade_take(struct list *survivors);
/* Its start failed: a second later it tries again from the beginning, until it gets through. The
 * children work on meanwhile. Does not return if this process is an upgraded one. */
void upgrade_again(char *const argv[]);

#endif
