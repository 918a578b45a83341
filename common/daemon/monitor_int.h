/* Inside of a monitor. Loop thread. */
#ifndef MS_DAEMON_MONITOR_INT_H
#define MS_DAEMON_MONITOR_INT_H

#include "common/daemon/answer.h"
#include "common/daemon/keys.h"
#include "common/daemon/monitor.h"
#include "common/daemon/supervise.h"

/* The listening sockets of one address and port; shared by the plans that want them. */
struct port {
	unsigned refs;
	char address[101];
	uint16_t port;
	int fds[2]; /* the second: IPv6 of "*", or -1 */
};

/* The certificates of a role's listeners. */
struct plan_keys {
	uint32_t count; /* 0: it needs none */
	struct strbuf request;
	struct strbuf set; /* the answer: holds keys */
};

/* A configuration and all that it needs. */
struct plan {
	struct config *cfg;
	struct port **ports;
	size_t port_count;
	struct plan_keys *keys; /* one for each role of the spec */
	size_t key_count;
};

/* A role, and how far it is. Numbers are those of plans; 0: none. */
struct fed {
	struct monitor *m;
	const struct monitor_role *def;
	struct program *program;
	uint32_t asked, prepared, committed;
};

/* Keys that a change has asked keyd for. */
struct change_fetch {
	struct change *c;
	size_t role;
	struct ipc_call *call;
};

/* A change on its way: prepared by all roles, then committed or aborted. */
struct change {
	struct monitor *m;
	struct plan next;
	uint32_t number;
	bool is_prepared, is_committed;
	struct change_fetch *fetches; /* one for each role */
	size_t fetching;              /* that keyd has not answered */
	size_t waiting;               /* roles that have not answered */
	struct err err;
	struct timer deadline;
	/* Told once when it is prepared or failed (then it is gone), and after change_commit once
	 * more when every role has committed. */
	void (*done)(void *arg, const struct err *err);
	void *arg;
};

/* Signing keys on their way to the role that signs. */
struct dkim_feed {
	struct fed *role; /* NULL: none serves */
	struct ipc_call *call;
	struct timer again;
	uint64_t generation; /* that the role has; 0: none, or not all of it */
	uint64_t page_generation;
	char after[256]; /* the next page begins behind this domain */
	uint64_t pause;  /* ms; 0: the last answer was good */
};

struct led;

/* In the environment of what a monitor becomes: drains_old. */
#define MONITOR_DRAIN "MS_DRAIN"
/* It is in its sandbox already. */
#define MONITOR_CONFINED "MS_CONFINED"

struct monitor {
	const struct monitor_spec *spec;
	const char *conf_path;
	char *const *argv;
	struct loop *loop;
	struct identities ids;
	struct plan plan;
	uint32_t number; /* of plan */
	uint32_t last_number;
	struct fed *roles;
	struct supervisor *supervisor;
	struct change *change;
	struct led *led;   /* the change is authd's */
	struct list queue; /* of changes that wait for it */
	size_t queued;
	struct deferred next_change;
	struct ipc_client *keyd;
	struct keys_watch *watch;
	uint64_t told; /* the generation that keyd told last */
	struct dkim_feed feed;
	struct ipc_link *parent;
	struct ipc_server *ctl;
	struct timer upgrade, trim;
	uint64_t started_ms;
	bool was_ready, is_stopping, is_upgraded, can_probe;
	bool drains_old; /* at the upgrade that comes, or came: roles of before do not wait for new
			    ones */
	int status;
};

/* plan.c */
void plan_init(struct plan *p);
/* What cfg needs: ports that before has are taken over, others are bound; certificates are still to
 * be fetched. Takes the reference to cfg either way. */
int plan_make(struct monitor *m, struct plan *p, struct config *cfg, const struct plan *before,
    struct err *err);
/* Fetches the certificates: blocks, at the start. */
int plan_fetch(struct plan *p, struct err *err);
/* An error of keyd about a certificate that there is not gets file and line of who names it. */
void plan_blame_certificate(const struct plan *p, struct err *err);
void plan_take_set(struct plan *p, size_t role, struct span set);
/* Of the certificates, or 0 if it has none. */
uint64_t plan_generation(const struct plan *p);
void plan_clear(struct plan *p);
void plan_close_ports(struct plan *p);
/* The service manager keeps the sockets of what is now, and forgets those that were before only. */
void plan_tell_manager(const struct plan *before, const struct plan *now);
void plan_move(struct plan *to, struct plan *from); /* from is empty then */
/* Everything that a role needs of it, as the beginning of a change, and the question. */
void plan_send(const struct plan *p, struct fed *role, uint32_t number);

/* change.c */
void change_init(struct monitor *m);
void change_end(struct monitor *m); /* at the end: those that wait fail */
enum change_to {
	CHANGE_NOTHING, /* the configuration that is in force; certificates may be new */
	CHANGE_FILES,   /* what the files say */
	CHANGE_NEXT,    /* the same with settings.conf.next */
};
/* Prepares it in all roles that run, after the changes before it; the files are read when its turn
 * has come. ERR_BUSY when shutting down, or if too many wait. Otherwise done comes, perhaps from
 * inside. */
int change_prepare(struct monitor *m, enum change_to to,
    void (*done)(void *arg, const struct err *err), void *arg, struct err *err);
void change_commit(struct change *c, void (*done)(void *arg, const struct err *err), void *arg);
void change_abort(struct change *c);
/* What roles say and do. */
void change_role_started(struct fed *role);
void change_role_says(struct fed *role, const struct ipc_msg *msg);
void change_role_gone(struct fed *role);

/* monitor_ctl.c */
int monitor_ctl_open(struct monitor *m, struct err *err);
/* Loads the files and carries it through; the log tells how it ended. */
void monitor_reload(struct monitor *m);
void monitor_led_end(struct monitor *m); /* forgets a change that authd leads */

/* keyd has something new (or was started again): the same configuration with its certificates. */
void monitor_renew_keys(struct monitor *m);

/* monitor_dkim.c: the role that signs serves; or it does not any more. */
void feed_start(struct fed *role);
void feed_stop(struct monitor *m);

/* monitor_upgrade.c */
/* Becomes the program that is installed now. Returns if that does not work: all is as before. */
int monitor_upgrade(struct monitor *m, struct err *err);
int monitor_upgrade_check(struct monitor *m, struct err *err);

/* monitor.c */
void monitor_fail(struct monitor *m, const struct err *err); /* at the first start: ends */

#endif
