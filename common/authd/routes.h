/*
 * Routes: the servers that take mail for everything ("all"), for a recipient's domain
 * ("to:DOMAIN") or for a sender's ("from:DOMAIN"), in that order from the most general to the most
 * exact, with their passwords. A scope's relays are one row: version and what ipc_enc_relay writes.
 * Loop thread.
 */
#ifndef MS_AUTHD_ROUTES_H
#define MS_AUTHD_ROUTES_H

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/strbuf.h"
#include "common/ipc/msg.h"

#include <sys/types.h>

struct routes {
	struct hash *scopes; /* scope -> struct route */
	size_t from_count;   /* of scopes "from:..." */
	uid_t asker;         /* who alone may see passwords */
	bool has_asker;
};

struct route {
	struct span scope;
	struct span row; /* relays; wiped when it goes */
	uint32_t count;
};

void routes_init(struct routes *r);
void routes_clear(struct routes *r);
/* A row that was put, or removed (row.p NULL). */
int routes_apply(struct routes *r, struct span scope, struct span row, struct err *err);
const struct route *routes_get(const struct routes *r, struct span scope);
/* What ipc_dec_route reads: the answer for mail from there to there. */
void routes_answer(const struct routes *r, const struct ipc_route_ask *ask, struct strbuf *out);

#endif
