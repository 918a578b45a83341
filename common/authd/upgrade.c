/*
 * upgrade: every process becomes the program that is installed now, and nobody is refused. Monitors
 * are asked first whether their new program starts at all; if one says no, nothing happens. Then
 * they execute it with their sockets, and their roles of before see their sessions off. keyd and
 * authd just end and are started again: who asks them meanwhile waits a moment.
 */
#include "common/authd/ask.h"

#include "common/base/mem.h"

#define CHECK_MS 10000
#define DRAIN_MS 1000

static const char *const monitors[] = {"smtpd", "imapd", "pop3d", "web-server"};
static const char *const keyd[] = {"keyd"};

/* True if nobody who was reached refused; those who were not are rows. */
static bool have_agreed(struct call *call, const struct ask_answer *answers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (answers[i].is_reached && answers[i].code != ERR_NONE) {
			call_fail(call, answers[i].code, "%s: %.300s", answers[i].daemon,
			    answers[i].text);
			return false;
		}
	}
	for (size_t i = 0; i < n; i++)
		if (answers[i].code != ERR_NONE)
			ask_add_silent(call, &answers[i]);
	return true;
}

static void restart(void *arg)
{
	struct authd *a = arg;

	role_restart(a->role);
}

static void on_keyd(void *arg, const struct ask_answer *answers, size_t n)
{
	struct call *call = arg;
	struct authd *a = call->a;
	bool is_drain = call->arg_count > 0;

	if (!have_agreed(call, answers, n))
		return;
	call_ok(call, "%s", "the new programs take over");
	/* Who finishes what he does may have a question still; most have done so in a moment. */
	if (is_drain)
		timer_set(&a->restart, DRAIN_MS);
	else
		restart(a);
}

static void on_upgraded(void *arg, const struct ask_answer *answers, size_t n)
{
	static const struct ipc_admin restart = {.count = 1, .words = {SPAN_INIT("restart")}};
	struct call *call = arg;

	if (have_agreed(call, answers, n))
		ask_all(call->a, call, keyd, 1, &restart, CHECK_MS, on_keyd, call);
}

static void ask_monitors(struct call *call, const char *what,
    void (*done)(void *arg, const struct ask_answer *answers, size_t n))
{
	const struct ipc_admin cmd = {.count = 2, .words = {SPAN("upgrade"), span_of(what)}};

	ask_all(call->a, call, monitors, ARRAY_LEN(monitors), &cmd, CHECK_MS, done, call);
}

/* With --drain all roles see their sessions off at once: their databases are to be changed. */
static void after_audit(struct call *call)
{
	ask_monitors(call, call->arg_count > 0 ? "drain" : "now", on_upgraded);
}

static void on_checked(void *arg, const struct ask_answer *answers, size_t n)
{
	struct call *call = arg;

	for (size_t i = 0; i < n; i++) {
		if (!answers[i].is_reached || answers[i].code == ERR_NONE)
			continue;
		call_fail(call, answers[i].code, "%s: %.300s", answers[i].daemon, answers[i].text);
		return;
	}
	call->after = after_audit;
	call_commit(call, "%s", "");
}

void upgrade_open(struct authd *a)
{
	timer_init(&a->restart, a->loop, restart, a);
}

void upgrade_close(struct authd *a)
{
	if (a->restart.loop)
		timer_clear(&a->restart);
}

void verb_upgrade(struct call *call)
{
	if (call->arg_count > 0 && !span_eq(call->args[0], SPAN("--drain"))) {
		call_fail(call, ERR_INVALID, "the only option is --drain");
		return;
	}
	ask_monitors(call, "check", on_checked);
}
