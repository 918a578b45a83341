/*
 * A whole SMTP, submission, LMTP or device session on any bytes: the real session code on a socket
 * pair, a queue on disk, and an authd of our own behind its socket. Each input runs twice, in one
 * piece and cut at random places. Oracles: both runs say the same, line for line; each line is a
 * reply; as many messages were accepted as replies promised; the session ends, and nothing of it is
 * left.
 */
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/daemon/role_int.h"
#include "common/log/log.h"
#include "smtpd/receive/receive.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROUND 3000 /* messages after which the queue begins anew */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];
static struct frame frame;
static struct bound bound;
static struct receive server;
static struct ipc_server *authd;

static struct {
	int fd;
	struct span rest;
	const uint8_t *cuts;
	size_t cut_count, turn;
	bool is_shut;
	struct strbuf heard;
	struct deferred step;
} client;

static void need(bool ok)
{
	if (!ok)
		abort();
}

/* --- authd ------------------------------------------------------------------------------------ */
static void answer_resolve(const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct ipc_target target = {
	    .account = 1, .address = SPAN("a@example.test"), .detail = span_make("", 0)};
	struct ipc_resolve q;
	uint8_t status = RESOLVE_REMOTE;
	struct strbuf b;

	need(ipc_dec_resolve(msg->body, &q));
	need(q.address.n > 0 && span_chr(q.address, '\r') < 0 && span_chr(q.address, '\n') < 0);
	if (span_eq(q.address, SPAN("postmaster")))
		status = RESOLVE_LOCAL;
	else if (q.address.n > 13 &&
		 span_eq(span_from(q.address, q.address.n - 13), SPAN("@example.test")))
		status = q.address.p[0] == 'a' ? RESOLVE_LOCAL : RESOLVE_UNKNOWN;
	strbuf_init(&b, 1024);
	ipc_enc_resolved(&b, status, &target, status == RESOLVE_LOCAL ? 1 : 0);
	ipc_reply(authd, peer, msg->id, IPC_AUTH_RESOLVED, strbuf_span(&b));
	strbuf_clear(&b);
}

static void answer_login(const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct ipc_login_result r = {.status = LOGIN_FAILED,
	    .account = 7,
	    .address = SPAN("a@example.test"),
	    .text = span_make("", 0)};
	struct ipc_login q;
	struct strbuf b;

	need(ipc_dec_login(msg->body, &q));
	if (span_eq(q.password, SPAN("p")))
		r.status = LOGIN_OK;
	strbuf_init(&b, 1024);
	ipc_enc_login_result(&b, &r);
	ipc_reply(authd, peer, msg->id, IPC_AUTH_RESULT, strbuf_span(&b));
	strbuf_clear(&b);
}

static void answer_submit(const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct ipc_submit_result r = {.text = SPAN("limit")};
	struct ipc_submit q;
	struct strbuf b;

	need(ipc_dec_submit(msg->body, &q));
	r.status = q.address.n == 0 || q.address.p[0] == 'a' ? SUBMIT_OK
		   : q.address.p[0] == 'l'                   ? SUBMIT_LIMITED
							     : SUBMIT_NOT_YOURS;
	strbuf_init(&b, 1024);
	ipc_enc_submit_result(&b, &r);
	ipc_reply(authd, peer, msg->id, IPC_AUTH_SUBMIT_RESULT, strbuf_span(&b));
	strbuf_clear(&b);
}

static void on_question(void *arg, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct ipc_sender q;
	char may;

	switch (msg->type) {
	case IPC_AUTH_RESOLVE:
		answer_resolve(peer, msg);
		break;
	case IPC_AUTH_LOGIN:
		answer_login(peer, msg);
		break;
	case IPC_AUTH_SUBMIT:
		answer_submit(peer, msg);
		break;
	default:
		need(msg->type == IPC_AUTH_SENDER && ipc_dec_sender(msg->body, &q));
		may = q.address.n > 0 && q.address.p[0] == 'a';
		ipc_reply(authd, peer, msg->id, IPC_AUTH_SENDER_RESULT, span_make(&may, 1));
	}
}

