/* The store of a daemon on its loop: writing, reading, change notices, gc, closing. */
#include "tests/support/store_fixture.h"

#include "common/crypto/crypto.h"
#include "common/ipc/ipc.h"

#include <sys/wait.h>

static struct loop *loop;
static struct store *store;
static struct store_change seen[64];
static size_t seen_count, seen_wanted;

static void on_change(void *arg, const struct store_change *c)
{
	if (seen_count < ARRAY_LEN(seen))
		seen[seen_count++] = *c;
	if (seen_count == seen_wanted)
		loop_stop(loop);
}

static void open_store(const char *hint_path)
{
	struct store_options opt = {.loop = loop,
	    .dir = fixture_path("store"),
	    .map_size = (size_t)64 << 20,
	    .inline_max = 1000,
	    .reader_threads = 2,
	    .hint_path = hint_path};

	ck_ok(store_open(&opt, &store, &err));
	store_on_change(store, on_change, NULL);
}

static void setup(void)
{
	fixture_setup();
	loop = loop_new();
	seen_count = 0;
	seen_wanted = SIZE_MAX;
}

static void teardown(void)
{
	store_close(store);
	store = NULL;
	loop_free(loop);
	fixture_teardown();
}

/* Makes the account and appends one message. */
struct delivery {
	struct db_op op;
	struct db_job job;
	bool stops;
	size_t count;
};

static int deliver_run(struct db_op *op, struct db_txn *txn, struct err *e)
{
	if (store_account_ensure(txn, 5, e) < 0)
		return -1;
	append_text(txn, 5, mailbox_id(txn, 5, "INBOX"), "Subject: a\r\n\r\nb\r\n", 0, NULL, 0);
	return 0;
}

static void deliver_done(struct db_op *op)
{
	struct delivery *d = container_of(op, struct delivery, op);

	ck_assert_int_eq(op->err.code, 0);
	if (d->stops)
		loop_stop(loop);
}

static void deliver(struct delivery *d)
{
	d->op = (struct db_op){.run = deliver_run, .done = deliver_done};
	store_write(store, &d->op);
}

static void count_run(struct db_job *job, struct db_txn *txn)
{
	struct delivery *d = container_of(job, struct delivery, job);
	struct store_mailbox mb;

	if (store_mailbox_find(txn, 5, SPAN("INBOX"), &mb, &job->err) == 0)
		d->count = mb.messages;
}

static void count_done(struct db_job *job)
{
	ck_assert_int_eq(job->err.code, 0);
	loop_stop(loop);
}

START_TEST(write_then_read)
{
	struct delivery d = {.stops = true};

	open_store(NULL);
	deliver(&d);
	loop_run(loop);
	d.job = (struct db_job){.run = count_run, .done = count_done};
	store_read(store, &d.job);
	loop_run(loop);
	ck_assert_uint_eq(d.count, 1);
}
END_TEST

START_TEST(own_changes_are_told)
{
	static struct delivery d; /* done may come as late as closing */

	open_store(NULL);
	seen_wanted = 2;
	deliver(&d);
	loop_run(loop);
	ck_assert_uint_eq(seen_count, 2);
	ck_assert_uint_eq(seen[0].account, 5);
	ck_assert_uint_eq(seen[0].mailbox, 0); /* the mailboxes that were made */
	ck_assert_uint_eq(seen[1].account, 5);
	ck_assert_uint_ne(seen[1].mailbox, 0);
	ck_assert_uint_gt(seen[1].modseq, 0);
}
END_TEST

static void on_hint(void *arg, struct span hint)
{
	store_take_hint(store, hint);
}

START_TEST(hints_are_sent_and_taken)
{
	struct hint_receiver *r;
	static struct delivery d; /* done may come as late as closing */

	r = hint_receiver_new(loop, fixture_path("hint"), STORE_HINT_LEN, on_hint, NULL, &err);
	ck_assert_ptr_nonnull(r);
	open_store(fixture_path("hint"));
	seen_wanted = 4; /* twice each: told directly, and by way of the socket */
	deliver(&d);
	loop_run(loop);
	ck_assert_uint_eq(seen_count, 4);
	hint_receiver_free(r);
}
END_TEST

