/* SMTP paths and parameters, strict; address lists of header fields, tolerant. */
#include "common/base/mem.h"
#include "common/mail/address.h"

#include <check.h>
#include <string.h>

#define NUL_SPAN(lit) span_make(lit, sizeof(lit) - 1)

static const struct {
	const char *path;
	unsigned flags;
	const char *local, *domain, *text;
} good[] = {
    {"<a@b>", 0, "a", "b", "a@b"},
    {"<A.b+c@Ex-ample.ORG>", 0, "A.b+c", "ex-ample.org", "A.b+c@ex-ample.org"},
    {"<>", MAIL_ADDRESS_NULL, "", "", ""},
    {"<postMaster>", MAIL_ADDRESS_POSTMASTER, "postMaster", "", "postMaster"},
    {"<postmaster@x>", MAIL_ADDRESS_POSTMASTER, "postmaster", "x", "postmaster@x"},
    {"<@r1,@r2.x:a@b>", 0, "a", "b", "a@b"},
    {"<\"a b\"@c>", 0, "a b", "c", "\"a b\"@c"},
    {"<\"a\"@c>", 0, "a", "c", "a@c"},
    {"<\"a\\\"\\\\b>\"@c>", 0, "a\"\\b>", "c", "\"a\\\"\\\\b>\"@c"},
    {"<\"x@y\"@c>", 0, "x@y", "c", "\"x@y\"@c"},
    {"<\".a.\"@c>", 0, ".a.", "c", "\".a.\"@c"},
    {"<a@[192.0.2.1]>", 0, "a", "[192.0.2.1]", "a@[192.0.2.1]"},
    {"<a@[IPv6:2001:DB8::1]>", 0, "a", "[ipv6:2001:db8::1]", "a@[ipv6:2001:db8::1]"},
    {"<\xc3\xa4@\xc3\xb6.x>", MAIL_ADDRESS_UTF8, "\xc3\xa4", "\xc3\xb6.x", "\xc3\xa4@\xc3\xb6.x"},
};

START_TEST(good_paths)
{
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		char buf[MAIL_PATH_MAX];
		struct span in = span_of(good[i].path);
		struct mail_address a;
		struct strbuf text;
		struct err e = ERR_INIT;

		ck_assert_msg(mail_path_take(&in, good[i].flags, buf, &a, &e) == 0, "%s: %s",
		    good[i].path, e.text);
		ck_assert_uint_eq(in.n, 0);
		ck_assert_msg(span_eq(a.local, span_of(good[i].local)), "%s", good[i].path);
		ck_assert_msg(span_eq(a.domain, span_of(good[i].domain)), "%s", good[i].path);
		strbuf_init(&text, 1000);
		ck_assert(mail_address_format(&text, &a));
		ck_assert_str_eq(text.p, good[i].text);
		strbuf_clear(&text);
	}
}
END_TEST

static const struct {
	const char *path;
	enum err_code code;
} bad[] = {
    {"", ERR_INVALID},
    {"a@b", ERR_INVALID},
    {"<a@b", ERR_INVALID},
    {"<", ERR_INVALID},
    {"<>", ERR_INVALID},
    {"<a>", ERR_INVALID},
    {"<postmaster>", ERR_INVALID},
    {"<@b>", ERR_INVALID},
    {"<a@>", ERR_INVALID},
    {"<a@@b>", ERR_INVALID},
    {"< a@b>", ERR_INVALID},
    {"<a@b >", ERR_INVALID},
    {"<a b@c>", ERR_INVALID},
    {"<.a@b>", ERR_INVALID},
    {"<a.@b>", ERR_INVALID},
    {"<a..b@c>", ERR_INVALID},
    {"<a@b..c>", ERR_INVALID},
    {"<a@.b>", ERR_INVALID},
    {"<a@b.>", ERR_INVALID},
    {"<a@-b>", ERR_INVALID},
    {"<a@b->", ERR_INVALID},
    {"<a@b_c>", ERR_INVALID},
    {"<\"a@b>", ERR_INVALID},
    {"<\"\"@b>", ERR_INVALID},
    {"<\"a\"b@c>", ERR_INVALID},
    {"<\"a\\", ERR_INVALID},
    {"<a@[1.2.3]>", ERR_INVALID},
    {"<a@[1.2.3.4>", ERR_INVALID},
    {"<a@[IPv6:1.2.3.4]>", ERR_INVALID},
    {"<a@[x]y>", ERR_INVALID},
    {"<a\r\n@b>", ERR_INVALID},
    {"<\"a\r\nb\"@c>", ERR_INVALID},
    {"<\"a\tb\"@c>", ERR_INVALID},
    {"<a\x7f@b>", ERR_INVALID},
    {"<@r a@b>", ERR_INVALID},
    {"<@r:>", ERR_INVALID},
    {"<@r,:a@b>", ERR_INVALID},
    {"<\xc3\xa4@b>", ERR_UNSUPPORTED},
    {"<a@\xc3\xa4>", ERR_UNSUPPORTED},
    {"<<a@b>>", ERR_INVALID},
};

