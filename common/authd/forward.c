/*
 * authd authorises, daemons execute: what touches the queue or the store is asked of the daemon
 * that owns it, on its control socket, by a thread that may wait; its records stream back. Each
 * question has a deadline, so that a daemon that hangs delays only its own answer.
 */
#include "common/authd/args.h"

#include "common/base/mem.h"

#include <stdio.h>
#include <unistd.h>

#define CONNECT_MS 2000
#define STATUS_MS 3000
#define VERB_MS 30000 /* between two frames */
#define RECORDS_BYTES_MAX (3 * 1024 * 1024)

/* Ourselves too: the frame around authd answers for it like for everybody. */
static const char *const daemons[] = {"authd", "keyd", "smtpd", "smtpd-receive", "smtpd-local",
    "imapd", "imapd-worker", "pop3d", "pop3d-worker"};
/* Who reads the configuration; roles get it from their monitors. */
static const char *const readers[] = {"keyd", "authd", "smtpd", "imapd", "pop3d"};

struct forward; /* one command, one or several daemons */

struct errand {
	struct work work;
	struct forward *f;
	const char *daemon;
	char path[CONFIG_PATH_MAX];
	size_t streamed; /* bytes of records */
	bool is_cut;
	enum err_code code;
	char text[CALL_TEXT_MAX];
};

struct forward {
	struct call *call;
	struct strbuf request; /* body of the question */
	int step_ms;
	bool is_to_all; /* who does not answer is a row of the answer, not its end */
	size_t waiting;
	enum err_code code; /* the first failure */
	char text[CALL_TEXT_MAX];
	struct errand errands[ARRAY_LEN(daemons)];
};

/* A record on its way from the thread to the loop. */
struct parcel {
	struct post post;
	struct call *call;
	struct strbuf body;
};

static void deliver(struct post *p)
{
	struct parcel *parcel = container_of(p, struct parcel, post);

	call_record(parcel->call, &parcel->body);
	mem_free(parcel);
}

static void send_record(struct errand *e, struct span body)
{
	struct parcel *parcel;

	e->streamed += body.n;
	if (e->streamed > RECORDS_BYTES_MAX) {
		e->is_cut = true;
		return;
	}
	parcel = mem_zalloc(sizeof(*parcel));
	parcel->post.fn = deliver;
	parcel->call = e->f->call;
	strbuf_init(&parcel->body, IPC_BODY_MAX);
	strbuf_add(&parcel->body, body);
	loop_post(e->f->call->a->loop, &parcel->post);
}

static void set_end(struct errand *e, enum err_code code, struct span text)
{
	e->code = code;
	snprintf(e->text, sizeof(e->text), "%.*s", text.n > 300 ? 300 : (int)text.n,
	    text.p ? text.p : "");
}

/* False when the answer has ended. */
static bool take_frame(struct errand *e, const struct ipc_msg *msg)
{
	struct ipc_error end;

	if (msg->id == 1 && msg->type == IPC_ADMIN_RECORD) {
		send_record(e, msg->body);
		return true;
	}
	if (msg->id != 1 || (msg->type != IPC_ADMIN_END && msg->type != IPC_ERROR) ||
	    !ipc_dec_error(msg->body, &end))
		set_end(e, ERR_INVALID, SPAN("malformed answer"));
	else
		set_end(e, (enum err_code)end.code, end.text);
	return false;
}

static void run(struct work *w)
{
	struct errand *e = container_of(w, struct errand, work);
	struct err err = ERR_INIT;
	struct ipc_msg msg;
	struct strbuf buf;
	bool goes_on = true;
	int fd = ipc_sync_connect(e->path, CONNECT_MS, &err);

	strbuf_init(&buf, IPC_BODY_MAX);
	if (fd < 0 ||
	    ipc_sync_send(fd, IPC_ADMIN, 1, strbuf_span(&e->f->request), CONNECT_MS, &err))
		goto out;
	while (goes_on) {
		if (ipc_sync_recv(fd, &buf, &msg, e->f->step_ms, &err) < 0)
			goto out;
		goes_on = take_frame(e, &msg);
	}
out:
	if (goes_on)
		set_end(e, err.code, span_of(err.text));
	strbuf_clear(&buf);
	if (fd >= 0)
		close(fd);
}

