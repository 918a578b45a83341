/* Mailbox names: modified UTF-7 and NFC. */
#include "common/base/mem.h"
#include "common/mail/mutf7.h"

#include <check.h>
#include <string.h>

static const struct {
	const char *utf7, *utf8;
} good[] = {
    {"", ""},
    {"INBOX", "INBOX"},
    {"&-", "&"},
    {"a&-b", "a&b"},
    {"Entw&APw-rfe", "Entw\xc3\xbcrfe"},
    {"~peter/mail/&U,BTFw-/&ZeVnLIqe-",
	"~peter/mail/\xe5\x8f\xb0\xe5\x8c\x97/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"},
    {"&2D3eAA-", "\xf0\x9f\x98\x80"},
    {"&AOQ-&-", "\xc3\xa4&"},
    {"&-&AOQ-", "&\xc3\xa4"},
};

START_TEST(both_ways)
{
	struct strbuf out;

	strbuf_init(&out, 100);
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		strbuf_reset(&out);
		ck_assert_msg(mail_mutf7_to_utf8(&out, span_of(good[i].utf7)), "%s", good[i].utf7);
		ck_assert_str_eq(out.p, good[i].utf8);
		strbuf_reset(&out);
		ck_assert(mail_mutf7_from_utf8(&out, span_of(good[i].utf8)));
		ck_assert_str_eq(out.p, good[i].utf7);
	}
	strbuf_clear(&out);
}
END_TEST

/* Printable characters in shifts, adjacent shifts, spare bits, half pairs, wrong bytes. */
START_TEST(only_one_form_counts)
{
	static const char *const bad[] = {"&", "a&", "&AOQ", "&AO-", "&A-", "&AGE-", "&AOQ-&APw-",
	    "&AOR-", "&AOQA-", "&AOQAA-", "&2D0-", "&3gA-", "&2D0A5A-", "&AOQ=-", "&AO/-",
	    "\xc3\xa4", "a\tb", "a\x7f", "&AAA-", "&Jjo!", "& -", "&ACY-"};
	struct strbuf out;

	strbuf_init(&out, 100);
	strbuf_add_str(&out, "kept");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert_msg(!mail_mutf7_to_utf8(&out, span_of(bad[i])), "%s", bad[i]);
		ck_assert_str_eq(out.p, "kept");
	}
	ck_assert(!mail_mutf7_to_utf8(&out, span_make("a\0b", 3)));
	ck_assert(!mail_mutf7_from_utf8(&out, SPAN("\xff")));
	ck_assert(!mail_mutf7_from_utf8(&out, span_make("a\0b", 3)));
	ck_assert_str_eq(out.p, "kept");
	strbuf_clear(&out);
}
END_TEST

/* All code points, alone. */
START_TEST(every_code_point)
{
	struct strbuf utf8, utf7, back;

	strbuf_init(&utf8, 16);
	strbuf_init(&utf7, 64);
	strbuf_init(&back, 64);
	for (uint32_t cp = 1; cp < 0x110000; cp += cp < 0x3000 ? 1 : 251) {
		char text[4];
		size_t n = 0;

		if (cp >= 0xd800 && cp < 0xe000)
			continue;
		if (cp < 0x80) {
			text[n++] = (char)cp;
		} else if (cp < 0x800) {
			text[n++] = (char)(0xc0 | cp >> 6);
			text[n++] = (char)(0x80 | (cp & 63));
		} else {
			if (cp < 0x10000) {
				text[n++] = (char)(0xe0 | cp >> 12);
			} else {
				text[n++] = (char)(0xf0 | cp >> 18);
				text[n++] = (char)(0x80 | (cp >> 12 & 63));
			}
			text[n++] = (char)(0x80 | (cp >> 6 & 63));
			text[n++] = (char)(0x80 | (cp & 63));
		}
		strbuf_reset(&utf7);
		strbuf_reset(&back);
		ck_assert(mail_mutf7_from_utf8(&utf7, span_make(text, n)));
		ck_assert_msg(mail_mutf7_to_utf8(&back, strbuf_span(&utf7)), "U+%04X", cp);
		ck_assert(span_eq(strbuf_span(&back), span_make(text, n)));
	}
	strbuf_clear(&utf8);
	strbuf_clear(&utf7);
	strbuf_clear(&back);
}
END_TEST

START_TEST(normal_form)
{
	struct strbuf out;

	strbuf_init(&out, 100);
	ck_assert(mail_utf8_nfc(&out, SPAN("e\xcc\x81 x")));
	ck_assert_str_eq(out.p, "\xc3\xa9 x");
	strbuf_reset(&out);
	ck_assert(mail_utf8_nfc(&out, SPAN("plain")));
	ck_assert_str_eq(out.p, "plain");
	ck_assert(!mail_utf8_nfc(&out, SPAN("\xff")));
	ck_assert(!mail_utf8_nfc(&out, span_make("a\0", 2)));
	strbuf_clear(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mail_mutf7");
	TCase *t = tcase_create("mail_mutf7");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, both_ways);
	tcase_add_test(t, only_one_form_counts);
	tcase_add_test(t, every_code_point);
	tcase_add_test(t, normal_form);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
