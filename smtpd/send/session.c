/* A connection to a host of a domain: route, addresses, greeting, EHLO, STARTTLS. */
#include "smtpd/send/session.h"

#include "common/base/mem.h"
#include "common/log/log.h"
#include "common/mail/idna.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_MS 30000
#define GREETING_MS 120000
#define COMMAND_MS 300000
#define INPUT_MAX (64 * 1024)
#define SMTPS_PORT 465 /* RFC 8314: TLS from the first byte */

static void next_address(struct session *c);
static void next_host(struct session *c);

const char *session_host(const struct session *c)
{
	return c->host < c->route.count ? c->route.hosts[c->host].name : "";
}

const struct relay *session_relay(const struct session *c)
{
	return c->route.relays && c->host < c->route.count ? &c->route.relays[c->host] : NULL;
}

/* --- the end ---------------------------------------------------------------------------------- */
static void bury(void *arg)
{
	mem_free(arg);
}

/* Whoever is on the stack above may still look at is_ended. */
static void session_free(struct session *c)
{
	struct dest *d = c->dest;

	for (size_t i = 0; i < ARRAY_LEN(c->queries); i++)
		if (c->queries[i])
			dns_cancel(c->queries[i]);
	if (c->tlsa_query)
		tlsa_cancel(c->tlsa_query);
	if (c->route_query)
		route_cancel(c->route_query);
	connector_free(c->connector);
	list_remove(&c->await);
	conn_free(c->conn);
	list_remove(&c->link);
	route_clear(&c->route);
	tlsa_clear(&c->tlsa);
	transfer_clear(c);
	c->is_ended = true;
	c->bury = (struct deferred){.fn = bury, .arg = c};
	loop_defer(c->send->role->loop, &c->bury);
	dest_session_ended(d);
}

void session_quit(struct session *c)
{
	if (c->conn) {
		conn_write(c->conn, SPAN("QUIT\r\n"));
		list_remove(&c->await);
		conn_close(c->conn);
		c->conn = NULL;
	}
	session_free(c);
}

/* No address of no host did: the mail has to wait, and so have all others for a moment. */
static void exhausted(struct session *c)
{
	if (c->is_own && c->last.code == 0) {
		/* RFC 5321 5.1: nobody else takes it, and neither do we. */
		reply_make(&c->last, 554,
		    "5.4.6 mail for %s comes back to this server, which does not take it",
		    c->dest->name);
		transfer_abort(c, RESULT_NEVER, &c->last);
		session_free(c);
		return;
	}
	if (c->last.code == 0)
		reply_make(&c->last, 451, "4.4.1 no host to try");
	if (!c->route.is_by_sender)
		dest_is_dead(c->dest, &c->last, c->last_host);
	transfer_abort(c, RESULT_LATER, &c->last);
	session_free(c);
}

static void drop_connection(struct session *c)
{
	list_remove(&c->await);
	conn_free(c->conn);
	c->conn = NULL;
}

