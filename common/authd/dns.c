/*
 * domain dns: the records that a domain needs, made here from what keyd and smtpd-send say, and
 * compared with DNS by smtpd-send.
 */
#include "common/authd/dns.h"

#include "common/authd/args.h"
#include "common/authd/ask.h"
#include "common/authd/dns_records.h"
#include "common/base/mem.h"

#include <stdio.h>
#include <string.h>

#define ASK_MS 30000   /* keyd may make keys first */
#define CHECK_MS 60000 /* between two records: name servers that do not answer */

static const char *const keyd[] = {"keyd"};
static const char *const sender[] = {"smtpd-send"};

bool arg_domain(struct call *call, uint32_t i, char name[MAIL_DOMAIN_MAX + 1])
{
	struct err err = ERR_INIT;
	size_t n;

	if (name_domain(call->args[i], name, &n, &err) < 0) {
		call_fail_err(call, &err);
		return false;
	}
	if (index_domain(&call->a->index, span_make(name, n)) ||
	    index_domain_alias(&call->a->index, span_make(name, n)))
		return true;
	call_fail(call, ERR_NOT_FOUND, "%s is not one of our domains", name);
	return false;
}

/* --- domain dns ------------------------------------------------------------------------------- */
struct asking {
	struct call *call;
	char domain[MAIL_DOMAIN_MAX + 1];
	bool is_check, is_zone;
	struct strbuf keys, addresses, rows;
};

static void asking_free(struct asking *k)
{
	strbuf_clear(&k->keys);
	strbuf_clear(&k->addresses);
	strbuf_clear(&k->rows);
	mem_free(k);
}

static void on_checked(void *arg, const struct ask_answer *answer, size_t n)
{
	struct asking *k = arg;

	if (answer->code != ERR_NONE)
		call_fail(k->call, answer->code, "%s: %.300s", answer->daemon, answer->text);
	else
		call_ok(k->call, "%s", answer->text);
	asking_free(k);
}

/* Hands the rows out as they are, or their lines as one text. */
static void show(struct asking *k)
{
	struct dec rows = dec_of(strbuf_span(&k->rows));
	struct strbuf zone, row;
	struct ipc_value v;

	strbuf_init(&zone, DNS_ROWS_MAX);
	while (rows.in.n > 0 && dec_ok(&rows)) {
		struct span bytes = dec_bytes(&rows);
		struct dec d = dec_of(bytes);

		if (!k->is_zone) {
			strbuf_init(&row, bytes.n);
			strbuf_add(&row, bytes);
			call_record(k->call, &row);
			continue;
		}
		while (ipc_rec_next(&d, &v))
			if (span_eq(v.name, SPAN("zone")))
				strbuf_addf(&zone, "%.*s\n", SPAN_FMT(v.text));
	}
	if (k->is_zone) {
		strbuf_init(&row, DNS_ROWS_MAX + 64);
		ipc_rec_text(&row, "zone", strbuf_span(&zone));
		call_record(k->call, &row);
	}
	strbuf_clear(&zone);
	call_ok(k->call, "%s", "");
	asking_free(k);
}

static bool has_route(struct authd *a, const char *scope, const char *domain)
{
	char text[MAIL_DOMAIN_MAX + 16];
	const struct route *route;

	snprintf(text, sizeof(text), "%s%s", scope, domain);
	route = routes_get(&a->routes, span_of(text));
	return route && route->count > 0;
}

