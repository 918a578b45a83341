/* The control socket of a role: status, reload, and the role's own verbs. */
#include "common/daemon/role_int.h"

#include "common/base/mem.h"
#include "common/daemon/probe.h"
#include "common/daemon/process.h"

#include <stdio.h>

#define RECORD_MAX (64 * 1024)

static void process_record(struct frame *f, struct strbuf *b)
{
	admin_process(b, f->role.ops->name, f->started_ms);
	ipc_rec_number(b, "connections", IPC_NUMBER, limits_total(f->role.limits));
	if (f->role.ops->status)
		f->role.ops->status(&f->role, b);
}

static void answer_status(struct frame *f, const struct admin_request *rq)
{
	struct strbuf b;

	strbuf_init(&b, RECORD_MAX);
	process_record(f, &b);
	admin_record(rq, &b);
	strbuf_clear(&b);
	if (f->role.ops->serving)
		f->role.ops->serving->status(f, rq);
	admin_end(rq, ERR_NONE, "%s", "");
}

static void answer_reload(struct frame *f, const struct admin_request *rq)
{
	struct err err = ERR_INIT;

	if (frame_reload(f, &err) < 0)
		admin_end(rq, err.code, "%s: %s", f->role.ops->name, err.text);
	else
		admin_end(rq, ERR_NONE, "%s", "");
}

static void on_message(void *arg, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct frame *f = arg;
	struct admin_request rq = {.server = f->ctl, .peer = *peer, .id = msg->id};
	struct ipc_admin cmd;

	if (!admin_may(f->role.cfg, peer))
		admin_end(&rq, ERR_DENIED, "only authd and root may ask");
	else if (msg->type != IPC_ADMIN || !ipc_dec_admin(msg->body, &cmd) || cmd.count == 0)
		admin_end(&rq, ERR_INVALID, "malformed request");
	else if (cmd.count == 1 && span_eq(cmd.words[0], SPAN("status")))
		answer_status(f, &rq);
	else if (cmd.count == 1 && span_eq(cmd.words[0], SPAN("reload")))
		answer_reload(f, &rq);
	else if (f->conf_path && cmd.count == 1 && span_eq(cmd.words[0], SPAN("restart"))) {
		admin_end(&rq, ERR_NONE, "%s", "");
		f->exit_status = EXIT_AGAIN;
		loop_defer(f->role.loop, &f->last_gone);
	} else if (f->can_probe && span_eq(cmd.words[0], SPAN("probe")))
		probe_run(&cmd, &rq);
	else if (f->role.ops->on_admin)
		f->role.ops->on_admin(&f->role, &cmd, &rq);
	else
		admin_end(&rq, ERR_UNSUPPORTED, "%s has no such verb", f->role.ops->name);
}

int ctl_open(struct frame *f, struct err *err)
{
	static const struct ipc_server_ops ops = {.on_message = on_message};
	char name[64], path[CONFIG_PATH_MAX];

	snprintf(name, sizeof(name), "%s/ctl", f->role.ops->name);
	if (config_run_path(f->role.cfg, name, path, err) < 0)
		return -1;
	f->can_probe = probe_is_on();
	f->ctl = ipc_server_new(f->role.loop, path, 0660, &ops, f, err);
	return f->ctl ? 0 : -1;
}
