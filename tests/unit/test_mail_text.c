/* Encoded words, RFC 2231, charsets, transfer decoding, folding, streaming search. */
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/mail/charset.h"
#include "common/mail/words.h"

#include <check.h>
#include <string.h>

static const struct {
	const char *value, *want;
} words[] = {
    {"plain", "plain"},
    {"=?utf-8?q?a=20b_c?=", "a b c"},
    {"=?UTF-8?B?w6Q=?=", "\xc3\xa4"},
    {"=?iso-8859-1?q?=E4?= x", "\xc3\xa4 x"},
    {"a =?utf-8?q?b?= =?utf-8?q?c?= d", "a bc d"},
    {"=?utf-8?q?b?=\r\n =?iso-8859-1*de?q?=FC?=", "b\xc3\xbc"},
    /* a character cut between two words */
    {"=?utf-8?q?=C3?= =?utf-8?q?=A4?=", "\xc3\xa4"},
    {"=?utf-8?q?=C3?= x", "\xef\xbf\xbd x"},
    {"=?iso-2022-jp?b?GyRCJCIbKEI=?=", "\xe3\x81\x82"},
    {"=?gb2312?b?1tDOxA==?=", "\xe4\xb8\xad\xe6\x96\x87"},
    {"=?no-such?q?a=E4?=", "=?no-such?q?a=E4?="},
    {"=?utf-8?x?a?=", "=?utf-8?x?a?="},
    {"=?utf-8?q?a", "=?utf-8?q?a"},
    {"=?", "=?"},
    {"=?a", "=?a"},
    {"=?a?", "=?a?"},
    {"=?a?q", "=?a?q"},
    {"=?a?q?", "=?a?q?"},
    {"=?utf-8?q?"
     "?=",
	""},
    {"=?"
     "?q?a?=",
	"=?"
	"?q?a?="},
    {"x=?utf-8?q?a?=y", "xay"},
    {"=?utf-8?q?a?= =?no-such?q?b?= =?utf-8?q?c?=", "a =?no-such?q?b?= c"},
    {"\xe4\xff", "\xef\xbf\xbd\xef\xbf\xbd"},
    {"=?utf-8?q?a=0D=0Ab?=", "a  b"},
    {"=?../../etc/x?q?a?=", "=?../../etc/x?q?a?="},
    {"=?utf-8//IGNORE?q?a?=", "=?utf-8//IGNORE?q?a?="},
};

START_TEST(encoded_words)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		for (size_t n = strlen(words[i].value) + 1; n-- > 0;) {
			char *copy = mem_dup(words[i].value, n);
			struct strbuf out;

			strbuf_init(&out, 1000);
			ck_assert(mail_words_decode(&out, span_make(copy, n)));
			ck_assert(utf8_is_valid(strbuf_span(&out)));
			if (n == strlen(words[i].value))
				ck_assert_msg(
				    !strcmp(out.p, words[i].want), "%s: %s", words[i].value, out.p);
			strbuf_clear(&out);
			mem_free(copy);
		}
}
END_TEST

/* Many words, each with another charset, must not open charsets for ever. */
START_TEST(many_charsets)
{
	struct strbuf in, out;

	strbuf_init(&in, 1 << 20);
	strbuf_init(&out, 1 << 20);
	strbuf_room(&in, 1 << 18);
	strbuf_room(&out, 1 << 18);
	for (int i = 0; i < 8000; i++)
		strbuf_add_str(&in, i % 2 ? "=?iso-8859-1?q?a?= " : "=?iso-8859-2?q?a?= ");
	ck_assert(mail_words_decode(&out, strbuf_span(&in)));
	ck_assert(span_starts(strbuf_span(&out), SPAN("aaaaaaaa")));
	ck_assert_int_ge(span_find(strbuf_span(&out), SPAN("=?iso-8859-2?q?a?=")), 100);
	strbuf_clear(&in);
	strbuf_clear(&out);
}
END_TEST

static void ck_param(const struct mime_param *params, size_t count, const char *want)
{
	struct strbuf out;

	strbuf_init(&out, 1000);
	ck_assert_int_eq(mail_param_decode(&out, params, count, SPAN("f")), want != NULL);
	if (want)
		ck_assert_str_eq(out.p, want);
	strbuf_clear(&out);
}

#define P(name, value)                                                                             \
	{                                                                                          \
		SPAN_INIT(name), SPAN_INIT(value)                                                  \
	}

