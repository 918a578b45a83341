#include "webadmin/acme/acme.h"

#include "common/base/mem.h"
#include "common/daemon/answer.h"
#include "common/daemon/file.h"
#include "common/daemon/notify.h"
#include "common/daemon/process.h"
#include "common/daemon/supervise.h"
#include "common/event/clock.h"
#include "common/event/loop.h"
#include "common/ipc/msg.h"
#include "common/log/log.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TICK_MS 60000
#define FRESH_SECONDS (12 * 3600) /* between two looks at a good one */
#define AGAIN_SECONDS 3600        /* after a failure; doubled with each */
#define AGAIN_MAX (24 * 3600)
#define RECORD_MAX (8 * 1024)
#define NAMES_MAX 32
#define REPORT_MAX (ACME_TEXT_MAX + 16)

struct server {
	struct loop *loop;
	const char *self, *conf_path;
	struct config *cfg;
	struct book book;
	struct ipc_server *ctl;
	struct timer tick, trim;
	uint64_t started_ms;
	/* the one at work */
	pid_t pid; /* 0: nobody */
	int fd;
	struct watch watch;
	char id[ACME_ID_MAX + 1];
	char report[REPORT_MAX];
	size_t report_n;
	/* asked for by a person: whatever the days say */
	char forced[ACME_ID_MAX + 1];
};

static void look(struct server *s);

/* --- the one at work
 * ----------------------------------------------------------------------------------------- */
static void note(struct server *s, struct entry *e)
{
	struct span text = span_make(s->report, s->report_n);
	uint64_t now = (uint64_t)clock_now();
	uint64_t pause = AGAIN_SECONDS;
	struct err err = ERR_INIT;
	bool is_good = span_starts(text, SPAN("ok ")) || span_starts(text, SPAN("skip "));
	ssize_t at = span_chr(text, ' ');

	text = at < 0 ? SPAN("the process that does it ended too early")
		      : span_from(text, (size_t)at + 1);
	if (!span_starts(span_make(s->report, s->report_n), SPAN("skip ")) || e->fails > 0) {
		snprintf(e->text, sizeof(e->text), "%.*s", SPAN_FMT(text));
		e->last = now;
	}
	e->fails = is_good ? 0 : e->fails + 1;
	for (uint64_t i = 1; i < e->fails && pause < AGAIN_MAX; i++)
		pause *= 2;
	e->next = now + (is_good ? FRESH_SECONDS : pause < AGAIN_MAX ? pause : AGAIN_MAX);
	if (is_good)
		log_info("acme", LOG_STR("certificate", e->id), LOG_SPAN("result", text));
	else
		log_warning("acme", LOG_STR("certificate", e->id), LOG_SPAN("reason", text));
	if (book_save(&s->book, e, &err) < 0)
		log_error("acme-book", LOG_ERR(&err));
}

static void on_report(void *arg, unsigned ready)
{
	struct server *s = arg;
	struct entry *e;
	int status;
	ssize_t n = read(s->fd, s->report + s->report_n, sizeof(s->report) - s->report_n);

	if (n > 0) {
		s->report_n += (size_t)n;
		return;
	}
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	watch_clear(&s->watch);
	close(s->fd);
	while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR)
		;
	s->pid = 0;
	e = book_find(&s->book, span_of(s->id));
	if (e)
		note(s, e);
	look(s);
}

static void begin(struct server *s, const struct entry *e)
{
	static char option[] = "-c", verb[] = "--issue", forced[] = "forced", due[] = "due";
	char names[ACME_NAMES_MAX], self[CONFIG_PATH_MAX], conf[CONFIG_PATH_MAX];
	char *argv[NAMES_MAX + 8] = {self, option, conf, verb, s->id, due};
	struct err err = ERR_INIT;
	char *rest = names, *word;
	size_t n = 6;
	int ends[2];

	snprintf(self, sizeof(self), "%s", s->self);
	snprintf(conf, sizeof(conf), "%s", s->conf_path);
	snprintf(names, sizeof(names), "%s", e->names);
	snprintf(s->id, sizeof(s->id), "%s", e->id);
	if (strcmp(s->forced, e->id) == 0) {
		argv[5] = forced;
		s->forced[0] = '\0';
	}
	while (n < NAMES_MAX && (word = strtok_r(rest, " ", &rest)))
		argv[n++] = word;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return;
	s->pid = spawn_program(argv, NULL, ends[1], &err);
	close(ends[1]);
	s->report_n = 0;
	s->fd = ends[0];
	if (s->pid < 0) {
		log_error("acme", LOG_ERR(&err));
		close(s->fd);
		s->pid = 0;
		return;
	}
	watch_init(&s->watch, s->loop, s->fd, on_report, s);
	watch_set(&s->watch, WATCH_READ);
}

