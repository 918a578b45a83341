#include "common/ctl/ctl.h"

#include "common/base/mem.h"
#include "common/daemon/notify.h"
#include "common/daemon/process.h"
#include "common/daemon/supervise.h"
#include "common/log/log.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STOP_MS 40000 /* a monitor gives its roles 35 s */
#define AGAIN_MS 200

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
    {"web-server", false, 0, 1, false},
    {"acme", false, 0, 1, true},
    {"maint", false, 0, 1, true},
};

struct run {
	struct loop *loop;
	struct supervisor *supervisor;
	struct identities ids;
	struct program *programs[ARRAY_LEN(programs)];
	char **argv;
	struct timer upgrade, trim;
	bool is_stopping;
	int status;
};

/* Not started anew, so that nothing is said about it: authd and keyd end by themselves, and come
 * back as what is installed now. */
static void upgrade(struct run *r)
{
	struct upgrade *u;
	struct err err = ERR_INIT;

	/* The program that it became would not know that it was told to stop. */
	if (r->is_stopping)
		return;
	if (upgrade_check(r->argv, &err) < 0) {
		log_error("upgrade-refused", LOG_ERR(&err));
		return;
	}
	u = upgrade_new();
	if (supervisor_hand_on(r->supervisor, u, &err) < 0) {
		upgrade_free(u);
		timer_set(&r->upgrade, AGAIN_MS);
		return;
	}
	log_info("upgrade", LOG_STR("program", r->argv[0]));
	notify_close();
	(void)upgrade_exec(u, r->argv, -1, &err);
	notify_open(r->loop);
	log_error("upgrade-refused", LOG_ERR(&err));
}

static void on_upgrade(void *arg)
{
	upgrade(arg);
}

static void on_message(void *arg, struct program *p, const struct ipc_msg *msg)
{
	struct run *r = arg;

	/* authd asked the monitors already. */
	if (msg->type == LINK_UPGRADE && strcmp(program_name(p), "authd") == 0)
		timer_set(&r->upgrade, AGAIN_MS);
}

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

	r->is_stopping = true;
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
static int prepare(struct run *r, const struct config *cfg, bool is_upgraded, struct err *err)
{
	struct err why = ERR_INIT;

	identities_find(cfg, &r->ids, &why);
	/* What is new since then, packages make. */
	if (is_upgraded)
		return 0;
	if (folders_make(cfg, &r->ids, err) < 0)
		return -1;
	if (r->ids.are_separate)
		log_info("uid-separation", LOG_STR("state", "on"));
	else if (geteuid() == 0)
		log_warning("uid-separation", LOG_STR("state", "off"), LOG_STR("reason", why.text));
	else
		log_info("uid-separation", LOG_STR("state", "off"), LOG_STR("reason", why.text));
	return caps_keep_first(err);
}

/*
 * Databases of an older version are brought up before anything opens them. What is damaged is not
 * our business: who opens it says so.
 */
static int migrate(const char *conf_path, struct err *err)
{
	struct err why = ERR_INIT;
	struct strbuf text;
	int rc;

	strbuf_init(&text, 1024);
	rc = ctl_migrate(conf_path, false, NULL, &text, &why);
	if (rc == 0 && text.n > 0)
		log_info("migrated", LOG_STR("text", text.p));
	strbuf_clear(&text);
	if (rc == 0 || why.code == ERR_CORRUPT || why.code == ERR_IO)
		return 0;
	return err_set(err, why.code, "%s", why.text);
}

/* What of it was running goes on: as our programs. */
static void adopt(struct run *r, struct list *survivors)
{
	LIST_EACH_SAFE (it, survivors) {
		struct survivor *s = container_of(it, struct survivor, link);

		supervisor_adopt(r->supervisor, s);
		list_remove(it);
		mem_free(s);
	}
}

static void on_usr2(void *arg, int signo)
{
	struct run *r = arg;

	for (size_t i = 0; i < ARRAY_LEN(programs); i++)
		if (programs[i].rank == 1 && !programs[i].is_foreign)
			program_signal(r->programs[i], SIGUSR2);
	upgrade(r);
}

static void run_init(struct run *r)
{
	loop_on_signal(r->loop, SIGTERM, on_stop, r);
	loop_on_signal(r->loop, SIGINT, on_stop, r);
	loop_on_signal(r->loop, SIGHUP, on_hangup, r);
	loop_on_signal(r->loop, SIGUSR2, on_usr2, r);
	timer_init(&r->upgrade, r->loop, on_upgrade, r);
	process_trim(r->loop, &r->trim);
}

/* argv with the path of the program that this is, which may be another one when it is needed. */
static void find_self(char **argv)
{
	static char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = '\0';
		argv[0] = self;
	}
}

static int start(struct run *r, const char *conf_path, struct err *err)
{
	static const struct supervisor_ops ops = {
	    .on_ready = on_ready, .on_end = on_end, .on_message = on_message};
	struct supervisor_options opt = {.ops = &ops, .arg = r, .stop_ms = STOP_MS};
	struct list survivors;
	struct config *cfg;

	list_init(&survivors);
	opt.is_patient = upgrade_take(&survivors);
	if (config_load(conf_path, &cfg, err) < 0)
		return -1;
	process_apply_log_level(cfg);
	if (prepare(r, cfg, opt.is_patient, err) < 0 ||
	    (!opt.is_patient && migrate(conf_path, err) < 0)) {
		config_unref(cfg);
		return -1;
	}
	opt.silence_ms = config_u64(cfg, SET_PROCESS_SILENCE) * 1000;
	r->supervisor = supervisor_new(r->loop, &opt);
	add_programs(r, cfg, conf_path);
	config_unref(cfg);
	adopt(r, &survivors);
	if (opt.is_patient)
		notify_ready();
	return 0;
}

int ctl_run(const char *conf_path, char **argv)
{
	struct run r = {.status = EXIT_FAILED, .argv = argv};
	struct err err = ERR_INIT;

	log_open("mailstead", 2);
	process_settle();
	find_self(argv);
	r.loop = loop_new();
	notify_open(r.loop);
	if (start(&r, conf_path, &err) < 0) {
		fprintf(stderr, "mailsteadctl: %s\n", err.text);
		upgrade_again(argv);
	} else {
		run_init(&r);
		supervisor_start(r.supervisor);
		loop_run(r.loop);
		timer_clear(&r.upgrade);
		timer_clear(&r.trim);
	}
	supervisor_free(r.supervisor);
	notify_close();
	loop_free(r.loop);
	return r.status;
}