START_TEST(bad_paths)
{
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		char buf[MAIL_PATH_MAX];
		struct span in = span_of(bad[i].path), before = in;
		struct mail_address a;
		struct err e = ERR_INIT;

		ck_assert_msg(mail_path_take(&in, 0, buf, &a, &e) < 0, "%s", bad[i].path);
		ck_assert_msg(e.code == bad[i].code, "%s: %s", bad[i].path, e.text);
		ck_assert_ptr_eq(in.p, before.p);
	}
}
END_TEST

/* NUL and every other control character, at every place of a path. */
START_TEST(control_characters_never_pass)
{
	static const char path[] = "<@r:\"a b\"@c.d>";

	for (size_t at = 0; at < sizeof(path) - 1; at++)
		for (int c = 0; c <= 0x20; c++) {
			char text[sizeof(path)], buf[MAIL_PATH_MAX];
			struct span in = span_make(text, sizeof(text) - 1);
			struct mail_address a;

			if (c == 0x20 && at > 4 && at < 8)
				continue;
			memcpy(text, path, sizeof(text));
			text[at] = c == 0x20 ? 0x7f : (char)c;
			ck_assert_msg(mail_path_take(&in, MAIL_ADDRESS_UTF8, buf, &a, NULL) < 0,
			    "0x%02x at %zu", text[at], at);
		}
	/* invalid UTF-8 and C1 characters with SMTPUTF8 */
	for (int i = 0; i < 3; i++) {
		static const char *const texts[] = {"<\xff@b>", "<a\xc2\x85@b>", "<a@\xc3>"};
		char buf[MAIL_PATH_MAX];
		struct span in = span_of(texts[i]);
		struct mail_address a;

		ck_assert_int_lt(mail_path_take(&in, MAIL_ADDRESS_UTF8, buf, &a, NULL), 0);
	}
}
END_TEST

static int parse_lengths(size_t local, size_t label, size_t labels)
{
	struct strbuf text;
	char buf[MAIL_PATH_MAX];
	struct span in;
	struct mail_address a;
	struct err e = ERR_INIT;

	strbuf_init(&text, 10000);
	strbuf_add_chr(&text, '<');
	for (size_t i = 0; i < local; i++)
		strbuf_add_chr(&text, 'l');
	strbuf_add_chr(&text, '@');
	for (size_t i = 0; i < labels; i++) {
		if (i)
			strbuf_add_chr(&text, '.');
		for (size_t k = 0; k < label; k++)
			strbuf_add_chr(&text, 'd');
	}
	strbuf_add_chr(&text, '>');
	in = strbuf_span(&text);
	(void)mail_path_take(&in, 0, buf, &a, &e);
	strbuf_clear(&text);
	return (int)e.code;
}

START_TEST(lengths_are_limited)
{
	ck_assert_int_eq(parse_lengths(64, 63, 2), ERR_NONE);
	ck_assert_int_eq(parse_lengths(65, 63, 1), ERR_LIMIT);
	ck_assert_int_eq(parse_lengths(300, 63, 1), ERR_LIMIT);
	ck_assert_int_eq(parse_lengths(1, 64, 1), ERR_INVALID);
	ck_assert_int_eq(parse_lengths(1, 62, 4), ERR_NONE);
	ck_assert_int_eq(parse_lengths(2, 62, 4), ERR_NONE);
	ck_assert_int_eq(parse_lengths(3, 62, 4), ERR_LIMIT);
	ck_assert_int_eq(parse_lengths(1, 63, 4), ERR_LIMIT);
	ck_assert_int_eq(parse_lengths(1, 63, 5), ERR_LIMIT);
}
END_TEST