/* Begins with one that is due, if nobody is at work. */
static void look(struct server *s)
{
	uint64_t now = (uint64_t)clock_now();

	for (size_t i = 0; i < s->book.count && s->pid == 0; i++)
		if (s->book.list[i].next <= now)
			begin(s, &s->book.list[i]);
}

static void on_tick(void *arg)
{
	struct server *s = arg;

	look(s);
	timer_set(&s->tick, TICK_MS);
}

/* --- commands
 * ------------------------------------------------------------------------------------------------
 */
static const char *state_of(const struct server *s, const struct entry *e)
{
	if (s->pid > 0 && strcmp(s->id, e->id) == 0)
		return "running";
	return e->fails > 0 ? "failed" : e->last == 0 ? "waiting" : "ok";
}

static void answer_list(struct server *s, const struct admin_request *rq)
{
	for (size_t i = 0; i < s->book.count; i++) {
		struct strbuf record;

		strbuf_init(&record, RECORD_MAX);
		entry_record(&s->book.list[i], state_of(s, &s->book.list[i]), &record);
		admin_record(rq, &record);
		strbuf_clear(&record);
	}
	admin_end(rq, ERR_NONE, "%s", "");
}

static bool name_is_good(struct span name)
{
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] <= ' ' || name.p[i] >= 0x7f)
			return false;
	return name.n > 0 && name.n <= 255 && name.p[0] != '-';
}

/* NAME ... [--agree] into names; -1: not like this. */
static int take_names(
    const struct ipc_admin *cmd, struct strbuf *names, bool *has_agreed, struct err *err)
{
	size_t n = 0;

	for (uint32_t i = 4; i < cmd->count; i++) {
		struct span word = cmd->words[i];

		if (span_eq(word, SPAN("--agree"))) {
			*has_agreed = true;
			continue;
		}
		if (!name_is_good(word) || ++n > NAMES_MAX - 8)
			return err_set(
			    err, ERR_INVALID, "usage: cert acme issue ID [NAME...] [--agree]");
		if (names->n > 0)
			strbuf_add_chr(names, ' ');
		strbuf_add(names, word);
	}
	return names->failed ? err_set(err, ERR_LIMIT, "too many names") : 0;
}

static int order(struct server *s, const struct ipc_admin *cmd, struct err *err)
{
	bool has_agreed = false;
	struct strbuf names;
	struct entry *e;

	strbuf_init(&names, ACME_NAMES_MAX - 1);
	e = NULL;
	if (take_names(cmd, &names, &has_agreed, err) < 0)
		goto out;
	if (!has_agreed && !book_find(&s->book, cmd->words[3])) {
		err_set(err, ERR_INVALID,
		    "say --agree: the authority at %.100s has terms of service",
		    config_str(s->cfg, SET_ACME_URL));
		goto out;
	}
	e = book_add(&s->book, cmd->words[3], err);
	if (!e)
		goto out;
	snprintf(e->names, sizeof(e->names), "%s", names.p);
	e->next = 0;
	e->fails = 0;
	if (book_save(&s->book, e, err) < 0)
		e = NULL;
	else
		snprintf(s->forced, sizeof(s->forced), "%s", e->id);
out:
	strbuf_clear(&names);
	if (e)
		look(s);
	return e ? 0 : -1;
}

static int stop(struct server *s, struct span id, struct err *err)
{
	struct entry *e = book_find(&s->book, id);

	if (!e)
		return err_set(err, ERR_NOT_FOUND, "no such certificate comes by ACME");
	return book_remove(&s->book, e, err);
}

static bool is_verb(const struct ipc_admin *cmd, const char *verb)
{
	return cmd->count >= 3 && span_eq(cmd->words[2], span_of(verb));
}

static void answer_cert(
    struct server *s, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	struct err err = ERR_INIT;

	if (is_verb(cmd, "list") && cmd->count == 3)
		answer_list(s, rq);
	else if (is_verb(cmd, "issue") && cmd->count >= 4 && order(s, cmd, &err) == 0)
		admin_end(rq, ERR_NONE, "on its way; cert acme list says how it ended");
	else if (is_verb(cmd, "stop") && cmd->count == 4 && stop(s, cmd->words[3], &err) == 0)
		admin_end(rq, ERR_NONE, "%s", "");
	else if (err.code != ERR_NONE)
		admin_end(rq, err.code, "%s", err.text);
	else
		admin_end(rq, ERR_INVALID, "no such verb: cert acme list, issue or stop");
}

