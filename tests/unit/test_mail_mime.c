/* The MIME parser: exact places, every split, every truncation, limits, linear work, rows. */
#include "common/base/mem.h"
#include "common/mail/bodystructure.h"
#include "common/mail/mime.h"
#include "tests/support/mail_corpus.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BIG (64u << 20)

/* Room at once: growing in many steps costs most of the time under a sanitizer. */
static struct strbuf big_buf(size_t room)
{
	struct strbuf b;

	strbuf_init(&b, BIG);
	ck_assert_ptr_nonnull(strbuf_room(&b, room));
	return b;
}

static struct strbuf row_of(const struct mime_tree *t)
{
	struct strbuf b;

	strbuf_init(&b, BIG);
	ck_assert(mime_tree_encode(&b, t));
	return b;
}

static void check_bounds(const struct mime_tree *t)
{
	for (uint32_t i = 0; i < t->count; i++) {
		const struct mime_part *p = &t->parts[i], *up;

		ck_assert_uint_eq(p->header_at + p->header_size, p->body_at);
		ck_assert_uint_le(p->body_at + p->body_size, t->size);
		if (p->parent == MIME_NONE)
			continue;
		up = &t->parts[p->parent];
		ck_assert_uint_ge(p->header_at, up->body_at);
		ck_assert_uint_le(p->body_at + p->body_size, up->body_at + up->body_size);
	}
}

static void ck_body(const struct mime_tree *t, uint32_t i, struct span m, const char *want)
{
	struct span got;

	ck_assert_uint_lt(i, t->count);
	got = span_sub(m, t->parts[i].body_at, t->parts[i].body_size);
	ck_assert_msg(
	    span_eq(got, span_of(want)), "part %u: \"%.*s\", not \"%s\"", i, SPAN_FMT(got), want);
}

START_TEST(places_are_exact)
{
	struct span m = mail_corpus[9];
	struct mime_tree *t = mime_tree_parse(m);

	ck_assert_uint_eq(t->count, 9);
	ck_body(t, 1, m, "first\r\n");
	ck_assert_uint_eq(t->parts[1].body_lines, 1);
	ck_assert_uint_eq(t->parts[2].flags, MIME_MULTIPART);
	ck_body(t, 3, m, "plain");
	ck_assert_uint_eq(t->parts[3].body_lines, 0);
	ck_body(t, 4, m, "<html>");
	ck_assert_uint_eq(t->parts[5].flags, MIME_MESSAGE);
	ck_assert_uint_eq(t->parts[5].next, MIME_NONE);
	ck_assert_uint_eq(t->parts[6].parent, 5);
	ck_assert(span_eq(t->parts[6].envelope,
	    SPAN("(NIL \"inner\" ((NIL NIL \"i\" \"n\")) ((NIL NIL \"i\" \"n\")) "
		 "((NIL NIL \"i\" \"n\")) NIL NIL NIL NIL NIL)")));
	/* a digest holds messages by default */
	ck_assert_uint_eq(t->parts[7].flags, MIME_MESSAGE | MIME_DEFAULT);
	ck_body(t, 7, m, "Subject: deep\r\n\r\nx");
	ck_body(t, 8, m, "x");
	check_bounds(t);
	mime_tree_free(t);
}
END_TEST

START_TEST(fields_are_read)
{
	struct mime_tree *t = mime_tree_parse(mail_corpus[8]);
	const struct mime_part *p = &t->parts[0];

	ck_assert(span_eq(p->type, SPAN("text")) && span_eq(p->subtype, SPAN("html")));
	ck_assert(span_eq(mime_param_get(t, p, SPAN("CHARSET")), SPAN("utf-8")));
	ck_assert(span_eq(mime_param_get(t, p, SPAN("n*")), SPAN("utf-8''%e2a")));
	ck_assert_ptr_null(mime_param_get(t, p, SPAN("n*0*")).p);
	ck_assert(span_eq(p->disposition, SPAN("attachment")));
	ck_assert_uint_eq(p->disp_param_count, 2);
	ck_assert(span_eq(t->params[p->disp_param].value, SPAN("a b")));
	ck_assert(span_eq(p->language, SPAN("de en-US")));
	ck_assert(span_eq(p->md5, SPAN("xyz")) && span_eq(p->id, SPAN("<c@d>")));
	ck_assert(span_eq(p->description, SPAN("a b")));
	ck_assert(span_eq(p->location, SPAN("http://x/")));
	ck_assert(span_eq(p->encoding, SPAN("QUOTED-PRINTABLE")));
	mime_tree_free(t);
}
END_TEST

