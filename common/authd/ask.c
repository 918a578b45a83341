#include "common/authd/ask.h"

#include "common/base/mem.h"

#include <stdio.h>
#include <unistd.h>

#define CONNECT_MS 2000
#define RECORDS_BYTES_MAX (3 * 1024 * 1024)

struct ask;

struct errand {
	struct work work;
	struct ask *ask;
	char path[CONFIG_PATH_MAX];
	size_t streamed; /* bytes of records */
	bool is_cut;
	struct ask_answer *answer;
};

struct ask {
	struct authd *a;
	struct call *call;
	struct strbuf request; /* body of the question */
	int step_ms;
	size_t n, waiting;
	struct errand errands[ASK_MAX];
	struct ask_answer answers[ASK_MAX];
	void (*done)(void *arg, const struct ask_answer *answers, size_t n);
	void *arg;
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

	if (!e->ask->call) {
		enc_bytes(&e->answer->records, body);
		e->is_cut = e->answer->records.failed;
		return;
	}
	e->streamed += body.n;
	if (e->streamed > RECORDS_BYTES_MAX) {
		e->is_cut = true;
		return;
	}
	parcel = mem_zalloc(sizeof(*parcel));
	parcel->post.fn = deliver;
	parcel->call = e->ask->call;
	strbuf_init(&parcel->body, IPC_BODY_MAX);
	strbuf_add(&parcel->body, body);
	loop_post(e->ask->a->loop, &parcel->post);
}

static void set_end(struct errand *e, enum err_code code, struct span text)
{
	e->answer->code = code;
	snprintf(e->answer->text, sizeof(e->answer->text), "%.*s", text.n > 300 ? 300 : (int)text.n,
	    text.p ? text.p : "");
}

/* False when the answer has ended. */
static bool take_frame(struct errand *e, const struct ipc_msg *msg)
{
	struct ipc_error end;

	e->answer->is_reached = true;
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
	    ipc_sync_send(fd, IPC_ADMIN, 1, strbuf_span(&e->ask->request), CONNECT_MS, &err))
		goto out;
	/* From here on it may have begun: silence is its answer. */
	e->answer->is_reached = true;
	while (goes_on) {
		if (ipc_sync_recv(fd, &buf, &msg, e->ask->step_ms, &err) < 0)
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

static void done(struct work *w)
{
	struct errand *e = container_of(w, struct errand, work);
	struct ask *k = e->ask;

	if (e->is_cut && e->answer->code == ERR_NONE)
		set_end(e, ERR_LIMIT, SPAN("the answer is too long: ask for less"));
	if (--k->waiting > 0)
		return;
	k->done(k->arg, k->answers, k->n);
	for (size_t i = 0; i < k->n; i++)
		strbuf_clear(&k->answers[i].records);
	mem_wipe(k->request.p, k->request.cap); /* files with keys, passwords */
	strbuf_clear(&k->request);
	mem_free(k);
}

static void encode(struct ask *k, const struct ipc_admin *what)
{
	struct ipc_admin cmd = *what;

	/* Who may was decided here; the session's token is nobody else's business. */
	cmd.token = span_of(NULL);
	strbuf_init(&k->request, IPC_BODY_MAX);
	(void)strbuf_room(&k->request, what->content.n + 4096);
	ipc_enc_admin(&k->request, &cmd);
}

void ask_all(struct authd *a, struct call *call, const char *const *daemons, size_t n,
    const struct ipc_admin *what, int step_ms,
    void (*on_done)(void *arg, const struct ask_answer *answers, size_t n), void *arg)
{
	struct ask *k = mem_zalloc(sizeof(*k));

	if (n > ASK_MAX)
		fatal("more than %d daemons", ASK_MAX);
	k->a = a;
	k->call = call;
	k->step_ms = step_ms;
	k->n = k->waiting = n;
	k->done = on_done;
	k->arg = arg;
	encode(k, what);
	for (size_t i = 0; i < n; i++) {
		struct errand *e = &k->errands[i];
		char name[64];

		k->answers[i].daemon = daemons[i];
		strbuf_init(&k->answers[i].records, RECORDS_BYTES_MAX);
		e->ask = k;
		e->answer = &k->answers[i];
		e->work.run = run;
		e->work.done = done;
		snprintf(name, sizeof(name), "%s/ctl", daemons[i]);
		/* A path that does not fit will not connect, and that answer says so. */
		if (config_run_path(a->cfg, name, e->path, NULL) < 0)
			e->path[0] = '\0';
		workers_submit(a->forwarders, &e->work);
	}
}

void ask_add_silent(struct call *call, const struct ask_answer *answer)
{
	struct strbuf b;

	strbuf_init(&b, 2048);
	ipc_rec_text(&b, "process", span_of(answer->daemon));
	ipc_rec_text(&b, "error", span_of(err_code_name(answer->code)));
	ipc_rec_text(&b, "reason", span_of(answer->text));
	call_record(call, &b);
}
