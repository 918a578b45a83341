/* ENVELOPE, BODYSTRUCTURE, sections and strings as IMAP shows them. */
#include "common/base/mem.h"
#include "common/mail/bodystructure.h"
#include "common/mail/envelope.h"
#include "common/mail/imapstr.h"
#include "common/mail/section.h"
#include "tests/support/mail_corpus.h"

#include <check.h>
#include <string.h>

static void ck_out(struct strbuf *out, const char *want)
{
	ck_assert_str_eq(out->p, want);
	strbuf_reset(out);
}

START_TEST(strings)
{
	struct strbuf out;
	char text[1200];

	strbuf_init(&out, 10000);
	mail_write_string(&out, SPAN("a\"b\\c"));
	ck_out(&out, "\"a\\\"b\\\\c\"");
	mail_write_string(&out, SPAN(""));
	ck_out(&out, "\"\"");
	mail_write_string(&out, SPAN("\xc3\xa4\""));
	ck_out(&out, "{3}\r\n\xc3\xa4\"");
	mail_write_string(&out, SPAN("a\r\nb"));
	ck_out(&out, "{4}\r\na\r\nb");
	mail_write_string(&out, span_make("a\0b", 3));
	ck_out(&out, "\"a?b\"");
	mail_write_nstring(&out, (struct span){NULL, 0});
	ck_out(&out, "NIL");
	mail_write_astring(&out, SPAN("INBOX/x[]"));
	ck_out(&out, "INBOX/x[]");
	mail_write_astring(&out, SPAN("nil"));
	ck_out(&out, "\"nil\"");
	mail_write_astring(&out, SPAN("a b"));
	ck_out(&out, "\"a b\"");
	mail_write_astring(&out, SPAN(""));
	ck_out(&out, "\"\"");
	memset(text, 'x', sizeof(text));
	mail_write_string(&out, span_make(text, sizeof(text)));
	ck_assert_uint_eq(out.n, 8 + sizeof(text));
	ck_assert(span_starts(strbuf_span(&out), SPAN("{1200}\r\nx")));
	strbuf_clear(&out);
}
END_TEST

