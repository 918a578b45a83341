/* account remove, restore, kick, and the list of those that were removed. */
#include "common/authd/args.h"
#include "common/authd/ask.h"
#include "common/authd/removal.h"
#include "common/base/mem.h"
#include "common/event/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define KICK_MS 3000

/* --- sessions that end ------------------------------------------------------------------------ */
struct kick {
	uint64_t number;
};

/* A monitor that does not answer has no sessions. */
static void on_kicked(void *arg, const struct ask_answer *answers, size_t n)
{
	struct call *call = arg;

	call_ok(call, "%s", call->ok_text);
}

static void kick(struct call *call)
{
	static const char *const monitors[] = {"imapd", "pop3d", "smtpd"};
	const struct kick *k = call->arg;
	struct ipc_admin what = {.count = 2, .words = {SPAN_INIT("kick")}};
	char number[24];

	if (call->a->is_stopping) {
		call_ok(call, "%s", call->ok_text);
		return;
	}
	snprintf(number, sizeof(number), "%llu", (unsigned long long)k->number);
	what.words[1] = span_of(number);
	call_leave_queue(call);
	ask_all(call->a, call, monitors, ARRAY_LEN(monitors), &what, KICK_MS, on_kicked, call);
}

void account_kick_after(struct call *call, uint64_t number)
{
	struct kick *k = mem_zalloc(sizeof(*k));

	k->number = number;
	call->arg = k;
	call->arg_n = sizeof(*k);
	call->after = kick;
}

void verb_account_kick(struct call *call)
{
	struct account *acc = arg_account(call, 0);

	if (!acc)
		return;
	account_forget_logins(call, acc);
	account_kick_after(call, acc->number);
	call_commit(call, "sessions of %.*s have been ended", SPAN_FMT(acc->row.address));
}

/* --- aliases that lead to it ------------------------------------------------------------------ */
struct parting {
	struct resolver rv;
	const struct account *acc;
	struct change *c;
	size_t gone, shortened;
	bool is_changed;
};

static bool leads_away(const struct parting *p, struct span target)
{
	struct found f;
	struct name nm;

	if (name_parse(&nm, target, NULL) < 0)
		return false;
	resolve_step(&p->rv, &nm, &f);
	return f.account == p->acc || (f.alias && f.alias->is_going);
}

static uint32_t count_away(const struct parting *p, const struct alias *al)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < al->count; i++)
		n += leads_away(p, al->targets[i]);
	return n;
}

static void forget_going(struct span key, void *value, void *arg)
{
	((struct alias *)value)->is_going = false;
}

static void find_going(struct span key, void *value, void *arg)
{
	struct parting *p = arg;
	struct alias *al = value;

	if (al->is_going || count_away(p, al) < al->count)
		return;
	al->is_going = true;
	p->is_changed = true;
}

/* The alias without what leads away, or not at all; and what it takes to make it whole again. */
static void part(struct span key, void *value, void *arg)
{
	struct span stays[ALIAS_TARGETS_MAX], goes[ALIAS_TARGETS_MAX];
	struct parting *p = arg;
	const struct alias *al = value;
	uint32_t stay_count = 0, go_count = 0;
	struct db_key row_key;
	struct strbuf b;

	for (uint32_t i = 0; i < al->count; i++) {
		if (al->is_going || leads_away(p, al->targets[i]))
			goes[go_count++] = al->targets[i];
		else
			stays[stay_count++] = al->targets[i];
	}
	if (go_count == 0)
		return;
	strbuf_init(&b, 128 * 1024);
	row_enc_alias_until(&b, goes, go_count, al->until);
	row_key_parted(&row_key, p->acc->number, al->is_going, al->address);
	change_put(p->c, &row_key, &b);
	row_key_text(&row_key, ROW_ALIAS, al->address);
	if (al->is_going) {
		change_del(p->c, &row_key);
		p->gone++;
		return;
	}
	strbuf_init(&b, 128 * 1024);
	row_enc_alias_until(&b, stays, stay_count, al->until);
	change_put(p->c, &row_key, &b);
	p->shortened++;
}

static void part_aliases(struct parting *p)
{
	struct hash *aliases = p->rv.ix->aliases;

	hash_each(aliases, forget_going, NULL);
	do {
		p->is_changed = false;
		hash_each(aliases, find_going, p);
	} while (p->is_changed);
	hash_each(aliases, part, p);
	hash_each(aliases, forget_going, NULL);
}

/* --- account remove --------------------------------------------------------------------------- */
static bool take_now(struct call *call, bool *is_now)
{
	*is_now = call->arg_count > 1 && span_eq(call->args[1], SPAN("--now"));
	if (call->arg_count == 1 || *is_now)
		return true;
	call_fail(call, ERR_INVALID, "the only option is --now");
	return false;
}

