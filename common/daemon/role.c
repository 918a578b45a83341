#include "common/daemon/role_int.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_CONFIG 1
#define EXIT_USAGE 2
#define EXIT_STORE 74
#define DRAIN_MS 30000

/* What every role is: no core file with mail in it, files for its group only, many descriptors. */
static void settle_process(void)
{
	struct rlimit nofile;

#ifndef MS_SANITIZED
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
	/* Under a supervisor that was killed nobody would start us again: end as if told to. */
	if (getenv("MS_READY_FD"))
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
	umask(0007);
	if (getrlimit(RLIMIT_NOFILE, &nofile) == 0) {
		nofile.rlim_cur = nofile.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &nofile);
	}
	/* An arena a thread would keep memory that the others cannot use. */
	(void)mallopt(M_ARENA_MAX, 2);
}

static void say_ready(void)
{
	const char *fd = getenv("MS_READY_FD");

	if (!fd || strcmp(fd, "3") != 0)
		return;
	(void)!write(3, "", 1);
	close(3);
	unsetenv("MS_READY_FD");
}

static void apply_level(const struct config *cfg)
{
	enum log_level level;

	if (log_level_parse(span_of(config_str(cfg, SET_LOG_LEVEL)), &level))
		log_set_level(level);
}

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

int frame_reload(struct frame *f, struct err *err)
{
	struct config *cfg;

	if (f->role.is_draining)
		return err_set(err, ERR_BUSY, "shutting down");
	if (config_load(f->conf_path, &cfg, err) < 0)
		return -1;
	if (bound_apply(f, cfg, err) < 0) {
		config_unref(cfg);
		return -1;
	}
	bound_accept(f);
	config_unref(f->role.cfg);
	f->role.cfg = cfg;
	apply_level(cfg);
	apply_limits(&f->role);
	if (f->role.ops->on_reload)
		f->role.ops->on_reload(&f->role);
	log_info("reload", LOG_STR("file", f->conf_path));
	return 0;
}

static void on_hangup(void *arg, int signo)
{
	struct frame *f = arg;
	struct err err = ERR_INIT;

	if (frame_reload(f, &err) < 0)
		log_error("reload-refused", LOG_ERR(&err));
}

static void on_drain_end(void *arg)
{
	struct frame *f = arg;

	log_warning("drain-end", LOG_U64("connections", limits_total(f->role.limits)));
	loop_stop(f->role.loop);
}

static void on_stop(void *arg, int signo)
{
	struct frame *f = arg;

	if (f->role.is_draining) {
		loop_stop(f->role.loop);
		return;
	}
	f->role.is_draining = true;
	log_info("drain", LOG_U64("connections", limits_total(f->role.limits)));
	bound_close(f);
	timer_set(&f->drain_end, DRAIN_MS);
	if (f->role.ops->on_drain)
		f->role.ops->on_drain(&f->role);
	else
		role_finished(&f->role);
}

void role_finished(struct role *r)
{
	loop_stop(r->loop);
}

void role_fail(struct role *r, const struct err *err)
{
	log_error("store-failed", LOG_ERR(err));
	_exit(EXIT_STORE);
}

void role_session_id(char out[17])
{
	uint64_t id;

	if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
		fatal("no random bytes from the kernel");
	snprintf(out, 17, "%016llx", (unsigned long long)id);
}

/* The process' own folder for sockets; started as root, the launcher made it. */
static int make_run_folder(const struct role *r, struct err *err)
{
	char path[CONFIG_PATH_MAX];

	if (config_run_path(r->cfg, r->ops->name, path, err) < 0)
		return -1;
	if (mkdir(path, 0700) == 0)
		return chmod(path, 02711) == 0 ? 0 : err_errno(err, errno, "%s", path);
	return errno == EEXIST ? 0 : err_errno(err, errno, "%s", path);
}

static int open_authd(struct role *r, struct err *err)
{
	char path[CONFIG_PATH_MAX];

	if (config_run_path(r->cfg, RUN_AUTH_SOCK, path, err) < 0)
		return -1;
	if (strcmp(r->ops->name, "authd") != 0)
		r->authd = ipc_client_new(r->loop, path);
	return 0;
}

static int frame_start(struct frame *f, struct err *err)
{
	struct role *r = &f->role;

	if (config_load(f->conf_path, &r->cfg, err) < 0)
		return -1;
	apply_level(r->cfg);
	apply_limits(r);
	if (bound_apply(f, r->cfg, err) < 0 || make_run_folder(r, err) < 0 ||
	    ctl_open(f, err) < 0 || open_authd(r, err) < 0)
		return -1;
	f->has_started = true;
	if (r->ops->start(r, err) < 0)
		return -1;
	bound_accept(f);
	loop_on_signal(r->loop, SIGTERM, on_stop, f);
	loop_on_signal(r->loop, SIGINT, on_stop, f);
	loop_on_signal(r->loop, SIGHUP, on_hangup, f);
	return 0;
}

static void frame_end(struct frame *f)
{
	struct role *r = &f->role;

	r->is_draining = true;
	bound_close(f);
	if (f->has_started && r->ops->stop)
		r->ops->stop(r);
	ipc_client_free(r->authd);
	ipc_server_free(f->ctl);
	timer_clear(&f->drain_end);
	bound_free(f);
	limits_free(r->limits);
	config_unref(r->cfg);
	loop_free(r->loop);
}

int role_main(int argc, char **argv, const struct role_ops *ops)
{
	static struct frame f;
	struct err err = ERR_INIT;

	if (argc != 3 || strcmp(argv[1], "-c") != 0) {
		fprintf(stderr, "usage: %s -c FILE\n", ops->name);
		return EXIT_USAGE;
	}
	settle_process();
	log_open(ops->name, 2);
	f.conf_path = argv[2];
	f.started_ms = clock_mono_ms();
	f.role.ops = ops;
	f.role.loop = loop_new();
	list_init(&f.bound);
	timer_init(&f.drain_end, f.role.loop, on_drain_end, &f);
	if (frame_start(&f, &err) < 0) {
		log_error("start-failed", LOG_ERR(&err));
		fprintf(stderr, "%s: %s\n", ops->name, err.text);
		frame_end(&f);
		return EXIT_CONFIG;
	}
	log_info("start", LOG_STR("version", MS_VERSION));
	say_ready();
	loop_run(f.role.loop);
	log_info("stop");
	frame_end(&f);
	return f.exit_status;
}
