/* Session tickets while their keys rotate: the newest key makes them, older ones are still read and
 * replaced, and what was made with a key that went is a new handshake. */
#include "tests/support/ca.h"
#include "tests/support/conn_fixture.h"

#include <openssl/ssl.h>

static struct strbuf cert, key;
static unsigned char keys[3][TLS_TICKET_LEN]; /* A, B, C */
static struct session server;
static int version;

/* "BA": B makes them, A is read too. */
static struct tls_context *context(const char *names)
{
	struct tls_certificate certificate = {
	    .chain = strbuf_span(&cert), .key = strbuf_span(&key)};
	struct tls_server_options o = {.certificates = &certificate, .count = 1, .min_version = 12};
	struct tls_context *t;
	struct err err = ERR_INIT;

	for (; *names; names++)
		o.tickets[o.ticket_count++] =
		    span_make(keys[*names - 'A'], sizeof(keys[*names - 'A']));
	t = tls_server_context_new(&o, &err);
	ck_assert_msg(t != NULL, "%s", err.text);
	return t;
}

/* The greeting comes behind TLS 1.3's ticket. */
static void talk(SSL *ssl)
{
	char byte;
	int n;

	while ((n = SSL_connect(ssl)) != 1) {
		ck_assert_int_eq(SSL_get_error(ssl, n), SSL_ERROR_WANT_READ);
		loop_settle();
	}
	while (server.secures == 0)
		loop_settle();
	conn_write(server.c, SPAN("x"));
	while ((n = SSL_read(ssl, &byte, 1)) != 1) {
		ck_assert_int_eq(SSL_get_error(ssl, n), SSL_ERROR_WANT_READ);
		loop_settle();
	}
}

/* Whether the session of before was resumed (NULL: none); *next is the one for the next time. */
static bool resumes(const char *names, SSL_SESSION *before, SSL_SESSION **next)
{
	struct tls_context *t = context(names);
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct err err = ERR_INIT;
	bool is_reused;
	int fds[2];
	SSL *ssl;

	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	session_open(&server, fds[0], NULL);
	ck_assert_int_eq(conn_start_tls(server.c, t, &err), 0);
	SSL_CTX_set_max_proto_version(ctx, version);
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, fds[1]);
	if (before)
		SSL_set_session(ssl, before);
	talk(ssl);
	is_reused = SSL_session_reused(ssl) == 1;
	if (next)
		*next = SSL_get1_session(ssl);
	SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	session_end(&server);
	close(fds[1]);
	loop_settle();
	tls_context_unref(t);
	return is_reused;
}

START_TEST(keys_rotate)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		SSL_SESSION *first, *renewed;

		version = versions[i];
		ck_assert(!resumes("A", NULL, &first));
		ck_assert(resumes("A", first, NULL));
		ck_assert(resumes("BA", first, &renewed));
		ck_assert(resumes("CBA", first, NULL));
		ck_assert(!resumes("CB", first, NULL));
		/* The old ticket was replaced by one of the newest key. */
		ck_assert(resumes("CB", renewed, NULL));
		ck_assert(!resumes("A", renewed, NULL));
		SSL_SESSION_free(first);
		SSL_SESSION_free(renewed);
	}
}
END_TEST

static void make_all(void)
{
	struct ca_cert made = ca_make(&(struct ca_want){.name = "mail.example.test"}, NULL);

	strbuf_init(&cert, 1 << 16);
	strbuf_init(&key, 1 << 16);
	ca_add_cert(&cert, made.cert, false);
	ca_add_key(&key, made.key, NULL);
	ca_free(&made);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		memset(keys[i], (int)i + 1, sizeof(keys[i]));
}

static void free_all(void)
{
	strbuf_clear(&cert);
	strbuf_clear(&key);
}

int main(void)
{
	const TTest *const tests[] = {keys_rotate};
	TCase *tc = tcase_create("tickets");

	tcase_add_unchecked_fixture(tc, make_all, free_all);
	tcase_add_checked_fixture(tc, loop_setup, loop_teardown);
	tcase_set_timeout(tc, 60);
	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
