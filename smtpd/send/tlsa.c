#include "smtpd/send/tlsa.h"

#include "common/base/mem.h"

#include <stdio.h>
#include <string.h>

struct tlsa_query {
	struct dns *dns;
	struct dns_query *query;
	uint16_t port;
	char host[DNS_NAME_MAX + 1];
	struct tlsa_found found;
	void (*on_done)(void *arg, struct tlsa_found *f);
	void *arg;
};

void tlsa_base_name(char out[DNS_NAME_MAX + 1], const char *name)
{
	size_t n = strlen(name);

	if (n > 0 && name[n - 1] == '.')
		n--;
	snprintf(out, DNS_NAME_MAX + 1, "%.*s", (int)n, name);
}

void tlsa_clear(struct tlsa_set *t)
{
	mem_free(t->memory);
	*t = (struct tlsa_set){0};
}

/* RFC 7672 section 3.1.3: what needs an authority from a list (usage 0, 1) means nothing between
 * mail servers. A digest has its length. */
static bool is_usable(struct span rdata)
{
	const unsigned char *p = (const unsigned char *)rdata.p;
	static const size_t lengths[] = {0, 32, 64};

	return rdata.n > 3 && (p[0] == 2 || p[0] == 3) && p[1] <= 1 && p[2] <= 2 &&
	       (p[2] == 0 || rdata.n - 3 == lengths[p[2]]);
}

static void take(struct tlsa_set *t, const struct dns_answer *a)
{
	size_t total = 1;
	char *p;

	for (size_t i = 0; i < a->count; i++)
		total += a->records[i].n;
	p = t->memory = mem_alloc(total);
	for (size_t i = 0; i < a->count; i++) {
		memcpy(p, a->records[i].p, a->records[i].n);
		t->is_usable = t->is_usable || is_usable(a->records[i]);
		t->records[t->count++] = span_make(p, a->records[i].n);
		p += a->records[i].n;
	}
}

static void ask(struct tlsa_query *q);

static void on_answer(void *arg, const struct dns_answer *a)
{
	struct tlsa_query *q = arg;
	struct tlsa_found *f = &q->found;

	q->query = NULL;
	if (a->status == DNS_FAILED || a->status == DNS_BOGUS) {
		f->has_failed = true;
		snprintf(f->why, sizeof(f->why),
		    "the TLSA records of %s cannot be found now: %.150s", f->base, a->why);
	} else if (a->status == DNS_FOUND && a->is_secure) {
		take(&f->set, a);
	} else if (!span_ieq(span_of(f->base), span_of(q->host))) {
		/* RFC 7672 2.2.2: then the name that the MX record has. */
		tlsa_base_name(f->base, q->host);
		ask(q);
		return;
	}
	q->on_done(q->arg, f);
	tlsa_clear(&f->set); /* unless it was taken over */
	mem_free(q);
}

static void ask(struct tlsa_query *q)
{
	char name[DNS_NAME_MAX + 32];

	snprintf(name, sizeof(name), "_%u._tcp.%s", q->port, q->found.base);
	q->query = dns_ask(q->dns, name, DNS_TLSA, on_answer, q);
}

struct tlsa_query *tlsa_ask(struct dns *dns, const char *canonical, const char *host, uint16_t port,
    void (*on_done)(void *arg, struct tlsa_found *f), void *arg)
{
	struct tlsa_query *q = mem_zalloc(sizeof(*q));

	q->dns = dns;
	q->port = port;
	q->on_done = on_done;
	q->arg = arg;
	tlsa_base_name(q->host, host);
	tlsa_base_name(q->found.base, canonical);
	ask(q);
	return q;
}

void tlsa_cancel(struct tlsa_query *q)
{
	dns_cancel(q->query);
	mem_free(q);
}
