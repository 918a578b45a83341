/*
 * set, unset, reload, get, diff. A change is checked on a worker (it reads files), prepared by
 * everybody, then its audit row is committed, then it is in force: a crash in between leaves an
 * entry in the trail without a change, never the other way round.
 */
#include "common/authd/carry.h"
#include "common/authd/revert.h"
#include "common/authd/session.h"
#include "common/authd/settings.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define EDITS_MAX (IPC_ADMIN_WORDS / 2)

struct edit {
	struct work work;
	struct call *call;
	struct authd *a;
	struct config *cfg; /* as it is now, from the files */
	struct config_edit edits[EDITS_MAX];
	size_t count; /* 0: a reload */
	struct strbuf text;
	struct strbuf undo; /* what comes back unless it is confirmed */
	struct carry *carry;
	bool needs_restart, can_lock_out;
	bool is_again; /* of settings whose change waits: what was before that comes back */
	struct err err;
};

static void edit_free(struct edit *e)
{
	config_unref(e->cfg);
	strbuf_clear(&e->text);
	strbuf_clear(&e->undo);
	mem_free(e);
}

static void on_dropped(void *arg, const struct err *err, const struct ask_answer *answers, size_t n)
{
	edit_free(arg);
}

/* The audit row could not be written: nothing happens. */
static void drop(void *arg)
{
	struct edit *e = arg;

	carry_abort(e->carry, on_dropped, e);
}

static void add_names(struct call *call, const struct edit *e)
{
	for (size_t i = 0; i < e->count; i++) {
		struct strbuf b;

		strbuf_init(&b, 64 * 1024);
		ipc_rec_text(&b, "name", e->edits[i].name);
		ipc_rec_number(&b, "restart", IPC_BOOL, e->needs_restart);
		ipc_rec_number(
		    &b, "confirm", IPC_NUMBER, e->can_lock_out ? revert_left(call->a) : 0);
		call_record(call, &b);
	}
}

static void on_done(void *arg, const struct err *err, const struct ask_answer *answers, size_t n)
{
	struct edit *e = arg;
	struct call *call = e->call;

	if (err->code != ERR_NONE) {
		call_fail_err(call, err);
		edit_free(e);
		return;
	}
	add_names(call, e);
	for (size_t i = 0; i < n; i++)
		ask_add_silent(call, &answers[i]);
	if (e->can_lock_out)
		call_ok(
		    call, "undone in %d s unless confirmed: mailsteadctl confirm", REVERT_SECONDS);
	else if (e->needs_restart)
		call_ok(call, "takes effect when the processes start again");
	else
		call_ok(call, "%s", "");
	edit_free(e);
}

static void after_audit(struct call *call)
{
	struct edit *e = call->arg;
	struct span undo = span_of(NULL);

	call->arg = NULL;
	if (e->can_lock_out) {
		undo = e->is_again ? strbuf_span(&e->undo) : config_texts(e->cfg).settings_text;
		if (!undo.p)
			undo = SPAN("");
		if (!e->is_again)
			call->a->revert_names[0] = '\0';
		for (size_t i = 0; i < e->count; i++)
			if (revert_is_needed(e->edits[i].name))
				revert_add_name(call->a, e->edits[i].name);
	}
	carry_commit(e->carry, undo, on_done, e);
}

static void on_prepared(void *arg, const struct err *err)
{
	struct edit *e = arg;
	struct call *call = e->call;

	if (err->code != ERR_NONE) {
		call_fail_err(call, err);
		edit_free(e);
		return;
	}
	call->arg = e;
	call->drop_arg = drop;
	call->after = after_audit;
	call_commit(call, "%s", "");
}

static void look_at(void *arg, const struct config_value *v)
{
	struct edit *e = arg;

	for (size_t i = 0; i < e->count; i++) {
		if (!span_eq(e->edits[i].name, span_of(v->name)))
			continue;
		e->needs_restart = e->needs_restart || v->is_restart;
		e->can_lock_out = e->can_lock_out || revert_is_needed(e->edits[i].name);
	}
}

/* A backup makes its folder, but not the one above it: that may be a disk. Where it cannot be seen
 * from here (another user's, a home) the backup itself says so. */
