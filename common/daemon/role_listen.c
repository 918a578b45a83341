/* The listeners of a role: sockets that the monitor bound, and the sessions they brought. */
#include "common/daemon/role_int.h"

#include "common/base/mem.h"
#include "common/event/clock.h"

#include <string.h>
#include <unistd.h>

#define DAY_SECONDS 86400
#define RECORD_MAX (16 * 1024)

static void bound_delete(struct bound *b)
{
	list_remove(&b->link);
	for (int i = 0; i < 2; i++) {
		if (b->listeners[i])
			listener_free(b->listeners[i]);
		else if (b->fds[i] >= 0)
			close(b->fds[i]);
	}
	tls_context_unref(b->pub.tls);
	config_unref(b->cfg);
	mem_free(b);
}

/* From the socket that came for it. */
static struct bound *bound_new(
    struct frame *f, struct offer *o, const struct config_listener *l, struct err *err)
{
	struct offer_socket *s = NULL;
	struct bound *b;

	LIST_EACH (it, &o->sockets) {
		struct offer_socket *one = container_of(it, struct offer_socket, link);

		if (one->port == l->port && one->fds[0] >= 0 &&
		    strcmp(one->address, l->address) == 0)
			s = one;
	}
	if (!s) {
		err_set(err, ERR_INVALID, "listener %s: no socket came", l->name);
		return NULL;
	}
	b = mem_zalloc(sizeof(*b));
	b->frame = f;
	b->cfg = config_ref(o->cfg);
	b->pub.cfg = l;
	for (size_t i = 0; i < 2; i++) {
		b->fds[i] = s->fds[i];
		s->fds[i] = -1;
	}
	if (net_addr_parse(&b->pub.addr, span_of(l->address[0] == '*' ? "0.0.0.0" : l->address),
		l->port, NULL) < 0)
		b->pub.addr = (struct net_addr){0};
	return b;
}

static struct bound *find_bound(struct frame *f, const struct config_listener *l)
{
	LIST_EACH (it, &f->bound) {
		struct bound *b = container_of(it, struct bound, link);

		if (!b->is_removed && b->pub.cfg->port == l->port &&
		    strcmp(b->pub.cfg->address, l->address) == 0)
			return b;
	}
	return NULL;
}

static bool is_wanted(const struct frame *f, const struct config_listener *l)
{
	return f->role.ops->roles & (1u << l->role);
}

static void bound_remove(struct bound *b)
{
	b->is_removed = true;
	for (int i = 0; i < 2; i++) {
		if (b->listeners[i])
			listener_free(b->listeners[i]);
		else if (b->fds[i] >= 0)
			close(b->fds[i]);
		b->listeners[i] = NULL;
		b->fds[i] = -1;
	}
	if (b->pub.current == 0)
		bound_delete(b);
}

/* One step of a change: the listener as it will be, and what it is made of. */
struct step {
	const struct config_listener *l;
	struct bound *old, *made;
	struct tls_context *tls;
};

static bool same_tls(const struct config_listener *a, const struct config_listener *b)
{
	return strcmp(a->certificates, b->certificates) == 0 && a->tls_min == b->tls_min &&
	       a->ask_client_certificate == b->ask_client_certificate;
}

/* One context for all listeners that serve the same. */
static int prepare_tls(const struct offer *o, struct step *s, struct err *err)
{
	for (const struct step *k = o->steps; k < s && !s->tls; k++)
		if (k->tls && same_tls(k->l, s->l))
			s->tls = tls_context_ref(k->tls);
	if (!s->tls)
		s->tls = keys_context(strbuf_span(&o->keys), s->l, err);
	return s->tls ? 0 : -1;
}

static int prepare_one(struct frame *f, struct offer *o, struct step *s, struct err *err)
{
	if (s->l->tls != TLS_NONE && prepare_tls(o, s, err) < 0)
		return -1;
	s->old = find_bound(f, s->l);
	if (!s->old)
		s->made = bound_new(f, o, s->l, err);
	return s->old || s->made ? 0 : -1;
}

static int bound_prepare(struct frame *f, struct offer *o, struct err *err)
{
	o->steps = mem_array(config_listener_count(o->cfg) + 1, sizeof(*o->steps));
	for (size_t i = 0; i < config_listener_count(o->cfg); i++) {
		struct step *s = &o->steps[o->count];

		*s = (struct step){.l = config_listener(o->cfg, i)};
		if (!is_wanted(f, s->l))
			continue;
		o->count++;
		if (prepare_one(f, o, s, err) < 0)
			return -1;
	}
	return 0;
}

static void bound_abort(struct offer *o)
{
	for (size_t i = 0; i < o->count; i++) {
		tls_context_unref(o->steps[i].tls);
		if (o->steps[i].made)
			bound_delete(o->steps[i].made);
	}
	mem_free(o->steps);
	o->steps = NULL;
	o->count = 0;
}

static void bound_close(struct frame *f)
{
	LIST_EACH_SAFE (it, &f->bound) {
		struct bound *b = container_of(it, struct bound, link);

		if (!b->is_removed)
			bound_remove(b);
	}
}

