/* What was expunged or deleted, listed, restored, and taken by the gc. */
#include "common/event/clock.h"
#include "tests/support/store_fixture.h"

#define A 7

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
	commit(txn);
	db_env_close(env);
	fixture_teardown();
}

static void put(const char *name, const char *text, uint32_t flags, const char *keyword)
{
	struct span word = span_of(keyword);

	append_text(txn, A, mailbox_id(txn, A, name), text, flags, &word, keyword ? 1 : 0);
}

static void expunge(const char *name, uint32_t first, uint32_t last)
{
	struct uidset uids = uids_of(first, last);

	ck_ok(store_expunge(txn, A, mailbox_id(txn, A, name), &uids, false, NULL, NULL, &err));
	uidset_clear(&uids);
}

static struct store_undeleted undelete(const char *mailbox, uint32_t uid, int64_t since)
{
	const struct store_undelete what = {span_of(mailbox), uid, since};
	struct store_undeleted res;

	ck_ok(store_undelete(txn, A, &what, &res, &err));
	return res;
}

static struct store_snapshot *load(const char *name)
{
	struct store_snapshot *s;

	ck_ok(store_snapshot_load(txn, A, mailbox_id(txn, A, name), &s, &err));
	return s;
}

static struct store_usage usage(void)
{
	struct store_usage u;

	ck_ok(store_account_usage(txn, A, &u, &err));
	return u;
}

static bool count_one(void *arg, const struct store_deleted *d)
{
	size_t *n = arg;

	ck_assert_int_ge(d->time, clock_now() - 60);
	n[d->m ? 0 : 1]++;
	return true;
}

/* Messages, and mailboxes. */
static void expect_listed(size_t messages, size_t mailboxes)
{
	size_t n[2] = {0, 0};

	ck_ok(store_deleted_list(txn, A, count_one, n, &err));
	ck_assert_uint_eq(n[0], messages);
	ck_assert_uint_eq(n[1], mailboxes);
}

static size_t count_rows(enum store_kind kind)
{
	struct db_cursor c;
	struct db_key k;
	size_t n = 0;

	store_key(&k, A, kind);
	ck_ok(db_cursor_open(txn, &c, db_key_span(&k), &err));
	for (int rc = db_first(&c, &err); rc == 1; rc = db_next(&c, &err))
		n++;
	db_cursor_close(&c);
	return n;
}

START_TEST(messages_come_back_as_they_were)
{
	struct store_usage before;
	struct store_snapshot *s;
	struct store_undeleted res;

	put("INBOX", "one", FLAG_SEEN | FLAG_DELETED, "first");
	put("INBOX", "two2", FLAG_FLAGGED, "second");
	put("INBOX", "three", 0, NULL);
	before = usage();
	expunge("INBOX", 1, 2);
	ck_assert_uint_eq(usage().kept_messages, 2);
	ck_assert_uint_eq(usage().kept_bytes, 7);
	expect_listed(2, 0);
	res = undelete("INBOX", 0, 0);
	ck_assert_uint_eq(res.messages, 2);
	ck_assert(!res.is_more);
	ck_assert_uint_eq(usage().bytes, before.bytes);
	ck_assert_uint_eq(usage().messages, before.messages);
	ck_assert_uint_eq(usage().kept_messages, 0);
	ck_assert_uint_eq(usage().kept_bytes, 0);
	s = load("INBOX");
	ck_assert_uint_eq(s->count, 3);
	ck_assert_uint_eq(s->messages[1].uid, 4);
	ck_assert_uint_eq(s->messages[1].flags, FLAG_SEEN);
	ck_assert_uint_eq(s->messages[1].keywords, 1);
	ck_assert_uint_eq(s->messages[2].flags, FLAG_FLAGGED);
	ck_assert_uint_eq(s->messages[2].keywords, 2);
	ck_assert_uint_eq(s->messages[2].size, 4);
	ck_assert_int_eq(s->messages[2].internaldate, 1700000000);
	ck_assert_uint_eq(s->messages[2].modseq, s->highestmodseq);
	ck_assert_uint_eq(s->uidnext, 6);
	store_snapshot_unref(s);
	expect_listed(0, 0);
	ck_assert_uint_eq(count_rows(KIND_EXPUNGED), 0);
	ck_assert_uint_eq(undelete("INBOX", 0, 0).messages, 0);
}
END_TEST

