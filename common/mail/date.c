#include "common/mail/date.h"

#include <stdio.h>
#include <string.h>

#define MINUTE 60
#define DAY 86400

static const char month_names[12][4] = {
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char day_names[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

static const struct {
	char name[4];
	int minutes;
} zones[] = {
    {"EST", -300},
    {"EDT", -240},
    {"CST", -360},
    {"CDT", -300},
    {"MST", -420},
    {"MDT", -360},
    {"PST", -480},
    {"PDT", -420},
    {"CET", 60},
    {"MET", 60},
    {"BST", 60},
    {"IST", 330},
    {"EET", 120},
    {"JST", 540},
    {"MSK", 180},
};

struct parts {
	int64_t year;
	int month, day, hour, minute, second, zone;
};

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* Years begin in March here, so that the leap day is the last day of a year. */
int64_t mail_days_from_civil(int64_t year, int month, int day)
{
	int64_t y = year - (month <= 2);
	int64_t era = floor_div(y, 400);
	int64_t year_of_era = y - era * 400;
	int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

	return era * 146097 + day_of_era - 719468;
}

void mail_civil_from_days(int64_t days, int64_t *year, int *month, int *day)
{
	int64_t z = days + 719468;
	int64_t era = floor_div(z, 146097);
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;

	*day = (int)(doy - (153 * mp + 2) / 5 + 1);
	*month = (int)(mp < 10 ? mp + 3 : mp - 9);
	*year = yoe + era * 400 + (*month <= 2);
}

static bool is_valid_day(int64_t year, int month, int day)
{
	int64_t y;
	int m, d;

	if (year < 1900 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31)
		return false;
	mail_civil_from_days(mail_days_from_civil(year, month, day), &y, &m, &d);
	return m == month && d == day;
}

static bool finish(const struct parts *p, int64_t *time, int *zone)
{
	/* A leap second belongs to the day that it ends. */
	int second = p->second < 60 ? p->second : 59;

	if (!is_valid_day(p->year, p->month, p->day) || p->hour > 23 || p->minute > 59 ||
	    p->second > 60)
		return false;
	*time = mail_days_from_civil(p->year, p->month, p->day) * DAY + p->hour * 3600 +
		p->minute * MINUTE + second - (int64_t)p->zone * MINUTE;
	*zone = p->zone;
	return true;
}

/* Comments and white space. */
static void skip_cfws(struct span *s)
{
	size_t depth = 0, i;

	for (i = 0; i < s->n; i++) {
		char c = s->p[i];

		if (c == '(')
			depth++;
		else if (c == ')' && depth)
			depth--;
		else if (c == '\\' && depth)
			i++;
		else if (!depth && c != ' ' && c != '\t' && c != '\r' && c != '\n')
			break;
	}
	*s = span_from(*s, i);
}

static struct span take_word(struct span *s)
{
	struct span word;
	size_t n = 0;

	while (n < s->n && ascii_is_alpha(s->p[n]))
		n++;
	word = span_sub(*s, 0, n);
	*s = span_from(*s, n);
	return word;
}

/* 1 to max digits; the number of digits, or 0. */
static size_t take_digits(struct span *s, size_t max, int *out)
{
	size_t n = 0;
	int v = 0;

	while (n < s->n && n < max && ascii_is_digit(s->p[n]))
		v = v * 10 + (s->p[n++] - '0');
	if (!n || (n < s->n && ascii_is_digit(s->p[n])))
		return 0;
	*out = v;
	*s = span_from(*s, n);
	return n;
}

/* 1 to 12 by the first three letters, else 0. */
static int month_of(struct span word)
{
	for (int i = 0; i < 12; i++)
		if (word.n >= 3 && span_ieq(span_sub(word, 0, 3), span_make(month_names[i], 3)))
			return i + 1;
	return 0;
}

static void skip_dash(struct span *s)
{
	skip_cfws(s);
	if (span_take_chr(s, '-'))
		skip_cfws(s);
}

static bool take_year(struct span *s, int64_t *out)
{
	int year = 0;
	size_t n = take_digits(s, 4, &year);

	if (n < 2)
		return false;
	if (n == 2)
		year += year < 50 ? 2000 : 1900;
	else if (n == 3)
		year += 1900;
	*out = year;
	return true;
}

/* hh:mm[:ss[.fraction]]; nothing at all is midnight. */
static bool take_time(struct span *s, struct parts *p)
{
	int fraction;

	skip_cfws(s);
	if (!s->n || !ascii_is_digit(s->p[0]))
		return true;
	if (!take_digits(s, 2, &p->hour))
		return false;
	skip_cfws(s);
	if (!span_take_chr(s, ':') && !span_take_chr(s, '.'))
		return false;
	skip_cfws(s);
	if (!take_digits(s, 2, &p->minute))
		return false;
	skip_cfws(s);
	if (span_take_chr(s, ':')) {
		skip_cfws(s);
		if (!take_digits(s, 2, &p->second))
			return false;
		if (span_take_chr(s, '.'))
			(void)take_digits(s, 9, &fraction);
	}
	return true;
}

static int zone_of(struct span word)
{
	for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++)
		if (span_ieq(word, span_of(zones[i].name)))
			return zones[i].minutes;
	return 0;
}

/* Anything that is no zone means UTC. */
static int take_zone(struct span *s)
{
	int sign, v = 0;

	skip_cfws(s);
	if (!s->n)
		return 0;
	if (s->p[0] != '+' && s->p[0] != '-')
		return zone_of(take_word(s));
	sign = s->p[0] == '-' ? -1 : 1;
	*s = span_from(*s, 1);
	if (take_digits(s, 4, &v) != 4 || v / 100 > 23 || v % 100 > 59)
		return 0;
	return sign * (v / 100 * 60 + v % 100);
}

bool mail_date_parse(struct span value, int64_t *time, int *zone)
{
	struct parts p = {0};
	struct span word;

	skip_cfws(&value);
	word = take_word(&value);
	skip_cfws(&value);
	if (word.n && span_take_chr(&value, ','))
		skip_cfws(&value);
	if (value.n && ascii_is_alpha(value.p[0])) {
		/* "Thu Jan  1 00:00:00 2026", as asctime writes it */
		p.month = month_of(take_word(&value));
		skip_cfws(&value);
		if (!p.month || !take_digits(&value, 2, &p.day) || !take_time(&value, &p))
			return false;
		skip_cfws(&value);
		if (!take_year(&value, &p.year))
			return false;
		p.zone = take_zone(&value);
		return finish(&p, time, zone);
	}
	if (!take_digits(&value, 2, &p.day))
		return false;
	skip_dash(&value);
	p.month = month_of(take_word(&value));
	span_take_chr(&value, '.');
	skip_dash(&value);
	if (!p.month || !take_year(&value, &p.year) || !take_time(&value, &p))
		return false;
	p.zone = take_zone(&value);
	return finish(&p, time, zone);
}

/* What time means on the clock of its zone; out of range is the nearest end. */
static void split(int64_t time, int *zone, struct parts *p)
{
	int64_t low = mail_days_from_civil(1900, 1, 1) * DAY;
	int64_t high = mail_days_from_civil(10000, 1, 1) * DAY - 1;
	int64_t days, rest;

	if (*zone <= -1440 || *zone >= 1440)
		*zone = 0;
	if (time < low)
		time = low;
	if (time > high)
		time = high;
	time += (int64_t)*zone * MINUTE;
	if (time < low)
		time = low;
	if (time > high)
		time = high;
	days = floor_div(time, DAY);
	rest = time - days * DAY;
	mail_civil_from_days(days, &p->year, &p->month, &p->day);
	p->hour = (int)(rest / 3600);
	p->minute = (int)(rest / MINUTE % 60);
	p->second = (int)(rest % 60);
}

static void put_zone(char buf[8], int zone)
{
	int abs = zone < 0 ? -zone : zone;

	snprintf(buf, 8, "%c%02d%02d", zone < 0 ? '-' : '+', abs / 60 % 24, abs % 60);
}

void mail_date_format(char buf[MAIL_DATE_LEN], int64_t time, int zone)
{
	struct parts p = {0};
	char z[8];
	int64_t weekday;

	split(time, &zone, &p);
	put_zone(z, zone);
	weekday = (mail_days_from_civil(p.year, p.month, p.day) + 4) % 7;
	snprintf(buf, MAIL_DATE_LEN, "%s, %d %s %04d %02d:%02d:%02d %s",
	    day_names[weekday < 0 ? weekday + 7 : weekday], p.day, month_names[p.month - 1],
	    (int)p.year, p.hour, p.minute, p.second, z);
}

void mail_internaldate_format(char buf[MAIL_DATE_LEN], int64_t time, int zone)
{
	struct parts p = {0};
	char z[8];

	split(time, &zone, &p);
	put_zone(z, zone);
	snprintf(buf, MAIL_DATE_LEN, "%02d-%s-%04d %02d:%02d:%02d %s", p.day,
	    month_names[p.month - 1], (int)p.year, p.hour, p.minute, p.second, z);
}

/* d-Mon-yyyy from s, d of exactly 2 or of 1 to 2 digits. */
static bool take_day(struct span *s, bool fixed, struct parts *p)
{
	int year = 0;
	struct span word;

	if (fixed && span_take_chr(s, ' ')) {
		if (take_digits(s, 1, &p->day) != 1)
			return false;
	} else if (take_digits(s, 2, &p->day) < (fixed ? 2u : 1u)) {
		return false;
	}
	if (!span_take_chr(s, '-'))
		return false;
	word = take_word(s);
	p->month = word.n == 3 ? month_of(word) : 0;
	if (!p->month || !span_take_chr(s, '-') || take_digits(s, 4, &year) != 4)
		return false;
	p->year = year;
	return is_valid_day(p->year, p->month, p->day);
}

bool mail_internaldate_parse(struct span text, int64_t *time, int *zone)
{
	struct parts p = {0};
	int v = 0, sign;

	if (!take_day(&text, true, &p) || !span_take_chr(&text, ' ') ||
	    take_digits(&text, 2, &p.hour) != 2 || !span_take_chr(&text, ':') ||
	    take_digits(&text, 2, &p.minute) != 2 || !span_take_chr(&text, ':') ||
	    take_digits(&text, 2, &p.second) != 2 || !span_take_chr(&text, ' '))
		return false;
	sign = span_take_chr(&text, '-') ? -1 : span_take_chr(&text, '+') ? 1 : 0;
	if (!sign || take_digits(&text, 4, &v) != 4 || text.n || v / 100 > 23 || v % 100 > 59)
		return false;
	p.zone = sign * (v / 100 * 60 + v % 100);
	return finish(&p, time, zone);
}

bool mail_day_parse(struct span text, int64_t *day)
{
	struct parts p = {0};

	if (!take_day(&text, false, &p) || text.n)
		return false;
	*day = mail_days_from_civil(p.year, p.month, p.day);
	return true;
}

int64_t mail_day_of(int64_t time, int zone)
{
	struct parts p = {0};

	split(time, &zone, &p);
	return mail_days_from_civil(p.year, p.month, p.day);
}
