/* The control socket of a monitor. */
#include "common/daemon/monitor_int.h"
#include "common/daemon/probe.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <stdio.h>

#define RECORD_MAX (16 * 1024)
#define LED_MS 30000
#define UPGRADE_MS 100 /* for the answer to get out */
#define NUMBER_MAX 32

/* --- a change that authd leads ---------------------------------------------------------------- */
/*
 * "prepare NUMBER next|now", then "commit NUMBER" or "abort NUMBER". What is prepared and then
 * hears nothing is forgotten, and the files say what holds: authd may have died on either side of
 * its rename.
 */
struct led {
	char number[NUMBER_MAX];
	bool is_prepared;
	struct admin_request rq;
	struct timer deadline;
};

static void led_end(struct monitor *m)
{
	timer_clear(&m->led->deadline);
	mem_free(m->led);
	m->led = NULL;
}

static bool is_led(const struct monitor *m, const struct ipc_admin *cmd)
{
	return m->led && m->led->is_prepared && span_eq(cmd->words[1], span_of(m->led->number));
}

static void on_led_prepared(void *arg, const struct err *err)
{
	struct monitor *m = arg;
	struct admin_request rq = m->led->rq;

	if (err->code != ERR_NONE) {
		log_error("change-refused", LOG_ERR(err));
		led_end(m);
	} else {
		m->led->is_prepared = true;
		timer_set(&m->led->deadline, LED_MS);
	}
	admin_end(&rq, err->code, "%s", err->code ? err->text : "");
}

static void on_led_deadline(void *arg)
{
	struct monitor *m = arg;

	log_warning("change-forgotten", LOG_STR("reason", "neither commit nor abort came"));
	led_end(m);
	change_abort(m->change);
	monitor_reload(m);
}

static void answer_prepare(
    struct monitor *m, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	enum change_to to = span_eq(cmd->words[2], SPAN("next")) ? CHANGE_NEXT : CHANGE_FILES;
	struct err err = ERR_INIT;

	if (m->led) {
		admin_end(rq, ERR_BUSY, "%s: another change is on its way", m->spec->name);
		return;
	}
	m->led = mem_zalloc(sizeof(*m->led));
	snprintf(m->led->number, sizeof(m->led->number), "%.*s", SPAN_FMT(cmd->words[1]));
	m->led->rq = *rq;
	timer_init(&m->led->deadline, m->loop, on_led_deadline, m);
	if (change_prepare(m, to, on_led_prepared, m, &err) < 0)
		on_led_prepared(m, &err);
}

static void on_led_committed(void *arg, const struct err *err)
{
	struct monitor *m = arg;
	struct admin_request rq = m->led->rq;

	led_end(m);
	log_info("reload", LOG_STR("file", m->conf_path));
	admin_end(&rq, err->code, "%s", err->code ? err->text : "");
}

static void answer_commit(
    struct monitor *m, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	if (!is_led(m, cmd)) {
		/* Too late, but what is committed is in the files. */
		admin_end(rq, ERR_NOT_FOUND, "%s: no such change is prepared", m->spec->name);
		monitor_reload(m);
		return;
	}
	m->led->rq = *rq;
	m->led->is_prepared = false;
	timer_stop(&m->led->deadline);
	change_commit(m->change, on_led_committed, m);
}

static void answer_abort(
    struct monitor *m, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	if (is_led(m, cmd)) {
		led_end(m);
		change_abort(m->change);
	}
	admin_end(rq, ERR_NONE, "%s", "");
}

void monitor_led_end(struct monitor *m)
{
	if (m->led)
		led_end(m);
}

/* --- a change of our own: SIGHUP -------------------------------------------------------------- */
static void on_committed(void *arg, const struct err *err)
{
	struct monitor *m = arg;

	log_info("reload", LOG_STR("file", m->conf_path));
}

