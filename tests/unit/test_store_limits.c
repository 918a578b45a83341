/* How much an account may have, and figures that are counted when they are asked for. */
#include "tests/support/store_fixture.h"

#define A 1

static struct db_env *env;
static struct db_txn *txn;

static void setup(void)
{
	fixture_setup();
	env = store_fixture_open();
	txn = begin(env);
	ck_ok(store_account_ensure(txn, A, &err));
}

static void teardown(void)
{
	db_abort(txn);
	db_env_close(env);
	fixture_teardown();
}

START_TEST(mailboxes_and_subscriptions_are_bounded)
{
	struct store_mailbox mb, *list;
	char name[32];
	size_t count;

	for (int i = 6; i < STORE_MAILBOXES_MAX; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		ck_ok(store_mailbox_create(txn, A, span_of(name), 0, &mb, &err));
		ck_ok(store_mailbox_subscribe(txn, A, span_of(name), true, &err));
	}
	ck_fails(store_mailbox_create(txn, A, SPAN("more"), 0, &mb, &err), ERR_LIMIT);
	ck_ok(store_mailbox_list(txn, A, &list, &count, &err));
	mem_free(list);
	ck_assert_uint_eq(count, STORE_MAILBOXES_MAX);
	/* A subscription outlives its mailbox. */
	ck_ok(store_mailbox_delete(txn, A, SPAN("m6"), &err));
	ck_ok(store_mailbox_create(txn, A, SPAN("more"), 0, &mb, &err));
	ck_fails(store_mailbox_subscribe(txn, A, SPAN("more"), true, &err), ERR_LIMIT);
	ck_ok(store_mailbox_subscribe(txn, A, SPAN("m6"), false, &err));
	ck_ok(store_mailbox_subscribe(txn, A, SPAN("more"), true, &err));
	ck_fails(store_mailbox_create(txn, A, SPAN("again"), 0, &mb, &err), ERR_LIMIT);
	ck_ok(store_mailbox_rename(txn, A, SPAN("more"), SPAN("again"), &err));
}
END_TEST

static void expect_counts(uint32_t recent, uint64_t deleted)
{
	struct store_mailbox mb;
	uint32_t n;
	uint64_t bytes;

	ck_ok(store_mailbox_find(txn, A, SPAN("INBOX"), &mb, &err));
	ck_ok(store_recent_count(txn, A, &mb, &n, &err));
	ck_ok(store_deleted_bytes(txn, A, &mb, &bytes, &err));
	ck_assert_uint_eq(n, recent);
	ck_assert_uint_eq(bytes, deleted);
}

START_TEST(recent_and_deleted_are_counted)
{
	uint64_t inbox = mailbox_id(txn, A, "INBOX");
	struct uidset uids = uids_of(40, 45);
	uint32_t first;

	expect_counts(0, 0);
	for (int i = 0; i < 250; i++)
		append_text(txn, A, inbox, "ten bytes.", i % 5 ? 0 : FLAG_DELETED, NULL, 0);
	expect_counts(250, 500);
	ck_ok(store_recent_claim(txn, A, inbox, &first, &err));
	expect_counts(0, 500);
	for (int i = 0; i < 3; i++)
		append_text(txn, A, inbox, "new", FLAG_DELETED, NULL, 0);
	expect_counts(3, 509);
	ck_ok(store_expunge(txn, A, inbox, &uids, false, NULL, NULL, &err));
	expect_counts(3, 499);
	uidset_clear(&uids);
	uids = uids_of(252, 260);
	ck_ok(store_expunge(txn, A, inbox, &uids, false, NULL, NULL, &err));
	expect_counts(1, 493);
	uidset_clear(&uids);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-limits");
	TCase *tc = tcase_create("store-limits");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, mailboxes_and_subscriptions_are_bounded);
	tcase_add_test(tc, recent_and_deleted_are_counted);
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
