/* What a configuration needs: sockets and certificates. */
#include "common/daemon/monitor_int.h"

#include "common/base/mem.h"
#include "common/net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEM_MAX (256 * 1024)

/* --- ports ------------------------------------------------------------------------------------ */
static void port_unref(struct port *p)
{
	if (--p->refs > 0)
		return;
	for (size_t i = 0; i < 2; i++)
		if (p->fds[i] >= 0)
			close(p->fds[i]);
	mem_free(p);
}

static int bind_one(const char *address, uint16_t port, struct err *err)
{
	struct net_addr a;

	if (net_addr_parse(&a, span_of(address), port, err) < 0)
		return -1;
	return listen_tcp(&a, err);
}

/* "*" is IPv6 and IPv4, each on a socket of its own; a machine without IPv6 has the one. */
static int bind_sockets(struct port *p, struct err *err)
{
	struct err v6 = ERR_INIT;

	if (strcmp(p->address, "*") != 0) {
		p->fds[0] = bind_one(p->address, p->port, err);
		return p->fds[0] < 0 ? -1 : 0;
	}
	p->fds[0] = bind_one("0.0.0.0", p->port, err);
	if (p->fds[0] < 0)
		return -1;
	p->fds[1] = bind_one("::", p->port, &v6);
	if (p->fds[1] < 0 && access("/proc/net/if_inet6", F_OK) == 0)
		return err_set(err, v6.code, "%s", v6.text);
	return 0;
}

static struct port *find_port(const struct plan *p, const struct config_listener *l)
{
	for (size_t i = 0; i < p->port_count; i++)
		if (p->ports[i]->port == l->port && strcmp(p->ports[i]->address, l->address) == 0)
			return p->ports[i];
	return NULL;
}

static int add_port(
    struct plan *p, const struct config_listener *l, const struct plan *before, struct err *err)
{
	struct port *port = find_port(before, l);

	if (!port) {
		port = mem_zalloc(sizeof(*port));
		snprintf(port->address, sizeof(port->address), "%s", l->address);
		port->port = l->port;
		port->fds[0] = port->fds[1] = -1;
	}
	port->refs++;
	p->ports[p->port_count++] = port;
	if (port->fds[0] < 0 && bind_sockets(port, err) < 0)
		return err_wrap(err, "listener %s", l->name);
	return 0;
}

/* --- certificates ----------------------------------------------------------------------------- */
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

static bool has_cert(const struct plan *p, const char *id)
{
	LIST_EACH (it, &p->certs)
		if (strcmp(container_of(it, struct cert, link)->id, id) == 0)
			return true;
	return false;
}

static int add_cert(struct plan *p, const char *id, struct err *err)
{
	char name[128], path[CONFIG_PATH_MAX];
	struct cert *c;

	if (has_cert(p, id))
		return 0;
	c = mem_zalloc(sizeof(*c));
	snprintf(c->id, sizeof(c->id), "%s", id);
	strbuf_init(&c->chain, PEM_MAX);
	strbuf_init(&c->key, PEM_MAX);
	list_append(&p->certs, &c->link);
	snprintf(name, sizeof(name), "keys/%s/cert.pem", id);
	if (config_state_path(p->cfg, name, path, err) < 0 || read_pem(path, &c->chain, err) < 0)
		return -1;
	snprintf(name, sizeof(name), "keys/%s/key.pem", id);
	if (config_state_path(p->cfg, name, path, err) < 0)
		return -1;
	return read_pem(path, &c->key, err);
}

static void cert_free(struct cert *c)
{
	list_remove(&c->link);
	mem_wipe(c->key.p, c->key.cap);
	strbuf_clear(&c->key);
	strbuf_clear(&c->chain);
	mem_free(c);
}

/* --- the plan --------------------------------------------------------------------------------- */
void plan_init(struct plan *p)
{
	*p = (struct plan){0};
	list_init(&p->certs);
}

void plan_close_ports(struct plan *p)
{
	for (size_t i = 0; i < p->port_count; i++)
		port_unref(p->ports[i]);
	mem_free(p->ports);
	p->ports = NULL;
	p->port_count = 0;
}

