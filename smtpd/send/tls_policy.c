#include "smtpd/send/tls_policy.h"

#include "common/base/mem.h"

static const char *const names[] = {[OUT_TLS_NONE] = "none",
    [OUT_TLS_OPPORTUNISTIC] = "opportunistic",
    [OUT_TLS_REQUIRED] = "required",
    [OUT_TLS_VERIFIED] = "verified",
    [OUT_TLS_DANE] = "dane"};

const char *out_tls_name(enum out_tls s)
{
	return names[s];
}

/* The validator of settings lets nothing else pass. */
static enum out_tls stance_of(struct span word)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (span_eq(word, span_of(names[i])))
			return (enum out_tls)i;
	return OUT_TLS_VERIFIED;
}

/* How exactly the pattern names the domain: its length; 0: not at all. */
static size_t exactness(struct span pattern, struct span domain)
{
	if (pattern.n == 0 || pattern.n > domain.n)
		return 0;
	if (pattern.p[0] != '.')
		return span_ieq(pattern, domain) ? pattern.n + 1 : 0;
	return pattern.n < domain.n && span_ieq(pattern, span_from(domain, domain.n - pattern.n))
		   ? pattern.n
		   : 0;
}

void tls_policy_of(const struct config *cfg, const char *domain, struct tls_policy *out)
{
	struct span rules = span_of(config_str(cfg, SET_OUTBOUND_TLS_RULES));
	struct span rule;
	size_t best = 0;

	out->stance = stance_of(span_of(config_str(cfg, SET_OUTBOUND_TLS)));
	out->is_rule = false;
	while (config_list_next(&rules, &rule)) {
		ssize_t at = span_chr(rule, '=');
		size_t n = at < 0 ? 0 : exactness(span_sub(rule, 0, (size_t)at), span_of(domain));

		if (n <= best)
			continue;
		best = n;
		out->stance = stance_of(span_from(rule, (size_t)at + 1));
		out->is_rule = true;
	}
	/* Whoever names a domain to be sent to without means it, also against its records. */
	out->uses_dane = out->stance >= OUT_TLS_REQUIRED ||
			 (out->stance == OUT_TLS_OPPORTUNISTIC && !out->is_rule);
	out->uses_sts = out->uses_dane && out->stance != OUT_TLS_DANE;
}

const char *tls_source_name(enum tls_source s)
{
	static const char *const sources[] = {[TLS_BY_SETTING] = "outbound.tls",
	    [TLS_BY_RULE] = "outbound.tls_rules",
	    [TLS_BY_ROUTE] = "route",
	    [TLS_BY_DANE] = "DANE",
	    [TLS_BY_STS] = "MTA-STS"};

	return sources[s];
}

static void apply_sts(const struct sts *sts, const char *host, struct host_tls *out)
{
	bool is_named = sts_policy_allows(&sts->policy, span_of(host));

	if (sts->policy.mode == STS_TESTING) {
		out->is_unnamed = !is_named;
		out->is_trial = is_named && out->stance < OUT_TLS_VERIFIED;
		return;
	}
	out->is_refused = !is_named;
	if (out->stance < OUT_TLS_VERIFIED) {
		out->stance = OUT_TLS_VERIFIED;
		out->source = TLS_BY_STS;
	}
}

void tls_of_host(const struct tls_policy *p, const struct sts *sts, const struct tlsa_set *tlsa,
    const char *host, struct host_tls *out)
{
	*out = (struct host_tls){
	    .stance = p->stance, .source = p->is_rule ? TLS_BY_RULE : TLS_BY_SETTING};
	if (p->uses_dane && tlsa->count > 0 && tlsa->is_usable) {
		out->stance = OUT_TLS_DANE;
		out->source = TLS_BY_DANE;
		return;
	}
	/* RFC 7672 section 2.2: records of which none is usable ask for TLS, and no more. */
	if (p->uses_dane && tlsa->count > 0 && out->stance < OUT_TLS_REQUIRED) {
		out->stance = OUT_TLS_REQUIRED;
		out->source = TLS_BY_DANE;
	}
	if (sts && p->uses_sts && sts->policy.mode != STS_NONE)
		apply_sts(sts, host, out);
}

void tls_of_relay(enum relay_tls tls, struct host_tls *out)
{
	static const enum out_tls stances[] = {[RELAY_TLS_VERIFIED] = OUT_TLS_VERIFIED,
	    [RELAY_TLS_REQUIRED] = OUT_TLS_REQUIRED,
	    [RELAY_TLS_OPPORTUNISTIC] = OUT_TLS_OPPORTUNISTIC,
	    [RELAY_TLS_NONE] = OUT_TLS_NONE};

	*out = (struct host_tls){.stance = stances[tls], .source = TLS_BY_ROUTE};
}
