/*
 * Dates in mail. Times are seconds since 1970 UTC (64 bit on every machine), zones minutes east of
 * UTC. Plain arithmetic: no locale, no TZ, no libc calendar. Years 1900 to 9999.
 */
#ifndef MS_MAIL_DATE_H
#define MS_MAIL_DATE_H

#include "common/base/span.h"

#define MAIL_DATE_LEN 40 /* buffer for any of the formats, with NUL */

/* Date: of RFC 5322 sections 3.3 and 4.3, tolerant: comments, no weekday, two and three digit
 * years, named zones (unknown ones mean +0000), no seconds, no zone. */
bool mail_date_parse(struct span value, int64_t *time, int *zone);
/* "Thu, 1 Jan 2026 00:00:00 +0000" */
void mail_date_format(char buf[MAIL_DATE_LEN], int64_t time, int zone);

/* IMAP date-time without its quotes, "01-Jan-2026 00:00:00 +0000"; the day may be " 1". Strict. */
bool mail_internaldate_parse(struct span text, int64_t *time, int *zone);
void mail_internaldate_format(char buf[MAIL_DATE_LEN], int64_t time, int zone);

/* IMAP date without quotes, "1-Jan-2026": days since 1970-01-01. */
bool mail_day_parse(struct span text, int64_t *day);
/* The day of a time in its own zone, to compare with it (SEARCH BEFORE, SENTON ...). */
int64_t mail_day_of(int64_t time, int zone);

/* Days since 1970-01-01 of a proleptic Gregorian date and back; month 1 to 12. */
int64_t mail_days_from_civil(int64_t year, int month, int day);
void mail_civil_from_days(int64_t days, int64_t *year, int *month, int *day);

#endif
