/* login, logout, whoami: sessions of the web admin. ping, help: anything at all. */
#include "common/authd/call.h"
#include "common/authd/login.h"
#include "common/authd/session.h"
#include "common/authd/totp.h"
#include "common/base/mem.h"

#include <string.h>

struct token {
	char text[SESSION_TOKEN_LEN + 1];
	bool is_admin;
};

static void tell_token(struct call *call)
{
	const struct token *t = call->arg;
	struct strbuf b;

	strbuf_init(&b, 1024);
	ipc_rec_text(&b, "token", span_of(t->text));
	ipc_rec_text(&b, "address", span_of(call->who));
	ipc_rec_number(&b, "admin", IPC_BOOL, t->is_admin);
	call_record(call, &b);
	call_ok(call, "%s", "");
}

/* The second factor, where there is one. False: the call has ended. */
static bool take_code(struct call *call, struct account *acc)
{
	struct span code = call->arg_count > 1 ? call->args[1] : SPAN("");
	struct strbuf b;

	if (!totp_is_on(acc))
		return true;
	if (code.n == 0) {
		strbuf_init(&b, 64);
		ipc_rec_number(&b, "second-factor", IPC_BOOL, 1);
		call_record(call, &b);
		call_fail(call, ERR_DENIED, "the code of your second factor is needed");
		return false;
	}
	if (!login_may_try(call->a, call_client(call), acc)) {
		call_fail(call, ERR_TEMP, "too many failed logins, try again later");
		return false;
	}
	if (totp_take(acc, code, call_change(call))) {
		login_remember(call->a, call_client(call), acc);
		return true;
	}
	login_count_failure(call->a, call_client(call), acc);
	call_fail(call, ERR_DENIED, "wrong code of the second factor");
	return false;
}

static void on_answer(void *arg, const struct login_answer *answer)
{
	struct call *call = arg;
	struct token *t;

	if (answer->status == LOGIN_THROTTLED || answer->status == LOGIN_TEMP) {
		call_fail(call, ERR_TEMP, "%s", answer->text);
		return;
	}
	/* Right or wrong: whoever may not log in here learns nothing about the password. */
	if (answer->status != LOGIN_OK) {
		call_fail(call, ERR_DENIED, "wrong address or password");
		return;
	}
	if (!take_code(call, answer->account))
		return;
	memcpy(call->who, answer->account->row.address.p, answer->account->row.address.n);
	call->who[answer->account->row.address.n] = '\0';
	t = mem_zalloc(sizeof(*t));
	t->is_admin = (answer->account->row.flags & USER_ADMIN) != 0;
	session_create(call->a, call_change(call), answer->account->number, t->text);
	call->arg = t;
	call->arg_n = sizeof(*t);
	call->after = tell_token;
	call_commit(call, "%s", "");
}

void verb_login(struct call *call)
{
	struct ipc_login q = {
	    .protocol = SPAN("web"),
	    .listener = SPAN("web"),
	    .client = call_client(call),
	    .user = call->args[0],
	    .password = call->cmd.secret,
	};

	login_ask(call->a, &q, on_answer, call);
}

void verb_logout(struct call *call)
{
	session_remove(call->a->sessions, call_change(call), call->cmd.token);
	call_commit(call, "logged out");
}

void verb_whoami(struct call *call)
{
	const struct account *acc =
	    call->account ? index_number(&call->a->index, call->account) : NULL;
	struct strbuf b;

	strbuf_init(&b, 1024);
	ipc_rec_text(&b, "address", span_of(call->who));
	ipc_rec_number(&b, "admin", IPC_BOOL, !acc || (acc->row.flags & USER_ADMIN));
	ipc_rec_number(&b, "mailbox", IPC_BOOL, acc && account_is_mailbox(acc));
	call_record(call, &b);
	call_ok(call, "%s", "");
}

void verb_ping(struct call *call)
{
	call_ok(call, "authd %s", MS_VERSION);
}

void verb_help(struct call *call)
{
	static const char *const roles[] = {"anyone", "user", "administrator"};
	const struct verb *v;

	for (size_t i = 0; (v = verb_at(i)); i++) {
		struct strbuf b;

		if ((v->flags & VERB_WEB) && !call->is_web)
			continue;
		strbuf_init(&b, 1024);
		ipc_rec_text(&b, "command", span_of(v->name));
		ipc_rec_text(&b, "arguments", span_of(v->usage));
		ipc_rec_text(&b, "role", span_of(roles[v->role]));
		ipc_rec_number(&b, "changes", IPC_BOOL, (v->flags & VERB_CHANGES) != 0);
		call_record(call, &b);
	}
	call_ok(call, "%s", "");
}
