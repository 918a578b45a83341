#include "common/daemon/role_int.h"

#include "common/base/mem.h"
#include "common/daemon/identity.h"
#include "common/daemon/notify.h"
#include "common/daemon/process.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define DRAIN_MS 30000

static void apply_limits(struct role *r)
{
	size_t total = config_u64(r->cfg, SET_LIMITS_CONNECTIONS);
	size_t address = config_u64(r->cfg, SET_LIMITS_PER_ADDRESS);
	size_t network = config_u64(r->cfg, SET_LIMITS_PER_NETWORK);

	if (!r->limits)
		r->limits = limits_new(total, address, network);
	else
		limits_set(r->limits, total, address, network);
}

static int frame_start(struct frame *f, struct err *err);

int frame_take_config(struct frame *f, struct config *cfg, struct err *err)
{
	config_unref(f->role.cfg);
	f->role.cfg = cfg;
	process_apply_log_level(cfg);
	apply_limits(&f->role);
	if (!f->has_started)
		return frame_start(f, err);
	if (f->role.ops->serving)
		f->role.ops->serving->accept(f);
	if (f->role.ops->on_reload)
		f->role.ops->on_reload(&f->role);
	log_info("reload", LOG_STR("file", config_path(cfg)));
	return 0;
}

int frame_reload(struct frame *f, struct err *err)
{
	struct config *cfg;

	if (f->role.is_draining)
		return err_set(err, ERR_BUSY, "shutting down");
	if (!f->conf_path)
		return err_set(err, ERR_UNSUPPORTED, "the monitor's business");
	if (config_load(f->conf_path, &cfg, err) < 0)
		return -1;
	return frame_take_config(f, cfg, err);
}

static void on_hangup(void *arg, int signo)
{
	struct frame *f = arg;
	struct err err = ERR_INIT;

	if (f->has_started && f->role.ops->on_hangup)
		f->role.ops->on_hangup(&f->role);
	else if (frame_reload(f, &err) < 0)
		log_error("reload-refused", LOG_ERR(&err));
}

static void on_drain_end(void *arg)
{
	struct frame *f = arg;

	log_warning("drain-end", LOG_U64("connections", limits_total(f->role.limits)));
	loop_stop(f->role.loop);
}

static void drain(struct frame *f, uint64_t ms)
{
	if (!f->has_started) {
		loop_stop(f->role.loop);
		return;
	}
	if (f->role.is_draining)
		return;
	f->role.is_draining = true;
	notify_stopping();
	log_info("drain", LOG_U64("connections", limits_total(f->role.limits)));
	if (f->role.ops->serving)
		f->role.ops->serving->close(f);
	timer_set(&f->drain_end, ms);
	if (f->role.ops->on_drain)
		f->role.ops->on_drain(&f->role);
	else
		role_finished(&f->role);
}

/* A new process has our listeners; ours sees its sessions off. */
static void on_retired(void *arg)
{
	drain(arg, DRAIN_MS);
}

static void retire(struct frame *f, uint32_t seconds)
{
	if (f->role.ops->retire_seconds == 0 || !f->has_started) {
		drain(f, DRAIN_MS);
		return;
	}
	if (seconds > f->role.ops->retire_seconds)
		seconds = f->role.ops->retire_seconds;
	f->is_retiring = true;
	log_info("retire", LOG_U64("connections", limits_total(f->role.limits)));
	if (f->role.ops->serving)
		f->role.ops->serving->close(f);
	timer_set(&f->retired, (uint64_t)seconds * 1000);
	frame_session_gone(f);
}

void frame_session_gone(struct frame *f)
{
	if (f->is_retiring && limits_total(f->role.limits) == 0)
		loop_defer(f->role.loop, &f->last_gone);
}

static void on_stop(void *arg, int signo)
{
	struct frame *f = arg;

	if (f->role.is_draining)
		loop_stop(f->role.loop);
	else
		drain(f, DRAIN_MS);
}

void role_take_config(struct role *r, struct config *cfg)
{
	/* Only the first configuration of a process can fail: it starts things. */
	(void)frame_take_config(container_of(r, struct frame, role), cfg, NULL);
}

void role_finished(struct role *r)
{
	loop_stop(r->loop);
}

