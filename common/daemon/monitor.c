#include "common/daemon/monitor_int.h"

#include "common/base/mem.h"
#include "common/daemon/notify.h"
#include "common/daemon/process.h"
#include "common/daemon/sandbox.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STOP_MS 35000
#define RETIRE_SECONDS (30 * 60)

/* NULL for one of an older generation, which is told nothing any more. */
static struct fed *fed_of(struct monitor *m, const struct program *p)
{
	for (size_t i = 0; i < m->spec->count; i++)
		if (m->roles[i].program == p)
			return &m->roles[i];
	return NULL;
}

/* --- roles ------------------------------------------------------------------------------------ */
static void on_start(void *arg, struct program *p)
{
	struct fed *role = fed_of(arg, p);

	if (role)
		change_role_started(role);
}

static void on_says(void *arg, struct program *p, const struct ipc_msg *msg)
{
	struct fed *role = fed_of(arg, p);

	if (role)
		change_role_says(role, msg);
}

static void on_gone(void *arg, struct program *p)
{
	struct fed *role = fed_of(arg, p);

	if (role)
		change_role_gone(role);
}

/* The new generation serves: the old one may go. */
static void tell_retired(struct monitor *m)
{
	struct strbuf b;

	strbuf_init(&b, 16);
	enc_u32(&b, m->drains_old ? 0 : RETIRE_SECONDS);
	supervisor_tell_retired(m->supervisor, LINK_DRAIN, strbuf_span(&b));
	strbuf_clear(&b);
}

static void on_ready(void *arg)
{
	struct monitor *m = arg;

	m->was_ready = true;
	log_info("start", LOG_STR("version", MS_VERSION));
	tell_retired(m);
	notify_ready();
	if (m->parent)
		ipc_link_send(m->parent, LINK_READY, 0, span_make("", 0), NULL, 0);
}

static void on_end(void *arg, int status)
{
	struct monitor *m = arg;

	if (m->status == 0)
		m->status = status;
	loop_stop(m->loop);
}

static void stop(struct monitor *m)
{
	m->is_stopping = true;
	notify_stopping();
	/* Nobody shall wait for an answer on a port that no role serves any more. */
	plan_close_ports(&m->plan);
	supervisor_stop(m->supervisor);
}

void monitor_fail(struct monitor *m, const struct err *err)
{
	fprintf(stderr, "%s: %s\n", m->spec->name, err->text);
	m->status = EXIT_CONFIG;
	stop(m);
}

static void add_roles(struct monitor *m)
{
	m->roles = mem_array(m->spec->count, sizeof(*m->roles));
	for (size_t i = 0; i < m->spec->count; i++) {
		const struct monitor_role *def = &m->spec->roles[i];
		char path[CONFIG_PATH_MAX];
		char *argv[] = {path, NULL};
		struct program_spec spec = {
		    .name = def->name,
		    .argv = argv,
		    .who = m->ids.are_separate ? &m->ids.who[def->who] : NULL,
		};

		snprintf(path, sizeof(path), "%s/%s", config_str(m->plan.cfg, SET_PATHS_LIBEXEC),
		    def->name);
		m->roles[i] = (struct fed){.m = m, .def = def};
		m->roles[i].program = supervisor_add(m->supervisor, &spec);
	}
}

/* --- signals and the parent ------------------------------------------------------------------- */
static void on_stop(void *arg, int signo)
{
	stop(arg);
}

static void on_upgrade(void *arg, int signo)
{
	struct err err = ERR_INIT;

	(void)monitor_upgrade(arg, &err);
	log_error("upgrade-refused", LOG_ERR(&err));
}

static void on_hangup(void *arg, int signo)
{
	monitor_reload(arg);
}

static void on_parent(
    void *arg, const struct ipc_msg *msg, const int fds[IPC_LINK_FDS], size_t fd_count)
{
	struct monitor *m = arg;

	for (size_t i = 0; i < fd_count; i++)
		close(fds[i]);
	if (msg->type == LINK_PING)
		ipc_link_send(m->parent, LINK_PONG, msg->id, span_make("", 0), NULL, 0);
}

static void on_parent_gone(void *arg)
{
	struct monitor *m = arg;

	ipc_link_free(m->parent);
	m->parent = NULL;
	stop(m);
}

static void open_parent(struct monitor *m)
{
	static const struct ipc_link_ops ops = {.on_message = on_parent, .on_gone = on_parent_gone};
	int fd = process_link_fd();

	if (fd >= 0)
		m->parent = ipc_link_new(m->loop, fd, &ops, m);
}

/* --- start ------------------------------------------------------------------------------------ */
/* Of root's rights only what a monitor needs; the group lets it talk to keyd. */
static int drop_rights(struct monitor *m, struct err *err)
{
	struct err why = ERR_INIT;

	identities_find(m->plan.cfg, &m->ids, &why);
	if (m->ids.are_separate && setgroups(1, &m->ids.all) < 0)
		return err_errno(err, errno, "joining group %u", (unsigned)m->ids.all);
	return caps_keep_launcher(err);
}

/* From here on neither it nor what it starts reaches more than that takes. An upgrade keeps it. */
static int enter_sandbox(struct monitor *m, struct err *err)
{
	const struct config *cfg = m->plan.cfg;
	char state[ARRAY_LEN(m->spec->write)][CONFIG_PATH_MAX];
	const char *write[SANDBOX_PATHS] = {config_str(cfg, SET_PATHS_RUN)};
	bool is_inherited = getenv(MONITOR_CONFINED) != NULL;
	size_t n = 1;

	unsetenv(MONITOR_CONFINED);
	for (size_t i = 0; i < ARRAY_LEN(state) && m->spec->write[i]; i++) {
		const char *folder = m->spec->write[i];

		if ((!m->ids.are_separate && folders_make_state(cfg, folder, err) < 0) ||
		    config_state_path(cfg, folder, state[i], err) < 0)
			return -1;
		write[n++] = state[i];
	}
	return sandbox_enter_launcher(write, is_inherited, err);
}

