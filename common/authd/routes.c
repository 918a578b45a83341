#include "common/authd/routes.h"

#include "common/base/mem.h"

#include <stdio.h>
#include <string.h>

#define ROW_VERSION 1
#define SCOPE_MAX 300

void routes_init(struct routes *r)
{
	r->scopes = hash_new();
}

static void free_route(struct span key, void *value, void *arg)
{
	struct route *route = value;

	mem_free_secret((void *)(uintptr_t)route->row.p, route->row.n);
	mem_free((void *)(uintptr_t)route->scope.p);
	mem_free(route);
}

void routes_clear(struct routes *r)
{
	if (!r->scopes)
		return;
	hash_each(r->scopes, free_route, NULL);
	hash_free(r->scopes);
	r->scopes = NULL;
}

static bool is_from(struct span scope)
{
	return span_starts(scope, SPAN("from:"));
}

int routes_apply(struct routes *r, struct span scope, struct span row, struct err *err)
{
	struct route *old = hash_remove(r->scopes, scope);
	struct dec d = dec_of(row);
	struct ipc_relay relay;
	struct route *route;
	uint32_t count = 0;
	struct span rest;

	if (old) {
		r->from_count -= is_from(scope);
		free_route(scope, old, NULL);
	}
	if (!row.p)
		return 0;
	if (dec_u8(&d) != ROW_VERSION)
		return err_set(err, ERR_CORRUPT, "accounts: a route of another version");
	rest = d.in;
	while (d.in.n > 0 && count < IPC_RELAYS_MAX && ipc_relay_next(&d, &relay))
		count++;
	if (!dec_done(&d) || count == 0)
		return err_set(err, ERR_CORRUPT, "accounts: a route does not decode");
	route = mem_zalloc(sizeof(*route));
	route->scope = span_make(mem_dup(scope.p, scope.n), scope.n);
	route->row = span_make(mem_dup(rest.p, rest.n), rest.n);
	route->count = count;
	r->from_count += is_from(scope);
	hash_set(r->scopes, scope, route);
	return 0;
}

const struct route *routes_get(const struct routes *r, struct span scope)
{
	return hash_get(r->scopes, scope);
}

static const struct route *of(const struct routes *r, const char *kind, struct span domain)
{
	char scope[SCOPE_MAX];
	int n = snprintf(scope, sizeof(scope), "%s%.*s", kind, SPAN_FMT(domain));

	return n > 0 && n < SCOPE_MAX ? routes_get(r, span_make(scope, (size_t)n)) : NULL;
}

void routes_answer(const struct routes *r, const struct ipc_route_ask *ask, struct strbuf *out)
{
	const struct route *found = of(r, "to:", ask->to);

	/* With a route of its own, it does not matter from whom. */
	enc_u8(out, !found && r->from_count > 0);
	if (!found && ask->from.n > 0)
		found = of(r, "from:", ask->from);
	if (!found)
		found = routes_get(r, SPAN("all"));
	enc_u32(out, found ? found->count : 0);
	if (found)
		strbuf_add(out, found->row);
}