static void look_then_kick(struct call *call)
{
	removal_look(call->a);
	kick(call);
}

static void say_removed(struct call *call, const struct parting *p, bool is_now, uint64_t days)
{
	char aliases[120] = "", until[80];

	if (p->gone + p->shortened > 0)
		snprintf(aliases, sizeof(aliases),
		    "; aliases that led only to it and are gone: %zu, that lead elsewhere still: "
		    "%zu",
		    p->gone, p->shortened);
	if (is_now)
		snprintf(until, sizeof(until), "its mail is being removed, for good");
	else
		snprintf(until, sizeof(until), "it can be restored for %llu days",
		    (unsigned long long)days);
	call_commit(
	    call, "account %.*s removed; %s%s", SPAN_FMT(p->acc->row.address), until, aliases);
}

/* One that was removed already, and is to go now. */
static void go_now(struct call *call, const struct account *acc)
{
	struct user_row row = acc->row;

	row.flags |= USER_GOING;
	account_put(call_change(call), acc->number, &row);
	account_kick_after(call, acc->number);
	call->after = look_then_kick;
	call_commit(
	    call, "account %.*s: its mail is being removed, for good", SPAN_FMT(acc->row.address));
}

static struct account *find_removed(struct call *call, struct span arg, bool *is_several);

static void fail_several(struct call *call)
{
	call_fail(call, ERR_INVALID,
	    "several accounts with that address were removed: give the number that account list "
	    "--removed shows");
}

/* A printer that sends as this account would be refused from then on. */
static bool is_of_a_device(struct call *call, const struct account *acc)
{
	for (size_t i = 0; i < config_listener_count(call->a->cfg); i++) {
		const struct config_listener *l = config_listener(call->a->cfg, i);

		if (l->role != ROLE_DEVICE ||
		    !span_ieq(span_of(l->device_sender), acc->row.address))
			continue;
		call_fail(call, ERR_BUSY,
		    "listener.%s.device_sender names this account: change or unset it first",
		    l->name);
		return true;
	}
	return false;
}

void verb_account_remove(struct call *call)
{
	uint64_t days = config_u64(call->a->cfg, SET_STORE_UNDELETE_DAYS);
	struct parting p = {.rv = authd_resolver(call->a)};
	bool is_now, is_several = false;
	struct account *acc;
	struct user_row row;
	struct db_key key;

	if (!take_now(call, &is_now))
		return;
	acc = is_now ? find_removed(call, call->args[0], &is_several) : NULL;
	/* An address is first of all that of who has it now; a number says which one is meant. */
	if (acc && (span_chr(call->args[0], '@') < 0 ||
		       !index_account(&call->a->index, acc->row.address))) {
		if (is_several)
			fail_several(call);
		else
			go_now(call, acc);
		return;
	}
	acc = arg_account(call, 0);
	if (!acc || account_is_own(call, acc) || is_of_a_device(call, acc))
		return;
	p.acc = acc;
	p.c = call_change(call);
	row = acc->row;
	row.deleting = (uint64_t)clock_now();
	if (is_now)
		row.flags |= USER_GOING;
	part_aliases(&p);
	account_put(p.c, acc->number, &row);
	row_key_text(&key, ROW_LOGIN, acc->row.address);
	change_del(p.c, &key);
	account_forget_logins(call, acc);
	account_kick_after(call, acc->number);
	call->after = look_then_kick;
	say_removed(call, &p, is_now, days);
}

/* --- account restore -------------------------------------------------------------------------- */
struct removed_search {
	struct span address;
	struct account *found;
	bool is_several;
};

static void search_removed(struct span key, void *value, void *arg)
{
	struct removed_search *s = arg;
	struct account *acc = value;

	if (!account_is_deleting(acc) || (acc->row.flags & USER_GOING) ||
	    !span_eq(acc->row.address, s->address))
		return;
	s->is_several = s->found != NULL;
	s->found = acc;
}

/* By its address, or by the number that account list --removed shows; not one that is going. */
static struct account *find_removed(struct call *call, struct span arg, bool *is_several)
{
	struct removed_search s = {0};
	char text[NAME_TEXT_MAX + 1];
	struct account *acc;
	struct name nm;
	uint64_t number;

	*is_several = false;
	if (span_u64(arg, UINT64_MAX, &number)) {
		acc = index_number(&call->a->index, number);
		return acc && account_is_deleting(acc) && !(acc->row.flags & USER_GOING) ? acc
											 : NULL;
	}
	if (name_parse(&nm, arg, NULL) < 0)
		return NULL;
	s.address = span_make(text, name_format(&nm, text));
	hash_each(call->a->index.numbers, search_removed, &s);
	*is_several = s.is_several;
	return s.found;
}

static bool has_target(const struct alias *al, struct span target)
{
	for (uint32_t i = 0; i < al->count; i++)
		if (span_eq(al->targets[i], target))
			return true;
	return false;
}

