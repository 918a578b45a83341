/* smtpd-receive: the role that serves the SMTP and submission listeners. */
#include "smtpd/receive/receive.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_queue_failure(void *arg, const struct err *err)
{
	struct receive *p = arg;

	role_fail(p->role, err);
}

static int start(struct role *r, struct err *err)
{
	struct receive *p = mem_zalloc(sizeof(*p));
	struct queue_options opt = {
	    .loop = r->loop,
	    .cfg = r->cfg,
	    .reader_threads = 2,
	    .on_failure = on_queue_failure,
	    .arg = p,
	};

	r->ctx = p;
	p->role = r;
	p->inline_max = config_u64(r->cfg, SET_STORE_INLINE_MAX);
	list_init(&p->sessions);
	guard_init(p);
	if (tell_start(p, err) < 0 || queue_open(&opt, &p->queue, err) < 0)
		return -1;
	space_start(p);
	return 0;
}

static void on_accept(struct role *r, struct role_listener *l, int fd, const struct net_addr *peer)
{
	session_start(r->ctx, l, fd, peer);
}

static void on_refuse(struct role *r, struct role_listener *l, int fd, const struct net_addr *peer,
    const struct err *why)
{
	char client[NET_ADDR_TEXT], text[400];
	int n = snprintf(text, sizeof(text), "421 4.7.0 %s Too many connections, try later\r\n",
	    l->cfg->hostname);

	net_addr_format(peer, client);
	log_info("smtp-refused", LOG_STR("client", client), LOG_STR("listener", l->cfg->name),
	    LOG_ERR(why));
	if (l->cfg->tls != TLS_IMPLICIT && n > 0)
		(void)!send(fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

/* Whoever neither logged in nor is in the middle of a message; of those the oldest. */
static bool make_room(struct role *r, struct role_listener *l)
{
	struct receive *p = r->ctx;

	LIST_EACH (it, &p->sessions) {
		struct session *s = container_of(it, struct session, link);

		if (s->account != 0 || s->t.is_open || s->wait == WAIT_RESULT ||
		    (l && s->listener != l))
			continue;
		log_info("smtp-evicted", LOG_STR("session", s->id), LOG_STR("client", s->client));
		reply(s, 421, "4.7.0", "%s Too many connections, try later",
		    s->listener->cfg->hostname);
		session_end(s);
		return true;
	}
	return false;
}

static void on_kick(struct role *r, uint64_t account)
{
	struct receive *p = r->ctx;

	LIST_EACH_SAFE (it, &p->sessions) {
		struct session *s = container_of(it, struct session, link);

		if (s->account == account)
			session_kick(s);
	}
}

static void on_drain(struct role *r)
{
	struct receive *p = r->ctx;

	timer_stop(&p->space_timer);
	LIST_EACH_SAFE (it, &p->sessions)
		session_drain(container_of(it, struct session, link));
	if (list_is_empty(&p->sessions) && p->receipts == 0)
		role_finished(r);
}

static void status(struct role *r, struct strbuf *record)
{
	struct receive *p = r->ctx;

	ipc_rec_number(record, "accepted", IPC_NUMBER, p->accepted);
	ipc_rec_number(record, "refused", IPC_NUMBER, p->refused);
	ipc_rec_number(record, "low-space", IPC_BOOL, p->is_low_on_space);
}

static void stop(struct role *r)
{
	struct receive *p = r->ctx;

	if (!p)
		return;
	LIST_EACH_SAFE (it, &p->sessions)
		session_end(container_of(it, struct session, link));
	if (p->queue) {
		space_stop(p);
		queue_close(p->queue);
	}
	guard_clear(p);
	tell_stop(p);
	mem_free(p);
}

int main(int argc, char **argv)
{
	static const struct role_ops ops = {
	    .name = "smtpd-receive",
	    .state = {"queue"},
	    .serving = &role_serving,
	    .roles = 1u << ROLE_SMTP | 1u << ROLE_SUBMISSION | 1u << ROLE_LMTP | 1u << ROLE_DEVICE,
	    .full_reply = "421 4.7.0 Too many connections, try later\r\n",
	    .start = start,
	    .on_accept = on_accept,
	    .on_refuse = on_refuse,
	    .make_room = make_room,
	    .retire_seconds = 60,
	    .on_kick = on_kick,
	    .on_drain = on_drain,
	    .on_admin = guard_admin,
	    .status = status,
	    .stop = stop,
	};

	return role_main(argc, argv, &ops);
}
