#include "common/authd/carry.h"

#include "common/authd/revert.h"
#include "common/base/mem.h"
#include "common/daemon/file.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define NEXT "settings.conf.next"
#define PREPARE_MS 20000
#define COMMIT_MS 10000
#define NUMBER_LEN 24

/* Who reads the configuration and hands it on. */
static const char *const monitors[] = {"smtpd", "imapd", "pop3d", "web-server"};
static const char *const keyd[] = {"keyd"};

struct carry {
	struct authd *a;
	struct work work;
	char dir[CONFIG_PATH_MAX];
	char number[NUMBER_LEN];
	struct strbuf text, undo;
	bool has_text, has_undo;
	struct config *fresh;
	struct err err;
	/* Who prepared it, and who is away. */
	const char *prepared[ARRAY_LEN(monitors)];
	size_t prepared_count;
	struct ask_answer away[ARRAY_LEN(monitors) * 2 + 1];
	size_t away_count;
	void (*on_prepared)(void *arg, const struct err *err);
	void (*on_done)(
	    void *arg, const struct err *err, const struct ask_answer *answers, size_t n);
	void *arg, *done_arg;
};

static void carry_free(struct carry *c)
{
	config_unref(c->fresh);
	strbuf_clear(&c->text);
	strbuf_clear(&c->undo);
	mem_free(c);
}

static void finish(struct carry *c)
{
	c->on_done(c->done_arg, &c->err, c->away, c->away_count);
	carry_free(c);
}

static void add_away(struct carry *c, const struct ask_answer *answer)
{
	if (c->away_count < ARRAY_LEN(c->away))
		c->away[c->away_count++] = *answer;
}

/* Of those that prepared it, or of all. */
static void tell(struct carry *c, const char *verb, const char *what, const char *const *names,
    size_t n, int step_ms, void (*done)(void *arg, const struct ask_answer *answers, size_t n))
{
	struct ipc_admin cmd = {.words = {span_of(verb), span_of(c->number), span_of(what)}};

	cmd.count = what ? 3 : 2;
	ask_all(c->a, NULL, names, n, &cmd, step_ms, done, c);
}

/* --- abort ------------------------------------------------------------------------------------ */
static void on_aborted(void *arg, const struct ask_answer *answers, size_t n)
{
	struct carry *c = arg;

	if (c->on_done) {
		finish(c);
		return;
	}
	c->on_prepared(c->arg, &c->err);
	carry_free(c);
}

static void run_forget(struct work *w)
{
	struct carry *c = container_of(w, struct carry, work);
	int dir = file_open_folder(c->dir, NULL);

	if (dir < 0)
		return;
	(void)unlinkat(dir, NEXT, 0);
	close(dir);
}

static void on_forgotten(struct work *w)
{
	struct carry *c = container_of(w, struct carry, work);

	/* Monitors that hear nothing forget it by themselves. */
	if (c->prepared_count == 0 || c->a->is_stopping)
		on_aborted(c, NULL, 0);
	else
		tell(c, "abort", NULL, c->prepared, c->prepared_count, COMMIT_MS, on_aborted);
}

static void abandon(struct carry *c)
{
	c->work.run = run_forget;
	c->work.done = on_forgotten;
	workers_submit(c->a->files, &c->work);
}

void carry_abort(struct carry *c,
    void (*on_done)(void *arg, const struct err *err, const struct ask_answer *answers, size_t n),
    void *arg)
{
	c->on_done = on_done;
	c->done_arg = arg;
	abandon(c);
}

/* --- prepare ---------------------------------------------------------------------------------- */
static void on_prepared(void *arg, const struct ask_answer *answers, size_t n)
{
	struct carry *c = arg;

	for (size_t i = 0; i < n; i++) {
		if (!answers[i].is_reached)
			add_away(c, &answers[i]);
		else if (answers[i].code == ERR_NONE)
			c->prepared[c->prepared_count++] = answers[i].daemon;
		else if (c->err.code == ERR_NONE)
			err_set(
			    &c->err, answers[i].code, "%s: %s", answers[i].daemon, answers[i].text);
	}
	if (c->err.code != ERR_NONE)
		abandon(c);
	else
		c->on_prepared(c->arg, &c->err);
}

static void run_write(struct work *w)
{
	struct carry *c = container_of(w, struct carry, work);
	int dir;

	if (!c->has_text) {
		(void)config_load(config_path(c->a->cfg), &c->fresh, &c->err);
		return;
	}
	dir = file_open_folder(c->dir, &c->err);
	if (dir < 0)
		return;
	/* Every monitor reads it, whatever the umask says; there are no secrets in it. */
	if (file_write(dir, NEXT, 0644, strbuf_span(&c->text), &c->err) == 0)
		(void)config_load_next(config_path(c->a->cfg), &c->fresh, &c->err);
	close(dir);
}

