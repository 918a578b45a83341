#include "common/dns/dns.h"

#include "common/base/mem.h"
#include "common/dns/unbound.h"
#include "common/log/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEADLINE_MS 20000
#define IDLE_MS (10 * 60 * 1000)
#define AT_ONCE_MAX 256 /* questions that libunbound has; more wait here */

static const char *const anchors[] = {"/usr/share/dns/root.key", "/var/lib/unbound/root.key"};

struct dns {
	struct loop *loop;
	struct ub_ctx *ub; /* NULL: nobody has asked for a while, and it takes 2 MB */
	struct watch watch;
	struct timer idle;
	char *servers, *anchor;
	uint64_t deadline_ms;
	struct list waiting, asked;
	size_t asked_count;
	bool is_validating;
};

struct dns_query {
	struct list link;
	struct dns *dns;
	char name[DNS_NAME_MAX + 1];
	enum dns_type type;
	int id; /* libunbound's */
	bool is_asked;
	struct timer timer;
	void (*on_answer)(void *arg, const struct dns_answer *a);
	void *arg;
};

static const struct unbound *lib; /* once there was a context */

/* --- a context -------------------------------------------------------------------------------- */
static int failed(struct err *err, int code, const char *what)
{
	return err_set(err, ERR_INVALID, "dns: %s: %s", what, lib->strerror(code));
}

static int set_option(struct ub_ctx *ub, const char *name, const char *value, struct err *err)
{
	int code = lib->ctx_set_option(ub, name, value);

	return code == 0 ? 0 : failed(err, code, name);
}

/* A mail server asks little and often the same: small caches do. */
static int set_options(struct ub_ctx *ub, struct err *err)
{
	static const char *const options[][2] = {{"msg-cache-size:", "1m"},
	    {"rrset-cache-size:", "2m"}, {"key-cache-size:", "512k"}, {"neg-cache-size:", "256k"},
	    {"num-queries-per-thread:", "256"}, {"outgoing-range:", "512"},
	    {"do-not-query-localhost:", "no"}, {"cache-max-negative-ttl:", "300"},
	    {"edns-buffer-size:", "1232"}, {"module-config:", "validator iterator"}};

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (set_option(ub, options[i][0], options[i][1], err) < 0)
			return -1;
	return 0;
}

static int set_servers(struct ub_ctx *ub, struct span list, struct err *err)
{
	struct span one;

	if (span_trim(list).n == 0)
		return 0;
	/* A server that was named may know names that do not exist in the world. */
	if (set_option(ub, "unblock-lan-zones:", "yes", err) < 0 ||
	    set_option(ub, "insecure-lan-zones:", "yes", err) < 0)
		return -1;
	while (span_split(&list, ',', &one)) {
		char text[NET_ADDR_TEXT];
		int code;

		one = span_trim(one);
		if (one.n == 0)
			continue;
		if (one.n >= sizeof(text))
			return err_set(err, ERR_INVALID, "dns.server: %.60s...", one.p);
		memcpy(text, one.p, one.n);
		text[one.n] = '\0';
		code = lib->ctx_set_fwd(ub, text);
		if (code != 0)
			return failed(err, code, text);
	}
	return 0;
}

/* The file, or an empty string for none. */
static const char *find_anchor(const char *file)
{
	if (strcmp(file, "none") == 0)
		return "";
	for (size_t i = 0; file[0] == '\0' && i < ARRAY_LEN(anchors); i++)
		if (access(anchors[i], R_OK) == 0)
			file = anchors[i];
	if (file[0] == '\0')
		log_warning("dnssec", LOG_STR("state", "off"),
		    LOG_STR("reason", "the root's keys are not there: package dns-root-data"));
	return file;
}

static int set_anchor(struct dns *d, struct err *err)
{
	int code = d->is_validating ? lib->ctx_add_ta_file(d->ub, d->anchor) : 0;

	return code == 0 ? 0 : failed(err, code, d->anchor);
}

/* Names for tests do not exist by default either. The last setting: it begins the work. */
static int open_zones(struct dns *d, struct span servers, struct err *err)
{
	static const char *const zones[] = {"test.", "127.in-addr.arpa."};

	for (size_t i = 0; span_trim(servers).n > 0 && i < ARRAY_LEN(zones); i++)
		if (lib->ctx_zone_add(d->ub, zones[i], "transparent") != 0)
			return err_set(err, ERR_IO, "dns: zones");
	return 0;
}

static void on_ready(void *arg, unsigned ready)
{
	struct dns *d = arg;
	int code = lib->process(d->ub);

	if (code != 0)
		log_error("dns", LOG_STR("reason", lib->strerror(code)));
}

static int open_context(struct dns *d, struct err *err)
{
	int code;

	lib = unbound_load(err);
	if (!lib)
		return -1;
	d->ub = lib->ctx_create();
	if (!d->ub)
		return err_set(err, ERR_IO, "dns: no context");
	/* A thread of its own, instead of the process that it would start. */
	code = lib->ctx_async(d->ub, 1);
	if (code != 0
		? failed(err, code, "threads") < 0
		: set_options(d->ub, err) < 0 || set_servers(d->ub, span_of(d->servers), err) < 0 ||
		      set_anchor(d, err) < 0 || open_zones(d, span_of(d->servers), err) < 0) {
		lib->ctx_delete(d->ub);
		d->ub = NULL;
		return -1;
	}
	watch_init(&d->watch, d->loop, lib->fd(d->ub), on_ready, d);
	watch_set(&d->watch, WATCH_READ);
	timer_set(&d->idle, IDLE_MS);
	return 0;
}

static void close_context(struct dns *d)
{
	if (!d->ub)
		return;
	watch_clear(&d->watch);
	lib->ctx_delete(d->ub);
	d->ub = NULL;
}

