/*
 * probe: how mail to a domain would go just now, and why. The same questions as delivery asks
 * (route.c, sts.c, tlsa.c, tls_policy.c), then each host is spoken to as far as TLS, and told
 * goodbye. Nothing of it counts for deliveries.
 */
#include "smtpd/send/check.h"

#include "common/base/mem.h"
#include "common/mail/idna.h"
#include "common/net/conn.h"
#include "common/net/connector.h"
#include "smtpd/send/tls_policy.h"
#include "smtpd/send/tlsa.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PROBES_MAX 4
#define CONNECT_MS 10000
#define REPLY_MS 20000
#define ADDRS_MAX 4
#define ROW_MAX 8192

enum step { GREETING, EHLO, STARTTLS, HANDSHAKE };

struct probe {
	struct send *send;
	struct admin_request rq;
	char domain[DNS_NAME_MAX + 1];
	struct work load; /* authorities of its own: they may be others than a minute ago */
	struct tls_context *verified; /* NULL: there are none */
	struct err load_err;
	struct route route;
	struct tls_policy policy;
	size_t host, usable;

	/* of the host */
	struct dns_query *queries[2];
	bool is_secure, has_failed;
	char base[DNS_NAME_MAX + 1];
	struct net_addr addrs[ADDRS_MAX];
	size_t addr_count, addr;
	struct tlsa_set tlsa;
	struct host_tls tls;
	struct conn *conn;
	enum step step;
	struct reply_reader reader;
	bool has_starttls,
	    is_weak; /* is_weak: the certificate does not do, which does not matter */
	struct deferred bury;
};

static size_t running;

static void next_host(struct probe *p);
static void connect_next(struct probe *p);

static const char *host_of(const struct probe *p)
{
	return p->route.hosts[p->host].name;
}

__attribute__((format(printf, 5, 6))) static void tell(
    struct probe *p, const char *what, const char *status, const char *advice, const char *fmt, ...)
{
	char check[DNS_NAME_MAX + 40], found[600];
	struct strbuf row;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(found, sizeof(found), fmt, ap);
	va_end(ap);
	if (what[0] == '+')
		snprintf(check, sizeof(check), "%s, %s", host_of(p), what + 1);
	else
		snprintf(check, sizeof(check), "%s", what);
	for (char *c = found; *c; c++)
		if (ascii_is_ctl(*c))
			*c = '?';
	strbuf_init(&row, ROW_MAX);
	ipc_rec_text(&row, "check", span_of(check));
	ipc_rec_text(&row, "status", span_of(status));
	ipc_rec_text(&row, "found", span_of(found));
	ipc_rec_text(&row, "advice", span_of(advice));
	admin_record(&p->rq, &row);
	strbuf_clear(&row);
}

static void bury(void *arg)
{
	mem_free(arg);
}

static void end(struct probe *p)
{
	if (p->route.count > 0 && p->usable == 0)
		tell(p, "mail", "failed",
		    "It stays in the queue and is tried again until retry.lifetime.",
		    "waits: no server can be used");
	else if (p->route.count > 0)
		tell(p, "mail", "ok", "", "goes out: %zu of %zu servers can be used", p->usable,
		    p->route.count);
	admin_end(&p->rq, ERR_NONE, "%s", "");
	route_clear(&p->route);
	tls_context_unref(p->verified);
	running--;
	p->bury = (struct deferred){.fn = bury, .arg = p};
	loop_defer(p->send->role->loop, &p->bury);
}

/* --- one host: the end ------------------------------------------------------------------------ */
static void drop(struct probe *p)
{
	conn_free(p->conn);
	p->conn = NULL;
}

static void host_ends(struct probe *p, const char *waits)
{
	if (waits)
		tell(p, "+policy", "warning", "Mail is not given to this server.", "%s by %s: %s",
		    out_tls_name(p->tls.stance), tls_source_name(p->tls.source), waits);
	else
		p->usable++;
	if (p->conn) {
		conn_write(p->conn, SPAN("QUIT\r\n"));
		conn_close(p->conn);
		p->conn = NULL;
	}
	tlsa_clear(&p->tlsa);
	p->host++;
	next_host(p);
}

/* Without TLS, for whatever reason. */
static void without_tls(struct probe *p, const char *why)
{
	if (p->tls.stance >= OUT_TLS_REQUIRED) {
		host_ends(p, why);
		return;
	}
	tell(p, "+policy", "ok", "", "%s by %s: mail goes in the clear, since %s",
	    out_tls_name(p->tls.stance), tls_source_name(p->tls.source), why);
	host_ends(p, NULL);
}

