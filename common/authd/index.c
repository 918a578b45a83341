#include "common/authd/index.h"

#include "common/base/mem.h"

#include <stdlib.h>
#include <string.h>

void index_init(struct index *ix)
{
	ix->accounts = hash_new();
	ix->numbers = hash_new();
	ix->aliases = hash_new();
	ix->domains = hash_new();
	ix->domain_aliases = hash_new();
	ix->mark = 0;
}

static struct span own(struct span s)
{
	return s.n > 0 ? span_make(mem_dup(s.p, s.n), s.n) : span_of(NULL);
}

static void disown(struct span *s)
{
	mem_free((void *)(uintptr_t)s->p);
	*s = span_of(NULL);
}

static struct span number_key(uint64_t number, unsigned char buf[8])
{
	be_put64(buf, number);
	return span_make(buf, 8);
}

/* --- freeing ---------------------------------------------------------------------------------- */
static void app_free(struct account *a, struct app *app)
{
	list_remove(&app->link);
	a->app_count--;
	disown(&app->row.label);
	disown(&app->row.salt);
	disown(&app->row.hash);
	mem_free(app);
}

static void known_free(struct account *a, struct known *k)
{
	list_remove(&k->link);
	a->known_count--;
	mem_free(k);
}

static void parted_free(struct parted *p)
{
	list_remove(&p->link);
	disown(&p->key);
	disown(&p->row);
	mem_free(p);
}

static void grants_free(struct account *a)
{
	for (uint32_t i = 0; i < a->grant_count; i++)
		disown(&a->grants[i]);
	mem_free(a->grants);
	a->grants = NULL;
	a->grant_count = 0;
}

static void account_free(struct account *a)
{
	LIST_EACH_SAFE (it, &a->apps)
		app_free(a, container_of(it, struct app, link));
	LIST_EACH_SAFE (it, &a->known)
		known_free(a, container_of(it, struct known, link));
	LIST_EACH_SAFE (it, &a->parted)
		parted_free(container_of(it, struct parted, link));
	grants_free(a);
	list_remove(&a->link);
	mem_free_secret(a->totp, sizeof(*a->totp));
	disown(&a->row.address);
	disown(&a->row.phc);
	mem_free(a);
}

static void alias_free(struct alias *al)
{
	for (uint32_t i = 0; i < al->count; i++)
		disown(&al->targets[i]);
	mem_free(al->targets);
	disown(&al->address);
	mem_free(al);
}

static void domain_free(struct domain *d)
{
	disown(&d->name);
	mem_free(d);
}

static void free_account(struct span key, void *value, void *arg)
{
	account_free(value);
}

static void free_alias(struct span key, void *value, void *arg)
{
	alias_free(value);
}

static void free_domain(struct span key, void *value, void *arg)
{
	domain_free(value);
}

static void free_domain_alias(struct span key, void *value, void *arg)
{
	struct domain_alias *da = value;

	disown(&da->name);
	mem_free(da);
}

void index_clear(struct index *ix)
{
	if (!ix->numbers)
		return;
	hash_each(ix->numbers, free_account, NULL);
	hash_each(ix->aliases, free_alias, NULL);
	hash_each(ix->domain_aliases, free_domain_alias, NULL);
	hash_each(ix->domains, free_domain, NULL);
	hash_free(ix->accounts);
	hash_free(ix->numbers);
	hash_free(ix->aliases);
	hash_free(ix->domain_aliases);
	hash_free(ix->domains);
	*ix = (struct index){0};
}

/* --- looking up ------------------------------------------------------------------------------- */
struct domain *index_domain(const struct index *ix, struct span name)
{
	return hash_get(ix->domains, name);
}

struct domain *index_domain_alias(const struct index *ix, struct span name)
{
	const struct domain_alias *da = hash_get(ix->domain_aliases, name);

	return da ? da->domain : NULL;
}

struct account *index_account(const struct index *ix, struct span address)
{
	return hash_get(ix->accounts, address);
}

struct account *index_number(const struct index *ix, uint64_t number)
{
	unsigned char buf[8];

	return hash_get(ix->numbers, number_key(number, buf));
}

struct alias *index_alias(const struct index *ix, struct span address)
{
	return hash_get(ix->aliases, address);
}

bool account_is_deleting(const struct account *a)
{
	return a->row.deleting != 0;
}

bool account_is_admin(const struct account *a)
{
	return (a->row.flags & USER_ADMIN) && !(a->row.flags & USER_DISABLED) &&
	       !account_is_deleting(a);
}