START_TEST(missing_ends_and_headers)
{
	struct span m = mail_corpus[10];
	struct mime_tree *t = mime_tree_parse(m);

	/* Two messages whose headers a boundary cuts, then an empty part. */
	ck_assert_uint_eq(t->count, 6);
	ck_body(t, 1, m, "Subject: cut\n");
	ck_body(t, 2, m, "");
	ck_body(t, 3, m, "");
	ck_body(t, 5, m, "");
	check_bounds(t);
	mime_tree_free(t);

	m = mail_corpus[12];
	t = mime_tree_parse(m);
	ck_assert_uint_eq(t->count, 4);
	ck_body(t, 2, m, "unended");
	ck_body(t, 3, m, "y");
	ck_assert_uint_eq(t->parts[3].parent, 0);
	mime_tree_free(t);

	t = mime_tree_parse(mail_corpus[11]);
	ck_assert_uint_eq(t->count, 1);
	ck_assert_uint_eq(t->parts[0].flags, MIME_MULTIPART | MIME_OPAQUE);
	mime_tree_free(t);
}
END_TEST

START_TEST(every_split_gives_the_same)
{
	for (size_t k = 0; k < MAIL_CORPUS_LEN; k++) {
		struct span m = mail_corpus[k];
		struct mime_tree *whole = mime_tree_parse(m), *split;
		struct strbuf want = row_of(whole);

		/* at > n: byte by byte */
		for (size_t at = 0; at <= m.n + 1; at++) {
			struct mime_parser *p = mime_parser_new();
			struct strbuf got;

			if (at <= m.n) {
				mime_parser_feed(p, span_sub(m, 0, at));
				mime_parser_feed(p, span_from(m, at));
			} else {
				for (size_t i = 0; i < m.n; i++)
					mime_parser_feed(p, span_sub(m, i, 1));
			}
			split = mime_parser_finish(p);
			mime_parser_free(p);
			got = row_of(split);
			ck_assert_msg(span_eq(strbuf_span(&want), strbuf_span(&got)),
			    "message %zu split at %zu", k, at);
			strbuf_clear(&got);
			mime_tree_free(split);
		}
		strbuf_clear(&want);
		mime_tree_free(whole);
	}
}
END_TEST

/* Each truncation in a block of exactly its size, so that a sanitizer sees any step too far. */
START_TEST(every_truncation_is_a_message)
{
	for (size_t k = 0; k < MAIL_CORPUS_LEN; k++)
		for (size_t n = 0; n <= mail_corpus[k].n; n++) {
			char *copy = mem_dup(mail_corpus[k].p, n);
			struct mime_tree *t = mime_tree_parse(span_make(copy, n));
			struct strbuf out;

			strbuf_init(&out, BIG);
			ck_assert_uint_eq(t->size, n);
			check_bounds(t);
			ck_assert(mail_bodystructure_write(&out, t, true));
			ck_assert_int_eq(out.p[out.n - 1], ')');
			strbuf_clear(&out);
			mime_tree_free(t);
			mem_free(copy);
		}
}
END_TEST

