/* A client that hangs up while its CLOSE waits for the writer. */
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/event/loop.h"
#include "common/store/store.h"
#include "imapd/imap.h"
#include "tests/support/store_fixture.h"

#include <semaphore.h>

#define ACCOUNT 7

static struct loop *loop;
static struct store *store;
static uint64_t inbox;

static void setup(void)
{
	fixture_setup();
	loop = loop_new();
}

static void teardown(void)
{
	store_close(store);
	loop_free(loop);
	fixture_teardown();
}

static void open_store(void)
{
	struct store_options opt = {.loop = loop,
	    .dir = fixture_path("store"),
	    .map_size = (size_t)64 << 20,
	    .inline_max = 1000,
	    .reader_threads = 1};

	ck_ok(store_open(&opt, &store, &err));
}

/* --- operations of the test: made, held, counted -------------------------------------------------
 */
struct held {
	struct db_op op;
	sem_t go;
};

static int make_run(struct db_op *op, struct db_txn *txn, struct err *e)
{
	if (store_account_ensure(txn, ACCOUNT, e) < 0)
		return -1;
	inbox = mailbox_id(txn, ACCOUNT, "INBOX");
	append_text(txn, ACCOUNT, inbox, "Subject: a\r\n\r\n", 0, NULL, 0);
	append_text(txn, ACCOUNT, inbox, "Subject: b\r\n\r\n", FLAG_DELETED, NULL, 0);
	return 0;
}

static int hold_run(struct db_op *op, struct db_txn *txn, struct err *e)
{
	while (sem_wait(&container_of(op, struct held, op)->go) < 0)
		;
	return 0;
}

static void held_done(struct db_op *op)
{
}

static void stop_done(struct db_op *op)
{
	ck_assert_int_eq(op->err.code, ERR_NONE);
	loop_stop(loop);
}

static int nothing_run(struct db_op *op, struct db_txn *txn, struct err *e)
{
	return 0;
}

struct look {
	struct db_job job;
	struct store_snapshot *snap;
};

static void look_run(struct db_job *job, struct db_txn *txn)
{
	struct look *l = container_of(job, struct look, job);

	ck_ok(store_snapshot_load(txn, ACCOUNT, inbox, &l->snap, &job->err));
}

static void look_done(struct db_job *job)
{
	loop_stop(loop);
}

static struct store_snapshot *look(void)
{
	struct look l = {.job = {.run = look_run, .done = look_done}};

	store_read(store, &l.job);
	loop_run(loop);
	return l.snap;
}

static void write_and_wait(int (*run)(struct db_op *op, struct db_txn *txn, struct err *e))
{
	struct db_op op = {.run = run, .done = stop_done};

	store_write(store, &op);
	loop_run(loop);
}

START_TEST(closing_goes_on_without_its_view)
{
	struct imapd p = {.mboxes = hash_new()};
	struct session *s = mem_zalloc(sizeof(*s));
	struct parser parser = {.arena = &s->arena};
	struct held held = {.op = {.run = hold_run, .done = held_done}};
	struct store_snapshot *snap;
	struct mbox *m;

	open_store();
	write_and_wait(make_run);
	p.store = store;
	s->server = &p;
	s->account = ACCOUNT;
	m = mbox_get(&p, ACCOUNT, inbox);
	m->latest = look();
	m->recent_next = m->recent_kept = m->latest->uidnext;
	view_open(s, m, false);
	ck_assert_int_eq(sem_init(&held.go, 0, 0), 0);
	store_write(store, &held.op);
	cmd_close(s, &parser);
	/* What session_leave does: the view goes, the session waits for its task. */
	view_close(s);
	ck_assert_int_eq(sem_post(&held.go), 0);
	write_and_wait(nothing_run);
	snap = look();
	ck_assert_uint_eq(snap->count, 1);
	ck_assert_uint_eq(snap->messages[0].uid, 1);
	store_snapshot_unref(snap);
	sem_destroy(&held.go);
	mboxes_free(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("imap_close");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, closing_goes_on_without_its_view);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
