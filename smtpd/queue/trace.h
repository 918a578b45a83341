/*
 * What became of each message, kept for a while: a ring of records in the queue's environment, in
 * the order in which things happened. Written inside of transactions that are made anyway. The
 * functions run on the writer or a reader thread.
 */
#ifndef MS_SMTPD_QUEUE_TRACE_H
#define MS_SMTPD_QUEUE_TRACE_H

#include "common/config/config.h"
#include "common/db/db.h"

enum trace_event {
	TRACE_ACCEPTED = 1,  /* 250: it is ours */
	TRACE_REFUSED = 2,   /* text is the reply */
	TRACE_DELIVERED = 3, /* into a mailbox */
	TRACE_DEFERRED = 4,  /* tried again later; text says why */
	TRACE_FAILED = 5,    /* given up */
	TRACE_REMOVED = 6,   /* by the administrator */
	TRACE_SENT = 7,      /* taken by another server; text is its reply */
	TRACE_FORWARDED = 8, /* to an address on another server */
};

#define TRACE_TO_MAX 1000 /* bytes of recipients in a record of several */

struct trace_record {
	uint64_t number; /* order; given by trace_add */
	int64_t time;    /* seconds since 1970 */
	enum trace_event event;
	uint64_t qid, size; /* 0: none */
	struct span session, client, from, to, text;
	struct span server; /* that was spoken to; empty: none */
	struct span tls;    /* how: version, cipher and by which rule; "none"; empty: nobody was */
};

struct trace_limits {
	uint64_t records_max; /* 0: nothing is kept */
	uint64_t seconds;
};

struct trace_limits trace_limits_of(const struct config *cfg);
const char *trace_event_name(enum trace_event e);

/* Adds r, and takes out a few that are too many or too old. */
int trace_add(
    struct db_txn *txn, const struct trace_limits *l, struct trace_record *r, struct err *err);
/*
 * From the newest before number (0: of all) back, at most max of them; fn gives false to stop.
 * *next is where to go on, 0 at the end.
 */
int trace_back(struct db_txn *txn, uint64_t before, size_t max,
    bool (*fn)(void *arg, const struct trace_record *r), void *arg, uint64_t *next,
    struct err *err);

#endif