static void on_prepared(void *arg, const struct err *err)
{
	struct monitor *m = arg;

	if (err->code != ERR_NONE)
		log_error("reload-refused", LOG_ERR(err));
	else
		change_commit(m->change, on_committed, m);
}

void monitor_reload(struct monitor *m)
{
	struct err err = ERR_INIT;

	if (change_prepare(m, CHANGE_FILES, on_prepared, m, &err) < 0)
		log_error("reload-refused", LOG_ERR(&err));
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

	if (!m->is_stopping && change_prepare(m, CHANGE_NOTHING, on_keys_prepared, m, &err) < 0)
		log_error("certificates-refused", LOG_ERR(&err));
}

/* --- upgrade ---------------------------------------------------------------------------------- */
static void upgrade_now(void *arg)
{
	struct monitor *m = arg;
	struct err err = ERR_INIT;

	(void)monitor_upgrade(m, &err);
	log_error("upgrade-refused", LOG_ERR(&err));
}

/* "upgrade check": whether it would work. "upgrade now": the answer first, since the connection
 * does not live through it. "upgrade drain": the roles of now see their sessions off at once, and
 * do not wait for the new ones. */
static void answer_upgrade(struct monitor *m, struct span how, const struct admin_request *rq)
{
	bool is_check = span_eq(how, SPAN("check"));
	struct err err = ERR_INIT;

	if (monitor_upgrade_check(m, &err) < 0) {
		admin_end(rq, err.code, "%s", err.text);
		return;
	}
	admin_end(rq, ERR_NONE, "%s", "");
	if (is_check)
		return;
	m->drains_old = span_eq(how, SPAN("drain"));
	timer_set(&m->upgrade, UPGRADE_MS);
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
	ipc_rec_number(&b, "retiring", IPC_NUMBER, supervisor_retired(m->supervisor));
	admin_record(rq, &b);
	strbuf_clear(&b);
	admin_end(rq, ERR_NONE, "%s", "");
}

/* The sessions of an account end, in processes of older generations too. */
static void answer_kick(struct monitor *m, struct span number, const struct admin_request *rq)
{
	unsigned char body[8];
	uint64_t account;

	if (!span_u64(number, UINT64_MAX, &account) || account == 0) {
		admin_end(rq, ERR_INVALID, "expected the number of an account");
		return;
	}
	be_put64(body, account);
	supervisor_tell_all(m->supervisor, LINK_KICK, span_make((const char *)body, sizeof(body)));
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
	else if (cmd.count == 2 && span_eq(cmd.words[0], SPAN("upgrade")))
		answer_upgrade(m, cmd.words[1], &rq);
	else if (m->can_probe && span_eq(cmd.words[0], SPAN("probe")))
		probe_run(&cmd, &rq);
	else if (cmd.count == 2 && span_eq(cmd.words[0], SPAN("kick")))
		answer_kick(m, cmd.words[1], &rq);
	else if (cmd.count == 3 && span_eq(cmd.words[0], SPAN("prepare")))
		answer_prepare(m, &cmd, &rq);
	else if (cmd.count == 2 && span_eq(cmd.words[0], SPAN("commit")))
		answer_commit(m, &cmd, &rq);
	else if (cmd.count == 2 && span_eq(cmd.words[0], SPAN("abort")))
		answer_abort(m, &cmd, &rq);
	else
		admin_end(&rq, ERR_UNSUPPORTED, "%s has no such verb", m->spec->name);
}

int monitor_ctl_open(struct monitor *m, struct err *err)
{
	static const struct ipc_server_ops ops = {.on_message = on_message};
	char path[CONFIG_PATH_MAX], name[64];

	snprintf(name, sizeof(name), "%s/ctl", m->spec->name);
	timer_init(&m->upgrade, m->loop, upgrade_now, m);
	m->can_probe = probe_is_on();
	if (config_run_path(m->plan.cfg, name, path, err) < 0)
		return -1;
	m->ctl = ipc_server_new(m->loop, path, 0660, &ops, m, err);
	return m->ctl ? 0 : -1;
}
