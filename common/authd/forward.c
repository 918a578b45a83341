/*
 * authd authorises, daemons execute: what touches the queue, the store or the keys is asked of the
 * daemon that owns it; its records stream back.
 */
#include "common/authd/args.h"
#include "common/authd/ask.h"

#include <stdio.h>

#define STATUS_MS 3000
#define VERB_MS 30000 /* between two frames */

/* Ourselves too: the frame around authd answers for it like for everybody. */
static const char *const daemons[] = {"authd", "keyd", "smtpd", "smtpd-receive", "smtpd-local",
    "smtpd-send", "smtpd-fetch", "imapd", "imapd-worker", "pop3d", "pop3d-worker", "web-server",
    "web-worker"};

static const char *daemon_of(const struct call *call)
{
	struct span word = call->cmd.words[0];

	if (span_eq(word, SPAN("cert")))
		return call->cmd.count > 1 && span_eq(call->cmd.words[1], SPAN("acme")) ? "acme"
											: "keyd";
	if (span_eq(word, SPAN("backup")) || span_eq(word, SPAN("restore")))
		return "maint";
	if (span_eq(word, SPAN("record")))
		return "smtpd-receive";
	if (span_eq(word, SPAN("queue")) || span_eq(word, SPAN("trace")) ||
	    span_eq(word, SPAN("traffic")) || span_eq(word, SPAN("route")))
		return "smtpd-local";
	return "imapd-worker";
}

static bool may_ask(struct call *call)
{
	if (!call->a->is_stopping)
		return true;
	call_fail(call, ERR_TEMP, "authd is stopping");
	return false;
}

static void on_answer(void *arg, const struct ask_answer *answer, size_t n)
{
	struct call *call = arg;

	/* Which process refused matters to nobody, which one is away does. */
	if (answer->code != ERR_NONE && answer->is_reached)
		call_fail(call, answer->code, "%.300s", answer->text);
	else if (answer->code != ERR_NONE)
		call_fail(call, answer->code, "%s: %.300s", answer->daemon, answer->text);
	else
		call_ok(call, "%s", answer->text);
}

static void ask_one(struct call *call, const char *name, const struct ipc_admin *what)
{
	if (!may_ask(call))
		return;
	call_leave_queue(call);
	ask_all(call->a, call, &name, 1, what, VERB_MS, on_answer, call);
}

static void forward_one(struct call *call)
{
	ask_one(call, daemon_of(call), &call->cmd);
}

/* The audit row comes first: what the daemon does is not in our hands. */
void verb_forward(struct call *call)
{
	if (!(call->verb->flags & VERB_CHANGES)) {
		forward_one(call);
		return;
	}
	call->after = forward_one;
	call_commit(call, "%s", "");
}

/* The store knows accounts by number; the audit row has the address. */
static void forward_undelete(struct call *call)
{
	const struct account *acc = arg_account(call, 0);
	struct ipc_admin what;
	char number[24];

	if (!acc)
		return;
	what = call->cmd;
	snprintf(number, sizeof(number), "%llu", (unsigned long long)acc->number);
	what.words[2] = span_of(number);
	ask_one(call, "imapd-worker", &what);
}

void verb_undelete(struct call *call)
{
	if (!(call->verb->flags & VERB_CHANGES)) {
		forward_undelete(call);
		return;
	}
	if (!arg_account(call, 0))
		return;
	call->after = forward_undelete;
	call_commit(call, "%s", "");
}

/* The same of one's own mail: the session says whose. */
static void forward_my_undelete(struct call *call)
{
	const struct account *acc = arg_own_account(call);
	struct ipc_admin what;
	char number[24];

	if (!acc)
		return;
	snprintf(number, sizeof(number), "%llu", (unsigned long long)acc->number);
	what = call->cmd;
	what.words[0] = SPAN("undelete");
	what.words[1] = call->cmd.words[2];
	what.words[2] = span_of(number);
	ask_one(call, "imapd-worker", &what);
}

void verb_my_undelete(struct call *call)
{
	if (!(call->verb->flags & VERB_CHANGES)) {
		forward_my_undelete(call);
		return;
	}
	call->after = forward_my_undelete;
	call_commit(call, "%s", "");
}

/* --- status ----------------------------------------------------------------------------------- */
/* Who does not answer is a row of the answer, not its end. */
static void on_status(void *arg, const struct ask_answer *answers, size_t n)
{
	struct call *call = arg;

	for (size_t i = 0; i < n; i++)
		if (answers[i].code != ERR_NONE)
			ask_add_silent(call, &answers[i]);
	call_ok(call, "%s", "");
}

void verb_status(struct call *call)
{
	if (may_ask(call))
		ask_all(call->a, call, daemons, sizeof(daemons) / sizeof(daemons[0]), &call->cmd,
		    STATUS_MS, on_status, call);
}
