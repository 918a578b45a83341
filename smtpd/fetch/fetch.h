/*
 * smtpd-fetch: gets the policies (MTA-STS, RFC 8461) that other domains publish on their web
 * servers. It has the network and nothing else: no queue, no store, no state, and nobody that it
 * may ask. smtpd-send asks it, with the addresses that it found, and keeps what comes back.
 */
#ifndef MS_SMTPD_FETCH_FETCH_H
#define MS_SMTPD_FETCH_FETCH_H

#include "common/daemon/role.h"

#define FETCHES_MAX 256
#define FETCH_MS 45000 /* for all of it: connecting, TLS, the answer */

struct fetcher {
	struct role *role;
	struct ipc_server *server;
	struct list running; /* struct fetch */
	size_t count;
	struct tls_context *tls; /* while something is fetched: authorities take memory */
	uint64_t fetched, failed;
};

/* Answers the request with what came of it; fewer than FETCHES_MAX run. */
void fetch_start(
    struct fetcher *f, const struct ipc_peer *peer, uint32_t id, const struct ipc_policy_ask *ask);
void fetch_stop_all(struct fetcher *f); /* nobody is answered any more */

#endif
