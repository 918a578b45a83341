#include "common/ctl/ctl.h"

#include "common/base/mem.h"
#include "common/daemon/notify.h"
#include "common/daemon/process.h"
#include "common/daemon/supervise.h"
#include "common/log/log.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define STOP_MS 40000 /* a monitor gives its roles 35 s */

/* In the order in which they need each other; all but the last kind answer pings. */
static const struct {
	const char *name;
	bool has_user; /* else it stays what we are, and gives away its rights itself */
	enum who who;
	unsigned rank;
	bool is_foreign;
} programs[] = {
    {"keyd", true, WHO_KEY, 0, false},
    {"authd", true, WHO_AUTH, 0, false},
    {"smtpd", false, 0, 1, false},
    {"imapd", false, 0, 1, false},
    {"pop3d", false, 0, 1, false},
    {"web-server", false, 0, 1, true},
};

struct run {
	struct loop *loop;
	struct supervisor *supervisor;
	struct identities ids;
	struct program *programs[ARRAY_LEN(programs)];
	int status;
};

static void on_ready(void *arg)
{
	notify_ready();
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

	notify_stopping();
	supervisor_stop(r->supervisor);
}

/* authd carries it to all others. */
static void on_hangup(void *arg, int signo)
{
	struct run *r = arg;

	for (size_t i = 0; i < ARRAY_LEN(programs); i++)
		if (programs[i].who == WHO_AUTH && programs[i].has_user)
			program_signal(r->programs[i], SIGHUP);
}

static void add_programs(struct run *r, const struct config *cfg, const char *conf_path)
{
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		char path[CONFIG_PATH_MAX], option[] = "-c";
		char *conf = mem_strdup(conf_path);
		char *argv[] = {path, option, conf, NULL};
		bool has_user = programs[i].has_user && r->ids.are_separate;
		struct program_spec spec = {
		    .name = programs[i].name,
		    .argv = argv,
		    .who = has_user ? &r->ids.who[programs[i].who] : NULL,
		    .rank = programs[i].rank,
		    .is_foreign = programs[i].is_foreign,
		};

		snprintf(path, sizeof(path), "%s/%s", config_str(cfg, SET_PATHS_LIBEXEC),
		    programs[i].name);
		r->programs[i] = supervisor_add(r->supervisor, &spec);
		mem_free(conf);
	}
}

/* Everything that needs root's rights is done before they go. */
static int prepare(struct run *r, const struct config *cfg, struct err *err)
{
	struct err why = ERR_INIT;

	identities_find(cfg, &r->ids, &why);
	if (folders_make(cfg, &r->ids, err) < 0)
		return -1;
	if (r->ids.are_separate)
		log_info("uid-separation", LOG_STR("state", "on"));
	else if (geteuid() == 0)
		log_warning("uid-separation", LOG_STR("state", "off"), LOG_STR("reason", why.text));
	else
		log_info("uid-separation", LOG_STR("state", "off"), LOG_STR("reason", why.text));
	return caps_keep_launcher(err);
}

int ctl_run(const char *conf_path)
{
	static const struct supervisor_ops ops = {.on_ready = on_ready, .on_end = on_end};
	struct run r = {.status = EXIT_FAILED};
	struct supervisor_options opt = {.ops = &ops, .arg = &r, .stop_ms = STOP_MS};
	struct config *cfg = NULL;
	struct err err = ERR_INIT;

	log_open("mailstead", 2);
	process_settle();
	if (config_load(conf_path, &cfg, &err) < 0 || prepare(&r, cfg, &err) < 0) {
		fprintf(stderr, "mailsteadctl: %s\n", err.text);
		config_unref(cfg);
		return EXIT_FAILED;
	}
	process_apply_log_level(cfg);
	opt.silence_ms = config_u64(cfg, SET_PROCESS_SILENCE) * 1000;
	r.loop = loop_new();
	notify_open(r.loop);
	r.supervisor = supervisor_new(r.loop, &opt);
	add_programs(&r, cfg, conf_path);
	loop_on_signal(r.loop, SIGTERM, on_stop, &r);
	loop_on_signal(r.loop, SIGINT, on_stop, &r);
	loop_on_signal(r.loop, SIGHUP, on_hangup, &r);
	supervisor_start(r.supervisor);
	loop_run(r.loop);
	supervisor_free(r.supervisor);
	notify_close();
	loop_free(r.loop);
	config_unref(cfg);
	return r.status;
}
