#include "common/authd/revert.h"

#include "common/authd/carry.h"
#include "common/base/mem.h"
#include "common/daemon/file.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAME "settings.revert"
#define HEAD "# Undone at "
#define NAMES "# Changed: "
#define BUSY_MS 200
#define AGAIN_MS 10000

bool revert_is_needed(struct span name)
{
	/* mailsteadctl always gets in: only the web admin can be lost. */
	return span_starts(name, SPAN("web."));
}

/* --- the file --------------------------------------------------------------------------------- */
int revert_write(
    const char *dir, const char *names, struct span undo, int64_t until, struct err *err)
{
	int fd = file_open_folder(dir, err);
	struct strbuf b;
	int result;

	if (fd < 0)
		return -1;
	strbuf_init(&b, CONFIG_FILE_MAX + 1024);
	strbuf_addf(&b, HEAD "%lld unless confirmed.\n" NAMES "%s\n", (long long)until, names);
	strbuf_add(&b, undo);
	result = file_write(fd, NAME, 0600, strbuf_span(&b), err);
	strbuf_clear(&b);
	close(fd);
	return result;
}

/* The second line, which files of older versions do not have. */
static void take_names(struct span *rest, struct strbuf *names)
{
	struct span line, all = *rest;

	if (!span_starts(all, SPAN(NAMES)) || !span_split(&all, '\n', &line))
		return;
	if (names)
		strbuf_add(names, span_from(line, sizeof(NAMES) - 1));
	*rest = all.p ? all : span_from(*rest, rest->n);
}

int revert_read(
    const char *dir, struct strbuf *undo, struct strbuf *names, int64_t *until, struct err *err)
{
	int fd = file_open_folder(dir, err);
	struct span rest, head = SPAN(HEAD);
	uint64_t t;
	int result;

	if (fd < 0)
		return -1;
	strbuf_reset(undo);
	result = file_read(fd, NAME, undo, err);
	close(fd);
	if (result < 0)
		return -1;
	rest = strbuf_span(undo);
	if (!span_starts(rest, head))
		return err_set(err, ERR_INVALID, "%s/%s: not what mailstead wrote", dir, NAME);
	rest = span_from(rest, head.n);
	if (!span_take_u64(&rest, INT64_MAX, &t))
		return err_set(err, ERR_INVALID, "%s/%s: not what mailstead wrote", dir, NAME);
	*until = (int64_t)t;
	rest = span_from(rest, (size_t)(span_chr(rest, '\n') + 1));
	take_names(&rest, names);
	strbuf_drop_front(undo, undo->n - rest.n);
	return 0;
}

int revert_remove(const char *dir, struct err *err)
{
	int fd = file_open_folder(dir, err);
	int result = 0;

	if (fd < 0)
		return -1;
	if (unlinkat(fd, NAME, 0) < 0 && errno != ENOENT)
		result = err_errno(err, errno, "%s/%s", dir, NAME);
	else if (fsync(fd) < 0)
		result = err_errno(err, errno, "%s", dir);
	close(fd);
	return result;
}

/* --- undoing ---------------------------------------------------------------------------------- */
/* Everything that undoing needs while it runs; a->is_busy meanwhile. */
struct undoing {
	struct authd *a;
	struct work work;
	char dir[CONFIG_PATH_MAX];
	struct strbuf text;
	struct carry *carry;
	struct err err;
};

/* Nobody's command: the trail has it all the same. */
static void note_revert(struct authd *a)
{
	struct change *c = change_new(a);
	struct strbuf words;

	strbuf_init(&words, 1024);
	strbuf_addf(&words, "revert %s", a->revert_names);
	(void)audit_add(
	    c, a, SPAN("authd"), SPAN(""), strbuf_span(&words), SPAN("ok: not confirmed in time"));
	strbuf_clear(&words);
	change_commit_lazy(c);
}

static void undone(struct undoing *u)
{
	struct authd *a = u->a;

	if (u->err.code == ERR_NONE) {
		a->revert_at = 0;
		note_revert(a);
		log_warning("settings-reverted", LOG_STR("settings", a->revert_names),
		    LOG_STR("reason", "not confirmed in time"));
	} else {
		log_error("settings-revert-failed", LOG_ERR(&u->err));
		if (!a->is_stopping)
			timer_set(&a->revert, AGAIN_MS);
	}
	strbuf_clear(&u->text);
	mem_free(u);
	a->is_busy = false;
	call_next(a);
}

static void run_remove(struct work *w)
{
	struct undoing *u = container_of(w, struct undoing, work);

	(void)revert_remove(u->dir, &u->err);
}

static void on_removed(struct work *w)
{
	undone(container_of(w, struct undoing, work));
}

static void on_carried(void *arg, const struct err *err, const struct ask_answer *answers, size_t n)
{
	struct undoing *u = arg;

	u->err = *err;
	if (err->code != ERR_NONE) {
		undone(u);
		return;
	}
	u->work.run = run_remove;
	u->work.done = on_removed;
	workers_submit(u->a->files, &u->work);
}

static void on_prepared(void *arg, const struct err *err)
{
	struct undoing *u = arg;

	u->err = *err;
	if (err->code != ERR_NONE)
		undone(u);
	else
		carry_commit(u->carry, span_of(NULL), on_carried, u);
}

static void run_read(struct work *w)
{
	struct undoing *u = container_of(w, struct undoing, work);
	int64_t until;

	(void)revert_read(u->dir, &u->text, NULL, &until, &u->err);
}

