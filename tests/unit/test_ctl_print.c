/* What mailsteadctl prints: JSON that any reader takes, tables that cannot move a cursor. */
#include "common/ctl/ctl.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <unistd.h>

static char printed[1 << 20];

/* What fn writes to the standard output. */
static const char *capture(void (*fn)(const void *arg), const void *arg)
{
	FILE *file = tmpfile();
	int saved = dup(1);
	size_t n;

	ck_assert_ptr_nonnull(file);
	fflush(stdout);
	dup2(fileno(file), 1);
	fn(arg);
	fflush(stdout);
	dup2(saved, 1);
	close(saved);
	rewind(file);
	n = fread(printed, 1, sizeof(printed) - 1, file);
	printed[n] = '\0';
	fclose(file);
	return printed;
}

static void json_string(const void *arg)
{
	print_json_string(*(const struct span *)arg);
}

static void json(const void *arg)
{
	print_json(arg);
}

static void tables(const void *arg)
{
	print_tables(arg);
}

static void expect_string(const char *text, size_t n, const char *want)
{
	struct span in = exact(text, n);

	ck_assert_str_eq(capture(json_string, &in), want);
	exact_free(in);
}

/* Every byte between two letters. */
START_TEST(json_strings)
{
	for (int c = 0; c < 256; c++) {
		char text[3] = {'a', (char)c, 'b'}, want[32];

		if (c == '"' || c == '\\')
			snprintf(want, sizeof(want), "\"a\\%cb\"", c);
		else if (c < 0x20 || c == 0x7f)
			snprintf(want, sizeof(want), "\"a\\u%04xb\"", (unsigned)c);
		else if (c < 0x80)
			snprintf(want, sizeof(want), "\"a%cb\"", c);
		else
			snprintf(want, sizeof(want), "\"a\\ufffdb\"");
		expect_string(text, 3, want);
	}
	expect_string("", 0, "\"\"");
	expect_string(
	    "\xc3\xa4\xe2\x82\xac\xf0\x9f\x93\xa7", 9, "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x93\xa7\"");
	expect_string("\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\"");
	expect_string("\xc3", 1, "\"\\ufffd\"");
	/* C1 controls are characters of JSON, but a terminal obeys them. */
	expect_string("\xc2\x9b"
		      "2J",
	    4, "\"\\u009b2J\"");
}
END_TEST

static struct records records;

static struct strbuf *row(void)
{
	records_add(&records, span_make("", 0));
	return &records.list[records.count - 1];
}

START_TEST(json_values)
{
	struct strbuf *b;

	ck_assert_str_eq(capture(json, &records), "[]\n");
	b = row();
	ipc_rec_text(b, "na\"me", SPAN("x\ny"));
	ipc_rec_number(b, "size", IPC_BYTES, UINT64_MAX);
	ipc_rec_number(b, "on", IPC_BOOL, 1);
	ipc_rec_number(b, "off", IPC_BOOL, 0);
	ipc_rec_number(b, "when", IPC_TIME, 0);
	row();
	ipc_rec_number(row(), "n", IPC_NUMBER, 7);
	ck_assert_str_eq(capture(json, &records),
	    "[{\"na\\\"me\": \"x\\u000ay\", \"size\": 18446744073709551615, \"on\": true, "
	    "\"off\": false, \"when\": 0},\n {},\n {\"n\": 7}]\n");
	/* A record cut in the middle gives the values before. */
	records_clear(&records);
	b = row();
	ipc_rec_number(b, "a", IPC_NUMBER, 1);
	ipc_rec_number(b, "b", IPC_NUMBER, 2);
	strbuf_truncate(b, b->n - 1);
	ck_assert_str_eq(capture(json, &records), "[{\"a\": 1}]\n");
	records_clear(&records);
}
END_TEST

START_TEST(table_columns)
{
	struct strbuf *b = row();

	ipc_rec_text(b, "name", SPAN("\xc3\xa4lice"));
	ipc_rec_number(b, "size", IPC_BYTES, 1536);
	ipc_rec_number(b, "enabled", IPC_BOOL, 1);
	ipc_rec_number(b, "login", IPC_TIME, 1700000000);
	b = row();
	ipc_rec_text(b, "name", SPAN(""));
	ipc_rec_number(b, "size", IPC_BYTES, 1023);
	ipc_rec_number(b, "enabled", IPC_BOOL, 0);
	ipc_rec_number(b, "login", IPC_TIME, 0);
	b = row(); /* other columns: a table of its own */
	ipc_rec_number(b, "count", IPC_NUMBER, UINT64_MAX);
	ck_assert_str_eq(capture(tables, &records),
	    "NAME   SIZE   ENABLED  LOGIN\n"
	    "\xc3\xa4lice  1.5K   yes      2023-11-14 22:13:20Z\n"
	    "-      1023B  no       -\n"
	    "\n"
	    "COUNT\n"
	    "18446744073709551615\n");
	records_clear(&records);
	ck_assert_str_eq(capture(tables, &records), "");
}
END_TEST

/* No byte of a value reaches the terminal that could move its cursor or change its state. */
START_TEST(table_is_harmless)
{
	for (int c = 0; c < 256; c++) {
		char text[3] = {'a', (char)c, 'b'};
		const char *got;

		ipc_rec_text(row(), "v", span_make(text, 3));
		got = capture(tables, &records);
		if (c < 0x20 || c >= 0x7f)
			ck_assert_str_eq(got, "V\na?b\n");
		else
			ck_assert_int_eq(got[3], c);
		records_clear(&records);
	}
	ipc_rec_text(row(), "v",
	    SPAN("\xc2\x9b"
		 "2J\xc2\x85\xc3\xa4"));
	ck_assert_str_eq(capture(tables, &records), "V\n?2J?\xc3\xa4\n");
	records_clear(&records);
}
END_TEST

START_TEST(table_sizes)
{
	static const struct {
		uint64_t n;
		const char *want;
	} rows[] = {{0, "0B"}, {1023, "1023B"}, {1024, "1.0K"}, {1048575, "1024.0K"},
	    {1048576, "1.0M"}, {5ull << 30, "5.0G"}, {3ull << 40, "3.0T"},
	    {UINT64_MAX, "16777216.0T"}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		ipc_rec_number(row(), "v", IPC_BYTES, rows[i].n);
		ck_assert(strncmp(capture(tables, &records) + 2, rows[i].want,
			      strlen(rows[i].want)) == 0);
		records_clear(&records);
	}
	/* A time that no calendar has. */
	ipc_rec_number(row(), "v", IPC_TIME, UINT64_MAX - 1);
	ck_assert_ptr_nonnull(strchr(capture(tables, &records) + 2, '\n'));
	records_clear(&records);
}
END_TEST

START_TEST(many_columns_and_rows)
{
	for (int r = 0; r < 300; r++) {
		struct strbuf *b = row();

		for (int i = 0; i < 100; i++)
			ipc_rec_number(b, "c", IPC_NUMBER, (uint64_t)i);
	}
	capture(tables, &records);
	capture(json, &records);
	records_clear(&records);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {json_strings, json_values, table_columns, table_is_harmless,
	    table_sizes, many_columns_and_rows};
	TCase *tc = tcase_create("print");

	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
