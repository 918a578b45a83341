/*
 * What a service manager (systemd) is told over NOTIFY_SOCKET, and what it keeps for us: "ready",
 * "stopping", signs of life if it wants them, and listening sockets in its FD store, so that a
 * monitor that ends and is started again finds them open. Everything does nothing where there is no
 * such socket. One per process; loop thread.
 */
#ifndef MS_DAEMON_NOTIFY_H
#define MS_DAEMON_NOTIFY_H

#include "common/event/loop.h"
#include "common/net/addr.h"

/* Takes what is in the environment and removes it there. */
void notify_open(struct loop *loop);
void notify_ready(void);
void notify_stopping(void);
/* A listening socket that shall be kept, and one that need not any more. */
void notify_keep(const struct net_addr *addr, int fd);
void notify_forget(const struct net_addr *addr);
/* Puts NOTIFY_SOCKET back, for the program that we become. */
void notify_close(void);

/*
 * Listening sockets that were open before this process began: from the FD store, or from the
 * program we were. parked_take gives the one that is bound to addr, or -1; parked_close closes the
 * others.
 */
void parked_open(void); /* LISTEN_FDS */
void parked_add(int fd);
int parked_take(const struct net_addr *addr);
int parked_take_path(const char *path); /* of a unix socket */
void parked_close(void);

#endif
