#include "imapd/parser.h"
#include "tests/support/fixture.h"

#include "common/store/store.h"

static struct arena arena;

static void setup(void)
{
	arena_init(&arena, 1024 * 1024);
}

static void teardown(void)
{
	arena_clear(&arena);
}

/* A parser over an exactly sized copy: one byte too far is seen by a sanitizer. */
static struct parser over(const char *text, size_t n)
{
	char *copy = arena_alloc(&arena, n ? n : 1);

	memcpy(copy, text, n);
	return (struct parser){.in = span_make(copy, n), .arena = &arena};
}

static struct parser of(const char *text)
{
	return over(text, strlen(text));
}

static void expect(struct span s, const char *text)
{
	ck_assert_msg(span_eq(s, span_of(text)), "\"%.*s\", not \"%s\"", SPAN_FMT(s), text);
}

START_TEST(words)
{
	struct parser p = of("abc def (x)[y] INBOX]*% \"q\"");
	struct span s;

	ck_assert(parse_atom(&p, &s));
	expect(s, "abc");
	ck_assert(!parse_atom(&p, &s));
	ck_assert(parse_sp(&p) && parse_atom(&p, &s) && parse_sp(&p));
	ck_assert(!parse_atom(&p, &s));
	ck_assert(parse_chr(&p, '(') && parse_atom(&p, &s) && parse_chr(&p, ')'));
	ck_assert(parse_word(&p, &s));
	expect(s, "[y]");
	ck_assert(parse_sp(&p) && parse_list_mailbox(&p, &s));
	expect(s, "INBOX]*%");
	ck_assert(parse_sp(&p) && parse_astring(&p, &s) && parse_end(&p));
	expect(s, "q");
}
END_TEST

START_TEST(strings)
{
	static const struct {
		const char *in, *out; /* NULL: refused */
	} all[] = {
	    {"\"\"", ""},
	    {"\"a b\"", "a b"},
	    {"\"a\\\"\\\\b\"", "a\"\\b"},
	    {"\"\xc3\xa9\"", "\xc3\xa9"},
	    {"\"a", NULL},
	    {"\"", NULL},
	    {"\"a\\", NULL},
	    {"\"a\\\"", NULL},
	    {"\"a\\x\"", NULL},
	    {"\"a\rb\"", NULL},
	    {"\"a\nb\"", NULL},
	    {"{3}\r\nabc", "abc"},
	    {"{3+}\r\nabc", "abc"},
	    {"{0}\r\n", ""},
	    {"{3}\r\nab", NULL},
	    {"{4294967295}\r\nab", NULL},
	    {"{4294967296}\r\nab", NULL},
	    {"{99999999999999999999}\r\nab", NULL},
	    {"{}\r\n", NULL},
	    {"{+}\r\n", NULL},
	    {"{-1}\r\na", NULL},
	    {"{1}\na", NULL},
	    {"{1}", NULL},
	    {"{1", NULL},
	    {"{1++}\r\na", NULL},
	    {"a", NULL},
	    {"", NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		struct parser p = of(all[i].in);
		struct span s;
		bool is_good = parse_string(&p, &s);

		ck_assert_msg(is_good == (all[i].out != NULL), "%s", all[i].in);
		if (is_good) {
			expect(s, all[i].out);
			ck_assert(parse_end(&p));
		}
	}
}
END_TEST

START_TEST(nstrings)
{
	struct parser p = of("nil \"NIL\" NILE");
	struct span s;

	ck_assert(parse_nstring(&p, &s) && s.p == NULL && parse_sp(&p));
	ck_assert(parse_nstring(&p, &s) && s.p != NULL && parse_sp(&p));
	expect(s, "NIL");
}
END_TEST

START_TEST(numbers)
{
	struct parser p = of("4294967295 4294967296 0 18446744073709551615 18446744073709551616");
	uint64_t big;
	uint32_t n;

	ck_assert(parse_nz_number(&p, &n) && n == UINT32_MAX && parse_sp(&p));
	ck_assert(!parse_nz_number(&p, &n));
	ck_assert(parse_number(&p, UINT64_MAX, &big) && big == 4294967296 && parse_sp(&p));
	ck_assert(!parse_nz_number(&p, &n));
	p = of("18446744073709551615");
	ck_assert(parse_number(&p, UINT64_MAX, &big) && big == UINT64_MAX && parse_end(&p));
	p = of("18446744073709551616");
	ck_assert(!parse_number(&p, UINT64_MAX, &big));
	p = of("+1");
	ck_assert(!parse_number(&p, UINT64_MAX, &big));
	p = of("-1");
	ck_assert(!parse_number(&p, UINT64_MAX, &big));
}
END_TEST

START_TEST(sequences)
{
	static const char *const bad[] = {"", "0", "1,", ",1", "1:", ":1", "1:0", "1::2", "1,,2",
	    "a", "**", "1:4294967296", "99999999999999999999", "-1", "1 ,2"};
	struct parser p = of("1,5:3,*,7:*,*:2 rest");
	struct sequence seq;

	ck_assert(parse_sequence(&p, &seq));
	ck_assert_uint_eq(seq.n, 5);
	ck_assert(seq.r[0].first == 1 && seq.r[0].last == 1);
	ck_assert(seq.r[1].first == 5 && seq.r[1].last == 3);
	ck_assert(seq.r[2].first == 0 && seq.r[2].last == 0);
	ck_assert(seq.r[3].first == 7 && seq.r[3].last == 0);
	ck_assert(seq.r[4].first == 0 && seq.r[4].last == 2);
	ck_assert(parse_sp(&p));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		p = of(bad[i]);
		ck_assert_msg(!parse_sequence(&p, &seq) || !parse_end(&p), "%s", bad[i]);
	}
}
END_TEST