static void with_tls(struct probe *p)
{
	const char *proof = p->tls.stance == OUT_TLS_DANE ? "as its TLSA records say"
			    : p->is_weak                  ? "not verified"
							  : "its certificate names it";

	tell(p, "+TLS", "ok", "", "%s %s", conn_tls_version(p->conn), conn_tls_cipher(p->conn));
	tell(p, "+policy", "ok", "", "%s by %s: mail goes over TLS, %s",
	    out_tls_name(p->tls.stance), tls_source_name(p->tls.source), proof);
	host_ends(p, NULL);
}

/* --- one host: the conversation --------------------------------------------------------------- */
static int start_tls(struct probe *p, struct err *err)
{
	struct tls_dane dane = {.base = p->base,
	    .domain = p->domain,
	    .records = p->tlsa.records,
	    .count = p->tlsa.count};

	p->step = HANDSHAKE;
	if (p->tls.stance == OUT_TLS_DANE)
		return conn_start_tls_dane(p->conn, p->send->tls, &dane, err);
	if (p->is_weak)
		return conn_start_tls_client(p->conn,
		    p->tls.stance == OUT_TLS_REQUIRED ? p->send->tls : p->send->weak, host_of(p),
		    err);
	if (!p->verified)
		return err_set(err, ERR_NOT_FOUND, "%s", p->load_err.text);
	return conn_start_tls_client(p->conn, p->verified, host_of(p), err);
}

/* What is not verified by policy is looked at all the same, and then taken as it is. */
static void handshake_failed(struct probe *p, const struct err *why)
{
	enum tls_fault fault = p->conn ? conn_tls_fault(p->conn) : TLS_FAULT_NONE;
	const char *said = fault == TLS_FAULT_EXPIRED ? "it has expired"
			   : fault == TLS_FAULT_NAME  ? "it names another host"
			   : fault == TLS_FAULT_UNTRUSTED
			       ? "no authority that is known has signed it"
			       : why->text;

	drop(p);
	if (p->tls.stance >= OUT_TLS_VERIFIED) {
		tell(p, "+certificate", "warning", "The administrator there has to put it right.",
		    "%s", said);
		host_ends(p, said);
	} else if (!p->is_weak) {
		tell(p, "+certificate", "warning",
		    p->tls.is_trial
			? "The domain's policy (MTA-STS) is being tested: it would fail."
			: "Nothing asks for more here.",
		    "%s", said);
		p->is_weak = true;
		p->addr--;
		connect_next(p);
	} else {
		without_tls(p, said);
	}
}

static void on_ehlo_line(void *arg, unsigned number, struct span text)
{
	struct probe *p = arg;

	if (p->step == EHLO && number > 0 && span_ieq(span_trim(text), SPAN("STARTTLS")))
		p->has_starttls = true;
}

static void begin_tls(struct probe *p)
{
	struct err err = ERR_INIT;

	if (start_tls(p, &err) < 0)
		handshake_failed(p, &err);
}

static void after_ehlo(struct probe *p)
{
	if (p->tls.stance == OUT_TLS_NONE) {
		without_tls(p, "nothing else is wanted");
	} else if (p->has_starttls) {
		p->step = STARTTLS;
		conn_write(p->conn, SPAN("STARTTLS\r\n"));
	} else {
		tell(p, "+STARTTLS", "warning", "The administrator there has to switch it on.",
		    "not offered");
		without_tls(p, "it offers no TLS");
	}
}

static void take_reply(struct probe *p, const struct reply *r)
{
	if (!reply_is_good(r) && p->step != STARTTLS) {
		tell(p, "+greeting", "warning", "The server says why.", "%s", r->text);
		host_ends(p, r->text);
	} else if (p->step == GREETING) {
		if (!p->is_weak)
			tell(p, "+greeting", "ok", "", "%s", r->text);
		p->step = EHLO;
		p->has_starttls = false;
		conn_writef(p->conn, "EHLO %s\r\n", send_helo(p->send));
	} else if (p->step == EHLO) {
		after_ehlo(p);
	} else if (reply_is_good(r)) {
		begin_tls(p);
	} else {
		tell(p, "+STARTTLS", "warning", "The server says why.", "%s", r->text);
		without_tls(p, "STARTTLS is refused");
	}
}

static void on_input(void *arg)
{
	struct probe *p = arg;
	struct conn *conn = p->conn;

	while (p->conn == conn && p->step != HANDSHAKE) {
		struct err err = ERR_INIT;
		struct reply reply;
		size_t used;
		int got = reply_read(&p->reader, conn_input(conn), &used, &err);

		conn_consume(conn, used);
		if (got == 0)
			return;
		reply = p->reader.reply;
		reply_init(&p->reader);
		if (got < 0)
			reply_make(&reply, 500, "%s", err.text);
		take_reply(p, &reply);
	}
}

