/* The control socket of a monitor. */
#include "common/daemon/monitor_int.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <stdio.h>

#define RECORD_MAX (16 * 1024)

/* A reload on its way; the log or rq learns how it ends. */
struct reload {
	struct monitor *m;
	struct admin_request rq;
	bool has_request;
};

static void reload_ends(struct reload *r, const struct err *err)
{
	if (err->code != ERR_NONE)
		log_error("reload-refused", LOG_ERR(err));
	else
		log_info("reload", LOG_STR("file", r->m->conf_path));
	if (r->has_request)
		admin_end(&r->rq, err->code, "%s", err->code ? err->text : "");
	mem_free(r);
}

static void on_committed(void *arg, const struct err *err)
{
	reload_ends(arg, err);
}

static void on_prepared(void *arg, const struct err *err)
{
	struct reload *r = arg;

	if (err->code != ERR_NONE)
		reload_ends(r, err);
	else
		change_commit(r->m->change, on_committed, r);
}

void monitor_reload(struct monitor *m, const struct admin_request *rq)
{
	struct reload *r = mem_zalloc(sizeof(*r));
	struct err err = ERR_INIT;
	struct config *cfg;

	r->m = m;
	r->has_request = rq != NULL;
	if (rq)
		r->rq = *rq;
	if (config_load(m->conf_path, &cfg, &err) < 0 ||
	    change_prepare(m, cfg, on_prepared, r, &err) < 0)
		reload_ends(r, &err);
}

/* --- certificates ----------------------------------------------------------------------------- */
static void on_keys_committed(void *arg, const struct err *err)
{
	struct monitor *m = arg;

	log_info("certificates", LOG_U64("generation", plan_generation(&m->plan)));
}

/* What cannot be used is left: the next change may bring something better. */
static void on_keys_prepared(void *arg, const struct err *err)
{
	struct monitor *m = arg;

	if (err->code != ERR_NONE) {
		log_error("certificates-refused", LOG_ERR(err));
		keys_watch_from(m->watch, m->told);
		return;
	}
	change_commit(m->change, on_keys_committed, m);
}

void monitor_renew_keys(struct monitor *m)
{
	struct err err = ERR_INIT;

	if (!m->is_stopping &&
	    change_prepare(m, config_ref(m->plan.cfg), on_keys_prepared, m, &err) < 0)
		log_error("certificates-refused", LOG_ERR(&err));
}

static void answer_status(struct monitor *m, const struct admin_request *rq)
{
	struct strbuf b;
	uint64_t restarts = 0;

	for (size_t i = 0; i < m->spec->count; i++)
		restarts += program_restarts(m->roles[i].program);
	strbuf_init(&b, RECORD_MAX);
	admin_process(&b, m->spec->name, m->started_ms);
	ipc_rec_number(&b, "restarts", IPC_NUMBER, restarts);
	admin_record(rq, &b);
	strbuf_clear(&b);
	admin_end(rq, ERR_NONE, "%s", "");
}

static void on_message(void *arg, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct monitor *m = arg;
	struct admin_request rq = {.server = m->ctl, .peer = *peer, .id = msg->id};
	struct ipc_admin cmd;

	if (!admin_may(m->plan.cfg, peer))
		admin_end(&rq, ERR_DENIED, "only authd and root may ask");
	else if (msg->type != IPC_ADMIN || !ipc_dec_admin(msg->body, &cmd) || cmd.count == 0)
		admin_end(&rq, ERR_INVALID, "malformed request");
	else if (cmd.count == 1 && span_eq(cmd.words[0], SPAN("status")))
		answer_status(m, &rq);
	else if (cmd.count == 1 && span_eq(cmd.words[0], SPAN("reload")))
		monitor_reload(m, &rq);
	else
		admin_end(&rq, ERR_UNSUPPORTED, "%s has no such verb", m->spec->name);
}

int monitor_ctl_open(struct monitor *m, struct err *err)
{
	static const struct ipc_server_ops ops = {.on_message = on_message};
	char path[CONFIG_PATH_MAX], name[64];

	snprintf(name, sizeof(name), "%s/ctl", m->spec->name);
	if (config_run_path(m->plan.cfg, name, path, err) < 0)
		return -1;
	m->ctl = ipc_server_new(m->loop, path, 0660, &ops, m, err);
	return m->ctl ? 0 : -1;
}
