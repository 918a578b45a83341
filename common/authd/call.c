#include "common/authd/call.h"

#include "common/authd/session.h"
#include "common/base/mem.h"
#include "common/log/log.h"

#include <string.h>

#define CALLS_MAX 1000

/* --- audit words -------------------------------------------------------------------------------
 */
#define AUDIT_TEXT_MAX 1000

/* The command as one would type it; words of a length that nobody types are cut. */
static void join_words(struct strbuf *b, const struct ipc_admin *cmd)
{
	strbuf_init(b, AUDIT_TEXT_MAX + 400);
	for (uint32_t i = 0; i < cmd->count && b->n < AUDIT_TEXT_MAX; i++) {
		struct span w = span_sub(cmd->words[i], 0, 300);
		bool is_quoted = w.n == 0 || span_chr(w, ' ') >= 0;

		if (i > 0)
			strbuf_add_chr(b, ' ');
		if (is_quoted)
			strbuf_add_chr(b, '"');
		strbuf_add(b, w);
		if (is_quoted)
			strbuf_add_chr(b, '"');
	}
}

static void add_audit(struct call *call, struct change *c, struct span result)
{
	struct strbuf words;

	join_words(&words, &call->cmd);
	/* One row a command: what was committed and then failed elsewhere says why. */
	if (call->audit > 0)
		audit_put(c, call->audit, span_of(call->who), call_client(call),
		    strbuf_span(&words), result);
	else
		call->audit = audit_add(
		    c, call->a, span_of(call->who), call_client(call), strbuf_span(&words), result);
	strbuf_clear(&words);
}

struct span call_client(const struct call *call)
{
	return span_sub(call->cmd.client, 0, 64);
}

/* --- the end -----------------------------------------------------------------------------------
 */
static void call_free(struct call *call)
{
	call->a->call_count--;
	if (call->change)
		change_free(call->change);
	if (call->arg && call->drop_arg)
		call->drop_arg(call->arg);
	else
		mem_free_secret(call->arg, call->arg_n);
	mem_wipe(call->hash.phc, sizeof(call->hash.phc));
	mem_free_secret(call->body, call->body_n);
	mem_free(call);
}

static void end(struct call *call, enum err_code code, const char *text)
{
	struct authd *a = call->a;

	admin_end(&call->rq, code, "%s", text);
	if (code != ERR_NONE)
		log_info("auth-admin", LOG_STR("verb", call->verb ? call->verb->name : ""),
		    LOG_STR("who", call->who), LOG_STR("result", err_code_name(code)),
		    LOG_STR("reason", text));
	if (a->current == call)
		a->current = NULL;
	call_free(call);
	call_next(a);
}

void call_ok(struct call *call, const char *fmt, ...)
{
	char text[CALL_TEXT_MAX];
	struct strbuf b;
	va_list ap;

	strbuf_init(&b, CALL_TEXT_MAX - 1);
	va_start(ap, fmt);
	strbuf_vaddf(&b, fmt, ap);
	va_end(ap);
	memcpy(text, b.p, b.n + 1);
	strbuf_clear(&b);
	end(call, ERR_NONE, text);
}

static void on_failure_audited(void *arg, const struct err *err)
{
	struct call *call = arg;

	end(call, call->failure.code, call->failure.text);
}

void call_fail_err(struct call *call, const struct err *err)
{
	struct strbuf result;
	struct change *c;

	call->failure = *err;
	/* Strangers (no session) must not be able to fill the trail. */
	if (!call->who[0] || !call->verb || !(call->verb->flags & VERB_CHANGES) ||
	    call->a->is_stopping) {
		end(call, call->failure.code, call->failure.text);
		return;
	}
	c = change_new(call->a);
	strbuf_init(&result, 300);
	strbuf_addf(&result, "%s: %s", err_code_name(err->code), call->failure.text);
	add_audit(call, c, strbuf_span(&result));
	strbuf_clear(&result);
	change_commit(c, on_failure_audited, call);
}

void call_fail(struct call *call, enum err_code code, const char *fmt, ...)
{
	struct err err = {.code = code};
	struct strbuf b;
	va_list ap;

	strbuf_init(&b, sizeof(err.text) - 1);
	va_start(ap, fmt);
	strbuf_vaddf(&b, fmt, ap);
	va_end(ap);
	memcpy(err.text, b.p, b.n + 1);
	strbuf_clear(&b);
	call_fail_err(call, &err);
}

void call_record(const struct call *call, struct strbuf *record)
{
	admin_record(&call->rq, record);
	strbuf_clear(record);
}

/* --- committing --------------------------------------------------------------------------------
 */
struct change *call_change(struct call *call)
{
	if (!call->change)
		call->change = change_new(call->a);
	return call->change;
}

static void on_committed(void *arg, const struct err *err)
{
	struct call *call = arg;

	if (err->code != ERR_NONE)
		end(call, err->code, err->text);
	else if (call->after)
		call->after(call);
	else
		end(call, ERR_NONE, call->ok_text);
}

void call_commit(struct call *call, const char *fmt, ...)
{
	struct change *c = call_change(call);
	struct strbuf b;
	va_list ap;

	strbuf_init(&b, CALL_TEXT_MAX - 1);
	va_start(ap, fmt);
	strbuf_vaddf(&b, fmt, ap);
	va_end(ap);
	memcpy(call->ok_text, b.p, b.n + 1);
	strbuf_clear(&b);
	add_audit(call, c, SPAN("ok"));
	call->change = NULL;
	change_commit(c, on_committed, call);
}