START_TEST(envelopes)
{
	struct strbuf out;

	strbuf_init(&out, 10000);
	mail_envelope_write(&out, mail_corpus[5]);
	ck_out(&out, "(NIL \"a\" ((\"A\" NIL \"a\" \"b\")) ((\"A\" NIL \"a\" \"b\")) "
		     "((\"A\" NIL \"a\" \"b\")) ((NIL NIL \"g\" NIL)(NIL NIL \"x\" \"y\")"
		     "(\"Q, R\" NIL \"q\" \"r\")(NIL NIL NIL NIL)(NIL NIL \"z\" \"z\")) "
		     "NIL NIL NIL NIL)");
	mail_envelope_write(
	    &out, SPAN("Date: d\r\nSender:\r\nReply-To: r@s\r\nFrom: f@g\r\nTo: a@b\r\n"
		       "to: c@d\r\nMessage-Id: <m@n>\r\nIn-Reply-To: <x>\r\n <y>\r\n"
		       "Subject:\r\nCc: ,\r\n\r\nBcc: no@no\r\n"));
	ck_out(&out,
	    "(\"d\" \"\" ((NIL NIL \"f\" \"g\")) ((NIL NIL \"f\" \"g\")) "
	    "((NIL NIL \"r\" \"s\")) ((NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\")) "
	    "((NIL NIL \"MISSING_MAILBOX\" \"MISSING_DOMAIN\")) NIL \"<x> <y>\" \"<m@n>\")");
	mail_envelope_write_empty(&out);
	ck_out(&out, "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
	strbuf_clear(&out);
}
END_TEST

START_TEST(message_ids)
{
	struct span value = SPAN("text <a@b> <c\r\n <d@e>, <>, <f"), id = {NULL, 0};

	ck_assert(span_eq(mail_msgid_of(SPAN("Message-ID: <x@y>\r\n")), SPAN("x@y")));
	ck_assert_uint_eq(mail_msgid_of(SPAN("Message-ID: x@y\r\n")).n, 0);
	ck_assert(mail_msgid_next(&value, &id) && span_eq(id, SPAN("a@b")));
	ck_assert(mail_msgid_next(&value, &id) && span_eq(id, SPAN("d@e")));
	ck_assert(!mail_msgid_next(&value, &id));
}
END_TEST

#define EMPTY "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" "

START_TEST(structures)
{
	struct strbuf out;
	struct mime_tree *t = mime_tree_parse(mail_corpus[9]);

	strbuf_init(&out, 10000);
	mail_bodystructure_write(&out, t, false);
	ck_out(&out,
	    "(" EMPTY "7 1)(" EMPTY "5 0)(\"text\" \"html\" (\"charset\" \"us-ascii\") NIL NIL "
	    "\"7bit\" 6 0) \"alternative\")(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 105 "
	    "(NIL \"inner\" ((NIL NIL \"i\" \"n\")) ((NIL NIL \"i\" \"n\")) "
	    "((NIL NIL \"i\" \"n\")) NIL NIL NIL NIL NIL) ((\"message\" \"rfc822\" NIL NIL NIL "
	    "\"7bit\" 18 (NIL \"deep\" NIL NIL NIL NIL NIL NIL NIL NIL) " EMPTY
	    "1 0) 2) \"digest\") 9) \"mixed\")");
	mime_tree_free(t);
	t = mime_tree_parse(mail_corpus[8]);
	mail_bodystructure_write(&out, t, true);
	ck_out(&out,
	    "(\"text\" \"html\" (\"charset\" \"utf-8\" \"n*\" \"utf-8''%e2a\") \"<c@d>\" \"a b\" "
	    "\"QUOTED-PRINTABLE\" 15 1 \"xyz\" (\"attachment\" (\"filename\" \"a b\" \"size\" "
	    "\"3\")) (\"de\" \"en-US\") \"http://x/\")");
	mime_tree_free(t);
	t = mime_tree_parse(mail_corpus[11]);
	mail_bodystructure_write(&out, t, true);
	ck_out(&out, "(" EMPTY "0 0 NIL NIL NIL NIL) \"mixed\" NIL NIL NIL NIL)");
	mime_tree_free(t);
	strbuf_clear(&out);
}
END_TEST

/* A structure is refused as a whole, not cut, when it does not fit. */
START_TEST(full_buffers_are_told)
{
	struct mime_tree *t = mime_tree_parse(mail_corpus[9]);
	struct strbuf all;

	strbuf_init(&all, 10000);
	ck_assert(mail_bodystructure_write(&all, t, true));
	for (size_t n = 0; n < all.n; n++) {
		struct strbuf out;

		strbuf_init(&out, n);
		ck_assert(!mail_bodystructure_write(&out, t, true));
		strbuf_clear(&out);
	}
	strbuf_clear(&all);
	mime_tree_free(t);
}
END_TEST

static const struct {
	const char *section;
	const char *want; /* NULL: NIL */
} sections[] = {
    {"1", "first\r\n"},
    {"1.MIME", "\r\n"},
    {"1.1", NULL},
    {"1.TEXT", NULL},
    {"1.HEADER", NULL},
    {"2.1", "plain"},
    {"2.2", "<html>"},
    {"2.3", NULL},
    {"2.2.MIME", "Content-Type: text/html\r\n\r\n"},
    {"3.MIME", "Content-Type: message/rfc822\r\n\r\n"},
    {"3.HEADER",
	"Subject: inner\r\nFrom: i@n\r\nContent-Type: multipart/digest; boundary=c\r\n\r\n"},
    {"3.HEADER.FIELDS",
	"Subject: inner\r\nFrom: i@n\r\nContent-Type: multipart/digest; boundary=c\r\n\r\n"},
    {"3.TEXT", "--c\r\n\r\nSubject: deep\r\n\r\nx\r\n--c--"},
    {"3.1", "Subject: deep\r\n\r\nx"},
    {"3.1.HEADER", "Subject: deep\r\n\r\n"},
    {"3.1.TEXT", "x"},
    {"3.1.1", "x"},
    {"3.1.2", NULL},
    {"3.1.1.1", NULL},
    {"3.1.1.MIME", "Subject: deep\r\n\r\n"},
    {"4", NULL},
    {"4294967295", NULL},
    {"HEADER", "Subject: outer\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n"},
};

START_TEST(sections_are_exact)
{
	struct span m = mail_corpus[9];
	struct mime_tree *t = mime_tree_parse(m);
	struct mail_section s;
	uint64_t at, n;

	for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
		bool found;

		ck_assert(mail_section_parse(span_of(sections[i].section), &s));
		found = mail_section_find(t, &s, &at, &n);
		ck_assert_msg(found == (sections[i].want != NULL), "%s", sections[i].section);
		if (found)
			ck_assert_msg(span_eq(span_sub(m, at, n), span_of(sections[i].want)),
			    "%s: %.*s", sections[i].section, SPAN_FMT(span_sub(m, at, n)));
	}
	ck_assert(mail_section_parse(SPAN(""), &s) && mail_section_find(t, &s, &at, &n));
	ck_assert(at == 0 && n == m.n);
	mime_tree_free(t);
}
END_TEST

