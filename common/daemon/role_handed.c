/* Listeners whose sockets and certificates a role hands to a program that it starts. */
#include "common/daemon/role_int.h"

#include "common/base/mem.h"
#include "common/daemon/process.h"
#include "common/log/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HANDED_MAX 8
#define RECORD_MAX 4096

/* What holds now; one process has one frame. */
static struct {
	struct role_handed list[HANDED_MAX];
	size_t count;
	struct strbuf keys;
} now;

/* How the offer's listener i of ours gets its sockets. */
struct step {
	const struct config_listener *l;
	struct offer_socket *from;
};

static struct offer_socket *find_socket(struct offer *o, const struct config_listener *l)
{
	LIST_EACH (it, &o->sockets) {
		struct offer_socket *s = container_of(it, struct offer_socket, link);

		if (s->port == l->port && strcmp(s->address, l->address) == 0)
			return s;
	}
	return NULL;
}

static int handed_prepare(struct frame *f, struct offer *o, struct err *err)
{
	o->steps = mem_array(HANDED_MAX, sizeof(*o->steps));
	for (size_t i = 0; i < config_listener_count(o->cfg); i++) {
		const struct config_listener *l = config_listener(o->cfg, i);
		struct offer_socket *s;

		if (!(f->role.ops->roles & (1u << l->role)))
			continue;
		s = find_socket(o, l);
		if (!s || o->count == HANDED_MAX)
			return err_set(err, ERR_INVALID, "listener %s: no socket came", l->name);
		o->steps[o->count++] = (struct step){l, s};
	}
	return 0;
}

static void handed_abort(struct offer *o)
{
	mem_free(o->steps);
	o->steps = NULL;
	o->count = 0;
}

static void drop(void)
{
	for (size_t i = 0; i < now.count; i++)
		for (size_t k = 0; k < 2; k++)
			if (now.list[i].fds[k] >= 0)
				close(now.list[i].fds[k]);
	now.count = 0;
	keys_buf_clear(&now.keys);
}

static void handed_close(struct frame *f)
{
	drop();
}

static void handed_commit(struct frame *f, struct offer *o)
{
	drop();
	for (size_t i = 0; i < o->count; i++) {
		struct offer_socket *from = o->steps[i].from;
		struct role_handed *to = &now.list[now.count++];

		*to = (struct role_handed){o->steps[i].l, {from->fds[0], from->fds[1]}};
		from->fds[0] = from->fds[1] = -1;
	}
	keys_buf_init(&now.keys);
	strbuf_add(&now.keys, strbuf_span(&o->keys));
	handed_abort(o);
}

static void handed_accept(struct frame *f)
{
	struct err err = ERR_INIT;

	if (f->role.is_draining || f->role.ops->on_handed(&f->role, now.list, now.count,
				       strbuf_span(&now.keys), &err) == 0)
		return;
	log_error("start-failed", LOG_ERR(&err));
	fprintf(stderr, "%s: %s\n", f->role.ops->name, err.text);
	f->exit_status = EXIT_CONFIG;
	loop_stop(f->role.loop);
}

static void handed_status(struct frame *f, const struct admin_request *rq)
{
	struct strbuf b;

	strbuf_init(&b, RECORD_MAX);
	for (size_t i = 0; i < now.count; i++) {
		strbuf_reset(&b);
		admin_listener(&b, now.list[i].cfg);
		ipc_rec_number(&b, "bound", IPC_BOOL, now.list[i].fds[0] >= 0);
		admin_record(rq, &b);
	}
	strbuf_clear(&b);
}

const struct role_serving role_handing = {
    .prepare = handed_prepare,
    .commit = handed_commit,
    .abort = handed_abort,
    .accept = handed_accept,
    .close = handed_close,
    .free = handed_close,
    .status = handed_status,
};
