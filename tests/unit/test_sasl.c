/* SASL PLAIN and LOGIN, every form of a message, and the question to authd. */
#include "common/base/base64.h"
#include "common/sasl/sasl.h"
#include "tests/support/loop_fixture.h"

#include <stdio.h>
#include <unistd.h>

static struct sasl sasl;

static enum sasl_step plain(const void *message, size_t n)
{
	struct strbuf text;
	struct span in;
	enum sasl_step step;

	strbuf_init(&text, 8192);
	base64_encode(&text, span_make(message, n));
	in = exact(text.p, text.n);
	sasl_init(&sasl);
	step = sasl_start(&sasl, SPAN("plain"), in.p ? in : SPAN("="));
	exact_free(in);
	strbuf_clear(&text);
	return step;
}

/* All messages of up to six bytes out of {NUL, 'a', 'b'}: by the grammar of RFC 4616. */
START_TEST(plain_messages)
{
	for (unsigned n = 0; n <= 6; n++) {
		unsigned total = 1;

		for (unsigned i = 0; i < n; i++)
			total *= 3;
		for (unsigned code = 0; code < total; code++) {
			char text[8], *first, *second;
			unsigned v = code, nuls = 0;
			bool is_good;

			for (unsigned i = 0; i < n; i++, v /= 3) {
				text[i] = "\0ab"[v % 3];
				nuls += text[i] == 0;
			}
			text[n] = 'x';
			first = memchr(text, 0, n);
			second =
			    first ? memchr(first + 1, 0, (size_t)(text + n - first) - 1) : NULL;
			is_good = nuls == 2 && second > first + 1 && second + 1 < text + n &&
				  (first == text ||
				      span_eq(span_make(text, (size_t)(first - text)),
					  span_make(first + 1, (size_t)(second - first) - 1)));
			ck_assert_int_eq(plain(text, n), is_good ? SASL_READY : SASL_BAD);
			if (is_good) {
				ck_assert_str_eq(sasl.user, first + 1);
				ck_assert(span_eq(span_of(sasl.password),
				    span_make(second + 1, (size_t)(text + n - second) - 1)));
			}
		}
	}
}
END_TEST

START_TEST(lengths)
{
	char message[SASL_USER_MAX + SASL_PASSWORD_MAX + 8];

	for (int user = -1; user <= 1; user++)
		for (int password = -1; password <= 1; password++) {
			size_t u = (size_t)(SASL_USER_MAX + user);
			size_t p = (size_t)(SASL_PASSWORD_MAX + password);

			memset(message, 'x', sizeof(message));
			message[0] = message[1 + u] = 0;
			ck_assert_int_eq(plain(message, 2 + u + p),
			    user <= 0 && password <= 0 ? SASL_READY : SASL_BAD);
			sasl_init(&sasl);
		}
}
END_TEST

/* Lines of base64: white space, bad padding, too long; all refused, nothing kept. */
START_TEST(bad_lines)
{
	static const char *const bad[] = {"", "AGEAYg",
	    "AGEAYg=", " AGEAYg==", "AGEAYg== ", "AGEAYg==\r", "AGEA\nYg==", "AGEAYh==", "=",
	    "====", "*AAA", "A",
	    "\x80"
	    "AAA"};
	static char text[SASL_LINE_MAX + 5];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		sasl_init(&sasl);
		ck_assert_int_eq(
		    sasl_start(&sasl, SPAN("PLAIN"), span_make(NULL, 0)), SASL_CHALLENGE);
		ck_assert_str_eq(sasl.challenge, "");
		ck_assert_msg(sasl_continue(&sasl, span_of(bad[i])) == SASL_BAD, "\"%s\"", bad[i]);
		ck_assert_str_eq(sasl.password, "");
	}
	memset(text, 'A', sizeof(text));
	sasl_init(&sasl);
	ck_assert_int_eq(
	    sasl_start(&sasl, SPAN("PLAIN"), span_make(text, SASL_LINE_MAX + 4)), SASL_BAD);
}
END_TEST

START_TEST(login_dialogue)
{
	sasl_init(&sasl);
	ck_assert_int_eq(sasl_start(&sasl, SPAN("Login"), span_make(NULL, 0)), SASL_CHALLENGE);
	ck_assert_str_eq(sasl.challenge, "VXNlcm5hbWU6");
	ck_assert_int_eq(sasl_continue(&sasl, SPAN("YWxpY2U=")), SASL_CHALLENGE);
	ck_assert_str_eq(sasl.challenge, "UGFzc3dvcmQ6");
	ck_assert_int_eq(sasl_continue(&sasl, SPAN("c2VjcmV0")), SASL_READY);
	ck_assert_str_eq(sasl.user, "alice");
	ck_assert_str_eq(sasl.password, "secret");
	/* The name in the first line. */
	sasl_init(&sasl);
	ck_assert_int_eq(sasl_start(&sasl, SPAN("LOGIN"), SPAN("YWxpY2U=")), SASL_CHALLENGE);
	ck_assert_str_eq(sasl.challenge, "UGFzc3dvcmQ6");
	ck_assert_int_eq(sasl_continue(&sasl, SPAN("")), SASL_BAD);
	sasl_init(&sasl);
	ck_assert_int_eq(sasl_start(&sasl, SPAN("LOGIN"), SPAN("=")), SASL_BAD);
}
END_TEST

