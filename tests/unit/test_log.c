/* One line an event, whatever a peer sends. */
#include "common/base/utf8.h"
#include "common/log/log.h"
#include "tests/support/unit.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static int ends[2];
static char line[65536];

static void setup(void)
{
	ck_assert_int_eq(pipe(ends), 0);
	log_open("tester", ends[1]);
	log_set_level(LOG_DEBUG);
}

static void teardown(void)
{
	log_open("tester", 2);
	close(ends[0]);
	close(ends[1]);
}

/* The one line that was written, without its line end; what stands behind "event=". */
static const char *event(void)
{
	ssize_t n = read(ends[0], line, sizeof(line) - 1);
	char *at;

	ck_assert_int_gt(n, 0);
	line[n] = '\0';
	ck_assert_uint_eq(strlen(line), (size_t)n);
	ck_assert_ptr_eq(strchr(line, '\n'), line + n - 1);
	line[n - 1] = '\0';
	at = strstr(line, " event=");
	ck_assert_ptr_nonnull(at);
	return at + 7;
}

START_TEST(head)
{
	int y, mon, d, h, m, s, us, pid;
	char program[32];

	log_warning("nothing");
	ck_assert_str_eq(event(), "nothing");
	ck_assert_int_eq(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%6dZ level=warning %31[a-z][%d]", &y,
			     &mon, &d, &h, &m, &s, &us, program, &pid),
	    9);
	ck_assert_str_eq(program, "tester");
	ck_assert_int_eq(pid, getpid());
}
END_TEST

START_TEST(fields)
{
	struct err e;

	err_set(&e, ERR_NO_SPACE, "disk \"x\" full");
	log_info("all", LOG_STR("a", "word"), LOG_STR("b", "two words"), LOG_STR("c", ""),
	    LOG_STR("d", NULL), LOG_SPAN("e", SPAN("x=y")), LOG_U64("f", UINT64_MAX),
	    LOG_I64("g", INT64_MIN), LOG_ERR(&e), LOG_ERR(NULL));
	ck_assert_str_eq(event(), "all a=word b=\"two words\" c=\"\" d=\"\" e=\"x=y\" "
				  "f=18446744073709551615 g=-9223372036854775808 error=no-space "
				  "reason=\"disk \\\"x\\\" full\" error=none reason=\"\"");
}
END_TEST

/* Every byte alone, before and behind a letter: one line, no control byte, valid UTF-8. */
START_TEST(every_byte)
{
	for (int c = 0; c < 256; c++) {
		char text[3] = {'a', (char)c, 'b'};
		struct span in = exact(text, 3);
		char want[32];

		log_info("e", LOG_SPAN("v", in));
		if (c < 0x20 || c >= 0x7f)
			snprintf(want, sizeof(want), "e v=\"a\\x%02xb\"", c);
		else if (c == '"' || c == '\\')
			snprintf(want, sizeof(want), "e v=\"a\\%cb\"", c);
		else if (ascii_is_alnum((char)c) || strchr("-_.:@/+<>[]*,", c))
			snprintf(want, sizeof(want), "e v=a%cb", c);
		else
			snprintf(want, sizeof(want), "e v=\"a%cb\"", c);
		ck_assert_str_eq(event(), want);
		exact_free(in);
	}
}
END_TEST