static void on_secure(void *arg)
{
	with_tls(arg);
}

static void on_close(void *arg, const struct err *why)
{
	struct probe *p = arg;

	if (p->step == HANDSHAKE) {
		handshake_failed(p, why);
		return;
	}
	tell(p, "+connection", "warning", "The server is down, or wants nothing from here.", "%s",
	    why->text);
	drop(p);
	host_ends(p, "it does not answer");
}

static void on_connected(void *arg, int fd, const struct err *why)
{
	static const struct conn_ops ops = {
	    .on_input = on_input, .on_secure = on_secure, .on_close = on_close};
	struct probe *p = arg;
	const struct net_addr *to = &p->addrs[p->addr - 1];
	char text[NET_ADDR_TEXT];

	net_addr_format_port(to, text);
	if (fd < 0) {
		tell(p, "+connection", "warning",
		    "Nobody listens there, or port 25 is blocked: mailsteadctl check-network.",
		    "%s: %s", text, why->text);
		connect_next(p);
		return;
	}
	if (!p->is_weak)
		tell(p, "+connection", "ok", "", "%s", text);
	p->conn = conn_new(p->send->role->loop, fd, to, NULL, &ops, p);
	conn_set_deadline(p->conn, REPLY_MS);
	reply_init(&p->reader);
	p->reader.on_line = on_ehlo_line;
	p->reader.arg = p;
	p->step = GREETING;
	if (p->route.relays && p->addrs[0].port == 465)
		begin_tls(p);
}

static void connect_next(struct probe *p)
{
	struct own_address own[2];
	const struct own_address *from;
	const struct net_addr *to;

	if (p->addr == p->addr_count) {
		host_ends(p, "it cannot be reached");
		return;
	}
	to = &p->addrs[p->addr++];
	own_addresses(p->send->role->cfg, own);
	from = &own[to->family == AF_INET6];
	(void)connector_new(p->send->role->loop, to, from->is_there ? &from->addr : NULL,
	    CONNECT_MS, on_connected, p);
}

/* --- one host: what DNS says ------------------------------------------------------------------ */
static void begin_host(struct probe *p)
{
	if (p->route.relays)
		tls_of_relay(p->route.relays[p->host].tls, &p->tls);
	else
		tls_of_host(&p->policy, p->route.sts, &p->tlsa, host_of(p), &p->tls);
	p->is_weak = false;
	if (p->addr_count == 0)
		host_ends(
		    p, p->has_failed ? "its address cannot be found now" : "it has no address");
	else if (p->tls.stance == OUT_TLS_DANE && p->tlsa.count == 0)
		host_ends(p, "it has no TLSA records that DNSSEC proves");
	else if (p->tls.is_refused)
		host_ends(p, "the domain's policy does not name it");
	else
		connect_next(p);
}

static void on_tlsa(void *arg, struct tlsa_found *f)
{
	struct probe *p = arg;

	if (f->has_failed) {
		tell(p, "+TLSA", "warning",
		    "Who keeps them from us must not get the mail (RFC 7672).", "%s", f->why);
		host_ends(p, "its TLSA records cannot be found now");
		return;
	}
	p->tlsa = f->set;
	f->set = (struct tlsa_set){0};
	memcpy(p->base, f->base, sizeof(p->base));
	tell(p, "+TLSA", "ok", "", "%zu records at %s", p->tlsa.count, p->base);
	begin_host(p);
}

static void take_addresses(struct probe *p, enum dns_type type, const struct dns_answer *a)
{
	uint16_t port = (uint16_t)config_u64(p->send->role->cfg, SET_OUTBOUND_PORT);

	p->has_failed |= a->status == DNS_FAILED || a->status == DNS_BOGUS;
	p->is_secure = p->is_secure && a->is_secure;
	if (a->canonical[0])
		tlsa_base_name(p->base, a->canonical);
	for (size_t i = 0; i < a->count && p->addr_count < ADDRS_MAX; i++) {
		if (!dns_address(type, a->records[i], &p->addrs[p->addr_count]))
			continue;
		p->addrs[p->addr_count++].port =
		    p->route.relays ? p->route.relays[p->host].port : port;
	}
	if (p->queries[0] || p->queries[1])
		return;
	if (p->addr_count > 0 && p->is_secure && !p->route.relays && p->policy.uses_dane)
		(void)tlsa_ask(p->send->dns, p->base, host_of(p), p->addrs[0].port, on_tlsa, p);
	else
		begin_host(p);
}

