/* Frames at every split and of every hostile kind; server and client through losses; messages. */
#include "common/ipc/frame.h"
#include "common/ipc/msg.h"
#include "tests/support/loop_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[96];
static struct ipc_server *server;
static struct ipc_client *client;

/* What the server saw, and how it answers. */
static unsigned messages, gone;
static struct ipc_peer last_peer;
static struct strbuf bodies;
static enum { ECHO, SILENT, TWICE, WRONG_ID } answer;

static void on_message(void *arg, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	messages++;
	last_peer = *peer;
	strbuf_add(&bodies, msg->body);
	if (answer == ECHO || answer == TWICE)
		ck_assert(ipc_reply(server, peer, msg->id, msg->type + 1, msg->body));
	if (answer == TWICE)
		ck_assert(ipc_reply(server, peer, msg->id, msg->type + 1, msg->body));
	if (answer == WRONG_ID)
		ck_assert(ipc_reply(server, peer, msg->id + 1, msg->type + 1, msg->body));
}

static void on_gone(void *arg, const struct ipc_peer *peer)
{
	gone++;
	ck_assert(!ipc_reply(server, peer, 1, 1, SPAN("too late")));
}

static const struct ipc_server_ops ops = {.on_message = on_message, .on_gone = on_gone};

static void serve(void)
{
	struct err err;

	server = ipc_server_new(loop, path, 0600, &ops, NULL, &err);
	ck_assert_msg(server != NULL, "%s", err.text);
}

static void setup(void)
{
	loop_setup();
	snprintf(dir, sizeof(dir), "/tmp/mailstead-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	strbuf_init(&bodies, 32 << 20);
	answer = ECHO;
}

static void teardown(void)
{
	ipc_client_free(client);
	ipc_server_free(server);
	strbuf_clear(&bodies);
	unlink(path);
	rmdir(dir);
	loop_teardown();
}

/* --- frames ----------------------------------------------------------------------------------- */
START_TEST(frame_at_every_cut)
{
	struct strbuf b;
	struct ipc_msg msg;

	strbuf_init(&b, 4096);
	frame_add(&b, 0x1234, 0xfffefdfc, SPAN("body"));
	frame_add(&b, 7, 8, SPAN(""));
	for (size_t n = 0; n <= b.n; n++) {
		struct span in = exact(b.p, n);

		ck_assert_int_eq(frame_take(in, &msg), n >= FRAME_HEAD + 4);
		if (n >= FRAME_HEAD + 4) {
			ck_assert(msg.type == 0x1234 && msg.id == 0xfffefdfc);
			ck_assert(span_eq(msg.body, SPAN("body")));
			ck_assert_int_eq(frame_take(span_from(in, FRAME_HEAD + 4), &msg),
			    n >= 2 * FRAME_HEAD + 4);
		}
		exact_free(in);
	}
	strbuf_clear(&b);
}
END_TEST

START_TEST(frame_hostile_lengths)
{
	static const uint32_t lengths[] = {
	    0, 1, IPC_BODY_MAX, IPC_BODY_MAX + 1, 0x7fffffff, 0x80000000, 0xfffffff4, 0xffffffff};

	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		unsigned char head[FRAME_HEAD] = {0};
		struct ipc_msg msg;
		struct span in;

		be_put32(head, lengths[i]);
		in = exact(head, FRAME_HEAD);
		ck_assert_int_eq(
		    frame_take(in, &msg), lengths[i] > IPC_BODY_MAX ? -1 : lengths[i] == 0);
		exact_free(in);
		head[7] = 1; /* must be zero */
		in = exact(head, FRAME_HEAD);
		ck_assert_int_eq(frame_take(in, &msg), -1);
		exact_free(in);
	}
}
END_TEST

START_TEST(frame_limits)
{
	static char body[IPC_BODY_MAX + 1];
	struct strbuf b;

	strbuf_init(&b, 2 * IPC_BODY_MAX);
	frame_add(&b, 1, 1, span_make(body, IPC_BODY_MAX + 1));
	ck_assert(b.failed && b.n == 0);
	strbuf_reset(&b);
	frame_add(&b, 1, 1, span_make(body, IPC_BODY_MAX));
	ck_assert(!b.failed);
	frame_add(&b, 1, 1, span_make(body, IPC_BODY_MAX));
	ck_assert(b.failed && b.n == FRAME_HEAD + IPC_BODY_MAX); /* whole or not at all */
	strbuf_clear(&b);
}
END_TEST

