/*
 * The life of a role: a program that serves one part of the appliance. There are two kinds. authd
 * and keyd are started with "-c FILE" and read their configuration themselves. All others are
 * started by their monitor, which hands them configuration, certificates and listening sockets over
 * the link (descriptor 3): they open no such file and bind no port.
 *
 * role_main opens the log, makes the loop, takes the configuration, opens its control socket
 * <run>/<name>/ctl, starts the role, says "ready", and runs until it is told to stop: SIGTERM
 * drains (listeners close, sessions finish), a second one ends at once. A change of the
 * configuration is prepared (certificates are parsed, sockets are there) and then committed: what
 * is in it takes effect at once, sessions go on. SIGHUP makes the first kind load its
 * configuration again; it keeps the old one if the new one does not load.
 *
 * Exit status: 0 stopped as asked, 75 start me again (an upgrade), 1 wrong configuration (one line
 * says file, line, found, expected), 70 broken invariant, 71 no memory, 74 I/O error of the store.
 */
#ifndef MS_DAEMON_ROLE_H
#define MS_DAEMON_ROLE_H

#include "common/config/config.h"
#include "common/daemon/answer.h"
#include "common/daemon/sandbox.h"
#include "common/event/loop.h"
#include "common/ipc/ipc.h"
#include "common/ipc/msg.h"
#include "common/net/addr.h"
#include "common/net/limits.h"
#include "common/net/tls.h"

struct role;
struct role_listener;

/* Listeners and their TLS. A role without any leaves it out, and is not linked with OpenSSL. */
struct role_serving;
extern const struct role_serving role_serving;
/* Listeners that a program serves which the role starts: they are handed to it (on_handed). */
extern const struct role_serving role_handing;

/* One of them: its sockets, the second -1 or the IPv6 of "*". The frame's; inherited by nobody
 * unless the role sees to it. */
struct role_handed {
	const struct config_listener *cfg; /* of r->cfg */
	int fds[2];
};

struct role_ops {
	const char *name;  /* "smtpd-receive": log name and control socket */
	bool reads_config; /* started with -c FILE, without a monitor */
	/* The sandbox: folders below <state> that it works in, and its network. Besides, it has its
	 * run folder and the system's libraries; who reads the configuration, its folder. */
	const char *state[4];
	enum sandbox_net net;
	uint16_t ports[SANDBOX_PORTS];      /* with SANDBOX_RESOLVE */
	bool asks_nobody;                   /* it has no business with authd */
	bool starts_programs;               /* it has no sandbox: they would inherit it */
	const struct role_serving *serving; /* &role_serving, &role_handing; NULL: no listeners */
	unsigned roles;         /* 1u << enum listener_role, of the listeners it serves */
	const char *full_reply; /* to a client for which no descriptor is left, with CRLF */
	/* With role_handing, after start and after every change: all that it has now, and the
	 * certificates (an ipc_key_set, which holds keys). The process ends, to be started again,
	 * if it fails. */
	int (*on_handed)(struct role *r, const struct role_handed *list, size_t count,
	    struct span keys, struct err *err);
	/* Opens what the role needs. The listeners accept only after it returned 0. */
	int (*start)(struct role *r, struct err *err);
	/* Owns fd. The connection was counted in r->limits: role_connection_gone when it ends. When
	 * a limit was reached on_refuse is called instead (send the protocol's refusal, then
	 * close); it is not counted then. */
	void (*on_accept)(
	    struct role *r, struct role_listener *l, int fd, const struct net_addr *peer);
	void (*on_refuse)(struct role *r, struct role_listener *l, int fd,
	    const struct net_addr *peer, const struct err *why);
	/* All places are taken (of l; NULL: of the whole role): ends the session that is worth
	 * least, somebody's who has not logged in. False if there is none. May be NULL. */
	bool (*make_room)(struct role *r, struct role_listener *l);
	/* r->cfg is the new configuration. May be NULL. */
	void (*on_reload)(struct role *r);
	/* SIGHUP, instead of loading the configuration again. May be NULL. */
	void (*on_hangup)(struct role *r);
	/* At an upgrade sessions go on beside the new process until they end by themselves, for at
	 * most so many seconds; then, or at once if it is 0, they are drained. */
	unsigned retire_seconds;
	/* What the monitor sends besides configurations, once the role has started. May be NULL. */
	void (*on_link)(struct role *r, const struct ipc_msg *msg);
	/* Ends the sessions of an account, which may log in no more. May be NULL. */
	void (*on_kick)(struct role *r, uint64_t account);
	/* Finish sessions, then call role_finished. The process ends 30 s later all the same. */
	void (*on_drain)(struct role *r);
	/* After the loop ended: close what start opened. May be NULL. */
	void (*stop)(struct role *r);
	/* Verbs of its own ("queue" ...). "status" is answered by the frame, which asks status for
	 * more values. May be NULL. */
	void (*on_admin)(
	    struct role *r, const struct ipc_admin *cmd, const struct admin_request *rq);
	void (*status)(struct role *r, struct strbuf *record); /* ipc_rec_* values; may be NULL */
};

struct role_listener {
	const struct config_listener *cfg; /* of r->cfg; replaced at reload */
	struct tls_context *tls;           /* NULL with TLS_NONE */
	uint64_t accepted, current;
	struct net_addr addr; /* bound */
	struct net_addr last_client;
	int64_t last_time; /* when it came; 0: nobody yet */
};

struct role {
	const struct role_ops *ops;
	struct loop *loop;
	struct config *cfg;
	struct ipc_client *authd; /* NULL with asks_nobody */
	struct limits *limits;
	bool is_draining;
	void *ctx; /* the role's own */
};

int role_main(int argc, char **argv, const struct role_ops *ops);
void role_connection_gone(struct role *r, struct role_listener *l, const struct net_addr *peer);
void role_finished(struct role *r);
/* Ends the process with EXIT_AGAIN, so that whoever started it starts what is installed now; tells
 * that one to do the same with itself. */
void role_restart(struct role *r);
/* What on_reload brings from now on (takes the reference), for a role that reads configurations
 * itself. */
void role_take_config(struct role *r, struct config *cfg);
/* An unrecoverable fault (failed sync): log, stop acknowledging, exit with status 74. */
_Noreturn void role_fail(struct role *r, const struct err *err);
/* A short random id for a session, as in the log: 16 hex digits and a NUL. Loop thread. */
void role_session_id(char out[17]);

#endif