START_TEST(one_of_several)
{
	for (int i = 0; i < 5; i++)
		put("INBOX", "text", 0, NULL);
	expunge("INBOX", 1, 5);
	ck_assert_uint_eq(undelete("INBOX", 3, 0).messages, 1);
	ck_assert_uint_eq(undelete("INBOX", 3, 0).messages, 0);
	expect_listed(4, 0);
	ck_assert_uint_eq(undelete("inbox", 1, 0).messages, 1);
	ck_assert_uint_eq(undelete("Sent", 2, 0).messages, 0);
	ck_assert_uint_eq(undelete("", 0, clock_now() + 100).messages, 0);
	ck_assert_uint_eq(undelete("", 0, clock_now() - 100).messages, 3);
}
END_TEST

START_TEST(a_deleted_mailbox_and_its_keywords)
{
	struct store_mailbox mb;
	struct store_snapshot *s;
	struct store_undeleted res;
	uint64_t modseq;

	ck_ok(store_mailbox_create(txn, A, SPAN("a/b"), SPECIAL_JUNK, &mb, &err));
	put("a/b", "x", 0, "unused");
	put("a/b", "y", 0, "used");
	ck_ok(store_mailbox_delete(txn, A, SPAN("a/b"), &err));
	ck_ok(store_mailbox_create(txn, A, SPAN("a/b"), 0, &mb, &err));
	put("a/b", "z", 0, "other");
	s = load("a/b");
	modseq = s->highestmodseq;
	store_snapshot_unref(s);
	/* It is there again, though another one: nothing to make. */
	expect_listed(2, 0);
	res = undelete("a/b", 0, 0);
	ck_assert_uint_eq(res.messages, 2);
	ck_assert_uint_eq(res.mailboxes, 0);
	s = load("a/b");
	ck_assert_uint_gt(s->highestmodseq, modseq);
	ck_assert_uint_eq(s->count, 3);
	ck_assert_uint_eq(s->keyword_count, 3);
	ck_assert_str_eq(s->keywords[0], "other");
	ck_assert_str_eq(s->keywords[1], "unused");
	ck_assert_uint_eq(s->messages[1].keywords, 2);
	ck_assert_uint_eq(s->messages[2].keywords, 4);
	ck_assert_uint_eq(s->special_use, 0);
	store_snapshot_unref(s);
}
END_TEST

START_TEST(a_level_becomes_a_mailbox_again)
{
	struct store_mailbox mb;
	struct store_undeleted res;

	ck_ok(store_mailbox_create(txn, A, SPAN("p/q"), 0, &mb, &err));
	put("p", "x", 0, NULL);
	ck_ok(store_mailbox_delete(txn, A, SPAN("p"), &err));
	ck_ok(store_mailbox_find(txn, A, SPAN("p"), &mb, &err));
	ck_assert(mb.is_noselect);
	expect_listed(1, 1);
	res = undelete("p", 0, 0);
	ck_assert_uint_eq(res.messages, 1);
	ck_assert_uint_eq(res.mailboxes, 1);
	ck_ok(store_mailbox_find(txn, A, SPAN("p"), &mb, &err));
	ck_assert(!mb.is_noselect && mb.messages == 1 && mb.is_subscribed && mb.has_children);
	/* Deleting the level alone leaves nothing to restore. */
	ck_ok(store_mailbox_create(txn, A, SPAN("l/m"), 0, &mb, &err));
	ck_ok(store_mailbox_delete(txn, A, SPAN("l"), &err));
	ck_ok(store_mailbox_delete(txn, A, SPAN("l/m"), &err));
	ck_ok(store_mailbox_delete(txn, A, SPAN("l"), &err));
	expect_listed(0, 2);
}
END_TEST

START_TEST(more_than_one_transaction)
{
	struct uidset all = uids_of(1, UINT32_MAX);
	struct store_copied copied;
	struct store_undeleted res;
	struct store_mailbox mb;
	struct store_snapshot *s;
	size_t sum = 0;

	uidset_init(&copied.from);
	uidset_init(&copied.to);
	ck_ok(store_mailbox_create(txn, A, SPAN("many"), 0, &mb, &err));
	for (int i = 0; i < 100; i++)
		put("many", "text", 0, NULL);
	for (int i = 0; i < 8; i++)
		ck_ok(store_copy(txn, A, mb.id, &all, mb.id, false, NULL, &copied, &err));
	ck_ok(store_mailbox_delete(txn, A, SPAN("many"), &err));
	do {
		res = undelete("many", 0, 0);
		ck_assert_uint_le(res.messages, STORE_UNDELETE_MAX);
		sum += res.messages;
	} while (res.is_more);
	ck_assert_uint_eq(sum, 25600);
	s = load("many");
	ck_assert_uint_eq(s->count, 25600);
	store_snapshot_unref(s);
	uidset_clear(&all);
	uidset_clear(&copied.from);
	uidset_clear(&copied.to);
}
END_TEST

