/* RFC 5256: the threading algorithms, base subjects and the order of texts. */
#include "common/mail/preview.h"
#include "common/mail/subject.h"
#include "imapd/thread.h"
#include "tests/support/fixture.h"

#define N 200000

static void expect(
    const struct thread_message *m, size_t n, const char *references, const char *ordered)
{
	struct thread_tree t;
	struct strbuf out;

	strbuf_init(&out, 100000);
	thread_references(&t, m, n);
	ck_assert(thread_write(&out, &t, m));
	ck_assert_str_eq(out.p, references);
	thread_tree_clear(&t);
	strbuf_reset(&out);
	thread_ordered_subject(&t, m, n);
	ck_assert(thread_write(&out, &t, m));
	ck_assert_str_eq(out.p, ordered);
	thread_tree_clear(&t);
	strbuf_clear(&out);
}

START_TEST(examples)
{
	static const uint64_t to_1[] = {1}, to_2[] = {1, 2}, lost[] = {99};
	const struct thread_message m[] = {
	    {.number = 2, .sent = 1, .id = 1, .subject = SPAN("A")},
	    {.number = 4,
		.sent = 4,
		.id = 2,
		.references = to_1,
		.reference_count = 1,
		.subject = SPAN("A"),
		.is_reply = true},
	    {.number = 5,
		.sent = 3,
		.id = 3,
		.references = to_1,
		.reference_count = 1,
		.subject = SPAN("A"),
		.is_reply = true},
	    {.number = 7,
		.sent = 6,
		.id = 4,
		.references = to_2,
		.reference_count = 2,
		.subject = SPAN("B")},
	    {.number = 8,
		.sent = 7,
		.id = 5,
		.references = lost,
		.reference_count = 1,
		.subject = SPAN("C")},
	    {.number = 9,
		.sent = 8,
		.id = 5,
		.references = lost,
		.reference_count = 1,
		.subject = SPAN("")},
	};

	expect(m, 6, " (2 (5)(4 7))((8)(9))", " (2 (5)(4))(7)(8)(9)");
	expect(m, 1, " (2)", " (2)");
	expect(m, 0, "", "");
	/* What was never seen has no place if it has one child. */
	expect(m + 4, 1, " (8)", " (8)");
}
END_TEST

