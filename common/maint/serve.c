/*
 * maint without a command: asked by authd, for the web admin. It starts this program again for each
 * command, as mailsteadctl does; lists are relayed, a backup, a look at one and a restore go on by
 * themselves, one at a time, and "backup last" says how the last one ended. The folder is always
 * the setting's, and must be ours: nobody else may have written what is read here with all rights.
 */
#include "common/maint/backup.h"

#include "common/base/mem.h"
#include "common/daemon/answer.h"
#include "common/daemon/notify.h"
#include "common/daemon/process.h"
#include "common/daemon/supervise.h"
#include "common/event/clock.h"
#include "common/event/loop.h"
#include "common/ipc/frame.h"
#include "common/ipc/ipc.h"
#include "common/log/log.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_MAX 4
#define WORD_MAX 600
#define RECORD_MAX 4096
#define RESULT_MAX 1024

struct server;

/* A command at work. */
struct job {
	struct list link;
	struct server *s;
	pid_t pid;
	struct frame_io io;
	bool is_long; /* nobody waits for its end */
	struct admin_request rq;
	enum err_code code;
	char text[RESULT_MAX];
};

/* The last long one, which may be at work. */
struct last {
	char what[WORD_MAX * 3];
	uint64_t started, ended; /* seconds since 1970; ended 0: at work */
	enum err_code code;
	char text[RESULT_MAX];
};

struct server {
	struct loop *loop;
	struct timer trim;
	char self[PATH_MAX], conf[PATH_MAX];
	struct config *cfg;
	struct ipc_server *ctl;
	uint64_t started_ms;
	struct list jobs;
	size_t job_count;
	bool is_busy; /* with a long one */
	struct last last;
};

/* --- a command ends
 * ------------------------------------------------------------------------------------------ */
static void end_long(struct server *s, const struct job *j)
{
	struct last *l = &s->last;

	s->is_busy = false;
	l->ended = (uint64_t)clock_now();
	l->code = j->code;
	snprintf(l->text, sizeof(l->text), "%s", j->text);
	if (j->code == ERR_NONE)
		log_info("maint", LOG_STR("command", l->what), LOG_STR("result", l->text));
	else
		log_warning("maint", LOG_STR("command", l->what), LOG_STR("reason", l->text));
}

