/* imapd-worker: the role that serves the IMAP listeners. */
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/log/log.h"
#include "imapd/imap.h"

#include <sys/socket.h>
#include <unistd.h>

static void on_store_failure(void *arg, const struct err *err)
{
	struct imapd *p = arg;

	role_fail(p->role, err);
}

static void on_hint(void *arg, struct span hint)
{
	struct imapd *p = arg;

	store_take_hint(p->store, hint);
}

static void on_change(void *arg, const struct store_change *c)
{
	mbox_changed(arg, c);
}

static int open_store(struct imapd *p, struct err *err)
{
	const struct config *cfg = p->role->cfg;
	char dir[CONFIG_PATH_MAX];
	char hints[CONFIG_PATH_MAX];
	struct store_options opt = {
	    .loop = p->role->loop,
	    .dir = dir,
	    .map_size = config_u64(cfg, SET_STORE_MAP_SIZE),
	    .map_max = config_u64(cfg, SET_STORE_MAP_SIZE),
	    .inline_max = config_u64(cfg, SET_STORE_INLINE_MAX),
	    .reader_threads = (unsigned)config_u64(cfg, SET_STORE_READERS),
	    .batch_bytes = config_u64(cfg, SET_STORE_BATCH_BYTES),
	    .expunged_seconds = config_u64(cfg, SET_STORE_UNDELETE_DAYS) * 86400,
	    .on_failure = on_store_failure,
	    .arg = p,
	};

	/* This process needs no hints of its own commits. */
	if (config_state_path(cfg, "store", dir, err) < 0 ||
	    config_run_path(cfg, RUN_IMAPD_HINT, hints, err) < 0 ||
	    store_open(&opt, &p->store, err) < 0)
		return -1;
	store_on_change(p->store, on_change, p);
	p->hints = hint_receiver_new(p->role->loop, hints, STORE_HINT_LEN, on_hint, p, err);
	return p->hints ? 0 : -1;
}

static int start(struct role *r, struct err *err)
{
	struct imapd *p = mem_zalloc(sizeof(*p));

	r->ctx = p;
	p->role = r;
	list_init(&p->sessions);
	p->mboxes = hash_new();
	idle_start(p);
	return open_store(p, err);
}

static void on_accept(struct role *r, struct role_listener *l, int fd, const struct net_addr *peer)
{
	session_start(r->ctx, l, fd, peer);
}

static void on_refuse(struct role *r, struct role_listener *l, int fd, const struct net_addr *peer,
    const struct err *why)
{
	static const char text[] = "* BYE [UNAVAILABLE] Too many connections, try later\r\n";
	char client[NET_ADDR_TEXT];

	net_addr_format(peer, client);
	log_info("imap-refused", LOG_STR("client", client), LOG_STR("listener", l->cfg->name),
	    LOG_ERR(why));
	/* Whoever waits for a TLS handshake could not read it. */
	if (l->cfg->tls != TLS_IMPLICIT)
		(void)!send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static void on_kick(struct role *r, uint64_t account)
{
	struct imapd *p = r->ctx;

	LIST_EACH_SAFE (it, &p->sessions) {
		struct session *s = container_of(it, struct session, link);

		if (s->account == account)
			session_kick(s);
	}
}

static void on_drain(struct role *r)
{
	struct imapd *p = r->ctx;

	LIST_EACH_SAFE (it, &p->sessions)
		session_drain(container_of(it, struct session, link));
	if (list_is_empty(&p->sessions))
		role_finished(r);
}

static void stop(struct role *r)
{
	struct imapd *p = r->ctx;

	if (!p)
		return;
	p->is_stopping = true;
	LIST_EACH_SAFE (it, &p->sessions)
		session_end(container_of(it, struct session, link));
	hint_receiver_free(p->hints);
	if (p->store)
		store_close(p->store);
	mboxes_free(p);
	timer_clear(&p->still_here);
	mem_free(p);
}

int main(int argc, char **argv)
{
	static const struct role_ops ops = {
	    .name = "imapd-worker",
	    .state = {"store"},
	    .serving = &role_serving,
	    .roles = 1u << ROLE_IMAP,
	    .full_reply = "* BYE [UNAVAILABLE] Too many connections, try later\r\n",
	    .start = start,
	    .on_accept = on_accept,
	    .on_refuse = on_refuse,
	    .retire_seconds = 30 * 60,
	    .on_kick = on_kick,
	    .on_drain = on_drain,
	    .on_admin = imapd_admin,
	    .stop = stop,
	};

	return role_main(argc, argv, &ops);
}