START_TEST(parameters)
{
	const struct mime_param plain[] = {P("g", "x"), P("F", "a b")};
	const struct mime_param words_[] = {P("f", "=?utf-8?q?=C3=A4?=")};
	const struct mime_param extended[] = {P("f", "old"), P("f*", "iso-8859-1'de'%E4%zz")};
	const struct mime_param pieces[] = {P("f*1", "b%41"), P("f*0*", "utf-8''%C3"),
	    P("f*2*", "%42"), P("f*4", "lost"), P("f*0x", "no")};
	const struct mime_param cut[] = {P("f*0*", "utf-8''%C3"), P("f*1*", "%A4")};
	const struct mime_param no_charset[] = {P("f*", "a%20b")};
	const struct mime_param huge[] = {P("f*99999999999999999999", "x"), P("f*1", "y")};

	ck_param(plain, 2, "a b");
	ck_param(plain, 1, NULL);
	ck_param(words_, 1, "\xc3\xa4");
	ck_param(extended, 2, "\xc3\xa4%zz");
	ck_param(pieces, 5,
	    "\xef\xbf\xbd"
	    "b%41B");
	ck_param(cut, 2, "\xc3\xa4");
	ck_param(no_charset, 1, "a b");
	ck_param(huge, 2, NULL);
}
END_TEST

/* The decoded text, fed in pieces of step bytes. */
static char *decoded(enum mail_encoding encoding, struct span in, size_t step, size_t *n)
{
	struct mail_decoder d;
	struct strbuf out;

	strbuf_init(&out, 100000);
	mail_decoder_init(&d, encoding);
	while (in.n) {
		ck_assert(mail_decoder_feed(&d, &out, span_sub(in, 0, step)));
		in = span_from(in, step);
	}
	ck_assert(mail_decoder_finish(&d, &out));
	return strbuf_steal(&out, n);
}

static const struct {
	enum mail_encoding encoding;
	const char *in, *want;
} encoded[] = {
    {MAIL_ENCODING_NONE, "a=20\r\n", "a=20\r\n"},
    {MAIL_ENCODING_BASE64, "aGVs\r\nbG8=", "hello"},
    {MAIL_ENCODING_BASE64, "aGVsbG8", "hello"},
    {MAIL_ENCODING_BASE64, "aA==aQ==", "hi"},
    {MAIL_ENCODING_BASE64, "a!G-V*s", "hel"},
    {MAIL_ENCODING_BASE64, "a", ""},
    {MAIL_ENCODING_BASE64, "====", ""},
    {MAIL_ENCODING_QP, "a=3D=3d", "a=="},
    {MAIL_ENCODING_QP, "a=\r\nb", "ab"},
    {MAIL_ENCODING_QP, "a=  \t\r\nb", "ab"},
    {MAIL_ENCODING_QP, "a=\nb", "ab"},
    {MAIL_ENCODING_QP, "a \t\r\nb \nc ", "a\r\nb\nc"},
    {MAIL_ENCODING_QP, "a=zz=4", "a=zz=4"},
    {MAIL_ENCODING_QP, "a=4x=", "a=4x"},
    {MAIL_ENCODING_QP, "a  b\rc", "a  b\rc"},
    {MAIL_ENCODING_QP, "=20\r\n", " \r\n"},
    {MAIL_ENCODING_QP, "==3D", "=="},
};

START_TEST(transfer_encodings)
{
	for (size_t i = 0; i < ARRAY_LEN(encoded); i++)
		for (size_t step = 1; step < 9; step++) {
			size_t n;
			char *got = decoded(encoded[i].encoding, span_of(encoded[i].in), step, &n);

			ck_assert_msg(n == strlen(encoded[i].want) && !strcmp(got, encoded[i].want),
			    "%s by %zu: %s", encoded[i].in, step, got);
			mem_free(got);
		}
	ck_assert_int_eq(mail_encoding_of(SPAN(" Base64 ")), MAIL_ENCODING_BASE64);
	ck_assert_int_eq(mail_encoding_of(SPAN("quoted-printable")), MAIL_ENCODING_QP);
	ck_assert_int_eq(mail_encoding_of(SPAN("8bit")), MAIL_ENCODING_NONE);
}
END_TEST

