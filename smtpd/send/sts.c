#include "smtpd/send/sts.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"
#include "smtpd/queue/policy.h"
#include "smtpd/send/send.h"

#include <stdio.h>
#include <string.h>

#define FETCH_MS 60000
#define FRESH_SECONDS 60
#define FAULT_SECONDS 300
#define DAY_SECONDS 86400
#define PURGE_MAX 16
#define FORGET_MS 300000
#define KNOWN_MAX 4096 /* domains in memory besides those that somebody waits for */

enum { Q_TXT, Q_A, Q_AAAA, Q_COUNT };

/* A domain that was asked for lately. */
struct sts_entry {
	struct send *send;
	char domain[DNS_NAME_MAX + 1];
	struct list waiters;
	struct db_job job;
	bool is_reading, is_fetching;
	struct dns_query *queries[Q_COUNT];
	struct ipc_call *call;
	char id[STS_ID_MAX + 1]; /* in DNS; "": no record */
	struct net_addr addrs[IPC_POLICY_ADDRESSES];
	uint32_t addr_count;
	struct sts *kept;   /* in the database; NULL */
	struct sts *answer; /* NULL: not known yet */
	int64_t fresh_until;
	struct timer forget;
};

struct sts_query {
	struct list link;
	struct sts_entry *entry; /* NULL: only told waits */
	struct send *send;
	struct sts *sts;
	struct deferred told;
	void (*on_sts)(void *arg, struct sts *sts);
	void *arg;
};

struct sts *sts_ref(struct sts *sts)
{
	sts->refs++;
	return sts;
}

void sts_unref(struct sts *sts)
{
	if (!sts || --sts->refs > 0)
		return;
	mem_free(sts->text);
	mem_free(sts);
}

static struct sts *sts_new(const struct queue_sts *from)
{
	struct sts *sts = mem_zalloc(sizeof(*sts));

	sts->refs = 1;
	if (!from)
		return sts;
	sts->text = mem_strndup(from->text.p ? from->text.p : "", from->text.n);
	sts->fetched = from->fetched;
	sts->expires = from->expires;
	snprintf(sts->id, sizeof(sts->id), "%.*s", SPAN_FMT(from->id));
	sts->is_there =
	    sts_policy_parse(span_make(sts->text, from->text.n), &sts->policy, NULL) == 0;
	if (!sts->is_there)
		sts->policy = (struct sts_policy){.mode = STS_NONE};
	return sts;
}

/* --- telling ---------------------------------------------------------------------------------- */
static void tell(void *arg)
{
	struct sts_query *q = arg;

	q->on_sts(q->arg, q->sts);
	sts_unref(q->sts);
	mem_free(q);
}

static void hand_out(struct sts_query *q, struct sts *sts)
{
	list_remove(&q->link);
	q->entry = NULL;
	q->sts = sts_ref(sts);
	loop_defer(q->send->role->loop, &q->told);
}

static bool is_busy(const struct sts_entry *e)
{
	return e->is_reading || e->is_fetching || e->queries[Q_TXT] || !list_is_empty(&e->waiters);
}

static void entry_free(struct sts_entry *e)
{
	hash_remove(e->send->sts, span_of(e->domain));
	for (size_t i = 0; i < Q_COUNT; i++)
		if (e->queries[i])
			dns_cancel(e->queries[i]);
	if (e->call)
		ipc_call_cancel(e->call);
	timer_clear(&e->forget);
	sts_unref(e->kept);
	sts_unref(e->answer);
	mem_free(e);
}

static void on_forget(void *arg)
{
	struct sts_entry *e = arg;

	if (!is_busy(e))
		entry_free(e);
}

/* This is what is known now: takes the reference. */
static void settle(struct sts_entry *e, struct sts *sts)
{
	sts_unref(e->answer);
	e->answer = sts;
	e->fresh_until =
	    clock_now() + (sts->fault == STS_FAULT_NONE ? FRESH_SECONDS : FAULT_SECONDS);
	LIST_EACH_SAFE (it, &e->waiters)
		hand_out(container_of(it, struct sts_query, link), sts);
	timer_set(&e->forget, hash_count(e->send->sts) > KNOWN_MAX ? 0 : FORGET_MS);
}

/* --- fetching --------------------------------------------------------------------------------- */
struct keep {
	struct db_op op;
	char domain[DNS_NAME_MAX + 1];
	struct sts *sts;
};

static int keep_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct keep *k = container_of(op, struct keep, op);
	struct queue_sts row = {.id = span_of(k->sts->id),
	    .fetched = k->sts->fetched,
	    .expires = k->sts->expires,
	    .text = span_of(k->sts->text)};

	/* Here, because nothing else makes rows: what others left behind does not stay. */
	if (queue_sts_purge(txn, row.fetched, PURGE_MAX, err) < 0)
		return -1;
	return queue_sts_put(txn, span_of(k->domain), &row, err);
}

