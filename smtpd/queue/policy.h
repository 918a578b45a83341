/*
 * What other domains say about TLS (MTA-STS), kept for as long as they say: rows "s" domain of the
 * queue's environment. The functions run on the writer or a reader thread.
 */
#ifndef MS_SMTPD_QUEUE_POLICY_H
#define MS_SMTPD_QUEUE_POLICY_H

#include "common/db/db.h"

struct queue_sts {
	struct span id;  /* of the DNS record that announced it */
	int64_t fetched; /* seconds since 1970 */
	int64_t expires;
	struct span text; /* the policy */
};

/* ERR_NOT_FOUND: none is kept. */
int queue_sts_get(struct db_txn *txn, struct span domain, struct queue_sts *out, struct err *err);
int queue_sts_put(
    struct db_txn *txn, struct span domain, const struct queue_sts *sts, struct err *err);
/* Takes out at most max of those that have expired. */
int queue_sts_purge(struct db_txn *txn, int64_t now, size_t max, struct err *err);

#endif
