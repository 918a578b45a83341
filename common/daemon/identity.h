/*
 * Who runs what. Started as root, every process gets a user of its own: the package's users
 * mailstead-auth ... mailstead-fetch, or numbers (process.uid_base). Groups: each user's own;
 * "mailstead" for all but the web admin, the ACME client and who fetches policies (sockets between
 * processes);
 * "mailstead-queue" and "mailstead-store" for those that work on them. Not started as root, or
 * without these users, everything runs under the one uid that started it.
 */
#ifndef MS_DAEMON_IDENTITY_H
#define MS_DAEMON_IDENTITY_H

#include "common/config/config.h"

#include <sys/types.h>

enum who {
	WHO_AUTH,
	WHO_KEY,
	WHO_IN,
	WHO_OUT,
	WHO_LOCAL,
	WHO_IMAP,
	WHO_POP3,
	WHO_WEB,
	WHO_ACME,
	WHO_FETCH,
	WHO_COUNT
};

#define IDENTITY_GROUPS 3

struct identity {
	uid_t uid;
	gid_t gid;
	gid_t groups[IDENTITY_GROUPS]; /* beside gid */
	size_t group_count;
};

struct identities {
	bool are_separate; /* we are root, and may hand them out */
	bool are_known;    /* false: nothing below is set */
	struct identity who[WHO_COUNT];
	gid_t all, queue, store;
};

/* Looks them up. Where they are not separate, why says it in a few words. Reads /etc/passwd and
 * /etc/group themselves, so that no name service is loaded into a process that stays. */
void identities_find(const struct config *cfg, struct identities *out, struct err *why);
/* This process becomes who, for good. Before any thread is started. */
int identity_become(const struct identity *who, struct err *err);
const char *who_user(enum who w); /* "mailstead-auth" */

/* --- capabilities ------------------------------------------------------------------------------
 */
/* Keeps what a process needs that binds ports and starts others under their uids: NET_BIND_SERVICE,
 * SETUID, SETGID, KILL, as far as it has them; everything else is gone for good, also through
 * execve. */
int caps_keep_launcher(struct err *err);
/* What maint needs, which reads databases as their owners and writes backups anywhere: SETUID,
 * SETGID, KILL, DAC_OVERRIDE. With the launcher's for who starts it beside the monitors. */
int caps_keep_maint(struct err *err);
int caps_keep_first(struct err *err);
int caps_drop_all(struct err *err);

/* --- folders ------------------------------------------------------------------------------------
 * <state> and <run> and what is below them, each with its owner and mode, in the order in which
 * they need each other. As root with separate identities, folders that root made before (a start
 * without them, an installation's first key) go to their owners with everything in them. */
int folders_make(const struct config *cfg, const struct identities *ids, struct err *err);
/* One of them, <state>/<name>, where a process without a launcher needs it. There already is fine.
 */
int folders_make_state(const struct config *cfg, const char *name, struct err *err);

#endif
