/*
 * The content of DATA and BDAT from any bytes, cut anywhere. Oracles: a second reader of RFC 5321
 * section 4.5.2, written as simply as can be, finds the same end and the same content; exactly one
 * end of data; what is not allowed is noted; any cuts give the same. Where a lone LF ends a line
 * too the end is the same one, and the content is lines with CR LF.
 */
#include "common/base/mem.h"
#include "smtpd/receive/data.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

struct seen {
	struct strbuf text;
	size_t used; /* with the end; the whole input if there is none */
	bool has_end, bare_cr, bare_lf, nul;
};

static void note_bare(struct seen *s, struct span text, bool is_whole)
{
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];

		s->nul |= c == '\0';
		s->bare_lf |= c == '\n' && (i == 0 || text.p[i - 1] != '\r');
		s->bare_cr |= c == '\r' && (i + 1 < text.n ? text.p[i + 1] != '\n' : is_whole);
	}
}

/* Line by line: the line "." ends it, a dot before anything else is taken away. */
static void read_simply(struct span in, struct seen *s)
{
	struct span rest = in;

	strbuf_init(&s->text, in.n + 16);
	while (rest.n > 0) {
		size_t n = 0;

		while (n + 1 < rest.n && !(rest.p[n] == '\r' && rest.p[n + 1] == '\n'))
			n++;
		if (n + 1 >= rest.n)
			break; /* the last line has no end */
		if (n == 1 && rest.p[0] == '.') {
			s->has_end = true;
			rest = span_from(rest, 3);
			break;
		}
		strbuf_add(&s->text,
		    rest.p[0] == '.' ? span_sub(rest, 1, n + 1) : span_sub(rest, 0, n + 2));
		rest = span_from(rest, n + 2);
	}
	s->used = in.n - (s->has_end ? rest.n : 0);
	note_bare(s, strbuf_span(&s->text), true);
}

static size_t cut_of(const uint8_t *data, size_t size, size_t i, size_t left)
{
	size_t n = size == 0 ? left : 1 + data[i % size] % 17;

	return n < left ? n : left;
}

static void check_data(const uint8_t *cuts, size_t cut_count, struct span in)
{
	struct seen expected = {0};
	struct data_decoder d;
	struct strbuf out;
	struct span rest = in;
	size_t used = 0;

	read_simply(in, &expected);
	data_init(&d);
	strbuf_init(&out, in.n + 16);
	for (size_t i = 0; rest.n > 0 && d.state != DATA_END; i++) {
		size_t n = cut_of(cuts, cut_count, i, rest.n);
		/* Of its exact size: reading past it is seen. */
		char *piece = mem_dup(rest.p, n);
		size_t took = data_decode(&d, span_make(piece, n), &out);

		mem_free(piece);
		need(took <= n && (took == n || d.state == DATA_END));
		used += took;
		rest = span_from(rest, took);
	}
	need((d.state == DATA_END) == expected.has_end);
	need(used == expected.used);
	if (expected.has_end) {
		need(span_eq(strbuf_span(&out), strbuf_span(&expected.text)));
		need(d.has_bare_cr == expected.bare_cr && d.has_bare_lf == expected.bare_lf &&
		     d.has_nul == expected.nul);
	}
	strbuf_clear(&out);
	strbuf_clear(&expected.text);
}

/* A lone LF never moves the end, and never comes out. */
static void check_lf_lines(const uint8_t *cuts, size_t cut_count, struct span in)
{
	struct data_decoder strict, d;
	struct strbuf out;
	struct span rest = in;
	size_t used = 0, strictly;

	strbuf_init(&out, 2 * in.n + 16);
	data_init(&strict);
	strictly = data_decode(&strict, in, &out);
	strbuf_reset(&out);
	data_init(&d);
	d.lf_is_line = true;
	for (size_t i = 0; rest.n > 0 && d.state != DATA_END; i++) {
		size_t n = cut_of(cuts, cut_count, i, rest.n);
		size_t before = out.n, took = data_decode(&d, span_sub(rest, 0, n), &out);

		need(out.n - before <= 2 * took + 2);
		used += took;
		rest = span_from(rest, took);
	}
	need(used == strictly && (d.state == DATA_END) == (strict.state == DATA_END));
	need(!d.has_bare_lf && !out.failed);
	for (size_t i = 0; i < out.n; i++)
		need(out.p[i] != '\n' || (i > 0 && out.p[i - 1] == '\r'));
	strbuf_clear(&out);
}

static void check_chunks(const uint8_t *cuts, size_t cut_count, struct span in)
{
	struct seen expected = {0};
	struct data_decoder d;
	struct span rest = in;

	note_bare(&expected, in, true);
	data_init(&d);
	for (size_t i = 0; rest.n > 0; i++) {
		size_t n = cut_of(cuts, cut_count, i, rest.n);

		data_check_chunk(&d, span_sub(rest, 0, n));
		need(d.state != DATA_END && d.state != DATA_DOT && d.state != DATA_DOT_CR);
		rest = span_from(rest, n);
	}
	data_end_chunks(&d);
	need(d.has_bare_cr == expected.bare_cr && d.has_bare_lf == expected.bare_lf &&
	     d.has_nul == expected.nul);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t cut_count = size ? data[0] % 8 : 0;
	struct span in;

	if (size < 1 + cut_count)
		return 0;
	in = span_make((const char *)data + 1 + cut_count, size - 1 - cut_count);
	check_data(data + 1, cut_count, in);
	check_lf_lines(data + 1, cut_count, in);
	check_chunks(data + 1, cut_count, in);
	return 0;
}