/* --- turns -------------------------------------------------------------------------------------
 */
void call_leave_queue(struct call *call)
{
	if (call->a->current != call)
		return;
	call->a->current = NULL;
	call_next(call->a);
}

void call_next(struct authd *a)
{
	struct list *it;

	if (a->is_in_next || a->is_stopping)
		return;
	/* A call may end inside run, and comes back here: the loop goes on, not the stack. */
	a->is_in_next = true;
	while (!a->current && !a->is_busy && (it = list_take_first(&a->changes))) {
		struct call *next = container_of(it, struct call, link);

		a->current = next;
		next->verb->run(next);
	}
	a->is_in_next = false;
	if (a->role->is_draining && a->call_count == 0)
		role_finished(a->role);
}

static void take_turn(struct call *call)
{
	if (!(call->verb->flags & VERB_CHANGES)) {
		call->verb->run(call);
		return;
	}
	list_append(&call->a->changes, &call->link);
	call_next(call->a);
}

void call_drop_all(struct authd *a)
{
	struct list *it;

	a->is_stopping = true;
	while ((it = list_take_first(&a->changes)))
		call_fail(container_of(it, struct call, link), ERR_TEMP, "authd is stopping");
}

static void on_hashed(struct hash_job *job)
{
	struct call *call = container_of(job, struct call, hash);

	if (job->is_dropped || call->a->is_stopping)
		call_fail(call, ERR_TEMP, "authd is stopping");
	else if (job->result < 0)
		call_fail_err(call, &job->err);
	else
		take_turn(call);
}

static void start_hash(struct call *call)
{
	struct err err = ERR_INIT;

	if (password_check_new(call->cmd.secret, &err) < 0) {
		call_fail_err(call, &err);
		return;
	}
	call->hash.params = authd_hash_params(call->a);
	call->hash.done = on_hashed;
	hashq_submit(call->a->hashq, &call->hash, call->cmd.secret, 0, true);
}

/* --- who may -----------------------------------------------------------------------------------
 */
static int check_session(struct call *call, struct err *err)
{
	struct authd *a = call->a;
	struct account *acc;

	if (call->verb->role == VERB_ANYONE) {
		memcpy(call->who, "-", 2);
		return 0;
	}
	call->account = session_find(a, call->cmd.token);
	if (call->account == SESSION_SETUP &&
	    (call->verb->role == VERB_ADMIN || (call->verb->flags & VERB_SETUP)) &&
	    !index_has_admin(&a->index)) {
		memcpy(call->who, "setup", 6);
		return 0;
	}
	acc = call->account ? index_number(&a->index, call->account) : NULL;
	if (!acc || account_is_deleting(acc) || (acc->row.flags & USER_DISABLED))
		return err_set(err, ERR_DENIED, "log in first");
	memcpy(call->who, acc->row.address.p, acc->row.address.n);
	call->who[acc->row.address.n] = '\0';
	if (call->verb->role == VERB_ADMIN && !(acc->row.flags & USER_ADMIN))
		return err_set(err, ERR_DENIED, "only an administrator may do this");
	return 0;
}

static int check(struct call *call, struct err *err)
{
	uint32_t words;
	struct strbuf b;

	call->verb = verb_find(&call->cmd, &words);
	if (!call->verb)
		return verb_unknown(&call->cmd, err);
	call->args = call->cmd.words + words;
	call->arg_count = call->cmd.count - words;
	if (!call->is_web && (call->verb->flags & VERB_WEB))
		return err_set(err, ERR_UNSUPPORTED, "only for the web admin");
	if (call->is_web) {
		if (check_session(call, err) < 0)
			return -1;
	} else {
		strbuf_init(&b, 40);
		strbuf_addf(&b, "uid %lu", (unsigned long)call->rq.peer.uid);
		memcpy(call->who, b.p, b.n + 1);
		strbuf_clear(&b);
	}
	if (call->arg_count < call->verb->min || call->arg_count > call->verb->max)
		return verb_usage(call->verb, err);
	if (call->is_web && (call->verb->flags & VERB_FRESH) &&
	    !session_is_fresh(call->a, call->cmd.token))
		return err_set(err, ERR_DENIED, "sign in again first");
	return 0;
}

void call_start(struct authd *a, struct ipc_server *server, const struct ipc_peer *peer,
    uint32_t id, struct span body, bool is_web)
{
	struct call *call = mem_zalloc(sizeof(*call));
	struct err err = ERR_INIT;

	call->a = a;
	call->rq = (struct admin_request){server, *peer, id};
	call->is_web = is_web;
	call->body = mem_dup(body.n > 0 ? body.p : "", body.n > 0 ? body.n : 1);
	call->body_n = body.n;
	a->call_count++;
	if (!ipc_dec_admin(span_make(call->body, body.n), &call->cmd)) {
		call->cmd = (struct ipc_admin){0};
		call_fail(call, ERR_INVALID, "malformed request");
		return;
	}
	if (a->call_count > CALLS_MAX || a->is_stopping)
		call_fail(call, ERR_TEMP, "too many commands at once");
	else if (check(call, &err) < 0)
		call_fail_err(call, &err);
	else if (call->verb->flags & VERB_HASH)
		start_hash(call);
	else
		take_turn(call);
}