static const struct {
	const char *charset;
	struct span in;
	const char *want;
} charsets[] = {
    {"iso-8859-1", SPAN_INIT("a\xe4"), "a\xc3\xa4"},
    {"WINDOWS-1252", SPAN_INIT("\x80"), "\xe2\x82\xac"},
    {"utf-8", SPAN_INIT("\xf0\x9f\x98\x80\xc3"), "\xf0\x9f\x98\x80\xef\xbf\xbd"},
    {"", SPAN_INIT("a\xff\xc3\xa4"), "a\xef\xbf\xbd\xc3\xa4"},
    {"utf-8", SPAN_INIT("\xed\xa0\x80 \xc0\x80"),
	"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd"},
    {"utf-16le", SPAN_INIT("a\0\x3d\xd8\x00\xde"), "a\xf0\x9f\x98\x80"},
    {"shift_jis", SPAN_INIT("\x82\xa0"), "\xe3\x81\x82"},
    {"no-such", SPAN_INIT("a\xe4"), "a\xef\xbf\xbd"},
    {"iso-2022-jp", SPAN_INIT("\x1b$B$\"\x1b(Ba"),
	"\xe3\x81\x82"
	"a"},
    {"euc-kr", SPAN_INIT("\xb0\xa1"), "\xea\xb0\x80"},
};

START_TEST(charsets_at_every_split)
{
	for (size_t i = 0; i < ARRAY_LEN(charsets); i++)
		for (size_t at = 0; at <= charsets[i].in.n; at++) {
			struct mail_charset *c = mail_charset_open(span_of(charsets[i].charset));
			struct strbuf out;

			strbuf_init(&out, 1000);
			ck_assert(mail_charset_feed(c, &out, span_sub(charsets[i].in, 0, at)));
			ck_assert(mail_charset_feed(c, &out, span_from(charsets[i].in, at)));
			ck_assert(mail_charset_finish(c, &out));
			ck_assert_msg(!strcmp(out.p, charsets[i].want), "%s at %zu: %s",
			    charsets[i].charset, at, out.p);
			mail_charset_close(c);
			strbuf_clear(&out);
		}
	ck_assert(mail_charset_is_known(SPAN("ISO-8859-15")));
	ck_assert(mail_charset_is_known(SPAN("")));
	ck_assert(!mail_charset_is_known(SPAN("no-such")));
	ck_assert(!mail_charset_is_known(SPAN("utf-8//IGNORE")));
	ck_assert(!mail_charset_is_known(span_make("utf-16\0x", 8)));
}
END_TEST

START_TEST(folding)
{
	static const char *const pairs[][2] = {{"HeLLo", "hello"}, {"\xc3\x84", "\xc3\xa4"},
	    {"\xc3\x9f", "ss"}, {"\xce\xa3\xcf\x82", "\xcf\x83\xcf\x83"}, {"\xd0\x96", "\xd0\xb6"},
	    {"e\xcc\x81", "e\xcc\x81"}, {"\xff", "\xef\xbf\xbd"}};

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		struct strbuf out;

		strbuf_init(&out, 100);
		ck_assert(mail_casefold(&out, span_of(pairs[i][0])));
		ck_assert_str_eq(out.p, pairs[i][1]);
		strbuf_clear(&out);
	}
}
END_TEST

START_TEST(matching_at_every_split)
{
	static const struct {
		const char *key, *text;
		bool found;
	} cases[] = {
	    {"aab", "aaab", true},
	    {"abab", "abacabab", true},
	    {"ABC", "xabcx", true},
	    {"abc", "abab", false},
	    {"\xc3\x84", "x\xc3\xa4", true},
	    {"aaab", "aabaab", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct mail_matcher *m = mail_matcher_new(span_of(cases[i].key));

		for (size_t at = 0; at <= strlen(cases[i].text); at++) {
			mail_matcher_reset(m);
			mail_matcher_feed(m, span_sub(span_of(cases[i].text), 0, at));
			ck_assert_int_eq(
			    mail_matcher_feed(m, span_from(span_of(cases[i].text), at)),
			    cases[i].found);
		}
		mail_matcher_free(m);
	}
	ck_assert_ptr_null(mail_matcher_new(SPAN("")));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mail_text");
	TCase *t = tcase_create("mail_text");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, encoded_words);
	tcase_add_test(t, many_charsets);
	tcase_add_test(t, parameters);
	tcase_add_test(t, transfer_encodings);
	tcase_add_test(t, charsets_at_every_split);
	tcase_add_test(t, folding);
	tcase_add_test(t, matching_at_every_split);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
