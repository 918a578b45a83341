/* Inside of the role frame. */
#ifndef MS_DAEMON_ROLE_INT_H
#define MS_DAEMON_ROLE_INT_H

#include "common/daemon/role.h"
#include "common/net/listener.h"

/* A listener of the configuration with its sockets (two for "*": IPv6 and IPv4). */
struct bound {
	struct list link;
	struct frame *frame;
	struct role_listener pub;
	struct config *cfg; /* pub.cfg points into it */
	int fds[2];
	struct listener *listeners[2];
	bool is_removed; /* waits for its last session */
};

/* The process: the role and what the frame keeps beside it. */
struct frame {
	struct role role;
	char *conf_path;
	struct list bound;
	struct ipc_server *ctl;
	struct timer drain_end;
	uint64_t started_ms;
	int exit_status;
	bool has_started;
};

/* role_listen.c */
/* Binds what cfg wants and is not bound yet, takes over what is; all or nothing. */
int bound_apply(struct frame *f, struct config *cfg, struct err *err);
void bound_accept(struct frame *f); /* begin accepting on all */
void bound_close(struct frame *f);  /* no new connections; sessions go on */
void bound_free(struct frame *f);

/* admin.c */
int ctl_open(struct frame *f, struct err *err);

/* role.c */
int frame_reload(struct frame *f, struct err *err);

#endif