static void on_idle(void *arg)
{
	struct dns *d = arg;

	if (list_is_empty(&d->asked) && list_is_empty(&d->waiting))
		close_context(d);
}

int dns_new(struct loop *loop, const struct dns_options *opt, struct dns **out, struct err *err)
{
	struct dns *d = mem_zalloc(sizeof(*d));

	*out = NULL;
	d->loop = loop;
	d->deadline_ms = opt->deadline_ms ? opt->deadline_ms : DEADLINE_MS;
	d->servers = mem_strdup(opt->servers);
	d->anchor = mem_strdup(find_anchor(opt->trust_anchor));
	d->is_validating = d->anchor[0] != '\0';
	list_init(&d->waiting);
	list_init(&d->asked);
	timer_init(&d->idle, loop, on_idle, d);
	/* What somebody wrote may be wrong, and is said at the start; else it waits for a question.
	 */
	if ((opt->servers[0] != '\0' || opt->trust_anchor[0] != '\0') && open_context(d, err) < 0) {
		dns_free(d);
		return -1;
	}
	*out = d;
	return 0;
}

bool dns_is_validating(const struct dns *d)
{
	return d->is_validating;
}

/* --- questions -------------------------------------------------------------------------------- */
static void query_free(struct dns_query *q)
{
	list_remove(&q->link);
	timer_clear(&q->timer);
	if (q->is_asked)
		q->dns->asked_count--;
	mem_free(q);
}

void dns_free(struct dns *d)
{
	if (!d)
		return;
	close_context(d);
	timer_clear(&d->idle);
	while (!list_is_empty(&d->asked))
		query_free(container_of(d->asked.next, struct dns_query, link));
	while (!list_is_empty(&d->waiting))
		query_free(container_of(d->waiting.next, struct dns_query, link));
	mem_free(d->servers);
	mem_free(d->anchor);
	mem_free(d);
}

static void ask_waiting(struct dns *d);

static void answer(struct dns_query *q, const struct dns_answer *a)
{
	void (*on_answer)(void *, const struct dns_answer *) = q->on_answer;
	void *arg = q->arg;
	struct dns *d = q->dns;

	query_free(q);
	ask_waiting(d);
	on_answer(arg, a);
}

static void on_deadline(void *arg)
{
	struct dns_query *q = arg;
	struct dns_answer a = {.status = DNS_FAILED, .canonical = "", .why = "no answer in time"};

	if (q->is_asked)
		(void)lib->cancel(q->dns->ub, q->id);
	answer(q, &a);
}

static void read_result(const struct ub_result *r, struct dns_answer *a)
{
	a->is_secure = r->secure;
	a->ttl = r->ttl > 0 ? (uint32_t)r->ttl : 0;
	a->canonical = r->canonname ? r->canonname : "";
	if (r->bogus) {
		a->status = DNS_BOGUS;
		a->why = r->why_bogus ? r->why_bogus : "DNSSEC validation failed";
		return;
	}
	if (r->nxdomain) {
		a->status = DNS_NO_NAME;
		return;
	}
	if (r->rcode != 0) {
		a->status = DNS_FAILED;
		a->why = r->rcode == 2 ? "server failure" : "the server refuses";
		return;
	}
	a->status = r->havedata ? DNS_FOUND : DNS_NO_RECORD;
	for (; r->havedata && a->count < DNS_RECORDS_MAX && r->data[a->count]; a->count++)
		a->records[a->count] = span_make(r->data[a->count], (size_t)r->len[a->count]);
}

static void on_result(void *arg, int code, struct ub_result *r)
{
	struct dns_query *q = arg;
	struct dns_answer a = {.status = DNS_FAILED, .canonical = "", .why = ""};

	if (code != 0 || !r)
		a.why = lib->strerror(code);
	else
		read_result(r, &a);
	answer(q, &a);
	lib->resolve_free(r);
}

static void ask(struct dns_query *q)
{
	struct dns *d = q->dns;
	struct err err = ERR_INIT;
	int code;

	if ((d->ub || open_context(d, &err) == 0) &&
	    (code = lib->resolve_async(d->ub, q->name, (int)q->type, 1, q, on_result, &q->id)) != 0)
		(void)failed(&err, code, q->name);
	/* The deadline tells. */
	if (err.code != ERR_NONE) {
		log_error("dns", LOG_ERR(&err));
		list_append(&d->asked, &q->link);
		timer_set(&q->timer, 0);
		return;
	}
	q->is_asked = true;
	d->asked_count++;
	timer_set(&d->idle, IDLE_MS);
	list_append(&d->asked, &q->link);
}

static void ask_waiting(struct dns *d)
{
	struct list *it;

	while (d->asked_count < AT_ONCE_MAX && (it = list_take_first(&d->waiting)))
		ask(container_of(it, struct dns_query, link));
}

struct dns_query *dns_ask(struct dns *d, const char *name, enum dns_type type,
    void (*on_answer)(void *arg, const struct dns_answer *a), void *arg)
{
	struct dns_query *q = mem_zalloc(sizeof(*q));

	q->dns = d;
	q->type = type;
	q->on_answer = on_answer;
	q->arg = arg;
	snprintf(q->name, sizeof(q->name), "%s", name);
	timer_init(&q->timer, d->loop, on_deadline, q);
	timer_set(&q->timer, strlen(name) > DNS_NAME_MAX ? 0 : d->deadline_ms);
	list_append(&d->waiting, &q->link);
	if (strlen(name) <= DNS_NAME_MAX)
		ask_waiting(d);
	return q;
}

void dns_cancel(struct dns_query *q)
{
	struct dns *d = q->dns;

	if (q->is_asked)
		(void)lib->cancel(d->ub, q->id);
	query_free(q);
	ask_waiting(d);
}
