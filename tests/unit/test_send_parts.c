/* The pure parts of sending: replies, dot-stuffing, the order of mail hosts, the schedule, notices.
 */
#include "common/base/codec.h"
#include "common/config/config.h"
#include "smtpd/queue/schedule.h"
#include "smtpd/send/dsn.h"
#include "smtpd/send/mx.h"
#include "smtpd/send/reply.h"
#include "smtpd/send/stuff.h"
#include "tests/support/unit.h"

#include <stdio.h>

/* --- replies ---------------------------------------------------------------------------------- */
/* Fed whole, and byte by byte: the same comes out. */
static int read_all(const char *text, size_t n, struct reply *out, struct err *err)
{
	struct reply_reader whole = {0}, bytes = {0};
	struct span in = exact(text, n);
	size_t used, taken = 0;
	int got = reply_read(&whole, in, &used, err), other = 0;

	for (size_t end = 1; end <= n && other == 0; end++) {
		size_t part;

		other = reply_read(&bytes, span_sub(in, taken, end - taken), &part, NULL);
		taken += part;
	}
	ck_assert_int_eq(got, other);
	if (got == 1) {
		ck_assert_int_eq(whole.reply.code, bytes.reply.code);
		ck_assert_str_eq(whole.reply.text, bytes.reply.text);
	}
	*out = whole.reply;
	exact_free(in);
	return got;
}

