/*
 * keyd, the only owner of private keys: it makes, imports, checks and keeps them (shelf.h), and
 * gives them to monitors alone, over <run>/keyd/keyd.sock. What the administrator asks of it comes
 * through authd to its control socket. It has no network, and no answer there holds a key.
 *
 * The loop only moves messages: one thread reads and changes the shelf, so that all of it happens
 * one after the other, another makes keys.
 */
#ifndef MS_KEYD_KEYD_H
#define MS_KEYD_KEYD_H

#include "common/daemon/role.h"
#include "common/event/work.h"

#define KEYD_DEFAULT_ID "default"
#define TICKET_MASTERS 3
#define TICKET_MASTER_LEN 32

struct keyd {
	struct role *role;
	struct loop *loop;
	char dir[CONFIG_PATH_MAX]; /* <state>/keys */
	struct ipc_server *server; /* keyd.sock */
	struct workers *disk;      /* one thread */
	struct workers *makers;    /* one thread */
	/* Tells monitors apart what they have; random at the start, so that a restart counts. */
	uint64_t generation;
	struct list watchers;
	size_t watcher_count;
	uint64_t dkim_generation;                                 /* the same of signing keys */
	unsigned char masters[TICKET_MASTERS][TICKET_MASTER_LEN]; /* newest first */
	size_t master_count;
	struct timer rotate, upkeep;
	uint64_t upkept_ms; /* when, by the monotonic clock */
	int64_t ahead;      /* of it the wall clock was then, in seconds */
	size_t running;     /* jobs */
};

/* Something that monitors have may be old now: they are told. */
void keyd_changed(struct keyd *k);
/* Signing keys of domains are others now. */
void keyd_dkim_changed(struct keyd *k);
/* A job ended: the process may be waiting for that. */
void keyd_job_ended(struct keyd *k);

/* serve.c: the monitors' socket. */
int serve_open(struct keyd *k, struct err *err);
void serve_close(struct keyd *k);
/* A new ticket key; the oldest goes. */
void serve_rotate(struct keyd *k);
/* The key of a purpose, from a master: out has IPC_KEY_TICKET_LEN bytes. */
void ticket_derive(const unsigned char *master, struct span purpose, unsigned char *out);

/* upkeep.c: certificates that keyd signed itself. */
/* The host names of the enabled listeners that serve id, and server.hostname if the web admin does
 * or nobody: those that it must cover. list has room for HOSTS_MAX; the names live as long as cfg.
 */
#define HOSTS_MAX 64
size_t hosts_of(const struct config *cfg, const char *id, const char *list[HOSTS_MAX]);
/* How many listeners serve id. */
size_t listeners_of(const struct config *cfg, const char *id);
/* Makes "default" if there is none, and anew what keyd signed itself and what is soon to expire or
 * lacks a host name. Blocks. *count is how many were made. */
int upkeep_run(
    const char *dir, const struct config *cfg, int64_t now, size_t *count, struct err *err);

/* dkim_verbs.c: dkim ... and dns, on the control socket. */
void keyd_dkim_admin(struct keyd *k, const struct ipc_admin *cmd, const struct admin_request *rq);

/* verbs.c: cert ..., on the control socket. */
void keyd_admin(struct role *r, const struct ipc_admin *cmd, const struct admin_request *rq);

#endif