START_TEST(another_process_commits)
{
	struct delivery d = {.stops = true};
	int status, fds[2];
	pid_t pid;
	char c = 0;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork(); /* before the store is open here: it does not survive a fork */
	if (pid == 0) {
		if (read(fds[0], &c, 1) != 1)
			_exit(1);
		loop = loop_new(); /* the parent's descriptors are the parent's */
		open_store(NULL);
		deliver(&d);
		loop_run(loop);
		store_close(store);
		_exit(0);
	}
	open_store(NULL);
	seen_wanted = 1;
	ck_assert_int_eq(write(fds[1], &c, 1), 1);
	loop_run(loop);
	ck_assert_uint_eq(seen[0].account, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(closing_finishes)
{
	struct delivery d[20] = {0};
	struct db_txn *txn;

	open_store(NULL);
	for (size_t i = 0; i < ARRAY_LEN(d); i++)
		deliver(&d[i]);
	store_close(store);
	open_store(NULL);
	ck_ok(db_read_begin(store_env(store), &txn, &err));
	count_run(&d[0].job, txn);
	db_abort(txn);
	ck_assert_uint_eq(d[0].count, ARRAY_LEN(d));
}
END_TEST

/* A file without references since long ago: gone, with its rows. */
static struct blob gc_blob;

static int gc_prepare(struct db_op *op, struct db_txn *txn, struct err *e)
{
	if (file_ref(txn, gc_blob.id, e) < 0)
		return -1;
	return file_unref(txn, gc_blob.id, 1000, e);
}

struct gc_wait {
	struct timer timer;
	unsigned tries;
};

static void gc_look(void *arg)
{
	struct gc_wait *w = arg;
	struct file_row f;
	struct db_txn *txn;
	bool is_there;

	ck_ok(db_read_begin(store_env(store), &txn, &err));
	ck_ok(file_get(txn, gc_blob.id, &f, &is_there, &err));
	db_abort(txn);
	if (!is_there || ++w->tries > 1000)
		loop_stop(loop);
	else
		timer_set(&w->timer, 10);
}

START_TEST(gc_unlinks_files)
{
	struct delivery d = {.stops = true};
	struct gc_wait w = {.tries = 0};
	struct blob_writer *bw;
	struct blob_reader *r;
	char noise[5000];

	open_store(NULL);
	random_bytes(noise, sizeof(noise));
	bw = blob_writer_new(store_blobs(store), store_inline_max(store));
	ck_ok(blob_write(bw, span_make(noise, sizeof(noise)), &err));
	ck_ok(blob_finish(bw, &gc_blob, &err));
	blob_keep(bw);
	blob_writer_free(bw);
	d.op = (struct db_op){.run = gc_prepare, .done = deliver_done};
	store_write(store, &d.op);
	loop_run(loop);
	ck_ok(blob_open(store_blobs(store), &gc_blob, &r, &err));
	blob_reader_free(r);
	store_gc_start(store);
	timer_init(&w.timer, loop, gc_look, &w);
	timer_set(&w.timer, 10);
	loop_run(loop);
	timer_clear(&w.timer);
	ck_fails(blob_open(store_blobs(store), &gc_blob, &r, &err), ERR_NOT_FOUND);
	ck_assert_uint_le(w.tries, 1000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-async");
	TCase *tc = tcase_create("store-async");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, write_then_read);
	tcase_add_test(tc, own_changes_are_told);
	tcase_add_test(tc, hints_are_sent_and_taken);
	tcase_add_test(tc, another_process_commits);
	tcase_add_test(tc, closing_finishes);
	tcase_add_test(tc, gc_unlinks_files);
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
