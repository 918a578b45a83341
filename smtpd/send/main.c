/* smtpd-send: the role that takes mail to other servers. */
#include "smtpd/send/check.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void on_failure(void *arg, const struct err *err)
{
	struct send *s = arg;

	role_fail(s->role, err);
}

const char *send_helo(const struct send *s)
{
	const char *name = config_str(s->role->cfg, SET_OUTBOUND_HELO);

	return name[0] ? name : config_str(s->role->cfg, SET_SERVER_HOSTNAME);
}

void send_tell_local(struct send *s, uint64_t qid)
{
	unsigned char hint[QUEUE_HINT_LEN];

	be_put64(hint, qid);
	hint_send(s->hint_fd, s->local_hint, span_make(hint, sizeof(hint)));
}

static void on_hint(void *arg, struct span hint)
{
	sched_scan(arg);
}

int send_open_dns(const struct send *s, struct dns **out, struct err *err)
{
	const struct config *cfg = s->role->cfg;
	struct dns_options opt = {.servers = config_str(cfg, SET_DNS_SERVER),
	    .trust_anchor = config_str(cfg, SET_DNS_TRUST_ANCHOR)};

	return dns_new(s->role->loop, &opt, out, err);
}

static int start(struct role *r, struct err *err)
{
	struct send *s = mem_zalloc(sizeof(*s));
	struct queue_options opt = {
	    .loop = r->loop,
	    .cfg = r->cfg,
	    .reader_threads = 2,
	    .on_failure = on_failure,
	    .arg = s,
	};
	char path[CONFIG_PATH_MAX], fetcher[CONFIG_PATH_MAX];

	r->ctx = s;
	s->role = r;
	s->dests = hash_new();
	s->busy = hash_new();
	s->sts = hash_new();
	list_init(&s->ready);
	s->hint_fd = hint_socket();
	schedule_of(r->cfg, &s->schedule);
	s->weak = tls_client_context_weak(err);
	s->tls = s->weak ? tls_client_context_new(NULL, err) : NULL;
	authorities_init(s);
	if (!s->tls || config_run_path(r->cfg, RUN_QUEUE_HINT, s->local_hint, err) < 0 ||
	    config_run_path(r->cfg, RUN_FETCH_SOCK, fetcher, err) < 0 ||
	    config_run_path(r->cfg, RUN_SEND_HINT, path, err) < 0 ||
	    queue_open(&opt, &s->queue, err) < 0 || send_open_dns(s, &s->dns, err) < 0)
		return -1;
	s->hints = hint_receiver_new(r->loop, path, QUEUE_HINT_LEN, on_hint, s, err);
	if (!s->hints)
		return -1;
	s->fetcher = ipc_client_new(r->loop, fetcher);
	s->ipv6 = ipv6_new(s);
	s->bouncer = bouncer_new(s);
	sched_init(s);
	return 0;
}

static void end_idle(struct span name, void *value, void *arg)
{
	sessions_end_idle(value);
}

void send_changed(struct send *s)
{
	s->generation++;
	hash_each(s->dests, end_idle, NULL);
}

static void on_reload(struct role *r)
{
	struct send *s = r->ctx;

	send_changed(s);

	schedule_of(r->cfg, &s->schedule);
	ipv6_look(s->ipv6);
}

/* --- the end ---------------------------------------------------------------------------------- */
static void look_if_busy(struct span name, void *value, void *arg)
{
	bool *is_busy = arg;

	*is_busy = *is_busy || !dest_is_idle(value);
}

void send_check_drained(struct send *s)
{
	bool is_busy = s->is_scanning || !s->bouncer || !bouncer_is_idle(s->bouncer);

	if (!s->role->is_draining)
		return;
	hash_each(s->dests, look_if_busy, &is_busy);
	if (!is_busy)
		role_finished(s->role);
}

/* Claimed, and no connection will take it any more. */
static void give_back(struct span name, void *value, void *arg)
{
	struct dest *d = value;
	struct mail *m;

	list_remove(&d->ready);

	while ((m = dest_take(value)))
		mail_give_back(m);
	sessions_drain(d);
}

static void on_drain(struct role *r)
{
	struct send *s = r->ctx;

	hash_each(s->dests, give_back, NULL);
	send_check_drained(s);
}

static void status(struct role *r, struct strbuf *record)
{
	const struct send *s = r->ctx;

	ipc_rec_number(record, "sent", IPC_NUMBER, s->sent);
	ipc_rec_number(record, "deferred", IPC_NUMBER, s->deferred);
	ipc_rec_number(record, "failed", IPC_NUMBER, s->failed);
	ipc_rec_number(record, "under-way", IPC_NUMBER, s->sessions);
	ipc_rec_number(record, "destinations", IPC_NUMBER, hash_count(s->dests));
	ipc_rec_text(record, "port-25",
	    blocked_is(s) ? SPAN("seems to be blocked: send through a smarthost, "
				 "mailsteadctl route add all HOST")
			  : SPAN("open"));
	ipc_rec_number(record, "blocked", IPC_BOOL, blocked_is(s));
	ipc_rec_number(record, "ipv6", IPC_BOOL, ipv6_is_on(s));
	ipc_rec_number(record, "paused", IPC_BOOL, s->is_paused);
	ipc_rec_number(
	    record, "signing-domains", IPC_NUMBER, s->keys ? dkim_keys_count(s->keys) : 0);
	ipc_rec_number(record, "dnssec", IPC_BOOL, dns_is_validating(s->dns));
}

static void drop_dest(struct span name, void *value, void *arg)
{
	dest_free(value);
}

static void stop(struct role *r)
{
	struct send *s = r->ctx;

	if (!s)
		return;
	/* Stopped in the middle: connections hold on to the queue. Nothing is lost: each attempt
	 * is written down, and the message comes again at its next time. */
	if (s->sessions > 0 || !probes_are_idle() || (s->bouncer && !bouncer_is_idle(s->bouncer)))
		_exit(0);
	sched_stop(s);
	hint_receiver_free(s->hints);
	bouncer_free(s->bouncer);
	if (s->queue)
		queue_close(s->queue);
	sts_stop(s);
	ipc_client_free(s->fetcher);
	ipv6_free(s->ipv6);
	dns_free(s->dns);
	hash_each(s->dests, drop_dest, NULL);
	hash_free(s->dests);
	hash_free(s->busy);
	tls_context_unref(s->weak);
	tls_context_unref(s->tls);
	dkim_keys_unref(s->keys);
	dkim_keys_unref(s->new_keys);
	tls_context_unref(s->verified);
	if (s->hint_fd >= 0)
		close(s->hint_fd);
	mem_free(s);
}

int main(int argc, char **argv)
{
	static const struct role_ops ops = {
	    .name = "smtpd-send",
	    .state = {"queue"},
	    .net = SANDBOX_ANY_NET,
	    .start = start,
	    .on_reload = on_reload,
	    .on_drain = on_drain,
	    .status = status,
	    .on_admin = send_admin,
	    .on_link = send_take_keys,
	    .stop = stop,
	};

	return role_main(argc, argv, &ops);
}