/* Ids are hashes. */
static uint64_t id_of(size_t i)
{
	return (i + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

/* A chain as long as a mailbox, from both ends: no recursion, no quadratic time. */
START_TEST(long_chains)
{
	struct thread_message *m = mem_array(N, sizeof(*m));
	uint64_t *ids = mem_array(N + 1, sizeof(*ids));
	struct thread_tree t;
	struct strbuf out;

	strbuf_init(&out, (size_t)N * 12);
	for (int backwards = 0; backwards < 2; backwards++) {
		for (size_t i = 0; i < N; i++) {
			size_t at = backwards ? N - 1 - i : i;

			ids[i] = id_of(i);
			m[at] = (struct thread_message){.number = (uint32_t)i + 1,
			    .sent = (int64_t)i,
			    .id = ids[i],
			    .subject = SPAN("X"),
			    .references = i ? &ids[i - 1] : NULL,
			    .reference_count = i ? 1 : 0};
		}
		thread_references(&t, m, N);
		strbuf_reset(&out);
		ck_assert(thread_write(&out, &t, m));
		ck_assert(span_starts(strbuf_span(&out), SPAN(" (1 2 3 4 ")));
		ck_assert_uint_eq(t.root_count, 1);
		thread_tree_clear(&t);
	}
	/* All the same subject: one thread with very many children. */
	thread_ordered_subject(&t, m, N);
	ck_assert_uint_eq(t.root_count, 1);
	thread_tree_clear(&t);
	strbuf_clear(&out);
	mem_free(m);
	mem_free(ids);
}
END_TEST

START_TEST(base_subjects)
{
	static const struct {
		const char *in, *out;
		bool is_reply;
	} cases[] = {
	    {"", "", false},
	    {"plain", "plain", false},
	    {"  many \t spaces\r\n here ", "many spaces here", false},
	    {"Re: a", "a", true},
	    {"RE : a", "a", true},
	    {"re[2]: a", "a", true},
	    {"re [2] : a", "a", true},
	    {"Fw: a", "a", true},
	    {"FWD: a", "a", true},
	    {"Fwd: Re: fw: a (fwd)  (FWD)", "a", true},
	    {"[list] a", "a", false},
	    {"[a][b] [c] Re: [d] x", "x", true},
	    {"[only]", "[only]", false},
	    {"[a] [only]", "[only]", false},
	    {"Re:", "", true},
	    {"Re: [x]", "[x]", true},
	    {"[fwd: inner (fwd)]", "inner", true},
	    {"[fwd: [fwd: x]]", "x", true},
	    {"Regarding: a", "Regarding: a", false},
	    {"re a", "re a", false},
	    {"=?utf-8?q?Re:_=C3=A4?=", "\xc3\xa4", true},
	    {"AW: a", "AW: a", false},
	    {"[open Re: a", "[open Re: a", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct strbuf out;
		bool is_reply;

		strbuf_init(&out, 1000);
		ck_assert(mail_base_subject(&out, span_of(cases[i].in), &is_reply));
		ck_assert_msg(strcmp(out.p, cases[i].out) == 0, "%s: %s", cases[i].in, out.p);
		ck_assert_msg(is_reply == cases[i].is_reply, "%s", cases[i].in);
		strbuf_clear(&out);
	}
}
END_TEST

START_TEST(order_of_texts)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
	    {"aZ_0", "AZ_0"},
	    {"\xc3\xa4", "A\xcc\x88"}, /* ä */
	    {"\xc7\x86", "D\xc5\xbe"}, /* the titlecase of a digraph, decomposed below */
	    {"\xe2\x91\xa0", "1"},     /* a circled digit */
	    {"\xd0\xb6", "\xd0\x96"},  /* Cyrillic */
	    {"\xef\xbf\xbd", "\xef\xbf\xbd"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct strbuf out;

		strbuf_init(&out, 100);
		ck_assert(mail_casemap(&out, span_of(cases[i].in)));
		if (i != 2)
			ck_assert_str_eq(out.p, cases[i].out);
		else
			ck_assert(span_starts(strbuf_span(&out), SPAN("D")));
		strbuf_clear(&out);
	}
}
END_TEST

START_TEST(previews)
{
	static const struct {
		const char *in, *out;
		bool is_html;
	} cases[] = {
	    {"", "", false},
	    {" \r\n\t a\r\n b ", "a b", false},
	    {"> q\r\ntext\r\n> q2\r\n", "text", false},
	    {"> only\r\n", "> only", false},
	    {"a\xe2\x80\x8b\xc2\xad"
	     "b\xc2\xa0"
	     "c",
		"ab c", false},
	    {"<p>a</p><P>b", "a b", true},
	    {"a<!-- <b> --->b<!-- open", "a b", true},
	    {"x<style>p { }</style>y<SCRIPT src='>'>no</script >z", "x y z", true},
	    {"<style>never closed", "", true},
	    {"1 < 2 &lt;3&gt; &amp;amp; &#65;&#x42; &nbsp; &unknown; &#0; &#xd800; &#9999999;",
		"1 < 2 <3> &amp; AB &unknown; &#xd800; &#9999999;", true},
	    {"<a title=\"x > y\">link</a>", "link", true},
	    {"<", "<", true},
	    {"<b", "", true},
	    {"&", "&", true},
	};
	struct strbuf out;

	strbuf_init(&out, 4000);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		strbuf_reset(&out);
		ck_assert(mail_preview(&out, span_of(cases[i].in), cases[i].is_html));
		ck_assert_msg(strcmp(out.p, cases[i].out) == 0, "%s: %s", cases[i].in, out.p);
	}
	strbuf_clear(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("imap_thread");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, examples);
	tcase_add_test(tc, long_chains);
	tcase_add_test(tc, base_subjects);
	tcase_add_test(tc, order_of_texts);
	tcase_add_test(tc, previews);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