/* An alias that is there, with the targets again that it lost. */
static bool lengthen(struct change *c, const struct alias *al, struct alias_row *r)
{
	struct span targets[ALIAS_TARGETS_MAX];
	uint32_t n = 0;
	struct db_key key;
	struct strbuf b;

	for (; n < al->count; n++)
		targets[n] = al->targets[n];
	for (uint32_t i = 0; i < r->count; i++) {
		struct span target = dec_bytes(&r->targets);

		if (has_target(al, target))
			continue;
		if (n == ALIAS_TARGETS_MAX)
			return false;
		targets[n++] = target;
	}
	strbuf_init(&b, 128 * 1024);
	row_enc_alias_until(&b, targets, n, al->until);
	row_key_text(&key, ROW_ALIAS, al->address);
	change_put(c, &key, &b);
	return true;
}

/* False if it cannot be as it was: its name is somebody's now, or its domain gone. */
static bool rejoin(struct call *call, const struct parted *p)
{
	struct index *ix = &call->a->index;
	const struct alias *al = index_alias(ix, p->key);
	ssize_t at = span_rchr(p->key, '@');
	struct change *c = call_change(call);
	struct alias_row r;
	struct db_key key;
	struct strbuf b;

	if (!row_dec_alias(p->row, &r))
		return false;
	if (al)
		return lengthen(c, al, &r);
	if (!p->was_all || at < 0 || index_account(ix, p->key) ||
	    !index_domain(ix, span_from(p->key, (size_t)at + 1)))
		return false;
	strbuf_init(&b, 128 * 1024);
	strbuf_add(&b, p->row);
	row_key_text(&key, ROW_ALIAS, p->key);
	change_put(c, &key, &b);
	return true;
}

static void restore(struct call *call, const struct account *acc, struct span address)
{
	struct change *c = call_change(call);
	struct user_row row = acc->row;
	size_t joined = 0, lost = 0;
	struct db_key key;

	row.address = address;
	row.deleting = 0;
	account_put(c, acc->number, &row);
	account_put_login(c, acc->number, address);
	LIST_EACH (it, &acc->parted) {
		const struct parted *p = container_of(it, struct parted, link);
		bool is_joined = span_eq(address, acc->row.address) && rejoin(call, p);

		joined += is_joined;
		lost += !is_joined;
		row_key_parted(&key, acc->number, p->was_all, p->key);
		change_del(c, &key);
	}
	if (joined + lost == 0)
		call_commit(call, "account %.*s restored", SPAN_FMT(address));
	else
		call_commit(call,
		    "account %.*s restored; aliases that lead to it again: %zu, that do not: %zu",
		    SPAN_FMT(address), joined, lost);
}

/* account restore ADDRESS|NUMBER [ADDRESS] */
void verb_account_restore(struct call *call)
{
	char text[NAME_TEXT_MAX + 1];
	struct account *acc;
	bool is_several;
	struct name nm;

	acc = find_removed(call, call->args[0], &is_several);
	if (!acc)
		call_fail(call, ERR_NOT_FOUND,
		    "no such account was removed, or its mail is gone: account list --removed");
	else if (is_several)
		fail_several(call);
	else if (arg_new_address(call, call->arg_count > 1 ? call->args[1] : acc->row.address,
		     false, &nm, text))
		restore(call, acc, span_of(text));
}

/* --- account list --removed ------------------------------------------------------------------- */
static int by_time(const void *a, const void *b)
{
	const struct account *x = *(struct account *const *)a, *y = *(struct account *const *)b;

	if (x->row.deleting != y->row.deleting)
		return x->row.deleting < y->row.deleting ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

static void show_removed(struct call *call, const struct account *acc)
{
	bool is_going = acc->row.flags & USER_GOING;
	struct strbuf b;

	strbuf_init(&b, 4096);
	ipc_rec_text(&b, "address", acc->row.address);
	ipc_rec_number(&b, "number", IPC_NUMBER, acc->number);
	ipc_rec_text(&b, "state", is_going ? SPAN("going") : SPAN("restorable"));
	ipc_rec_number(&b, "removed", IPC_TIME, acc->row.deleting);
	ipc_rec_number(&b, "goes", IPC_TIME, removal_time(call->a, acc));
	call_record(call, &b);
}

void list_removed(struct call *call)
{
	size_t n, shown = 0;
	struct account **all = (struct account **)index_sorted(call->a->index.numbers, &n);

	qsort(all, n, sizeof(struct account *), by_time);
	for (size_t i = 0; i < n && shown < LIST_PAGE; i++) {
		if (!account_is_deleting(all[i]))
			continue;
		show_removed(call, all[i]);
		shown++;
	}
	mem_free(all);
	call_ok(call, "%s", shown == LIST_PAGE ? "there are more" : "");
}