START_TEST(parameters)
{
	struct span in = SPAN(" SIZE=100  BODY=8BITMIME SMTPUTF8 AUTH=<> ");
	struct mail_param param;
	static const char *const refused[] = {
	    "SIZE=1", " SIZE=", " =x", " A=b=c", " A=\x01", " -A", " A_B=1", " A\tB", " A=\xff"};

	ck_assert_int_eq(mail_param_next(&in, &param, NULL), 1);
	ck_assert(span_eq(param.key, SPAN("SIZE")) && span_eq(param.value, SPAN("100")));
	ck_assert_int_eq(mail_param_next(&in, &param, NULL), 1);
	ck_assert(span_eq(param.value, SPAN("8BITMIME")));
	ck_assert_int_eq(mail_param_next(&in, &param, NULL), 1);
	ck_assert_ptr_null(param.value.p);
	ck_assert_int_eq(mail_param_next(&in, &param, NULL), 1);
	ck_assert(span_eq(param.value, SPAN("<>")));
	ck_assert_int_eq(mail_param_next(&in, &param, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		in = span_of(refused[i]);
		ck_assert_msg(mail_param_next(&in, &param, NULL) < 0, "%s", refused[i]);
	}
	in = NUL_SPAN(" A=b\0c");
	ck_assert_int_lt(mail_param_next(&in, &param, NULL), 0);
}
END_TEST

START_TEST(xtext)
{
	struct strbuf out;

	strbuf_init(&out, 100);
	ck_assert(mail_xtext_decode(&out, SPAN("rfc822;a+2Bb+40c")));
	ck_assert_str_eq(out.p, "rfc822;a+b@c");
	strbuf_reset(&out);
	ck_assert(mail_xtext_encode(&out, SPAN("a+b=c d\xff")));
	ck_assert_str_eq(out.p, "a+2Bb+3Dc+20d+FF");
	strbuf_reset(&out);
	ck_assert(!mail_xtext_decode(&out, SPAN("+2")));
	ck_assert(!mail_xtext_decode(&out, SPAN("+")));
	ck_assert(!mail_xtext_decode(&out, SPAN("+2b")));
	ck_assert(!mail_xtext_decode(&out, SPAN("+0A")));
	ck_assert(!mail_xtext_decode(&out, SPAN("a=b")));
	strbuf_clear(&out);
}
END_TEST

static void put(struct strbuf *out, const char *before, struct span s)
{
	strbuf_add_str(out, before);
	if (s.p)
		strbuf_add(out, s);
	else
		strbuf_add_chr(out, '-');
}

/* "name|route|local|domain" of each entry, "{" before a group's name, "}" at its end. */
static char *show(struct span value)
{
	struct strbuf out;
	struct mail_list l;
	struct mail_entry a;

	strbuf_init(&out, 1 << 20);
	mail_list_init(&l, value);
	while (mail_list_next(&l, &a)) {
		if (a.kind == MAIL_ENTRY_GROUP_END) {
			strbuf_add_str(&out, "} ");
		} else if (a.kind == MAIL_ENTRY_GROUP) {
			put(&out, "{", a.local);
			strbuf_add_chr(&out, ' ');
		} else {
			put(&out, "", a.name);
			put(&out, "|", a.route);
			put(&out, "|", a.local);
			put(&out, "|", a.domain);
			strbuf_add_str(&out, a.bad ? "! " : " ");
		}
	}
	mail_list_clear(&l);
	return strbuf_steal(&out, NULL);
}

static const struct {
	const char *value, *want;
} lists[] = {
    {"", ""},
    {" \t(c) ", ""},
    {"a@b", "-|-|a|b "},
    {"<a@b>", "-|-|a|b "},
    {"A B <a@b>", "A B|-|a|b "},
    {"\"A, \\\"B\" <a@b>, c@d", "A, \"B|-|a|b -|-|c|d "},
    {"a@b (Name (x) \\) y)", "Name (x) ) y|-|a|b "},
    {"(c) a@b", "-|-|a|b "},
    {"<@r1,@r2:a@b>", "-|@r1,@r2|a|b "},
    {"a . b @ c . d", "-|-|a.b|c.d "},
    {"\"a b\".c@d", "-|-|a b.c|d "},
    {"a..b.@c", "-|-|a..b.|c "},
    {"a@[1.2.3.4]", "-|-|a|[1.2.3.4] "},
    {"A\r\n B <a@b>", "A B|-|a|b "},
    {"J. Doe <a@b>", "J. Doe|-|a|b "},
    {"g: a@b, C <c@d>;, e@f", "{g -|-|a|b C|-|c|d } -|-|e|f "},
    {"g:;", "{g } "},
    {"g:", "{g } "},
    {"g: a@b", "{g -|-|a|b } "},
    {"g: a@b x, c@d;", "{g -|-|a|b } "},
    /* broken ones, as Dovecot shows them */
    {"a", "-|-|a|MISSING_DOMAIN! "},
    {"a b", "a b|-|MISSING_MAILBOX|MISSING_DOMAIN! "},
    {"a@", "-|-|a|MISSING_DOMAIN! "},
    {"@b", "-|-|MISSING_MAILBOX|b! "},
    {"<>", "-|-|MISSING_MAILBOX|MISSING_DOMAIN! "},
    {"N <a", "N|-|a|SYNTAX_ERROR! "},
    {"N <a@b", "N|-|a|SYNTAX_ERROR! "},
    {"<@r a@b>", "-|INVALID_ROUTE|a|b! "},
    {"a@b,,c@d", "-|-|a|b -|-|MISSING_MAILBOX|MISSING_DOMAIN! -|-|c|d "},
    {"a@b,", "-|-|a|b "},
    {"a@b c@d", "-|-|a|b "},
    {"\"unended <a@b>", "-|-|MISSING_MAILBOX|MISSING_DOMAIN! "},
    {"(unended a@b", ""},
    {"a@b, \"x", "-|-|a|b -|-|MISSING_MAILBOX|MISSING_DOMAIN! "},
    {"\"a\\", "-|-|MISSING_MAILBOX|MISSING_DOMAIN! "},
};

START_TEST(lists_of_addresses)
{
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		char *got = show(span_of(lists[i].value));

		ck_assert_msg(!strcmp(got, lists[i].want), "%s: \"%s\", not \"%s\"", lists[i].value,
		    got, lists[i].want);
		mem_free(got);
	}
}
END_TEST

