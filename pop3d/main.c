/* pop3d-worker: the role that serves the POP3 listeners. */
#include "pop3d/pop3.h"

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_store_failure(void *arg, const struct err *err)
{
	struct pop3d *p = arg;

	role_fail(p->role, err);
}

static int open_locks(struct pop3d *p, struct err *err)
{
	char path[CONFIG_PATH_MAX];

	if (config_run_path(p->role->cfg, RUN_POP3D_LOCKS, path, err) < 0)
		return -1;
	p->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (p->lock_fd < 0)
		return err_errno(err, errno, "%s", path);
	return 0;
}

static int open_store(struct pop3d *p, struct err *err)
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
	    .hint_path = hints,
	    .on_failure = on_store_failure,
	    .arg = p,
	};

	if (config_state_path(cfg, "store", dir, err) < 0 ||
	    config_run_path(cfg, RUN_IMAPD_HINT, hints, err) < 0)
		return -1;
	return store_open(&opt, &p->store, err);
}

static int start(struct role *r, struct err *err)
{
	struct pop3d *p = mem_zalloc(sizeof(*p));

	r->ctx = p;
	p->role = r;
	p->lock_fd = -1;
	list_init(&p->sessions);
	p->maildrops = hash_new();
	if (open_locks(p, err) < 0)
		return -1;
	return open_store(p, err);
}

static void on_accept(struct role *r, struct role_listener *l, int fd, const struct net_addr *peer)
{
	session_start(r->ctx, l, fd, peer);
}

static void on_refuse(struct role *r, struct role_listener *l, int fd, const struct net_addr *peer,
    const struct err *why)
{
	static const char text[] = "-ERR [SYS/TEMP] Too many connections, try later\r\n";
	char client[NET_ADDR_TEXT];

	net_addr_format(peer, client);
	log_info("pop3-refused", LOG_STR("client", client), LOG_STR("listener", l->cfg->name),
	    LOG_ERR(why));
	/* Whoever waits for a TLS handshake could not read it. */
	if (l->cfg->tls != TLS_IMPLICIT)
		(void)!send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

/* Of those that have not logged in the oldest. */
static bool make_room(struct role *r, struct role_listener *l)
{
	struct pop3d *p = r->ctx;

	LIST_EACH (it, &p->sessions) {
		struct session *s = container_of(it, struct session, link);

		if (s->is_in_transaction || s->wait == WAIT_RESULT || (l && s->listener != l))
			continue;
		log_info("pop3-evicted", LOG_STR("session", s->id), LOG_STR("client", s->client));
		reply_err(s, "[SYS/TEMP] Too many connections, try later");
		session_end(s);
		return true;
	}
	return false;
}

static void on_kick(struct role *r, uint64_t account)
{
	struct pop3d *p = r->ctx;

	LIST_EACH_SAFE (it, &p->sessions) {
		struct session *s = container_of(it, struct session, link);

		if (s->account == account)
			session_kick(s);
	}
}

static void on_drain(struct role *r)
{
	struct pop3d *p = r->ctx;

	LIST_EACH_SAFE (it, &p->sessions)
		session_drain(container_of(it, struct session, link));
	if (list_is_empty(&p->sessions))
		role_finished(r);
}

static void stop(struct role *r)
{
	struct pop3d *p = r->ctx;

	if (!p)
		return;
	LIST_EACH_SAFE (it, &p->sessions)
		session_end(container_of(it, struct session, link));
	if (p->store)
		store_close(p->store);
	hash_free(p->maildrops);
	if (p->lock_fd >= 0)
		close(p->lock_fd);
	mem_free(p);
}

int main(int argc, char **argv)
{
	static const struct role_ops ops = {
	    .name = "pop3d-worker",
	    .state = {"store"},
	    .serving = &role_serving,
	    .roles = 1u << ROLE_POP3,
	    .full_reply = "-ERR [SYS/TEMP] Too many connections, try later\r\n",
	    .start = start,
	    .on_accept = on_accept,
	    .on_refuse = on_refuse,
	    .make_room = make_room,
	    .retire_seconds = 30 * 60,
	    .on_kick = on_kick,
	    .on_drain = on_drain,
	    .stop = stop,
	};

	return role_main(argc, argv, &ops);
}
