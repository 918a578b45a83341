/*
 * check-network: what a mail server needs of the world, found out from inside. Everything is asked
 * at once, what follows from an answer when it is there; findings are told in order.
 */
#include "smtpd/send/netcheck.h"

#include "common/base/mem.h"

#include <stdio.h>
#include <string.h>

#define ROW_MAX 4096

static size_t running;

static void netcheck_free(void *arg)
{
	struct netcheck *n = arg;

	egress_free(n->egress);
	dns_free(n->dns);
	config_unref(n->cfg);
	running--;
	mem_free(n);
}

static void tell(struct netcheck *n, const struct finding *f)
{
	static const char *const names[] = {"ok", "warning", "failed", "unknown"};
	struct strbuf row;

	strbuf_init(&row, ROW_MAX);
	ipc_rec_text(&row, "check", span_of(f->check));
	ipc_rec_text(&row, "status", span_of(names[f->status]));
	ipc_rec_text(&row, "found", span_of(f->found));
	ipc_rec_text(&row, "advice", span_of(f->advice));
	admin_record(&n->rq, &row);
	strbuf_clear(&row);
}

void finding_done(
    struct finding *f, enum finding_status status, const char *advice, const char *fmt, ...)
{
	struct netcheck *n = f->n;
	va_list ap;

	/* With a smarthost for all it does not matter. */
	if (f == &n->findings[FIND_PORT25] && !n->is_relayed && status != FIND_UNKNOWN)
		blocked_found(n->send, status == FIND_FAILED);
	f->is_done = true;
	f->status = n->is_relayed && status == FIND_FAILED ? FIND_WARNING : status;
	f->advice = advice;
	va_start(ap, fmt);
	vsnprintf(f->found, sizeof(f->found), fmt, ap);
	va_end(ap);
	for (char *p = f->found; *p; p++)
		if (ascii_is_ctl(*p))
			*p = '?';
	/* What is asked from inside of the start is told behind it. */
	while (n->has_started && n->told < n->count && n->findings[n->told].is_done)
		tell(n, &n->findings[n->told++]);
	if (!n->has_started || n->told < n->count || n->is_over)
		return;
	n->is_over = true;
	admin_end(&n->rq, ERR_NONE, "%s", "");
	loop_defer(n->send->role->loop, &n->end);
}

/* --- addresses and names ---------------------------------------------------------------------- */
static void report_address(struct netcheck *n, size_t family)
{
	struct finding *f = &n->findings[family == 0 ? FIND_IPV4 : FIND_IPV6];
	const struct own_address *own = &n->own[family];
	char text[NET_ADDR_TEXT] = "none";

	if (own->is_there)
		net_addr_format(&own->addr, text);
	if (own->is_there && own->is_private)
		finding_done(f, FIND_WARNING,
		    "A private address: the router must pass port 25 and the others on to it; the "
		    "next checks take the address that the server's name has.",
		    "%s", text);
	else if (own->is_there || family == 1)
		finding_done(f, FIND_OK,
		    own->is_there ? "" : "Mail works without IPv6, which this machine has not.",
		    "%s", text);
	else
		finding_done(f, FIND_FAILED,
		    "This machine has no way to the internet with IPv4: look at its routes.", "%s",
		    text);
}

/* The address of the name that is ours, or the first. */
static void choose_public(struct netcheck *n, size_t family)
{
	const struct name_addresses *a = &n->names[family];
	const struct own_address *own = &n->own[family];

	if (own->is_there && !own->is_private) {
		n->public[family] = own->addr;
		n->has_public[family] = true;
	} else if (own->is_there && a->count > 0) {
		n->public[family] = a->list[0];
		n->has_public[family] = true;
	}
}

static bool name_leads_back(const struct netcheck *n, size_t family)
{
	for (size_t i = 0; i < n->names[family].count; i++)
		if (net_addr_equal_ip(&n->names[family].list[i], &n->public[family]))
			return true;
	return false;
}

static void report_name(struct netcheck *n)
{
	struct finding *f = &n->findings[FIND_NAME];

	if (n->names[0].status == DNS_FAILED || n->names[0].status == DNS_BOGUS)
		finding_done(f, FIND_UNKNOWN, "No name server answers: look at dns.server.",
		    "%s: %s", n->helo, n->names[0].why);
	else if (n->names[0].count == 0)
		finding_done(f, FIND_FAILED,
		    "The name that this server says has no address: mailsteadctl domain dns shows "
		    "the record; or it is not the right name: set server.hostname.",
		    "%s", n->helo);
	else if (n->has_public[0] && !name_leads_back(n, 0))
		finding_done(f, FIND_FAILED,
		    "The name that this server says leads to another address than mail leaves "
		    "from.",
		    "%s", n->helo);
	else
		finding_done(f, FIND_OK, "", "%s", n->helo);
}

