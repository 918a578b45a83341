/* MTA-STS policies and records, and the answers of web servers that they come in. */
#include "common/mail/mta_sts.h"
#include "smtpd/fetch/http.h"
#include "tests/support/fixture.h"
#include "tests/support/unit.h"

static struct err err;

#define HEAD "version: STSv1\n"

static const char *const good[] = {
    HEAD "mode: enforce\nmx: mx.a.test\nmx: *.b.test\nmax_age: 86400\n",
    HEAD "mode: enforce\r\nmx: mx.a.test\r\nmx: *.b.test\r\nmax_age: 86400",
    "max_age:86400\n mx :no field of ours\nmode:enforce\nmx:mx.a.test\nmode: none\nmx:\t*.b.test \n"
    "other: thing\n\n" HEAD,
};

START_TEST(one_policy_in_several_forms)
{
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct sts_policy p;
		struct strbuf b;

		ck_ok(sts_policy_parse(span_of(good[i]), &p, &err));
		ck_assert_int_eq(p.mode, STS_ENFORCE);
		ck_assert_uint_eq(p.max_age, 86400);
		ck_assert_uint_eq(p.mx_count, 2);
		strbuf_init(&b, 1024);
		sts_policy_format(&p, &b);
		ck_assert_str_eq(
		    b.p, HEAD "mode: enforce\nmx: mx.a.test\nmx: *.b.test\nmax_age: 86400\n");
		strbuf_clear(&b);
	}
}
END_TEST

START_TEST(hosts_that_a_policy_names)
{
	struct sts_policy p;

	ck_ok(sts_policy_parse(span_of(good[0]), &p, &err));
	ck_assert(sts_policy_allows(&p, SPAN("MX.a.test")));
	ck_assert(sts_policy_allows(&p, SPAN("mx.a.test.")));
	ck_assert(sts_policy_allows(&p, SPAN("one.b.test")));
	/* RFC 8461 4.1: exactly the first label. */
	ck_assert(!sts_policy_allows(&p, SPAN("one.two.b.test")));
	ck_assert(!sts_policy_allows(&p, SPAN("b.test")));
	ck_assert(!sts_policy_allows(&p, SPAN(".b.test")));
	ck_assert(!sts_policy_allows(&p, SPAN("a.test")));
	ck_assert(!sts_policy_allows(&p, SPAN("mx.a.test.evil.test")));
	ck_assert(!sts_policy_allows(&p, SPAN("")));
}
END_TEST

START_TEST(what_is_no_policy)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
	    {"", "version is missing"},
	    {"version: STSv2\nmode: none\nmax_age: 1\n", "version is not STSv1"},
	    {HEAD "max_age: 1\nmx: a.test\n", "mode is missing"},
	    {HEAD "mode: Enforce\nmax_age: 1\nmx: a.test\n", "mode is none of"},
	    {HEAD "mode: enforce\nmx: a.test\n", "max_age is missing"},
	    {HEAD "mode: enforce\nmx: a.test\nmax_age: -1\n", "max_age is no number"},
	    {HEAD "mode: enforce\nmx: a.test\nmax_age: 18446744073709551617\n",
		"max_age is no number"},
	    {HEAD "mode: testing\nmax_age: 1\n", "mx is missing"},
	    {HEAD "mode: enforce\nmax_age: 1\nmx: *\n", "an mx is no host name"},
	    {HEAD "mode: enforce\nmax_age: 1\nmx: a.*.test\n", "an mx is no host name"},
	    {HEAD "mode: enforce\nmax_age: 1\nmx: *.*.test\n", "an mx is no host name"},
	    {HEAD "mode: enforce\nmax_age: 1\nmx: a test\n", "an mx is no host name"},
	    {HEAD "mode: enforce\nmax_age: 1\nmx:\n", "an mx is no host name"},
	    {"<html>\n" HEAD "mode: none\nmax_age: 1\n", "a line that is no field"},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct sts_policy p;

		ck_fails(sts_policy_parse(span_of(bad[i].text), &p, &err), ERR_INVALID);
		ck_assert_msg(strstr(err.text, bad[i].why), "%s: %s", bad[i].text, err.text);
	}
}
END_TEST