START_TEST(rows_are_checked)
{
	for (size_t k = 0; k < MAIL_CORPUS_LEN; k++) {
		struct mime_tree *t = mime_tree_parse(mail_corpus[k]), *back;
		struct strbuf row = row_of(t), again;
		struct err e = ERR_INIT;

		back = mime_tree_decode(strbuf_span(&row), &e);
		ck_assert_msg(back != NULL, "message %zu: %s", k, e.text);
		again = row_of(back);
		ck_assert(span_eq(strbuf_span(&row), strbuf_span(&again)));
		for (uint32_t i = 0; i < t->count; i++) {
			ck_assert_uint_eq(t->parts[i].next, back->parts[i].next);
			ck_assert_uint_eq(t->parts[i].first_child, back->parts[i].first_child);
			ck_assert_uint_eq(t->parts[i].depth, back->parts[i].depth);
		}
		mime_tree_free(back);
		strbuf_clear(&again);
		for (size_t n = 0; n < row.n; n++) {
			char *cut = mem_dup(row.p, n);

			ck_assert_ptr_null(mime_tree_decode(span_make(cut, n), &e));
			ck_assert_int_eq(e.code, ERR_CORRUPT);
			mem_free(cut);
		}
		for (size_t i = 1; i < row.n; i++)
			for (int bit = 0; bit < 8; bit++) {
				row.p[i] ^= (char)(1 << bit);
				back = mime_tree_decode(strbuf_span(&row), &e);
				if (back)
					check_bounds(back);
				mime_tree_free(back);
				row.p[i] ^= (char)(1 << bit);
			}
		row.p[0]++;
		ck_assert_ptr_null(mime_tree_decode(strbuf_span(&row), &e));
		ck_assert_int_eq(e.code, ERR_UNSUPPORTED);
		strbuf_clear(&row);
		mime_tree_free(t);
	}
}
END_TEST

/* --- hostile messages --- */

struct job {
	struct span message;
	struct mime_tree *tree;
	struct strbuf out;
	uint64_t steps;
};

static void *run_job(void *arg)
{
	struct job *job = arg;
	struct mime_parser *p = mime_parser_new();

	mime_parser_feed(p, job->message);
	job->tree = mime_parser_finish(p);
	job->steps = mime_parser_steps(p);
	mime_parser_free(p);
	strbuf_init(&job->out, BIG);
	mail_bodystructure_write(&job->out, job->tree, true);
	return NULL;
}

/* Parses and prints on a 64 KiB stack; sanitizers need more for themselves. */
static void run_small(struct job *job)
{
	pthread_attr_t attr;
	pthread_t thread;
	size_t stack = 64 << 10;

#ifdef MS_SANITIZED
	stack = 512 << 10;
#endif
	ck_assert_int_eq(pthread_attr_init(&attr), 0);
	ck_assert_int_eq(pthread_attr_setstacksize(&attr, stack), 0);
	ck_assert_int_eq(pthread_create(&thread, &attr, run_job, job), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attr);
	ck_assert(!job->out.failed);
	check_bounds(job->tree);
}

static void end_job(struct job *job)
{
	strbuf_clear(&job->out);
	mime_tree_free(job->tree);
}

/* count levels, each a multipart in a multipart. */
static struct strbuf nested_multiparts(size_t count)
{
	struct strbuf b = big_buf(count * 100 + 100);

	for (size_t i = 0; i < count; i++)
		strbuf_addf(
		    &b, "Content-Type: multipart/mixed; boundary=b%zu.\r\n\r\n--b%zu.\r\n", i, i);
	strbuf_add_str(&b, "\r\nend\r\n");
	for (size_t i = count; i-- > 0;)
		strbuf_addf(&b, "--b%zu.--\r\n", i);
	ck_assert(!b.failed);
	return b;
}

START_TEST(nested_multiparts_need_no_stack)
{
	struct strbuf b = nested_multiparts(100000);
	struct job job = {.message = strbuf_span(&b)};

	run_small(&job);
	ck_assert(job.tree->is_truncated);
	ck_assert_uint_eq(job.tree->count, MIME_DEPTH_MAX + 1);
	ck_assert_uint_eq(job.tree->parts[MIME_DEPTH_MAX].flags, MIME_OPAQUE);
	end_job(&job);
	strbuf_clear(&b);
}
END_TEST

