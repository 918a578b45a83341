#include "common/authd/resolve.h"

#include "common/base/mem.h"

#include <string.h>

bool found_is_local(const struct found *f)
{
	return f->account || f->alias;
}

/* An alias that has not ended. */
static struct alias *live_alias(const struct resolver *rv, struct span key)
{
	struct alias *al = index_alias(rv->ix, key);

	return al && al->until != 0 && al->until <= rv->now ? NULL : al;
}

/* The account or alias of exactly this local part. */
static bool find_exact(
    const struct resolver *rv, struct span local, struct span domain, struct found *out)
{
	const struct index *ix = rv->ix;
	struct name nm = {.local_n = local.n, .domain_n = domain.n};
	char text[NAME_TEXT_MAX + 1];
	struct span key;

	memcpy(nm.local, local.p, local.n);
	if (domain.n > 0)
		memcpy(nm.domain, domain.p, domain.n);
	key = span_make(text, name_format(&nm, text));
	out->account = index_account(ix, key);
	if (out->account && !account_is_mailbox(out->account))
		out->account = NULL;
	if (!out->account)
		out->alias = live_alias(rv, key);
	return found_is_local(out);
}

struct search {
	struct account *oldest;
};

static void search_domain(struct span key, void *value, void *arg)
{
	const struct domain *d = value;
	struct search *s = arg;

	LIST_EACH (it, &d->accounts) {
		struct account *a = container_of(it, struct account, link);

		if (account_is_mailbox(a) && (!s->oldest || a->number < s->oldest->number))
			s->oldest = a;
	}
}

/* Whoever looks after a domain: its oldest mailbox, or the oldest of all. */
static struct account *caretaker(const struct index *ix, const struct domain *d)
{
	struct search s = {NULL};

	if (d)
		search_domain(d->name, (void *)(uintptr_t)d, &s);
	if (!s.oldest)
		hash_each(ix->domains, search_domain, &s);
	return s.oldest;
}

static bool is_special(struct span local)
{
	return span_eq(local, SPAN("postmaster")) || span_eq(local, SPAN("abuse"));
}

/* Where a subaddress begins; the name before it is never empty. */
static size_t base_length(const struct resolver *rv, struct span local)
{
	for (size_t i = 1; i < local.n; i++)
		if (local.p[i] && strchr(rv->separators, local.p[i]))
			return i;
	return local.n;
}

void resolve_step(const struct resolver *rv, const struct name *nm, struct found *out)
{
	struct span local = name_local(nm);
	struct span domain = name_domain_span(nm);
	struct domain *d = index_domain(rv->ix, domain);
	size_t base = base_length(rv, local);
	char text[NAME_TEXT_MAX + 1];
	struct name all = *nm;

	*out = (struct found){0};
	if (!d && (d = index_domain_alias(rv->ix, domain)) != NULL) {
		/* By the name of the domain that it stands for. */
		memcpy(all.domain, d->name.p, d->name.n);
		all.domain[d->name.n] = '\0';
		all.domain_n = d->name.n;
		domain = d->name;
	}
	if (!d && domain.n > 0 && !(span_ieq(domain, span_of(rv->hostname)) && is_special(local))) {
		out->is_remote = true;
		return;
	}
	if (domain.n == 0 && !d)
		domain = span_of(rv->hostname);
	if (find_exact(rv, local, domain, out))
		return;
	if (base < local.n) {
		out->detail = span_from(local, base + 1);
		local = span_sub(local, 0, base);
		if (find_exact(rv, local, domain, out))
			return;
	}
	if (is_special(local) || nm->domain_n == 0) {
		out->account = caretaker(rv->ix, d);
		return;
	}
	out->detail = span_of(NULL);
	all.local_n = 0;
	out->alias = live_alias(rv, span_make(text, name_format(&all, text)));
}

void resolve_clear(struct resolve_result *r)
{
	mem_free(r->targets);
	*r = (struct resolve_result){0};
}

static bool add_target(
    struct resolve_result *r, struct account *a, struct span remote, struct span detail)
{
	struct resolve_target *t;

