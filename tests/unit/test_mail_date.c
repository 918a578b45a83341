/* Dates: RFC 5322, INTERNALDATE, SEARCH. */
#include "common/base/mem.h"
#include "common/mail/date.h"

#include <check.h>
#include <string.h>
#include <time.h>

static const struct {
	const char *text;
	int64_t time;
	int zone;
} dates[] = {
    {"Thu, 1 Jan 1970 00:00:00 +0000", 0, 0},
    {"Thu, 01 Jan 2026 00:00:00 +0100", 1767222000, 60},
    {"1 Jan 2026 00:00 -0330", 1767238200, -210},
    {"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", 880127706, -360},
    {"(c) Thu (x(y)), 1 (z) Jan 2026 00:00:00 (t) +0000 (UTC)", 1767225600, 0},
    {"1 Jan 26 00:00:00 GMT", 1767225600, 0},
    {"1 Jan 126 00:00:00 UT", 1767225600, 0},
    {"1 Jan 70 00:00:00 EST", 18000, -300},
    {"1 Jan 70 00:00:00 pdt", 25200, -420},
    {"1 Jan 70 00:00:00 XYZ", 0, 0},
    {"1 Jan 1970", 0, 0},
    {"Thu Jan  1 00:00:10 1970", 10, 0},
    {"1-Jan-1970 00:00:00 +0000", 0, 0},
    {"1 January 1970 0:0:0.5 Z", 0, 0},
    {"29 Feb 2024 12:00:00 +0000", 1709208000, 0},
    {"31 Dec 2016 23:59:60 +0000", 1483228799, 0},
    {"1 Jan 1900 00:00:00 +0000", -2208988800, 0},
    {"1 Jan 1970 00:00:00 +9999", 0, 0},
};

static const char *const bad_dates[] = {"", "x", "32 Jan 2026", "0 Jan 2026", "29 Feb 2025",
    "1 Foo 2026", "1 Jan", "1 Jan 1", "1 Jan 20261", "1 Jan 2026 24:00:00", "1 Jan 2026 00:60:00",
    "1 Jan 2026 00:00:61", "1 Jan 1899", "Thu,", "1 Jan 2026 1", "(", "99999999999 Jan 2026",
    "-1 Jan 2026"};

START_TEST(header_dates)
{
	int64_t t;
	int zone;

	for (size_t i = 0; i < ARRAY_LEN(dates); i++) {
		ck_assert_msg(
		    mail_date_parse(span_of(dates[i].text), &t, &zone), "%s", dates[i].text);
		ck_assert_msg(t == dates[i].time && zone == dates[i].zone, "%s: %lld %d",
		    dates[i].text, (long long)t, zone);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad_dates); i++)
		ck_assert_msg(
		    !mail_date_parse(span_of(bad_dates[i]), &t, &zone), "%s", bad_dates[i]);
}
END_TEST

/* Every prefix of every date in a block of its size. */
START_TEST(cut_dates)
{
	for (size_t i = 0; i < ARRAY_LEN(dates); i++)
		for (size_t n = 0; n <= strlen(dates[i].text); n++) {
			char *copy = mem_dup(dates[i].text, n);
			int64_t t = 0;
			int zone = 0;

			if (mail_date_parse(span_make(copy, n), &t, &zone))
				ck_assert_int_ge(n, 6);
			mem_free(copy);
		}
}
END_TEST

START_TEST(internal_dates)
{
	static const char *const bad[] = {"1-Jan-2026 00:00:00 +0000", "01-Jan-2026 00:00:00",
	    "01-Jan-26 00:00:00 +0000", "01-Jan-2026 00:00:00 0000", "01-Jan-2026  00:00:00 +0000",
	    "01-January-2026 00:00:00 +0000", "31-Feb-2026 00:00:00 +0000",
	    "01-Jan-2026 00:00:00 +0000 ", "01-Jan-2026 00:00:00 +2400",
	    "  1-Jan-2026 00:00:00 +0000"};
	char text[MAIL_DATE_LEN];
	int64_t t;
	int zone;

	ck_assert(mail_internaldate_parse(SPAN("01-Jan-2026 00:00:00 +0100"), &t, &zone));
	ck_assert(t == 1767222000 && zone == 60);
	ck_assert(mail_internaldate_parse(SPAN(" 1-jan-2026 00:00:00 -0000"), &t, &zone));
	ck_assert(t == 1767225600 && zone == 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(!mail_internaldate_parse(span_of(bad[i]), &t, &zone), "%s", bad[i]);
	mail_internaldate_format(text, 1767222000, 60);
	ck_assert_str_eq(text, "01-Jan-2026 00:00:00 +0100");
	mail_internaldate_format(text, -1, -210);
	ck_assert_str_eq(text, "31-Dec-1969 20:29:59 -0330");
	mail_date_format(text, 1767222000, 60);
	ck_assert_str_eq(text, "Thu, 1 Jan 2026 00:00:00 +0100");
	mail_date_format(text, INT64_MAX, 100000);
	ck_assert_str_eq(text, "Fri, 31 Dec 9999 23:59:59 +0000");
	mail_date_format(text, INT64_MIN, -1439);
	ck_assert_str_eq(text, "Mon, 1 Jan 1900 00:00:00 -2359");
}
END_TEST

START_TEST(search_dates)
{
	int64_t day;

	ck_assert(mail_day_parse(SPAN("1-Jan-2026"), &day) && day == 20454);
	ck_assert(mail_day_parse(SPAN("01-JAN-1970"), &day) && day == 0);
	ck_assert(!mail_day_parse(SPAN("001-Jan-2026"), &day));
	ck_assert(!mail_day_parse(SPAN("1-Jan-26"), &day));
	ck_assert(!mail_day_parse(SPAN(" 1-Jan-2026"), &day));
	ck_assert(!mail_day_parse(SPAN("30-Feb-2026"), &day));
	ck_assert_int_eq(mail_day_of(1767222000, 60), 20454);
	ck_assert_int_eq(mail_day_of(1767222000, 0), 20453);
	ck_assert_int_eq(mail_day_of(-1, 0), -1);
}
END_TEST

/* Against libc, a prime number of seconds apart, over all years that it has. */
START_TEST(calendar_agrees_with_libc)
{
	for (int64_t t = -2208988800; t < 253402300800; t += 7654321) {
		time_t libc = (time_t)t;
		struct tm tm;
		char want[MAIL_DATE_LEN + 20], got[MAIL_DATE_LEN];
		int64_t again;
		int zone;

		if (libc != t)
			continue;
		ck_assert_ptr_nonnull(gmtime_r(&libc, &tm));
		strftime(want, sizeof(want), "%a, %-d %b %Y %H:%M:%S +0000", &tm);
		mail_date_format(got, t, 0);
		ck_assert_str_eq(got, want);
		ck_assert(mail_date_parse(span_of(got), &again, &zone));
		ck_assert_int_eq(again, t);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mail_date");
	TCase *t = tcase_create("mail_date");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, header_dates);
	tcase_add_test(t, cut_dates);
	tcase_add_test(t, internal_dates);
	tcase_add_test(t, search_dates);
	tcase_add_test(t, calendar_agrees_with_libc);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