static void on_read(struct work *w)
{
	struct undoing *u = container_of(w, struct undoing, work);

	if (u->err.code == ERR_NONE && u->a->is_stopping)
		err_set(&u->err, ERR_TEMP, "authd is stopping");
	if (u->err.code != ERR_NONE)
		undone(u);
	else
		u->carry = carry_start(u->a, strbuf_span(&u->text), on_prepared, u);
}

static void on_revert(void *arg)
{
	struct authd *a = arg;
	struct undoing *u;

	if (a->current || a->is_busy) {
		timer_set(&a->revert, BUSY_MS);
		return;
	}
	if (a->revert_at == 0 || a->is_stopping)
		return; /* confirmed meanwhile */
	a->is_busy = true;
	u = mem_zalloc(sizeof(*u));
	u->a = a;
	strbuf_init(&u->text, CONFIG_FILE_MAX + 1024);
	if (config_state_path(a->cfg, "conf", u->dir, NULL) < 0)
		u->dir[0] = '\0';
	u->work.run = run_read;
	u->work.done = on_read;
	workers_submit(a->files, &u->work);
}

void revert_begin(struct authd *a)
{
	a->revert_at = clock_mono_ms() + REVERT_SECONDS * 1000;
	timer_set(&a->revert, REVERT_SECONDS * 1000);
}

bool revert_has(const struct authd *a, struct span name)
{
	struct span rest = span_of(a->revert_names);
	struct span word;

	while (span_split(&rest, ' ', &word))
		if (span_eq(word, name))
			return true;
	return false;
}

void revert_add_name(struct authd *a, struct span name)
{
	size_t n = revert_left(a) > 0 ? strlen(a->revert_names) : 0;

	if (revert_left(a) > 0 && revert_has(a, name))
		return;
	snprintf(a->revert_names + n, sizeof(a->revert_names) - n, "%s%.*s", n > 0 ? " " : "",
	    SPAN_FMT(name));
}

uint64_t revert_left(const struct authd *a)
{
	uint64_t now = clock_mono_ms();

	if (a->revert_at == 0)
		return 0;
	return a->revert_at > now ? (a->revert_at - now + 999) / 1000 : 1;
}

/* The time that is left by the wall clock, which may have been set, or lost in a power cut. */
static uint64_t ms_until(int64_t until)
{
	int64_t left = until - clock_now();

	if (left <= 0)
		return 1;
	return left > REVERT_SECONDS ? REVERT_SECONDS * 1000 : (uint64_t)left * 1000;
}

int revert_open(struct authd *a, struct err *err)
{
	char dir[CONFIG_PATH_MAX];
	struct err why = ERR_INIT;
	struct strbuf text, names;
	int64_t until = 0;
	int result = 0;

	timer_init(&a->revert, a->loop, on_revert, a);
	if (config_state_path(a->cfg, "conf", dir, err) < 0)
		return -1;
	strbuf_init(&text, CONFIG_FILE_MAX + 1024);
	strbuf_init(&names, sizeof(a->revert_names) - 1);
	if (revert_read(dir, &text, &names, &until, &why) == 0) {
		uint64_t left = ms_until(until);

		snprintf(a->revert_names, sizeof(a->revert_names), "%s", names.p);
		a->revert_at = clock_mono_ms() + left;
		timer_set(&a->revert, left);
	} else if (why.code != ERR_NOT_FOUND) {
		result = err_set(err, why.code, "%s", why.text);
	}
	strbuf_clear(&text);
	strbuf_clear(&names);
	return result;
}

void revert_close(struct authd *a)
{
	if (a->revert.loop)
		timer_clear(&a->revert);
}

/* --- verbs ------------------------------------------------------------------------------------ */
struct confirming {
	struct work work;
	struct call *call;
	char dir[CONFIG_PATH_MAX];
	struct err err;
};

static void run_confirm(struct work *w)
{
	struct confirming *k = container_of(w, struct confirming, work);

	(void)revert_remove(k->dir, &k->err);
}

static void on_confirmed(struct work *w)
{
	struct confirming *k = container_of(w, struct confirming, work);
	struct call *call = k->call;
	struct err err = k->err;

	mem_free(k);
	if (err.code != ERR_NONE) {
		call_fail_err(call, &err);
		return;
	}
	timer_stop(&call->a->revert);
	call->a->revert_at = 0;
	call_commit(call, "kept: %.300s", call->a->revert_names);
}

/* A browser proves that it gets in by the port through which it asks. */
static bool comes_through_the_change(struct call *call)
{
	uint64_t port;

	if (!call->is_web)
		return true;
	return call->arg_count == 1 && span_u64(call->args[0], 65535, &port) &&
	       port == config_u64(call->a->cfg, SET_WEB_PORT);
}

void verb_confirm(struct call *call)
{
	struct confirming *k;

	if (revert_left(call->a) == 0) {
		call_fail(call, ERR_NOT_FOUND, "no change waits to be confirmed");
		return;
	}
	if (!comes_through_the_change(call)) {
		call_fail(call, ERR_DENIED, "confirm it through the new port");
		return;
	}
	k = mem_zalloc(sizeof(*k));
	k->call = call;
	if (config_state_path(call->a->cfg, "conf", k->dir, NULL) < 0)
		k->dir[0] = '\0';
	k->work.run = run_confirm;
	k->work.done = on_confirmed;
	workers_submit(call->a->files, &k->work);
}

void verb_confirm_status(struct call *call)
{
	uint64_t left = revert_left(call->a);
	struct strbuf b;

	if (left > 0) {
		strbuf_init(&b, 1024);
		ipc_rec_text(&b, "settings", span_of(call->a->revert_names));
		ipc_rec_number(&b, "seconds", IPC_NUMBER, left);
		call_record(call, &b);
	}
	call_ok(call, "%s", left > 0 ? "" : "no change waits to be confirmed");
}