static void bound_commit(struct frame *f, struct offer *o)
{
	struct list kept;

	list_init(&kept);
	for (size_t i = 0; i < o->count; i++) {
		struct step *s = &o->steps[i];
		struct bound *b = s->old ? s->old : s->made;

		if (s->old) {
			list_remove(&b->link);
			config_unref(b->cfg);
			b->cfg = config_ref(o->cfg);
		}
		b->pub.cfg = s->l;
		tls_context_unref(b->pub.tls);
		b->pub.tls = s->tls;
		list_append(&kept, &b->link);
	}
	mem_free(o->steps);
	o->steps = NULL;
	o->count = 0;
	bound_close(f);
	list_splice(&f->bound, &kept);
}

/* The limit of the listener, or of all: make_room may end a session that is worth less. */
static int enter(struct role *r, struct bound *b, const struct net_addr *client, struct err *err)
{
	uint64_t most = b->pub.cfg->connections;
	bool is_full = most > 0 && b->pub.current >= most;

	if (is_full)
		err_set(err, ERR_LIMIT, "%zu connections of this listener", (size_t)most);
	else if (limits_enter(r->limits, client, err) == 0)
		return 0;
	else if (!limits_is_full(r->limits))
		return -1;
	if (!r->ops->make_room || !r->ops->make_room(r, is_full ? &b->pub : NULL))
		return -1;
	return limits_enter(r->limits, client, err);
}

void bound_enter(struct bound *b, int fd, const struct net_addr *client)
{
	struct role *r = &b->frame->role;
	struct err err = ERR_INIT;

	if (enter(r, b, client, &err) < 0) {
		r->ops->on_refuse(r, &b->pub, fd, client, &err);
		return;
	}
	b->pub.accepted++;
	b->pub.current++;
	b->pub.last_client = *client;
	b->pub.last_time = clock_now();
	r->ops->on_accept(r, &b->pub, fd, client);
}

void bound_leave(struct bound *b)
{
	b->pub.current--;
	if (b->is_removed && b->pub.current == 0)
		bound_delete(b);
}

static void on_accept(void *arg, int fd, const struct net_addr *peer)
{
	struct bound *b = arg;

	if (proxy_is_expected(&b->pub, peer))
		proxy_wait(b, fd, peer);
	else
		bound_enter(b, fd, peer);
}

static void bound_accept(struct frame *f)
{
	struct span full = span_of(f->role.ops->full_reply ? f->role.ops->full_reply : "");

	LIST_EACH (it, &f->bound) {
		struct bound *b = container_of(it, struct bound, link);

		for (int i = 0; i < 2; i++)
			if (b->fds[i] >= 0 && !b->listeners[i])
				b->listeners[i] =
				    listener_new(f->role.loop, b->fds[i], full, on_accept, b);
	}
}

static void bound_free(struct frame *f)
{
	proxy_clear(f);
	LIST_EACH_SAFE (it, &f->bound)
		bound_delete(container_of(it, struct bound, link));
}

void role_connection_gone(struct role *r, struct role_listener *l, const struct net_addr *peer)
{
	struct bound *b = container_of(l, struct bound, pub);
	struct frame *f = b->frame;

	limits_leave(r->limits, peer);
	bound_leave(b);
	frame_session_gone(f);
}

/* --- status ----------------------------------------------------------------------------------- */
static void listener_record(const struct bound *b, struct strbuf *out)
{
	char client[NET_ADDR_TEXT] = "";
	int64_t left = b->pub.tls ? tls_context_expires(b->pub.tls) - clock_now() : 0;

	if (b->pub.last_time != 0)
		net_addr_format(&b->pub.last_client, client);
	admin_listener(out, b->pub.cfg);
	if (b->pub.tls)
		ipc_rec_number(
		    out, "days-left", IPC_NUMBER, left > 0 ? (uint64_t)left / DAY_SECONDS : 0);
	else
		ipc_rec_text(out, "days-left", span_of(""));
	ipc_rec_number(out, "bound", IPC_BOOL, b->listeners[0] != NULL);
	ipc_rec_number(out, "connections", IPC_NUMBER, b->pub.current);
	ipc_rec_number(out, "accepted", IPC_NUMBER, b->pub.accepted);
	ipc_rec_text(out, "last-client", span_of(client));
	ipc_rec_number(out, "last-time", IPC_TIME, (uint64_t)b->pub.last_time);
}

static void bound_status(struct frame *f, const struct admin_request *rq)
{
	struct strbuf b;

	strbuf_init(&b, RECORD_MAX);
	LIST_EACH (it, &f->bound) {
		strbuf_reset(&b);
		listener_record(container_of(it, struct bound, link), &b);
		admin_record(rq, &b);
	}
	strbuf_clear(&b);
}

const struct role_serving role_serving = {
    .prepare = bound_prepare,
    .commit = bound_commit,
    .abort = bound_abort,
    .accept = bound_accept,
    .close = bound_close,
    .free = bound_free,
    .status = bound_status,
};