START_TEST(ends_of_what_is_allowed)
{
	static const char nul[] = HEAD "mode: none\nmax_age: 1\nx: \0";
	char *large = mem_alloc(STS_TEXT_MAX + 1);
	struct sts_policy p;

	ck_ok(sts_policy_parse(SPAN(HEAD "mode: none\nmax_age: 9999999999\n"), &p, &err));
	ck_assert_uint_eq(p.max_age, STS_AGE_MAX);
	ck_fails(sts_policy_parse(span_make(nul, sizeof(nul)), &p, &err), ERR_INVALID);
	memset(large, '\n', STS_TEXT_MAX + 1);
	memcpy(large, HEAD "mode: none\nmax_age: 1", sizeof(HEAD "mode: none\nmax_age: 1") - 1);
	ck_ok(sts_policy_parse(span_make(large, STS_TEXT_MAX), &p, &err));
	ck_fails(sts_policy_parse(span_make(large, STS_TEXT_MAX + 1), &p, &err), ERR_LIMIT);
	mem_free(large);
}
END_TEST

START_TEST(records)
{
	struct span id;

	ck_assert(sts_record_id(SPAN("v=STSv1; id=20260101T000000;"), &id));
	ck_assert(span_eq(id, SPAN("20260101T000000")));
	ck_assert(sts_record_id(SPAN("v=STSv1;x=y;id=1"), &id));
	ck_assert(sts_record_id(SPAN(" v=STSv1 ;id=1"), &id));
	/* It counts as one, and gives none. */
	ck_assert(sts_record_is(SPAN("v=STSv1; id=")) && !sts_record_id(SPAN("v=STSv1; id="), &id));
	ck_assert(!sts_record_id(SPAN("v=STSv1; id=a-b;"), &id));
	ck_assert(!sts_record_id(SPAN("v=STSv1; id=123456789012345678901234567890123;"), &id));
	ck_assert(!sts_record_is(SPAN("v=STSv10; id=1")));
	ck_assert(!sts_record_is(SPAN("v=spf1 -all")));
	ck_assert(!sts_record_is(SPAN("")));
}
END_TEST

/* --- answers ------------------------------------------------------------------------------------
 */
#define OK "HTTP/1.1 200 OK\r\n"
#define TEXT OK "Content-Type: text/plain; charset=utf-8\r\n"

/* In pieces of so many bytes: the body, or NULL and err. */
static char *read_answer(const char *text, size_t piece)
{
	struct http_reader r;
	struct span in = span_of(text);
	size_t at = 0;
	char *body = NULL;

	http_init(&r, 100);
	for (size_t end = piece; r.state != HTTP_DONE; end += piece) {
		size_t used = 0;

		end = end > in.n ? in.n : end;
		if (http_read(&r, span_sub(in, at, end - at), &used, &err) < 0)
			goto out;
		at += used;
		if (r.state != HTTP_DONE && end == in.n) {
			err_set(&err, ERR_INVALID, "not all is there");
			goto out;
		}
	}
	body = mem_strndup(r.body.p ? r.body.p : "", r.body.n);
out:
	http_clear(&r);
	return body;
}