/* --- the server ------------------------------------------------------------------------------- */
static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void remove_folder(void)
{
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void on_failure(void *arg, const struct err *err)
{
	abort();
}

static void open_queue(void)
{
	struct queue_options opt = {.loop = frame.role.loop,
	    .cfg = frame.role.cfg,
	    .reader_threads = 1,
	    .on_failure = on_failure};
	char path[128];
	struct err err = ERR_INIT;

	snprintf(path, sizeof(path), "%s/queue", folder);
	need(mkdir(path, 0700) == 0 && queue_open(&opt, &server.queue, &err) == 0);
}

static void begin_anew(void)
{
	queue_close(server.queue);
	ipc_client_free(frame.role.authd);
	ipc_server_free(authd);
	remove_folder();
	frame.role.authd = NULL;
	authd = NULL;
}

static void open_all(void)
{
	static const struct ipc_server_ops ops = {.on_message = on_question};
	char path[128];
	struct err err = ERR_INIT;

	need(mkdir(folder, 0700) == 0);
	snprintf(path, sizeof(path), "%s/auth.sock", folder);
	authd = ipc_server_new(frame.role.loop, path, 0600, &ops, NULL, &err);
	need(authd != NULL);
	frame.role.authd = ipc_client_new(frame.role.loop, path);
	open_queue();
	server.accepted = 0;
}

static void start_once(void)
{
	char text[1024];
	struct err err = ERR_INIT;

	if (frame.role.loop)
		return;
	setenv("MAILSTEAD_ALLOW_ROOT", "1", 1);
	snprintf(folder, sizeof(folder), "/dev/shm/fuzz-smtp-%d", getpid());
	snprintf(text, sizeof(text),
	    "paths.state = %s\npaths.run = %s\nserver.hostname = mail.example.test\n"
	    "smtp.message_size_max = 4K\nsmtp.text_line_max = 1000\nsmtp.bad_commands_max = 60\n"
	    "smtp.error_delay = 0\nsmtp.greet_delay = 0\nsmtp.recipients_max = 100\n"
	    "smtp.idle_commands_max = 60\nqueue.map_size = 64M\ntrace.records_max = 100\n"
	    "listener.submission.tls = none\nlistener.submission.login_without_tls = yes\n"
	    "listener.device.role = device\nlistener.device.port = 2\nlistener.device.tls = none\n"
	    "listener.device.login_without_tls = yes\n"
	    "listener.device.device_sender = a@example.test\n"
	    "listener.smtp.tls = none\nlistener.lmtp.enabled = yes\nlog.level = error\n",
	    folder, folder);
	log_open("fuzz", 2);
	log_set_level(LOG_ERROR);
	need(config_parse(span_of(text), &frame.role.cfg, &err) == 0);
	frame.role.loop = loop_new();
	frame.role.limits = limits_new(10, 10, 10);
	frame.role.ctx = &server;
	list_init(&frame.bound);
	list_init(&frame.proxied);
	bound.frame = &frame;
	list_init(&server.sessions);
	server.role = &frame.role;
	server.inline_max = 65536;
	need(tell_start(&server, &err) == 0);
	guard_init(&server);
	open_all();
	atexit(remove_folder);
}

static const struct config_listener *listener_of(enum listener_role role)
{
	for (size_t i = 0; i < config_listener_count(frame.role.cfg); i++)
		if (config_listener(frame.role.cfg, i)->role == role)
			return config_listener(frame.role.cfg, i);
	abort();
}

/* --- the client ------------------------------------------------------------------------------- */
static void hear(void)
{
	char buf[4096];
	ssize_t n;

	while ((n = recv(client.fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		strbuf_add_mem(&client.heard, buf, (size_t)n);
}

/* Once a turn: what was answered, and the next piece. */
static void on_step(void *arg)
{
	size_t n = client.cut_count == 0 ? client.rest.n
					 : 1u + client.cuts[client.turn++ % client.cut_count] % 29u;

	hear();
	if (n > client.rest.n)
		n = client.rest.n;
	if (n > 0) {
		ssize_t sent = send(client.fd, client.rest.p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0)
			client.rest.n = 0;
		else
			client.rest = span_from(client.rest, (size_t)sent);
	} else if (!client.is_shut) {
		client.is_shut = true;
		(void)shutdown(client.fd, SHUT_WR);
	}
	if (list_is_empty(&server.sessions) && server.receipts == 0 && client.is_shut)
		loop_stop(frame.role.loop);
	else
		loop_defer(frame.role.loop, &client.step);
}

static void run(struct span in, const uint8_t *cuts, size_t cut_count, enum listener_role role)
{
	struct net_addr peer = {.family = AF_UNIX};
	struct err err = ERR_INIT;
	int ends[2];

	need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	bound.pub.cfg = listener_of(role);
	need(limits_enter(frame.role.limits, &peer, &err) == 0);
	bound.pub.current = 1;
	client.fd = ends[1];
	client.rest = in;
	client.cuts = cuts;
	client.cut_count = cut_count;
	client.turn = 0;
	client.is_shut = false;
	client.step = (struct deferred){.fn = on_step};
	strbuf_init(&client.heard, 1 << 20);
	session_start(&server, &bound.pub, ends[0], &peer);
	loop_defer(frame.role.loop, &client.step);
	loop_run(frame.role.loop);
	hear();
	close(ends[1]);
	need(bound.pub.current == 0 && limits_total(frame.role.limits) == 0);
	need(hash_count(server.senders) == 0);
}

/* Ids differ from run to run: they are masked. Gives the number of promises. */
static size_t check_replies(struct strbuf *heard)
{
	struct span rest = strbuf_span(heard), line;
	static const struct span promise = SPAN_INIT("250 2.0.0 Ok: queued as ");
	size_t promises = 0;

	need(!heard->failed);
	while (rest.n > 0) {
		ssize_t lf = span_chr(rest, '\n');

		need(lf > 3 && rest.p[lf - 1] == '\r');
		line = span_sub(rest, 0, (size_t)lf - 1);
		need(ascii_is_digit(line.p[0]) && ascii_is_digit(line.p[1]) &&
		     ascii_is_digit(line.p[2]) && (line.p[3] == ' ' || line.p[3] == '-'));
		need(line.n <= 510);
		if (span_starts(line, promise)) {
			promises++;
			memset((char *)(uintptr_t)line.p + promise.n, 'x', line.n - promise.n);
		}
		rest = span_from(rest, (size_t)lf + 1);
	}
	return promises;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum listener_role roles[] = {
	    ROLE_SMTP, ROLE_SUBMISSION, ROLE_LMTP, ROLE_DEVICE};
	static const uint8_t bytewise[] = {0};
	enum listener_role role = roles[size ? data[0] % ARRAY_LEN(roles) : 0];
	size_t cut_count = size > 1 ? data[1] % 8 : 0, promises;
	struct strbuf whole;
	struct span in;
	uint64_t before;

	if (size < 2 + cut_count)
		return 0;
	start_once();
	in = span_make((const char *)data + 2 + cut_count, size - 2 - cut_count);
	before = server.accepted;
	run(in, NULL, 0, role);
	whole = client.heard;
	promises = check_replies(&whole);
	/* In LMTP one message may be promised to several. */
	need(role == ROLE_LMTP ? promises >= server.accepted - before
			       : promises == server.accepted - before);
	run(in, cut_count == 0 ? bytewise : data + 2, cut_count == 0 ? 1 : cut_count, role);
	need(check_replies(&client.heard) == promises);
	need(span_eq(strbuf_span(&whole), strbuf_span(&client.heard)));
	strbuf_clear(&whole);
	strbuf_clear(&client.heard);
	if (server.accepted > ROUND) {
		begin_anew();
		open_all();
	}
	return 0;
}