static void on_ptr(void *arg, const struct dns_answer *a)
{
	struct finding *f = arg;
	struct netcheck *n = f->n;
	size_t family = f == &n->findings[FIND_REVERSE6];
	/* Without its name an IPv6 address is not sent from. */
	enum finding_status bad = family == 0 ? FIND_FAILED : FIND_WARNING;
	char name[DNS_NAME_MAX + 1] = "";
	bool is_same = false;

	if (a->status == DNS_FAILED || a->status == DNS_BOGUS) {
		finding_done(f, FIND_UNKNOWN, "The name servers of the address do not answer.",
		    "%s", a->why);
		return;
	}
	for (size_t i = 0; i < a->count && !is_same; i++)
		is_same =
		    dns_name(a->records[i], name) && span_ieq(span_of(name), span_of(n->helo));
	if (a->count == 0)
		finding_done(f, bad,
		    "The address has no name: have your provider set it (PTR, reverse DNS) to the "
		    "server's name; without it most servers refuse mail.",
		    "none");
	else if (!is_same)
		finding_done(f, bad,
		    "The address has another name than the server says: have your provider change "
		    "it, or set outbound.helo to it.",
		    "%s", name);
	else if (!name_leads_back(n, family))
		finding_done(
		    f, bad, "The name of the address does not lead back to it.", "%s", name);
	else
		finding_done(f, FIND_OK, "", "%s", name);
}

static void ask_reverse(struct netcheck *n, size_t family)
{
	struct finding *f = &n->findings[family == 0 ? FIND_REVERSE : FIND_REVERSE6];
	char name[DNS_NAME_MAX + 1];

	if (!n->has_public[family]) {
		finding_done(f, family == 0 ? FIND_UNKNOWN : FIND_OK,
		    family == 0 ? "The address that mail leaves from is not known." : "", "none");
		return;
	}
	dns_reverse_name(&n->public[family], name);
	(void)dns_ask(n->dns, name, DNS_PTR, on_ptr, f);
}

/* --- blocklists (RFC 5782) -------------------------------------------------------------------- */
#define LISTED_ADVICE                                                                              \
	"The address is on this list, and many servers refuse mail from it: the list's web site "  \
	"says why and how to get off it; a smarthost is the way round (mailsteadctl route add)."

static void on_listed(void *arg, const struct dns_answer *a)
{
	struct finding *f = arg;
	char text[NET_ADDR_TEXT] = "";
	struct net_addr addr = {0};

	if (a->status == DNS_NO_NAME || a->status == DNS_NO_RECORD) {
		finding_done(f, FIND_OK, "", "not listed");
		return;
	}
	if (a->count > 0 && dns_address(DNS_A, a->records[0], &addr))
		net_addr_format(&addr, text);
	/* 127.255.255.x is about who asks. */
	if (a->status != DNS_FOUND || addr.ip[0] != 127 || addr.ip[1] == 255)
		finding_done(f, FIND_UNKNOWN, "The list does not answer who asks like this.", "%s",
		    text[0] ? text : a->why);
	else
		finding_done(f, FIND_FAILED, LISTED_ADVICE, "listed: %s", text);
}

/* A list that works has 127.0.0.2 on it: else its silence would mean nothing. */
static void on_test_entry(void *arg, const struct dns_answer *a)
{
	struct finding *f = arg;
	char name[DNS_NAME_MAX + 1];
	const unsigned char *ip = f->n->public[0].ip;
	int n = snprintf(name, sizeof(name), "%u.%u.%u.%u.%s", ip[3], ip[2], ip[1], ip[0], f->zone);

	if (a->status != DNS_FOUND || n < 0 || n >= (int)sizeof(name))
		finding_done(f, FIND_UNKNOWN,
		    "The list does not answer this resolver: some want to know who asks.", "%s",
		    a->why);
	else
		(void)dns_ask(f->n->dns, name, DNS_A, on_listed, f);
}

static void ask_lists(struct netcheck *n)
{
	for (size_t i = FIND_LISTS; i < n->count; i++) {
		struct finding *f = &n->findings[i];
		char name[DNS_NAME_MAX + 1];

		snprintf(name, sizeof(name), "2.0.0.127.%s", f->zone);
		if (n->has_public[0])
			(void)dns_ask(n->dns, name, DNS_A, on_test_entry, f);
		else
			finding_done(f, FIND_UNKNOWN,
			    "The address that mail leaves from is not known.", "%s", "");
	}
}