START_TEST(answers)
{
	static const struct {
		const char *text, *body, *why;
	} list[] = {
	    {TEXT "Content-Length: 3\r\n\r\nabc", "abc", NULL},
	    {TEXT "content-length: 3\r\nX-Y: z\r\n\r\nabcdef", "abc", NULL},
	    {TEXT "Content-Length: 0\r\n\r\n", "", NULL},
	    {"HTTP/1.0 200 \nContent-Type: TEXT/plain\nContent-Length: 3\n\nabc", "abc", NULL},
	    {TEXT "Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nT: u\r\n\r\n",
		"abc", NULL},
	    {TEXT "Content-Length: 4\r\n\r\nabc", NULL, "not all"},
	    {TEXT "\r\nabc", NULL, "without a length"},
	    {OK "Content-Length: 3\r\n\r\nabc", NULL, "text/plain"},
	    {OK "Content-Type: text/html\r\nContent-Length: 3\r\n\r\nabc", NULL, "text/plain"},
	    {OK "Content-Type: text/plain2\r\nContent-Length: 3\r\n\r\nabc", NULL, "text/plain"},
	    {TEXT "Content-Length: 101\r\n\r\n", NULL, "longer than 100"},
	    {TEXT "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", NULL, "Content-Length"},
	    {TEXT "Content-Length: +3\r\n\r\nabc", NULL, "Content-Length"},
	    {TEXT "Content-Length: 99999999999999999999\r\n\r\n", NULL, "Content-Length"},
	    {TEXT "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", NULL, "two lengths"},
	    {TEXT "Transfer-Encoding: gzip, chunked\r\n\r\n", NULL, "transfer coding"},
	    {TEXT "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", NULL, "content coding"},
	    {TEXT "Transfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", NULL, "not all"},
	    {TEXT "Transfer-Encoding: chunked\r\n\r\n100000000\r\n", NULL, "malformed chunk"},
	    {TEXT "Transfer-Encoding: chunked\r\n\r\n-1\r\n", NULL, "malformed chunk"},
	    {TEXT "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", NULL, "malformed chunk"},
	    {"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n", NULL, "redirections"},
	    {"HTTP/1.1 404 Not Found\r\n\r\n", NULL, "status 404"},
	    {"HTTP/1.1 100 Continue\r\n\r\n" TEXT, NULL, "status 100"},
	    {"HTTP/2 200\r\n\r\n", NULL, "no answer of HTTP"},
	    {"SSH-2.0-x\r\n", NULL, "no answer of HTTP"},
	    {TEXT "no field\r\n\r\n", NULL, "no header field"},
	    {TEXT "a: b\rc\r\n\r\n", NULL, "bare CR"},
	};

	for (size_t i = 0; i < ARRAY_LEN(list); i++)
		for (size_t piece = 1; piece < 8; piece += 3) {
			char *body = read_answer(list[i].text, piece);

			if (list[i].body) {
				ck_assert_ptr_nonnull(body);
				ck_assert_str_eq(body, list[i].body);
			} else {
				ck_assert_ptr_null(body);
				ck_assert_msg(strstr(err.text, list[i].why), "%s: %s", list[i].text,
				    err.text);
			}
			mem_free(body);
		}
}
END_TEST

/* Lines without an end, and without end. */
START_TEST(heads_that_are_too_long)
{
	struct http_reader r;
	size_t used, lines = 0;
	char *line = mem_alloc(HTTP_LINE_MAX + 1);

	memset(line, 'a', HTTP_LINE_MAX + 1);
	http_init(&r, 100);
	ck_ok(http_read(&r, SPAN(TEXT), &used, &err));
	ck_ok(http_read(&r, span_make(line, HTTP_LINE_MAX), &used, &err));
	ck_assert_uint_eq(used, 0);
	ck_fails(http_read(&r, span_make(line, HTTP_LINE_MAX + 1), &used, &err), ERR_LIMIT);
	while (http_read(&r, SPAN("a: b\r\n"), &used, &err) == 0)
		lines++;
	ck_assert(lines > 5000 && lines <= HTTP_HEAD_MAX / 6);
	http_clear(&r);
	mem_free(line);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {one_policy_in_several_forms, hosts_that_a_policy_names,
	    what_is_no_policy, ends_of_what_is_allowed, records, answers, heads_that_are_too_long};
	TCase *tc = tcase_create("mta_sts");

	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