START_TEST(sequences_are_bounded)
{
	struct strbuf b;
	struct sequence seq;
	struct parser p;

	strbuf_init(&b, 1024 * 1024);
	for (unsigned i = 1; i <= SEQUENCE_RANGES_MAX; i++)
		strbuf_addf(&b, "%s%u", i > 1 ? "," : "", i);
	p = over(b.p, b.n);
	ck_assert(parse_sequence(&p, &seq) && seq.n == SEQUENCE_RANGES_MAX);
	strbuf_add_str(&b, ",1");
	p = over(b.p, b.n);
	ck_assert(!parse_sequence(&p, &seq));
	strbuf_clear(&b);
}
END_TEST

START_TEST(flags)
{
	static const char *const bad[] = {"", "(", ")", "(\\Seen", "(\\)", "(\\Nope)", "(\\*)",
	    "( \\Seen)", "(\\Seen )", "(\\Seen  \\Draft)", "(a(b)", "(\"a\")", "(a\x01)", "(a{)",
	    "(12345678901234567890123456789012345678901234567890123456789012345)"};
	struct parser p = of("(\\SEEN $Forwarded \\draft \\Recent Junk)");
	struct flag_list f;

	ck_assert(parse_flag_list(&p, &f) && parse_end(&p));
	ck_assert_uint_eq(f.flags, FLAG_SEEN | FLAG_DRAFT);
	ck_assert_uint_eq(f.keyword_count, 2);
	expect(f.keywords[0], "$Forwarded");
	expect(f.keywords[1], "Junk");
	p = of("()");
	ck_assert(parse_flag_list(&p, &f) && f.flags == 0 && f.keyword_count == 0);
	p = of("\\Deleted x");
	ck_assert(parse_flags_bare(&p, &f) && f.flags == FLAG_DELETED && f.keyword_count == 1);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		p = of(bad[i]);
		ck_assert_msg(!parse_flag_list(&p, &f) || !parse_end(&p), "%s", bad[i]);
	}
}
END_TEST