START_TEST(other_ways)
{
	static const char *const unknown[] = {
	    "", "PLAI", "PLAINX", "PLAIN ", "CRAM-MD5", "EXTERNAL", "ANONYMOUS"};

	for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
		sasl_init(&sasl);
		ck_assert_int_eq(
		    sasl_start(&sasl, span_of(unknown[i]), span_make(NULL, 0)), SASL_UNKNOWN);
		ck_assert_int_eq(sasl_continue(&sasl, SPAN("AGEAYg==")), SASL_BAD);
	}
	sasl_init(&sasl);
	sasl_start(&sasl, SPAN("PLAIN"), span_make(NULL, 0));
	ck_assert_int_eq(sasl_continue(&sasl, SPAN("*")), SASL_ABORTED);
}
END_TEST

START_TEST(wiped)
{
	static const char zero[SASL_PASSWORD_MAX + 1];

	ck_assert_int_eq(plain("\0alice\0secret", 13), SASL_READY);
	ck_assert_str_eq(sasl.password, "secret");
	sasl_clear(&sasl);
	ck_assert_mem_eq(sasl.password, zero, sizeof(sasl.password));
	ck_assert_mem_eq(sasl.user, zero, sizeof(sasl.user));
	ck_assert_str_eq(sasl.challenge, "");
}
END_TEST

/* --- the question ----------------------------------------------------------------------------- */
static char dir[64], path[96];
static struct ipc_server *server;
static enum { GOOD, NONSENSE, OTHER_TYPE, NOTHING } answer;
static unsigned asked, answered;
static uint8_t status;
static uint64_t account;

static void on_message(void *arg, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct ipc_login_result res = {.status = LOGIN_OK, .account = 7, .address = SPAN("a@b")};
	struct ipc_login login;
	struct strbuf b;

	asked++;
	ck_assert_uint_eq(msg->type, IPC_AUTH_LOGIN);
	ck_assert(ipc_dec_login(msg->body, &login));
	ck_assert(span_eq(login.user, SPAN("alice")) && span_eq(login.password, SPAN("secret")));
	ck_assert(span_eq(login.protocol, SPAN("imap")) && span_eq(login.listener, SPAN("imaps")));
	strbuf_init(&b, 4096);
	ipc_enc_login_result(&b, &res);
	if (answer == GOOD)
		ipc_reply(server, peer, msg->id, IPC_AUTH_RESULT, strbuf_span(&b));
	if (answer == OTHER_TYPE)
		ipc_reply(server, peer, msg->id, IPC_ERROR, strbuf_span(&b));
	if (answer == NONSENSE)
		ipc_reply(server, peer, msg->id, IPC_AUTH_RESULT, SPAN("\1"));
	strbuf_clear(&b);
}

static void on_result(void *arg, const struct ipc_login_result *res)
{
	status = res->status;
	account = res->account;
	answered++;
	loop_stop(loop);
}

static struct sasl_call *ask(struct ipc_client *authd)
{
	char user[] = "alice", password[] = "secret";
	struct sasl_question q = {authd, "imap", "imaps", "::1", span_of(user), span_of(password)};
	unsigned before = answered;
	struct sasl_call *call = sasl_ask(&q, on_result, NULL);

	ck_assert_uint_eq(answered, before);
	memset(user, 0, sizeof(user)); /* they were copied */
	memset(password, 0, sizeof(password));
	return call;
}

START_TEST(questions)
{
	static const struct ipc_server_ops ops = {.on_message = on_message};
	struct ipc_client *authd;
	struct err err;

	snprintf(dir, sizeof(dir), "/tmp/mailstead-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	server = ipc_server_new(loop, path, 0600, &ops, NULL, &err);
	authd = ipc_client_new(loop, path);
	for (answer = GOOD; answer <= OTHER_TYPE; answer++) {
		ask(authd);
		loop_wait();
		ck_assert_uint_eq(status, answer == GOOD ? LOGIN_OK : LOGIN_TEMP);
		ck_assert_uint_eq(account, answer == GOOD ? 7 : 0);
	}
	/* authd dies before it answers. */
	answer = NOTHING;
	ask(authd);
	while (asked < 4)
		loop_settle();
	ipc_server_free(server);
	loop_wait();
	ck_assert_uint_eq(status, LOGIN_TEMP);
	/* A client that leaves hears nothing. */
	sasl_call_cancel(ask(authd));
	loop_settle();
	ck_assert_uint_eq(answered, 4);
	ipc_client_free(authd);
	rmdir(dir);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
	    plain_messages, lengths, bad_lines, login_dialogue, other_ways, wiped, questions};
	TCase *tc = tcase_create("sasl");

	tcase_add_checked_fixture(tc, loop_setup, loop_teardown);
	tcase_set_timeout(tc, 60);
	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
