/*
 * web-server: the web admin's own lighttpd, with our ports, our certificate and nothing but our
 * CGI; the system's is never touched. As root it binds the ports and fetches the key from keyd,
 * then becomes the web admin's user, gives all rights away and becomes lighttpd: no byte from the
 * network is read as root.
 */
#ifndef MS_WEBADMIN_SERVER_SERVER_H
#define MS_WEBADMIN_SERVER_SERVER_H

#include "common/base/err.h"
#include "common/base/strbuf.h"
#include "common/config/config.h"

#include <netinet/in.h>

#define WEB_PLACES 2  /* IPv4, IPv6 */
#define WEB_SOCKETS 4 /* HTTPS and HTTP of each */

/* Where it listens: addresses as lighttpd writes them ("0.0.0.0", "[::]"), sockets that are bound.
 */
struct places {
	char text[WEB_PLACES][INET6_ADDRSTRLEN + 2];
	size_t count;
	int fds[WEB_SOCKETS]; /* above descriptor 9, close-on-exec */
	size_t fd_count;
};

/* listen.c: binds what web.address, web.port and web.http_port say. The error names the port. An
 * IPv6 that this machine lacks is left out. */
int places_bind(const struct config *cfg, struct places *p, struct err *err);
/* The sockets as descriptors 3 and up of this process, said in LISTEN_FDS, for the program that it
 * becomes. */
int places_hand_on(const struct places *p, struct err *err);

/* conf.c: lighttpd's configuration. pem is the file with chain and key. */
int conf_write(const struct config *cfg, const struct places *p, const char *pem, struct strbuf *b,
    struct err *err);

#endif