static void on_a(void *arg, const struct dns_answer *a)
{
	struct probe *p = arg;

	p->queries[0] = NULL;
	take_addresses(p, DNS_A, a);
}

static void on_aaaa(void *arg, const struct dns_answer *a)
{
	struct probe *p = arg;

	p->queries[1] = NULL;
	take_addresses(p, DNS_AAAA, a);
}

/* A host that is named by its address. */
static bool take_literal(struct probe *p)
{
	struct span text = span_of(host_of(p));

	if (text.n < 3 || text.p[0] != '[')
		return false;
	text = span_sub(text, 1, text.n - 2);
	(void)span_take_iword(&text, SPAN("IPv6:"));
	if (net_addr_parse(&p->addrs[0], text,
		p->route.relays ? p->route.relays[p->host].port
				: (uint16_t)config_u64(p->send->role->cfg, SET_OUTBOUND_PORT),
		NULL) == 0)
		p->addr_count = 1;
	return true;
}

static void next_host(struct probe *p)
{
	if (p->host == p->route.count) {
		end(p);
		return;
	}
	p->addr = p->addr_count = 0;
	p->is_secure = p->route.is_secure;
	p->has_failed = false;
	tlsa_base_name(p->base, host_of(p));
	if (take_literal(p)) {
		begin_host(p);
		return;
	}
	p->queries[0] = dns_ask(p->send->dns, host_of(p), DNS_A, on_a, p);
	if (ipv6_is_on(p->send))
		p->queries[1] = dns_ask(p->send->dns, host_of(p), DNS_AAAA, on_aaaa, p);
}

/* --- the domain ------------------------------------------------------------------------------- */
static void tell_sts(struct probe *p)
{
	const struct sts *sts = p->route.sts;

	if (!sts) {
		tell(p, "MTA-STS", "ok", "", "not asked for: %s %s holds",
		    p->policy.is_rule ? "outbound.tls_rules" : "outbound.tls",
		    out_tls_name(p->policy.stance));
		return;
	}
	if (sts->fault != STS_FAULT_NONE)
		tell(p, "MTA-STS, web server", "warning",
		    "DNS announces a policy that the domain's web server does not have.", "%s",
		    sts->why);
	if (!sts->is_there)
		tell(p, "MTA-STS", "ok", "", "no policy");
	else
		tell(p, "MTA-STS", "ok", "", "mode %s, %zu patterns, max_age %u, id %s",
		    sts_mode_name(sts->policy.mode), sts->policy.mx_count, sts->policy.max_age,
		    sts->id);
}

static void tell_route(struct probe *p)
{
	char names[500] = "";
	size_t n = 0;

	for (size_t i = 0; i < p->route.count && n < sizeof(names); i++)
		n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", i > 0 ? ", " : "",
		    p->route.hosts[i].name);
	tell(p, p->route.relays ? "route" : "MX", "ok", "", "%s%s", names,
	    p->route.is_secure ? " (proven by DNSSEC)" : "");
}

static void on_route(void *arg, struct route *r)
{
	struct probe *p = arg;

	p->route = *r;
	r->relays = NULL;
	r->sts = NULL;
	if (r->status != ROUTE_FOUND) {
		p->route.count = 0;
		tell(p, "MX", "failed",
		    r->status == ROUTE_NEVER ? "Mail to this domain goes back to its sender."
					     : "Mail to this domain waits.",
		    "%s", r->reply.text);
		end(p);
		return;
	}
	tell_route(p);
	if (!p->route.relays)
		tell_sts(p);
	next_host(p);
}

static void load_run(struct work *w)
{
	struct probe *p = container_of(w, struct probe, load);

	p->verified = authorities_load(p->send, &p->load_err);
}

static void load_done(struct work *w)
{
	struct probe *p = container_of(w, struct probe, load);

	(void)route_ask(p->send, p->domain, "", true, on_route, p);
}

void probe_domain(struct send *s, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	struct probe *p;
	size_t n;

	if (running == PROBES_MAX) {
		admin_end(rq, ERR_BUSY, "%d probes are running", PROBES_MAX);
		return;
	}
	p = mem_zalloc(sizeof(*p));
	if (!mail_domain_ascii(cmd->words[1], p->domain, &n)) {
		mem_free(p);
		admin_end(rq, ERR_INVALID, "no name of a domain");
		return;
	}
	running++;
	p->send = s;
	p->rq = *rq;
	tls_policy_of(s->role->cfg, p->domain, &p->policy);
	p->load = (struct work){.run = load_run, .done = load_done};
	workers_submit(queue_workers(s->queue), &p->load);
}

bool probes_are_idle(void)
{
	return running == 0;
}
