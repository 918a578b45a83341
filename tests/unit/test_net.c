/* Addresses, connection limits, and the listener, also without a descriptor left. */
#include "common/net/addr.h"
#include "common/net/limits.h"
#include "common/net/listener.h"
#include "tests/support/loop_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

/* --- addresses -------------------------------------------------------------------------------- */
static struct net_addr parse(const char *text)
{
	struct span in = exact(text, strlen(text));
	struct net_addr a;
	struct err err;

	ck_assert_msg(net_addr_parse(&a, in, 25, &err) == 0, "%s: %s", text, err.text);
	exact_free(in);
	return a;
}

START_TEST(addr_forms)
{
	static const struct {
		const char *text, *ip, *port, *literal;
		bool is_loopback;
	} rows[] = {
	    {"192.0.2.1", "192.0.2.1", "192.0.2.1:25", "[192.0.2.1]", false},
	    {"127.255.0.9", "127.255.0.9", "127.255.0.9:25", "[127.255.0.9]", true},
	    {"2001:DB8:0:0::1", "2001:db8::1", "[2001:db8::1]:25", "[IPv6:2001:db8::1]", false},
	    {"[2001:db8::1]", "2001:db8::1", "[2001:db8::1]:25", "[IPv6:2001:db8::1]", false},
	    {"::1", "::1", "[::1]:25", "[IPv6:::1]", true},
	    {"::", "::", "[::]:25", "[IPv6:::]", false},
	    {"::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1:25", "[192.0.2.1]", false},
	    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:25",
		"[IPv6:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct net_addr a = parse(rows[i].text), back;
		struct sockaddr_storage ss;
		char out[NET_ADDR_TEXT];
		socklen_t len;

		net_addr_format(&a, out);
		ck_assert_str_eq(out, rows[i].ip);
		net_addr_format_port(&a, out);
		ck_assert_str_eq(out, rows[i].port);
		net_addr_format_literal(&a, out);
		ck_assert_str_eq(out, rows[i].literal);
		ck_assert_int_eq(net_addr_is_loopback(&a), rows[i].is_loopback);
		len = net_addr_to_sockaddr(&a, &ss);
		ck_assert_int_eq(net_addr_from_sockaddr(&back, (struct sockaddr *)&ss, len), 0);
		ck_assert(net_addr_equal_ip(&a, &back) && back.port == 25);
		for (socklen_t n = 0; n < len; n++)
			ck_assert_int_eq(
			    net_addr_from_sockaddr(&back, (struct sockaddr *)&ss, n), -1);
	}
}
END_TEST

START_TEST(addr_refused)
{
	static const char *const bad[] = {"", "[]", "[", "]", "1.2.3", "1.2.3.256", "01.2.3.4",
	    "1.2.3.4 ", " 1.2.3.4", "1.2.3.4.5", "[1.2.3.4]", ":::", "1::2::3", "fe80::1%lo",
	    "[::1", "::1]", "12345::", "localhost", "*", "1.2.3.4\n",
	    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	    "0000000000000000000000000000000000000000000000000000000000000000000001"};
	struct net_addr a;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct span in = exact(bad[i], strlen(bad[i]));

		ck_assert_msg(net_addr_parse(&a, in, 1, &err) < 0, "\"%s\"", bad[i]);
		ck_assert_int_eq(err.code, ERR_INVALID);
		exact_free(in);
	}
	ck_assert_int_eq(net_addr_parse(&a, span_make("::1\0x", 5), 1, &err), -1);
}
END_TEST

START_TEST(addr_local)
{
	struct sockaddr sa = {.sa_family = AF_UNIX};
	struct sockaddr_storage ss;
	struct net_addr a;
	char out[NET_ADDR_TEXT];

	ck_assert_int_eq(net_addr_from_sockaddr(&a, &sa, sizeof(sa.sa_family)), 0);
	net_addr_format_port(&a, out);
	ck_assert_str_eq(out, "local");
	ck_assert(net_addr_is_loopback(&a));
	ck_assert_uint_eq(net_addr_to_sockaddr(&a, &ss), 0);
	sa.sa_family = AF_APPLETALK;
	ck_assert_int_eq(net_addr_from_sockaddr(&a, &sa, sizeof(sa)), -1);
}
END_TEST