static void reload(struct server *s)
{
	struct err err = ERR_INIT;
	struct config *cfg;

	if (config_load(s->conf_path, &cfg, &err) < 0) {
		log_error("reload-refused", LOG_ERR(&err));
		return;
	}
	config_unref(s->cfg);
	s->cfg = cfg;
	process_apply_log_level(cfg);
}

static void on_message(void *arg, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct server *s = arg;
	struct admin_request rq = {.server = s->ctl, .peer = *peer, .id = msg->id};
	struct strbuf record;
	struct ipc_admin cmd;

	if (!admin_may(s->cfg, peer)) {
		admin_end(&rq, ERR_DENIED, "only authd and root may ask");
	} else if (msg->type != IPC_ADMIN || !ipc_dec_admin(msg->body, &cmd) || cmd.count == 0) {
		admin_end(&rq, ERR_INVALID, "malformed request");
	} else if (span_eq(cmd.words[0], SPAN("status"))) {
		strbuf_init(&record, RECORD_MAX);
		admin_process(&record, "acme", s->started_ms);
		admin_record(&rq, &record);
		strbuf_clear(&record);
		admin_end(&rq, ERR_NONE, "%s", "");
	} else if (cmd.count >= 2 && span_eq(cmd.words[1], SPAN("acme"))) {
		/* The order may be one under settings that were changed a moment ago. */
		reload(s);
		answer_cert(s, &cmd, &rq);
	} else {
		admin_end(&rq, ERR_INVALID, "no such verb");
	}
}

/* --- the process
 * -----------------------------------------------------------------------------------------------
 */
static void on_stop(void *arg, int signo)
{
	struct server *s = arg;

	loop_stop(s->loop);
}

static void on_hangup(void *arg, int signo)
{
	reload(arg);
}

static int make_folders(const struct config *cfg, struct err *err)
{
	struct identities ids;
	char path[CONFIG_PATH_MAX];

	identities_find(cfg, &ids, NULL);
	if (ids.are_separate && setgroups(1, &ids.all) < 0)
		return err_errno(err, errno, "joining group %u", (unsigned)ids.all);
	if (process_make_run_folder(cfg, "acme", err) < 0)
		return -1;
	/* Who started us made them, unless it is a test of this program alone. */
	if (!ids.are_separate && config_run_path(cfg, "acme/challenge", path, err) == 0)
		(void)mkdir(path, 0755);
	return caps_keep_launcher(err);
}

static int open_all(struct server *s, struct err *err)
{
	static const struct ipc_server_ops ops = {.on_message = on_message};
	char path[CONFIG_PATH_MAX];

	if (config_load(s->conf_path, &s->cfg, err) < 0 || make_folders(s->cfg, err) < 0 ||
	    book_open(&s->book, s->cfg, err) < 0 ||
	    config_run_path(s->cfg, "acme/ctl", path, err) < 0)
		return -1;
	process_apply_log_level(s->cfg);
	s->ctl = ipc_server_new(s->loop, path, 0660, &ops, s, err);
	return s->ctl ? 0 : -1;
}

int serve(const char *self, const char *conf_path, struct err *err)
{
	struct server *s = mem_zalloc(sizeof(*s));
	int link = process_link_fd();
	int result = -1;

	s->self = self;
	s->conf_path = conf_path;
	s->started_ms = clock_mono_ms();
	s->loop = loop_new();
	notify_open(s->loop);
	timer_init(&s->tick, s->loop, on_tick, s);
	process_trim(s->loop, &s->trim);
	if (open_all(s, err) == 0) {
		loop_on_signal(s->loop, SIGTERM, on_stop, s);
		loop_on_signal(s->loop, SIGINT, on_stop, s);
		loop_on_signal(s->loop, SIGHUP, on_hangup, s);
		process_say_ready(link);
		timer_set(&s->tick, 1);
		loop_run(s->loop);
		notify_stopping();
		result = 0;
	}
	if (s->pid > 0) {
		(void)kill(s->pid, SIGTERM);
		watch_clear(&s->watch);
	}
	timer_clear(&s->tick);
	timer_clear(&s->trim);
	if (s->ctl)
		ipc_server_free(s->ctl);
	loop_free(s->loop);
	if (s->cfg)
		config_unref(s->cfg);
	mem_free(s);
	return result;
}