static void on_written(struct work *w)
{
	struct carry *c = container_of(w, struct carry, work);

	if (c->a->is_stopping && c->err.code == ERR_NONE)
		err_set(&c->err, ERR_TEMP, "authd is stopping");
	if (c->err.code != ERR_NONE)
		abandon(c);
	else
		tell(c, "prepare", c->has_text ? "next" : "now", monitors, ARRAY_LEN(monitors),
		    PREPARE_MS, on_prepared);
}

struct carry *carry_start(
    struct authd *a, struct span text, void (*done)(void *arg, const struct err *err), void *arg)
{
	struct carry *c = mem_zalloc(sizeof(*c));

	c->a = a;
	c->on_prepared = done;
	c->arg = arg;
	c->has_text = text.p != NULL;
	strbuf_init(&c->text, CONFIG_FILE_MAX);
	strbuf_init(&c->undo, CONFIG_FILE_MAX);
	strbuf_add(&c->text, text);
	snprintf(c->number, sizeof(c->number), "%llu", (unsigned long long)clock_mono_us());
	/* A path that does not fit is found out when the folder is opened. */
	if (config_state_path(a->cfg, "conf", c->dir, NULL) < 0)
		c->dir[0] = '\0';
	c->work.run = run_write;
	c->work.done = on_written;
	workers_submit(a->files, &c->work);
	return c;
}

/* --- commit ----------------------------------------------------------------------------------- */
static void on_keyd(void *arg, const struct ask_answer *answers, size_t n)
{
	struct carry *c = arg;

	if (answers->code != ERR_NONE)
		add_away(c, answers);
	finish(c);
}

static void on_committed(void *arg, const struct ask_answer *answers, size_t n)
{
	static const struct ipc_admin reload = {.count = 1, .words = {SPAN_INIT("reload")}};
	struct carry *c = arg;

	for (size_t i = 0; i < n; i++)
		if (answers[i].code != ERR_NONE) {
			log_error("settings-late", LOG_STR("process", answers[i].daemon),
			    LOG_STR("reason", answers[i].text));
			add_away(c, &answers[i]);
		}
	/* keyd keeps certificates for the host names that listeners have. */
	ask_all(c->a, NULL, keyd, 1, &reload, COMMIT_MS, on_keyd, c);
}

static int rename_next(int dir, struct err *err)
{
	if (renameat(dir, NEXT, dir, "settings.conf") < 0 || fsync(dir) < 0)
		return err_errno(err, errno, "settings.conf");
	return 0;
}

/* What can be undone is written before what it undoes. */
static void run_rename(struct work *w)
{
	struct carry *c = container_of(w, struct carry, work);
	int dir;

	if (!c->has_text)
		return;
	if (c->has_undo && revert_write(c->dir, c->a->revert_names, strbuf_span(&c->undo),
			       clock_now() + REVERT_SECONDS, &c->err) < 0)
		return;
	dir = file_open_folder(c->dir, &c->err);
	if (dir < 0)
		return;
	if (rename_next(dir, &c->err) < 0 && c->has_undo)
		(void)revert_remove(c->dir, NULL);
	close(dir);
}

static void on_renamed(struct work *w)
{
	struct carry *c = container_of(w, struct carry, work);

	if (c->err.code != ERR_NONE) {
		log_error("settings-failed", LOG_ERR(&c->err));
		abandon(c);
		return;
	}
	role_take_config(c->a->role, c->fresh);
	c->fresh = NULL;
	if (c->has_undo)
		revert_begin(c->a);
	if (c->a->is_stopping)
		finish(c); /* monitors read the files when they hear nothing */
	else if (c->prepared_count == 0)
		on_committed(c, NULL, 0);
	else
		tell(c, "commit", NULL, c->prepared, c->prepared_count, COMMIT_MS, on_committed);
}

void carry_commit(struct carry *c, struct span undo,
    void (*on_done)(void *arg, const struct err *err, const struct ask_answer *answers, size_t n),
    void *arg)
{
	c->on_done = on_done;
	c->done_arg = arg;
	c->has_undo = undo.p != NULL;
	strbuf_add(&c->undo, undo);
	c->work.run = run_rename;
	c->work.done = on_renamed;
	workers_submit(c->a->files, &c->work);
}
