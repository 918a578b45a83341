/* How well connections to a domain are to be protected: settings, rules, TLSA records (RFC 7672),
 * MTA-STS policies (RFC 8461). */
#ifndef MS_SMTPD_SEND_TLS_POLICY_H
#define MS_SMTPD_SEND_TLS_POLICY_H

#include "common/config/config.h"
#include "common/ipc/msg.h"
#include "smtpd/send/sts.h"
#include "smtpd/send/tlsa.h"

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
	bool uses_sts;  /* the same of an MTA-STS policy, where there are no TLSA records */
	bool is_rule;   /* outbound.tls_rules has said so, not outbound.tls */
};

/* The most exact rule of outbound.tls_rules, else outbound.tls. domain in A-labels. */
void tls_policy_of(const struct config *cfg, const char *domain, struct tls_policy *out);
const char *out_tls_name(enum out_tls s);

enum tls_source { TLS_BY_SETTING, TLS_BY_RULE, TLS_BY_ROUTE, TLS_BY_DANE, TLS_BY_STS };

/* What holds for one host of a domain, and why. */
struct host_tls {
	enum out_tls stance;
	enum tls_source source;
	bool is_refused; /* the domain's MTA-STS policy does not name it */
	bool is_unnamed; /* the same of one that is only being tested */
	bool is_trial;   /* verified if that works, because such a policy asks for it; else as the
			    stance says */
};

/*
 * sts NULL: there is no policy. tlsa: what was found, proven by DNSSEC; where one of them is
 * usable, no policy may say otherwise (RFC 8461 section 2).
 */
void tls_of_host(const struct tls_policy *p, const struct sts *sts, const struct tlsa_set *tlsa,
    const char *host, struct host_tls *out);
void tls_of_relay(enum relay_tls tls, struct host_tls *out);
const char *tls_source_name(enum tls_source s);

#endif