static void keep_done(struct db_op *op)
{
	struct keep *k = container_of(op, struct keep, op);

	if (op->err.code != ERR_NONE)
		log_warning("policy-keep", LOG_STR("domain", k->domain), LOG_ERR(&op->err));
	sts_unref(k->sts);
	mem_free(k);
}

static void keep(struct sts_entry *e, struct sts *sts)
{
	struct keep *k = mem_zalloc(sizeof(*k));

	snprintf(k->domain, sizeof(k->domain), "%s", e->domain);
	k->sts = sts_ref(sts);
	k->op = (struct db_op){
	    .run = keep_run, .done = keep_done, .cost = 4096 + sts->policy.text.n, .need = DB_ADDS};
	queue_write_lazy(e->send->queue, &k->op);
	sts_unref(e->kept);
	e->kept = sts_ref(sts);
}

static bool is_valid(const struct sts *sts)
{
	return sts && sts->is_there && clock_now() < sts->expires;
}

/* What is kept goes on as long as it is good; else there is none. */
static void fetch_failed(struct sts_entry *e, enum sts_fault fault, struct span why)
{
	struct sts *sts;

	e->is_fetching = false;
	log_warning("policy-failed", LOG_STR("domain", e->domain), LOG_SPAN("reason", why));
	if (is_valid(e->kept)) {
		struct queue_sts row = {.id = span_of(e->kept->id),
		    .fetched = e->kept->fetched,
		    .expires = e->kept->expires,
		    .text = span_of(e->kept->text)};

		sts = sts_new(&row);
	} else {
		sts = sts_new(NULL);
	}
	sts->fault = fault;
	snprintf(sts->why, sizeof(sts->why), "%.*s", SPAN_FMT(why));
	settle(e, sts);
}

static void fetched(struct sts_entry *e, struct span text)
{
	struct queue_sts row = {.id = span_of(e->id), .fetched = clock_now(), .text = text};
	struct sts_policy policy;
	struct sts *sts;

	if (sts_policy_parse(text, &policy, NULL) < 0) {
		fetch_failed(e, STS_FAULT_INVALID, SPAN("no policy"));
		return;
	}
	e->is_fetching = false;
	row.expires = row.fetched + policy.max_age;
	sts = sts_new(&row);
	keep(e, sts);
	settle(e, sts);
}

static void on_policy(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	static const enum sts_fault faults[] = {[POLICY_UNREACHABLE] = STS_FAULT_FETCH,
	    [POLICY_NOT_TRUSTED] = STS_FAULT_TRUST,
	    [POLICY_INVALID] = STS_FAULT_INVALID};
	struct sts_entry *e = arg;
	struct ipc_policy m;

	e->call = NULL;
	if (!msg)
		fetch_failed(e, STS_FAULT_FETCH, span_of(err->text));
	else if (msg->type != IPC_POLICY_IS || !ipc_dec_policy(msg->body, &m))
		fetch_failed(e, STS_FAULT_FETCH, SPAN("policies cannot be fetched now"));
	else if (m.status != POLICY_FOUND)
		fetch_failed(e, faults[m.status], m.text);
	else
		fetched(e, m.text);
}

static void ask_fetcher(struct sts_entry *e)
{
	char texts[IPC_POLICY_ADDRESSES][NET_ADDR_TEXT];
	struct ipc_policy_ask ask = {.domain = span_of(e->domain), .count = e->addr_count};
	struct strbuf body;

	if (e->addr_count == 0) {
		fetch_failed(e, STS_FAULT_FETCH, SPAN("the host mta-sts has no address"));
		return;
	}
	for (uint32_t i = 0; i < e->addr_count; i++) {
		net_addr_format(&e->addrs[i], texts[i]);
		ask.addresses[i] = span_of(texts[i]);
	}
	strbuf_init(&body, 4096);
	ipc_enc_policy_ask(&body, &ask);
	e->call = ipc_call(
	    e->send->fetcher, IPC_POLICY_FETCH, strbuf_span(&body), FETCH_MS, on_policy, e);
	strbuf_clear(&body);
}

static void take_addresses(struct sts_entry *e, enum dns_type type, const struct dns_answer *a)
{
	for (size_t i = 0; i < a->count && e->addr_count < IPC_POLICY_ADDRESSES; i++)
		if (dns_address(type, a->records[i], &e->addrs[e->addr_count]))
			e->addr_count++;
	if (!e->queries[Q_A] && !e->queries[Q_AAAA])
		ask_fetcher(e);
}

static void on_a(void *arg, const struct dns_answer *a)
{
	struct sts_entry *e = arg;

	e->queries[Q_A] = NULL;
	take_addresses(e, DNS_A, a);
}

static void on_aaaa(void *arg, const struct dns_answer *a)
{
	struct sts_entry *e = arg;

	e->queries[Q_AAAA] = NULL;
	take_addresses(e, DNS_AAAA, a);
}