static void on_addresses(void *arg, const struct ask_answer *answer, size_t n)
{
	struct asking *k = arg;
	struct ipc_admin check = {.count = 2, .words = {SPAN("dns"), SPAN("check")}};
	struct dns_source from = {.cfg = k->call->a->cfg,
	    .domain = span_of(k->domain),
	    .has_smarthost =
		has_route(k->call->a, "all", "") || has_route(k->call->a, "from:", k->domain)};

	/* Without them the records are shown all the same. */
	if (answer->code == ERR_NONE)
		strbuf_add(&k->addresses, strbuf_span(&answer->records));
	from.keys = strbuf_span(&k->keys);
	from.addresses = strbuf_span(&k->addresses);
	dns_records(&from, &k->rows);
	if (k->rows.failed) {
		call_fail(k->call, ERR_LIMIT, "too many records");
		asking_free(k);
		return;
	}
	if (!k->is_check) {
		show(k);
		return;
	}
	check.content = strbuf_span(&k->rows);
	ask_all(k->call->a, k->call, sender, 1, &check, CHECK_MS, on_checked, k);
}

static void on_keys(void *arg, const struct ask_answer *answer, size_t n)
{
	struct asking *k = arg;
	struct ipc_admin what = {.count = 2, .words = {SPAN("network"), SPAN("addresses")}};

	if (answer->code != ERR_NONE) {
		call_fail(k->call, answer->code, "keyd: %.300s", answer->text);
		asking_free(k);
		return;
	}
	strbuf_add(&k->keys, strbuf_span(&answer->records));
	ask_all(k->call->a, NULL, sender, 1, &what, ASK_MS, on_addresses, k);
}

/* The certificates that other servers are shown. */
static void add_certificates(const struct config *cfg, struct ipc_admin *what)
{
	for (size_t i = 0; i < config_listener_count(cfg); i++) {
		const struct config_listener *l = config_listener(cfg, i);
		struct span list = span_of(l->certificates);
		struct span id;

		if (!l->enabled || l->role != ROLE_SMTP || l->tls == TLS_NONE)
			continue;
		while (what->count < 2 + IPC_KEY_IDS_MAX && config_list_next(&list, &id))
			what->words[what->count++] = id;
		return;
	}
}

void verb_domain_dns(struct call *call)
{
	struct ipc_admin what = {.count = 2, .words = {SPAN("dns")}};
	struct asking *k = mem_zalloc(sizeof(*k));

	k->call = call;
	for (uint32_t i = 1; i < call->arg_count; i++) {
		k->is_check = k->is_check || span_eq(call->args[i], SPAN("--check"));
		k->is_zone = k->is_zone || span_eq(call->args[i], SPAN("--zone"));
	}
	if (call->arg_count != 1u + k->is_check + k->is_zone || (k->is_check && k->is_zone)) {
		call_fail(call, ERR_INVALID, "usage: domain dns DOMAIN [--check|--zone]");
		mem_free(k);
		return;
	}
	if (!arg_domain(call, 0, k->domain)) {
		mem_free(k);
		return;
	}
	if (!strchr(config_str(call->a->cfg, SET_SERVER_HOSTNAME), '.')) {
		call_fail(call, ERR_INVALID,
		    "server.hostname is %s: first set it to the name of this server, like "
		    "mail.%.200s",
		    config_str(call->a->cfg, SET_SERVER_HOSTNAME), k->domain);
		mem_free(k);
		return;
	}
	if (call->a->is_stopping) {
		call_fail(call, ERR_TEMP, "authd is stopping");
		mem_free(k);
		return;
	}
	strbuf_init(&k->keys, DNS_ROWS_MAX);
	strbuf_init(&k->addresses, DNS_ROWS_MAX);
	strbuf_init(&k->rows, DNS_ROWS_MAX);
	what.words[1] = span_of(k->domain);
	add_certificates(call->a->cfg, &what);
	ask_all(call->a, NULL, keyd, 1, &what, ASK_MS, on_keys, k);
}

/* --- the world -------------------------------------------------------------------------------- */
static void on_sender_end(void *arg, const struct ask_answer *answer, size_t n)
{
	struct call *call = arg;

	if (answer->code != ERR_NONE)
		call_fail(call, answer->code, "%s: %.300s", answer->daemon, answer->text);
	else
		call_ok(call, "%s", answer->text);
}

