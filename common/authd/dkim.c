/* dkim ...: which domains have signing keys, and when new ones begin to sign. */
#include "common/authd/args.h"
#include "common/authd/ask.h"
#include "common/authd/dns.h"
#include "common/base/mem.h"
#include "common/log/log.h"

#include <stdio.h>
#include <string.h>

#define ASK_MS 30000
#define CHECK_MS 60000
#define AGAIN_MS 1000
#define HOUR_MS (3600 * 1000)
#define LISTED_MAX 64 /* domains whose new keys are looked for in one hour */
#define ROW_MAX (16 * 1024)
#define ROWS_MAX (64 * 1024)
#define NAMES_MAX (1000 * 1024)

static const char *const keyd[] = {"keyd"};
static const char *const sender[] = {"smtpd-send"};

/* The value of a name in a row; empty if it has none. */
static struct span value_of(struct span row, struct span name)
{
	struct dec d = dec_of(row);
	struct ipc_value v;

	while (ipc_rec_next(&d, &v))
		if (span_eq(v.name, name))
			return v.text;
	return span_make("", 0);
}

/* --- new keys begin to sign ------------------------------------------------------------------- */
struct activation {
	struct authd *a;
	struct call *call; /* NULL: the hourly look */
	char domain[MAIL_DOMAIN_MAX + 1];
	struct strbuf rows;
};

static void activation_end(struct activation *k, enum err_code code, const char *text)
{
	if (k->call && code != ERR_NONE)
		call_fail(k->call, code, "%s", text);
	else if (k->call)
		call_ok(k->call, "%s", text);
	strbuf_clear(&k->rows);
	mem_free(k);
}

static void on_activated(void *arg, const struct ask_answer *answer, size_t n)
{
	struct activation *k = arg;

	if (answer->code == ERR_NONE)
		log_info("dkim-activated", LOG_STR("domain", k->domain));
	activation_end(k, answer->code, answer->text);
}

static void activate(struct activation *k)
{
	struct ipc_admin what = {
	    .count = 3, .words = {SPAN("dkim"), SPAN("activate"), span_of(k->domain)}};

	if (k->a->is_stopping)
		activation_end(k, ERR_TEMP, "authd is stopping");
	else
		ask_all(k->a, NULL, keyd, 1, &what, ASK_MS, on_activated, k);
}

/* All that are to be there are. */
static void on_checked(void *arg, const struct ask_answer *answer, size_t n)
{
	struct activation *k = arg;
	struct dec rows = dec_of(strbuf_span(&answer->records));
	char text[CALL_TEXT_MAX];
	struct span name;

	if (answer->code != ERR_NONE) {
		activation_end(k, answer->code, answer->text);
		return;
	}
	while (rows.in.n > 0 && dec_ok(&rows)) {
		struct span row = dec_bytes(&rows);
		struct span status = value_of(row, SPAN("status"));

		if (span_eq(status, SPAN("ok")))
			continue;
		name = value_of(row, SPAN("name"));
		snprintf(text, sizeof(text),
		    "%.*s: %.*s; publish what domain dns shows, or say --force",
		    name.n < 200 ? (int)name.n : 200, name.p, status.n < 20 ? (int)status.n : 20,
		    status.p);
		activation_end(k, ERR_NOT_FOUND, text);
		return;
	}
	activate(k);
}