static void on_keys_change(void *arg, uint64_t generation)
{
	struct monitor *m = arg;

	m->told = generation;
	monitor_renew_keys(m);
}

static int watch_keys(struct monitor *m, struct err *err)
{
	char path[CONFIG_PATH_MAX];

	if (config_run_path(m->plan.cfg, RUN_KEYD_SOCK, path, err) < 0)
		return -1;
	m->keyd = ipc_client_new(m->loop, path);
	m->watch = keys_watch_new(m->loop, m->keyd, on_keys_change, m);
	if (plan_generation(&m->plan) != 0)
		keys_watch_from(m->watch, plan_generation(&m->plan));
	return 0;
}

/* The roles of before go on beside the new ones, and end when their sessions do. */
static void adopt(struct monitor *m, struct list *survivors)
{
	LIST_EACH_SAFE (it, survivors) {
		struct survivor *s = container_of(it, struct survivor, link);

		s->is_retired = true;
		supervisor_adopt(m->supervisor, s);
		list_remove(it);
		mem_free(s);
	}
}

static int monitor_start(struct monitor *m, struct list *survivors, struct err *err)
{
	static const struct supervisor_ops ops = {
	    .on_ready = on_ready,
	    .on_end = on_end,
	    .on_start = on_start,
	    .on_message = on_says,
	    .on_gone = on_gone,
	};
	struct supervisor_options opt = {
	    .ops = &ops, .arg = m, .stop_ms = STOP_MS, .is_patient = m->is_upgraded};
	struct plan none;
	struct config *cfg;

	if (config_load(m->conf_path, &cfg, err) < 0)
		return -1;
	process_apply_log_level(cfg);
	plan_init(&none);
	if (plan_make(m, &m->plan, cfg, &none, err) < 0)
		return -1;
	parked_close();
	plan_tell_manager(&none, &m->plan);
	m->number = ++m->last_number;
	if (process_make_run_folder(cfg, m->spec->name, err) < 0 || drop_rights(m, err) < 0 ||
	    enter_sandbox(m, err) < 0 || plan_fetch(&m->plan, err) < 0 || watch_keys(m, err) < 0 ||
	    monitor_ctl_open(m, err) < 0)
		return -1;
	opt.silence_ms = config_u64(cfg, SET_PROCESS_SILENCE) * 1000;
	m->supervisor = supervisor_new(m->loop, &opt);
	add_roles(m);
	adopt(m, survivors);
	loop_on_signal(m->loop, SIGTERM, on_stop, m);
	loop_on_signal(m->loop, SIGINT, on_stop, m);
	loop_on_signal(m->loop, SIGHUP, on_hangup, m);
	loop_on_signal(m->loop, SIGUSR2, on_upgrade, m);
	m->drains_old = getenv(MONITOR_DRAIN) != NULL;
	unsetenv(MONITOR_DRAIN);
	if (m->drains_old)
		tell_retired(m);
	process_trim(m->loop, &m->trim);
	supervisor_start(m->supervisor);
	return 0;
}

static void monitor_end(struct monitor *m)
{
	monitor_led_end(m);
	change_end(m);
	supervisor_free(m->supervisor);
	keys_watch_free(m->watch);
	feed_stop(m);
	ipc_client_free(m->keyd);
	timer_clear(&m->upgrade);
	if (m->trim.loop)
		timer_clear(&m->trim);
	ipc_server_free(m->ctl);
	ipc_link_free(m->parent);
	plan_clear(&m->plan);
	mem_free(m->roles);
	notify_close();
	loop_free(m->loop);
}

/* Whether this program, as it is installed now, could take over. */
static int check(const char *conf_path)
{
	struct err err = ERR_INIT;
	struct config *cfg;

	if (config_load(conf_path, &cfg, &err) < 0) {
		log_error("check-failed", LOG_ERR(&err));
		return EXIT_CONFIG;
	}
	config_unref(cfg);
	return 0;
}

static void monitor_init(struct monitor *m, const struct monitor_spec *spec, char *const argv[])
{
	m->spec = spec;
	m->argv = argv;
	m->conf_path = argv[2];
	m->started_ms = clock_mono_ms();
	m->loop = loop_new();
	plan_init(&m->plan);
	change_init(m);
	open_parent(m);
	notify_open(m->loop);
	parked_open();
}

int monitor_main(int argc, char **argv, const struct monitor_spec *spec)
{
	static struct monitor m;
	struct err err = ERR_INIT;
	struct list survivors;

	if ((argc != 3 && (argc != 4 || strcmp(argv[3], "--check") != 0)) ||
	    strcmp(argv[1], "-c") != 0) {
		fprintf(stderr, "usage: %s -c FILE\n", spec->name);
		return EXIT_USAGE;
	}
	process_settle();
	log_open(spec->name, 2);
	if (argc == 4)
		return check(argv[2]);
	list_init(&survivors);
	monitor_init(&m, spec, argv);
	m.is_upgraded = upgrade_take(&survivors);
	if (monitor_start(&m, &survivors, &err) < 0) {
		log_error("start-failed", LOG_ERR(&err));
		upgrade_again(argv);
		fprintf(stderr, "%s: %s\n", spec->name, err.text);
		monitor_end(&m);
		return EXIT_CONFIG;
	}
	loop_run(m.loop);
	log_info("stop");
	monitor_end(&m);
	return m.status;
}
