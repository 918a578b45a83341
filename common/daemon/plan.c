/* What a configuration needs: sockets and certificates. */
#include "common/daemon/monitor_int.h"

#include "common/base/mem.h"
#include "common/daemon/notify.h"
#include "common/net/listener.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OWN_MAX 16

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

/* Our own sockets on this port, whatever their address. */
static size_t own_sockets(const struct plan *p, uint16_t port, int *fds, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < p->port_count; i++)
		for (size_t k = 0; k < 2 && p->ports[i]->port == port && n < max; k++)
			if (p->ports[i]->fds[k] >= 0)
				fds[n++] = p->ports[i]->fds[k];
	return n;
}

/* One that is open from before is the one. */
static int bind_one(const struct plan *before, const char *address, uint16_t port, struct err *err)
{
	struct err first = ERR_INIT;
	int ours[OWN_MAX];
	struct net_addr a;
	size_t n;
	int fd;

	if (address[0] == '/') {
		fd = parked_take_path(address);
		return fd >= 0 ? fd : listen_unix(address, err);
	}
	if (net_addr_parse(&a, span_of(address), port, err) < 0)
		return -1;
	fd = parked_take(&a);
	if (fd < 0)
		fd = listen_tcp(&a, &first);
	if (fd >= 0)
		return fd;
	n = own_sockets(before, port, ours, OWN_MAX);
	if (n > 0)
		return listen_tcp_beside(&a, ours, n, err);
	return err_set(err, first.code, "%s", first.text);
}

