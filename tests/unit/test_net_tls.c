/* TLS on a connection, both sides: handshakes byte by byte, upgrades, what comes in the clear where
 * it must not, ends of every kind, certificates that are refused. */
#include "tests/support/conn_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

static char dir[64];
static struct strbuf cert, key, other_key, locked_key;
static struct session server, client;
static struct tls_context *server_tls, *client_tls;

/* --- certificates, made once ------------------------------------------------------------------ */
static void run(char *const argv[])
{
	int status, null = open("/dev/null", O_RDWR);
	pid_t pid = fork();

	if (pid == 0) {
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(null);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		abort();
}

static const char *in_dir(const char *name)
{
	static char path[4][128];
	static unsigned turn;
	char *out = path[turn++ % 4];

	snprintf(out, sizeof(path[0]), "%s/%s", dir, name);
	return out;
}

static void load(struct strbuf *b, const char *name)
{
	char part[4096];
	FILE *in = fopen(in_dir(name), "r");
	size_t n;

	strbuf_init(b, 1 << 20);
	if (!in)
		abort();
	while ((n = fread(part, 1, sizeof(part), in)) > 0)
		strbuf_add_mem(b, part, n);
	fclose(in);
}

#define ARG(text) ((char *)(uintptr_t)(text))

static struct tls_context *server_context(struct span chain, struct span private, struct err *err)
{
	struct tls_certificate certificate = {.chain = chain, .key = private};
	struct tls_server_options o = {.certificates = &certificate, .count = 1, .min_version = 12};

	return tls_server_context_new(&o, err);
}

static void make_certificates(void)
{
	snprintf(dir, sizeof(dir), "/tmp/mailstead-test-XXXXXX");
	if (!mkdtemp(dir))
		abort();
	run((char *[]){ARG("openssl"), ARG("req"), ARG("-x509"), ARG("-newkey"), ARG("ec"),
	    ARG("-pkeyopt"), ARG("ec_paramgen_curve:P-256"), ARG("-nodes"), ARG("-days"), ARG("9"),
	    ARG("-subj"), ARG("/CN=mail.example.test"), ARG("-addext"),
	    ARG("subjectAltName=DNS:mail.example.test"), ARG("-keyout"), ARG(in_dir("key.pem")),
	    ARG("-out"), ARG(in_dir("cert.pem")), NULL});
	run((char *[]){ARG("openssl"), ARG("genpkey"), ARG("-algorithm"), ARG("EC"),
	    ARG("-pkeyopt"), ARG("ec_paramgen_curve:P-256"), ARG("-out"), ARG(in_dir("other.pem")),
	    NULL});
	run((char *[]){ARG("openssl"), ARG("ec"), ARG("-in"), ARG(in_dir("key.pem")),
	    ARG("-aes128"), ARG("-passout"), ARG("pass:secret"), ARG("-out"),
	    ARG(in_dir("locked.pem")), NULL});
	load(&cert, "cert.pem");
	load(&key, "key.pem");
	load(&other_key, "other.pem");
	load(&locked_key, "locked.pem");
}

static void drop_certificates(void)
{
	static const char *const names[] = {"cert.pem", "key.pem", "other.pem", "locked.pem"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		unlink(in_dir(names[i]));
	rmdir(dir);
	strbuf_clear(&cert);
	strbuf_clear(&key);
	strbuf_clear(&other_key);
	strbuf_clear(&locked_key);
}

static void setup(void)
{
	struct err err;

	loop_setup();
	server_tls = server_context(strbuf_span(&cert), strbuf_span(&key), &err);
	ck_assert_msg(server_tls != NULL, "%s", err.text);
	client_tls = tls_client_context_new(NULL, &err);
	ck_assert_ptr_nonnull(client_tls);
}

static void teardown(void)
{
	session_end(&server);
	session_end(&client);
	loop_settle(); /* a conn that was closed waits for its peer's end */
	tls_context_unref(server_tls);
	tls_context_unref(client_tls);
	tls_context_unref(NULL);
	loop_teardown();
}

/* Server and client, connected. */
static void both(void)
{
	int fds[2];

	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	session_open(&server, fds[0], NULL);
	session_open(&client, fds[1], NULL);
}

static void secure_both(void)
{
	struct err err;

	ck_assert_int_eq(conn_start_tls(server.c, server_tls, &err), 0);
	ck_assert_int_eq(conn_start_tls_client(client.c, client_tls, NULL, &err), 0);
	while (server.secures == 0 || client.secures == 0)
		loop_wait();
	ck_assert(server.secures == 1 && client.secures == 1);
}

/* --- the good way ----------------------------------------------------------------------------- */
START_TEST(handshake_and_talk)
{
	both();
	ck_assert(!conn_is_tls(server.c));
	secure_both();
	ck_assert(conn_is_tls(server.c) && conn_is_tls(client.c));
	ck_assert_str_eq(conn_tls_version(server.c), "TLSv1.3");
	ck_assert(strncmp(conn_tls_cipher(server.c), "TLS_", 4) == 0);
	ck_assert_str_eq(conn_tls_cipher(server.c), conn_tls_cipher(client.c));
	server.wanted = 5;
	conn_write(client.c, SPAN("hello"));
	loop_wait();
	ck_assert_str_eq(server.got.p, "hello");
	client.wanted = 3;
	conn_writef(server.c, "%s", "220");
	loop_wait();
	ck_assert_str_eq(client.got.p, "220");
}
END_TEST

/* Much both ways at once, through records and back-pressure. */
START_TEST(much_both_ways)
{
	const struct conn_limits limits = {70000, 50000, 10000, 16 << 20};
	struct strbuf up, down;
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	session_open(&server, fds[0], &limits);
	session_open(&client, fds[1], &limits);
	secure_both();
	strbuf_init(&up, 8 << 20);
	strbuf_init(&down, 8 << 20);
	pattern_add(&up, 3000001);
	pattern_add(&down, 5000003);
	conn_write(client.c, strbuf_span(&up));
	conn_write(server.c, strbuf_span(&down));
	while (server.got.n < up.n || client.got.n < down.n)
		loop_settle();
	ck_assert(span_eq(strbuf_span(&server.got), strbuf_span(&up)));
	ck_assert(span_eq(strbuf_span(&client.got), strbuf_span(&down)));
	strbuf_clear(&up);
	strbuf_clear(&down);
}
END_TEST

/* Input that TLS has decrypted already, and no socket event tells of, still arrives after a pause
 * or once there is room. */
START_TEST(bounded_and_paused)
{
	const struct conn_limits limits = {1000, 65536, 16384, 1 << 20};
	struct strbuf all;
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	session_open(&server, fds[0], &limits);
	session_open(&client, fds[1], NULL);
	secure_both();
	strbuf_init(&all, 1 << 20);
	pattern_add(&all, 60000);
	server.is_lazy = true;
	conn_write(client.c, strbuf_span(&all));
	for (int i = 0; i < 3; i++)
		loop_settle();
	ck_assert_uint_eq(conn_input(server.c).n, 1000);
	conn_pause(server.c);
	loop_settle();
	server.is_lazy = false;
	server.wanted = all.n;
	conn_resume(server.c);
	loop_wait();
	ck_assert(span_eq(strbuf_span(&server.got), strbuf_span(&all)));
	strbuf_clear(&all);
}
END_TEST

/* --- byte by byte ----------------------------------------------------------------------------- */
struct relay {
	int a, b;
	size_t step;
};

/* Moves at most step bytes from one socket to the other. */
static void carry(int from, int to, size_t step)
{
	char buf[64];
	ssize_t n = recv(from, buf, step < sizeof(buf) ? step : sizeof(buf), 0);

	if (n > 0)
		ck_assert_int_eq(send(to, buf, (size_t)n, MSG_NOSIGNAL), n);
}

static void on_relay(void *arg)
{
	struct relay *r = arg;

	carry(r->a, r->b, r->step);
	carry(r->b, r->a, r->step);
}

static void one_turn(void)
{
	struct timer t;

	timer_init(&t, loop, loop_stop_by_timer, NULL);
	timer_set(&t, 0);
	loop_wait();
	timer_clear(&t);
}

/* Every record arrives in pieces of one to three bytes, in both directions. */
START_TEST(handshake_in_small_pieces)
{
	for (size_t step = 1; step <= 3; step++) {
		struct relay r = {.step = step};
		struct err err;

		r.a = session_pair(&server, NULL);
		r.b = session_pair(&client, NULL);
		ck_assert_int_eq(conn_start_tls(server.c, server_tls, &err), 0);
		ck_assert_int_eq(conn_start_tls_client(client.c, client_tls, NULL, &err), 0);
		conn_write(client.c, SPAN("after the handshake"));
		server.wanted = 19;
		while (server.got.n < 19) {
			on_relay(&r);
			one_turn();
		}
		ck_assert_str_eq(server.got.p, "after the handshake");
		close(r.a);
		close(r.b);
		session_end(&server);
		session_end(&client);
	}
}
END_TEST

/* --- upgrades --------------------------------------------------------------------------------- */
static void upgrade(struct session *s)
{
	struct err err = ERR_INIT;
	struct span in = conn_input(s->c);

	s->hook = NULL;
	conn_consume(s->c, in.n);
	conn_write(s->c, SPAN("220 go ahead\r\n"));
	ck_assert_msg(conn_start_tls(s->c, server_tls, &err) == 0, "%s", err.text);
	/* What is said after the upgrade waits for it. */
	conn_write(s->c, SPAN("secret greeting\r\n"));
}

static void follow(struct session *s)
{
	struct err err;

	s->hook = NULL;
	ck_assert(span_eq(conn_input(s->c), SPAN("220 go ahead\r\n")));
	conn_consume(s->c, 14);
	ck_assert_int_eq(conn_start_tls_client(s->c, client_tls, NULL, &err), 0);
	conn_write(s->c, SPAN("secret command\r\n"));
}

START_TEST(starttls)
{
	both();
	server.hook = upgrade;
	client.hook = follow;
	conn_write(client.c, SPAN("STARTTLS\r\n"));
	while (server.got.n == 0 || client.got.n == 0)
		loop_settle();
	ck_assert_str_eq(server.got.p, "secret command\r\n");
	ck_assert_str_eq(client.got.p, "secret greeting\r\n");
}
END_TEST

/* Bytes in the clear behind STARTTLS, or behind its reply: nothing of them may count as secured. */
START_TEST(injected_before_the_upgrade)
{
	struct err err;

	both();
	server.is_lazy = client.is_lazy = true;
	conn_write(client.c, SPAN("STARTTLS\r\nMAIL FROM:<a@b>\r\n"));
	conn_write(server.c, SPAN("220 go\r\n250 injected\r\n"));
	loop_settle();
	conn_consume(server.c, 10);
	ck_assert_int_eq(conn_start_tls(server.c, server_tls, &err), -1);
	ck_assert_int_eq(err.code, ERR_DENIED);
	conn_consume(client.c, 8);
	ck_assert_int_eq(conn_start_tls_client(client.c, client_tls, NULL, &err), -1);
	ck_assert_int_eq(err.code, ERR_DENIED);
	ck_assert(!conn_is_tls(server.c) && !conn_is_tls(client.c));
}
END_TEST

/* The same bytes, arriving after the reply: they are no handshake, and never reach the session. */
START_TEST(plaintext_after_the_upgrade)
{
	int peer = session_pair(&server, NULL);
	struct strbuf out;

	strbuf_init(&out, 4096);
	server.hook = upgrade;
	peer_send(peer, SPAN("STARTTLS\r\n"));
	while (out.n < 14) {
		loop_settle();
		peer_take(peer, &out, NULL);
	}
	ck_assert_str_eq(out.p, "220 go ahead\r\n"); /* and not the secret greeting */
	peer_send(peer, SPAN("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"));
	loop_wait();
	ck_assert_uint_eq(server.closes, 1);
	ck_assert_uint_eq(server.secures, 0);
	ck_assert_uint_eq(server.got.n, 0);
	ck_assert_ptr_null(strstr(out.p, "secret"));
	strbuf_clear(&out);
	close(peer);
}
END_TEST

START_TEST(twice)
{
	struct err err;

	both();
	secure_both();
	ck_assert_int_eq(conn_start_tls(server.c, server_tls, &err), -1);
	ck_assert_int_eq(err.code, ERR_INVALID);
}
END_TEST

/* --- ends ------------------------------------------------------------------------------------- */
START_TEST(close_is_told_and_last_words_arrive)
{
	struct strbuf all;

	strbuf_init(&all, 1 << 20);
	pattern_add(&all, 500000);
	both();
	secure_both();
	conn_write(server.c, strbuf_span(&all));
	conn_close(server.c);
	server.c = NULL;
	while (client.closes == 0)
		loop_settle();
	ck_assert_int_eq(client.why.code, ERR_CLOSED);
	ck_assert(span_eq(strbuf_span(&client.got), strbuf_span(&all)));
	strbuf_clear(&all);
}
END_TEST

START_TEST(gone_in_the_handshake)
{
	for (int how = 0; how < 3; how++) {
		int peer = session_pair(&server, NULL);
		struct err err;

		ck_assert_int_eq(conn_start_tls(server.c, server_tls, &err), 0);
		loop_settle();
		if (how == 1)
			peer_send(peer, SPAN("\x16\x03\x01\x02\x00\x01\x00"));
		if (how == 2)
			peer_send(peer, SPAN("GET / HTTP/1.1\r\n\r\n"));
		if (how < 2)
			close(peer);
		while (server.closes == 0)
			loop_wait();
		ck_assert_uint_eq(server.secures, 0);
		if (how == 2)
			close(peer);
		session_end(&server);
	}
}
END_TEST

START_TEST(garbage_in_the_stream)
{
	struct relay r;
	struct err err;

	r.a = session_pair(&server, NULL);
	r.b = session_pair(&client, NULL);
	r.step = 64;
	ck_assert_int_eq(conn_start_tls(server.c, server_tls, &err), 0);
	ck_assert_int_eq(conn_start_tls_client(client.c, client_tls, NULL, &err), 0);
	while (server.secures == 0 || client.secures == 0) {
		for (int i = 0; i < 100; i++)
			on_relay(&r);
		loop_settle();
	}
	/* A record of application data that nobody encrypted. */
	peer_send(r.a, SPAN("\x17\x03\x03\x00\x18"
			    "abcdefghijklmnopqrstuvwx"));
	loop_wait();
	ck_assert_uint_eq(server.closes, 1);
	ck_assert_uint_eq(server.got.n, 0);
	close(r.a);
	close(r.b);
}
END_TEST

START_TEST(freed_when_secured)
{
	both();
	server.free_at = 's';
	struct err err;

	ck_assert_int_eq(conn_start_tls(server.c, server_tls, &err), 0);
	ck_assert_int_eq(conn_start_tls_client(client.c, client_tls, NULL, &err), 0);
	while (server.c)
		loop_wait();
	while (client.closes == 0)
		loop_wait();
}
END_TEST

/* Closing before the handshake is done drops it all. */
START_TEST(closed_in_the_handshake)
{
	struct err err;
	int peer = session_pair(&server, NULL);
	char buf[8];

	ck_assert_int_eq(conn_start_tls(server.c, server_tls, &err), 0);
	loop_settle();
	conn_close(server.c);
	server.c = NULL;
	loop_settle();
	ck_assert_int_eq(recv(peer, buf, sizeof(buf), 0), 0);
	close(peer);
}
END_TEST

/* --- certificates ----------------------------------------------------------------------------- */
START_TEST(bad_certificates)
{
	const struct {
		struct span chain, key;
		const char *want;
	} rows[] = {
	    {SPAN(""), strbuf_span(&key), "no certificate"},
	    {SPAN("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
		strbuf_span(&key), "no certificate"},
	    {strbuf_span(&key), strbuf_span(&key), "no certificate"},
	    {strbuf_span(&cert), SPAN(""), "no usable private key"},
	    {strbuf_span(&cert), strbuf_span(&cert), "no usable private key"},
	    {strbuf_span(&cert), strbuf_span(&locked_key), "no usable private key"},
	    {strbuf_span(&cert), strbuf_span(&other_key), "private key"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = ERR_INIT;

		ck_assert_ptr_null(server_context(rows[i].chain, rows[i].key, &err));
		ck_assert_int_eq(err.code, ERR_INVALID);
		ck_assert_msg(strstr(err.text, rows[i].want) != NULL, "%s", err.text);
	}
}
END_TEST

static void verify(const char *ca, const char *name, bool is_good)
{
	struct tls_context *t;
	struct err err;

	t = tls_client_context_new(ca, &err);
	ck_assert_msg(t != NULL, "%s", err.text);
	both();
	ck_assert_int_eq(conn_start_tls(server.c, server_tls, &err), 0);
	ck_assert_int_eq(conn_start_tls_client(client.c, t, name, &err), 0);
	tls_context_unref(t); /* the connection keeps it */
	while (client.secures == 0 && client.closes == 0)
		loop_wait();
	ck_assert_int_eq(client.secures == 1, is_good);
	session_end(&server);
	session_end(&client);
}

START_TEST(verification)
{
	struct err err;

	verify(in_dir("cert.pem"), "mail.example.test", true);
	verify(in_dir("cert.pem"), "other.example.test", false);
	verify(NULL, "other.example.test", true); /* opportunistic */
	ck_assert_ptr_null(tls_client_context_new(in_dir("none.pem"), &err));
	ck_assert_ptr_null(tls_client_context_new(in_dir("key.pem"), &err));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {handshake_and_talk, much_both_ways, bounded_and_paused,
	    handshake_in_small_pieces, starttls, injected_before_the_upgrade,
	    plaintext_after_the_upgrade, twice, close_is_told_and_last_words_arrive,
	    gone_in_the_handshake, garbage_in_the_stream, freed_when_secured,
	    closed_in_the_handshake, bad_certificates, verification};
	TCase *tc = tcase_create("tls");
	int result;

	make_certificates();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	unit_add(tc, tests, ARRAY_LEN(tests));
	result = unit_finish(tc);
	drop_certificates();
	return result;
}