void plan_clear(struct plan *p)
{
	plan_close_ports(p);
	LIST_EACH_SAFE (it, &p->certs)
		cert_free(container_of(it, struct cert, link));
	config_unref(p->cfg);
	plan_init(p);
}

void plan_move(struct plan *to, struct plan *from)
{
	*to = *from;
	list_init(&to->certs);
	list_splice(&to->certs, &from->certs);
	plan_init(from);
}

static bool is_ours(const struct monitor *m, const struct config_listener *l)
{
	for (size_t i = 0; i < m->spec->count; i++)
		if (m->spec->roles[i].listeners & (1u << l->role))
			return true;
	return false;
}

int plan_make(struct monitor *m, struct plan *p, struct config *cfg, const struct plan *before,
    struct err *err)
{
	size_t count = config_listener_count(cfg);

	plan_init(p);
	p->cfg = cfg;
	p->ports = mem_array(count + 1, sizeof(struct port *));
	for (size_t i = 0; i < count; i++) {
		const struct config_listener *l = config_listener(cfg, i);

		if (!is_ours(m, l))
			continue;
		if (add_port(p, l, before, err) < 0 ||
		    (l->tls != TLS_NONE && add_cert(p, l->certificate, err) < 0)) {
			plan_clear(p);
			return -1;
		}
	}
	return 0;
}

static void send_config(const struct config *cfg, struct program *to)
{
	struct config_texts t = config_texts(cfg);
	struct ipc_config m = {t.main_path, t.main_text, t.settings_path, t.settings_text};
	struct strbuf b;

	strbuf_init(&b, IPC_BODY_MAX);
	ipc_enc_config(&b, &m);
	program_send(to, LINK_CONFIG, 0, strbuf_span(&b), NULL, 0);
	strbuf_clear(&b);
}

static void send_cert(const struct cert *c, struct program *to)
{
	struct ipc_cert m = {span_of(c->id), strbuf_span(&c->chain), strbuf_span(&c->key)};
	struct strbuf b;

	strbuf_init(&b, IPC_BODY_MAX);
	ipc_enc_cert(&b, &m);
	program_send(to, LINK_CERT, 0, strbuf_span(&b), NULL, 0);
	mem_wipe(b.p, b.cap);
	strbuf_clear(&b);
}

static void send_port(const struct port *p, struct program *to)
{
	struct ipc_socket m = {span_of(p->address), p->port};
	struct strbuf b;

	strbuf_init(&b, 256);
	ipc_enc_socket(&b, &m);
	program_send(to, LINK_SOCKET, 0, strbuf_span(&b), p->fds, p->fds[1] >= 0 ? 2 : 1);
	strbuf_clear(&b);
}

/* A role gets only what is for its own listeners. */
static bool wants_port(const struct plan *p, const struct fed *role, const struct port *port)
{
	for (size_t i = 0; i < config_listener_count(p->cfg); i++) {
		const struct config_listener *l = config_listener(p->cfg, i);

		if ((role->def->listeners & (1u << l->role)) && l->port == port->port &&
		    strcmp(l->address, port->address) == 0)
			return true;
	}
	return false;
}

static bool wants_cert(const struct plan *p, const struct fed *role, const struct cert *c)
{
	for (size_t i = 0; i < config_listener_count(p->cfg); i++) {
		const struct config_listener *l = config_listener(p->cfg, i);

		if ((role->def->listeners & (1u << l->role)) && l->tls != TLS_NONE &&
		    strcmp(l->certificate, c->id) == 0)
			return true;
	}
	return false;
}

void plan_send(const struct plan *p, struct fed *role, uint32_t number)
{
	role->asked = number;
	send_config(p->cfg, role->program);
	LIST_EACH (it, &p->certs)
		if (wants_cert(p, role, container_of(it, struct cert, link)))
			send_cert(container_of(it, struct cert, link), role->program);
	for (size_t i = 0; i < p->port_count; i++)
		if (wants_port(p, role, p->ports[i]))
			send_port(p->ports[i], role->program);
	program_send(role->program, LINK_PREPARE, number, span_make("", 0), NULL, 0);
}
