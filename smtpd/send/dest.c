/* A recipient domain with work: how many connections it gets, and whether it can be reached. */
#include "smtpd/send/send.h"

#include "common/base/mem.h"
#include "common/event/clock.h"

#include <stdio.h>
#include <string.h>

#define CONCURRENCY_FIRST 2

static void on_forget(void *arg)
{
	struct dest *d = arg;

	if (dest_is_idle(d))
		dest_free(d);
}

struct dest *dest_get(struct send *s, const char *name)
{
	struct dest *d = hash_get(s->dests, span_of(name));

	if (d)
		return d;
	d = mem_zalloc(sizeof(*d));
	d->send = s;
	snprintf(d->name, sizeof(d->name), "%s", name);
	list_init(&d->mails);
	list_init(&d->sessions);
	d->concurrency = CONCURRENCY_FIRST;
	timer_init(&d->forget, s->role->loop, on_forget, d);
	hash_set(s->dests, span_of(name), d);
	return d;
}

void dest_free(struct dest *d)
{
	hash_remove(d->send->dests, span_of(d->name));
	list_remove(&d->ready);
	timer_clear(&d->forget);
	mem_free(d);
}

bool dest_is_idle(const struct dest *d)
{
	return !d->is_loading && d->mail_count == 0 && d->session_count == 0 && d->outcomes == 0 &&
	       !list_is_linked(&d->ready);
}

/* Kept while it is remembered as dead; otherwise it goes with its last work. */
static void settle(struct dest *d)
{
	uint64_t now = clock_mono_ms();

	if (dest_is_idle(d) && !timer_is_set(&d->forget))
		timer_set(&d->forget, d->dead_until > now ? d->dead_until - now : 0);
	send_check_drained(d->send);
}

static size_t connections_max(const struct send *s)
{
	return config_u64(s->role->cfg, SET_OUTBOUND_CONNECTIONS);
}

static bool is_full(const struct send *s)
{
	return s->sessions >= connections_max(s);
}

void dest_look(struct dest *d)
{
	struct send *s = d->send;

	d->may_have_more = true;
	/* What is in memory first: it was due before. */
	if (d->is_loading || d->mail_count > 0 || s->role->is_draining) {
		settle(d);
		return;
	}
	/* Without a connection for it, mail waits where it costs no memory. */
	if (d->session_count == 0 && s->sessions + s->loads >= connections_max(s)) {
		if (!list_is_linked(&d->ready))
			list_append(&s->ready, &d->ready);
		return;
	}
	d->may_have_more = false;
	d->is_loading = true;
	timer_stop(&d->forget);
	claim_start(d);
}

static bool may_connect(const struct dest *d)
{
	const struct config *cfg = d->send->role->cfg;
	size_t limit = config_u64(cfg, SET_OUTBOUND_PER_DEST);

	return d->session_count < (d->concurrency < limit ? d->concurrency : limit);
}

static void fail_all(struct dest *d)
{
	struct mail *m;

	while ((m = dest_take(d))) {
		mail_fail(m, RESULT_LATER, &d->dead_reply, d->dead_host);
		mail_finish(m);
	}
}

void dest_run(struct dest *d)
{
	struct send *s = d->send;

	if (d->dead_until > clock_mono_ms())
		fail_all(d);
	while (d->mail_count > 0 && session_take_more(d))
		;
	while (d->mail_count > 0 && may_connect(d) && !is_full(s) && !s->role->is_draining)
		session_start(d);
	if (d->mail_count > 0 && may_connect(d) && !list_is_linked(&d->ready))
		list_append(&s->ready, &d->ready);
	if (d->may_have_more && d->mail_count == 0 && !d->is_loading)
		dest_look(d);
	settle(d);
}

void dests_run_ready(struct send *s)
{
	struct list *it;

	while (s->sessions + s->loads < connections_max(s) && (it = list_take_first(&s->ready)))
		dest_run(container_of(it, struct dest, ready));
}

struct mail *dest_take(struct dest *d)
{
	struct list *it = list_take_first(&d->mails);

	if (!it)
		return NULL;
	d->mail_count--;
	return container_of(it, struct mail, link);
}

struct mail *dest_take_from(struct dest *d, const char *sender_domain)
{
	LIST_EACH (it, &d->mails) {
		struct mail *m = container_of(it, struct mail, link);
		char domain[QUEUE_DEST_MAX + 1];

		mail_sender_domain(m, domain);
		if (strcmp(domain, sender_domain) != 0)
			continue;
		list_remove(&m->link);
		d->mail_count--;
		return m;
	}
	return NULL;
}

void dest_session_ended(struct dest *d)
{
	struct send *s = d->send;

	d->session_count--;
	s->sessions--;
	dest_run(d);
	dests_run_ready(s);
}

void dest_is_alive(struct dest *d)
{
	d->dead_until = 0;
	if (d->concurrency < config_u64(d->send->role->cfg, SET_OUTBOUND_PER_DEST))
		d->concurrency++;
}

void dest_is_dead(struct dest *d, const struct reply *why, const char *host)
{
	uint64_t ms;

	d->concurrency = d->concurrency > 1 ? d->concurrency / 2 : 1;
	/* One of several connections may just have been one too many. */
	if (d->session_count > 1)
		return;
	/* Shorter than the time to the next try, which is to be one. */
	ms = (uint64_t)d->send->schedule.steps[0] * 500;
	d->dead_until = clock_mono_ms() + (ms < DEAD_MS ? ms : DEAD_MS);
	d->dead_reply = *why;
	snprintf(d->dead_host, sizeof(d->dead_host), "%s", host);
}