	if (r->count == IPC_RESOLVE_MAX)
		return false;
	if (r->count == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 4;
		r->targets = mem_grow(r->targets, r->cap, sizeof(*r->targets));
	}
	t = &r->targets[r->count++];
	t->account = a;
	t->remote = remote;
	t->detail_n = detail.n <= sizeof(t->detail) ? detail.n : 0;
	if (t->detail_n > 0)
		memcpy(t->detail, detail.p, t->detail_n);
	return true;
}

void resolve_to_remote(struct resolve_result *r, struct span address)
{
	r->status = RESOLVE_LOCAL;
	r->count = 0;
	(void)add_target(r, NULL, address, span_make("", 0));
}

struct frame {
	struct alias *alias;
	uint32_t next;
	struct name nm; /* of the target just looked at: details point here */
	struct span detail;
};

/* One thing found: an account is added, an alias becomes a frame. False when a limit is hit. */
static bool visit(struct index *ix, const struct found *f, struct span detail,
    struct frame stack[RESOLVE_DEPTH], size_t *depth, struct resolve_result *out)
{
	if (f->account) {
		if (f->account->mark == ix->mark)
			return true;
		f->account->mark = ix->mark;
		return add_target(out, f->account, span_of(NULL), detail);
	}
	if (!f->alias || f->alias->mark == ix->mark)
		return true;
	if (*depth == RESOLVE_DEPTH)
		return false;
	f->alias->mark = ix->mark;
	stack[(*depth)++] = (struct frame){.alias = f->alias, .detail = detail};
	return true;
}

/* Several ways may lead to one address elsewhere. */
static bool has_remote(const struct resolve_result *r, struct span address)
{
	for (uint32_t i = 0; i < r->count; i++)
		if (span_eq(r->targets[i].remote, address))
			return true;
	return false;
}

static bool expand(const struct resolver *rv, const struct found *first, struct resolve_result *out)
{
	struct frame *stack = mem_array(RESOLVE_DEPTH, sizeof(*stack));
	size_t depth = 0;
	bool ok;

	rv->ix->mark++;
	ok = visit(rv->ix, first, first->detail, stack, &depth, out);
	while (ok && depth > 0) {
		struct frame *f = &stack[depth - 1];
		struct found found;
		struct span target;

		if (f->next == f->alias->count) {
			depth--;
			continue;
		}
		target = f->alias->targets[f->next++];
		if (name_parse(&f->nm, target, NULL) < 0)
			continue;
		resolve_step(rv, &f->nm, &found);
		if (found.is_remote)
			ok =
			    has_remote(out, target) || add_target(out, NULL, target, span_of(NULL));
		else
			ok = visit(rv->ix, &found, found.detail.n > 0 ? found.detail : f->detail,
			    stack, &depth, out);
	}
	mem_free(stack);
	return ok;
}

void resolve(const struct resolver *rv, struct span address, struct resolve_result *out)
{
	struct found found;
	struct name nm;

	*out = (struct resolve_result){.status = RESOLVE_UNKNOWN};
	if (name_parse(&nm, address, NULL) < 0)
		return;
	resolve_step(rv, &nm, &found);
	if (found.is_remote)
		out->status = RESOLVE_REMOTE;
	if (!found_is_local(&found)) {
		/* There is always somebody to take this in, as soon as there is an account. */
		if (!found.is_remote && is_special(name_local(&nm)))
			out->status = RESOLVE_TEMP;
		return;
	}
	if (!expand(rv, &found, out))
		out->status = RESOLVE_TEMP;
	else
		out->status = out->count > 0 ? RESOLVE_LOCAL : RESOLVE_UNKNOWN;
}

/* In so many words: by the address, or all of its domain. */
static bool is_granted(const struct account *a, struct span address)
{
	char text[NAME_TEXT_MAX + 1];
	struct span whole;
	struct name nm;
	ssize_t at;

	if (a->grant_count == 0 || name_parse(&nm, address, NULL) < 0)
		return false;
	whole = span_make(text, name_format(&nm, text));
	at = span_rchr(whole, '@');
	for (uint32_t i = 0; i < a->grant_count; i++)
		if (span_eq(a->grants[i], whole) ||
		    (at >= 0 && span_eq(a->grants[i], span_from(whole, (size_t)at))))
			return true;
	return false;
}