START_TEST(nested_messages_need_no_stack)
{
	struct strbuf b = big_buf(8 << 20);
	struct job job = {0};

	for (int i = 0; i < 10000; i++)
		strbuf_add_str(&b, "Content-Type: message/rfc822\r\n\r\n");
	job.message = strbuf_span(&b);
	run_small(&job);
	ck_assert_uint_eq(job.tree->count, MIME_DEPTH_MAX + 1);
	ck_assert(job.tree->is_truncated);
	end_job(&job);
	strbuf_clear(&b);
}
END_TEST

START_TEST(parts_are_limited)
{
	struct strbuf b = big_buf(8 << 20);
	struct job job = {0};
	const struct mime_part *last;

	strbuf_add_str(&b, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
	for (int i = 0; i < 5000; i++)
		strbuf_add_str(&b, "--b\r\n\r\nx\r\n");
	strbuf_add_str(&b, "--b--\r\nepilogue");
	job.message = strbuf_span(&b);
	run_small(&job);
	ck_assert_uint_eq(job.tree->count, MIME_PARTS_MAX);
	ck_assert(job.tree->is_truncated);
	last = &job.tree->parts[MIME_PARTS_MAX - 1];
	/* the last part has all the rest up to the final boundary */
	ck_assert_uint_eq(last->body_size, 1 + (5000 - MIME_PARTS_MAX + 1) * 10);
	end_job(&job);
	strbuf_clear(&b);
}
END_TEST

START_TEST(headers_are_limited)
{
	struct strbuf b = big_buf(8 << 20);
	struct job job = {0};

	strbuf_add_str(&b, "Content-Type: multipart/mixed; boundary=b\r\n");
	for (int i = 0; i < 30000; i++)
		strbuf_add_str(&b, "X: 0123456789\r\n");
	strbuf_add_str(&b, "\r\n--b\r\n\r\nx\r\n--b--\r\n");
	job.message = strbuf_span(&b);
	run_small(&job);
	ck_assert_uint_eq(job.tree->count, 1);
	ck_assert_uint_eq(job.tree->parts[0].flags, MIME_OPAQUE);
	ck_assert_uint_eq(job.tree->parts[0].header_size, 43 + 30000 * 15 + 2);
	end_job(&job);
	strbuf_clear(&b);
}
END_TEST

/* Texts kept are bounded however many parts have long names. */
START_TEST(kept_text_is_limited)
{
	struct strbuf b = big_buf(8 << 20), row;
	struct job job = {0};

	strbuf_add_str(&b, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
	for (int i = 0; i < 500; i++) {
		strbuf_add_str(&b, "--b\r\nContent-Description: ");
		for (int k = 0; k < 1000; k++)
			strbuf_add_str(&b, "0123456789");
		strbuf_add_str(&b, "\r\n\r\nx\r\n");
	}
	job.message = strbuf_span(&b);
	run_small(&job);
	ck_assert(job.tree->is_truncated);
	row = row_of(job.tree);
	ck_assert_uint_lt(row.n, 2 * MIME_TEXT_MAX);
	strbuf_clear(&row);
	end_job(&job);
	strbuf_clear(&b);
}
END_TEST

/* Envelopes many times as long as their headers: the first that does not fit is the last tried. */
START_TEST(envelopes_are_limited)
{
	struct strbuf b = big_buf(8 << 20);
	struct job job = {0};
	uint32_t have = 0;

	strbuf_add_str(&b, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
	for (int i = 0; i < 400; i++) {
		strbuf_add_str(&b, "--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: ");
		for (int k = 0; k < 1000; k++)
			strbuf_add_str(&b, "a,");
		strbuf_add_str(&b, "\r\n\r\nx\r\n");
	}
	job.message = strbuf_span(&b);
	run_small(&job);
	for (uint32_t i = 1; i < job.tree->count; i++) {
		const struct mime_part *p = &job.tree->parts[i];

		have += p->envelope.p != NULL;
		if (p->flags & MIME_MESSAGE)
			continue;
		ck_assert_uint_eq(p->envelope.p != NULL, i / 2 <= have);
	}
	ck_assert_uint_ge(have, 5);
	ck_assert_uint_lt(have, 20);
	ck_assert(job.tree->is_truncated);
	end_job(&job);
	strbuf_clear(&b);
}
END_TEST

/* 64 open boundaries of 2,000 bytes that differ at their end, and lines that nearly match all. */
static uint64_t steps_of_near_misses(size_t lines)
{
	struct strbuf b = big_buf(8 << 20);
	struct job job = {0};
	char filler[2001];

	memset(filler, 'a', 2000);
	filler[2000] = 0;
	for (int i = 0; i < 60; i++)
		strbuf_addf(&b,
		    "Content-Type: multipart/mixed; boundary=%s%02d\r\n\r\n--%s%02d\r\n", filler, i,
		    filler, i);
	strbuf_add_str(&b, "\r\n");
	for (size_t i = 0; i < lines; i++)
		strbuf_addf(&b, "--%s!!\r\n", filler);
	ck_assert(!b.failed);
	job.message = strbuf_span(&b);
	run_small(&job);
	ck_assert_uint_eq(job.tree->count, 61);
	ck_assert_uint_le(job.steps, b.n * (MIME_DEPTH_MAX + 4));
	end_job(&job);
	strbuf_clear(&b);
	return job.steps;
}

static uint64_t steps_of_nesting(size_t count)
{
	struct strbuf b = nested_multiparts(count);
	struct job job = {.message = strbuf_span(&b)};
	uint64_t steps;

	run_small(&job);
	steps = job.steps;
	end_job(&job);
	strbuf_clear(&b);
	return steps;
}

START_TEST(work_is_linear)
{
	uint64_t one = steps_of_near_misses(500), two = steps_of_near_misses(1000);
	uint64_t four = steps_of_near_misses(2000);

	ck_assert_uint_le(four - two, (two - one) * 22 / 10);
	one = steps_of_nesting(10000);
	two = steps_of_nesting(20000);
	four = steps_of_nesting(40000);
	ck_assert_uint_le(two, one * 22 / 10);
	ck_assert_uint_le(four, two * 22 / 10);
}
END_TEST

START_TEST(boundaries_of_all_lengths)
{
	for (size_t n = 1; n <= MIME_BOUNDARY_MAX + 1; n += n < 80 ? 1 : 123) {
		struct strbuf b;
		struct mime_tree *t;
		char *name = mem_alloc(n + 1);

		memset(name, 'q', n);
		name[n] = 0;
		strbuf_init(&b, BIG);
		strbuf_addf(&b,
		    "Content-Type: multipart/mixed; boundary=%s\r\n\r\n--%s\r\n\r\nx\r\n--%s--\r\n",
		    name, name, name);
		t = mime_tree_parse(strbuf_span(&b));
		ck_assert_uint_eq(t->count, n <= MIME_BOUNDARY_MAX ? 2 : 1);
		if (t->count == 2)
			ck_body(t, 1, strbuf_span(&b), "x");
		mime_tree_free(t);
		strbuf_clear(&b);
		mem_free(name);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mail_mime");
	TCase *t = tcase_create("mime");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 120);
	tcase_add_test(t, places_are_exact);
	tcase_add_test(t, fields_are_read);
	tcase_add_test(t, missing_ends_and_headers);
	tcase_add_test(t, every_split_gives_the_same);
	tcase_add_test(t, every_truncation_is_a_message);
	tcase_add_test(t, rows_are_checked);
	tcase_add_test(t, nested_multiparts_need_no_stack);
	tcase_add_test(t, nested_messages_need_no_stack);
	tcase_add_test(t, parts_are_limited);
	tcase_add_test(t, headers_are_limited);
	tcase_add_test(t, kept_text_is_limited);
	tcase_add_test(t, envelopes_are_limited);
	tcase_add_test(t, work_is_linear);
	tcase_add_test(t, boundaries_of_all_lengths);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
