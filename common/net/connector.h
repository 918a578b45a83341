/* Connecting to another machine without waiting for it. Loop thread. */
#ifndef MS_NET_CONNECTOR_H
#define MS_NET_CONNECTOR_H

#include "common/event/loop.h"
#include "common/net/addr.h"

struct connector;

/*
 * Begins. on_done comes once, never from inside: with a connected non-blocking descriptor that is
 * the callee's, or with -1 and why (ERR_TIMEOUT after ms). from NULL: the system chooses. The
 * connector is gone then.
 */
struct connector *connector_new(struct loop *loop, const struct net_addr *to,
    const struct net_addr *from, uint64_t ms,
    void (*on_done)(void *arg, int fd, const struct err *why), void *arg);
void connector_free(struct connector *c); /* before on_done: it does not come; NULL is fine */

#endif