/* A daemon that does not answer, or not well. */
static void add_silent(struct call *call, const struct errand *e)
{
	struct strbuf b;

	strbuf_init(&b, 2048);
	ipc_rec_text(&b, "process", span_of(e->daemon));
	ipc_rec_text(&b, "error", span_of(err_code_name(e->code)));
	ipc_rec_text(&b, "reason", span_of(e->text));
	call_record(call, &b);
}

static void finish(struct forward *f)
{
	struct call *call = f->call;

	if (f->code != ERR_NONE)
		call_fail(call, f->code, "%s", f->text);
	else
		call_ok(call, "%s", f->text);
	mem_wipe(f->request.p, f->request.cap); /* files with keys, passwords */
	strbuf_clear(&f->request);
	mem_free(f);
}

static void done(struct work *w)
{
	struct errand *e = container_of(w, struct errand, work);
	struct forward *f = e->f;

	if (e->is_cut && e->code == ERR_NONE)
		set_end(e, ERR_LIMIT, SPAN("the answer is too long: ask for less"));
	if (e->code != ERR_NONE && f->is_to_all) {
		add_silent(f->call, e);
	} else if (e->code != ERR_NONE && f->code == ERR_NONE) {
		f->code = e->code;
		snprintf(f->text, sizeof(f->text), "%s: %.300s", e->daemon, e->text);
	} else if (e->code == ERR_NONE && f->code == ERR_NONE && !f->is_to_all) {
		snprintf(f->text, sizeof(f->text), "%s", e->text);
	}
	if (--f->waiting == 0)
		finish(f);
}

static void encode(struct forward *f, const struct ipc_admin *what)
{
	struct ipc_admin cmd = *what;

	/* Who may was decided here; the session's token is nobody else's business. */
	cmd.token = span_of(NULL);
	strbuf_init(&f->request, IPC_BODY_MAX);
	(void)strbuf_room(&f->request, what->content.n + 4096);
	ipc_enc_admin(&f->request, &cmd);
}

static void start(struct call *call, const char *const *names, size_t n,
    const struct ipc_admin *what, int step_ms, bool is_to_all)
{
	struct forward *f;

	if (call->a->is_stopping) {
		call_fail(call, ERR_TEMP, "authd is stopping");
		return;
	}
	f = mem_zalloc(sizeof(*f));
	f->call = call;
	f->step_ms = step_ms;
	f->is_to_all = is_to_all;
	f->waiting = n;
	encode(f, what);
	call_leave_queue(call);
	for (size_t i = 0; i < n; i++) {
		struct errand *e = &f->errands[i];
		char name[64];
		struct err err = ERR_INIT;

		snprintf(name, sizeof(name), "%s/ctl", names[i]);
		e->f = f;
		e->daemon = names[i];
		e->work.run = run;
		e->work.done = done;
		/* A path that does not fit will not connect, and that answer says so. */
		if (config_run_path(call->a->cfg, name, e->path, &err) < 0)
			e->path[0] = '\0';
		workers_submit(call->a->forwarders, &e->work);
	}
}

/* --- verbs -------------------------------------------------------------------------------------
 */
static const char *daemon_of(const struct call *call)
{
	struct span word = call->cmd.words[0];

	if (span_eq(word, SPAN("cert")))
		return "keyd";
	if (span_eq(word, SPAN("record")))
		return "smtpd-receive";
	if (span_eq(word, SPAN("queue")) || span_eq(word, SPAN("trace")))
		return "smtpd-local";
	return "imapd-worker";
}

static void forward_one(struct call *call)
{
	const char *name = daemon_of(call);

	start(call, &name, 1, &call->cmd, VERB_MS, false);
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
	static const char *const name = "imapd-worker";
	const struct account *acc = arg_account(call, 0);
	struct ipc_admin what;
	char number[24];

	if (!acc)
		return;
	what = call->cmd;
	snprintf(number, sizeof(number), "%llu", (unsigned long long)acc->number);
	what.words[2] = span_of(number);
	start(call, &name, 1, &what, VERB_MS, false);
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

void forward_reload(struct call *call)
{
	static const struct ipc_admin reload = {.count = 1, .words = {SPAN_INIT("reload")}};

	start(call, readers, ARRAY_LEN(readers), &reload, STATUS_MS, true);
}

void verb_reload(struct call *call)
{
	call->after = forward_reload;
	call_commit(call, "%s", "");
}

void verb_status(struct call *call)
{
	start(call, daemons, ARRAY_LEN(daemons), &call->cmd, STATUS_MS, true);
}
