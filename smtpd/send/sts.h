/*
 * The MTA-STS policies of other domains (RFC 8461): the record in DNS says whether there is one and
 * when it changes, smtpd-fetch gets it, the queue's environment keeps it for its max_age. Loop
 * thread.
 */
#ifndef MS_SMTPD_SEND_STS_H
#define MS_SMTPD_SEND_STS_H

#include "common/mail/mta_sts.h"

struct send;
struct sts_query;

/* Why there is no new one, although DNS announces it. */
enum sts_fault {
	STS_FAULT_NONE,
	STS_FAULT_FETCH,   /* nothing came */
	STS_FAULT_TRUST,   /* the web server's certificate */
	STS_FAULT_INVALID, /* what came is no policy */
};

/* What is known of a domain; shared, never changed. */
struct sts {
	unsigned refs;
	struct sts_policy policy; /* mode none: no policy, or one that says so */
	bool is_there;            /* one was found */
	char id[STS_ID_MAX + 1];  /* with which DNS announced it */
	int64_t fetched, expires; /* seconds since 1970 */
	enum sts_fault fault;
	char why[240];
	char *text; /* of the policy */
};

struct sts *sts_ref(struct sts *sts);
void sts_unref(struct sts *sts); /* NULL is fine */

/*
 * on_sts comes once, never from inside; it takes a reference if it keeps what it gets. What is
 * known is believed for a minute, and after a fault for five (RFC 8461 section 3.3), unless
 * is_anew. domain in A-labels.
 */
struct sts_query *sts_ask(struct send *s, const char *domain, bool is_anew,
    void (*on_sts)(void *arg, struct sts *sts), void *arg);
void sts_cancel(struct sts_query *q);

/* The end: nobody asks any more. */
void sts_stop(struct send *s);

#endif