/* The rows of the keys that wait, as domain dns has them. */
static void on_shown(void *arg, const struct ask_answer *answer, size_t n)
{
	struct activation *k = arg;
	struct ipc_admin check = {.count = 2, .words = {SPAN("dns"), SPAN("check")}};
	struct dec rows = dec_of(strbuf_span(&answer->records));

	if (answer->code != ERR_NONE || k->a->is_stopping) {
		activation_end(k, answer->code != ERR_NONE ? answer->code : ERR_TEMP, answer->text);
		return;
	}
	while (rows.in.n > 0 && dec_ok(&rows)) {
		struct span row = dec_bytes(&rows);
		struct strbuf b;

		if (!span_eq(value_of(row, SPAN("state")), SPAN("next")))
			continue;
		strbuf_init(&b, ROW_MAX);
		ipc_rec_text(&b, "purpose", SPAN("dkim"));
		ipc_rec_text(&b, "importance", SPAN("required"));
		ipc_rec_text(&b, "name", value_of(row, SPAN("name")));
		ipc_rec_text(&b, "type", SPAN("TXT"));
		ipc_rec_text(&b, "value", value_of(row, SPAN("value")));
		enc_bytes(&k->rows, strbuf_span(&b));
		strbuf_clear(&b);
	}
	if (k->rows.n == 0) {
		activation_end(k, ERR_NOT_FOUND, "no new key waits: dkim rotate makes one");
		return;
	}
	check.content = strbuf_span(&k->rows);
	ask_all(k->a, NULL, sender, 1, &check, CHECK_MS, on_checked, k);
}

static struct activation *activation_new(struct authd *a, struct call *call, struct span domain)
{
	struct activation *k = mem_zalloc(sizeof(*k));

	k->a = a;
	k->call = call;
	strbuf_init(&k->rows, ROWS_MAX);
	memcpy(k->domain, domain.p, domain.n);
	return k;
}

static void look(struct activation *k)
{
	struct ipc_admin what = {
	    .count = 3, .words = {SPAN("dkim"), SPAN("show"), span_of(k->domain)}};

	ask_all(k->a, NULL, keyd, 1, &what, ASK_MS, on_shown, k);
}

/* --- which domains ---------------------------------------------------------------------------- */
static void add_name(struct span key, void *value, void *arg)
{
	strbuf_add(arg, key);
	strbuf_add_chr(arg, '\n');
}

static void on_listed(void *arg, const struct ask_answer *answer, size_t n)
{
	struct authd *a = arg;
	struct dec rows = dec_of(strbuf_span(&answer->records));
	struct span last = span_make("", 0);
	size_t count = 0;

	while (!a->is_stopping && rows.in.n > 0 && dec_ok(&rows) && count < LISTED_MAX) {
		struct span row = dec_bytes(&rows);
		struct span domain = value_of(row, SPAN("domain"));

		if (!span_eq(value_of(row, SPAN("state")), SPAN("next")) || span_eq(domain, last) ||
		    domain.n > MAIL_DOMAIN_MAX)
			continue;
		last = domain;
		count++;
		look(activation_new(a, NULL, domain));
	}
}

static void on_made(void *arg, const struct ask_answer *answer, size_t n)
{
	struct authd *a = arg;
	struct ipc_admin what = {.count = 2, .words = {SPAN("dkim"), SPAN("list")}};

	if (a->is_stopping)
		return;
	/* keyd may be starting beside us. */
	if (answer->code != ERR_NONE) {
		timer_set(&a->dkim, AGAIN_MS);
		return;
	}
	ask_all(a, NULL, keyd, 1, &what, ASK_MS, on_listed, a);
}

/* Of one name without a line end keyd answers when its keys are there; of many at once. */
static void ask_make(struct authd *a, struct span names,
    void (*done)(void *arg, const struct ask_answer *answers, size_t n), void *arg)
{
	struct ipc_admin what = {
	    .count = 2, .words = {SPAN("dkim"), SPAN("make")}, .content = names};

	ask_all(a, NULL, keyd, 1, &what, ASK_MS, done, arg);
}

static void on_hour(void *arg)
{
	struct authd *a = arg;
	struct strbuf names;

	timer_set(&a->dkim, HOUR_MS);
	if (a->is_stopping)
		return;
	strbuf_init(&names, NAMES_MAX);
	hash_each(a->index.domains, add_name, &names);
	hash_each(a->index.domain_aliases, add_name, &names);
	strbuf_add_chr(&names, '\n');
	ask_make(a, strbuf_span(&names), on_made, a);
	strbuf_clear(&names);
}