bool account_is_mailbox(const struct account *a)
{
	return !(a->row.flags & USER_ADMIN);
}

static void search_admin(struct span key, void *value, void *arg)
{
	bool *found = arg;

	*found |= account_is_admin(value);
}

bool index_has_admin(const struct index *ix)
{
	bool found = false;

	hash_each(ix->numbers, search_admin, &found);
	return found;
}

bool account_is_known(const struct account *a, struct span net, uint64_t now)
{
	LIST_EACH (it, &a->known) {
		const struct known *k = container_of(it, struct known, link);

		if (span_eq(net, span_make(k->net, k->n)))
			return k->time + KNOWN_SECONDS > now;
	}
	return false;
}

struct sort {
	struct entry {
		struct span key;
		void *value;
	} * e;
	size_t n;
};

static void collect(struct span key, void *value, void *arg)
{
	struct sort *s = arg;

	s->e[s->n++] = (struct entry){key, value};
}

static int by_key(const void *a, const void *b)
{
	return span_cmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

void **index_sorted(struct hash *h, size_t *n)
{
	struct sort s = {mem_array(hash_count(h) + 1, sizeof(*s.e)), 0};
	void **out = mem_array(hash_count(h) + 1, sizeof(*out));

	hash_each(h, collect, &s);
	qsort(s.e, s.n, sizeof(*s.e), by_key);
	for (size_t i = 0; i < s.n; i++)
		out[i] = s.e[i].value;
	*n = s.n;
	mem_free(s.e);
	return out;
}

/* --- rows ------------------------------------------------------------------------------------- */
static int corrupt(struct err *err, const char *what)
{
	return err_set(err, ERR_CORRUPT, "accounts: %s", what);
}

static struct domain *domain_of(const struct index *ix, struct span address)
{
	ssize_t at = span_rchr(address, '@');

	return at < 0 ? NULL : index_domain(ix, span_from(address, (size_t)at + 1));
}

static int apply_domain(struct index *ix, struct span name, struct span row, struct err *err)
{
	struct domain_row r;
	struct domain *d = index_domain(ix, name);

	if (!row.p) {
		if (!d || d->account_count > 0 || d->alias_count > 0 || d->name_count > 0)
			return d ? corrupt(err, "a domain in use was removed") : 0;
		hash_remove(ix->domains, name);
		domain_free(d);
		return 0;
	}
	if (!row_dec_domain(row, &r) || name.n == 0)
		return corrupt(err, "a domain's row does not decode");
	if (!d) {
		d = mem_zalloc(sizeof(*d));
		d->name = own(name);
		list_init(&d->accounts);
		hash_set(ix->domains, name, d);
	}
	d->created = r.created;
	return 0;
}

static int apply_domain_alias(struct index *ix, struct span name, struct span row, struct err *err)
{
	struct domain_alias *da = hash_get(ix->domain_aliases, name);
	struct domain *d = NULL;
	struct span target;

	if (row.p && row_dec_text(row, &target))
		d = index_domain(ix, target);
	if (row.p && !d)
		return corrupt(err, "a domain alias does not decode or leads nowhere");
	if (da) {
		da->domain->name_count--;
		hash_remove(ix->domain_aliases, name);
		free_domain_alias(name, da, NULL);
	}
	if (!row.p)
		return 0;
	da = mem_zalloc(sizeof(*da));
	da->name = own(name);
	da->domain = d;
	d->name_count++;
	hash_set(ix->domain_aliases, name, da);
	return 0;
}

static void unlink_account(struct index *ix, struct account *a)
{
	if (!a->domain)
		return;
	hash_remove(ix->accounts, a->row.address);
	list_remove(&a->link);
	a->domain->account_count--;
	a->domain = NULL;
}

/* Accounts stand in the order of their numbers: the first is the oldest. */
static void link_account(struct index *ix, struct account *a, struct domain *d)
{
	struct list *at = &d->accounts;

	while (at->prev != &d->accounts &&
	       container_of(at->prev, struct account, link)->number > a->number)
		at = at->prev;
	list_add_before(at, &a->link);
	a->domain = d;
	d->account_count++;
	hash_set(ix->accounts, a->row.address, a);
}

static void remove_account(struct index *ix, struct account *a)
{
	unsigned char buf[8];

	unlink_account(ix, a);
	hash_remove(ix->numbers, number_key(a->number, buf));
	account_free(a);
}

static struct account *add_account(struct index *ix, uint64_t number)
{
	struct account *a = mem_zalloc(sizeof(*a));
	unsigned char buf[8];

	a->number = number;
	list_init(&a->apps);
	list_init(&a->known);
	list_init(&a->parted);
	hash_set(ix->numbers, number_key(number, buf), a);
	return a;
}

static int apply_user(struct index *ix, uint64_t number, struct span row, struct err *err)
{
	struct account *a = index_number(ix, number);
	struct account *other;
	struct domain *d;
	struct user_row r;

	if (!row.p) {
		if (a)
			remove_account(ix, a);
		return 0;
	}
	if (!row_dec_user(row, &r))
		return corrupt(err, "an account's row does not decode");
	d = domain_of(ix, r.address);
	other = index_account(ix, r.address);
	/* One that is being deleted has given its address back. */
	if (r.deleting != 0)
		d = NULL;
	else if (!d || (other && other->number != number))
		return corrupt(
		    err, d ? "two accounts with one address" : "an account in no domain");
	if (!a)
		a = add_account(ix, number);
	unlink_account(ix, a);
	disown(&a->row.address);
	disown(&a->row.phc);
	r.address = own(r.address);
	r.phc = own(r.phc);
	a->row = r;
	a->generation++;
	if (d)
		link_account(ix, a, d);
	return 0;
}

static void remove_alias(struct index *ix, struct alias *al)
{
	hash_remove(ix->aliases, al->address);
	al->domain->alias_count--;
	alias_free(al);
}

static int apply_alias(struct index *ix, struct span address, struct span row, struct err *err)
{
	struct alias *old = index_alias(ix, address);
	struct domain *d = domain_of(ix, address);
	struct alias_row r;
	struct alias *al;

	if (row.p && (!row_dec_alias(row, &r) || !d))
		return corrupt(err, d ? "an alias' row does not decode" : "an alias in no domain");
	if (old)
		remove_alias(ix, old);
	if (!row.p)
		return 0;
	al = mem_zalloc(sizeof(*al));
	al->address = own(address);
	al->domain = d;
	al->targets = mem_array(r.count, sizeof(*al->targets));
	al->until = r.until;
	for (al->count = 0; al->count < r.count; al->count++)
		al->targets[al->count] = own(dec_bytes(&r.targets));
	d->alias_count++;
	hash_set(ix->aliases, address, al);
	return 0;
}

static struct app *find_app(const struct account *a, uint64_t id)
{
	LIST_EACH (it, &a->apps) {
		struct app *app = container_of(it, struct app, link);

		if (app->id == id)
			return app;
	}
	return NULL;
}

static int apply_app(
    struct index *ix, uint64_t account, uint64_t id, struct span row, struct err *err)
{
	struct account *a = index_number(ix, account);
	struct app *app = a ? find_app(a, id) : NULL;
	struct app_row r;

	if (!row.p) {
		if (app)
			app_free(a, app);
		return 0;
	}
	if (!a || !row_dec_app(row, &r))
		return corrupt(err, "an app password's row does not decode or has no account");
	if (app)
		return 0; /* never changes */
	app = mem_zalloc(sizeof(*app));
	app->id = id;
	app->row = r;
	app->row.label = own(r.label);
	app->row.salt = own(r.salt);
	app->row.hash = own(r.hash);
	list_append(&a->apps, &app->link);
	a->app_count++;
	return 0;
}

static int apply_app_used(
    struct index *ix, uint64_t account, uint64_t id, struct span row, struct err *err)
{
	struct account *a = index_number(ix, account);
	struct app *app = a ? find_app(a, id) : NULL;
	uint64_t time = 0;

	if (row.p && !row_dec_u64(row, &time))
		return corrupt(err, "a row of an app password's use does not decode");
	if (app)
		app->used = time;
	return 0;
}

static struct known *find_known(const struct account *a, struct span net)
{
	LIST_EACH (it, &a->known) {
		struct known *k = container_of(it, struct known, link);

		if (span_eq(net, span_make(k->net, k->n)))
			return k;
	}
	return NULL;
}

static int apply_known(
    struct index *ix, uint64_t account, struct span net, struct span row, struct err *err)
{
	struct account *a = index_number(ix, account);
	struct known *k;
	struct list *at;
	uint64_t time = 0;

	if (net.n > NET_KEY_MAX || (row.p && !row_dec_u64(row, &time)))
		return corrupt(err, "a row of a known network does not decode");
	k = a ? find_known(a, net) : NULL;
	if (k)
		known_free(a, k);
	if (!row.p || !a)
		return 0;
	k = mem_zalloc(sizeof(*k));
	k->time = time;
	k->n = net.n;
	memcpy(k->net, net.p, net.n);
	for (at = a->known.next; at != &a->known; at = at->next)
		if (container_of(at, struct known, link)->time <= time)
			break;
	list_add_before(at, &k->link);
	a->known_count++;
	return 0;
}

static int apply_totp(struct index *ix, uint64_t account, struct span row, struct err *err)
{
	struct account *a = index_number(ix, account);
	struct totp_row r = {0};

	if (row.p && (!a || !row_dec_totp(row, &r)))
		return corrupt(err, "a row of a second factor does not decode or has no account");
	if (!a)
		return 0;
	mem_free_secret(a->totp, sizeof(*a->totp));
	a->totp = row.p ? mem_dup(&r, sizeof(r)) : NULL;
	mem_wipe(&r, sizeof(r));
	return 0;
}

static int apply_limits(struct index *ix, uint64_t account, struct span row, struct err *err)
{
	struct account *a = index_number(ix, account);
	struct limits_row r;

	if (row.p && (!a || !row_dec_limits(row, &r)))
		return corrupt(err, "a row of limits does not decode or has no account");
	if (!a)
		return 0;
	a->has_limits = row.p != NULL;
	if (a->has_limits)
		a->limits = r;
	return 0;
}

static int apply_grants(struct index *ix, uint64_t account, struct span row, struct err *err)
{
	struct account *a = index_number(ix, account);
	struct alias_row r;

	if (row.p && (!a || !row_dec_alias(row, &r)))
		return corrupt(err, "a row of senders does not decode or has no account");
	if (!a)
		return 0;
	grants_free(a);
	if (!row.p)
		return 0;
	a->grants = mem_array(r.count, sizeof(*a->grants));
	for (; a->grant_count < r.count; a->grant_count++)
		a->grants[a->grant_count] = own(dec_bytes(&r.targets));
	return 0;
}

static int apply_parted(struct index *ix, uint64_t account, bool was_all, struct span address,
    struct span row, struct err *err)
{
	struct account *a = index_number(ix, account);
	struct alias_row r;
	struct parted *p;

	if (row.p && (!a || !row_dec_alias(row, &r)))
		return corrupt(err, "a row of a removed alias does not decode or has no account");
	if (!a)
		return 0;
	LIST_EACH_SAFE (it, &a->parted) {
		p = container_of(it, struct parted, link);
		if (p->was_all == was_all && span_eq(p->key, address))
			parted_free(p);
	}
	if (!row.p)
		return 0;
	p = mem_zalloc(sizeof(*p));
	p->was_all = was_all;
	p->key = own(address);
	p->row = own(row);
	list_append(&a->parted, &p->link);
	return 0;
}

int index_apply(struct index *ix, struct span key, struct span row, struct err *err)
{
	enum row_kind kind;
	struct dec d;
	uint64_t number = 0;
	uint64_t id = 0;
	bool was_all = false;

	if (!row_key_parse(key, &kind, &d))
		return corrupt(err, "an unknown kind of row");
	if (kind == ROW_USER || kind == ROW_APP || kind == ROW_APP_USED || kind == ROW_KNOWN ||
	    kind == ROW_TOTP || kind == ROW_LIMITS || kind == ROW_GRANTS || kind == ROW_PARTED)
		number = dec_u64(&d);
	if (kind == ROW_APP || kind == ROW_APP_USED)
		id = dec_u64(&d);
	if (kind == ROW_PARTED)
		was_all = dec_u8(&d) != 0;
	if (!dec_ok(&d))
		return corrupt(err, "a key does not decode");
	switch (kind) {
	case ROW_DOMAIN:
		return apply_domain(ix, d.in, row, err);
	case ROW_DOMAIN_ALIAS:
		return apply_domain_alias(ix, d.in, row, err);
	case ROW_USER:
		return apply_user(ix, number, row, err);
	case ROW_ALIAS:
		return apply_alias(ix, d.in, row, err);
	case ROW_APP:
		return apply_app(ix, number, id, row, err);
	case ROW_APP_USED:
		return apply_app_used(ix, number, id, row, err);
	case ROW_KNOWN:
		return apply_known(ix, number, d.in, row, err);
	case ROW_LIMITS:
		return apply_limits(ix, number, row, err);
	case ROW_GRANTS:
		return apply_grants(ix, number, row, err);
	case ROW_TOTP:
		return apply_totp(ix, number, row, err);
	case ROW_PARTED:
		return apply_parted(ix, number, was_all, d.in, row, err);
	default:
		return 0;
	}
}