START_TEST(flags_are_bounded)
{
	struct strbuf b;
	struct flag_list f;
	struct parser p;

	strbuf_init(&b, 64 * 1024);
	strbuf_add_str(&b, "k0");
	for (unsigned i = 1; i < FLAG_LIST_MAX; i++)
		strbuf_addf(&b, " k%u", i);
	p = over(b.p, b.n);
	ck_assert(parse_flags_bare(&p, &f) && f.keyword_count == FLAG_LIST_MAX);
	strbuf_add_str(&b, " one-more");
	p = over(b.p, b.n);
	ck_assert(!parse_flags_bare(&p, &f));
	strbuf_clear(&b);
}
END_TEST

START_TEST(mailboxes)
{
	struct parser p = of("INBOX \"a &- b\" &AOk-t&AOk- {5}\r\nLevel \"\xc3\xa9\" \"&bad\"");
	struct span s;

	ck_assert(parse_mailbox(&p, &s) && parse_sp(&p));
	expect(s, "INBOX");
	ck_assert(parse_mailbox(&p, &s) && parse_sp(&p));
	expect(s, "a & b");
	ck_assert(parse_mailbox(&p, &s) && parse_sp(&p));
	expect(s, "\xc3\xa9t\xc3\xa9");
	ck_assert(parse_mailbox(&p, &s) && parse_sp(&p));
	expect(s, "Level");
	/* What is no modified UTF-7 is taken as it is; the store judges it. */
	ck_assert(parse_mailbox(&p, &s) && parse_sp(&p));
	expect(s, "\xc3\xa9");
	ck_assert(parse_mailbox(&p, &s) && parse_end(&p));
	expect(s, "&bad");
}
END_TEST

START_TEST(a_name_that_is_too_long)
{
	struct strbuf b;
	struct parser p;
	struct span s;

	strbuf_init(&b, 8192);
	for (size_t i = 0; i < (size_t)4 * STORE_NAME_MAX; i++)
		strbuf_add_chr(&b, 'x');
	p = over(b.p, b.n);
	ck_assert(parse_mailbox(&p, &s));
	strbuf_add_chr(&b, 'x');
	p = over(b.p, b.n);
	ck_assert(!parse_mailbox(&p, &s));
	strbuf_clear(&b);
}
END_TEST

START_TEST(lists)
{
	static const char *const bad[] = {
	    "", "()", "(", "(a", "(a )", "( a)", "(a  b)", "(a b c d)", "a", "(a\"b)"};
	struct parser p = of("(a \"b c\" {1}\r\nd)");
	struct span *all;
	size_t n;

	ck_assert(parse_astring_list(&p, 3, &all, &n) && parse_end(&p) && n == 3);
	expect(all[1], "b c");
	expect(all[2], "d");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		p = of(bad[i]);
		ck_assert_msg(!parse_astring_list(&p, 3, &all, &n), "%s", bad[i]);
	}
}
END_TEST

/* Every prefix of valid input, through every function: none reads past its end. */
START_TEST(prefixes)
{
	static const char text[] = "(\\Seen k {3+}\r\nabc \"q\\\"\" 1:*,4 &AOk- NIL)";

	for (size_t n = 0; n <= sizeof(text) - 1; n++)
		for (size_t from = 0; from <= n; from++) {
			struct flag_list f;
			struct sequence seq;
			struct span s, *all;
			struct parser p = over(text + from, n - from), q = p;
			size_t count;

			parse_flag_list(&q, &f);
			q = p;
			parse_sequence(&q, &seq);
			q = p;
			parse_mailbox(&q, &s);
			q = p;
			parse_nstring(&q, &s);
			q = p;
			parse_list_mailbox(&q, &s);
			q = p;
			parse_astring_list(&q, 10, &all, &count);
			ck_assert(q.in.n <= p.in.n);
			arena_reset(&arena);
		}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("imap_parser");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, words);
	tcase_add_test(tc, strings);
	tcase_add_test(tc, nstrings);
	tcase_add_test(tc, numbers);
	tcase_add_test(tc, sequences);
	tcase_add_test(tc, sequences_are_bounded);
	tcase_add_test(tc, flags);
	tcase_add_test(tc, flags_are_bounded);
	tcase_add_test(tc, mailboxes);
	tcase_add_test(tc, a_name_that_is_too_long);
	tcase_add_test(tc, lists);
	tcase_add_test(tc, prefixes);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
