/* Headers in UTF-8 for programs that know only ASCII. */
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/mail/downgrade.h"
#include "common/mail/header.h"
#include "common/mail/words.h"

#include <check.h>
#include <string.h>

#define INVALID "<invalid@internationalized-address.invalid>"

static const struct {
	const char *in, *want;
} headers[] = {
    {"Subject: plain\r\n\r\n", "Subject: plain\r\n\r\n"},
    {"Subject: plain\n\nbody", "Subject: plain\n\nbody"},
    {"", ""},
    {"\r\n", "\r\n"},
    {"From me\r\nA: b\r\n c\r\n", "From me\r\nA: b\r\n c\r\n"},
    {"Subject: gr\xc3\xbc\xc3\x9f\x65\r\n\r\n", "Subject: =?utf-8?B?Z3LDvMOfZQ==?=\r\n\r\n"},
    {"SUBJECT:\xc3\xbc =?iso-8859-1?q?=E4?=\n\n", "SUBJECT: =?utf-8?B?w7wgw6Q=?=\r\n\n"},
    {"Subject: \xff\r\n\r\n", "Subject: =?utf-8?B?77+9?=\r\n\r\n"},
    {"X-Any: \xc3\xbc\r\nTo: a@b\r\n\r\n", "To: a@b\r\n\r\n"},
    {"no colon \xc3\xbc\r\nTo: a@b\r\n\r\n", "To: a@b\r\n\r\n"},
    {"Sub\xc3\xbcject: x\r\n\r\n", "\r\n"},
    {"To: \xc3\xbc <a@b.c>\r\n\r\n", "To: =?utf-8?B?w7w=?= <a@b.c>\r\n\r\n"},
    {"To: \"Doe, J\" <a.x@b.c>, \"\xc3\xbc\" <\"a b\"@b.c>\r\n\r\n",
	"To: \"Doe, J\" <a.x@b.c>, =?utf-8?B?w7w=?= <\"a b\"@b.c>\r\n\r\n"},
    {"From: \xc3\xbc@b.c\r\n\r\n", "From: =?utf-8?B?w7xAYi5j?= " INVALID "\r\n\r\n"},
    {"From: Joe <\xc3\xbc@b.c>\r\n\r\n", "From: Joe " INVALID "\r\n\r\n"},
    {"From: Joe <j@\xc3\xbc.c>\r\n\r\n", "From: Joe " INVALID "\r\n\r\n"},
    {"Cc: g\xc3\xbc: a@b, c@d;, e@f\r\n\r\n", "Cc: =?utf-8?B?Z8O8?=: <a@b>, <c@d>;, <e@f>\r\n\r\n"},
    {"To: (\xc3\xbc)\r\n\r\n", "\r\n"},
    {"Content-Disposition: attachment; filename=\"\xc3\xbc 1\"; size=4\r\n\r\n",
	"Content-Disposition: attachment; filename*=utf-8''%C3%BC%201; size=4\r\n\r\n"},
    {"Content-Type: text/x; \xc3\xbc=1; a*0*=utf-8''%41; b=\"x y\"; c=\xff; d\r\n\r\n",
	"Content-Type: text/x; a*0*=utf-8''%41; b=\"x y\"\r\n\r\n"},
    {"Content-Type: multipart/mixed; boundary=\xc3\xbc\r\n\r\n",
	"Content-Type: multipart/mixed\r\n\r\n"},
    {"Content-Type: \xc3\xbc/x; a=b\r\n\r\n", "\r\n"},
};

START_TEST(fields)
{
	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		struct strbuf out;

		strbuf_init(&out, 10000);
		ck_assert(mail_downgrade_header(&out, span_of(headers[i].in)));
		ck_assert_str_eq(out.p, headers[i].want);
		strbuf_clear(&out);
	}
}
END_TEST

/* Of the whole output: ASCII, in lines that RFC 2047 allows, and twice is as once. */
static void check_output(struct span header)
{
	struct strbuf out, again;
	struct span rest, line;

	strbuf_init(&out, 5 * header.n + 256);
	strbuf_init(&again, 5 * header.n + 256);
	ck_assert(mail_downgrade_header(&out, header));
	ck_assert(utf8_is_ascii(strbuf_span(&out)));
	ck_assert(mail_downgrade_header(&again, strbuf_span(&out)));
	ck_assert_str_eq(out.p, again.p);
	rest = strbuf_span(&out);
	while (span_split(&rest, '\n', &line))
		ck_assert_uint_le(line.n, 78);
	strbuf_clear(&out);
	strbuf_clear(&again);
}

START_TEST(any_length)
{
	static const char *const begin[] = {"Subject: ", "To: ", "To: a@b, ",
	    "Content-Disposition: attachment; filename=", "Content-Type: text/plain; name=\"x "};

	for (size_t b = 0; b < ARRAY_LEN(begin); b++) {
		struct strbuf in;

		strbuf_init(&in, 100000);
		strbuf_add_str(&in, begin[b]);
		for (size_t i = 0; i < 200; i++) {
			struct strbuf whole;

			strbuf_init(&whole, in.n + 10);
			strbuf_add_str(&in, i % 3 ? "\xc3\xbc" : "\xe4\xb8\xad");
			strbuf_add(&whole, strbuf_span(&in));
			strbuf_add_str(&whole, "\r\n\r\n");
			check_output(strbuf_span(&whole));
			strbuf_clear(&whole);
		}
		strbuf_clear(&in);
	}
}
END_TEST

/* What is encoded decodes to what it was. */
START_TEST(nothing_of_a_subject_is_lost)
{
	struct strbuf text, in, out, back;
	struct mail_field f;

	strbuf_init(&text, 10000);
	strbuf_init(&in, 10000);
	strbuf_init(&out, 50000);
	strbuf_init(&back, 10000);
	for (size_t i = 0; i < 300; i++)
		strbuf_add_str(&text, i % 7 ? "\xf0\x9f\x98\x80" : "a b");
	strbuf_addf(&in, "Subject: %s\r\n\r\n", text.p);
	ck_assert(mail_downgrade_header(&out, strbuf_span(&in)));
	ck_assert(mail_header_find(strbuf_span(&out), SPAN("subject"), &f));
	ck_assert(mail_words_decode(&back, f.value));
	ck_assert_str_eq(back.p, text.p);
	strbuf_clear(&text);
	strbuf_clear(&in);
	strbuf_clear(&out);
	strbuf_clear(&back);
}
END_TEST

START_TEST(a_full_buffer_is_told)
{
	struct strbuf out;

	strbuf_init(&out, 20);
	ck_assert(!mail_downgrade_header(&out, SPAN("Subject: \xc3\xbc\xc3\xbc\xc3\xbc\r\n\r\n")));
	strbuf_clear(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mail_downgrade");
	TCase *tc = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_test(tc, fields);
	tcase_add_test(tc, any_length);
	tcase_add_test(tc, nothing_of_a_subject_is_lost);
	tcase_add_test(tc, a_full_buffer_is_told);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