/* "*" is IPv6 and IPv4, each on a socket of its own; a machine without IPv6 has the one. */
static int bind_sockets(const struct plan *before, struct port *p, struct err *err)
{
	struct err v6 = ERR_INIT;

	if (strcmp(p->address, "*") != 0) {
		p->fds[0] = bind_one(before, p->address, p->port, err);
		return p->fds[0] < 0 ? -1 : 0;
	}
	p->fds[0] = bind_one(before, "0.0.0.0", p->port, err);
	if (p->fds[0] < 0)
		return -1;
	p->fds[1] = bind_one(before, "::", p->port, &v6);
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

static bool has_port(const struct plan *p, const struct port *port)
{
	for (size_t i = 0; i < p->port_count; i++)
		if (p->ports[i] == port)
			return true;
	return false;
}

static void each_socket(const struct port *p, void (*fn)(const struct net_addr *addr, int fd))
{
	for (size_t i = 0; i < 2; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		struct net_addr a;

		if (p->address[0] != '/' && p->fds[i] >= 0 &&
		    getsockname(p->fds[i], (struct sockaddr *)&ss, &len) == 0 &&
		    net_addr_from_sockaddr(&a, (struct sockaddr *)&ss, len) == 0)
			fn(&a, p->fds[i]);
	}
}

static void forget(const struct net_addr *addr, int fd)
{
	notify_forget(addr);
}

void plan_tell_manager(const struct plan *before, const struct plan *now)
{
	for (size_t i = 0; i < now->port_count; i++)
		if (!has_port(before, now->ports[i]))
			each_socket(now->ports[i], notify_keep);
	for (size_t i = 0; i < before->port_count; i++)
		if (!has_port(now, before->ports[i]))
			each_socket(before->ports[i], forget);
}

/* Where the port of a listener stands, if it stands anywhere. */
struct port_line {
	char name[100];
	const char *origin;
	unsigned line;
};

static void find_line(void *arg, const struct config_value *v)
{
	struct port_line *at = arg;

	if (strcmp(v->name, at->name) != 0)
		return;
	at->origin = v->origin;
	at->line = v->line;
}

static int blame_port(const struct config *cfg, const struct config_listener *l, struct err *err)
{
	struct port_line at = {.line = 0};

	snprintf(at.name, sizeof(at.name), "listener.%s.port", l->name);
	config_each(cfg, find_line, &at);
	if (at.line == 0)
		return err_wrap(err, "listener %s", l->name);
	return err_wrap(err, "%s:%u: %s", at.origin, at.line, at.name);
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
	if (port->fds[0] < 0 && bind_sockets(before, port, err) < 0)
		return blame_port(p->cfg, l, err);
	return 0;
}

/* --- certificates ----------------------------------------------------------------------------- */
static int add_requests(struct monitor *m, struct plan *p, struct err *err)
{
	p->keys = mem_array(m->spec->count, sizeof(*p->keys));
	for (; p->key_count < m->spec->count; p->key_count++) {
		const struct monitor_role *role = &m->spec->roles[p->key_count];
		struct plan_keys *k = &p->keys[p->key_count];

		strbuf_init(&k->set, IPC_BODY_MAX);
		if (keys_request(p->cfg, role->listeners, role->name, &k->request, &k->count, err) <
		    0)
			return -1;
	}
	return 0;
}

void plan_take_set(struct plan *p, size_t role, struct span set)
{
	struct plan_keys *k = &p->keys[role];

	keys_buf_clear(&k->set);
	(void)strbuf_room(&k->set, set.n);
	strbuf_add(&k->set, set);
}

/* Whose line names a certificate that keyd does not have: its answer ends with the id. */
struct blame {
	struct err *err; /* takes the line */
	struct span text;
	bool is_found;
};

static void blame_value(void *arg, const struct config_value *v)
{
	struct blame *b = arg;
	struct span list = span_of(v->value);
	struct span name = span_of(v->name);
	struct span id;

	if (v->line == 0 || !span_starts(name, SPAN("listener.")) ||
	    !span_ends(name, SPAN(".certificate")))
		return;
	while (!b->is_found && config_list_next(&list, &id)) {
		size_t at = b->text.n - id.n;

		if (b->text.n <= id.n || !span_ends(b->text, id) || b->text.p[at - 1] != ' ')
			continue;
		b->is_found = true;
		err_set(b->err, ERR_NOT_FOUND,
		    "%s:%u: %s: found \"%.*s\", expected a certificate that cert list shows",
		    v->origin, v->line, v->name, SPAN_FMT(id));
	}
}

void plan_blame_certificate(const struct plan *p, struct err *err)
{
	struct err before = *err;
	struct blame b = {.err = err, .text = span_of(before.text)};

	if (err->code == ERR_NOT_FOUND)
		config_each(p->cfg, blame_value, &b);
}

int plan_fetch(struct plan *p, struct err *err)
{
	for (size_t i = 0; i < p->key_count; i++) {
		struct strbuf set;
		int result;

		if (p->keys[i].count == 0)
			continue;
		keys_buf_init(&set);
		result = keys_fetch(p->cfg, strbuf_span(&p->keys[i].request), &set, err);
		if (result == 0)
			plan_take_set(p, i, strbuf_span(&set));
		keys_buf_clear(&set);
		if (result < 0) {
			plan_blame_certificate(p, err);
			return -1;
		}
	}
	return 0;
}

uint64_t plan_generation(const struct plan *p)
{
	struct ipc_key_set set;

	for (size_t i = 0; i < p->key_count; i++)
		if (p->keys[i].set.n > 0 && ipc_dec_key_set(strbuf_span(&p->keys[i].set), &set))
			return set.generation;
	return 0;
}

/* --- the plan --------------------------------------------------------------------------------- */
void plan_init(struct plan *p)
{
	*p = (struct plan){0};
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
	for (size_t i = 0; i < p->key_count; i++) {
		keys_buf_clear(&p->keys[i].set);
		strbuf_clear(&p->keys[i].request);
	}
	mem_free(p->keys);
	config_unref(p->cfg);
	plan_init(p);
}

void plan_move(struct plan *to, struct plan *from)
{
	*to = *from;
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
		if (add_port(p, l, before, err) < 0) {
			plan_clear(p);
			return -1;
		}
	}
	if (add_requests(m, p, err) < 0) {
		plan_clear(p);
		return -1;
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

void plan_send(const struct plan *p, struct fed *role, uint32_t number)
{
	role->asked = number;
	send_config(p->cfg, role->program);
	if (p->keys[role - role->m->roles].count > 0)
		program_send(role->program, LINK_KEYS, 0,
		    strbuf_span(&p->keys[role - role->m->roles].set), NULL, 0);
	for (size_t i = 0; i < p->port_count; i++)
		if (wants_port(p, role, p->ports[i]))
			send_port(p->ports[i], role->program);
	program_send(role->program, LINK_PREPARE, number, span_make("", 0), NULL, 0);
}