START_TEST(addr_prefixes)
{
	struct net_addr v4 = parse("255.255.255.255");
	struct net_addr v6 = parse("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	unsigned char out[20];
	size_t n;

	for (unsigned bits = 0; bits <= 130; bits++) {
		unsigned found = 0;

		net_addr_prefix(&v6, 0, bits, out, &n);
		ck_assert_uint_eq(n, 2 + (bits < 128 ? bits + 7 : 128) / 8);
		for (size_t i = 2; i < 18; i++)
			found += (unsigned)__builtin_popcount(out[i]);
		ck_assert_uint_eq(found, bits < 128 ? bits : 128);
		net_addr_prefix(&v4, bits, 0, out, &n);
		ck_assert_uint_eq(n, 2 + (bits < 32 ? bits + 7 : 32) / 8);
	}
}
END_TEST

/* --- limits ----------------------------------------------------------------------------------- */
static int enter(struct limits *l, const char *address, const char *want)
{
	struct net_addr a = parse(address);
	struct err err = ERR_INIT;
	int result = limits_enter(l, &a, &err);

	if (want) {
		ck_assert_int_eq(result, -1);
		ck_assert_int_eq(err.code, ERR_LIMIT);
		ck_assert_ptr_nonnull(strstr(err.text, want));
	} else {
		ck_assert_msg(result == 0, "%s", err.text);
	}
	return result;
}

static void leave(struct limits *l, const char *address)
{
	struct net_addr a = parse(address);

	limits_leave(l, &a);
}

START_TEST(limits_by_address_network_and_total)
{
	struct limits *l = limits_new(6, 2, 3);

	enter(l, "192.0.2.1", NULL);
	enter(l, "::ffff:192.0.2.1", NULL); /* the same host */
	enter(l, "192.0.2.1", "this address");
	enter(l, "192.0.2.2", NULL);
	enter(l, "192.0.2.3", "this network");
	enter(l, "192.0.3.3", NULL);
	enter(l, "2001:db8:1:2::1", NULL);
	enter(l, "2001:db8:1:2:ffff::", NULL); /* the same /64 */
	ck_assert_uint_eq(limits_total(l), 6);
	enter(l, "198.51.100.1", "in total");
	limits_set(l, 10, 2, 3);
	enter(l, "2001:db8:1:2::9", "this address");
	enter(l, "2001:db8:1:3::1", NULL);
	enter(l, "2001:db8:1:4::1", "this network");
	enter(l, "2001:db8:2:1::1", NULL);
	leave(l, "192.0.2.1");
	enter(l, "192.0.2.3", NULL);
	ck_assert_uint_eq(limits_total(l), 8);
	leave(l, "192.0.2.1");
	leave(l, "192.0.2.2");
	leave(l, "192.0.2.3");
	leave(l, "192.0.3.3");
	leave(l, "2001:db8:1:2::1");
	leave(l, "2001:db8:1:2::1");
	leave(l, "2001:db8:1:3::1");
	leave(l, "2001:db8:2:1::1");
	ck_assert_uint_eq(limits_total(l), 0);
	limits_free(l);
	limits_free(NULL);
}
END_TEST

START_TEST(limits_leave_without_enter)
{
	struct limits *l = limits_new(1, 1, 1);

	leave(l, "192.0.2.1");
}
END_TEST

/* --- listener --------------------------------------------------------------------------------- */
static int accepted[256];
static size_t accepted_count, wanted_count;

static void on_accept(void *arg, int fd, const struct net_addr *peer)
{
	ck_assert(net_addr_is_loopback(peer) && peer->port > 0);
	accepted[accepted_count++] = fd;
	if (accepted_count == wanted_count)
		loop_stop(loop);
}

static struct listener *listen_somewhere(void)
{
	struct net_addr any = parse("127.0.0.1");
	struct err err;
	int fd;

	any.port = 0;
	fd = listen_tcp(&any, &err);
	ck_assert_msg(fd >= 0, "%s", err.text);
	return listener_new(loop, fd, SPAN("421 full\r\n"), on_accept, NULL);
}

static int connect_to(const struct listener *l)
{
	struct sockaddr_storage ss;
	socklen_t len = net_addr_to_sockaddr(listener_addr(l), &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&ss, len), 0);
	return fd;
}

static void close_accepted(void)
{
	while (accepted_count > 0)
		close(accepted[--accepted_count]);
}

START_TEST(listener_accepts_pauses_resumes)
{
	struct listener *l = listen_somewhere();
	int fds[100];

	ck_assert_uint_gt(listener_addr(l)->port, 0);
	wanted_count = 100; /* more than one turn's */
	for (size_t i = 0; i < 100; i++)
		fds[i] = connect_to(l);
	loop_wait();
	close_accepted();
	for (size_t i = 0; i < 100; i++)
		close(fds[i]);
	listener_pause(l);
	wanted_count = 1;
	fds[0] = connect_to(l);
	loop_settle();
	ck_assert_uint_eq(accepted_count, 0);
	listener_resume(l);
	loop_wait();
	close(fds[0]);
	close_accepted();
	listener_free(l);
	listener_free(NULL);
}
END_TEST

/* Without a descriptor left: one is told so, the loop rests, and goes on when there is one again.
 */
START_TEST(listener_without_descriptors)
{
	struct listener *l = listen_somewhere();
	struct rlimit old, tight;
	char text[32];
	ssize_t n;
	int refused, waits, turns = 0;

	refused = connect_to(l);
	waits = connect_to(l);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	tight.rlim_cur = (rlim_t)waits + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
	for (; turns < 3 && accepted_count == 0; turns++)
		loop_settle();
	n = recv(refused, text, sizeof(text), 0);
	ck_assert(span_eq(span_make(text, n > 0 ? (size_t)n : 0), SPAN("421 full\r\n")));
	ck_assert_int_eq(recv(refused, text, sizeof(text), 0), 0);
	ck_assert_uint_eq(accepted_count, 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	wanted_count = 1;
	loop_wait();
	close_accepted();
	close(refused);
	close(waits);
	listener_free(l);
}
END_TEST

START_TEST(listener_ports)
{
	struct net_addr a = parse("127.0.0.1"), far = parse("192.0.2.1");
	struct listener *l = listen_somewhere();
	struct err err;

	a.port = listener_addr(l)->port;
	ck_assert_int_eq(listen_tcp(&a, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "bind 127.0.0.1:"));
	ck_assert_ptr_nonnull(strstr(err.text, "in use"));
	ck_assert_int_eq(listen_tcp(&far, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "bind 192.0.2.1:25"));
	listener_free(l);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {addr_forms, addr_refused, addr_local, addr_prefixes,
	    limits_by_address_network_and_total, listener_accepts_pauses_resumes,
	    listener_without_descriptors, listener_ports};
	TCase *tc = tcase_create("net");

	tcase_add_checked_fixture(tc, loop_setup, loop_teardown);
	tcase_set_timeout(tc, 60);
	unit_add(tc, tests, ARRAY_LEN(tests));
	tcase_add_exit_test(tc, limits_leave_without_enter, 70);
	return unit_finish(tc);
}