START_TEST(long_paths)
{
	struct sockaddr_un sun;
	struct err err;
	char text[200];

	memset(text, 'x', sizeof(text));
	for (size_t n = 100; n < 115; n++) {
		text[n] = '\0';
		ck_assert_int_eq(
		    frame_address(text, &sun, &err), n < sizeof(sun.sun_path) ? 0 : -1);
		text[n] = 'x';
	}
	text[150] = '\0';
	ck_assert_ptr_null(ipc_server_new(loop, text, 0600, &ops, NULL, &err));
	ck_assert_int_eq(err.code, ERR_INVALID);
	ck_assert_ptr_null(ipc_server_new(loop, "/nowhere/at/all", 0600, &ops, NULL, &err));
}
END_TEST

/* --- server, from a bare socket --------------------------------------------------------------- */
static int dial(void)
{
	struct sockaddr_un sun;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	ck_assert_int_eq(frame_address(path, &sun, NULL), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

static bool has_ended(int fd)
{
	char buf[256];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		;
	return n == 0 || errno != EAGAIN;
}

START_TEST(requests_at_every_split)
{
	struct strbuf b;
	int fd;

	strbuf_init(&b, 4096);
	frame_add(&b, 1, 1, SPAN("abc"));
	frame_add(&b, 1, 2, SPAN(""));
	frame_add(&b, 1, 3, SPAN("de"));
	serve();
	fd = dial();
	for (size_t at = 1; at < b.n; at += 3) {
		messages = 0;
		strbuf_reset(&bodies);
		ck_assert_int_eq(send(fd, b.p, at, 0), at);
		loop_settle();
		ck_assert_int_eq(send(fd, b.p + at, b.n - at, 0), b.n - at);
		loop_settle();
		ck_assert_uint_eq(messages, 3);
		ck_assert_str_eq(bodies.p, "abcde");
	}
	ck_assert_int_eq(last_peer.pid, getpid());
	ck_assert_uint_eq(last_peer.uid, getuid());
	close(fd);
	loop_settle();
	ck_assert_uint_eq(gone, 1);
	strbuf_clear(&b);
}
END_TEST

START_TEST(hostile_peers)
{
	static const char too_long[] = "\x00\x10\x00\x01\0\1\0\0\0\0\0\1";
	static const char not_zero[] = "\0\0\0\0\0\1\0\1\0\0\0\1";
	int good, a, b, c;

	serve();
	good = dial();
	a = dial();
	b = dial();
	c = dial();
	send(a, too_long, 12, 0);
	send(b, not_zero, 12, 0);
	send(c, "GET / HTTP/1.1\r\n\r\n", 18, 0);
	loop_settle();
	ck_assert(has_ended(a) && has_ended(b) && has_ended(c) && !has_ended(good));
	ck_assert_uint_eq(messages, 0);
	ck_assert_uint_eq(gone, 3);
	send(good, not_zero, 6, 0); /* half a head, then the end */
	close(good);
	loop_settle();
	ck_assert_uint_eq(gone, 4);
	close(a);
	close(b);
	close(c);
}
END_TEST

/* A peer that asks and never reads costs at most 4 MiB, then its connection. */
START_TEST(peer_that_never_reads)
{
	static char body[200000];
	struct strbuf b;
	struct span rest;
	int fd;

	strbuf_init(&b, 16 << 20);
	for (int i = 0; i < 60; i++)
		frame_add(&b, 1, 1, span_make(body, sizeof(body)));
	rest = strbuf_span(&b);
	serve();
	answer = SILENT;
	fd = dial();
	send(fd, b.p, 300000, 0);
	loop_settle();
	ck_assert_uint_ge(messages, 1);
	while (ipc_reply(server, &last_peer, 1, 1, span_make(body, sizeof(body))))
		rest = span_from(rest, sizeof(body));
	ck_assert_uint_le(b.n - rest.n, FRAME_OUT_MAX);
	loop_settle();
	ck_assert_uint_eq(gone, 1);
	close(fd);
	strbuf_clear(&b);
}
END_TEST

/* No descriptor left: the loop rests and serves again when there is one. */
START_TEST(server_without_descriptors)
{
	struct rlimit old, tight;
	int fd;

	serve();
	fd = dial();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	tight.rlim_cur = (rlim_t)fd + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
	loop_settle();
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	send(fd, "\0\0\0\0\0\1\0\0\0\0\0\1", 12, 0);
	for (int i = 0; i < 200 && messages == 0; i++)
		loop_settle();
	ck_assert_uint_eq(messages, 1);
	close(fd);
}
END_TEST

START_TEST(socket_is_replaced_and_has_its_mode)
{
	struct stat st;
	FILE *old = fopen(path, "w");

	fclose(old);
	serve();
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert(S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0600);
	ipc_server_free(server);
	server = NULL;
	ck_assert_int_eq(stat(path, &st), -1);
}
END_TEST

/* --- client ----------------------------------------------------------------------------------- */
static struct {
	unsigned count, errors;
	enum err_code code;
	struct strbuf body;
	bool calls_again;
} replies;

static void on_reply(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	replies.count++;
	if (err) {
		ck_assert_ptr_null(msg);
		replies.errors++;
		replies.code = err->code;
	} else {
		if (replies.calls_again) {
			replies.calls_again = false;
			ipc_call(client, 1, SPAN("again"), 10000, on_reply, NULL);
		}
		strbuf_add(&replies.body, msg->body);
	}
	loop_stop(loop);
}

static void call(const char *text, uint64_t ms)
{
	unsigned before = replies.count;

	ipc_call(client, 1, span_of(text), ms, on_reply, NULL);
	ck_assert_uint_eq(replies.count, before); /* never from inside */
}

static void wait_replies(unsigned count)
{
	while (replies.count < count)
		loop_wait();
}

static void client_setup(void)
{
	setup();
	memset(&replies, 0, sizeof(replies));
	strbuf_init(&replies.body, 32 << 20);
}

static void client_teardown(void)
{
	strbuf_clear(&replies.body);
	teardown();
}

START_TEST(calls_and_answers)
{
	serve();
	client = ipc_client_new(loop, path);
	ck_assert(ipc_client_is_connected(client));
	for (int i = 0; i < 100; i++)
		call("x", 10000);
	wait_replies(100);
	ck_assert_uint_eq(replies.errors, 0);
	ck_assert_uint_eq(replies.body.n, 100);
	/* A second answer to one question, or one that nobody asked, is dropped. */
	answer = TWICE;
	call("y", 10000);
	wait_replies(101);
	loop_settle();
	answer = WRONG_ID;
	call("z", 30);
	wait_replies(102);
	ck_assert_uint_eq(replies.errors, 1);
	ck_assert_int_eq(replies.code, ERR_TIMEOUT);
	ck_assert_uint_eq(replies.count, 102);
}
END_TEST

START_TEST(call_inside_an_answer)
{
	serve();
	client = ipc_client_new(loop, path);
	replies.calls_again = true;
	call("first", 10000);
	wait_replies(2);
	ck_assert_str_eq(replies.body.p, "firstagain");
}
END_TEST

static void on_reply_then_lost(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	int fd = *(int *)arg;

	ck_assert_ptr_nonnull(msg);
	close(fd); /* the other side dies now */
	call("lost", 300);
	/* The frame is still there to be read. */
	ck_assert(span_eq(msg->body, SPAN("answer")));
	replies.count++;
	loop_stop(loop);
}

/* The connection breaks while an answer is being read: what the callback holds stays valid. */
START_TEST(lost_inside_an_answer)
{
	struct sockaddr_un sun;
	struct strbuf b;
	int listening = socket(AF_UNIX, SOCK_STREAM, 0), fd;

	frame_address(path, &sun, NULL);
	ck_assert_int_eq(bind(listening, (struct sockaddr *)&sun, sizeof(sun)), 0);
	ck_assert_int_eq(listen(listening, 1), 0);
	client = ipc_client_new(loop, path);
	fd = accept(listening, NULL, NULL);
	close(listening);
	unlink(path);
	ipc_call(client, 1, SPAN("question"), 100000, on_reply_then_lost, &fd);
	strbuf_init(&b, 100);
	frame_add(&b, 2, 1, SPAN("answer"));
	ck_assert_int_eq(send(fd, b.p, b.n, 0), b.n);
	wait_replies(2);
	ck_assert_uint_eq(replies.errors, 1);
	ck_assert_int_eq(replies.code, ERR_TEMP);
	strbuf_clear(&b);
}
END_TEST

/* Not there yet: the call waits for it; never there: it ends at its deadline. */
START_TEST(client_before_server)
{
	client = ipc_client_new(loop, path);
	ck_assert(!ipc_client_is_connected(client));
	call("early", 20000);
	call("hopeless", 1);
	wait_replies(1);
	ck_assert_int_eq(replies.code, ERR_TEMP);
	serve();
	wait_replies(2);
	ck_assert_uint_eq(replies.errors, 1);
	ck_assert_str_eq(replies.body.p, "early");
}
END_TEST

/* The server dies and comes back: what was asked is asked again, once. */
START_TEST(server_comes_back)
{
	serve();
	client = ipc_client_new(loop, path);
	answer = SILENT;
	call("a", 100000);
	call("b", 100000);
	while (messages < 2)
		loop_settle();
	ipc_server_free(server);
	server = NULL;
	answer = ECHO;
	serve();
	wait_replies(2);
	ck_assert_uint_eq(replies.errors, 0);
	ck_assert_str_eq(replies.body.p, "ab");
}
END_TEST

/* A question that ends its server twice is not asked a third time. */
START_TEST(server_lost_twice)
{
	serve();
	client = ipc_client_new(loop, path);
	answer = SILENT;
	call("deadly", 100000);
	for (size_t seen = 1; seen <= 2; seen++) {
		while (messages < seen)
			loop_settle();
		ipc_server_free(server);
		server = NULL;
		serve();
	}
	wait_replies(1);
	ck_assert_uint_eq(replies.errors, 1);
	ck_assert_int_eq(replies.code, ERR_TEMP);
	answer = ECHO;
	call("c", 20000);
	wait_replies(2);
	ck_assert_uint_eq(replies.errors, 1);
	ck_assert_str_eq(replies.body.p, "c");
}
END_TEST

START_TEST(too_much_for_one_call)
{
	static char body[IPC_BODY_MAX + 1];

	serve();
	client = ipc_client_new(loop, path);
	ipc_call(client, 1, span_make(body, sizeof(body)), 10000, on_reply, NULL);
	call("small", 10000);
	wait_replies(2);
	ck_assert_uint_eq(replies.errors, 1);
	ck_assert_str_eq(replies.body.p, "small");
	/* The largest there and back. */
	ipc_call(client, 1, span_make(body, IPC_BODY_MAX), 20000, on_reply, NULL);
	wait_replies(3);
	ck_assert_uint_eq(replies.errors, 1);
	ck_assert_uint_eq(replies.body.n, IPC_BODY_MAX + 5);
}
END_TEST

START_TEST(cancelled_calls)
{
	struct ipc_call *k;

	serve();
	client = ipc_client_new(loop, path);
	k = ipc_call(client, 1, SPAN("a"), 1, on_reply, NULL);
	ipc_call_cancel(k);
	k = ipc_call(client, 1, SPAN("b"), 10000, on_reply, NULL);
	loop_settle();
	ck_assert_uint_eq(replies.count, 1); /* the answer to b */
	answer = SILENT;
	k = ipc_call(client, 1, SPAN("c"), 10000, on_reply, NULL);
	loop_settle();
	ipc_call_cancel(k);
	ipc_call(client, 1, SPAN("d"), 10000, on_reply, NULL);
	ipc_client_free(client); /* open calls end without a callback */
	client = NULL;
	loop_settle();
	ck_assert_uint_eq(replies.count, 1);
}
END_TEST

/* A server that breaks the format. */
START_TEST(hostile_server)
{
	struct sockaddr_un sun;
	int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), fd;

	frame_address(path, &sun, NULL);
	ck_assert_int_eq(bind(listening, (struct sockaddr *)&sun, sizeof(sun)), 0);
	ck_assert_int_eq(listen(listening, 1), 0);
	client = ipc_client_new(loop, path);
	call("x", 100000);
	/* It is asked twice. */
	for (int i = 0; i < 2; i++) {
		while ((fd = accept(listening, NULL, NULL)) < 0)
			loop_settle();
		ck_assert_int_eq(send(fd, "HTTP/1.1 200 OK\r\n", 17, 0), 17);
		while (recv(fd, &sun, 1, MSG_DONTWAIT) != 0 && replies.count == 0)
			loop_settle();
		close(fd);
	}
	wait_replies(1);
	ck_assert_int_eq(replies.code, ERR_TEMP);
	close(listening);
}
END_TEST

/* --- synchronous ------------------------------------------------------------------------------ */
static void *ask(void *arg)
{
	struct strbuf buf;
	struct ipc_msg msg;
	struct err err;
	int fd = ipc_sync_connect(path, 10000, &err);

	strbuf_init(&buf, IPC_BODY_MAX);
	if (fd >= 0 && ipc_sync_send(fd, 5, 77, SPAN("sync"), 10000, &err) == 0 &&
	    ipc_sync_recv(fd, &buf, &msg, 10000, &err) == 0 && msg.id == 77 && msg.type == 6 &&
	    span_eq(msg.body, SPAN("sync")))
		*(bool *)arg = true;
	strbuf_clear(&buf);
	close(fd);
	return NULL;
}

START_TEST(synchronous)
{
	bool is_good = false;
	pthread_t thread;

	serve();
	pthread_create(&thread, NULL, ask, &is_good);
	while (messages == 0 || gone == 0)
		loop_settle();
	pthread_join(thread, NULL);
	ck_assert(is_good);
}
END_TEST

START_TEST(synchronous_errors)
{
	static char body[IPC_BODY_MAX + 1];
	struct strbuf buf;
	struct ipc_msg msg;
	struct err err;
	int fds[2];

	ck_assert_int_eq(ipc_sync_connect(path, 1000, &err), -1);
	ck_assert_int_eq(err.code, ERR_NOT_FOUND);
	strbuf_init(&buf, IPC_BODY_MAX);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(ipc_sync_recv(fds[0], &buf, &msg, 1, &err), -1);
	ck_assert_int_eq(err.code, ERR_TIMEOUT);
	ck_assert_int_eq(
	    ipc_sync_send(fds[0], 1, 1, span_make(body, sizeof(body)), 1000, &err), -1);
	ck_assert_int_eq(err.code, ERR_LIMIT);
	ck_assert_int_eq(send(fds[1], "HTTP/1.1 200 OK\r\n", 17, 0), 17);
	ck_assert_int_eq(ipc_sync_recv(fds[0], &buf, &msg, 1000, &err), -1);
	ck_assert_int_eq(err.code, ERR_INVALID);
	close(fds[0]);
	close(fds[1]);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(send(fds[1], "\0\0\0\5\0\1\0\0\0\0\0\1abc", 15, 0), 15);
	close(fds[1]);
	ck_assert_int_eq(ipc_sync_recv(fds[0], &buf, &msg, 1000, &err), -1);
	ck_assert_int_eq(err.code, ERR_CLOSED);
	close(fds[0]);
	strbuf_clear(&buf);
}
END_TEST

/* --- hints ------------------------------------------------------------------------------------ */
static unsigned hints;

static void on_hint(void *arg, struct span hint)
{
	ck_assert(span_eq(hint, SPAN("12345678")));
	hints++;
}

START_TEST(hints_of_the_right_size)
{
	struct err err;
	struct hint_receiver *r = hint_receiver_new(loop, path, 8, on_hint, NULL, &err);
	int fd = hint_socket();

	ck_assert_ptr_nonnull(r);
	hint_send(fd, path, SPAN("12345678"));
	hint_send(fd, path, SPAN("1234567"));
	hint_send(fd, path, SPAN("123456789"));
	hint_send(fd, path, SPAN(""));
	ck_assert(hint_send(fd, "/nowhere/at/all", SPAN("12345678")));
	ck_assert(hint_send(-1, path, SPAN("12345678")));
	ck_assert(hint_send(fd, path, SPAN("12345678")));
	loop_settle();
	ck_assert_uint_eq(hints, 2);
	while (
	    hint_send(fd, path, SPAN("12345678"))) /* nobody reads: it never blocks, and says so */
		;
	loop_settle();
	ck_assert(hint_send(fd, path, SPAN("12345678")));
	ck_assert_uint_gt(hints, 2);
	hint_receiver_free(r);
	hint_receiver_free(NULL);
	ck_assert(hint_send(fd, path, SPAN("12345678")));
	close(fd);
}
END_TEST

int main(void)
{
	const TTest *const bare[] = {frame_at_every_cut, frame_hostile_lengths, frame_limits,
	    long_paths, requests_at_every_split, hostile_peers, peer_that_never_reads,
	    server_without_descriptors, socket_is_replaced_and_has_its_mode, synchronous,
	    synchronous_errors, hints_of_the_right_size};
	const TTest *const clients[] = {calls_and_answers, call_inside_an_answer,
	    lost_inside_an_answer, client_before_server, server_comes_back, server_lost_twice,
	    too_much_for_one_call, cancelled_calls, hostile_server};
	Suite *suite = suite_create("ipc");
	TCase *a = tcase_create("bare"), *b = tcase_create("client");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(a, setup, teardown);
	tcase_add_checked_fixture(b, client_setup, client_teardown);
	tcase_set_timeout(a, 60);
	tcase_set_timeout(b, 60);
	unit_add(a, bare, ARRAY_LEN(bare));
	unit_add(b, clients, ARRAY_LEN(clients));
	suite_add_tcase(suite, a);
	suite_add_tcase(suite, b);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
