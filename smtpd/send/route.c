/* Which hosts take the mail of a domain. */
#include "smtpd/send/send.h"

#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/mail/idna.h"

#include <stdio.h>

struct route_query {
	struct send *send;
	struct dns_query *dns;
	struct deferred told;
	char domain[DNS_NAME_MAX + 1];
	struct route route;
	void (*on_route)(void *arg, const struct route *r);
	void *arg;
};

static void tell(void *arg)
{
	struct route_query *q = arg;

	q->on_route(q->arg, &q->route);
	mem_free(q);
}

static void end(struct route_query *q, enum route_status status)
{
	q->route.status = status;
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

struct route_query *route_ask(struct send *s, const char *domain,
    void (*on_route)(void *arg, const struct route *r), void *arg)
{
	struct route_query *q = mem_zalloc(sizeof(*q));
	size_t n;

	q->send = s;
	q->on_route = on_route;
	q->arg = arg;
	q->told = (struct deferred){.fn = tell, .arg = q};
	/* What has no A-labels has no name in DNS: it will be said not to exist. */
	if (domain[0] == '[' || !mail_domain_ascii(span_of(domain), q->domain, &n))
		snprintf(q->domain, sizeof(q->domain), "%s", domain);
	/* An address literal names its host itself. */
	if (domain[0] == '[')
		one_host(q, domain);
	else
		q->dns = dns_ask(s->dns, q->domain, DNS_MX, on_mx, q);
	return q;
}

void route_cancel(struct route_query *q)
{
	if (q->dns)
		dns_cancel(q->dns);
	deferred_cancel(&q->told);
	mem_free(q);
}
