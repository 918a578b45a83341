/* route ...: which servers take mail instead of a domain's own. */
#include "common/authd/args.h"
#include "common/authd/ask.h"
#include "common/authd/routes.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/net/addr.h"

#include <stdio.h>
#include <string.h>

#define SCOPE_MAX 300
#define ROW_BYTES_MAX (64 * 1024)
#define TELL_MS 2000

static const char *const tls_names[RELAY_TLS_COUNT] = {
    [RELAY_TLS_VERIFIED] = "verified",
    [RELAY_TLS_REQUIRED] = "required",
    [RELAY_TLS_OPPORTUNISTIC] = "opportunistic",
    [RELAY_TLS_NONE] = "none",
};

/* "all", "to:DOMAIN", "from:DOMAIN", the domain as it is compared. */
static bool take_scope(struct call *call, char scope[SCOPE_MAX])
{
	struct span word = call->args[0];
	char domain[MAIL_DOMAIN_MAX + 1];
	struct err err = ERR_INIT;
	bool is_to = span_take_iword(&word, SPAN("to:"));
	size_t n;

	if (span_eq(word, SPAN("all")) && !is_to) {
		snprintf(scope, SCOPE_MAX, "all");
		return true;
	}
	if (!is_to && !span_take_iword(&word, SPAN("from:"))) {
		call_fail(call, ERR_INVALID, "a route is for all, to:DOMAIN or from:DOMAIN");
		return false;
	}
	if (name_domain(word, domain, &n, &err) < 0) {
		call_fail_err(call, &err);
		return false;
	}
	snprintf(scope, SCOPE_MAX, "%s%s", is_to ? "to:" : "from:", domain);
	return true;
}

/* The host's end in "HOST", "HOST:PORT", "[ADDRESS]:PORT"; an IPv6 address alone has no port. */
static size_t host_end(struct span word)
{
	ssize_t bracket = word.n > 0 && word.p[0] == '[' ? span_chr(word, ']') : -1;
	ssize_t colon = span_chr(word, ':');

	if (bracket > 0)
		return (size_t)bracket + 1;
	return colon < 0 || span_rchr(word, ':') != colon ? word.n : (size_t)colon;
}

/* An address, with brackets or without, in its one form: "[192.0.2.1]", "[IPv6:2001:db8::1]". */
static bool take_literal(struct span name, char host[MAIL_DOMAIN_MAX + 1], size_t *n)
{
	char literal[NET_ADDR_TEXT];
	struct net_addr a;

	if (name.n > 2 && name.p[0] == '[') {
		name = span_sub(name, 1, name.n - 2);
		(void)span_take_iword(&name, SPAN("IPv6:"));
	}
	if (net_addr_parse(&a, name, 0, NULL) < 0)
		return false;
	net_addr_format_literal(&a, literal);
	*n = strlen(literal);
	memcpy(host, literal, *n + 1);
	return true;
}

/* "relay.example", "relay.example:587", "[192.0.2.1]:25", "direct" */
static bool take_host(struct call *call, char host[MAIL_DOMAIN_MAX + 1], struct ipc_relay *relay)
{
	struct span word = call->args[1];
	size_t end = host_end(word);
	struct err err = ERR_INIT;
	struct span name = span_sub(word, 0, end);
	uint64_t port = 587;
	size_t n;

	if (span_eq(word, SPAN("direct"))) {
		relay->host = span_make("", 0);
		return true;
	}
	if (end < word.n && (word.p[end] != ':' ||
				!span_u64(span_from(word, end + 1), 65535, &port) || port == 0)) {
		call_fail(call, ERR_INVALID, "a port is a number from 1 to 65535");
		return false;
	}
	if (!take_literal(name, host, &n) && name_domain(name, host, &n, &err) < 0) {
		call_fail_err(call, &err);
		return false;
	}
	relay->host = span_make(host, n);
	relay->port = (uint16_t)port;
	return true;
}

static bool take_option(struct call *call, struct span word, struct ipc_relay *relay)
{
	if (span_take_iword(&word, SPAN("tls="))) {
		for (int i = 0; i < RELAY_TLS_COUNT; i++)
			if (span_eq(word, span_of(tls_names[i]))) {
				relay->tls = (uint8_t)i;
				return true;
			}
		call_fail(call, ERR_INVALID, "tls is verified, required, opportunistic or none");
		return false;
	}
	if (span_take_iword(&word, SPAN("user=")) && word.n > 0 && word.n <= IPC_RELAY_TEXT_MAX) {
		relay->user = word;
		return true;
	}
	call_fail(call, ERR_INVALID, "not an option of a route: %.*s",
	    word.n < 64 ? (int)word.n : 64, word.p);
	return false;
}

static bool check_login(struct call *call, struct ipc_relay *relay)
{
	struct span secret = call->cmd.secret;

	if (relay->user.n == 0) {
		if (secret.n == 0)
			return true;
		call_fail(call, ERR_INVALID, "a password without user=NAME");
		return false;
	}
	if (secret.n == 0 || secret.n > IPC_RELAY_TEXT_MAX || memchr(secret.p, '\0', secret.n)) {
		call_fail(call, ERR_INVALID,
		    "a login has a password of 1 to 255 bytes: say --password-stdin");
		return false;
	}
	if (relay->tls == RELAY_TLS_NONE || relay->tls == RELAY_TLS_OPPORTUNISTIC) {
		call_fail(call, ERR_INVALID,
		    "a password goes over TLS only: tls=verified or tls=required");
		return false;
	}
	relay->password = secret;
	return true;
}

