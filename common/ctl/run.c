#include "common/ctl/ctl.h"

#include "common/base/mem.h"
#include "common/daemon/supervise.h"
#include "common/log/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* In the order in which they need each other. */
static const char *const programs[] = {
    "authd", "smtpd-local", "smtpd-receive", "imapd-worker", "pop3d-worker", "web-server"};

struct run {
	struct loop *loop;
	struct supervisor *supervisor;
	int status;
};

static void on_ready(void *arg)
{
	printf("mailstead is ready\n");
	fflush(stdout);
}

static void on_end(void *arg, int status)
{
	struct run *r = arg;

	r->status = status;
	loop_stop(r->loop);
}

static void on_stop(void *arg, int signo)
{
	struct run *r = arg;

	supervisor_stop(r->supervisor);
}

static void on_hangup(void *arg, int signo)
{
	struct run *r = arg;

	supervisor_signal(r->supervisor, SIGHUP);
}

/* Makes the folder if it is missing; somebody else's is refused. */
static int make_folder(const char *path, mode_t mode, struct err *err)
{
	struct stat st;

	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return err_errno(err, errno, "%s", path);
	if (lstat(path, &st) < 0)
		return err_errno(err, errno, "%s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ERR_INVALID, "%s: not a folder", path);
	if (st.st_uid != geteuid())
		return err_set(err, ERR_DENIED, "%s: belongs to uid %u, expected %u", path,
		    (unsigned)st.st_uid, (unsigned)geteuid());
	return 0;
}

static int make_folders(const struct config *cfg, struct err *err)
{
	static const char *const below[] = {"auth", "queue", "store", "keys"};
	static const mode_t modes[] = {0700, 0770, 0770, 0700};
	char path[CONFIG_PATH_MAX];

	if (make_folder(config_str(cfg, SET_PATHS_STATE), 0750, err) < 0 ||
	    make_folder(config_str(cfg, SET_PATHS_RUN), 0750, err) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(below); i++)
		if (config_state_path(cfg, below[i], path, err) < 0 ||
		    make_folder(path, modes[i], err) < 0)
			return -1;
	return 0;
}

static void add_programs(struct run *r, const struct config *cfg, const char *conf_path)
{
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		char path[CONFIG_PATH_MAX], option[] = "-c";
		char *conf = mem_strdup(conf_path);
		char *argv[] = {path, option, conf, NULL};

		snprintf(
		    path, sizeof(path), "%s/%s", config_str(cfg, SET_PATHS_LIBEXEC), programs[i]);
		supervisor_add(r->supervisor, programs[i], argv);
		mem_free(conf);
	}
}

int ctl_run(const char *conf_path)
{
	static const struct supervisor_ops ops = {.on_ready = on_ready, .on_end = on_end};
	struct run r = {.status = EXIT_FAILED};
	struct config *cfg = NULL;
	struct err err = ERR_INIT;

	log_open("mailstead", 2);
	umask(0007);
	if (config_load(conf_path, &cfg, &err) < 0 || make_folders(cfg, &err) < 0) {
		fprintf(stderr, "mailsteadctl: %s\n", err.text);
		config_unref(cfg);
		return EXIT_FAILED;
	}
	if (geteuid() == 0)
		log_warning("uid-separation", LOG_STR("state", "off"));
	else
		log_info("uid-separation", LOG_STR("state", "off"));
	r.loop = loop_new();
	r.supervisor = supervisor_new(r.loop, &ops, &r);
	add_programs(&r, cfg, conf_path);
	loop_on_signal(r.loop, SIGTERM, on_stop, &r);
	loop_on_signal(r.loop, SIGINT, on_stop, &r);
	loop_on_signal(r.loop, SIGHUP, on_hangup, &r);
	supervisor_start(r.supervisor);
	loop_run(r.loop);
	supervisor_free(r.supervisor);
	loop_free(r.loop);
	config_unref(cfg);
	return r.status;
}
