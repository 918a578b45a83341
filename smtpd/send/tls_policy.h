/* How well connections to a domain are to be protected: settings, rules, TLSA records (RFC 7672).
 */
#ifndef MS_SMTPD_SEND_TLS_POLICY_H
#define MS_SMTPD_SEND_TLS_POLICY_H

#include "common/config/config.h"
#include "common/dns/dns.h"
#include "common/ipc/msg.h"

/* From the weakest to the strongest. */
enum out_tls {
	OUT_TLS_NONE,
	OUT_TLS_OPPORTUNISTIC, /* what can be had, else in the clear; nothing is verified */
	OUT_TLS_REQUIRED,      /* with any certificate */
	OUT_TLS_VERIFIED,      /* by an authority, for the host's name */
	OUT_TLS_DANE,          /* by TLSA records; if none is usable, with any certificate */
};

struct tls_policy {
	enum out_tls stance;
	bool uses_dane; /* if TLSA records are published, they hold */
	bool is_rule;   /* outbound.tls_rules has said so, not outbound.tls */
};

/* The most exact rule of outbound.tls_rules, else outbound.tls. domain in A-labels. */
void tls_policy_of(const struct config *cfg, const char *domain, struct tls_policy *out);
enum out_tls out_tls_of_relay(enum relay_tls tls);
const char *out_tls_name(enum out_tls s);
/* Without the dot at the end. */
void tls_base_name(char out[DNS_NAME_MAX + 1], const char *name);

/* TLSA records of a host, to be kept behind the answer. */
struct tlsa_set {
	size_t count;
	struct span records[DNS_RECORDS_MAX]; /* RDATA, in memory */
	char *memory;
};

void tlsa_take(struct tlsa_set *t, const struct dns_answer *a); /* t is empty */
void tlsa_clear(struct tlsa_set *t);

#endif
