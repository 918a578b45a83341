/*
 * The PROXY protocol, versions 1 and 2: a load balancer says, before anything else, for whom it
 * connects. Pure; any split of the input gives the same result. Whether the peer may be believed is
 * the caller's question.
 */
#ifndef MS_NET_PROXY_H
#define MS_NET_PROXY_H

#include "common/net/addr.h"

#define PROXY_HEADER_MAX (16 + 2048) /* of version 2 with its extensions; version 1 has 107 */

/*
 * Bytes of the header at the start of in; 0: not complete yet; -1: ERR_INVALID, it is none. *client
 * is the address it names, untouched if it names none (LOCAL, UNKNOWN, unix sockets): then the
 * connection is the peer's own.
 */
ssize_t proxy_parse(struct span in, struct net_addr *client, struct err *err);

#endif