static void job_end(struct job *j)
{
	struct server *s = j->s;
	int status;

	frame_io_clear(&j->io);
	while (waitpid(j->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (j->is_long)
		end_long(s, j);
	else
		admin_end(&j->rq, j->code, "%s", j->text);
	list_remove(&j->link);
	s->job_count--;
	mem_free(j);
}

/* What accounts' parts came to is kept as far as it says what went wrong. */
static void on_record(struct job *j, struct span body)
{
	struct strbuf copy;

	if (j->is_long)
		return;
	strbuf_init(&copy, IPC_BODY_MAX);
	strbuf_add(&copy, body);
	admin_record(&j->rq, &copy);
	strbuf_clear(&copy);
}

static void take_end(struct job *j, struct span body)
{
	struct ipc_error e;

	if (!ipc_dec_error(body, &e))
		return;
	j->code = (enum err_code)e.code;
	snprintf(j->text, sizeof(j->text), "%.*s", e.text.n > 800 ? 800 : (int)e.text.n,
	    e.text.p ? e.text.p : "");
}

static void on_ready(void *arg, unsigned ready)
{
	struct job *j = arg;
	bool goes_on = frame_io_read(&j->io);
	struct ipc_msg msg;
	int rc;

	while ((rc = frame_take(strbuf_span(&j->io.in), &msg)) > 0) {
		if (msg.type == IPC_ADMIN_RECORD)
			on_record(j, msg.body);
		else
			take_end(j, msg.body);
		strbuf_drop_front(&j->io.in, FRAME_HEAD + msg.body.n);
	}
	if (!goes_on || rc < 0)
		job_end(j);
}

/* --- a command begins
 * ---------------------------------------------------------------------------------------- */
static int start(struct server *s, char *const words[], struct job *j, struct err *err)
{
	static char option[] = "-c";
	char *argv[ARGS_MAX] = {s->self, option, s->conf};
	int ends[2];

	for (size_t i = 0; words[i] && i + 4 < ARGS_MAX; i++)
		argv[3 + i] = words[i];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return err_errno(err, errno, "socketpair");
	j->pid = spawn_program(argv, NULL, ends[1], err);
	close(ends[1]);
	if (j->pid < 0) {
		close(ends[0]);
		return -1;
	}
	frame_io_init(&j->io, s->loop, ends[0], on_ready, j);
	return 0;
}

static int begin(struct server *s, char *const words[], bool is_long,
    const struct admin_request *rq, struct err *err)
{
	struct job *j;

	if (is_long && s->is_busy)
		return err_set(err, ERR_BUSY, "%s is not done yet", s->last.what);
	if (s->job_count == JOBS_MAX)
		return err_set(err, ERR_TEMP, "too many commands at once");
	j = mem_zalloc(sizeof(*j));
	j->s = s;
	j->is_long = is_long;
	j->rq = *rq;
	j->code = ERR_IO;
	snprintf(j->text, sizeof(j->text), "the process that does it ended too early");
	if (start(s, words, j, err) < 0) {
		mem_free(j);
		return -1;
	}
	list_append(&s->jobs, &j->link);
	s->job_count++;
	if (!is_long)
		return 0;
	s->is_busy = true;
	s->last = (struct last){.started = (uint64_t)clock_now()};
	for (size_t i = 0, n = 0; words[i] && n + 1 < sizeof(s->last.what); i++)
		n += (size_t)snprintf(
		    s->last.what + n, sizeof(s->last.what) - n, "%s%s", i > 0 ? " " : "", words[i]);
	return 0;
}

/* --- commands
 * ------------------------------------------------------------------------------------------------
 */
static int is_ours(const char *path, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_errno(err, errno, "%s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ERR_DENIED, "%s: no folder", path);
	if (st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH)))
		return 0;
	return err_set(err, ERR_DENIED,
	    "%s: others may write to it, which is too unsafe for the web: use mailsteadctl", path);
}

/* The setting's folder, if nobody else could have put something there. */
static int folder_of(struct server *s, char out[WORD_MAX], struct err *err)
{
	const char *dir = config_str(s->cfg, SET_BACKUP_FOLDER);
	char generations[BACKUP_PATH];

	if (!dir[0])
		return err_set(err, ERR_NOT_FOUND, "backup.folder is not set");
	if (!path_join(generations, dir, "generations", NULL))
		return err_set(err, ERR_INVALID, "%s: path too long", dir);
	if (is_ours(dir, err) < 0 || is_ours(generations, err) < 0)
		return -1;
	snprintf(out, WORD_MAX, "%s", dir);
	return 0;
}

/* Words from outside become words of a command line: none may be an option unless it is allowed. */
static int copy_word(char out[WORD_MAX], const char *before, struct span word, struct err *err)
{
	int n = snprintf(out, WORD_MAX, "%s%.*s", before, SPAN_FMT(word));

	if (n <= 0 || n >= WORD_MAX || strlen(out) != (size_t)n)
		return err_set(err, ERR_INVALID, "a word is too long");
	return 0;
}

static int generation_word(char out[WORD_MAX], struct span name, struct err *err)
{
	char text[BACKUP_NAME_LEN + 1] = "";

	if (name.n == BACKUP_NAME_LEN)
		memcpy(text, name.p, BACKUP_NAME_LEN);
	if (!text[0] || !is_generation(text))
		return err_set(err, ERR_INVALID, "%.*s: no name of a generation",
		    name.n > 40 ? 40 : (int)name.n, name.p);
	return copy_word(out, "--generation=", name, err);
}

static int run_backup(
    struct server *s, const struct ipc_admin *cmd, const struct admin_request *rq, struct err *err)
{
	static char backup[] = "backup", list[] = "list", verify[] = "verify";
	char dir[WORD_MAX], generation[WORD_MAX];
	char *words[6] = {backup};

	if (folder_of(s, dir, err) < 0)
		return -1;
	if (span_eq(cmd->words[1], SPAN("list"))) {
		words[1] = list;
		words[2] = dir;
		return begin(s, words, false, rq, err);
	}
	if (span_eq(cmd->words[1], SPAN("make"))) {
		words[1] = dir;
		return begin(s, words, true, rq, err);
	}
	if (!span_eq(cmd->words[1], SPAN("verify")) || cmd->count != 3)
		return err_set(err, ERR_INVALID, "no such verb");
	if (generation_word(generation, cmd->words[2], err) < 0)
		return -1;
	words[1] = verify;
	words[2] = dir;
	words[3] = generation;
	return begin(s, words, true, rq, err);
}

/* restore GENERATION ADDRESS|all [--mailbox=NAME] [--to=ADDRESS] */
static int run_restore(
    struct server *s, const struct ipc_admin *cmd, const struct admin_request *rq, struct err *err)
{
	static char restore[] = "restore";
	char dir[WORD_MAX], generation[WORD_MAX], who[WORD_MAX], more[2][WORD_MAX];
	char *words[8] = {restore, dir, generation, who};
	size_t n = 4;

	if (cmd->count < 3 || cmd->count > 5)
		return err_set(err, ERR_INVALID, "usage: restore GENERATION ADDRESS|all ...");
	if (folder_of(s, dir, err) < 0 || generation_word(generation, cmd->words[1], err) < 0)
		return -1;
	if (span_eq(cmd->words[2], SPAN("all"))) {
		if (cmd->count > 3)
			return err_set(err, ERR_INVALID, "all of it has no mailbox");
		snprintf(who, sizeof(who), "--all");
		return begin(s, words, true, rq, err);
	}
	if (span_starts(cmd->words[2], SPAN("-")))
		return err_set(err, ERR_INVALID, "this is no address");
	if (copy_word(who, "", cmd->words[2], err) < 0)
		return -1;
	for (uint32_t i = 3; i < cmd->count; i++) {
		if (!span_starts(cmd->words[i], SPAN("--mailbox=")) &&
		    !span_starts(cmd->words[i], SPAN("--to=")))
			return err_set(err, ERR_INVALID, "only --mailbox= and --to= may follow");
		if (copy_word(more[i - 3], "", cmd->words[i], err) < 0)
			return -1;
		words[n++] = more[i - 3];
	}
	return begin(s, words, true, rq, err);
}

static void tell_last(struct server *s, const struct admin_request *rq)
{
	const struct last *l = &s->last;
	struct strbuf b;

	if (l->started == 0)
		return;
	strbuf_init(&b, RECORD_MAX);
	ipc_rec_text(&b, "command", span_of(l->what));
	ipc_rec_text(&b, "state",
	    s->is_busy            ? SPAN("running")
	    : l->code == ERR_NONE ? SPAN("ok")
				  : SPAN("failed"));
	ipc_rec_number(&b, "started", IPC_TIME, l->started);
	ipc_rec_number(&b, "ended", IPC_TIME, l->ended);
	ipc_rec_text(&b, "text", span_of(l->text));
	admin_record(rq, &b);
	strbuf_clear(&b);
}

static void reload(struct server *s)
{
	struct err err = ERR_INIT;
	struct config *cfg;

	if (config_load(s->conf, &cfg, &err) < 0) {
		log_error("reload-refused", LOG_ERR(&err));
		return;
	}
	config_unref(s->cfg);
	s->cfg = cfg;
	process_apply_log_level(cfg);
}

/* What was begun and goes on by itself has a good end at once; a list ends with its command. */
static void run(struct server *s, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	bool is_restore = span_eq(cmd->words[0], SPAN("restore"));
	bool is_list = cmd->count == 2 && span_eq(cmd->words[1], SPAN("list"));
	struct err err = ERR_INIT;

	/* The setting may be one that was changed a moment ago. */
	reload(s);
	if ((is_restore ? run_restore(s, cmd, rq, &err) : run_backup(s, cmd, rq, &err)) < 0)
		admin_end(rq, err.code, "%s", err.text);
	else if (!is_list)
		admin_end(rq, ERR_NONE, "begun");
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
		admin_process(&record, "maint", s->started_ms);
		admin_record(&rq, &record);
		strbuf_clear(&record);
		admin_end(&rq, ERR_NONE, "%s", "");
	} else if (cmd.count < 2) {
		admin_end(&rq, ERR_INVALID, "no such verb");
	} else if (span_eq(cmd.words[0], SPAN("backup")) && span_eq(cmd.words[1], SPAN("last"))) {
		tell_last(s, &rq);
		admin_end(&rq, ERR_NONE, "%s", "");
	} else if (span_eq(cmd.words[0], SPAN("backup")) ||
		   span_eq(cmd.words[0], SPAN("restore"))) {
		run(s, &cmd, &rq);
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

static int open_all(struct server *s, const char *conf_path, struct err *err)
{
	static const struct ipc_server_ops ops = {.on_message = on_message};
	ssize_t n = readlink("/proc/self/exe", s->self, sizeof(s->self) - 1);
	char path[CONFIG_PATH_MAX];
	struct identities ids;

	if (n <= 0 || !realpath(conf_path, s->conf))
		return err_errno(err, errno, "%s", conf_path);
	if (config_load(s->conf, &s->cfg, err) < 0)
		return -1;
	identities_find(s->cfg, &ids, NULL);
	/* So that its socket is for the other processes. */
	if (ids.are_separate && setgroups(1, &ids.all) < 0)
		return err_errno(err, errno, "joining group %u", (unsigned)ids.all);
	if (process_make_run_folder(s->cfg, "maint", err) < 0 || caps_keep_maint(err) < 0 ||
	    config_run_path(s->cfg, "maint/ctl", path, err) < 0)
		return -1;
	process_apply_log_level(s->cfg);
	s->ctl = ipc_server_new(s->loop, path, 0660, &ops, s, err);
	return s->ctl ? 0 : -1;
}

static void stop_jobs(struct server *s)
{
	LIST_EACH_SAFE (it, &s->jobs) {
		struct job *j = container_of(it, struct job, link);

		(void)kill(j->pid, SIGTERM);
		job_end(j);
	}
}

int maint_serve(const char *conf_path)
{
	struct server *s = mem_zalloc(sizeof(*s));
	struct err err = ERR_INIT;
	int status = EXIT_CONFIG;
	int link;

	process_settle();
	link = process_link_fd();
	s->started_ms = clock_mono_ms();
	list_init(&s->jobs);
	s->loop = loop_new();
	notify_open(s->loop);
	if (open_all(s, conf_path, &err) == 0) {
		loop_on_signal(s->loop, SIGTERM, on_stop, s);
		loop_on_signal(s->loop, SIGINT, on_stop, s);
		loop_on_signal(s->loop, SIGHUP, on_hangup, s);
		process_say_ready(link);
		process_trim(s->loop, &s->trim);
		loop_run(s->loop);
		notify_stopping();
		stop_jobs(s);
		timer_clear(&s->trim);
		status = 0;
	} else {
		fprintf(stderr, "maint: %s\n", err.text);
	}
	if (s->ctl)
		ipc_server_free(s->ctl);
	loop_free(s->loop);
	if (s->cfg)
		config_unref(s->cfg);
	mem_free(s);
	return status;
}
