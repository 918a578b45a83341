/* domain alias ...: other names of a domain, by which all its addresses can be reached. */
#include "common/authd/args.h"
#include "common/authd/dns.h"
#include "common/base/mem.h"

static bool take_domain(
    struct call *call, uint32_t i, char name[MAIL_DOMAIN_MAX + 1], struct span *out)
{
	struct err err = ERR_INIT;
	size_t n;

	if (name_domain(call->args[i], name, &n, &err) < 0) {
		call_fail_err(call, &err);
		return false;
	}
	*out = span_make(name, n);
	return true;
}

void verb_domain_alias_add(struct call *call)
{
	char name[MAIL_DOMAIN_MAX + 1], target[MAIL_DOMAIN_MAX + 1];
	const struct index *ix = &call->a->index;
	struct span n, t;
	struct db_key key;
	struct strbuf b;

	if (!take_domain(call, 0, name, &n) || !take_domain(call, 1, target, &t))
		return;
	if (index_domain(ix, n)) {
		call_fail(call, ERR_EXISTS, "%s is one of our domains already", name);
		return;
	}
	if (!index_domain(ix, t)) {
		call_fail(
		    call, ERR_NOT_FOUND, "%s is not one of our domains: add it first", target);
		return;
	}
	strbuf_init(&b, 512);
	row_enc_text(&b, t);
	row_key_text(&key, ROW_DOMAIN_ALIAS, n);
	change_put(call_change(call), &key, &b);
	call->after = dkim_after_add;
	call_commit(call, "%s is another name of %s", name, target);
}

void verb_domain_alias_remove(struct call *call)
{
	char name[MAIL_DOMAIN_MAX + 1];
	struct db_key key;
	struct span n;

	if (!take_domain(call, 0, name, &n))
		return;
	if (!index_domain_alias(&call->a->index, n)) {
		call_fail(call, ERR_NOT_FOUND, "%s is not another name of a domain", name);
		return;
	}
	row_key_text(&key, ROW_DOMAIN_ALIAS, n);
	change_del(call_change(call), &key);
	call->after = dkim_after_remove;
	call_commit(call, "%s is no longer another name of a domain", name);
}

void verb_domain_alias_list(struct call *call)
{
	size_t n;
	void **all = index_sorted(call->a->index.domain_aliases, &n);

	for (size_t i = 0; i < n && i < LIST_PAGE; i++) {
		const struct domain_alias *da = all[i];
		struct strbuf b;

		strbuf_init(&b, 1024);
		ipc_rec_text(&b, "name", da->name);
		ipc_rec_text(&b, "domain", da->domain->name);
		call_record(call, &b);
	}
	mem_free(all);
	call_ok(call, "%s", "");
}