void session_broken(struct session *c, int code, const char *fmt, ...)
{
	char text[REPLY_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	reply_make(&c->last, code, "%s", text);
	snprintf(c->last_host, sizeof(c->last_host), "%s", session_host(c));
	log_info("smtp-out-broken", LOG_STR("session", c->id), LOG_STR("host", c->last_host),
	    LOG_STR("reason", text));
	drop_connection(c);
	c->is_dropped = c->is_reading;
	if (!c->is_reading)
		session_go_on(c);
}

void session_go_on(struct session *c)
{
	c->is_dropped = false;
	if (c->was_alive || !c->mail) {
		/* In the middle of a mail: its next time is written down already. */
		transfer_abort(c, RESULT_LATER, &c->last);
		session_free(c);
	} else if (c->mails > 0) {
		/* It was good for some, and ended in between: from the start. */
		c->mails = 0;
		c->host = 0;
		next_host(c);
	} else {
		c->is_without_tls = c->is_trial_over = false;
		next_address(c);
	}
}

/* --- replies ---------------------------------------------------------------------------------- */
static void on_greeting(struct session *c, const struct reply *r);
static void on_ehlo(struct session *c, const struct reply *r);
static void on_starttls(struct session *c, const struct reply *r);

static void take_reply(struct session *c, const struct reply *r)
{
	if (log_is_enabled(LOG_DEBUG))
		log_debug("smtp-out-reply", LOG_STR("session", c->id), LOG_STR("reply", r->text));
	switch (c->step) {
	case STEP_GREETING:
		on_greeting(c, r);
		break;
	case STEP_EHLO:
	case STEP_HELO:
		on_ehlo(c, r);
		break;
	case STEP_STARTTLS:
		on_starttls(c, r);
		break;
	case STEP_AUTH:
	case STEP_LOGIN_USER:
	case STEP_LOGIN_PASSWORD:
		auth_reply(c, r);
		break;
	case STEP_IDLE:
		session_quit(c); /* 421, most likely */
		break;
	default:
		transfer_reply(c, r);
		break;
	}
}

static void on_input(void *arg)
{
	struct session *c = arg;
	struct conn *conn = c->conn;

	/* A reply may end the session, or this connection: what is behind it is nobody's then. */
	while (!c->is_ended && c->conn == conn && c->step != STEP_HANDSHAKE) {
		struct err err = ERR_INIT;
		struct reply reply;
		size_t used;
		int got = reply_read(&c->reader, conn_input(conn), &used, &err);

		conn_consume(conn, used);
		if (got == 0)
			break;
		if (got < 0) {
			session_broken(c, 451, "4.5.0 %s", err.text);
			break;
		}
		reply = c->reader.reply;
		reply_init(&c->reader);
		take_reply(c, &reply);
	}
}

static void on_drain(void *arg)
{
	transfer_drain(arg);
}

static void say_ehlo(struct session *c)
{
	c->step = STEP_EHLO;
	c->caps = 0;
	c->size_max = 0;
	conn_set_deadline(c->conn, COMMAND_MS);
	conn_writef(c->conn, "EHLO %s\r\n", send_helo(c->send));
}

static bool is_tls_must(const struct session *c)
{
	return c->tls.stance >= OUT_TLS_REQUIRED;
}

static bool is_tls_first(const struct session *c)
{
	const struct relay *relay = session_relay(c);

	return relay && relay->port == SMTPS_PORT && relay->tls != RELAY_TLS_NONE;
}

/* A policy that is being tested wants it, and this address has not failed at it yet. */
static bool is_trial(const struct session *c)
{
	const struct send *s = c->send;

	return c->tls.is_trial && !c->is_trial_over && (s->verified || !s->authorities.is_loaded);
}

static enum out_tls wanted_tls(const struct session *c)
{
	return is_trial(c) ? OUT_TLS_VERIFIED : c->tls.stance;
}

static void await_greeting(struct session *c)
{
	c->step = STEP_GREETING;
	conn_set_deadline(c->conn, GREETING_MS);
}

static int start_tls(struct session *c, struct err *err)
{
	struct send *s = c->send;
	struct tls_dane dane = {.base = c->base,
	    .domain = c->domain,
	    .records = c->tlsa.records,
	    .count = c->tlsa.count};
	int rc;

	switch (wanted_tls(c)) {
	case OUT_TLS_DANE:
		rc = conn_start_tls_dane(c->conn, s->tls, &dane, err);
		c->is_verified = dane.is_usable; /* it will be, or fail */
		return rc;
	case OUT_TLS_VERIFIED:
		if (!s->verified)
			return err_set(err, ERR_NOT_FOUND,
			    "there are no certificate authorities: tls.ca_file");
		c->is_verified = true;
		return conn_start_tls_client(c->conn, s->verified, session_host(c), err);
	case OUT_TLS_REQUIRED:
		return conn_start_tls_client(c->conn, s->tls, session_host(c), err);
	default:
		return conn_start_tls_client(c->conn, s->weak, session_host(c), err);
	}
}

void session_handshake(struct session *c)
{
	struct err err = ERR_INIT;

	c->step = STEP_HANDSHAKE;
	c->is_verified = false;
	if (wanted_tls(c) == OUT_TLS_VERIFIED && !authorities_await(c)) {
		conn_pause(c->conn);
		return;
	}
	conn_resume(c->conn);
	/* Bytes behind the reply would be taken for the server's words under TLS. */
	if (start_tls(c, &err) < 0)
		session_broken(c, 451, "4.7.5 STARTTLS: %s", err.text);
}

static void on_secure(void *arg)
{
	struct session *c = arg;

	if (is_tls_first(c))
		await_greeting(c);
	else
		say_ehlo(c);
}

static void on_close(void *arg, const struct err *why)
{
	struct session *c = arg;

	if (c->step == STEP_IDLE) {
		session_free(c);
		return;
	}
	if (c->step == STEP_HANDSHAKE && is_trial(c)) {
		log_warning("smtp-out-sts-testing", LOG_STR("session", c->id),
		    LOG_STR("host", session_host(c)), LOG_ERR(why));
		c->is_trial_over = true;
		drop_connection(c);
		c->addr--;
		next_address(c);
		return;
	}
	if (c->step == STEP_HANDSHAKE && !is_tls_must(c) && !is_tls_first(c)) {
		/* Opportunistic means: rather in the clear than not at all. */
		log_warning("smtp-out-no-tls", LOG_STR("session", c->id),
		    LOG_STR("host", session_host(c)), LOG_ERR(why));
		c->is_without_tls = true;
		drop_connection(c);
		c->addr--;
		next_address(c);
		return;
	}
	if (c->step == STEP_HANDSHAKE)
		session_broken(c, 451, "4.7.5 no TLS as it is required here (%s): %s",
		    out_tls_name(c->tls.stance), why->text);
	else
		session_broken(c, 421, "4.4.2 %s", why->text);
}

static const struct conn_ops ops = {
    .on_input = on_input, .on_drain = on_drain, .on_secure = on_secure, .on_close = on_close};

/* --- greeting, EHLO, STARTTLS ----------------------------------------------------------------- */
static void on_greeting(struct session *c, const struct reply *r)
{
	/* Also a permanent no is only this host's. */
	if (!reply_is_good(r)) {
		session_broken(c, 451, "4.3.2 greeted with: %s", r->text);
		return;
	}
	say_ehlo(c);
}

static void take_mechanisms(struct session *c, struct span text)
{
	struct span word;

	while (span_split(&text, ' ', &word)) {
		if (span_ieq(word, SPAN("PLAIN")))
			c->caps |= CAP_AUTH_PLAIN;
		if (span_ieq(word, SPAN("LOGIN")))
			c->caps |= CAP_AUTH_LOGIN;
	}
}

static void on_ehlo_line(void *arg, unsigned number, struct span text)
{
	static const struct {
		const char *name;
		unsigned cap;
	} known[] = {{"PIPELINING", CAP_PIPELINING}, {"8BITMIME", CAP_8BITMIME}, {"SIZE", CAP_SIZE},
	    {"STARTTLS", CAP_STARTTLS}, {"SMTPUTF8", CAP_SMTPUTF8}, {"DSN", CAP_DSN},
	    {"REQUIRETLS", CAP_REQUIRETLS}, {"CHUNKING", CAP_CHUNKING}};
	struct session *c = arg;
	struct span word;

	if (c->step != STEP_EHLO || number == 0 || !span_split(&text, ' ', &word))
		return;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (span_ieq(word, span_of(known[i].name)))
			c->caps |= known[i].cap;
	if (span_ieq(word, SPAN("SIZE")) && text.p)
		(void)span_u64(span_trim(text), UINT64_MAX, &c->size_max);
	if (span_ieq(word, SPAN("AUTH")))
		take_mechanisms(c, text);
}

static void on_ehlo(struct session *c, const struct reply *r)
{
	const struct relay *relay = session_relay(c);

	if (reply_is_permanent(r) && c->step == STEP_EHLO && !conn_is_tls(c->conn)) {
		c->step = STEP_HELO;
		conn_writef(c->conn, "HELO %s\r\n", send_helo(c->send));
		return;
	}
	if (!reply_is_good(r)) {
		session_broken(c, 451, "4.3.2 EHLO was answered with: %s", r->text);
		return;
	}
	if (c->step == STEP_EHLO && (c->caps & CAP_STARTTLS) && !conn_is_tls(c->conn) &&
	    !c->is_without_tls && c->tls.stance != OUT_TLS_NONE) {
		c->step = STEP_STARTTLS;
		conn_write(c->conn, SPAN("STARTTLS\r\n"));
	} else if (is_tls_must(c) && !conn_is_tls(c->conn)) {
		session_broken(c, 451, "4.7.0 it offers no TLS, which is required here (%s)",
		    out_tls_name(c->tls.stance));
	} else if (relay && relay->user[0]) {
		auth_start(c, relay);
	} else {
		transfer_start(c);
	}
}

static void on_starttls(struct session *c, const struct reply *r)
{
	if (reply_is_good(r)) {
		session_handshake(c);
	} else if (is_tls_must(c)) {
		session_broken(c, 451, "4.7.0 STARTTLS was refused: %s", r->text);
	} else {
		log_warning("smtp-out-no-tls", LOG_STR("session", c->id),
		    LOG_STR("host", session_host(c)), LOG_STR("reason", r->text));
		transfer_start(c);
	}
}

/* --- addresses -------------------------------------------------------------------------------- */
static void on_connected(void *arg, int fd, const struct err *why)
{
	static const struct conn_limits limits = {.input_max = INPUT_MAX,
	    .output_high = 128 * 1024,
	    .output_low = 32 * 1024,
	    .output_max = 1024 * 1024};
	struct session *c = arg;

	c->connector = NULL;
	if (!session_relay(c) && fd < 0)
		blocked_failed(c->send, &c->addrs[c->addr - 1]);
	else if (!session_relay(c))
		blocked_reached(c->send);
	if (fd < 0) {
		session_broken(c, 451, "4.4.1 %s", why->text);
		return;
	}
	c->conn = conn_new(c->send->role->loop, fd, &c->addrs[c->addr - 1], &limits, &ops, c);
	reply_init(&c->reader);
	c->is_verified = false;
	if (is_tls_first(c))
		session_handshake(c);
	else
		await_greeting(c);
}

/* The setting's address of that family; false if it names none. */
static bool our_address(const struct session *c, sa_family_t family, struct net_addr *out)
{
	struct span list = span_of(config_str(c->send->role->cfg, SET_OUTBOUND_BIND));
	struct span one;

	while (span_split(&list, ',', &one))
		if (net_addr_parse(out, span_trim(one), 0, NULL) == 0 && out->family == family)
			return true;
	return false;
}

static void next_address(struct session *c)
{
	const struct net_addr *to;
	struct net_addr from;
	char text[NET_ADDR_TEXT];
	bool has_from;

	if (c->addr == c->addr_count) {
		c->host++;
		next_host(c);
		return;
	}
	to = &c->addrs[c->addr++];
	has_from = our_address(c, to->family, &from);
	net_addr_format_port(to, text);
	log_debug("smtp-out-connect", LOG_STR("session", c->id), LOG_STR("domain", c->dest->name),
	    LOG_STR("host", session_host(c)), LOG_STR("address", text));
	c->step = STEP_CONNECT;
	c->connector = connector_new(
	    c->send->role->loop, to, has_from ? &from : NULL, CONNECT_MS, on_connected, c);
}

/* Mail that goes to ourselves would come back here. */
static bool is_ourselves(const struct session *c, const struct net_addr *a)
{
	const struct config *cfg = c->send->role->cfg;

	for (size_t i = 0; i < config_listener_count(cfg); i++) {
		const struct config_listener *l = config_listener(cfg, i);
		struct net_addr own;

		if (l->role != ROLE_SMTP || l->port != a->port)
			continue;
		if (strcmp(l->address, "*") == 0
			? net_addr_is_loopback(a)
			: net_addr_parse(&own, span_of(l->address), l->port, NULL) == 0 &&
			      net_addr_equal_ip(&own, a))
			return true;
	}
	return false;
}

static void add_address(struct session *c, struct net_addr *a)
{
	const struct relay *relay = session_relay(c);

	a->port = relay ? relay->port : (uint16_t)config_u64(c->send->role->cfg, SET_OUTBOUND_PORT);
	if (c->addr_count == ADDRS_MAX)
		return;
	if (is_ourselves(c, a)) {
		c->is_own = true;
		return;
	}
	c->addrs[c->addr_count++] = *a;
}

static void take_addresses(struct session *c, enum dns_type type, const struct dns_answer *a)
{
	bool has_failed = a->status == DNS_FAILED || a->status == DNS_BOGUS;

	/* An answer that somebody keeps from us must not turn DANE off. */
	c->is_secure = c->is_secure && (a->is_secure || has_failed);
	if (a->status == DNS_FOUND && a->canonical[0])
		tlsa_base_name(c->base, a->canonical);
	for (size_t i = 0; i < a->count; i++) {
		struct net_addr addr;

		if (dns_address(type, a->records[i], &addr))
			add_address(c, &addr);
	}
	if (has_failed)
		reply_make(&c->last, 451, "4.4.3 the address of %s cannot be found now: %s",
		    session_host(c), a->why);
}

/* Nothing that this host has may be used; the next one. */
static void pass_over(struct session *c, const char *why)
{
	c->addr = c->addr_count;
	session_broken(c, 451, "4.7.5 %s", why);
}

/* All is known about the host. */
static void begin_host(struct session *c)
{
	const struct relay *relay = session_relay(c);

	if (relay)
		tls_of_relay(relay->tls, &c->tls);
	else
		tls_of_host(&c->policy, c->route.sts, &c->tlsa, session_host(c), &c->tls);
	if (c->addr_count > 0 && c->tls.stance == OUT_TLS_DANE && c->tlsa.count == 0)
		pass_over(c, c->is_secure ? "it has no TLSA records, which are required here"
					  : "DNSSEC proves no TLSA records of it, which are "
					    "required here");
	else if (c->addr_count > 0 && c->tls.is_refused)
		pass_over(c, "the domain's policy (MTA-STS) does not name it");
	else
		next_address(c);
}

static void on_tlsa(void *arg, struct tlsa_found *f)
{
	struct session *c = arg;

	c->tlsa_query = NULL;
	if (f->has_failed) {
		/* RFC 7672 2.1.2: who keeps the answer from us must not get the mail. */
		pass_over(c, f->why);
		return;
	}
	c->tlsa = f->set;
	f->set = (struct tlsa_set){0};
	memcpy(c->base, f->base, sizeof(c->base));
	begin_host(c);
}

static void resolved(struct session *c)
{
	if (c->queries[0] || c->queries[1])
		return;
	c->is_secure = c->is_secure && c->route.is_secure && !session_relay(c);
	if (c->addr_count == 0 && c->last.code == 0 && !c->is_own)
		reply_make(&c->last, 451, "4.4.4 %s has no address", session_host(c));
	if (c->addr_count > 0 && c->is_secure && c->policy.uses_dane)
		c->tlsa_query =
		    tlsa_ask(c->send->dns, c->base, session_host(c), c->addrs[0].port, on_tlsa, c);
	else
		begin_host(c);
}

static void on_a(void *arg, const struct dns_answer *a)
{
	struct session *c = arg;

	c->queries[0] = NULL;
	take_addresses(c, DNS_A, a);
	resolved(c);
}

static void on_aaaa(void *arg, const struct dns_answer *a)
{
	struct session *c = arg;

	c->queries[1] = NULL;
	take_addresses(c, DNS_AAAA, a);
	resolved(c);
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]"; of a route also without the brackets. */
static bool take_literal(struct session *c, const char *name)
{
	struct span text = span_of(name);
	struct net_addr a;

	if (text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']') {
		text = span_sub(text, 1, text.n - 2);
		(void)span_take_iword(&text, SPAN("IPv6:"));
	} else if (!session_relay(c)) {
		return false;
	}
	if (net_addr_parse(&a, text, 0, NULL) < 0)
		return name[0] == '[';
	add_address(c, &a);
	return true;
}

static void next_host(struct session *c)
{
	const char *name = session_host(c);

	c->addr = c->addr_count = 0;
	c->is_without_tls = c->is_trial_over = false;
	c->is_secure = true;
	tlsa_clear(&c->tlsa);
	tlsa_base_name(c->base, name);
	if (c->host == c->route.count) {
		exhausted(c);
		return;
	}
	c->step = STEP_RESOLVE;
	tls_policy_of(c->send->role->cfg, c->domain, &c->policy);
	if (take_literal(c, name)) {
		c->is_secure = false;
		begin_host(c);
		return;
	}
	c->queries[0] = dns_ask(c->send->dns, name, DNS_A, on_a, c);
	if (ipv6_is_on(c->send))
		c->queries[1] = dns_ask(c->send->dns, name, DNS_AAAA, on_aaaa, c);
}

/* --- the beginning ---------------------------------------------------------------------------- */
static void on_route(void *arg, struct route *r)
{
	struct session *c = arg;

	c->route_query = NULL;
	c->route = *r;
	r->relays = NULL;
	r->sts = NULL;
	if (r->status == ROUTE_FOUND) {
		next_host(c);
		return;
	}
	if (r->status == ROUTE_LATER && !r->is_by_sender)
		dest_is_dead(c->dest, &r->reply, "");
	transfer_abort(c, r->status == ROUTE_NEVER ? RESULT_NEVER : RESULT_LATER, &r->reply);
	/* What holds for this mail holds for all of the domain. */
	while (r->status == ROUTE_NEVER && !r->is_by_sender && (c->mail = dest_take(c->dest)))
		transfer_abort(c, RESULT_NEVER, &r->reply);
	session_free(c);
}

void session_start(struct dest *d)
{
	struct session *c = mem_zalloc(sizeof(*c));
	size_t n;

	c->dest = d;
	c->send = d->send;
	if (!mail_domain_ascii(span_of(d->name), c->domain, &n))
		snprintf(c->domain, sizeof(c->domain), "%s", d->name);
	c->reader.on_line = on_ehlo_line;
	c->reader.arg = c;
	strbuf_init(&c->slice, SLICE_ROOM);
	role_session_id(c->id);
	list_append(&d->sessions, &c->link);
	d->session_count++;
	d->send->sessions++;
	c->generation = d->send->generation;
	c->mail = dest_take(d);
	c->step = STEP_ROUTE;
	mail_sender_domain(c->mail, c->sender_domain);
	c->route_query = route_ask(d->send, d->name, c->sender_domain, false, on_route, c);
}

void session_idle(struct session *c)
{
	c->step = STEP_IDLE;
	conn_set_deadline(c->conn, IDLE_MS);
}

static struct session *first_idle(struct dest *d)
{
	LIST_EACH (it, &d->sessions) {
		struct session *c = container_of(it, struct session, link);

		if (c->step == STEP_IDLE)
			return c;
	}
	return NULL;
}

/* The end of one may begin others: each time from the start. */
void sessions_end_idle(struct dest *d)
{
	struct session *c;

	while ((c = first_idle(d)))
		session_quit(c);
}

bool session_take_more(struct dest *d)
{
	LIST_EACH (it, &d->sessions) {
		struct session *c = container_of(it, struct session, link);

		if (c->step != STEP_IDLE)
			continue;
		transfer_start(c);
		if (c->is_ended || c->step != STEP_IDLE)
			return true;
	}
	return false;
}

void sessions_drain(struct dest *d)
{
	struct list *it = d->sessions.next;

	while (it != &d->sessions) {
		struct session *c = container_of(it, struct session, link);

		it = it->next;
		if (c->step != STEP_ROUTE && c->step != STEP_RESOLVE)
			continue;
		if (c->mail && c->last.code == 0) {
			mail_give_back(c->mail);
			c->mail = NULL;
		}
		transfer_abort(c, RESULT_LATER, &c->last);
		session_free(c);
	}
}
