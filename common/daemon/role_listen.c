#include "common/daemon/role_int.h"

#include "common/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEM_MAX (256 * 1024)

static int read_pem(const char *path, struct strbuf *out, struct err *err)
{
	char buf[8192];
	struct stat st;
	ssize_t n = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return err_errno(err, errno, "%s", path);
	if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
		err_set(err, ERR_INVALID, "%s: not a regular file", path);
	else
		while ((n = read(fd, buf, sizeof(buf))) > 0)
			strbuf_add_mem(out, buf, (size_t)n);
	mem_wipe(buf, sizeof(buf));
	if (n < 0 && (!err || err->code == ERR_NONE))
		err_errno(err, errno, "%s", path);
	close(fd);
	if (out->failed)
		return err_set(err, ERR_LIMIT, "%s: larger than %d bytes", path, PEM_MAX);
	return n < 0 ? -1 : 0;
}

/* The certificate of an id: <state>/keys/<id>/cert.pem and key.pem. */
static struct tls_context *load_certificate(
    const struct config *cfg, const char *id, struct err *err)
{
	char name[128], chain_path[CONFIG_PATH_MAX], key_path[CONFIG_PATH_MAX];
	struct tls_context *tls = NULL;
	struct strbuf chain, key;

	strbuf_init(&chain, PEM_MAX);
	strbuf_init(&key, PEM_MAX);
	snprintf(name, sizeof(name), "keys/%s/cert.pem", id);
	if (config_state_path(cfg, name, chain_path, err) < 0)
		goto out;
	snprintf(name, sizeof(name), "keys/%s/key.pem", id);
	if (config_state_path(cfg, name, key_path, err) < 0)
		goto out;
	if (read_pem(chain_path, &chain, err) < 0 || read_pem(key_path, &key, err) < 0)
		goto out;
	tls = tls_server_context_new(strbuf_span(&chain), strbuf_span(&key), err);
	if (!tls)
		err_wrap(err, "certificate %s (%s)", id, chain_path);
out:
	mem_wipe(key.p, key.cap);
	strbuf_clear(&key);
	strbuf_clear(&chain);
	return tls;
}

static int bind_one(const char *address, uint16_t port, struct err *err)
{
	struct net_addr a;

	if (net_addr_parse(&a, span_of(address), port, err) < 0)
		return -1;
	return listen_tcp(&a, err);
}

/* "*" is IPv6 and IPv4, each on a socket of its own; a machine without IPv6 has the one. */
static int bind_sockets(struct bound *b, struct err *err)
{
	const struct config_listener *l = b->pub.cfg;
	struct err v6 = ERR_INIT;

	if (strcmp(l->address, "*") != 0) {
		b->fds[0] = bind_one(l->address, l->port, err);
		return b->fds[0] < 0 ? -1 : 0;
	}
	b->fds[0] = bind_one("0.0.0.0", l->port, err);
	if (b->fds[0] < 0)
		return -1;
	b->fds[1] = bind_one("::", l->port, &v6);
	if (b->fds[1] < 0 && access("/proc/net/if_inet6", F_OK) == 0)
		return err_set(err, v6.code, "%s", v6.text);
	return 0;
}

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

static struct bound *bound_new(
    struct frame *f, struct config *cfg, const struct config_listener *l, struct err *err)
{
	struct bound *b = mem_zalloc(sizeof(*b));

	b->frame = f;
	b->cfg = config_ref(cfg);
	b->pub.cfg = l;
	b->fds[0] = b->fds[1] = -1;
	if (bind_sockets(b, err) < 0) {
		err_wrap(err, "listener %s", l->name);
		bound_delete(b);
		return NULL;
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

static int prepare(
    struct frame *f, struct config *cfg, struct step *steps, size_t *count, struct err *err)
{
	for (size_t i = 0; i < config_listener_count(cfg); i++) {
		struct step *s = &steps[*count];

		*s = (struct step){.l = config_listener(cfg, i)};
		if (!is_wanted(f, s->l))
			continue;
		(*count)++;
		if (s->l->tls != TLS_NONE) {
			s->tls = load_certificate(cfg, s->l->certificate, err);
			if (!s->tls)
				return err_wrap(err, "listener %s", s->l->name);
		}
		s->old = find_bound(f, s->l);
		if (!s->old)
			s->made = bound_new(f, cfg, s->l, err);
		if (!s->old && !s->made)
			return -1;
	}
	return 0;
}

static void commit(struct frame *f, struct config *cfg, struct step *steps, size_t count)
{
	struct list kept;

	list_init(&kept);
	for (size_t i = 0; i < count; i++) {
		struct bound *b = steps[i].old ? steps[i].old : steps[i].made;

		if (steps[i].old) {
			list_remove(&b->link);
			config_unref(b->cfg);
			b->cfg = config_ref(cfg);
		}
		b->pub.cfg = steps[i].l;
		tls_context_unref(b->pub.tls);
		b->pub.tls = steps[i].tls;
		list_append(&kept, &b->link);
	}
	LIST_EACH_SAFE (it, &f->bound) {
		struct bound *b = container_of(it, struct bound, link);

		if (!b->is_removed)
			bound_remove(b);
	}
	list_splice(&f->bound, &kept);
}

int bound_apply(struct frame *f, struct config *cfg, struct err *err)
{
	struct step *steps = mem_array(config_listener_count(cfg) + 1, sizeof(*steps));
	size_t count = 0;
	int result = prepare(f, cfg, steps, &count, err);

	if (result == 0) {
		commit(f, cfg, steps, count);
	} else {
		for (size_t i = 0; i < count; i++) {
			tls_context_unref(steps[i].tls);
			if (steps[i].made)
				bound_delete(steps[i].made);
		}
	}
	mem_free(steps);
	return result;
}

static void on_accept(void *arg, int fd, const struct net_addr *peer)
{
	struct bound *b = arg;
	struct role *r = &b->frame->role;
	struct err err = ERR_INIT;

	if (limits_enter(r->limits, peer, &err) < 0) {
		r->ops->on_refuse(r, &b->pub, fd, peer, &err);
		return;
	}
	b->pub.accepted++;
	b->pub.current++;
	r->ops->on_accept(r, &b->pub, fd, peer);
}

void bound_accept(struct frame *f)
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

void bound_close(struct frame *f)
{
	LIST_EACH_SAFE (it, &f->bound) {
		struct bound *b = container_of(it, struct bound, link);

		if (!b->is_removed)
			bound_remove(b);
	}
}

void bound_free(struct frame *f)
{
	LIST_EACH_SAFE (it, &f->bound)
		bound_delete(container_of(it, struct bound, link));
}

void role_connection_gone(struct role *r, struct role_listener *l, const struct net_addr *peer)
{
	struct bound *b = container_of(l, struct bound, pub);

	limits_leave(r->limits, peer);
	b->pub.current--;
	if (b->is_removed && b->pub.current == 0)
		bound_delete(b);
}