static void fetch(struct sts_entry *e)
{
	char name[DNS_NAME_MAX + 16];

	e->is_fetching = true;
	e->addr_count = 0;
	snprintf(name, sizeof(name), "mta-sts.%s", e->domain);
	e->queries[Q_A] = dns_ask(e->send->dns, name, DNS_A, on_a, e);
	if (ipv6_is_on(e->send))
		e->queries[Q_AAAA] = dns_ask(e->send->dns, name, DNS_AAAA, on_aaaa, e);
}

/* --- deciding --------------------------------------------------------------------------------- */
static void decide(struct sts_entry *e)
{
	bool is_good = is_valid(e->kept);
	bool is_same = is_good && strcmp(e->kept->id, e->id) == 0;

	if (e->is_reading || e->queries[Q_TXT])
		return;
	if (e->id[0] && !is_same) {
		fetch(e);
		return;
	}
	/* RFC 8461 3.3: whoever takes the record away does not take the policy away. */
	settle(e, is_good ? sts_ref(e->kept) : sts_new(NULL));
	/* Renewed long before it expires, when nobody waits for it. */
	if (is_same && clock_now() - e->kept->fetched >= DAY_SECONDS && !e->is_fetching)
		fetch(e);
}

/* RFC 8461 3.1: exactly one record. */
static void on_txt(void *arg, const struct dns_answer *a)
{
	struct sts_entry *e = arg;
	size_t records = 0;

	e->queries[Q_TXT] = NULL;
	e->id[0] = '\0';
	for (size_t i = 0; i < a->count; i++) {
		struct strbuf text;
		struct span id;

		strbuf_init(&text, 65536);
		if (dns_txt(a->records[i], &text) && sts_record_is(strbuf_span(&text))) {
			records++;
			if (sts_record_id(strbuf_span(&text), &id))
				snprintf(e->id, sizeof(e->id), "%.*s", SPAN_FMT(id));
		}
		strbuf_clear(&text);
	}
	if (records != 1)
		e->id[0] = '\0';
	decide(e);
}

static void read_run(struct db_job *job, struct db_txn *txn)
{
	struct sts_entry *e = container_of(job, struct sts_entry, job);
	struct queue_sts row;

	if (queue_sts_get(txn, span_of(e->domain), &row, &job->err) == 0)
		e->kept = sts_new(&row);
}

static void read_done(struct db_job *job)
{
	struct sts_entry *e = container_of(job, struct sts_entry, job);

	e->is_reading = false;
	if (job->err.code != ERR_NONE && job->err.code != ERR_NOT_FOUND)
		log_warning("policy-read", LOG_STR("domain", e->domain), LOG_ERR(&job->err));
	decide(e);
}

static void look(struct sts_entry *e)
{
	char name[DNS_NAME_MAX + 16];

	snprintf(name, sizeof(name), "_mta-sts.%s", e->domain);
	e->queries[Q_TXT] = dns_ask(e->send->dns, name, DNS_TXT, on_txt, e);
	if (e->kept)
		return;
	e->is_reading = true;
	e->job = (struct db_job){.run = read_run, .done = read_done};
	queue_read(e->send->queue, &e->job);
}

static struct sts_entry *entry_of(struct send *s, const char *domain)
{
	struct sts_entry *e = hash_get(s->sts, span_of(domain));

	if (e)
		return e;
	e = mem_zalloc(sizeof(*e));
	e->send = s;
	snprintf(e->domain, sizeof(e->domain), "%s", domain);
	list_init(&e->waiters);
	timer_init(&e->forget, s->role->loop, on_forget, e);
	hash_set(s->sts, span_of(domain), e);
	return e;
}

struct sts_query *sts_ask(struct send *s, const char *domain, bool is_anew,
    void (*on_sts)(void *arg, struct sts *sts), void *arg)
{
	struct sts_entry *e = entry_of(s, domain);
	struct sts_query *q = mem_zalloc(sizeof(*q));
	bool is_idle = !is_busy(e);

	q->send = s;
	q->on_sts = on_sts;
	q->arg = arg;
	q->told = (struct deferred){.fn = tell, .arg = q};
	if (e->answer && !is_anew && clock_now() < e->fresh_until) {
		hand_out(q, e->answer);
		return q;
	}
	q->entry = e;
	list_append(&e->waiters, &q->link);
	timer_stop(&e->forget);
	if (is_idle)
		look(e);
	return q;
}

void sts_cancel(struct sts_query *q)
{
	struct sts_entry *e = q->entry;

	list_remove(&q->link);
	deferred_cancel(&q->told);
	sts_unref(q->sts);
	mem_free(q);
	if (e)
		timer_set(&e->forget, FORGET_MS);
}

static void drop_entry(struct span name, void *value, void *arg)
{
	entry_free(value);
}

void sts_stop(struct send *s)
{
	if (s->sts)
		hash_each(s->sts, drop_entry, NULL);
	hash_free(s->sts);
	s->sts = NULL;
}
