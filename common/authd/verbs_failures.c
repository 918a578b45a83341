/* failures ...: whose logins failed in the last hour, and whether they may try again. */
#include "common/authd/args.h"
#include "common/authd/login.h"
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/net/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define WHO_MAX 400
#define ROWS_MAX 5000

static uint64_t now_s(void)
{
	return clock_mono_ms() / 1000;
}

/* "192.0.2.0/24" of a key that net_addr_prefix made; other keys are text already. */
static void network_text(struct span key, char out[WHO_MAX])
{
	unsigned char ip[16] = {0};
	char text[INET6_ADDRSTRLEN];
	int family = key.n > 2 ? (unsigned char)key.p[0] : 0;

	if ((family != AF_INET && family != AF_INET6) || key.n > 2 + sizeof(ip)) {
		snprintf(out, WHO_MAX, "%.*s", SPAN_FMT(key));
		return;
	}
	memcpy(ip, key.p + 2, key.n - 2);
	snprintf(out, WHO_MAX, "%s/%u", inet_ntop(family, ip, text, sizeof(text)) ? text : "?",
	    (unsigned char)key.p[1]);
}

struct listing {
	struct call *call;
	size_t count;
};

static void add_row(void *arg, const struct throttle_row *row)
{
	struct listing *l = arg;
	const struct config *cfg = l->call->a->cfg;
	enum setting limit =
	    row->is_network ? SET_AUTH_FAILURES_ADDRESS : SET_AUTH_FAILURES_ACCOUNT;
	char who[WHO_MAX];
	struct strbuf b;

	if (row->failures == 0 || l->count++ >= ROWS_MAX)
		return;
	if (row->is_network)
		network_text(row->name, who);
	else
		snprintf(who, sizeof(who), "%.*s", SPAN_FMT(row->name));
	strbuf_init(&b, 1024);
	ipc_rec_text(&b, "kind", row->is_network ? SPAN("network") : SPAN("account"));
	ipc_rec_text(&b, "who", span_of(who));
	ipc_rec_number(&b, "failures", IPC_NUMBER, row->failures);
	ipc_rec_number(&b, "stopped", IPC_BOOL, row->failures >= config_u64(cfg, limit));
	call_record(l->call, &b);
}

void verb_failures_list(struct call *call)
{
	struct listing l = {.call = call};

	throttle_each(call->a->throttle, now_s(), add_row, &l);
	call_ok(call, "%s", "");
}

/* The network of an address, with or without "/24" behind it; false: it is none. */
static bool take_network(
    struct call *call, unsigned char buf[NET_KEY_MAX], struct span *key, bool is_needed)
{
	ssize_t slash = span_chr(call->args[0], '/');
	struct span ip = slash < 0 ? call->args[0] : span_sub(call->args[0], 0, (size_t)slash);
	struct net_addr addr;

	if (net_addr_parse(&addr, ip, 0, NULL) < 0) {
		if (is_needed)
			call_fail(call, ERR_INVALID, "expected an IP address");
		return false;
	}
	*key = login_network(ip, buf);
	return true;
}

static void forget(struct call *call)
{
	unsigned char buf[NET_KEY_MAX];
	struct span key = call->args[0];
	bool is_network = take_network(call, buf, &key, false);

	if (throttle_forget(call->a->throttle, is_network, key))
		call_ok(call, "%s", "");
	else
		call_fail(call, ERR_NOT_FOUND, "no login failed there in the last hour");
}

void verb_failures_forget(struct call *call)
{
	call->after = forget;
	call_commit(call, "%s", "");
}

static void block(struct call *call)
{
	unsigned char buf[NET_KEY_MAX];
	struct span key;

	if (!take_network(call, buf, &key, true))
		return;
	throttle_block(
	    call->a->throttle, key, config_u64(call->a->cfg, SET_AUTH_FAILURES_ADDRESS), now_s());
	call_ok(call, "%s", "no login from there for an hour");
}

void verb_failures_block(struct call *call)
{
	unsigned char buf[NET_KEY_MAX];
	struct span key;

	if (!take_network(call, buf, &key, true))
		return;
	call->after = block;
	call_commit(call, "%s", "");
}
