/* MAIL and RCPT: the envelope, and the one place where it is decided whether we take it. */
#include "smtpd/receive/receive.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <string.h>

#define QUERY_MS 20000

/* --- queries to authd ------------------------------------------------------------------------- */
void ask_authd(struct session *s, uint16_t type, const struct strbuf *body,
    void (*on_reply)(void *arg, const struct ipc_msg *msg, const struct err *err))
{
	s->wait = WAIT_RESULT;
	s->query = ipc_call(s->server->role->authd, type, strbuf_span(body), QUERY_MS, on_reply, s);
}

/* Formats a into the transaction's arena; false when it is full. */
static bool keep_address(struct session *s, const struct mail_address *a, struct span *out)
{
	struct strbuf b;
	bool is_kept;

	strbuf_init(&b, QUEUE_ADDRESS_MAX);
	/* <postmaster> has no domain of its own: it is ours, by that name. */
	if (a->domain.n == 0)
		strbuf_add(&b, a->local.n > 0 ? SPAN("postmaster") : SPAN(""));
	else
		mail_address_format(&b, a);
	is_kept = !b.failed && arena_copy(&s->t.arena, strbuf_span(&b), out);
	strbuf_clear(&b);
	return is_kept;
}

static void reply_path_error(struct session *s, const struct err *err)
{
	if (err->code == ERR_UNSUPPORTED)
		reply_error(s, 553, "5.6.7", "Address needs SMTPUTF8");
	else
		reply_error(s, 501, "5.1.3", "Bad address syntax");
}

/* --- MAIL FROM -------------------------------------------------------------------------------- */
/* SMTPUTF8 changes how the path before it is read. */
static bool wants_utf8(struct span rest)
{
	struct span word;

	while (span_split(&rest, ' ', &word))
		if (span_ieq(word, SPAN("SMTPUTF8")))
			return true;
	return false;
}

static void mail_ok(struct session *s)
{
	s->t.is_open = true;
	reply(s, 250, "2.1.0", "Ok");
}

static bool take_submit(
    const struct ipc_msg *msg, const struct err *err, struct ipc_submit_result *r)
{
	return !err && msg->type == IPC_AUTH_SUBMIT_RESULT && ipc_dec_submit_result(msg->body, r);
}

static void on_sender(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	struct session *s = arg;
	struct ipc_submit_result r;

	s->query = NULL;
	if (!take_submit(msg, err, &r)) {
		transaction_reset(s);
		reply(s, 451, "4.3.0", "Temporary lookup failure, try later");
	} else if (r.status == SUBMIT_OK) {
		mail_ok(s);
	} else if (r.status == SUBMIT_LIMITED) {
		reply_error(s, 450, "4.7.1", "%.*s", SPAN_FMT(r.text));
		transaction_reset(s);
	} else {
		reply_error(s, 553, "5.7.1", "Not your address: %.*s", SPAN_FMT(s->t.sender));
		transaction_reset(s);
	}
	session_next(s);
}

static void ask_submit(struct session *s, enum ipc_submit_step step, struct span address,
    void (*on_reply)(void *arg, const struct ipc_msg *msg, const struct err *err))
{
	struct ipc_submit m = {.account = s->account, .step = step, .address = address};
	struct strbuf b;

	strbuf_init(&b, 1024);
	ipc_enc_submit(&b, &m);
	ask_authd(s, IPC_AUTH_SUBMIT, &b, on_reply);
	strbuf_clear(&b);
}

void ask_sender(struct session *s)
{
	ask_submit(s, SUBMIT_MAIL, s->t.sender, on_sender);
}

void cmd_mail(struct session *s, struct span arg)
{
	char buf[MAIL_PATH_MAX];
	struct mail_address a;
	struct err err = ERR_INIT;
	unsigned flags = MAIL_ADDRESS_NULL;

	if (s->t.is_open) {
		reply_error(s, 503, "5.5.1", "A transaction is open already");
		return;
	}
	if (session_needs_login(s) && s->account == 0) {
		reply_error(s, 530, "5.7.0", "Authentication required");
		return;
	}
	if (s->server->is_low_on_space) {
		reply(s, 452, "4.3.1", "Insufficient system storage, try later");
		return;
	}
	if (!span_take_iword(&arg, SPAN("FROM:"))) {
		reply_error(s, 501, "5.5.4", "Syntax: MAIL FROM:<address>");
		return;
	}
	while (span_take_chr(&arg, ' '))
		;
	transaction_reset(s);
	s->t.is_utf8 = wants_utf8(arg);
	if (s->t.is_utf8)
		flags |= MAIL_ADDRESS_UTF8;
	if (mail_path_take(&arg, flags, buf, &a, &err) < 0) {
		reply_path_error(s, &err);
		return;
	}
	if (!params_mail(s, arg))
		return;
	if (!keep_address(s, &a, &s->t.sender))
		reply_error(s, 501, "5.1.7", "Address too long");
	else if (s->listener->cfg->role == ROLE_DEVICE)
		device_mail(s);
	else if (s->account != 0)
		ask_sender(s);
	else
		mail_ok(s);
}

