/*
 * Listening sockets. Accepts up to 64 connections a turn; at EMFILE or ENFILE it answers through a
 * reserve descriptor and pauses for 100 ms instead of spinning.
 */
#ifndef MS_NET_LISTENER_H
#define MS_NET_LISTENER_H

#include "common/event/loop.h"
#include "common/net/addr.h"

struct listener;

/* Binds and listens (SO_REUSEADDR, IPV6_V6ONLY, backlog 1024, CLOEXEC, non-blocking). addr->port 0
 * lets the kernel pick. Returns the descriptor or -1. */
int listen_tcp(const struct net_addr *addr, struct err *err);
/* The same where one of our own sockets, that is about to be closed, has the port on an address
 * that overlaps: "*" becomes 192.0.2.1, or the other way round. Both exist for a while. */
int listen_tcp_beside(const struct net_addr *addr, const int *ours, size_t count, struct err *err);

/* The same for a unix socket at an absolute path: any local user may connect, as to a TCP port of
 * this machine. A socket that nobody listens on any more is replaced. */
int listen_unix(const char *path, struct err *err);

/* Takes the descriptor over. on_accept owns the accepted descriptor (non-blocking, CLOEXEC,
 * TCP_NODELAY). full_reply is written to clients that find no descriptor ("421 ...\r\n"). */
struct listener *listener_new(struct loop *loop, int fd, struct span full_reply,
    void (*on_accept)(void *arg, int fd, const struct net_addr *peer), void *arg);
void listener_free(struct listener *l); /* closes the socket */
void listener_pause(struct listener *l);
void listener_resume(struct listener *l);
int listener_fd(const struct listener *l);
/* The bound address (the port that the kernel picked). */
const struct net_addr *listener_addr(const struct listener *l);

#endif