void role_restart(struct role *r)
{
	struct frame *f = container_of(r, struct frame, role);

	if (f->parent)
		ipc_link_send(f->parent, LINK_UPGRADE, 0, span_make("", 0), NULL, 0);
	f->exit_status = EXIT_AGAIN;
	drain(f, DRAIN_MS);
}

void role_fail(struct role *r, const struct err *err)
{
	log_error("store-failed", LOG_ERR(err));
	_exit(EXIT_STORE);
}

void role_session_id(char out[17])
{
	static uint64_t ids[32];
	static size_t left;

	if (left == 0 && getrandom(ids, sizeof(ids), 0) != (ssize_t)sizeof(ids))
		fatal("no random bytes from the kernel");
	left = left == 0 ? ARRAY_LEN(ids) - 1 : left - 1;
	snprintf(out, 17, "%016llx", (unsigned long long)ids[left]);
}

static int open_authd(struct role *r, struct err *err)
{
	char path[CONFIG_PATH_MAX];

	if (config_run_path(r->cfg, RUN_AUTH_SOCK, path, err) < 0)
		return -1;
	if (!r->ops->asks_nobody && strcmp(r->ops->name, "authd") != 0 &&
	    strcmp(r->ops->name, "keyd") != 0)
		r->authd = ipc_client_new(r->loop, path);
	return 0;
}