static int check_backup_folder(const struct config_edit *one, struct err *err)
{
	char path[CONFIG_PATH_MAX];
	ssize_t slash = span_rchr(one->value, '/');
	struct stat st;

	while (slash > 0 && (size_t)slash + 1 == one->value.n)
		slash = span_rchr(span_sub(one->value, 0, (size_t)slash), '/');
	if (slash <= 0 || (size_t)slash >= sizeof(path))
		return 0;
	snprintf(path, sizeof(path), "%.*s", (int)slash, one->value.p);
	if (stat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR
			   ? err_set(err, ERR_INVALID,
				 "backup.folder: there is no folder %.150s; is the disk mounted?",
				 path)
			   : 0;
	return S_ISDIR(st.st_mode)
		   ? 0
		   : err_set(err, ERR_INVALID, "backup.folder: %.150s is no folder", path);
}

static void run_check(struct work *w)
{
	struct edit *e = container_of(w, struct edit, work);
	char dir[CONFIG_PATH_MAX];
	int64_t until;

	if (config_load(config_path(e->a->cfg), &e->cfg, &e->err) < 0 || e->count == 0)
		return;
	for (size_t i = 0; i < e->count; i++)
		if (span_eq(e->edits[i].name, SPAN("backup.folder")) && e->edits[i].value.p &&
		    check_backup_folder(&e->edits[i], &e->err) < 0)
			return;
	if (config_edit(e->cfg, e->edits, e->count, &e->text, &e->err) == 0)
		config_each(e->cfg, look_at, e);
	if (e->is_again && e->err.code == ERR_NONE &&
	    config_state_path(e->a->cfg, "conf", dir, &e->err) == 0)
		(void)revert_read(dir, &e->undo, NULL, &until, &e->err);
}

static void on_checked(struct work *w)
{
	struct edit *e = container_of(w, struct edit, work);

	if (e->err.code == ERR_NONE && e->a->is_stopping)
		err_set(&e->err, ERR_TEMP, "authd is stopping");
	if (e->err.code != ERR_NONE) {
		call_fail_err(e->call, &e->err);
		edit_free(e);
		return;
	}
	e->carry =
	    carry_start(e->a, e->count > 0 ? strbuf_span(&e->text) : span_of(NULL), on_prepared, e);
}

static struct edit *edit_new(struct call *call)
{
	struct edit *e = mem_zalloc(sizeof(*e));

	e->call = call;
	e->a = call->a;
	strbuf_init(&e->text, CONFIG_FILE_MAX + 4096);
	strbuf_init(&e->undo, CONFIG_FILE_MAX + 1024);
	e->work.run = run_check;
	e->work.done = on_checked;
	return e;
}

/* What decides which programs run, and as whom: only whoever has a shell on the machine may. */
static bool is_for_root(struct span name)
{
	return span_starts(name, SPAN("paths.")) || span_starts(name, SPAN("process.")) ||
	       span_eq(name, SPAN("acme.hook"));
}

/* Whom we ask for certificates and whom we trust for it, and where all mail is copied to: not with
 * a stolen token. */
static bool needs_password(struct span name)
{
	return span_eq(name, SPAN("acme.url")) || span_eq(name, SPAN("acme.ca_file")) ||
	       span_eq(name, SPAN("backup.folder"));
}

static bool may_edit(struct call *call, uint32_t step)
{
	for (uint32_t i = 0; call->is_web && i < call->arg_count; i += step) {
		if (is_for_root(call->args[i])) {
			call_fail(call, ERR_DENIED, "%.*s is not for the web: mailsteadctl set",
			    SPAN_FMT(call->args[i]));
			return false;
		}
		if (needs_password(call->args[i]) && !session_is_fresh(call->a, call->cmd.token)) {
			call_fail(call, ERR_DENIED,
			    "sign in again first: %.*s asks for the password",
			    SPAN_FMT(call->args[i]));
			return false;
		}
	}
	return true;
}

/* step words an edit: a name and, with two, its value. */
static void start_edit(struct call *call, uint32_t step)
{
	struct edit *e;

	if (!may_edit(call, step))
		return;
	for (uint32_t i = 0; revert_left(call->a) > 0 && i < call->arg_count; i += step) {
		if (revert_has(call->a, call->args[i]))
			continue;
		call_fail(call, ERR_BUSY,
		    "a change of %.200s waits to be confirmed, %u s more: mailsteadctl confirm",
		    call->a->revert_names, (unsigned)revert_left(call->a));
		return;
	}
	e = edit_new(call);
	e->is_again = revert_left(call->a) > 0;
	for (uint32_t i = 0; i + step <= call->arg_count; i += step) {
		struct config_edit *one = &e->edits[e->count++];

		one->name = call->args[i];
		if (step == 2)
			one->value = call->args[i + 1].p ? call->args[i + 1] : SPAN("");
	}
	workers_submit(call->a->files, &e->work);
}

void verb_set(struct call *call)
{
	if (call->arg_count % 2 != 0)
		call_fail(call, ERR_INVALID, "usage: set %s", call->verb->usage);
	else
		start_edit(call, 2);
}

void verb_unset(struct call *call)
{
	start_edit(call, 1);
}

void verb_reload(struct call *call)
{
	workers_submit(call->a->files, &edit_new(call)->work);
}

/* --- SIGHUP ----------------------------------------------------------------------------------- */
struct hangup {
	struct authd *a;
	struct carry *carry;
};

static void hangup_ends(struct hangup *h)
{
	struct authd *a = h->a;

	mem_free(h);
	a->is_busy = false;
	call_next(a);
}

static void on_hangup_done(
    void *arg, const struct err *err, const struct ask_answer *answers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		log_warning("reload-away", LOG_STR("process", answers[i].daemon),
		    LOG_STR("reason", answers[i].text));
	hangup_ends(arg);
}

static void on_hangup_prepared(void *arg, const struct err *err)
{
	struct hangup *h = arg;

	if (err->code == ERR_NONE) {
		carry_commit(h->carry, span_of(NULL), on_hangup_done, h);
		return;
	}
	log_error("reload-refused", LOG_ERR(err));
	hangup_ends(h);
}

void settings_hangup(struct authd *a)
{
	struct hangup *h;

	if (a->is_stopping)
		return;
	if (a->current || a->is_busy) {
		timer_set(&a->hangup, 200);
		return;
	}
	a->is_busy = true;
	h = mem_zalloc(sizeof(*h));
	h->a = a;
	h->carry = carry_start(a, span_of(NULL), on_hangup_prepared, h);
}

/* --- showing ---------------------------------------------------------------------------------- */
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
		call_fail(call, ERR_NOT_FOUND, "no such setting: %.*s", SPAN_FMT(s.name));
	else
		call_ok(call, "%s", "");
}

void verb_diff(struct call *call)
{
	struct showing s = {.call = call, .only_changed = true};

	config_each(call->a->cfg, show, &s);
	call_ok(call, "%s", "");
}
