/* 8-bit messages in 7 bits: what decodes is what was there, at every split. */
#include "tests/support/convert_oracle.h"
#include "tests/support/unit.h"

static const char plain[] = "Subject: x\r\n\r\nGr\xc3\xbc\xc3\x9f"
			    "e = \t\r\n\xe2\x82\xac \r\n-- \r\n"
			    "\xc3\xa4\nbare\rends";
static const char *const good[] = {
    plain,
    /* Without a header at all, and with MIME already. */
    "\r\n\xff\xfe",
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding:\r\n 8bit\r\nSubject: y\r\n\r\n\xc3\xa4",
    /* Parts of all kinds; text around them; a message inside. */
    "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
    "Content-Transfer-Encoding: 8bit\r\n\r\npre\r\n"
    "--b\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8BIT\r\n\r\n"
    "<p>\xe4\r\n--b x\r\n\r\n"
    "--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    "\x89PNG\x01\x02\xff\xfe\xfd\xfc\r\n\r\n\r\nmore\r\n"
    "--b\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJj\r\n"
    "--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4=\r\nx\r\n"
    "--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    "Subject: in\r\nContent-Type: text/plain\r\n\r\n\xc3\xb6\r\n"
    "--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\nonly ASCII\r\n"
    "--b--\r\nafter\r\n",
};

static const struct {
	const char *message, *why;
} bad[] = {
    {"Subject: \xc3\xa4\r\n\r\nx", "header"},
    {"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xc3\xa4\r\n--b--\r\n",
	"signed"},
    {"Content-Type: multipart/encrypted; boundary=b\r\n\r\n--b\r\n\r\n\xc3\xa4\r\n--b--\r\n",
	"encrypted"},
    {"Content-Transfer-Encoding: base64\r\n\r\n\xc3\xa4\r\n", "encoding"},
    {"Content-Transfer-Encoding: x-own\r\n\r\n\xc3\xa4\r\n", "encoding"},
    {"Content-Type: multipart/mixed\r\n\r\n\xc3\xa4\r\n", "apart"},
    {"Content-Type: message/partial\r\n\r\n\xc3\xa4\r\n", "message"},
};

START_TEST(decodes_to_what_it_was_at_every_split)
{
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct span m = exact(good[i], strlen(good[i]));
		struct strbuf whole, parts;

		strbuf_init(&whole, 1 << 20);
		strbuf_init(&parts, 1 << 20);
		for (size_t step = 1; step <= m.n; step++) {
			struct convert_plan *p = convert_plan_new();
			const char *wrong;

			ck_assert_int_eq(oracle_plan(p, m, step), CONVERT_NEEDED);
			ck_assert(!convert_plan_has_utf8_header(p));
			strbuf_reset(&parts);
			oracle_convert(p, m, step, &parts);
			if (step == 1)
				strbuf_add(&whole, strbuf_span(&parts));
			ck_assert(span_eq(strbuf_span(&whole), strbuf_span(&parts)));
			wrong = oracle_check(m, strbuf_span(&parts));
			ck_assert_msg(!wrong, "%zu: %s: %s", i, wrong, parts.p);
			convert_plan_free(p);
		}
		strbuf_clear(&whole);
		strbuf_clear(&parts);
		exact_free(m);
	}
}
END_TEST

START_TEST(reads_as_people_expect)
{
	struct convert_plan *p = convert_plan_new();
	struct span m = span_make(plain, sizeof(plain) - 1);
	struct strbuf out;

	strbuf_init(&out, 1 << 20);
	oracle_plan(p, m, m.n);
	oracle_convert(p, m, m.n, &out);
	ck_assert_str_eq(out.p,
	    "Subject: x\r\nMIME-Version: 1.0\r\n"
	    "Content-Type: text/plain; charset=unknown-8bit\r\n"
	    "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
	    "Gr=C3=BC=C3=9Fe =3D =09\r\n=E2=82=AC=20\r\n=2D-=20\r\n=C3=A4\r\nbare\r\nends");
	strbuf_clear(&out);
	convert_plan_free(p);
}
END_TEST

START_TEST(lines_are_short)
{
	struct convert_plan *p = convert_plan_new();
	struct strbuf in, out;
	size_t column = 0;

	strbuf_init(&in, 1 << 20);
	strbuf_init(&out, 1 << 20);
	strbuf_add_str(&in, "Content-Type: text/plain\r\n\r\n");
	for (int i = 0; i < 5000; i++)
		strbuf_add_str(&in, i % 7 == 0 ? "\xc3\xa4" : i % 5 == 0 ? "-" : " ");
	ck_assert_int_eq(oracle_plan(p, strbuf_span(&in), 100), CONVERT_NEEDED);
	oracle_convert(p, strbuf_span(&in), 100, &out);
	ck_assert_ptr_null(oracle_check(strbuf_span(&in), strbuf_span(&out)));
	for (size_t i = 0; i < out.n; i++) {
		column = out.p[i] == '\n' ? 0 : column + 1;
		ck_assert_uint_le(column, 77);
	}
	strbuf_clear(&in);
	strbuf_clear(&out);
	convert_plan_free(p);
}
END_TEST

START_TEST(what_cannot_be_converted_is_said)
{
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct span m = exact(bad[i].message, strlen(bad[i].message));
		struct convert_plan *p = convert_plan_new();

		ck_assert_int_eq(oracle_plan(p, m, 7), CONVERT_IMPOSSIBLE);
		ck_assert_msg(
		    strstr(convert_plan_why(p), bad[i].why), "%zu: %s", i, convert_plan_why(p));
		ck_assert_int_eq(convert_plan_has_utf8_header(p), i == 0);
		convert_plan_free(p);
		exact_free(m);
	}
}
END_TEST

START_TEST(seven_bits_stay_as_they_are)
{
	struct convert_plan *p = convert_plan_new();

	ck_assert_int_eq(
	    oracle_plan(p, SPAN("Content-Transfer-Encoding: 8bit\r\n\r\nplain\r\n"), 3),
	    CONVERT_NOTHING);
	convert_plan_free(p);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {decodes_to_what_it_was_at_every_split, reads_as_people_expect,
	    lines_are_short, what_cannot_be_converted_is_said, seven_bits_stay_as_they_are};
	TCase *tc = tcase_create("convert");

	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
