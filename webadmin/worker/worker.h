/*
 * web-worker: runs the web admin's own lighttpd, with the ports and the certificate that the
 * monitor hands on and nothing but our CGI; the system's is never touched. It is the web admin's
 * user, has no right at all, and reads no byte from the network itself.
 *
 * After a change a new lighttpd takes over the sockets while the old one finishes its requests, so
 * that nobody is refused.
 */
#ifndef MS_WEBADMIN_WORKER_WORKER_H
#define MS_WEBADMIN_WORKER_WORKER_H

#include "common/daemon/role.h"

#include <netinet/in.h>

#define WEB_PLACES 2  /* IPv4, IPv6 */
#define WEB_SOCKETS 4 /* HTTPS and HTTP of each */

/* Where it listens: addresses as lighttpd writes them ("0.0.0.0", "[::]"), and the sockets. */
struct places {
	char text[WEB_PLACES][INET6_ADDRSTRLEN + 2];
	size_t count;
	int fds[WEB_SOCKETS]; /* borrowed */
	size_t fd_count;
};

/* conf.c: lighttpd's configuration. pem is the file with chain and key. */
int conf_write(const struct config *cfg, const struct places *p, const char *pem, struct strbuf *b,
    struct err *err);

/* server.c: lighttpd as a child. */
struct server;
struct server_ops {
	/* The one that serves has ended by itself: why, for the log. */
	void (*on_death)(void *arg, const char *how);
	/* The last one has ended, after server_finish. */
	void (*on_finished)(void *arg);
};

struct server *server_new(struct loop *loop, const struct server_ops *ops, void *arg);
/* Starts lighttpd with this file and these sockets; the one before finishes its requests. */
int server_start(struct server *s, const char *lighttpd, const char *conf, const struct places *p,
    struct err *err);
/* It finishes its requests; nothing serves then. */
void server_stop(struct server *s);
/* The same, and on_finished comes when all have ended, perhaps from inside. */
void server_finish(struct server *s);
bool server_is_running(const struct server *s);
void server_free(struct server *s); /* ends all of them now */

#endif
