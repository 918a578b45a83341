/*
 * set, unset, get, diff. A change is checked on a worker (it reads files), then the audit row is
 * committed, then settings.conf is replaced (temporary file, fsync, rename, fsync of the folder): a
 * crash in between leaves an entry in the trail without a change, never the other way round.
 */
#include "common/authd/settings.h"

#include "common/base/mem.h"
#include "common/daemon/file.h"
#include "common/log/log.h"

#include <stdio.h>
#include <unistd.h>

#define SETTINGS_MAX (1024 * 1024)

struct edit {
	struct work work;
	struct call *call;
	struct config *cfg, *fresh;
	struct span name, value; /* of the call; value.p NULL: unset */
	struct strbuf text;
	char dir[CONFIG_PATH_MAX];
	struct err err;
};

int settings_write(const char *dir, struct span text, struct err *err)
{
	int fd = file_open_folder(dir, err);
	int result;

	if (fd < 0)
		return -1;
	/* Every daemon reads it, whatever the umask says; there are no secrets in it. */
	result = file_write(fd, "settings.conf", 0644, text, err);
	if (result < 0)
		err_wrap(err, "%s", dir);
	close(fd);
	return result;
}

/* --- the steps ---------------------------------------------------------------------------------
 */
static void edit_free(struct edit *e)
{
	config_unref(e->cfg);
	strbuf_clear(&e->text);
	mem_free(e);
}

static void run_write(struct work *w)
{
	struct edit *e = container_of(w, struct edit, work);

	if (settings_write(e->dir, strbuf_span(&e->text), &e->err) == 0)
		config_load(config_path(e->cfg), &e->fresh, &e->err);
}

struct restart_search {
	struct span name;
	bool is_restart;
};

static void search_restart(void *arg, const struct config_value *v)
{
	struct restart_search *s = arg;

	if (span_eq(s->name, span_of(v->name)))
		s->is_restart = v->is_restart;
}

static void on_written(struct work *w)
{
	struct edit *e = container_of(w, struct edit, work);
	struct call *call = e->call;
	struct restart_search s = {.name = e->name};
	struct strbuf b;

	if (!e->fresh) {
		log_error("auth-settings", LOG_SPAN("name", e->name), LOG_ERR(&e->err));
		call_fail_err(call, &e->err);
		edit_free(e);
		return;
	}
	authd_take_config(call->a, e->fresh);
	config_each(e->fresh, search_restart, &s);
	strbuf_init(&b, 64 * 1024);
	ipc_rec_text(&b, "name", e->name);
	ipc_rec_number(&b, "restart", IPC_BOOL, s.is_restart);
	call_record(call, &b);
	edit_free(e);
	if (s.is_restart)
		call_ok(call, "takes effect when the processes start again");
	else
		forward_reload(call); /* in every process now */
}

static void after_audit(struct call *call)
{
	struct edit *e = call->arg;

	if (call->a->is_stopping) {
		call_fail(call, ERR_TEMP, "authd is stopping");
		return;
	}
	call->arg = NULL;
	e->work.run = run_write;
	e->work.done = on_written;
	workers_submit(call->a->files, &e->work);
}

static void run_check(struct work *w)
{
	struct edit *e = container_of(w, struct edit, work);

	config_edit(e->cfg, e->name, e->value, &e->text, &e->err);
}

static void on_checked(struct work *w)
{
	struct edit *e = container_of(w, struct edit, work);
	struct call *call = e->call;

	if (e->err.code != ERR_NONE) {
		call_fail_err(call, &e->err);
		edit_free(e);
		return;
	}
	call->arg = e;
	call->after = after_audit;
	call->drop_arg = settings_drop;
	call_commit(call, "%s", "");
}

/* The commit failed: nothing was written. */
void settings_drop(void *arg)
{
	edit_free(arg);
}

static void start_edit(struct call *call, struct span value)
{
	struct edit *e = mem_zalloc(sizeof(*e));
	struct err err = ERR_INIT;

	e->call = call;
	e->name = call->args[0];
	e->value = value;
	e->cfg = config_ref(call->a->cfg);
	strbuf_init(&e->text, SETTINGS_MAX);
	if (config_state_path(e->cfg, "conf", e->dir, &err) < 0) {
		call_fail_err(call, &err);
		edit_free(e);
		return;
	}
	e->work.run = run_check;
	e->work.done = on_checked;
	workers_submit(call->a->files, &e->work);
}

void verb_set(struct call *call)
{
	start_edit(call, span_make(call->args[1].p ? call->args[1].p : "", call->args[1].n));
}

void verb_unset(struct call *call)
{
	start_edit(call, span_of(NULL));
}

/* --- showing -----------------------------------------------------------------------------------
 */
struct showing {
	struct call *call;
	struct span name;
	bool only_changed;
	size_t count;
};

static void show(void *arg, const struct config_value *v)
{
	struct showing *s = arg;
	bool is_default = v->line == 0 && span_eq(span_of(v->origin), SPAN("default"));
	struct strbuf b;

	if ((s->name.p && !span_eq(s->name, span_of(v->name))) || (s->only_changed && is_default))
		return;
	strbuf_init(&b, 16 * 1024);
	ipc_rec_text(&b, "name", span_of(v->name));
	ipc_rec_text(&b, "value", span_of(v->value));
	ipc_rec_text(&b, "type", span_of(v->type));
	ipc_rec_text(&b, "origin", span_of(v->origin));
	ipc_rec_number(&b, "line", IPC_NUMBER, v->line);
	ipc_rec_number(&b, "restart", IPC_BOOL, v->is_restart);
	ipc_rec_text(&b, "help", span_of(v->help));
	call_record(s->call, &b);
	s->count++;
}

void verb_get(struct call *call)
{
	struct showing s = {.call = call};

	if (call->arg_count > 0)
		s.name = call->args[0];
	config_each(call->a->cfg, show, &s);
	if (call->arg_count > 0 && s.count == 0)
		call_fail(call, ERR_NOT_FOUND, "no such setting");
	else
		call_ok(call, "%s", "");
}

void verb_diff(struct call *call)
{
	struct showing s = {.call = call, .only_changed = true};

	config_each(call->a->cfg, show, &s);
	call_ok(call, "%s", "");
}
