#include "common/sasl/sasl.h"

#include "common/base/base64.h"
#include "common/base/mem.h"

#include <string.h>

#define ASK_DEADLINE_MS 15000

enum { NO_MECHANISM, PLAIN, LOGIN_USER, LOGIN_PASSWORD };

void sasl_init(struct sasl *s)
{
	memset(s, 0, sizeof(*s));
	s->challenge = "";
}

void sasl_clear(struct sasl *s)
{
	mem_wipe(s, sizeof(*s));
	s->challenge = "";
}

/* A name or password: not empty, not too long, no NUL (it would end C strings early). */
static bool take_value(char *to, size_t max, struct span value)
{
	if (value.n == 0 || value.n > max || span_chr(value, '\0') >= 0)
		return false;
	memcpy(to, value.p, value.n);
	to[value.n] = '\0';
	return true;
}

/* RFC 4616: [authzid] NUL authcid NUL password. Acting for somebody else is not offered. */
static enum sasl_step plain(struct sasl *s, struct span message)
{
	struct span authzid, authcid;

	if (!span_split(&message, '\0', &authzid) || !span_split(&message, '\0', &authcid) ||
	    !message.p)
		return SASL_BAD;
	if (authzid.n > 0 && !span_ieq(authzid, authcid))
		return SASL_BAD;
	if (!take_value(s->user, SASL_USER_MAX, authcid) ||
	    !take_value(s->password, SASL_PASSWORD_MAX, message))
		return SASL_BAD;
	return SASL_READY;
}

static enum sasl_step login(struct sasl *s, struct span message)
{
	if (s->mechanism == LOGIN_USER) {
		if (!take_value(s->user, SASL_USER_MAX, message))
			return SASL_BAD;
		s->mechanism = LOGIN_PASSWORD;
		s->challenge = "UGFzc3dvcmQ6"; /* "Password:" */
		return SASL_CHALLENGE;
	}
	return take_value(s->password, SASL_PASSWORD_MAX, message) ? SASL_READY : SASL_BAD;
}

static enum sasl_step take_message(struct sasl *s, struct span message)
{
	if (s->mechanism == PLAIN)
		return plain(s, message);
	if (s->mechanism == LOGIN_USER || s->mechanism == LOGIN_PASSWORD)
		return login(s, message);
	return SASL_BAD;
}

static enum sasl_step take_encoded(struct sasl *s, struct span text)
{
	struct strbuf raw;
	enum sasl_step step = SASL_BAD;

	if (text.n > SASL_LINE_MAX)
		return SASL_BAD;
	strbuf_init(&raw, SASL_LINE_MAX);
	if (base64_decode(&raw, text))
		step = take_message(s, strbuf_span(&raw));
	mem_wipe(raw.p, raw.cap);
	strbuf_clear(&raw);
	return step;
}

enum sasl_step sasl_start(struct sasl *s, struct span mechanism, struct span initial)
{
	if (span_ieq(mechanism, SPAN("PLAIN")))
		s->mechanism = PLAIN;
	else if (span_ieq(mechanism, SPAN("LOGIN")))
		s->mechanism = LOGIN_USER;
	else
		return SASL_UNKNOWN;
	s->challenge = s->mechanism == PLAIN ? "" : "VXNlcm5hbWU6"; /* "Username:" */
	if (!initial.p)
		return SASL_CHALLENGE;
	if (span_eq(initial, SPAN("=")))
		return take_message(s, span_make("", 0));
	return take_encoded(s, initial);
}

enum sasl_step sasl_continue(struct sasl *s, struct span line)
{
	if (span_eq(line, SPAN("*")))
		return SASL_ABORTED;
	return take_encoded(s, line);
}

/* --- the question ----------------------------------------------------------------------------- */
struct sasl_call {
	struct ipc_call *call;
	void (*on_result)(void *arg, const struct ipc_login_result *res);
	void *arg;
};

static void on_reply(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	struct sasl_call *k = arg;
	struct ipc_login_result res;

	if (err || msg->type != IPC_AUTH_RESULT || !ipc_dec_login_result(msg->body, &res)) {
		res = (struct ipc_login_result){
		    .status = LOGIN_TEMP,
		    .address = span_make("", 0),
		    .text =
			err ? span_of(err->text) : SPAN("authd gave no answer that makes sense"),
		};
	}
	k->on_result(k->arg, &res);
	mem_free(k);
}

struct sasl_call *sasl_ask(const struct sasl_question *q,
    void (*on_result)(void *arg, const struct ipc_login_result *res), void *arg)
{
	struct sasl_call *k = mem_zalloc(sizeof(*k));
	struct ipc_login m = {
	    .protocol = span_of(q->protocol),
	    .listener = span_of(q->listener),
	    .client = span_of(q->client),
	    .user = q->user,
	    .password = q->password,
	};
	struct strbuf b;

	k->on_result = on_result;
	k->arg = arg;
	strbuf_init(&b, 8192);
	ipc_enc_login(&b, &m);
	k->call = ipc_call(q->authd, IPC_AUTH_LOGIN, strbuf_span(&b), ASK_DEADLINE_MS, on_reply, k);
	mem_wipe(b.p, b.cap);
	strbuf_clear(&b);
	return k;
}

void sasl_call_cancel(struct sasl_call *call)
{
	ipc_call_cancel(call->call);
	mem_free(call);
}
