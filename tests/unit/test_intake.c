/* Messages taken in on workers: whole, bounded, cleaned up. */
#include "tests/support/fixture.h"

#include "common/crypto/crypto.h"
#include "common/store/cache.h"
#include "common/store/intake.h"

#include <sys/stat.h>

static struct err err;
static struct loop *loop;
static struct workers *workers;
static struct blob_dir *blobs;

/* One message on its way in. */
struct feed {
	struct intake *in;
	struct span body;
	size_t at, step;
	size_t ready_calls, largest;
	bool is_done;
	struct intake_result result;
	struct err err;
};

static void on_done(void *arg, const struct intake_result *res, const struct err *e)
{
	struct feed *f = arg;

	ck_assert(!f->is_done);
	f->is_done = true;
	f->result = *res;
	f->err = *e;
	loop_stop(loop);
}

static void feed_more(struct feed *f)
{
	while (f->at < f->body.n && !intake_is_full(f->in)) {
		struct span piece = span_sub(f->body, f->at, f->step);

		intake_feed(f->in, piece);
		f->at += piece.n;
	}
	if (f->at == f->body.n) {
		f->at++; /* once */
		intake_finish(f->in, on_done);
	}
}

static void on_ready(void *arg)
{
	struct feed *f = arg;

	f->ready_calls++;
	feed_more(f);
}

static void feed_start(struct feed *f, struct span body, size_t step, bool want_mime)
{
	struct intake_options opt = {
	    .workers = workers, .dir = blobs, .inline_max = 64 * 1024, .want_mime = want_mime};

	*f = (struct feed){.body = body, .step = step};
	f->in = intake_new(&opt, on_ready, f);
	feed_more(f);
	ck_assert(!f->is_done); /* never from inside */
}

static void setup(void)
{
	fixture_setup();
	loop = loop_new();
	workers = workers_new(loop, 2, "test");
	ck_ok(blob_dir_open(fixture_path("blob"), &blobs, &err));
}

static void teardown(void)
{
	workers_free(workers);
	blob_dir_close(blobs);
	loop_free(loop);
	fixture_teardown();
}

static unsigned found;

static int count_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	found += type == FTW_F;
	return 0;
}

static unsigned files(void)
{
	found = 0;
	nftw(fixture_path("blob"), count_file, 16, FTW_PHYS);
	return found;
}

static void check_body(const struct feed *f)
{
	struct strbuf out;

	strbuf_init(&out, f->body.n + 1);
	ck_assert_msg(f->err.code == 0, "%s", f->err.text);
	ck_assert_uint_eq(f->result.size, f->body.n);
	ck_ok(blob_read_all(blobs, &f->result.blob, &out, f->body.n, &err));
	ck_assert(span_eq(strbuf_span(&out), f->body));
	strbuf_clear(&out);
}

START_TEST(small)
{
	const struct span body = SPAN("From: a@example.test\r\nMessage-ID: <m1@example.test>\r\n"
				      "Subject: hello\r\n\r\ntext\r\n");
	struct mime_tree *tree;
	struct cache c;
	struct feed f;

	for (size_t step = 1; step < 60; step += 7) {
		feed_start(&f, body, step, true);
		loop_run(loop);
		check_body(&f);
		ck_assert(!f.result.blob.is_file);
		ck_assert(cache_decode(f.result.cache, &c));
		ck_assert_uint_eq(c.header_size, body.n - 6);
		ck_assert_int_ge(span_find(c.envelope, SPAN("\"hello\"")), 0);
		ck_assert_int_ge(span_find(f.result.message_id, SPAN("m1@example.test")), 0);
		tree = mime_tree_decode(c.tree, &err);
		ck_assert_ptr_nonnull(tree);
		ck_assert_uint_eq(tree->size, body.n);
		mime_tree_free(tree);
		for (size_t n = 0; n < f.result.cache.n; n++)
			ck_assert(!cache_decode(span_sub(f.result.cache, 0, n), &c));
		intake_free(f.in);
	}
}
END_TEST

START_TEST(empty)
{
	struct feed f;

	feed_start(&f, SPAN(""), 1, true);
	loop_run(loop);
	check_body(&f);
	intake_free(f.in);
	feed_start(&f, SPAN(""), 1, false);
	loop_run(loop);
	check_body(&f);
	ck_assert_uint_eq(f.result.cache.n, 0);
	intake_free(f.in);
}
END_TEST

/* 20 MB of noise behind a header: paused and resumed on the way, in a file in the end. */
START_TEST(large)
{
	const size_t n = 20 << 20;
	char *p = mem_alloc(n);
	struct feed f;

	random_bytes(p, n);
	memcpy(p, "Subject: x\r\n\r\n", 14);
	feed_start(&f, span_make(p, n), 16000, true);
	loop_run(loop);
	check_body(&f);
	ck_assert(f.result.blob.is_file);
	ck_assert_uint_gt(f.ready_calls, 0);
	ck_assert_uint_eq(files(), 1);
	intake_keep(f.in);
	intake_free(f.in);
	ck_assert_uint_eq(files(), 1);
	mem_free(p);
}
END_TEST

/* Given up at different moments: nothing is left. */
START_TEST(given_up)
{
	const size_t n = 3 << 20;
	char *p = mem_alloc(n);
	struct feed f;

	random_bytes(p, n);
	for (size_t cut = 0; cut <= n; cut += n / 3) {
		feed_start(&f, span_make(p, cut ? cut : 1), 50000, false);
		if (cut == n)
			loop_run(loop);
		intake_free(f.in);
	}
	workers_free(workers); /* waits for what is still on its way */
	workers = workers_new(loop, 2, "test");
	loop_take_posts(loop);
	workers_free(workers);
	workers = workers_new(loop, 2, "test");
	ck_assert_uint_eq(files(), 0);
	mem_free(p);
}
END_TEST

START_TEST(errors_arrive_at_the_end)
{
	const size_t n = 3 << 20;
	char *p = mem_alloc(n);
	struct feed f;

	random_bytes(p, n);
	ck_assert_int_eq(rmdir(fixture_path("blob")), 0);
	feed_start(&f, span_make(p, n), 50000, true);
	loop_run(loop);
	ck_assert_int_ne(f.err.code, ERR_NONE);
	intake_free(f.in);
	mem_free(p);
}
END_TEST

/* Whoever feeds on although it is full gets an error, not a message with a hole. */
START_TEST(overrun)
{
	struct intake_options opt = {.workers = workers, .dir = blobs, .inline_max = 64 * 1024};
	char *p = mem_zalloc(700000);
	struct feed f = {.body = {p, 700000}};

	f.in = intake_new(&opt, on_ready, &f);
	for (int i = 0; i < 4; i++)
		intake_feed(f.in, f.body);
	ck_assert(intake_is_full(f.in));
	f.at = f.body.n + 1;
	intake_finish(f.in, on_done);
	loop_run(loop);
	ck_assert_int_eq(f.err.code, ERR_LIMIT);
	intake_free(f.in);
	mem_free(p);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("intake");
	TCase *tc = tcase_create("intake");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, small);
	tcase_add_test(tc, empty);
	tcase_add_test(tc, large);
	tcase_add_test(tc, given_up);
	tcase_add_test(tc, errors_arrive_at_the_end);
	tcase_add_test(tc, overrun);
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
