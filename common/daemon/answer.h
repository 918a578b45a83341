/* Answers of the admin plane. Loop thread. */
#ifndef MS_DAEMON_ANSWER_H
#define MS_DAEMON_ANSWER_H

#include "common/base/err.h"
#include "common/config/config.h"
#include "common/ipc/ipc.h"

/* A running command of the admin plane. Records, then one end. */
struct admin_request {
	struct ipc_server *server;
	struct ipc_peer peer;
	uint32_t id;
};

void admin_record(const struct admin_request *rq, const struct strbuf *record);
void admin_end(const struct admin_request *rq, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Whether a peer is a program of ours: it has the uid that owns <run>/<program>. */
bool peer_is(const struct config *cfg, const struct ipc_peer *peer, const char *program);
/* Whether a peer of a control socket may ask: authd (it owns <run>/authd), root, or who has our own
 * uid. */
bool admin_may(const struct config *cfg, const struct ipc_peer *peer);
/* Of a listener what the configuration says: its name, where it is, its role and its TLS. */
void admin_listener(struct strbuf *record, const struct config_listener *l);
/* What every process says of itself: process, pid, uid, uptime (s), memory. */
void admin_process(struct strbuf *record, const char *name, uint64_t started_ms);

#endif