bool resolve_may_send(const struct resolver *rv, const struct account *a, struct span address)
{
	struct resolve_result r;
	bool may = address.n == 0 || is_granted(a, address);

	if (may)
		return true;
	resolve(rv, address, &r);
	for (uint32_t i = 0; i < r.count && r.status == RESOLVE_LOCAL; i++)
		may |= r.targets[i].account == a;
	resolve_clear(&r);
	return may;
}

/* --- loops and depth -------------------------------------------------------------------------- */
/* Frames of the depth-first walk: one more than allowed, so that a loop of any alias that was
 * legal before is seen whole. */
#define CHECK_FRAMES (2 * RESOLVE_DEPTH + 2)

struct check {
	const struct resolver *rv;
	struct frame *stack;
	size_t depth;
};

static int loop_error(const struct check *c, const struct alias *al, struct err *err)
{
	struct strbuf b;
	bool is_in = false;

	strbuf_init(&b, 180);
	for (size_t i = 0; i < c->depth; i++) {
		is_in |= c->stack[i].alias == al;
		if (!is_in)
			continue;
		strbuf_add(&b, c->stack[i].alias->address);
		strbuf_add_str(&b, " > ");
	}
	strbuf_add(&b, al->address);
	err_set(err, ERR_INVALID, "aliases would loop: %s%s", b.p, b.failed ? "..." : "");
	strbuf_clear(&b);
	return -1;
}

static int push(struct check *c, struct alias *al, struct err *err)
{
	if (al->mark == c->rv->ix->mark && al->is_on_path)
		return loop_error(c, al, err);
	if (al->mark == c->rv->ix->mark)
		return 0;
	if (c->depth == CHECK_FRAMES)
		return err_set(
		    err, ERR_INVALID, "more than %d aliases one behind the other", RESOLVE_DEPTH);
	al->mark = c->rv->ix->mark;
	al->is_on_path = true;
	al->height = 1;
	c->stack[c->depth++] = (struct frame){.alias = al};
	return 0;
}

/* The height of an alias is known once all its targets are: one more than the highest. */
static void raise_height(struct alias *al, const struct alias *target)
{
	if (target->height >= al->height)
		al->height = target->height + 1;
}

static int pop(struct check *c, struct err *err)
{
	struct alias *al = c->stack[--c->depth].alias;

	al->is_on_path = false;
	if (al->height > RESOLVE_DEPTH)
		return err_set(
		    err, ERR_INVALID, "more than %d aliases one behind the other", RESOLVE_DEPTH);
	if (c->depth > 0)
		raise_height(c->stack[c->depth - 1].alias, al);
	return 0;
}

static int walk(struct check *c, struct alias *start, struct err *err)
{
	if (push(c, start, err) < 0)
		return -1;
	while (c->depth > 0) {
		struct frame *f = &c->stack[c->depth - 1];
		struct found found;

		if (f->next == f->alias->count) {
			if (pop(c, err) < 0)
				return -1;
			continue;
		}
		if (name_parse(&f->nm, f->alias->targets[f->next++], err) < 0)
			return -1;
		resolve_step(c->rv, &f->nm, &found);
		if (!found.alias)
			continue;
		if (push(c, found.alias, err) < 0)
			return -1;
		if (&c->stack[c->depth - 1] == f)
			raise_height(f->alias, found.alias);
	}
	return 0;
}

static int check_width(const struct resolver *rv, const struct alias *al, struct err *err)
{
	struct resolve_result r = {0};
	struct found f = {.alias = (struct alias *)(uintptr_t)al};
	bool ok = expand(rv, &f, &r);

	resolve_clear(&r);
	if (ok)
		return 0;
	return err_set(err, ERR_INVALID, "%.*s would reach more than %d accounts",
	    SPAN_FMT(al->address), IPC_RESOLVE_MAX);
}

int resolve_check(const struct resolver *rv, struct alias *start, struct err *err)
{
	struct check c = {rv, mem_array(CHECK_FRAMES, sizeof(struct frame)), 0};
	void *one = start;
	size_t n = 1;
	void **all = start ? mem_dup(&one, sizeof(one)) : index_sorted(rv->ix->aliases, &n);
	int rc = 0;

	rv->ix->mark++;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = walk(&c, all[i], err);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = check_width(rv, all[i], err);
	mem_free(c.stack);
	mem_free(all);
	return rc;
}
