/* Whether connections to port 25 of other servers get through: many providers block them. */
#include "smtpd/send/netcheck.h"

#include "common/base/mem.h"
#include "common/net/conn.h"
#include "common/net/connector.h"

#include <stdio.h>
#include <string.h>

#define CONNECT_MS 10000
#define GREETING_MS 10000
#define BLOCKED_ADVICE                                                                             \
	"Mail cannot leave directly: ask your provider to open port 25 (many do it on request), "  \
	"or send through a smarthost: mailsteadctl route add all HOST."

struct egress {
	struct netcheck *n;
	struct finding *f;
	struct span left; /* domains to try */
	char domain[DNS_NAME_MAX + 1], host[DNS_NAME_MAX + 1];
	struct net_addr addr;
	struct connector *connector;
	struct conn *conn;
	char last[300]; /* why the last one did not do */
};

static void next_domain(struct egress *e);

static void failed(struct egress *e, const char *why)
{
	snprintf(e->last, sizeof(e->last), "%.120s: %.160s", e->host[0] ? e->host : e->domain, why);
	conn_free(e->conn);
	e->conn = NULL;
	next_domain(e);
}

/* --- a connection ----------------------------------------------------------------------------- */
static void on_input(void *arg)
{
	struct egress *e = arg;
	struct span in = conn_input(e->conn);
	struct span line;
	char text[NET_ADDR_TEXT];

	if (span_chr(in, '\n') < 0)
		return;
	(void)span_split(&in, '\n', &line);
	line = span_sub(span_trim(line), 0, 150);
	net_addr_format(&e->addr, text);
	if (span_starts(line, SPAN("220")))
		finding_done(e->f, FIND_OK, "", "%s [%s]: %.*s", e->host, text, SPAN_FMT(line));
	else
		finding_done(e->f, FIND_WARNING,
		    "Connections get through, but that server wants none from here.",
		    "%s [%s]: %.*s", e->host, text, SPAN_FMT(line));
	conn_write(e->conn, SPAN("QUIT\r\n"));
	conn_close(e->conn);
	e->conn = NULL;
}

static void on_close(void *arg, const struct err *why)
{
	failed(arg, why->text);
}

static void on_connected(void *arg, int fd, const struct err *why)
{
	static const struct conn_ops ops = {.on_input = on_input, .on_close = on_close};
	struct egress *e = arg;

	e->connector = NULL;
	if (fd < 0) {
		failed(e, why->text);
		return;
	}
	e->conn = conn_new(e->n->send->role->loop, fd, &e->addr, NULL, &ops, e);
	conn_set_deadline(e->conn, GREETING_MS);
}

/* --- where to --------------------------------------------------------------------------------- */
static void on_a(void *arg, const struct dns_answer *a)
{
	struct egress *e = arg;
	const struct own_address *own = &e->n->own[0];

	if (a->count == 0 || !dns_address(DNS_A, a->records[0], &e->addr)) {
		failed(e, a->why[0] ? a->why : "no address");
		return;
	}
	e->addr.port = (uint16_t)config_u64(e->n->cfg, SET_OUTBOUND_PORT);
	e->connector = connector_new(e->n->send->role->loop, &e->addr,
	    own->is_there ? &own->addr : NULL, CONNECT_MS, on_connected, e);
}

static void on_mx(void *arg, const struct dns_answer *a)
{
	struct egress *e = arg;
	uint16_t best = UINT16_MAX;

	for (size_t i = 0; i < a->count; i++) {
		char host[DNS_NAME_MAX + 1];
		uint16_t preference;

		if (!dns_mx(a->records[i], &preference, host) || host[0] == '\0' ||
		    (e->host[0] && preference >= best))
			continue;
		best = preference;
		memcpy(e->host, host, sizeof(host));
	}
	if (e->host[0])
		(void)dns_ask(e->n->dns, e->host, DNS_A, on_a, e);
	else
		failed(e, a->why[0] ? a->why : "no mail server");
}

static void next_domain(struct egress *e)
{
	struct span domain;

	e->host[0] = e->domain[0] = '\0';
	while (span_split(&e->left, ',', &domain)) {
		domain = span_trim(domain);
		if (domain.n == 0 || domain.n > DNS_NAME_MAX)
			continue;
		memcpy(e->domain, domain.p, domain.n);
		e->domain[domain.n] = '\0';
		(void)dns_ask(e->n->dns, e->domain, DNS_MX, on_mx, e);
		return;
	}
	if (e->last[0])
		finding_done(e->f, FIND_FAILED, BLOCKED_ADVICE, "%s", e->last);
	else
		finding_done(
		    e->f, FIND_UNKNOWN, "network.probe_domains names nobody to try.", "%s", "");
}

struct egress *egress_start(struct netcheck *n, struct finding *f)
{
	struct egress *e = mem_zalloc(sizeof(*e));

	e->n = n;
	e->f = f;
	e->left = span_of(config_str(n->cfg, SET_NETWORK_PROBES));
	next_domain(e);
	return e;
}

void egress_free(struct egress *e)
{
	if (!e)
		return;
	connector_free(e->connector);
	conn_free(e->conn);
	mem_free(e);
}