void dkim_watch_open(struct authd *a)
{
	timer_init(&a->dkim, a->loop, on_hour, a);
	timer_set(&a->dkim, 0);
}

void dkim_watch_close(struct authd *a)
{
	if (a->dkim.loop)
		timer_clear(&a->dkim);
}

/* What keyd did not hear it hears with the next look. */
static void on_told(void *arg, const struct ask_answer *answer, size_t n)
{
	struct call *call = arg;

	if (answer->code != ERR_NONE && !call->a->is_stopping)
		timer_set(&call->a->dkim, AGAIN_MS);
	call_ok(call, "%s", call->ok_text);
}

/* The keys are there before anybody sends from the domain. */
void dkim_after_add(struct call *call)
{
	char name[MAIL_DOMAIN_MAX + 1];
	size_t n;

	if (call->a->is_stopping || name_domain(call->args[0], name, &n, NULL) < 0) {
		call_ok(call, "%s", call->ok_text);
		return;
	}
	call_leave_queue(call);
	ask_make(call->a, span_make(name, n), on_told, call);
}

void dkim_after_remove(struct call *call)
{
	struct ipc_admin what = {.count = 3, .words = {SPAN("dkim"), SPAN("remove")}};
	char name[MAIL_DOMAIN_MAX + 1];
	size_t n;

	if (call->a->is_stopping || name_domain(call->args[0], name, &n, NULL) < 0) {
		call_ok(call, "%s", call->ok_text);
		return;
	}
	call_leave_queue(call);
	what.words[2] = span_make(name, n);
	ask_all(call->a, NULL, keyd, 1, &what, ASK_MS, on_told, call);
}

/* --- verbs ------------------------------------------------------------------------------------ */
static void on_answer(void *arg, const struct ask_answer *answer, size_t n)
{
	struct call *call = arg;

	if (answer->code != ERR_NONE)
		call_fail(call, answer->code, "keyd: %.300s", answer->text);
	else
		call_ok(call, "%s", answer->text);
}

/* The command with the domain in its one form. */
static void forward(struct call *call)
{
	char domain[MAIL_DOMAIN_MAX + 1];
	struct ipc_admin what = call->cmd;

	if (call->arg_count > 0) {
		if (!arg_domain(call, 0, domain))
			return;
		what.words[2] = span_of(domain);
		what.count = 3;
	}
	if (call->a->is_stopping) {
		call_fail(call, ERR_TEMP, "authd is stopping");
		return;
	}
	call_leave_queue(call);
	ask_all(call->a, call, keyd, 1, &what, ASK_MS, on_answer, call);
}

void verb_dkim(struct call *call)
{
	char domain[MAIL_DOMAIN_MAX + 1];

	if (!(call->verb->flags & VERB_CHANGES)) {
		forward(call);
		return;
	}
	if (!arg_domain(call, 0, domain))
		return;
	call->after = forward;
	call_commit(call, "%s", "");
}

static void activate_call(struct call *call)
{
	char domain[MAIL_DOMAIN_MAX + 1];
	struct activation *k;

	if (!arg_domain(call, 0, domain))
		return;
	k = activation_new(call->a, call, span_of(domain));
	call_leave_queue(call);
	if (call->arg_count > 1)
		activate(k);
	else if (call->a->is_stopping)
		activation_end(k, ERR_TEMP, "authd is stopping");
	else
		look(k);
}

/* The audit row comes first: what keyd does is not in our hands. */
void verb_dkim_activate(struct call *call)
{
	char domain[MAIL_DOMAIN_MAX + 1];

	if (call->arg_count > 1 && !span_eq(call->args[1], SPAN("--force"))) {
		call_fail(call, ERR_INVALID, "usage: dkim activate DOMAIN [--force]");
		return;
	}
	if (!arg_domain(call, 0, domain))
		return;
	call->after = activate_call;
	call_commit(call, "%s", "");
}