/* --- RCPT TO ---------------------------------------------------------------------------------- */
static bool add_rcpt(struct session *s, struct span address, enum queue_class class)
{
	struct transaction *t = &s->t;

	if (t->rcpt_count == t->rcpt_cap) {
		size_t cap = t->rcpt_cap ? t->rcpt_cap * 2 : 8;
		struct rcpt *grown = arena_array(&t->arena, cap, sizeof(*grown));

		if (!grown)
			return false;
		if (t->rcpt_count > 0)
			memcpy(grown, t->rcpts, t->rcpt_count * sizeof(*grown));
		t->rcpts = grown;
		t->rcpt_cap = cap;
	}
	t->rcpts[t->rcpt_count++] = (struct rcpt){
	    .address = address, .class = class, .notify = t->notify, .orcpt = t->orcpt};
	return true;
}

static void take_rcpt(struct session *s, enum queue_class class)
{
	/* The address asked about was kept behind the last recipient. */
	struct span address = s->t.rcpts[s->t.rcpt_count].address;

	if (add_rcpt(s, address, class))
		reply(s, 250, "2.1.5", "Ok");
	else
		reply(s, 452, "4.5.3", "Too many recipients");
}

/* The recipient that authd was asked about. */
#define refuse_rcpt(s, ...)                                                                        \
	do {                                                                                       \
		(s)->t.refused_rcpt = (s)->t.rcpts[(s)->t.rcpt_count].address;                     \
		reply_error(s, __VA_ARGS__);                                                       \
	} while (0)

static void on_new_recipient(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	struct session *s = arg;
	struct ipc_submit_result r;

	s->query = NULL;
	if (!take_submit(msg, err, &r))
		reply(s, 451, "4.3.0", "Temporary lookup failure, try later");
	else if (r.status == SUBMIT_LIMITED)
		refuse_rcpt(s, 450, "4.7.1", "%.*s", SPAN_FMT(r.text));
	else if (r.status != SUBMIT_OK)
		refuse_rcpt(s, 550, "5.7.1", "Sending is switched off for this account");
	else
		take_rcpt(s, QUEUE_REMOTE);
	session_next(s);
}

/* True: the reply has to wait for another answer. */
static bool take_remote(struct session *s)
{
	if (s->account == 0 ||
	    (s->listener->cfg->role == ROLE_DEVICE && s->listener->cfg->device_to[0] == '\0')) {
		refuse_rcpt(s, 550, "5.7.1", "Relaying denied");
		return false;
	}
	ask_submit(s, SUBMIT_RCPT, s->t.rcpts[s->t.rcpt_count].address, on_new_recipient);
	return true;
}

static void on_resolved(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	struct session *s = arg;
	struct ipc_resolved r = {.status = RESOLVE_TEMP};

	s->query = NULL;
	if (!err && (msg->type != IPC_AUTH_RESOLVED || !ipc_dec_resolved(msg->body, &r)))
		r.status = RESOLVE_TEMP;
	switch (r.status) {
	case RESOLVE_LOCAL:
		take_rcpt(s, QUEUE_LOCAL);
		break;
	case RESOLVE_REMOTE:
		if (take_remote(s))
			return;
		break;
	case RESOLVE_UNKNOWN:
		refuse_rcpt(s, 550, "5.1.1", "No such user here");
		break;
	case RESOLVE_OVER_QUOTA:
		reply(s, 452, "4.2.2", "Mailbox is full, try later");
		break;
	default:
		reply(s, 451, "4.3.0", "Temporary lookup failure, try later");
		break;
	}
	session_next(s);
}

static void resolve(struct session *s, struct span address)
{
	struct ipc_resolve m = {.address = address};
	struct strbuf b;

	strbuf_init(&b, 1024);
	ipc_enc_resolve(&b, &m);
	ask_authd(s, IPC_AUTH_RESOLVE, &b, on_resolved);
	strbuf_clear(&b);
}

void cmd_rcpt(struct session *s, struct span arg)
{
	char buf[MAIL_PATH_MAX];
	struct mail_address a;
	struct span address;
	struct err err = ERR_INIT;
	unsigned flags = MAIL_ADDRESS_POSTMASTER | (s->t.is_utf8 ? MAIL_ADDRESS_UTF8 : 0);

	if (s->t.is_bdat) {
		reply_error(s, 503, "5.5.1", "Not after BDAT");
		return;
	}
	if (!span_take_iword(&arg, SPAN("TO:"))) {
		reply_error(s, 501, "5.5.4", "Syntax: RCPT TO:<address>");
		return;
	}
	while (span_take_chr(&arg, ' '))
		;
	if (mail_path_take(&arg, flags, buf, &a, &err) < 0) {
		reply_path_error(s, &err);
		return;
	}
	if (!params_rcpt(s, arg))
		return;
	if (s->t.rcpt_count >= config_u64(s->cfg, SET_SMTP_RECIPIENTS_MAX)) {
		reply(s, 452, "4.5.3", "Too many recipients");
		return;
	}
	/* Kept as the next recipient, which counts only when authd has answered. */
	if (!keep_address(s, &a, &address) || !add_rcpt(s, address, QUEUE_LOCAL)) {
		reply(s, 452, "4.5.3", "Too many recipients");
		return;
	}
	s->t.rcpt_count--;
	if (device_may_write_to(s, address))
		resolve(s, address);
	else
		refuse_rcpt(s, 550, "5.7.1", "Not among the recipients of this listener");
}