START_TEST(sections_of_single_parts)
{
	struct span m = mail_corpus[13];
	struct mime_tree *t = mime_tree_parse(m);
	struct mail_section s;
	uint64_t at, n;

	/* The message itself is message/rfc822. */
	ck_assert(mail_section_parse(SPAN("1.TEXT"), &s) && mail_section_find(t, &s, &at, &n));
	ck_assert(span_eq(span_sub(m, at, n), SPAN("body\r\n")));
	ck_assert(mail_section_parse(SPAN("1.1"), &s) && mail_section_find(t, &s, &at, &n));
	ck_assert(span_eq(span_sub(m, at, n), SPAN("body\r\n")));
	mime_tree_free(t);
	m = mail_corpus[5];
	t = mime_tree_parse(m);
	ck_assert(mail_section_parse(SPAN("1"), &s) && mail_section_find(t, &s, &at, &n));
	ck_assert(span_eq(span_sub(m, at, n), SPAN("Hello\r\n")));
	ck_assert(mail_section_parse(SPAN("2"), &s) && !mail_section_find(t, &s, &at, &n));
	ck_assert(mail_section_parse(SPAN("1.1"), &s) && !mail_section_find(t, &s, &at, &n));
	mime_tree_free(t);
}
END_TEST

START_TEST(bad_sections)
{
	static const char *const bad[] = {"0", "01", "1.", ".1", "1..2", "MIME", "1.FOO",
	    "HEADER.1", "4294967296", "-1", "1 ", "HEADERS", "TEXT.1", "99999999999999999999"};
	struct mail_section s;
	struct strbuf b;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(!mail_section_parse(span_of(bad[i]), &s), "%s", bad[i]);
	strbuf_init(&b, 1000);
	for (int i = 0; i < MIME_DEPTH_MAX; i++)
		strbuf_add_str(&b, i ? ".1" : "1");
	ck_assert(mail_section_parse(strbuf_span(&b), &s));
	strbuf_add_str(&b, ".1");
	ck_assert(!mail_section_parse(strbuf_span(&b), &s));
	strbuf_clear(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mail_imap");
	TCase *t = tcase_create("mail_imap");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, strings);
	tcase_add_test(t, envelopes);
	tcase_add_test(t, message_ids);
	tcase_add_test(t, structures);
	tcase_add_test(t, full_buffers_are_told);
	tcase_add_test(t, sections_are_exact);
	tcase_add_test(t, sections_of_single_parts);
	tcase_add_test(t, bad_sections);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