/* What moves a terminal's cursor or ends a line elsewhere, and what is no character at all. */
START_TEST(every_character)
{
	log_info("e", LOG_STR("v", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x93\xa7"));
	ck_assert_str_eq(event(), "e v=\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x93\xa7\"");
	for (unsigned c = 0x80; c < 0xa0; c++) {
		char text[3] = {(char)0xc2, (char)c, 0};
		char want[32];

		log_info("e", LOG_STR("v", text));
		snprintf(want, sizeof(want), "e v=\"\\xc2\\x%02x\"", c);
		ck_assert_str_eq(event(), want);
	}
	log_info("e", LOG_STR("v", "\xc0\x8a \xed\xa0\x80 \xf4\x90\x80\x80"));
	ck_assert_str_eq(event(), "e v=\"\\xc0\\x8a \\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80\"");
}
END_TEST

START_TEST(forged_lines)
{
	log_info("login", LOG_STR("user", "x\n2026-01-01T00:00:00.000000Z level=error forged"),
	    LOG_STR("client", "\" event=forged ok=\""));
	ck_assert_str_eq(event(), "login user=\"x\\x0a2026-01-01T00:00:00.000000Z level=error "
				  "forged\" client=\"\\\" event=forged ok=\\\"\"");
}
END_TEST

START_TEST(long_values)
{
	char text[600];

	memset(text, 'x', sizeof(text));
	for (size_t n = 505; n < 520; n++) {
		struct span in = exact(text, n);
		const char *got;

		log_info("e", LOG_SPAN("v", in));
		got = event() + 4;
		if (n <= 512) {
			ck_assert_uint_eq(strlen(got), n);
		} else {
			ck_assert_uint_eq(strlen(got), 512 + 5);
			ck_assert_str_eq(got + 512, "x\"...");
		}
		exact_free(in);
	}
	/* A cut inside a character leaves no broken one behind. */
	memcpy(text + 511, "\xe2\x82\xac", 3);
	log_info("e", LOG_SPAN("v", span_make(text, sizeof(text))));
	ck_assert(utf8_is_valid(span_of(event())));
}
END_TEST

/* Many fields of the worst kind: whole fields, then a mark, never half a line. */
START_TEST(long_lines)
{
	char text[512];
	struct span in;
	const char *got;

	memset(text, 1, sizeof(text));
	in = span_make(text, sizeof(text));
	log_info("e", LOG_SPAN("a", in), LOG_SPAN("b", in), LOG_SPAN("c", in), LOG_SPAN("d", in),
	    LOG_SPAN("e", in));
	got = event();
	ck_assert_uint_lt(strlen(line), 8192);
	ck_assert_ptr_nonnull(strstr(got, "\\x01\" cut=1"));
	ck_assert_ptr_nonnull(strstr(got, " c=\""));
	ck_assert_ptr_null(strstr(got, " e=\""));
}
END_TEST

START_TEST(levels)
{
	static const char *const words[] = {"debug", "info", "warning", "error"};
	enum log_level level;

	for (int i = 0; i < 4; i++) {
		ck_assert(log_level_parse(span_of(words[i]), &level) && (int)level == i);
		log_set_level(level);
		for (int k = 0; k < 4; k++)
			ck_assert_int_eq(log_is_enabled((enum log_level)k), k >= i);
	}
	ck_assert(!log_level_parse(SPAN("Info"), &level) && !log_level_parse(SPAN(""), &level));
	log_set_level(LOG_ERROR);
	log_warning("hidden");
	log_error("shown");
	ck_assert_str_eq(event(), "shown");
}
END_TEST

static void *chatter(void *arg)
{
	for (int i = 0; i < 200; i++)
		log_info("thread", LOG_STR("text", arg));
	return NULL;
}

/* Lines of several threads stay whole. */
START_TEST(whole_lines_of_threads)
{
	static const char *const texts[] = {
	    "aaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbb", "c d"};
	pthread_t threads[3];
	unsigned lines = 0;
	FILE *in;

	for (size_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, chatter, (void *)(uintptr_t)texts[i]);
	in = fdopen(dup(ends[0]), "r");
	while (lines < 600 && fgets(line, sizeof(line), in)) {
		lines++;
		ck_assert(strstr(line, " event=thread text=aaaaaaaaaaaaaaaaaaaaaaaa\n") ||
			  strstr(line, " event=thread text=bbbbbbbbbbbbbbbbbb\n") ||
			  strstr(line, " event=thread text=\"c d\"\n"));
	}
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	fclose(in);
	ck_assert_uint_eq(lines, 600);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {head, fields, every_byte, every_character, forged_lines,
	    long_values, long_lines, levels, whole_lines_of_threads};
	TCase *tc = tcase_create("log");

	tcase_add_checked_fixture(tc, setup, teardown);
	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