/* Every prefix in a block of its size; groups always end. */
START_TEST(cut_lists_end)
{
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (size_t n = 0; n <= strlen(lists[i].value); n++) {
			char *copy = mem_dup(lists[i].value, n);
			char *got = show(span_make(copy, n));
			int open = 0;

			for (const char *p = got; *p; p++)
				open += (*p == '{') - (*p == '}');
			ck_assert_int_eq(open, 0);
			mem_free(got);
			mem_free(copy);
		}
}
END_TEST

START_TEST(lists_are_limited)
{
	struct strbuf b;
	struct mail_list l;
	struct mail_entry a;
	unsigned count = 0;

	strbuf_init(&b, 1 << 20);
	strbuf_room(&b, 1 << 18);
	strbuf_add_str(&b, "g:");
	for (int i = 0; i < 20000; i++)
		strbuf_add_str(&b, "a@b,");
	mail_list_init(&l, strbuf_span(&b));
	while (mail_list_next(&l, &a))
		count++;
	ck_assert_uint_eq(count, MAIL_LIST_MAX + 1);
	ck_assert_int_eq(a.kind, MAIL_ENTRY_GROUP_END);
	mail_list_clear(&l);
	strbuf_clear(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mail_address");
	TCase *t = tcase_create("mail_address");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, good_paths);
	tcase_add_test(t, bad_paths);
	tcase_add_test(t, control_characters_never_pass);
	tcase_add_test(t, lengths_are_limited);
	tcase_add_test(t, parameters);
	tcase_add_test(t, xtext);
	tcase_add_test(t, lists_of_addresses);
	tcase_add_test(t, cut_lists_end);
	tcase_add_test(t, lists_are_limited);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