START_TEST(the_gc_takes_it)
{
	struct store_gc gc = {.now = clock_now() + 500, .expunged_seconds = 1000, .budget = 3};
	struct store_mailbox mb;
	size_t objects;

	for (int i = 0; i < 5; i++) {
		char name[16];

		snprintf(name, sizeof(name), "m%d", i);
		ck_ok(store_mailbox_create(txn, A, span_of(name), 0, &mb, &err));
		put(name, "text", 0, NULL);
		ck_ok(store_mailbox_delete(txn, A, span_of(name), &err));
	}
	while (!gc.is_done)
		ck_ok(store_gc(txn, &gc, &err));
	ck_assert_uint_eq(count_rows(KIND_DELETED), 5);
	/* What was restored is not taken. */
	ck_assert_uint_eq(undelete("m3", 0, 0).messages, 1);
	objects = count_rows(KIND_OBJECT);
	gc = (struct store_gc){.now = clock_now() + 2000, .expunged_seconds = 1000, .budget = 3};
	while (!gc.is_done)
		ck_ok(store_gc(txn, &gc, &err));
	ck_assert_uint_eq(count_rows(KIND_DELETED), 0);
	ck_assert_uint_eq(count_rows(KIND_EXPUNGED), 0);
	ck_assert_uint_eq(count_rows(KIND_OBJECT), objects / 5);
	ck_assert_uint_eq(usage().kept_messages, 0);
	ck_assert_uint_eq(usage().kept_bytes, 0);
	expect_listed(0, 0);
	ck_assert_uint_eq(undelete("", 0, 0).messages, 0);
	ck_ok(store_mailbox_find(txn, A, SPAN("m3"), &mb, &err));
	ck_assert_uint_eq(mb.messages, 1);
}
END_TEST

START_TEST(counted_in_the_quota_or_not)
{
	struct store_limits limits = {.quota_bytes = 10, .quota_messages = 3};

	put("INBOX", "four", 0, NULL);
	put("INBOX", "four", 0, NULL);
	ck_fails(store_quota_check(txn, A, &limits, 3, 1, &err), ERR_QUOTA);
	ck_fails(store_quota_check(txn, A, &limits, 1, 2, &err), ERR_QUOTA);
	expunge("INBOX", 1, 2);
	ck_ok(store_quota_check(txn, A, &limits, 10, 3, &err));
	limits.counts_kept = true;
	ck_ok(store_quota_check(txn, A, &limits, 2, 1, &err));
	ck_fails(store_quota_check(txn, A, &limits, 3, 1, &err), ERR_QUOTA);
	ck_fails(store_quota_check(txn, A, &limits, 1, 2, &err), ERR_QUOTA);
	ck_ok(store_quota_check(txn, A, NULL, 1000, 1000, &err));
}
END_TEST

START_TEST(damaged_rows)
{
	struct db_key k;
	size_t n[2] = {0, 0};

	store_key(&k, A, KIND_DELETED);
	db_key_u64(&k, 5);
	db_key_u64(&k, 5);
	ck_ok(db_put(txn, db_key_span(&k), SPAN("\001x"), &err));
	ck_fails(store_deleted_list(txn, A, count_one, n, &err), ERR_CORRUPT);
	ck_fails(store_undelete(txn, A, &(struct store_undelete){SPAN(""), 0, 0},
		     &(struct store_undeleted){0}, &err),
	    ERR_CORRUPT);
	ck_ok(db_del(txn, db_key_span(&k), &err));
	store_key(&k, A, KIND_EXPUNGED);
	db_key_u64(&k, 5);
	ck_ok(db_put(txn, db_key_span(&k), SPAN("\001x"), &err));
	ck_fails(store_deleted_list(txn, A, count_one, n, &err), ERR_CORRUPT);
	ck_ok(db_del(txn, db_key_span(&k), &err));
	ck_fails(store_undelete(txn, A, &(struct store_undelete){SPAN("a//b"), 0, 0},
		     &(struct store_undeleted){0}, &err),
	    ERR_INVALID);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-undelete");
	TCase *tc = tcase_create("store-undelete");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, messages_come_back_as_they_were);
	tcase_add_test(tc, one_of_several);
	tcase_add_test(tc, a_deleted_mailbox_and_its_keywords);
	tcase_add_test(tc, a_level_becomes_a_mailbox_again);
	tcase_add_test(tc, more_than_one_transaction);
	tcase_add_test(tc, the_gc_takes_it);
	tcase_add_test(tc, counted_in_the_quota_or_not);
	tcase_add_test(tc, damaged_rows);
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