START_TEST(replies)
{
	static const struct {
		const char *in;
		int got, code;
		const char *text;
	} rows[] = {
	    {"250 ok\r\n", 1, 250, "250 ok"},
	    {"250 ok\n", 1, 250, "250 ok"},
	    {"250\r\n", 1, 250, "250"},
	    {"250 \r\n", 1, 250, "250"},
	    {"250-a\r\n250-b\r\n250 c\r\n", 1, 250, "250 a b c"},
	    {"550 5.1.1 no\x01\x1b[2J such\r\n", 1, 550, "550 5.1.1 no??[2J such"},
	    {"250 o", 0, 0, ""},
	    {"250-a\r\n", 0, 250, "250 a"},
	    {"", 0, 0, ""},
	    {"25 ok\r\n", -1, 0, ""},
	    {"199 ok\r\n", -1, 0, ""},
	    {"600 ok\r\n", -1, 0, ""},
	    {"250?ok\r\n", -1, 0, ""},
	    {"250-a\r\n251 b\r\n", -1, 0, ""},
	    {"HTTP/1.0 400\r\n", -1, 0, ""},
	    {"\r\n", -1, 0, ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = ERR_INIT;
		struct reply r;
		int got = read_all(rows[i].in, strlen(rows[i].in), &r, &err);

		ck_assert_msg(got == rows[i].got, "%s: %d %s", rows[i].in, got, err.text);
		if (got == 1) {
			ck_assert_int_eq(r.code, rows[i].code);
			ck_assert_str_eq(r.text, rows[i].text);
		}
	}
}
END_TEST

START_TEST(replies_without_end)
{
	struct reply_reader r = {0};
	struct err err = ERR_INIT;
	struct strbuf b;
	size_t used;
	int got = 0;

	strbuf_init(&b, 1 << 20);
	for (int i = 0; i <= REPLY_LINE_MAX; i++)
		strbuf_add_chr(&b, 'x');
	ck_assert_int_lt(reply_read(&r, strbuf_span(&b), &used, &err), 0);
	strbuf_reset(&b);
	reply_init(&r);
	for (int i = 0; i < 200 && got == 0; i++)
		got = reply_read(&r, SPAN("250-again\r\n"), &used, &err);
	ck_assert_int_lt(got, 0);
	ck_assert_int_eq(err.code, ERR_LIMIT);
	ck_assert_uint_le(strlen(r.reply.text), REPLY_TEXT_MAX);
	strbuf_clear(&b);
}
END_TEST

START_TEST(enhanced_codes)
{
	static const struct {
		const char *text, *want;
	} rows[] = {{"550 5.1.1 no", "5.1.1"}, {"550 5.1.10", "5.1.10"}, {"550 4.1.1 no", "5.0.0"},
	    {"550 no", "5.0.0"}, {"450 4.2.2 full", "4.2.2"}, {"450 4.2", "4.0.0"},
	    {"550 5.1.1x", "5.0.0"}, {"550 5.1.1234 x", "5.0.0"}, {"", "2.0.0"}, {"5", "2.0.0"},
	    {"250 ok", "2.0.0"}, {"550 5..1 x", "5.0.0"}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char status[16];

		dsn_status(span_of(rows[i].text), status);
		ck_assert_str_eq(status, rows[i].want);
	}
}
END_TEST

/* --- the body --------------------------------------------------------------------------------- */
static void stuffed(const char *in, size_t n, size_t step, struct strbuf *out)
{
	struct stuffer s = {.with_dots = true};

	strbuf_reset(out);
	for (size_t at = 0; at < n; at += step)
		stuff(&s, span_make(in + at, n - at < step ? n - at : step), out);
	stuff_end(&s, out);
}

START_TEST(stuffing)
{
	static const struct {
		const char *in, *want;
	} rows[] = {{"", ".\r\n"}, {"a", "a\r\n.\r\n"}, {"a\r\n", "a\r\n.\r\n"},
	    {"a\nb", "a\r\nb\r\n.\r\n"}, {"a\rb", "a\r\nb\r\n.\r\n"}, {".", "..\r\n.\r\n"},
	    {".\r\n", "..\r\n.\r\n"}, {"a\r\n.\r\nb", "a\r\n..\r\nb\r\n.\r\n"},
	    {"a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"}, {"a\r.\rb", "a\r\n..\r\nb\r\n.\r\n"},
	    {"\r\r\n\n", "\r\n\r\n\r\n.\r\n"}, {"a\r", "a\r\n.\r\n"}, {"..\r\n", "...\r\n.\r\n"}};
	struct strbuf out;

	strbuf_init(&out, 1000);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (size_t step = 1; step < 6; step++) {
			stuffed(rows[i].in, strlen(rows[i].in), step, &out);
			ck_assert_msg(strcmp(out.p, rows[i].want) == 0, "%zu: %s", i, out.p);
		}
	strbuf_clear(&out);
}
END_TEST

/* All bodies of six bytes of CR, LF, dot, NUL and a letter: one end of data, no bare CR or LF. */
START_TEST(no_smuggling)
{
	static const char bytes[] = {'\r', '\n', '.', '\0', 'a'};
	struct strbuf out;

	strbuf_init(&out, 100);
	for (unsigned code = 0; code < 15625; code++) {
		char in[6];
		unsigned rest = code, ends = 0;

		for (size_t i = 0; i < sizeof(in); i++, rest /= 5)
			in[i] = bytes[rest % 5];
		stuffed(in, sizeof(in), 1 + code % 6, &out);
		for (size_t i = 0; i < out.n; i++) {
			ck_assert(out.p[i] != '\r' || (i + 1 < out.n && out.p[i + 1] == '\n'));
			ck_assert(out.p[i] != '\n' || (i > 0 && out.p[i - 1] == '\r'));
			ends += out.n - i >= 3 && memcmp(out.p + i, ".\r\n", 3) == 0 &&
				(i == 0 || out.p[i - 1] == '\n');
		}
		ck_assert_uint_eq(ends, 1);
		ck_assert(out.n >= 3 && memcmp(out.p + out.n - 3, ".\r\n", 3) == 0);
	}
	strbuf_clear(&out);
}
END_TEST

/* --- mail hosts ------------------------------------------------------------------------------- */
static uint32_t turn;

static uint32_t by_turns(uint32_t below)
{
	return turn++ % below;
}

struct mx_record {
	char data[300];
	size_t n;
};

static void add_mx(struct dns_answer *a, struct mx_record *r, unsigned preference, const char *name)
{
	struct span rest = span_of(name), label;

	be_put16(r->data, (uint16_t)preference);
	r->n = 2;
	while (name[0] && span_split(&rest, '.', &label)) {
		r->data[r->n++] = (char)label.n;
		memcpy(r->data + r->n, label.p, label.n);
		r->n += label.n;
	}
	r->data[r->n++] = 0;
	a->records[a->count++] = span_make(r->data, r->n);
}

START_TEST(mail_hosts)
{
	struct mx_record r[8];
	struct dns_answer a = {.status = DNS_FOUND};
	struct mx_list list;
	bool firsts[2] = {false, false};

	add_mx(&a, &r[0], 20, "c.far.test");
	add_mx(&a, &r[1], 10, "A.far.test");
	add_mx(&a, &r[2], 10, "b.far.test");
	for (int i = 0; i < 20; i++) {
		mx_sort(&list, &a, "mail.example.test", by_turns);
		ck_assert_uint_eq(list.count, 3);
		ck_assert_str_eq(list.hosts[2].name, "c.far.test");
		firsts[strcmp(list.hosts[0].name, "a.far.test") == 0] = true;
	}
	ck_assert(firsts[0] && firsts[1]);
	/* We are the second best: only the best is left. */
	add_mx(&a, &r[3], 15, "MAIL.example.test");
	mx_sort(&list, &a, "mail.example.test", by_turns);
	ck_assert_uint_eq(list.count, 2);
	add_mx(&a, &r[4], 5, "mail.example.test");
	mx_sort(&list, &a, "mail.example.test", by_turns);
	ck_assert(list.count == 0 && list.is_loop);
	a.count = 0;
	add_mx(&a, &r[0], 0, "");
	mx_sort(&list, &a, "mail.example.test", by_turns);
	ck_assert(list.is_null && list.count == 0);
	/* A root among others is nothing; broken ones are left out. */
	add_mx(&a, &r[1], 10, "a.far.test");
	add_mx(&a, &r[2], 1, "a b.far.test");
	add_mx(&a, &r[3], 1, "b.far.test");
	a.records[3].n--;
	mx_sort(&list, &a, "mail.example.test", by_turns);
	ck_assert(!list.is_null && list.count == 1);
	ck_assert_str_eq(list.hosts[0].name, "a.far.test");
}
END_TEST

START_TEST(many_mail_hosts)
{
	static struct mx_record r[DNS_RECORDS_MAX];
	struct dns_answer a = {.status = DNS_FOUND};
	struct mx_list list;

	for (unsigned i = 0; i < DNS_RECORDS_MAX; i++)
		add_mx(&a, &r[i], 1000 - i, "a.far.test");
	mx_sort(&list, &a, "mail.example.test", by_turns);
	ck_assert_uint_eq(list.count, MX_HOSTS_MAX);
	ck_assert_uint_eq(list.hosts[0].preference, 1000 - DNS_RECORDS_MAX + 1);
}
END_TEST

/* Every record cut at every byte, and with every length changed: never out of bounds. */
START_TEST(broken_records)
{
	static const char whole[] = "\0\x0a\4mail\3far\4test\0";
	char name[DNS_NAME_MAX + 1];
	uint16_t preference;
	struct strbuf out;
	struct dns_tlsa tlsa;
	struct net_addr addr;

	strbuf_init(&out, 1000);
	for (size_t n = 0; n < sizeof(whole); n++)
		for (unsigned change = 0; change < sizeof(whole) * 3; change++) {
			struct span in = exact(whole, n);
			bool is_whole = n == sizeof(whole) - 1;

			if (change >= 3 && change / 3 <= n)
				((char *)(uintptr_t)in.p)[change / 3 - 1] = (char)(change % 3 * 64);
			if (dns_mx(in, &preference, name) && change < 3)
				ck_assert(is_whole && strcmp(name, "mail.far.test") == 0);
			(void)dns_name(in, name);
			(void)dns_txt(in, &out);
			(void)dns_tlsa(in, &tlsa);
			(void)dns_address(DNS_A, in, &addr);
			strbuf_reset(&out);
			exact_free(in);
		}
	strbuf_clear(&out);
}
END_TEST

/* --- the schedule ----------------------------------------------------------------------------- */
START_TEST(attempts)
{
	static const int64_t want[] = {0, 60, 360, 1260, 3060, 6660, 13860};
	struct schedule s;
	struct config *cfg;
	struct err err = ERR_INIT;
	int64_t now = 0;
	uint32_t tries = 0, chance = 1;

	ck_assert_msg(config_parse(SPAN(""), &cfg, &err) == 0, "%s", err.text);
	schedule_of(cfg, &s);
	ck_assert_int_eq(s.notice, 4 * 3600);
	while (!schedule_is_over(&s, 0, true, now)) {
		if (tries < ARRAY_LEN(want))
			ck_assert_int_eq(now, want[tries]);
		tries++;
		chance = chance * 1664525 + 1013904223;
		if (tries >= ARRAY_LEN(want)) {
			int64_t step = schedule_delay(&s, tries, chance);

			ck_assert(step >= 14400 - 1440 && step <= 14400 + 1440);
		}
		now += schedule_delay(&s, tries, chance);
	}
	ck_assert_msg(tries >= 35 && tries <= 37, "%u", tries);
	ck_assert(schedule_is_over(&s, 0, false, 2 * 86400));
	ck_assert(!schedule_is_over(&s, 0, true, 2 * 86400));
	config_unref(cfg);
}
END_TEST

/* --- notices ---------------------------------------------------------------------------------- */
START_TEST(notices)
{
	struct dsn_rcpt rcpts[] = {{.action = DSN_FAILED,
				       .address = SPAN("bob@far.test"),
				       .orcpt = SPAN("rfc822;Bob@far.test"),
				       .host = SPAN("mx.far.test [192.0.2.1]:25"),
				       .reply = SPAN("550 5.1.1 no such user here")},
	    {.action = DSN_DELAYED,
		.address = SPAN("eve@slow.test"),
		.reply = SPAN("451 4.4.1 connecting took too long"),
		.until = 500000}};
	struct dsn d = {.our_name = "mail.example.test",
	    .to = SPAN("alice@example.test"),
	    .from = SPAN("alice@example.test"),
	    .envid = SPAN("QQ314159"),
	    .arrival = 86400,
	    .now = 90000,
	    .rcpts = rcpts,
	    .count = 2,
	    .original = SPAN("Subject: hi\r\n\r\n"),
	    .unique = "0123456789abcdef"};
	static const char *const parts[] = {"To: <alice@example.test>\r\n",
	    "Auto-Submitted: auto-replied\r\n", "report-type=delivery-status",
	    "The address does not exist there.",
	    "mx.far.test [192.0.2.1]:25 said:", "Original-Envelope-Id: QQ314159\r\n",
	    "Reporting-MTA: dns; mail.example.test\r\n",
	    "Original-Recipient: rfc822;Bob@far.test\r\n",
	    "Final-Recipient: rfc822; bob@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\n",
	    "Remote-MTA: dns; mx.far.test\r\n",
	    "Diagnostic-Code: smtp; 550 5.1.1 no such user here\r\n",
	    "Final-Recipient: rfc822; eve@slow.test\r\nAction: delayed\r\nStatus: 4.4.1\r\n",
	    "Will-Retry-Until: Tue, 6 Jan 1970 18:53:20 +0000\r\n", "text/rfc822-headers",
	    "\r\n\r\nSubject: hi\r\n"};
	struct strbuf out;

	strbuf_init(&out, 100000);
	dsn_write(&out, &d);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		ck_assert_msg(strstr(out.p, parts[i]) != NULL, "%s\nnot in\n%s", parts[i], out.p);
	for (size_t i = 0, column = 0; i < out.n; i++) {
		ck_assert(out.p[i] != '\n' || (i > 0 && out.p[i - 1] == '\r'));
		column = out.p[i] == '\n' ? 0 : column + 1;
		ck_assert_uint_le(column, 240);
	}
	strbuf_clear(&out);
}
END_TEST

START_TEST(causes)
{
	static const struct {
		const char *reply, *what;
	} rows[] = {{"550 5.1.1 x", "does not exist there"}, {"552 5.2.2 x", "mailbox is full"},
	    {"554 5.7.1 blocked using zen.spamhaus.org", "Spamhaus"},
	    {"550 5.7.1 relaying denied", "does not take mail for this address"},
	    {"550 5.7.26 unauthenticated", "proof"}, {"550 nope", "does not accept the message"},
	    {"450 4.2.1 later", "at the moment"}, {"", "does not accept"},
	    {"550 5.7.509 Access denied", "takes it for spam"}, {"556 5.1.10 x", "takes no mail"}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		ck_assert_msg(strstr(cause_of(span_of(rows[i].reply))->what, rows[i].what) != NULL,
		    "%s: %s", rows[i].reply, cause_of(span_of(rows[i].reply))->what);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {replies, replies_without_end, enhanced_codes, stuffing,
	    no_smuggling, mail_hosts, many_mail_hosts, broken_records, attempts, notices, causes};
	TCase *tc = tcase_create("send");

	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
