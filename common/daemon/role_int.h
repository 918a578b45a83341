/* Inside of the role frame. */
#ifndef MS_DAEMON_ROLE_INT_H
#define MS_DAEMON_ROLE_INT_H

#include "common/daemon/keys.h"
#include "common/daemon/role.h"
#include "common/net/listener.h"

struct frame;

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

/* What the monitor has sent of a change. */
struct offer_socket {
	struct list link;
	char address[101];
	uint16_t port;
	int fds[2];
};

struct step;

struct offer {
	struct config *cfg;
	struct strbuf keys; /* the set, wiped when it is used */
	struct list sockets;
	struct step *steps; /* once it is prepared */
	size_t count;
	bool is_prepared;
	struct err err; /* of a message before prepare */
};

/* The process: the role and what the frame keeps beside it. */
struct frame {
	struct role role;
	const char *conf_path; /* NULL: the monitor sends the configuration */
	struct ipc_link *parent;
	struct offer offer;
	struct list bound;
	struct list proxied; /* connections whose PROXY header is awaited */
	size_t proxied_count;
	struct ipc_server *ctl;
	struct timer drain_end, retired, trim;
	struct deferred last_gone; /* of a retiring role's sessions */
	bool is_retiring;
	uint64_t started_ms;
	int exit_status;
	bool has_started, can_probe;
};

/* offer.c */
void offer_init(struct frame *f);
/* A message of a change; false if it is none. Answers prepare and commit. */
bool offer_message(struct frame *f, const struct ipc_msg *msg, const int *fds, size_t fd_count);
void offer_clear(struct frame *f); /* forgets what has not been committed */

/* role_listen.c; f->role.ops->serving, which may be NULL */
struct role_serving {
	/* Matches what the offer's configuration wants with what is bound and what came; all or
	 * nothing. */
	int (*prepare)(struct frame *f, struct offer *o, struct err *err);
	void (*commit)(struct frame *f, struct offer *o);
	void (*abort)(struct offer *o);
	void (*accept)(struct frame *f); /* begin accepting on all */
	void (*close)(struct frame *f);  /* no new connections; sessions go on */
	void (*free)(struct frame *f);
	void (*status)(struct frame *f, const struct admin_request *rq); /* a record of each */
};

/* A connection of a client: counted, then the role's or refused. Owns fd. */
void bound_enter(struct bound *b, int fd, const struct net_addr *client);
void bound_leave(struct bound *b); /* one of b->pub.current has ended */

/* role_proxy.c */
bool proxy_is_expected(const struct role_listener *l, const struct net_addr *peer);
/* Reads the PROXY header, then bound_enter. Owns fd. */
void proxy_wait(struct bound *b, int fd, const struct net_addr *peer);
void proxy_clear(struct frame *f);

/* admin.c */
int ctl_open(struct frame *f, struct err *err);

/* role.c */
int frame_reload(struct frame *f, struct err *err); /* from conf_path */
void frame_session_gone(struct frame *f);           /* a connection has ended */
/* The configuration is now cfg (takes the reference): the first time, everything starts. */
int frame_take_config(struct frame *f, struct config *cfg, struct err *err);

#endif
