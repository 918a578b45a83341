/* The form in which POP3 sends a message: line ends, doubled dots, TOP, at every split. */
#include "common/base/mem.h"
#include "pop3d/pop3.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static void start(struct transfer *t, bool is_top, uint64_t lines)
{
	memset(t, 0, sizeof(*t));
	t->is_top = is_top;
	t->body_lines = lines;
	t->at_line_start = t->line_is_empty = true;
	strbuf_init(&t->out, 1 << 20);
}

static void expect(struct span message, bool is_top, uint64_t lines, const char *want)
{
	for (size_t split = 0; split <= message.n; split++) {
		struct transfer t;

		start(&t, is_top, lines);
		transfer_encode(&t, span_sub(message, 0, split));
		transfer_encode(&t, span_from(message, split));
		transfer_encode_end(&t);
		ck_assert_str_eq(t.out.p, want);
		strbuf_clear(&t.out);
	}
}

#define WHOLE(message, want) expect(SPAN(message), false, 0, want)
#define TOP(message, lines, want) expect(SPAN(message), true, lines, want)

START_TEST(test_whole_messages)
{
	WHOLE("", ".\r\n");
	WHOLE("A: b\r\n\r\nbody\r\n", "A: b\r\n\r\nbody\r\n.\r\n");
	/* A last line without its end gets one. */
	WHOLE("A: b\r\n\r\nbody", "A: b\r\n\r\nbody\r\n.\r\n");
	WHOLE("A: b\r\n\r\nbody\r", "A: b\r\n\r\nbody\r\n.\r\n");
	/* A lone LF becomes CRLF, so that no client sees an end of message that others do not. */
	WHOLE("a\n.\nb\n", "a\r\n..\r\nb\r\n.\r\n");
	/* A lone CR stays. */
	WHOLE("a\rb\r\n", "a\rb\r\n.\r\n");
}
END_TEST

START_TEST(test_dots)
{
	WHOLE(".\r\n", "..\r\n.\r\n");
	WHOLE("..\r\n", "...\r\n.\r\n");
	WHOLE("a.\r\n.b\r\n", "a.\r\n..b\r\n.\r\n");
	WHOLE("\r\n.\r\n.", "\r\n..\r\n..\r\n.\r\n");
}
END_TEST

START_TEST(test_top)
{
	static const char m[] = "A: b\r\nC: d\r\n\r\none\r\n.two\r\nthree\r\n";

	expect(span_of(m), true, 0, "A: b\r\nC: d\r\n\r\n.\r\n");
	expect(span_of(m), true, 1, "A: b\r\nC: d\r\n\r\none\r\n.\r\n");
	expect(span_of(m), true, 2, "A: b\r\nC: d\r\n\r\none\r\n..two\r\n.\r\n");
	expect(span_of(m), true, 99, "A: b\r\nC: d\r\n\r\none\r\n..two\r\nthree\r\n.\r\n");
	TOP("no body", 5, "no body\r\n.\r\n");
	TOP("A: b\n\none\ntwo\n", 1, "A: b\r\n\r\none\r\n.\r\n");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pop3 transfer");
	TCase *tc = tcase_create("encode");
	SRunner *r;
	int failed;

	tcase_add_test(tc, test_whole_messages);
	tcase_add_test(tc, test_dots);
	tcase_add_test(tc, test_top);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
