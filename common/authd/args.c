#include "common/authd/args.h"

#include "common/authd/login.h"
#include "common/base/mem.h"

#include <string.h>

struct account *arg_account(struct call *call, uint32_t i)
{
	char text[NAME_TEXT_MAX + 1];
	struct account *acc;
	struct err err = ERR_INIT;
	struct name nm;

	if (name_parse(&nm, call->args[i], &err) < 0) {
		call_fail_err(call, &err);
		return NULL;
	}
	acc = index_account(&call->a->index, span_make(text, name_format(&nm, text)));
	if (!acc)
		call_fail(call, ERR_NOT_FOUND, "no such account: %s", text);
	return acc;
}

struct account *arg_own_account(struct call *call)
{
	struct account *acc = index_number(&call->a->index, call->account);

	if (!acc)
		call_fail(call, ERR_DENIED, "log in first");
	return acc;
}

bool arg_new_address(struct call *call, struct span arg, bool is_alias, struct name *nm,
    char text[NAME_TEXT_MAX + 1])
{
	const struct index *ix = &call->a->index;
	const char *separators = config_str(call->a->cfg, SET_ADDRESS_SEPARATOR);
	struct err err = ERR_INIT;
	struct span key;

	if (name_parse(nm, arg, &err) < 0) {
		call_fail_err(call, &err);
		return false;
	}
	key = span_make(text, name_format(nm, text));
	if (!index_domain(ix, name_domain_span(nm)))
		call_fail(call, ERR_NOT_FOUND, "%s is not one of our domains: add it first",
		    nm->domain_n > 0 ? nm->domain : text);
	else if (index_account(ix, key))
		call_fail(call, ERR_EXISTS, "there is an account %s", text);
	else if (index_alias(ix, key))
		call_fail(call, ERR_EXISTS, "there is an alias %s", text);
	else if (!is_alias && nm->local_n > 1 && strpbrk(nm->local + 1, separators))
		call_fail(call, ERR_INVALID, "%s is a subaddress: address.separator is \"%s\"",
		    text, separators);
	else
		return true;
	return false;
}

struct target_search {
	struct resolver rv;
	const struct account *acc;
	const struct alias *al, *found;
};

static void search_targets(struct span key, void *value, void *arg)
{
	struct target_search *s = arg;
	const struct alias *al = value;

	for (uint32_t i = 0; i < al->count && !s->found; i++) {
		struct found f;
		struct name nm;

		if (name_parse(&nm, al->targets[i], NULL) < 0)
			continue;
		resolve_step(&s->rv, &nm, &f);
		if ((s->acc && f.account == s->acc) || (s->al && f.alias == s->al))
			s->found = al;
	}
}

bool arg_is_target(struct call *call, const struct account *acc, const struct alias *al)
{
	struct target_search s = {.rv = authd_resolver(call->a), .acc = acc, .al = al};

	hash_each(call->a->index.aliases, search_targets, &s);
	if (!s.found)
		return false;
	call_fail(call, ERR_BUSY, "the alias %.*s points to it: change that first",
	    SPAN_FMT(s.found->address));
	return true;
}

bool arg_bool(struct call *call, uint32_t i, bool *out)
{
	*out = span_eq(call->args[i], SPAN("yes"));
	if (*out || span_eq(call->args[i], SPAN("no")))
		return true;
	call_fail(call, ERR_INVALID, "expected yes or no");
	return false;
}

static unsigned suffix_shift(struct span *s)
{
	switch (s->n > 0 ? ascii_upper(s->p[s->n - 1]) : 0) {
	case 'K':
		s->n--;
		return 10;
	case 'M':
		s->n--;
		return 20;
	case 'G':
		s->n--;
		return 30;
	default:
		return 0;
	}
}

bool arg_amount(struct call *call, uint32_t i, bool is_bytes, uint64_t *out)
{
	struct span s = call->args[i];
	unsigned shift = is_bytes ? suffix_shift(&s) : 0;
	uint64_t v = 0;

	if (!span_eq(call->args[i], SPAN("none")) &&
	    !span_u64(s, ((uint64_t)1 << 50) >> shift, &v)) {
		call_fail(call, ERR_INVALID, "expected a number%s or none",
		    is_bytes ? " of bytes (like 500M or 2G)" : "");
		return false;
	}
	*out = v << shift;
	return true;
}

bool arg_protocols(struct call *call, uint32_t i, uint32_t allowed, uint32_t *out)
{
	struct span rest = call->args[i];
	struct span word;

	*out = 0;
	if (span_eq(rest, SPAN("none")))
		return true;
	while (span_split(&rest, ',', &word)) {
		uint32_t bit = protocol_bit(word);

		if ((bit & allowed) == 0) {
			char text[32];

			protocols_text(allowed, text);
			call_fail(call, ERR_INVALID, "expected some of %s", text);
			return false;
		}
		*out |= bit;
	}
	return true;
}

static bool list_args(struct call *call, struct span *domain, struct span *after)
{
	uint32_t i = 0;

	*domain = *after = span_of(NULL);
	if (i < call->arg_count && !span_eq(call->args[i], SPAN("--after")))
		*domain = call->args[i++];
	if (i + 1 < call->arg_count && span_eq(call->args[i], SPAN("--after"))) {
		*after = call->args[i + 1];
		i += 2;
	}
	return i == call->arg_count;
}

static bool is_in_domain(struct span address, struct span domain)
{
	ssize_t at = span_rchr(address, '@');

	return !domain.p || (at >= 0 && span_ieq(span_from(address, (size_t)at + 1), domain));
}

bool list_each(struct call *call, struct hash *h, struct span (*address)(const void *p),
    void (*show)(struct call *call, const void *p), bool *are_more)
{
	struct span domain, after;
	size_t n, shown = 0;
	void **all;

	if (!list_args(call, &domain, &after)) {
		struct err err = ERR_INIT;

		verb_usage(call->verb, &err);
		call_fail_err(call, &err);
		return false;
	}
	all = index_sorted(h, &n);
	for (size_t i = 0; i < n; i++) {
		struct span a = address(all[i]);

		if (!is_in_domain(a, domain) || (after.p && span_cmp(a, after) <= 0))
			continue;
		/* More would not fit into what may wait for a client. */
		if (shown++ == LIST_PAGE)
			break;
		show(call, all[i]);
	}
	mem_free(all);
	*are_more = shown > LIST_PAGE;
	return true;
}

void list_end(struct call *call, bool are_more)
{
	call_ok(call, "%s", are_more ? "there are more: go on with --after" : "");
}

void list_addresses(struct call *call, struct hash *h, struct span (*address)(const void *p),
    void (*show)(struct call *call, const void *p))
{
	bool are_more;

	if (list_each(call, h, address, show, &are_more))
		list_end(call, are_more);
}
