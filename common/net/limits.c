#include "common/net/limits.h"

#include "common/base/hash.h"
#include "common/base/mem.h"

struct limits {
	size_t total, per_address, per_network;
	size_t count;
	struct hash *counts; /* prefix -> count, as a pointer's value; both kinds in one map */
};

struct limits *limits_new(size_t total, size_t per_address, size_t per_network)
{
	struct limits *l = mem_zalloc(sizeof(*l));

	l->counts = hash_new();
	limits_set(l, total, per_address, per_network);
	return l;
}

void limits_free(struct limits *l)
{
	if (!l)
		return;
	hash_free(l->counts);
	mem_free(l);
}

void limits_set(struct limits *l, size_t total, size_t per_address, size_t per_network)
{
	l->total = total;
	l->per_address = per_address;
	l->per_network = per_network;
}

struct prefixes {
	unsigned char address[20], network[20];
	struct span a, n;
};

static void prefixes_of(const struct net_addr *addr, struct prefixes *p)
{
	size_t n;

	net_addr_prefix(addr, 32, 64, p->address, &n);
	p->a = span_make(p->address, n);
	net_addr_prefix(addr, 24, 48, p->network, &n);
	p->n = span_make(p->network, n);
}

static uintptr_t count_of(const struct limits *l, struct span key)
{
	return (uintptr_t)hash_get(l->counts, key);
}

static void count_set(struct limits *l, struct span key, uintptr_t n)
{
	if (n == 0)
		hash_remove(l->counts, key);
	else
		hash_set(l->counts, key, (void *)n);
}

int limits_enter(struct limits *l, const struct net_addr *a, struct err *err)
{
	struct prefixes p;

	prefixes_of(a, &p);
	if (l->count >= l->total)
		return err_set(err, ERR_LIMIT, "%zu connections in total", l->total);
	if (count_of(l, p.a) >= l->per_address)
		return err_set(err, ERR_LIMIT, "%zu connections from this address", l->per_address);
	if (count_of(l, p.n) >= l->per_network)
		return err_set(err, ERR_LIMIT, "%zu connections from this network", l->per_network);
	l->count++;
	count_set(l, p.a, count_of(l, p.a) + 1);
	count_set(l, p.n, count_of(l, p.n) + 1);
	return 0;
}

void limits_leave(struct limits *l, const struct net_addr *a)
{
	struct prefixes p;

	prefixes_of(a, &p);
	if (l->count == 0 || count_of(l, p.a) == 0 || count_of(l, p.n) == 0)
		fatal("limits_leave without limits_enter");
	l->count--;
	count_set(l, p.a, count_of(l, p.a) - 1);
	count_set(l, p.n, count_of(l, p.n) - 1);
}

size_t limits_total(const struct limits *l)
{
	return l->count;
}

bool limits_is_full(const struct limits *l)
{
	return l->count >= l->total;
}
