/* Connections that a load balancer makes for others: its header is read before anything else, so
 * that limits, logs and sessions see the client. */
#include "common/daemon/role_int.h"

#include "common/base/mem.h"
#include "common/log/log.h"
#include "common/net/proxy.h"

#include <errno.h>
#include <unistd.h>

#define HEADER_MS 3000
#define WAITING_MAX 1024

struct proxied {
	struct list link; /* frame->proxied */
	struct bound *bound;
	int fd;
	struct net_addr peer;
	struct watch watch;
	struct timer deadline;
};

bool proxy_is_expected(const struct role_listener *l, const struct net_addr *peer)
{
	struct span list = span_of(l->cfg->proxy_from), word;
	struct net_range r;

	while (config_list_next(&list, &word))
		if (net_range_parse(&r, word, NULL) == 0 && net_range_has(&r, peer))
			return true;
	return false;
}

/* Frees p; the descriptor goes on to the session, or is closed with fd -1 for the client. */
static void proxied_end(struct proxied *p, const struct net_addr *client, const struct err *why)
{
	struct bound *b = p->bound;
	char balancer[NET_ADDR_TEXT];
	int fd = p->fd;

	watch_clear(&p->watch);
	timer_clear(&p->deadline);
	list_remove(&p->link);
	b->frame->proxied_count--;
	net_addr_format(&p->peer, balancer);
	mem_free(p);
	if (client && !b->is_removed) {
		bound_enter(b, fd, client);
	} else {
		log_warning("proxy-refused", LOG_STR("balancer", balancer),
		    LOG_STR("listener", b->pub.cfg->name), LOG_ERR(why));
		close(fd);
	}
	bound_leave(b);
}

static void on_deadline(void *arg)
{
	struct err err;

	err_set(&err, ERR_TIMEOUT, "no PROXY header in time");
	proxied_end(arg, NULL, &err);
}

/* Only looks: what stands behind the header is the session's. */
static void on_ready(void *arg, unsigned ready)
{
	struct proxied *p = arg;
	struct net_addr client = p->peer;
	char buf[PROXY_HEADER_MAX];
	struct err err = ERR_INIT;
	ssize_t got = recv(p->fd, buf, sizeof(buf), MSG_PEEK), n;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		err_set(&err, ERR_CLOSED, "closed before the PROXY header");
		proxied_end(p, NULL, &err);
		return;
	}
	n = proxy_parse(span_make(buf, (size_t)got), &client, &err);
	if (n == 0) {
		/* The part that is there would wake us for ever: wait for more than that. */
		int more = (int)got + 1;

		(void)setsockopt(p->fd, SOL_SOCKET, SO_RCVLOWAT, &more, sizeof(more));
		return;
	}
	if (n > 0) {
		int one = 1;

		(void)setsockopt(p->fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one));
		if (recv(p->fd, buf, (size_t)n, 0) != n)
			n = err_set(&err, ERR_IO, "the PROXY header went away");
	}
	proxied_end(p, n > 0 ? &client : NULL, &err);
}

void proxy_wait(struct bound *b, int fd, const struct net_addr *peer)
{
	struct proxied *p;

	if (b->frame->proxied_count == WAITING_MAX) {
		log_warning("proxy-refused", LOG_STR("listener", b->pub.cfg->name),
		    LOG_STR("reason", "too many connections wait for their header"));
		close(fd);
		return;
	}
	p = mem_zalloc(sizeof(*p));
	p->bound = b;
	p->fd = fd;
	p->peer = *peer;
	b->pub.current++; /* keeps the listener */
	b->frame->proxied_count++;
	list_append(&b->frame->proxied, &p->link);
	watch_init(&p->watch, b->frame->role.loop, fd, on_ready, p);
	timer_init(&p->deadline, b->frame->role.loop, on_deadline, p);
	watch_set(&p->watch, WATCH_READ);
	timer_set(&p->deadline, HEADER_MS);
}

void proxy_clear(struct frame *f)
{
	LIST_EACH_SAFE (it, &f->proxied) {
		struct proxied *p = container_of(it, struct proxied, link);

		watch_clear(&p->watch);
		timer_clear(&p->deadline);
		list_remove(&p->link);
		close(p->fd);
		p->bound->pub.current--;
		mem_free(p);
	}
}
