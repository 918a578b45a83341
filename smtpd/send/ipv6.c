/*
 * outbound.ipv6 = auto: over IPv6 only if our address there has a name that leads back to it, since
 * many servers take mail from no other. Looked at when the process starts and again every hour.
 */
#include "smtpd/send/check.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <string.h>

#define AGAIN_MS (3600 * 1000)
#define SOON_MS (60 * 1000) /* when nobody could say */

struct ipv6 {
	struct send *send;
	struct timer again;
	struct dns_query *query;
	struct net_addr own;
	char name[DNS_NAME_MAX + 1];
	bool is_good, is_known;
};

static void conclude(struct ipv6 *v, bool is_good, uint64_t again_ms)
{
	char text[NET_ADDR_TEXT];

	if (!v->is_known || v->is_good != is_good) {
		net_addr_format(&v->own, text);
		log_info("ipv6", LOG_STR("address", text), LOG_STR("name", v->name),
		    LOG_STR("confirmed", is_good ? "yes" : "no"));
	}
	v->is_known = true;
	v->is_good = is_good;
	timer_set(&v->again, again_ms);
}

static bool is_temporary(const struct dns_answer *a)
{
	return a->status == DNS_FAILED || a->status == DNS_BOGUS;
}

static void on_address(void *arg, const struct dns_answer *a)
{
	struct ipv6 *v = arg;
	bool is_good = false;

	v->query = NULL;
	for (size_t i = 0; i < a->count; i++) {
		struct net_addr addr;

		is_good |= dns_address(DNS_AAAA, a->records[i], &addr) &&
			   net_addr_equal_ip(&addr, &v->own);
	}
	conclude(v, is_good, is_temporary(a) ? SOON_MS : AGAIN_MS);
}

static void on_name(void *arg, const struct dns_answer *a)
{
	struct ipv6 *v = arg;

	v->query = NULL;
	if (a->count == 0 || !dns_name(a->records[0], v->name))
		conclude(v, false, is_temporary(a) ? SOON_MS : AGAIN_MS);
	else
		v->query = dns_ask(v->send->dns, v->name, DNS_AAAA, on_address, v);
}

static void look(void *arg)
{
	struct ipv6 *v = arg;
	char reverse[DNS_NAME_MAX + 1];
	struct own_address own[2];

	if (v->query)
		return;
	v->name[0] = '\0';
	own_addresses(v->send->role->cfg, own);
	v->own = own[1].addr;
	if (!own[1].is_there || own[1].is_private) {
		v->is_good = false;
		timer_set(&v->again, AGAIN_MS);
		return;
	}
	dns_reverse_name(&v->own, reverse);
	v->query = dns_ask(v->send->dns, reverse, DNS_PTR, on_name, v);
}

struct ipv6 *ipv6_new(struct send *s)
{
	struct ipv6 *v = mem_zalloc(sizeof(*v));

	v->send = s;
	timer_init(&v->again, s->role->loop, look, v);
	look(v);
	return v;
}

void ipv6_free(struct ipv6 *v)
{
	if (!v)
		return;
	if (v->query)
		dns_cancel(v->query);
	timer_clear(&v->again);
	mem_free(v);
}

void ipv6_look(struct ipv6 *v)
{
	look(v);
}

bool ipv6_is_on(const struct send *s)
{
	const char *setting = config_str(s->role->cfg, SET_OUTBOUND_IPV6);

	return strcmp(setting, "on") == 0 || (strcmp(setting, "auto") == 0 && s->ipv6->is_good);
}
