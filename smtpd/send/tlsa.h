/* The TLSA records of a host (RFC 7672 section 2.2): asked for by delivery and by probe. */
#ifndef MS_SMTPD_SEND_TLSA_H
#define MS_SMTPD_SEND_TLSA_H

#include "common/dns/dns.h"

/* Records, to be kept behind the answer. */
struct tlsa_set {
	size_t count;
	bool is_usable; /* one of them at least says what a certificate must be */
	struct span records[DNS_RECORDS_MAX]; /* RDATA, in memory */
	char *memory;
};

void tlsa_clear(struct tlsa_set *t);

struct tlsa_found {
	bool has_failed; /* they cannot be known now: this host must not be used (2.1.2) */
	char why[DNS_NAME_MAX + 200];
	struct tlsa_set set;         /* empty: there are none; the callee's to take over */
	char base[DNS_NAME_MAX + 1]; /* the name they stand at, without port and protocol */
};

struct tlsa_query;

/*
 * At canonical, the host's name behind CNAMEs, else at host itself, which is the MX record's; both
 * proven by DNSSEC. on_done comes once, never from inside.
 */
struct tlsa_query *tlsa_ask(struct dns *dns, const char *canonical, const char *host, uint16_t port,
    void (*on_done)(void *arg, struct tlsa_found *f), void *arg);
void tlsa_cancel(struct tlsa_query *q);

/* Without the dot at the end. */
void tlsa_base_name(char out[DNS_NAME_MAX + 1], const char *name);

#endif