void verb_check_network(struct call *call)
{
	struct ipc_admin what = call->cmd;

	/* Then what would keep mail from leaving directly does not matter much. */
	if (has_route(call->a, "all", ""))
		what.words[what.count++] = SPAN("relayed");
	if (call->a->is_stopping)
		call_fail(call, ERR_TEMP, "authd is stopping");
	else
		ask_all(call->a, call, sender, 1, &what, CHECK_MS, on_sender_end, call);
}

void verb_probe(struct call *call)
{
	struct ipc_admin what = {.count = 2, .words = {SPAN("probe-domain"), call->args[0]}};

	if (call->a->is_stopping)
		call_fail(call, ERR_TEMP, "authd is stopping");
	else
		ask_all(call->a, call, sender, 1, &what, CHECK_MS, on_sender_end, call);
}

/* The postmaster of the domain that the server's own name is in, or of the first. */
static bool default_sender(struct call *call, char text[NAME_TEXT_MAX + 1])
{
	struct span host = span_of(config_str(call->a->cfg, SET_SERVER_HOSTNAME));
	size_t n;
	void **all = index_sorted(call->a->index.domains, &n);
	const struct domain *found = n > 0 ? all[0] : NULL;

	for (size_t i = 0; i < n; i++) {
		const struct domain *d = all[i];

		if (span_ends(host, d->name) &&
		    (host.n == d->name.n || host.p[host.n - d->name.n - 1] == '.'))
			found = d;
	}
	mem_free(all);
	if (found)
		snprintf(text, NAME_TEXT_MAX + 1, "postmaster@%.*s", SPAN_FMT(found->name));
	return found != NULL;
}

/* An address in its one form, and whose it is; false: it is nobody's here, or none. */
static bool take_address(
    struct call *call, struct span arg, char text[NAME_TEXT_MAX + 1], bool *is_remote)
{
	struct resolver rv = authd_resolver(call->a);
	struct err err = ERR_INIT;
	struct found f;
	struct name nm;

	if (name_parse(&nm, arg, &err) < 0) {
		call_fail_err(call, &err);
		return false;
	}
	(void)name_format(&nm, text);
	resolve_step(&rv, &nm, &f);
	*is_remote = f.is_remote;
	if (f.is_remote || found_is_local(&f))
		return true;
	call_fail(call, ERR_NOT_FOUND, "no such account or alias: %s", text);
	return false;
}

static void forward_test(struct call *call)
{
	char from[NAME_TEXT_MAX + 1], to[NAME_TEXT_MAX + 1];
	struct ipc_admin what = {.count = 4, .words = {SPAN("send-test")}};
	bool is_remote, is_from_remote = false;

	if (!take_address(call, call->args[0], to, &is_remote))
		return;
	if (call->arg_count == 3 && !take_address(call, call->args[2], from, &is_from_remote))
		return;
	if (is_from_remote) {
		call_fail(call, ERR_DENIED, "%s is no address of this server", from);
		return;
	}
	if (call->arg_count == 1 && !default_sender(call, from)) {
		call_fail(call, ERR_NOT_FOUND, "there is no domain yet: domain add");
		return;
	}
	if (call->a->is_stopping) {
		call_fail(call, ERR_TEMP, "authd is stopping");
		return;
	}
	what.words[1] = span_of(from);
	what.words[2] = span_of(to);
	what.words[3] = is_remote ? SPAN("remote") : SPAN("local");
	call_leave_queue(call);
	ask_all(call->a, call, sender, 1, &what, CHECK_MS, on_sender_end, call);
}

void verb_send_test(struct call *call)
{
	if (call->arg_count == 2 ||
	    (call->arg_count == 3 && !span_eq(call->args[1], SPAN("--from")))) {
		call_fail(call, ERR_INVALID, "usage: send-test ADDRESS [--from ADDRESS]");
		return;
	}
	call->after = forward_test;
	call_commit(call, "%s", "");
}
