/* The content of DATA: every short stream of the bytes that matter, at every split, against the
 * definition written down as plainly as possible. */
#include "smtpd/receive/data.h"
#include "tests/support/unit.h"

#include <stdio.h>

struct expected {
	char text[64];
	size_t n, used, longest;
	bool is_end, has_cr, has_lf, has_nul;
};

/* Lines end with CR LF only. A line that is "." ends it all; another that begins with "." loses
 * it. */
static void expect(struct span in, struct expected *e)
{
	size_t at = 0;

	*e = (struct expected){0};
	while (at < in.n) {
		ssize_t found = span_find(span_from(in, at), SPAN("\r\n"));
		bool is_whole = found >= 0;
		size_t length = is_whole ? (size_t)found : in.n - at;
		struct span line = span_sub(in, at, length);

		at += length + (is_whole ? 2 : 0);
		if (is_whole && span_eq(line, SPAN("."))) {
			e->is_end = true;
			break;
		}
		/* What is not whole yet may still become anything: it is only known up to here. */
		if (!is_whole && (span_eq(line, SPAN(".")) || span_eq(line, SPAN(".\r"))))
			break;
		if (span_starts(line, SPAN(".")))
			line = span_from(line, 1);
		if (!is_whole && line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		memcpy(e->text + e->n, line.p, line.n);
		e->n += line.n;
		e->has_cr |= span_chr(line, '\r') >= 0;
		e->has_lf |= span_chr(line, '\n') >= 0;
		e->has_nul |= span_chr(line, '\0') >= 0;
		if (line.n > e->longest)
			e->longest = line.n;
		if (is_whole) {
			memcpy(e->text + e->n, "\r\n", 2);
			e->n += 2;
		}
	}
	e->used = at;
}

static void check(struct span in, size_t first, size_t second, const struct expected *e)
{
	size_t cuts[] = {first, second, in.n};
	struct data_decoder d;
	struct strbuf out;
	size_t used = 0;

	strbuf_init(&out, 64);
	data_init(&d);
	for (size_t i = 0; i < 3; i++) {
		size_t to = cuts[i];
		struct span part = exact(in.p + used, used < to ? to - used : 0);
		size_t before = out.n, took = data_decode(&d, part, &out);

		if (took > part.n || (d.state != DATA_END && took != part.n) ||
		    out.n - before > took + 2)
			ck_abort_msg("used %zu of %zu", took, part.n);
		used += took;
		exact_free(part);
		if (d.state == DATA_END)
			break;
	}
	if (used != e->used || (d.state == DATA_END) != e->is_end || d.has_bare_cr != e->has_cr ||
	    d.has_bare_lf != e->has_lf || d.has_nul != e->has_nul || d.line_max != e->longest ||
	    !span_eq(strbuf_span(&out), span_make(e->text, e->n)))
		ck_abort_msg("\"%.*s\" cut at %zu and %zu gives \"%s\", used %zu", (int)in.n, in.p,
		    first, second, out.p, used);
	strbuf_clear(&out);
}

/* All streams of up to seven of CR, LF, dot, letter and NUL (97,656), each in three pieces. */
START_TEST(every_stream_every_split)
{
	static const char bytes[] = {'\r', '\n', '.', 'a', '\0'};

	for (unsigned n = 0; n <= 7; n++) {
		unsigned total = 1;

		for (unsigned i = 0; i < n; i++)
			total *= 5;
		for (unsigned code = 0; code < total; code++) {
			struct expected e;
			unsigned v = code;
			char text[8];

			for (unsigned i = 0; i < n; i++, v /= 5)
				text[i] = bytes[v % 5];
			expect(span_make(text, n), &e);
			for (size_t at = 0; at <= n; at++)
				check(span_make(text, n), at / 2, at, &e);
		}
	}
}
END_TEST

/* The same where a lone LF ends a line too: the lines come out with CR LF, and the end is found
 * where it is found without. */
static void expect_lines(struct span in, struct expected *e)
{
	bool was_crlf = true;
	size_t at = 0;

	*e = (struct expected){0};
	while (at < in.n) {
		ssize_t lf = span_chr(span_from(in, at), '\n');
		struct span line = span_sub(in, at, lf < 0 ? in.n - at : (size_t)lf);
		bool is_crlf = lf > 0 && line.p[line.n - 1] == '\r';

		at += line.n + (lf >= 0);
		/* An unfinished line is only told from its first bytes: left to the other test. */
		if (lf < 0)
			break;
		line.n -= is_crlf;
		if (span_eq(line, SPAN(".")) && was_crlf && is_crlf) {
			e->is_end = true;
			break;
		}
		if (line.n > 1 && line.p[0] == '.')
			line = span_from(line, 1);
		memcpy(e->text + e->n, line.p, line.n);
		memcpy(e->text + e->n + line.n, "\r\n", 2);
		e->n += line.n + 2;
		e->has_cr |= span_chr(line, '\r') >= 0;
		e->has_nul |= span_chr(line, '\0') >= 0;
		was_crlf = is_crlf;
	}
	e->used = at;
}

static void check_lines(struct span in, size_t cut)
{
	struct data_decoder strict, d;
	struct expected e;
	struct strbuf out;
	size_t used;

	expect_lines(in, &e);
	strbuf_init(&out, 128);
	data_init(&strict);
	data_decode(&strict, in, &out);
	strbuf_reset(&out);
	data_init(&d);
	d.lf_is_line = true;
	used = data_decode(&d, span_sub(in, 0, cut), &out);
	used += data_decode(&d, span_from(in, used), &out);
	if (used != e.used || (d.state == DATA_END) != e.is_end ||
	    (strict.state == DATA_END) != e.is_end || d.has_bare_cr != e.has_cr || d.has_bare_lf ||
	    d.has_nul != e.has_nul || !span_eq(strbuf_span(&out), span_make(e.text, e.n)))
		ck_abort_msg("\"%.*s\" cut at %zu gives \"%s\", used %zu", (int)in.n, in.p, cut,
		    out.p, used);
	strbuf_clear(&out);
}

START_TEST(lone_lf_as_a_line_end)
{
	static const char bytes[] = {'\r', '\n', '.', 'a', '\0'};

	for (unsigned n = 1; n <= 7; n++) {
		unsigned total = 1;

		for (unsigned i = 0; i < n; i++)
			total *= 5;
		for (unsigned code = 0; code < total; code++) {
			unsigned v = code;
			char text[8];

			for (unsigned i = 0; i < n; i++, v /= 5)
				text[i] = bytes[v % 5];
			text[n] = '\n'; /* the last line is whole */
			for (size_t cut = 0; cut <= n; cut++)
				check_lines(span_make(text, n + 1), cut);
		}
	}
}
END_TEST

/* What smugglers send around the end of a message, followed by the next command: only CR LF . CR LF
 * may end it. */
START_TEST(smuggling)
{
	static const char *const ends[] = {"\r\n", "\n", "\r", "\r\r\n", "\n\r", "\n\n", "\r\n\r",
	    "", " ", "\t", "\r\n ", "\v", "\f", "\xc2\x85", "\xe2\x80\xa8"};

	for (size_t before = 0; before < ARRAY_LEN(ends); before++)
		for (size_t after = 0; after < ARRAY_LEN(ends); after++) {
			char text[128];
			struct data_decoder d;
			struct strbuf out;
			bool may_end;

			snprintf(text, sizeof(text), "x%s.%sMAIL FROM:<evil@example>\r\nz",
			    ends[before], ends[after]);
			may_end = strstr(text, "\r\n.\r\n") != NULL;
			strbuf_init(&out, 256);
			data_init(&d);
			data_decode(&d, span_of(text), &out);
			ck_assert_int_eq(d.state == DATA_END, may_end);
			/* A bare CR or LF is noted, so the whole is refused. */
			if (!may_end && strpbrk(ends[before], "\r\n") &&
			    strcmp(ends[before], "\r\n") != 0 && strcmp(ends[before], "\r\n ") != 0)
				ck_assert_msg(
				    d.has_bare_cr || d.has_bare_lf, "%zu %zu", before, after);
			strbuf_clear(&out);
		}
}
END_TEST

START_TEST(long_lines)
{
	for (size_t n = 998; n <= 1002; n++) {
		char text[1100];
		struct data_decoder d;
		struct strbuf out;

		memset(text, 'x', n);
		memcpy(text + n, "\r\nshort\r\n.\r\n", 12);
		for (size_t piece = 1; piece < n; piece += 331) {
			size_t at = 0;

			strbuf_init(&out, 4096);
			data_init(&d);
			while (at < n + 12)
				at += data_decode(
				    &d, span_sub(span_make(text, n + 12), at, piece), &out);
			ck_assert(d.state == DATA_END && d.line_max == n && out.n == n + 9);
			strbuf_clear(&out);
		}
	}
}
END_TEST

/* BDAT: dots mean nothing, the notes are the same. */
START_TEST(chunks)
{
	static const struct {
		struct span text;
		bool has_cr, has_lf, has_nul;
		size_t longest;
	} rows[] = {
	    {SPAN_INIT(".\r\n..\r\nabc\r\n"), false, false, false, 3},
	    {SPAN_INIT("a\nb"), false, true, false, 3},
	    {SPAN_INIT("a\rb\r\n"), true, false, false, 3},
	    {SPAN_INIT("a\0b\r\n.\r\n.\r\nlonger"), false, false, true, 6},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (size_t at = 0; at <= rows[i].text.n; at++) {
			struct data_decoder d;

			data_init(&d);
			data_check_chunk(&d, span_sub(rows[i].text, 0, at));
			data_check_chunk(&d, span_from(rows[i].text, at));
			ck_assert_int_eq(d.has_bare_cr, rows[i].has_cr);
			ck_assert_int_eq(d.has_bare_lf, rows[i].has_lf);
			ck_assert_int_eq(d.has_nul, rows[i].has_nul);
			ck_assert_uint_eq(d.line_max, rows[i].longest);
			ck_assert(d.state != DATA_END);
		}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
	    every_stream_every_split, lone_lf_as_a_line_end, smuggling, long_lines, chunks};
	TCase *tc = tcase_create("data");

	tcase_set_timeout(tc, 60);
	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