/* --- the clock -------------------------------------------------------------------------------- */
/* Signatures of the root are good for some days only. */
static void on_root(void *arg, const struct dns_answer *a)
{
	struct finding *f = arg;

	if (a->status == DNS_BOGUS)
		finding_done(f, FIND_FAILED,
		    "DNSSEC does not validate: the clock is wrong, or the name server does not "
		    "pass signatures on. Set the clock by NTP.",
		    "%s", a->why);
	else if (a->status == DNS_FAILED || !a->is_secure)
		finding_done(
		    f, FIND_UNKNOWN, "No name server answers: look at dns.server.", "%s", a->why);
	else
		finding_done(f, FIND_OK, "", "DNSSEC validates");
}

static void ask_clock(struct netcheck *n)
{
	struct finding *f = &n->findings[FIND_CLOCK];

	if (dns_is_validating(n->dns))
		(void)dns_ask(n->dns, ".", DNS_MX, on_root, f);
	else
		finding_done(
		    f, FIND_UNKNOWN, "DNSSEC is off, so nothing tells the time.", "%s", "");
}

/* --- the order -------------------------------------------------------------------------------- */
static void take_name(struct netcheck *n, size_t family, const struct dns_answer *a)
{
	struct name_addresses *to = &n->names[family];

	to->status = a->status;
	snprintf(to->why, sizeof(to->why), "%s", a->why);
	for (size_t i = 0; i < a->count && to->count < ARRAY_LEN(to->list); i++)
		if (dns_address(
			family == 0 ? DNS_A : DNS_AAAA, a->records[i], &to->list[to->count]))
			to->count++;
	choose_public(n, family);
	if (--n->waiting > 0)
		return;
	report_name(n);
	ask_reverse(n, 0);
	ask_reverse(n, 1);
	ask_lists(n);
}

static void on_a(void *arg, const struct dns_answer *a)
{
	take_name(arg, 0, a);
}

static void on_aaaa(void *arg, const struct dns_answer *a)
{
	take_name(arg, 1, a);
}

static void name_findings(struct netcheck *n)
{
	static const char *const fixed[] = {
	    "address, IPv4",
	    "address, IPv6",
	    "name",
	    "reverse name, IPv4",
	    "reverse name, IPv6",
	    "clock",
	    "port 25",
	};
	struct span list = span_of(config_str(n->cfg, SET_NETWORK_BLOCKLISTS));
	struct span zone;

	for (size_t i = 0; i < FIND_LISTS; i++)
		snprintf(n->findings[i].check, sizeof(n->findings[i].check), "%s", fixed[i]);
	n->count = FIND_LISTS;
	while (n->count < FINDINGS_MAX && span_split(&list, ',', &zone)) {
		struct finding *f = &n->findings[n->count];

		zone = span_trim(zone);
		if (zone.n == 0 || zone.n >= sizeof(f->zone))
			continue;
		memcpy(f->zone, zone.p, zone.n);
		snprintf(f->check, sizeof(f->check), "blocklist %.*s", SPAN_FMT(zone));
		n->count++;
	}
	for (size_t i = 0; i < n->count; i++)
		n->findings[i].n = n;
}

void check_network(struct send *s, bool is_relayed, const struct admin_request *rq)
{
	struct err err = ERR_INIT;
	struct netcheck *n;

	if (running > 0) {
		admin_end(rq, ERR_BUSY, "a check is running");
		return;
	}
	n = mem_zalloc(sizeof(*n));
	running++;
	n->send = s;
	n->rq = *rq;
	n->is_relayed = is_relayed;
	n->cfg = config_ref(s->role->cfg);
	n->end = (struct deferred){.fn = netcheck_free, .arg = n};
	if (send_open_dns(s, &n->dns, &err) < 0) {
		admin_end(rq, err.code, "%s", err.text);
		netcheck_free(n);
		return;
	}
	snprintf(n->helo, sizeof(n->helo), "%s", send_helo(s));
	own_addresses(n->cfg, n->own);
	name_findings(n);
	report_address(n, 0);
	report_address(n, 1);
	ask_clock(n);
	n->waiting = 2;
	(void)dns_ask(n->dns, n->helo, DNS_A, on_a, n);
	(void)dns_ask(n->dns, n->helo, DNS_AAAA, on_aaaa, n);
	n->egress = egress_start(n, &n->findings[FIND_PORT25]);
	n->has_started = true;
	while (n->told < n->count && n->findings[n->told].is_done)
		tell(n, &n->findings[n->told++]);
}
