/* What a monitor sends to its roles: a change, piece by piece, then prepare, then commit. */
#include "common/daemon/role_int.h"

#include "common/base/mem.h"
#include "common/daemon/process.h"
#include "common/log/log.h"

#include <stdio.h>
#include <unistd.h>

void offer_init(struct frame *f)
{
	f->offer = (struct offer){0};
	strbuf_init(&f->offer.keys, IPC_BODY_MAX);
	list_init(&f->offer.sockets);
}

static void socket_free(struct offer_socket *s)
{
	for (size_t i = 0; i < 2; i++)
		if (s->fds[i] >= 0)
			close(s->fds[i]);
	list_remove(&s->link);
	mem_free(s);
}

void offer_clear(struct frame *f)
{
	struct offer *o = &f->offer;

	if (f->role.ops->serving)
		f->role.ops->serving->abort(o);
	keys_buf_clear(&o->keys);
	LIST_EACH_SAFE (it, &o->sockets)
		socket_free(container_of(it, struct offer_socket, link));
	config_unref(o->cfg);
	offer_init(f);
}

static void add_config(struct frame *f, struct span body)
{
	struct offer *o = &f->offer;
	struct ipc_config m;
	struct config_texts t;

	offer_clear(f);
	if (!ipc_dec_config(body, &m)) {
		err_set(&o->err, ERR_INVALID, "malformed configuration");
		return;
	}
	t = (struct config_texts){m.main_path, m.main_text, m.settings_path, m.settings_text};
	(void)config_from_texts(&t, &o->cfg, &o->err);
}

static void add_socket(struct offer *o, struct span body, const int *fds, size_t fd_count)
{
	struct offer_socket *s;
	struct ipc_socket m;

	if (!ipc_dec_socket(body, &m) || m.address.n >= sizeof(s->address) || fd_count == 0) {
		err_set(&o->err, ERR_INVALID, "malformed socket");
		for (size_t i = 0; i < fd_count; i++)
			close(fds[i]);
		return;
	}
	s = mem_zalloc(sizeof(*s));
	snprintf(s->address, sizeof(s->address), "%.*s", SPAN_FMT(m.address));
	s->port = m.port;
	s->fds[0] = fds[0];
	s->fds[1] = fd_count > 1 ? fds[1] : -1;
	list_append(&o->sockets, &s->link);
}

static void answer(struct frame *f, uint16_t type, uint32_t id, const struct err *err)
{
	struct ipc_error e = {.code = (uint16_t)err->code, .text = span_of(err->text)};
	struct strbuf b;

	strbuf_init(&b, 1024);
	ipc_enc_error(&b, &e);
	ipc_link_send(f->parent, type, id, strbuf_span(&b), NULL, 0);
	strbuf_clear(&b);
}

static void prepare(struct frame *f, uint32_t id)
{
	struct offer *o = &f->offer;
	struct err err = o->err;

	if (err.code == ERR_NONE && f->role.is_draining)
		err_set(&err, ERR_BUSY, "%s is shutting down", f->role.ops->name);
	if (err.code == ERR_NONE && !o->cfg)
		err_set(&err, ERR_INVALID, "no configuration came");
	if (err.code == ERR_NONE &&
	    (!f->role.ops->serving || f->role.ops->serving->prepare(f, o, &err) == 0))
		o->is_prepared = true;
	answer(f, LINK_PREPARED, id, &err);
	if (err.code != ERR_NONE)
		offer_clear(f);
}

static void commit(struct frame *f, uint32_t id)
{
	struct offer *o = &f->offer;
	struct err err = ERR_INIT;
	struct config *cfg;

	if (!o->is_prepared || f->role.is_draining) {
		err_set(&err, ERR_INVALID, "nothing is prepared");
		answer(f, LINK_COMMITTED, id, &err);
		return;
	}
	if (f->role.ops->serving)
		f->role.ops->serving->commit(f, o);
	cfg = o->cfg;
	o->cfg = NULL;
	offer_clear(f);
	if (frame_take_config(f, cfg, &err) < 0) {
		/* Only the first one can fail: what it opens is not there, or not ours. */
		log_error("start-failed", LOG_ERR(&err));
		fprintf(stderr, "%s: %s\n", f->role.ops->name, err.text);
		f->exit_status = EXIT_CONFIG;
		loop_stop(f->role.loop);
		return;
	}
	answer(f, LINK_COMMITTED, id, &err);
}

bool offer_message(struct frame *f, const struct ipc_msg *msg, const int *fds, size_t fd_count)
{
	switch (msg->type) {
	case LINK_CONFIG:
		add_config(f, msg->body);
		return true;
	case LINK_KEYS:
		keys_buf_clear(&f->offer.keys);
		(void)strbuf_room(&f->offer.keys, msg->body.n);
		strbuf_add(&f->offer.keys, msg->body);
		return true;
	case LINK_SOCKET:
		add_socket(&f->offer, msg->body, fds, fd_count);
		return true;
	case LINK_PREPARE:
		prepare(f, msg->id);
		return true;
	case LINK_COMMIT:
		commit(f, msg->id);
		return true;
	case LINK_ABORT:
		offer_clear(f);
		return true;
	default:
		return false;
	}
}
