/*
 * Guessing passwords is slow: failures are counted by network (IPv4 /24, IPv6 /48) and by account
 * name (whether it exists or not), in slots of ten minutes, so that no hour sees more than the
 * limit. Attempts that are still being verified count as if they would fail; one that has to wait
 * for them is told to wait, not turned away. Time is seconds of any steady clock, given by the
 * caller. Loop thread; memory is bounded, the bucket unused for longest goes first.
 */
#ifndef MS_AUTHD_THROTTLE_H
#define MS_AUTHD_THROTTLE_H

#include "common/base/span.h"

struct throttle;

struct throttle_limits {
	uint64_t per_network, per_account; /* failures an hour */
};

struct throttle_who {
	struct span network, account; /* account: its name in lower case */
	bool is_known; /* logged in to this account from this network within 30 days: failures of
			* others on the account do not count against it */
};

enum throttle_answer { THROTTLE_GO, THROTTLE_WAIT, THROTTLE_STOP };

struct throttle *throttle_new(size_t buckets_max);
void throttle_free(struct throttle *t);
enum throttle_answer throttle_ask(struct throttle *t, const struct throttle_who *who,
    const struct throttle_limits *limits, uint64_t now);
/* Each begin is followed by one end. */
void throttle_begin(struct throttle *t, const struct throttle_who *who, uint64_t now);
void throttle_end(
    struct throttle *t, const struct throttle_who *who, bool is_failure, uint64_t now);

struct throttle_row {
	bool is_network; /* else an account */
	struct span name;
	uint64_t failures; /* in the last hour */
};

/* Those used most recently first. */
void throttle_each(struct throttle *t, uint64_t now,
    void (*fn)(void *arg, const struct throttle_row *row), void *arg);
/* False: nothing was counted for it. */
bool throttle_forget(struct throttle *t, bool is_network, struct span name);
/* Counts so many failures at once: no more is let through for an hour. */
void throttle_block(struct throttle *t, struct span network, uint64_t failures, uint64_t now);
size_t throttle_count(const struct throttle *t); /* buckets */

#endif
