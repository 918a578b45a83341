/* tls-rule ...: the setting outbound.tls_rules, a rule at a time. */
#include "common/authd/args.h"
#include "common/base/mem.h"

#include <stdio.h>
#include <string.h>

#define RULES_MAX 4000 /* bytes, as the setting's */

struct edit {
	struct span words[2]; /* of "set" */
	char text[RULES_MAX + 1];
};

/* "example.com", ".example.com" for all below; in A-labels. */
static bool take_domain(struct call *call, char out[MAIL_DOMAIN_MAX + 2])
{
	struct span word = call->args[0];
	struct err err = ERR_INIT;
	bool is_below = span_take_chr(&word, '.');
	size_t n;

	out[0] = '.';
	if (name_domain(word, out + is_below, &n, &err) == 0)
		return true;
	call_fail_err(call, &err);
	return false;
}

static bool is_rule_of(struct span rule, const char *domain)
{
	ssize_t at = span_chr(rule, '=');

	return at >= 0 && span_ieq(span_sub(rule, 0, (size_t)at), span_of(domain));
}

/* The rules but the domain's; how many of its there were. */
static size_t copy_others(struct call *call, const char *domain, struct strbuf *out)
{
	struct span rules = span_of(config_str(call->a->cfg, SET_OUTBOUND_TLS_RULES));
	struct span rule;
	size_t found = 0;

	while (config_list_next(&rules, &rule)) {
		if (is_rule_of(rule, domain)) {
			found++;
			continue;
		}
		strbuf_addf(out, "%s%.*s", out->n > 0 ? ", " : "", SPAN_FMT(rule));
	}
	return found;
}

/* The same as "set outbound.tls_rules TEXT", with all that this looks at. */
static void set_rules(struct call *call, const struct strbuf *rules)
{
	struct edit *e;

	if (rules->failed) {
		call_fail(call, ERR_LIMIT, "too many rules");
		return;
	}
	e = mem_zalloc(sizeof(*e));
	memcpy(e->text, rules->p, rules->n);
	e->words[0] = SPAN("outbound.tls_rules");
	e->words[1] = span_make(e->text, rules->n);
	call->arg = e;
	call->arg_n = sizeof(*e);
	call->args = e->words;
	call->arg_count = 2;
	verb_set(call);
}

void verb_tls_rule_add(struct call *call)
{
	char domain[MAIL_DOMAIN_MAX + 2];
	struct span rule = call->args[1];
	struct strbuf rules;

	if (!take_domain(call, domain))
		return;
	if (!span_eq(rule, SPAN("none")) && !span_eq(rule, SPAN("opportunistic")) &&
	    !span_eq(rule, SPAN("required")) && !span_eq(rule, SPAN("verified")) &&
	    !span_eq(rule, SPAN("dane"))) {
		call_fail(
		    call, ERR_INVALID, "a rule is none, opportunistic, required, verified or dane");
		return;
	}
	strbuf_init(&rules, RULES_MAX);
	(void)copy_others(call, domain, &rules);
	strbuf_addf(&rules, "%s%s=%.*s", rules.n > 0 ? ", " : "", domain, SPAN_FMT(rule));
	set_rules(call, &rules);
	strbuf_clear(&rules);
}

void verb_tls_rule_remove(struct call *call)
{
	char domain[MAIL_DOMAIN_MAX + 2];
	struct strbuf rules;

	if (!take_domain(call, domain))
		return;
	strbuf_init(&rules, RULES_MAX);
	if (copy_others(call, domain, &rules) == 0)
		call_fail(call, ERR_NOT_FOUND, "%s has no rule", domain);
	else
		set_rules(call, &rules);
	strbuf_clear(&rules);
}

void verb_tls_rule_list(struct call *call)
{
	struct span rules = span_of(config_str(call->a->cfg, SET_OUTBOUND_TLS_RULES));
	struct span rule;

	while (config_list_next(&rules, &rule)) {
		struct span domain;
		struct strbuf b;

		(void)span_split(&rule, '=', &domain);
		strbuf_init(&b, 1024);
		ipc_rec_text(&b, "domain", domain);
		ipc_rec_text(&b, "tls", rule);
		call_record(call, &b);
	}
	call_ok(call, "%s", "");
}
