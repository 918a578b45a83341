/* PROXY headers: what is one, what is none, and every place where one may be cut. */
#include "common/net/addr.h"
#include "common/net/proxy.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct header {
	const char *bytes;
	size_t n;
	const char *client; /* NULL: the peer's own */
	uint16_t port;
};

#define BYTES(s) s, sizeof(s) - 1
#define V2 "\r\n\r\n\0\r\nQUIT\n"

static const struct header good[] = {
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 4711 25\r\n"), "192.0.2.1", 4711},
    {BYTES("PROXY TCP6 2001:db8::1 2001:db8::2 65535 25\r\n"), "2001:db8::1", 65535},
    {BYTES("PROXY UNKNOWN\r\n"), NULL, 0},
    {BYTES("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"), NULL, 0},
    {BYTES(V2 "\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\1\x12\x67\0\x19"), "192.0.2.1", 4711},
    {BYTES(V2 "\x21\x11\0\x0f\xc0\0\2\1\xc6\x33\x64\1\x12\x67\0\x19\4\0\0"), "192.0.2.1", 4711},
    {BYTES(V2 "\x21\x21\0\x24\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0"
	      "\0\0\2\0\x50\0\x19"),
	"2001:db8::1", 80},
    {BYTES(V2 "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
	      "\0\x50\0\x19"),
	"192.0.2.1", 80},
    {BYTES(V2 "\x20\0\0\0"), NULL, 0},
    {BYTES(V2 "\x20\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\1\x12\x67\0\x19"), NULL, 0},
    {BYTES(V2 "\x21\0\0\0"), NULL, 0},
};

static const struct header bad[] = {
    {BYTES("EHLO client.example\r\n"), NULL, 0},
    {BYTES("proxy TCP4 192.0.2.1 198.51.100.1 4711 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 4711 25\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 4711\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 4711 25 1\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 65536 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.256 198.51.100.1 4711 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4  192.0.2.1 198.51.100.1 4711 25\r\n"), NULL, 0},
    {BYTES("PROXY UDP4 192.0.2.1 198.51.100.1 4711 25\r\n"), NULL, 0},
    {BYTES("PROXY \r\n"), NULL, 0},
    {BYTES("PROXY \n"), NULL, 0},
    {BYTES(V2 "\x11\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\1\x12\x67\0\x19"), NULL, 0},
    {BYTES(V2 "\x22\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\1\x12\x67\0\x19"), NULL, 0},
    {BYTES(V2 "\x21\x12\0\x0c\xc0\0\2\1\xc6\x33\x64\1\x12\x67\0\x19"), NULL, 0},
    {BYTES(V2 "\x21\x11\0\x0b\xc0\0\2\1\xc6\x33\x64\1\x12\x67\0"), NULL, 0},
    {BYTES(V2 "\x21\x21\0\x0c\xc0\0\2\1\xc6\x33\x64\1\x12\x67\0\x19"), NULL, 0},
    {BYTES(V2 "\x21\x11\xff\xff"), NULL, 0},
};

START_TEST(headers)
{
	const struct header *h = &good[_i];
	struct net_addr peer, client, expected;
	struct err err = ERR_INIT;

	ck_assert_int_eq(net_addr_parse(&peer, SPAN("203.0.113.9"), 9, &err), 0);
	expected = peer;
	if (h->client)
		ck_assert_int_eq(net_addr_parse(&expected, span_of(h->client), h->port, &err), 0);
	for (size_t n = 0; n <= h->n; n++) {
		char *cut = malloc(n + 1); /* of its exact size: reading past it is seen */

		memcpy(cut, h->bytes, n);
		client = peer;
		ck_assert_int_eq(
		    proxy_parse(span_make(cut, n), &client, &err), n < h->n ? 0 : (ssize_t)n);
		ck_assert(n < h->n ||
			  (net_addr_equal_ip(&client, &expected) && client.port == expected.port));
		free(cut);
	}
}
END_TEST

START_TEST(what_follows_is_left)
{
	char text[256];
	struct net_addr client = {0};
	struct err err = ERR_INIT;

	memcpy(text, good[_i].bytes, good[_i].n);
	memcpy(text + good[_i].n, "EHLO x\r\n", 8);
	ck_assert_int_eq(
	    proxy_parse(span_make(text, good[_i].n + 8), &client, &err), (ssize_t)good[_i].n);
}
END_TEST

START_TEST(no_headers)
{
	struct net_addr client = {.port = 7};
	struct err err = ERR_INIT;
	ssize_t n = proxy_parse(span_make(bad[_i].bytes, bad[_i].n), &client, &err);

	ck_assert_int_eq(n, -1);
	ck_assert_int_eq(err.code, ERR_INVALID);
	ck_assert_uint_eq(client.port, 7);
}
END_TEST

START_TEST(endless_lines)
{
	char text[200] = "PROXY TCP4 ";
	struct net_addr client = {0};
	struct err err = ERR_INIT;

	memset(text + 11, '1', sizeof(text) - 11);
	ck_assert_int_eq(proxy_parse(span_make(text, 106), &client, &err), 0);
	ck_assert_int_eq(proxy_parse(span_make(text, 107), &client, &err), -1);
}
END_TEST

START_TEST(ranges)
{
	static const struct {
		const char *range, *addr;
		bool has;
	} cases[] = {
	    {"192.0.2.0/24", "192.0.2.255", true},
	    {"192.0.2.0/24", "192.0.3.0", false},
	    {"192.0.2.7", "192.0.2.7", true},
	    {"192.0.2.7", "192.0.2.6", false},
	    {"0.0.0.0/0", "255.255.255.255", true},
	    {"0.0.0.0/0", "::1", false},
	    {"192.0.2.128/25", "192.0.2.127", false},
	    {"2001:db8::/32", "2001:db8:ffff::1", true},
	    {"2001:db8::/32", "2001:db9::1", false},
	    {"::ffff:192.0.2.0/24", "192.0.2.1", true},
	};
	static const char *const wrong[] = {
	    "", "x", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/-1", "2001:db8::/129", "/24"};
	struct net_range r;
	struct net_addr a;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(net_range_parse(&r, span_of(cases[i].range), &err), 0);
		ck_assert_int_eq(net_addr_parse(&a, span_of(cases[i].addr), 0, &err), 0);
		ck_assert_msg(
		    net_range_has(&r, &a) == cases[i].has, "%s %s", cases[i].range, cases[i].addr);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_msg(net_range_parse(&r, span_of(wrong[i]), &err) < 0, "%s", wrong[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("net-proxy");
	TCase *tc = tcase_create("proxy");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tc, headers, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(tc, what_follows_is_left, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(tc, no_headers, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tc, endless_lines);
	tcase_add_test(tc, ranges);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