/* The folder of a file. */
static void folder_of(const char *path, char out[CONFIG_PATH_MAX])
{
	const char *slash = strrchr(path, '/');

	if (slash)
		snprintf(
		    out, CONFIG_PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	else
		snprintf(out, CONFIG_PATH_MAX, ".");
}

/* From here on the process reaches nothing but what is its own. */
static int enter_sandbox(const struct frame *f, struct err *err)
{
	const struct role_ops *ops = f->role.ops;
	const struct config *cfg = f->role.cfg;
	char write[ARRAY_LEN(ops->state) + 1][CONFIG_PATH_MAX], read[2][CONFIG_PATH_MAX];
	struct sandbox s = {.net = ops->net};
	size_t reads = 0;
	size_t n = 0;

	memcpy(s.ports, ops->ports, sizeof(s.ports));
	for (; n < ARRAY_LEN(ops->state) && ops->state[n]; n++) {
		if (folders_make_state(cfg, ops->state[n], err) < 0 ||
		    config_state_path(cfg, ops->state[n], write[n], err) < 0)
			return -1;
		s.write[n] = write[n];
	}
	if (config_run_path(cfg, ops->name, write[n], err) < 0)
		return -1;
	s.write[n] = write[n];
	if (f->conf_path) {
		folder_of(f->conf_path, read[0]);
		if (config_state_path(cfg, "conf", read[1], err) < 0)
			return -1;
		s.read[reads++] = read[0];
		s.read[reads++] = read[1];
	}
	if (config_str(cfg, SET_TLS_CA_FILE)[0] == '/')
		s.read[reads++] = config_str(cfg, SET_TLS_CA_FILE);
	if (config_str(cfg, SET_DNS_TRUST_ANCHOR)[0] == '/')
		s.read[reads++] = config_str(cfg, SET_DNS_TRUST_ANCHOR);
	return sandbox_enter(&s, err);
}

static int frame_start(struct frame *f, struct err *err)
{
	struct role *r = &f->role;

	if (process_make_run_folder(r->cfg, r->ops->name, err) < 0 ||
	    (!r->ops->starts_programs && enter_sandbox(f, err) < 0) || ctl_open(f, err) < 0 ||
	    open_authd(r, err) < 0)
		return -1;
	f->has_started = true;
	if (r->ops->start(r, err) < 0)
		return -1;
	if (f->role.ops->serving)
		f->role.ops->serving->accept(f);
	notify_ready();
	process_trim(r->loop, &f->trim);
	if (f->parent)
		ipc_link_send(f->parent, LINK_READY, 0, span_make("", 0), NULL, 0);
	log_info("start", LOG_STR("version", MS_VERSION));
	return 0;
}

static void kick(struct frame *f, uint64_t account)
{
	if (f->has_started && f->role.ops->on_kick && account != 0)
		f->role.ops->on_kick(&f->role, account);
}

/* --- the link to who started us --------------------------------------------------------------- */
static void on_parent(
    void *arg, const struct ipc_msg *msg, const int fds[IPC_LINK_FDS], size_t fd_count)
{
	struct frame *f = arg;
	struct dec d = dec_of(msg->body);

	if (msg->type != LINK_SOCKET)
		for (size_t i = 0; i < fd_count; i++)
			close(fds[i]);
	if (offer_message(f, msg, fds, fd_count))
		return;
	if (msg->type == LINK_PING)
		ipc_link_send(f->parent, LINK_PONG, msg->id, span_make("", 0), NULL, 0);
	else if (msg->type == LINK_DRAIN)
		retire(f, dec_u32(&d));
	else if (msg->type == LINK_KICK)
		kick(f, dec_u64(&d));
	else if (f->has_started && f->role.ops->on_link)
		f->role.ops->on_link(&f->role, msg);
	else
		log_warning("link-message", LOG_U64("type", msg->type));
}

static void on_parent_gone(void *arg)
{
	struct frame *f = arg;

	ipc_link_free(f->parent);
	f->parent = NULL;
	drain(f, DRAIN_MS);
}

static int open_parent(struct frame *f)
{
	static const struct ipc_link_ops ops = {.on_message = on_parent, .on_gone = on_parent_gone};
	int fd = process_link_fd();

	if (fd < 0)
		return f->conf_path ? 0 : -1;
	f->parent = ipc_link_new(f->role.loop, fd, &ops, f);
	return 0;
}

static void frame_end(struct frame *f)
{
	struct role *r = &f->role;

	r->is_draining = true;
	if (f->role.ops->serving)
		f->role.ops->serving->close(f);
	if (f->has_started && r->ops->stop)
		r->ops->stop(r);
	ipc_client_free(r->authd);
	ipc_server_free(f->ctl);
	offer_clear(f);
	ipc_link_free(f->parent);
	timer_clear(&f->drain_end);
	if (f->trim.loop)
		timer_clear(&f->trim);
	timer_clear(&f->retired);
	deferred_cancel(&f->last_gone);
	if (f->role.ops->serving)
		f->role.ops->serving->free(f);
	limits_free(r->limits);
	config_unref(r->cfg);
	notify_close();
	loop_free(r->loop);
}

/* Starts what reads its own configuration; the others wait for their monitor. */
static int begin(struct frame *f, struct err *err)
{
	struct config *cfg;

	if (!f->conf_path)
		return 0;
	if (config_load(f->conf_path, &cfg, err) < 0)
		return -1;
	return frame_take_config(f, cfg, err);
}

static void frame_init(struct frame *f, const struct role_ops *ops, const char *conf_path)
{
	f->conf_path = conf_path;
	f->started_ms = clock_mono_ms();
	f->role.ops = ops;
	f->role.loop = loop_new();
	list_init(&f->bound);
	list_init(&f->proxied);
	notify_open(f->role.loop);
	offer_init(f);
	timer_init(&f->drain_end, f->role.loop, on_drain_end, f);
	timer_init(&f->retired, f->role.loop, on_retired, f);
	f->last_gone = (struct deferred){.fn = on_retired, .arg = f};
	loop_on_signal(f->role.loop, SIGTERM, on_stop, f);
	loop_on_signal(f->role.loop, SIGINT, on_stop, f);
	loop_on_signal(f->role.loop, SIGHUP, on_hangup, f);
}

int role_main(int argc, char **argv, const struct role_ops *ops)
{
	static struct frame f;
	struct err err = ERR_INIT;
	bool is_own = argc == 3 && strcmp(argv[1], "-c") == 0;

	process_settle();
	log_open(ops->name, 2);
	frame_init(&f, ops, is_own ? argv[2] : NULL);
	if (is_own != ops->reads_config || (argc != 1 && !is_own) || open_parent(&f) < 0) {
		fprintf(stderr,
		    ops->reads_config ? "usage: %s -c FILE\n" : "%s is started by its monitor\n",
		    ops->name);
		frame_end(&f);
		return EXIT_USAGE;
	}
	if (caps_drop_all(&err) < 0 || begin(&f, &err) < 0) {
		log_error("start-failed", LOG_ERR(&err));
		fprintf(stderr, "%s: %s\n", ops->name, err.text);
		frame_end(&f);
		return EXIT_CONFIG;
	}
	loop_run(f.role.loop);
	log_info("stop");
	frame_end(&f);
	return f.exit_status;
}