/* The scope's relays but the one with that name and port. */
static uint32_t copy_others(
    const struct route *route, const struct ipc_relay *but, bool any_port, struct strbuf *row)
{
	struct dec d = dec_of(route ? route->row : span_make("", 0));
	struct ipc_relay r;
	uint32_t count = 0;

	enc_u8(row, 1);
	while (d.in.n > 0 && ipc_relay_next(&d, &r)) {
		if (span_eq(r.host, but->host) && (any_port || r.port == but->port))
			continue;
		ipc_enc_relay(row, &r);
		count++;
	}
	return count;
}

/* The route holds from now on; who sends may be away, and begins with it then. */
static void on_told(void *arg, const struct ask_answer *answer, size_t n)
{
	struct call *call = arg;

	call_ok(call, "%s", call->ok_text);
}

/* Connections that are kept for more mail know another route. */
static void tell_sender(struct call *call)
{
	static const char *const sender[] = {"smtpd-send"};
	struct ipc_admin what = {.count = 2, .words = {SPAN("routes"), SPAN("changed")}};

	if (call->a->is_stopping) {
		call_ok(call, "%s", call->ok_text);
		return;
	}
	call_leave_queue(call);
	ask_all(call->a, NULL, sender, 1, &what, TELL_MS, on_told, call);
}

void verb_route_add(struct call *call)
{
	struct ipc_relay relay = {.user = span_make("", 0), .password = span_make("", 0)};
	char scope[SCOPE_MAX], host[MAIL_DOMAIN_MAX + 1];
	struct db_key key;
	struct strbuf row;

	if (!take_scope(call, scope) || !take_host(call, host, &relay))
		return;
	for (uint32_t i = 2; i < call->arg_count; i++)
		if (!take_option(call, call->args[i], &relay))
			return;
	if (!check_login(call, &relay))
		return;
	strbuf_init(&row, ROW_BYTES_MAX);
	if (copy_others(routes_get(&call->a->routes, span_of(scope)), &relay, false, &row) ==
	    IPC_RELAYS_MAX) {
		strbuf_clear(&row);
		call_fail(call, ERR_LIMIT, "at most %d servers a route", IPC_RELAYS_MAX);
		return;
	}
	ipc_enc_relay(&row, &relay);
	row_key_text(&key, ROW_ROUTE, span_of(scope));
	change_put(call_change(call), &key, &row);
	call->after = tell_sender;
	call_commit(call, "%s goes %s%s%s", scope, relay.host.n > 0 ? "through " : "",
	    relay.host.n > 0 ? host : "directly", "; queued mail too, when it is next tried");
}

void verb_route_remove(struct call *call)
{
	struct ipc_relay relay = {0};
	char scope[SCOPE_MAX], host[MAIL_DOMAIN_MAX + 1];
	const struct route *route;
	uint32_t left = 0;
	struct db_key key;
	struct strbuf row;

	if (!take_scope(call, scope) || (call->arg_count > 1 && !take_host(call, host, &relay)))
		return;
	route = routes_get(&call->a->routes, span_of(scope));
	strbuf_init(&row, ROW_BYTES_MAX);
	if (route && call->arg_count > 1)
		left = copy_others(route, &relay, host_end(call->args[1]) == call->args[1].n, &row);
	if (!route || left == route->count) {
		strbuf_clear(&row);
		call_fail(call, ERR_NOT_FOUND, "%s has no such route", scope);
		return;
	}
	row_key_text(&key, ROW_ROUTE, span_of(scope));
	if (left > 0)
		change_put(call_change(call), &key, &row);
	else
		change_del(call_change(call), &key);
	strbuf_clear(&row);
	call->after = tell_sender;
	call_commit(call, "the route of %s was removed", scope);
}

static void show(struct call *call, const struct route *route)
{
	struct dec d = dec_of(route->row);
	struct ipc_relay r;
	uint64_t order = 1;

	while (d.in.n > 0 && ipc_relay_next(&d, &r)) {
		struct strbuf b;

		strbuf_init(&b, 4096);
		ipc_rec_text(&b, "for", route->scope);
		ipc_rec_number(&b, "order", IPC_NUMBER, order++);
		ipc_rec_text(&b, "host", r.host.n > 0 ? r.host : SPAN("direct"));
		ipc_rec_number(&b, "port", IPC_NUMBER, r.port);
		ipc_rec_text(&b, "tls", span_of(tls_names[r.tls]));
		ipc_rec_text(&b, "user", r.user);
		call_record(call, &b);
	}
}

void verb_route_list(struct call *call)
{
	size_t n;
	void **all = index_sorted(call->a->routes.scopes, &n);

	for (size_t i = 0; i < n && i < LIST_PAGE; i++)
		show(call, all[i]);
	mem_free(all);
	call_ok(call, "%s", "");
}
