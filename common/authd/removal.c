#include "common/authd/removal.h"

#include "common/authd/ask.h"
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <stdio.h>

#define LOOK_MS (10 * 60 * 1000)
#define FAILED_MS 30000 /* whoever does the work may be starting */
#define TURN_MS 200     /* an administrator goes first */
#define STEP_MS 60000

uint64_t removal_time(const struct authd *a, const struct account *acc)
{
	if (acc->row.flags & USER_GOING)
		return acc->row.deleting;
	return acc->row.deleting + config_u64(a->cfg, SET_STORE_UNDELETE_DAYS) * 86400;
}

/* --- the next one ----------------------------------------------------------------------------- */
struct search {
	const struct authd *a;
	uint64_t now;
	struct account *going, *due; /* the lowest numbers */
};

static void search_one(struct span key, void *value, void *arg)
{
	struct search *s = arg;
	struct account *acc = value;
	struct account **which = acc->row.flags & USER_GOING ? &s->going : &s->due;

	if (account_is_deleting(acc) && removal_time(s->a, acc) <= s->now &&
	    (!*which || (*which)->number > acc->number))
		*which = acc;
}

/* Changes of rows are made one after the other. */
static bool take_turn(struct authd *a)
{
	if (a->current || a->is_busy || !list_is_empty(&a->changes)) {
		timer_set(&a->removal.look, TURN_MS);
		return false;
	}
	a->is_busy = true;
	return true;
}

static void on_changed(void *arg, const struct err *err)
{
	struct authd *a = arg;

	a->is_busy = false;
	a->removal.is_busy = false;
	if (err->code != ERR_NONE)
		log_error("account-removal", LOG_ERR(err));
	timer_set(&a->removal.look, err->code != ERR_NONE ? FAILED_MS : 0);
	call_next(a);
}

static void commit(struct authd *a, struct change *c, const struct account *acc, const char *result)
{
	char words[NAME_TEXT_MAX + 32];

	snprintf(words, sizeof(words), "account remove %.*s", SPAN_FMT(acc->row.address));
	audit_add(c, a, SPAN("authd"), SPAN(""), span_of(words), span_of(result));
	log_info("account-removal", LOG_U64("account", acc->number),
	    LOG_SPAN("address", acc->row.address), LOG_STR("result", result));
	a->removal.is_busy = true;
	change_commit(c, on_changed, a);
}

static void mark_going(struct authd *a, const struct account *acc)
{
	struct user_row row = acc->row;
	struct change *c;

	if (!take_turn(a))
		return;
	c = change_new(a);
	row.flags |= USER_GOING;
	account_put(c, acc->number, &row);
	commit(a, c, acc, "the time for undelete is over: its mail is being removed");
}

/* --- the end: its rows ------------------------------------------------------------------------ */
static void del_number(struct change *c, enum row_kind kind, uint64_t number)
{
	struct db_key key;

	row_key_number(&key, kind, number);
	change_del(c, &key);
}

static void del_rows(struct change *c, const struct account *acc)
{
	static const enum row_kind kinds[] = {ROW_TOTP, ROW_LIMITS, ROW_GRANTS, ROW_SENT};
	struct db_key key;

	LIST_EACH (it, &acc->apps) {
		const struct app *app = container_of(it, struct app, link);

		row_key_app(&key, ROW_APP, acc->number, app->id);
		change_del(c, &key);
		row_key_app(&key, ROW_APP_USED, acc->number, app->id);
		change_del(c, &key);
	}
	LIST_EACH (it, &acc->known) {
		const struct known *k = container_of(it, struct known, link);

		row_key_known(&key, acc->number, span_make(k->net, k->n));
		change_del(c, &key);
	}
	LIST_EACH (it, &acc->parted) {
		const struct parted *p = container_of(it, struct parted, link);

		row_key_parted(&key, acc->number, p->was_all, p->key);
		change_del(c, &key);
	}
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		del_number(c, kinds[i], acc->number);
	del_number(c, ROW_USER, acc->number);
}

static void finish(struct authd *a, const struct account *acc)
{
	struct change *c;

	if (!take_turn(a))
		return;
	c = change_new(a);
	del_rows(c, acc);
	commit(a, c, acc, "ok: its mail is removed");
}

/* --- asking smtpd-local ----------------------------------------------------------------------- */
static void ask(struct authd *a, const char *what);

static bool is_done(const struct ask_answer *answer)
{
	struct dec rows = dec_of(strbuf_span(&answer->records));
	struct ipc_value v;

	while (rows.in.n > 0 && dec_ok(&rows)) {
		struct dec row = dec_of(dec_bytes(&rows));

		while (ipc_rec_next(&row, &v))
			if (span_eq(v.name, SPAN("done")))
				return v.number != 0;
	}
	return false;
}

static void on_answer(void *arg, const struct ask_answer *answer, size_t n)
{
	struct authd *a = arg;
	bool was_queue = a->removal.is_queue;

	a->removal.is_busy = false;
	if (a->is_stopping)
		return;
	if (answer->code != ERR_NONE) {
		log_warning("account-removal", LOG_U64("account", a->removal.number),
		    LOG_STR("reason", answer->text));
		timer_set(&a->removal.look, FAILED_MS);
		return;
	}
	if (was_queue) {
		ask(a, "store");
		return;
	}
	a->removal.is_done = is_done(answer);
	timer_set(&a->removal.look, 0);
}

static void ask(struct authd *a, const char *what)
{
	static const char *const daemons[] = {"smtpd-local"};
	struct ipc_admin cmd = {.count = 3, .words = {SPAN_INIT("remove-account")}};
	char number[24];

	snprintf(number, sizeof(number), "%llu", (unsigned long long)a->removal.number);
	cmd.words[1] = span_of(number);
	cmd.words[2] = span_of(what);
	a->removal.is_busy = true;
	a->removal.is_queue = span_eq(cmd.words[2], SPAN("queue"));
	ask_all(a, NULL, daemons, 1, &cmd, STEP_MS, on_answer, a);
}

static void go_on(struct authd *a, const struct account *acc)
{
	bool is_same = a->removal.number == acc->number;

	if (is_same && a->removal.is_done) {
		finish(a, acc);
		return;
	}
	a->removal.number = acc->number;
	a->removal.is_done = false;
	ask(a, is_same ? "store" : "queue");
}

static void on_look(void *arg)
{
	struct authd *a = arg;
	struct search s = {.a = a, .now = (uint64_t)clock_now()};

	if (a->removal.is_busy || a->is_stopping || a->role->is_draining)
		return;
	hash_each(a->index.numbers, search_one, &s);
	if (s.going)
		go_on(a, s.going);
	else if (s.due)
		mark_going(a, s.due);
	else
		timer_set(&a->removal.look, LOOK_MS);
}

void removal_look(struct authd *a)
{
	if (a->removal.look.loop && !a->removal.is_busy)
		timer_set(&a->removal.look, 0);
}

void removal_open(struct authd *a)
{
	timer_init(&a->removal.look, a->loop, on_look, a);
	timer_set(&a->removal.look, TURN_MS);
}

void removal_close(struct authd *a)
{
	if (a->removal.look.loop)
		timer_clear(&a->removal.look);
}
