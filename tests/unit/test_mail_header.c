/* Header fields and what IMAP selects of them. */
#include "common/base/mem.h"
#include "common/mail/header.h"
#include "tests/support/mail_corpus.h"

#include <check.h>
#include <string.h>

START_TEST(fields)
{
	struct span m = SPAN("A: one\r\nB :\ttwo\r\n  more \r\nno colon\nFrom x: y\n\xc3\xa4: 8\n"
			     "C:\n\nbody: no\n");
	static const char *const want[][2] = {{"A", "one"}, {"B", "two\r\n  more"},
	    {"", "no colon"}, {"", "From x: y"}, {"\xc3\xa4", "8"}, {"C", ""}};
	struct mail_header h;
	struct mail_field f;
	size_t i = 0, at = 0;

	mail_header_init(&h, m);
	while (mail_header_next(&h, &f)) {
		ck_assert_uint_lt(i, ARRAY_LEN(want));
		ck_assert_msg(span_eq(f.name, span_of(want[i][0])), "name %zu", i);
		ck_assert_msg(span_eq(f.value, span_of(want[i][1])), "value %zu", i);
		ck_assert_uint_eq(f.offset, at);
		at += f.size;
		i++;
	}
	ck_assert_uint_eq(i, ARRAY_LEN(want));
	ck_assert(mail_header_find(m, SPAN("b"), &f));
	ck_assert(!mail_header_find(m, SPAN("body"), &f));
	ck_assert(!mail_header_find(m, SPAN(""), &f));
}
END_TEST

START_TEST(sizes)
{
	bool complete;

	ck_assert_uint_eq(mail_header_size(SPAN("A: b\r\n\r\nx"), &complete), 8);
	ck_assert(complete);
	ck_assert_uint_eq(mail_header_size(SPAN("A: b\n\nx"), NULL), 6);
	ck_assert_uint_eq(mail_header_size(SPAN("\nx"), NULL), 1);
	ck_assert_uint_eq(mail_header_size(SPAN("A: b\r\n"), &complete), 6);
	ck_assert(!complete);
	ck_assert_uint_eq(mail_header_size(SPAN("A: b\r"), &complete), 5);
	ck_assert(!complete);
}
END_TEST

START_TEST(unfolding)
{
	struct strbuf out;

	strbuf_init(&out, 100);
	ck_assert(mail_header_unfold(&out, span_make("a\r\n b\n\tc\rd\0e", 12)));
	ck_assert(span_eq(strbuf_span(&out), SPAN("a b c\rd?e")));
	strbuf_clear(&out);
}
END_TEST

START_TEST(selection_is_exact)
{
	struct span m = SPAN("A: 1\r\nB: 2\r\n fold\r\nno colon\r\na: 3\n\r\nbody");
	struct span names[] = {SPAN("x"), SPAN("A"), SPAN("zz")};
	struct strbuf out;

	strbuf_init(&out, 1000);
	ck_assert(mail_header_select(&out, m, names, 3, true));
	ck_assert_str_eq(out.p, "A: 1\r\na: 3\n\r\n");
	strbuf_reset(&out);
	ck_assert(mail_header_select(&out, m, names, 3, false));
	ck_assert_str_eq(out.p, "B: 2\r\n fold\r\nno colon\r\n\r\n");
	strbuf_reset(&out);
	ck_assert(mail_header_select(&out, m, NULL, 0, true));
	ck_assert_str_eq(out.p, "\r\n");
	strbuf_clear(&out);
}
END_TEST

START_TEST(only_so_much_is_read)
{
	struct strbuf b;
	struct mail_field f;

	strbuf_init(&b, 1 << 20);
	strbuf_room(&b, 1 << 19);
	while (b.n < MAIL_HEADER_MAX)
		strbuf_add_str(&b, "X: y\r\n");
	strbuf_add_str(&b, "Late: z\r\n\r\n");
	ck_assert(mail_header_find(strbuf_span(&b), SPAN("X"), &f));
	ck_assert(!mail_header_find(strbuf_span(&b), SPAN("Late"), &f));
	ck_assert_uint_eq(mail_header_size(strbuf_span(&b), NULL), b.n);
	strbuf_clear(&b);
}
END_TEST

START_TEST(cut_messages)
{
	for (size_t k = 0; k < MAIL_CORPUS_LEN; k++)
		for (size_t n = 0; n <= mail_corpus[k].n; n++) {
			char *copy = mem_dup(mail_corpus[k].p, n);
			struct mail_header h;
			struct mail_field f;
			size_t at = 0;

			mail_header_init(&h, span_make(copy, n));
			while (mail_header_next(&h, &f)) {
				ck_assert_uint_eq(f.offset, at);
				at += f.size;
			}
			ck_assert_uint_le(at, mail_header_size(span_make(copy, n), NULL));
			mem_free(copy);
		}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mail_header");
	TCase *t = tcase_create("mail_header");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, fields);
	tcase_add_test(t, sizes);
	tcase_add_test(t, unfolding);
	tcase_add_test(t, selection_is_exact);
	tcase_add_test(t, only_so_much_is_read);
	tcase_add_test(t, cut_messages);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
