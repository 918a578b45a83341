/* Which hosts take the mail of a domain: those of a route (authd), else its own (DNS). */
#include "smtpd/send/send.h"

#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/mail/idna.h"
#include "smtpd/send/tls_policy.h"

#include <stdio.h>

#define ROUTE_MS 20000

struct route_query {
	struct send *send;
	struct ipc_call *call;
	struct dns_query *dns;
	struct sts_query *sts;
	struct deferred told;
	char domain[DNS_NAME_MAX + 1];
	struct route route;
	bool is_found, is_anew;
	void (*on_route)(void *arg, struct route *r);
	void *arg;
};

void route_clear(struct route *r)
{
	mem_free_secret(r->relays, IPC_RELAYS_MAX * sizeof(*r->relays));
	r->relays = NULL;
	sts_unref(r->sts);
	r->sts = NULL;
}

static void tell(void *arg)
{
	struct route_query *q = arg;

	q->on_route(q->arg, &q->route);
	route_clear(&q->route); /* unless it was taken over */
	mem_free(q);
}

/* The hosts are known, and the policy too if there are any. */
static void end(struct route_query *q, enum route_status status)
{
	q->route.status = status;
	q->is_found = true;
	if (status != ROUTE_FOUND && q->sts) {
		sts_cancel(q->sts);
		q->sts = NULL;
	}
	if (!q->sts)
		loop_defer(q->send->role->loop, &q->told);
}

static void on_sts(void *arg, struct sts *sts)
{
	struct route_query *q = arg;

	q->sts = NULL;
	q->route.sts = sts_ref(sts);
	if (q->is_found)
		loop_defer(q->send->role->loop, &q->told);
}

static void one_host(struct route_query *q, const char *name)
{
	q->route.count = 1;
	snprintf(q->route.hosts[0].name, sizeof(q->route.hosts[0].name), "%s", name);
	end(q, ROUTE_FOUND);
}

static void take_mx(struct route_query *q, const struct dns_answer *a)
{
	struct mx_list list;

	mx_sort(&list, a, config_str(q->send->role->cfg, SET_SERVER_HOSTNAME), random_below);
	if (list.is_null) {
		reply_make(&q->route.reply, 556, "5.1.10 %s takes no mail", q->domain);
		end(q, ROUTE_NEVER);
	} else if (list.is_loop) {
		reply_make(&q->route.reply, 554,
		    "5.4.6 mail for %s comes back to this server, which does not take it",
		    q->domain);
		end(q, ROUTE_NEVER);
	} else if (list.count == 0) {
		reply_make(&q->route.reply, 550, "5.4.4 the mail servers of %s have no usable name",
		    q->domain);
		end(q, ROUTE_NEVER);
	} else {
		for (; q->route.count < list.count; q->route.count++)
			q->route.hosts[q->route.count] = list.hosts[q->route.count];
		end(q, ROUTE_FOUND);
	}
}

static void on_mx(void *arg, const struct dns_answer *a)
{
	struct route_query *q = arg;

	q->dns = NULL;
	q->route.is_secure = a->is_secure;
	switch (a->status) {
	case DNS_FOUND:
		take_mx(q, a);
		break;
	case DNS_NO_RECORD:
		one_host(q, q->domain); /* RFC 5321 5.1: the domain itself */
		break;
	case DNS_NO_NAME:
		reply_make(&q->route.reply, 550, "5.1.2 the domain %s does not exist", q->domain);
		end(q, ROUTE_NEVER);
		break;
	default:
		reply_make(&q->route.reply, 451,
		    "4.4.3 the mail servers of %s cannot be found now: %s", q->domain, a->why);
		end(q, ROUTE_LATER);
		break;
	}
}

static void ask_dns(struct route_query *q)
{
	struct tls_policy policy;

	/* An address literal names its host itself. */
	if (q->domain[0] == '[') {
		one_host(q, q->domain);
		return;
	}
	q->dns = dns_ask(q->send->dns, q->domain, DNS_MX, on_mx, q);
	tls_policy_of(q->send->role->cfg, q->domain, &policy);
	if (policy.uses_sts)
		q->sts = sts_ask(q->send, q->domain, q->is_anew, on_sts, q);
}

static void copy_text(char out[IPC_RELAY_TEXT_MAX + 1], struct span text)
{
	snprintf(out, IPC_RELAY_TEXT_MAX + 1, "%.*s", SPAN_FMT(text));
}

static void take_relays(struct route_query *q, struct ipc_route *m)
{
	struct route *r = &q->route;
	struct ipc_relay relay;

	r->relays = mem_array(IPC_RELAYS_MAX, sizeof(*r->relays));
	for (uint32_t i = 0; i < m->count && ipc_relay_next(&m->relays, &relay); i++) {
		struct relay *to = &r->relays[r->count];

		if (relay.host.n == 0)
			break;
		to->port = relay.port;
		to->tls = (enum relay_tls)relay.tls;
		copy_text(to->user, relay.user);
		copy_text(to->password, relay.password);
		snprintf(r->hosts[r->count++].name, sizeof(r->hosts[0].name), "%.*s",
		    SPAN_FMT(relay.host));
	}
	if (r->count > 0) {
		end(q, ROUTE_FOUND);
		return;
	}
	route_clear(r); /* "direct" */
	ask_dns(q);
}

static void on_relays(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	struct route_query *q = arg;
	struct ipc_route m;

	q->call = NULL;
	if (!msg || msg->type != IPC_AUTH_ROUTE_IS || !ipc_dec_route(msg->body, &m)) {
		reply_make(&q->route.reply, 451, "4.3.0 routes cannot be asked for now");
		end(q, ROUTE_LATER);
		return;
	}
	q->route.is_by_sender = m.has_from;
	if (m.count > 0)
		take_relays(q, &m);
	else
		ask_dns(q);
}

struct route_query *route_ask(struct send *s, const char *domain, const char *sender_domain,
    bool is_anew, void (*on_route)(void *arg, struct route *r), void *arg)
{
	struct route_query *q = mem_zalloc(sizeof(*q));
	struct ipc_route_ask ask;
	struct strbuf body;
	size_t n;

	q->send = s;
	q->is_anew = is_anew;
	q->on_route = on_route;
	q->arg = arg;
	q->told = (struct deferred){.fn = tell, .arg = q};
	/* What has no A-labels has no name in DNS: it will be said not to exist. */
	if (domain[0] == '[' || !mail_domain_ascii(span_of(domain), q->domain, &n))
		snprintf(q->domain, sizeof(q->domain), "%s", domain);
	ask = (struct ipc_route_ask){span_of(q->domain), span_of(sender_domain)};
	strbuf_init(&body, 2048);
	ipc_enc_route_ask(&body, &ask);
	q->call =
	    ipc_call(s->role->authd, IPC_AUTH_ROUTE, strbuf_span(&body), ROUTE_MS, on_relays, q);
	strbuf_clear(&body);
	return q;
}

void route_cancel(struct route_query *q)
{
	if (q->call)
		ipc_call_cancel(q->call);
	if (q->dns)
		dns_cancel(q->dns);
	if (q->sts)
		sts_cancel(q->sts);
	deferred_cancel(&q->told);
	route_clear(&q->route);
	mem_free(q);
}
