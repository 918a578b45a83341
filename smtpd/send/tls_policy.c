#include "smtpd/send/tls_policy.h"

#include "common/base/mem.h"

#include <stdio.h>
#include <string.h>

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
}

enum out_tls out_tls_of_relay(enum relay_tls tls)
{
	switch (tls) {
	case RELAY_TLS_NONE:
		return OUT_TLS_NONE;
	case RELAY_TLS_OPPORTUNISTIC:
		return OUT_TLS_OPPORTUNISTIC;
	case RELAY_TLS_REQUIRED:
		return OUT_TLS_REQUIRED;
	default:
		return OUT_TLS_VERIFIED;
	}
}

void tls_base_name(char out[DNS_NAME_MAX + 1], const char *name)
{
	size_t n = strlen(name);

	if (n > 0 && name[n - 1] == '.')
		n--;
	snprintf(out, DNS_NAME_MAX + 1, "%.*s", (int)n, name);
}

void tlsa_take(struct tlsa_set *t, const struct dns_answer *a)
{
	size_t total = 1;
	char *p;

	for (size_t i = 0; i < a->count; i++)
		total += a->records[i].n;
	p = t->memory = mem_alloc(total);
	for (size_t i = 0; i < a->count; i++) {
		memcpy(p, a->records[i].p, a->records[i].n);
		t->records[t->count++] = span_make(p, a->records[i].n);
		p += a->records[i].n;
	}
}

void tlsa_clear(struct tlsa_set *t)
{
	mem_free(t->memory);
	*t = (struct tlsa_set){0};
}
