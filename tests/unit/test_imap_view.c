/* What a session knows of its mailbox: numbers, flags, \Recent, and the step to a newer picture. */
#include "imapd/imap.h"
#include "tests/support/store_fixture.h"

#define ACCOUNT 7

static struct db_env *env;
static uint64_t inbox;

static void setup(void)
{
	struct db_txn *txn;

	fixture_setup();
	env = store_fixture_open();
	txn = begin(env);
	ck_ok(store_account_ensure(txn, ACCOUNT, &err));
	inbox = mailbox_id(txn, ACCOUNT, "INBOX");
	commit(txn);
}

static void teardown(void)
{
	db_env_close(env);
	fixture_teardown();
}

static void fill(unsigned count)
{
	struct db_txn *txn = begin(env);

	while (count--)
		append_text(txn, ACCOUNT, inbox, "Subject: x\r\n\r\n", 0, NULL, 0);
	commit(txn);
}

static void expunge(const char *uids)
{
	struct db_txn *txn = begin(env);
	struct uidset set;
	struct span rest = span_of(uids), one;
	uint64_t uid;

	uidset_init(&set);
	while (span_split(&rest, ',', &one)) {
		ck_assert(span_u64(one, UINT32_MAX, &uid));
		uidset_add(&set, (uint32_t)uid);
	}
	ck_ok(store_expunge(txn, ACCOUNT, inbox, &set, false, NULL, NULL, &err));
	uidset_clear(&set);
	commit(txn);
}

static struct store_snapshot *load(void)
{
	struct store_snapshot *s;
	struct db_txn *txn;

	ck_ok(db_read_begin(env, &txn, &err));
	ck_ok(store_snapshot_load(txn, ACCOUNT, inbox, &s, &err));
	db_abort(txn);
	return s;
}

static void expect_uids(const struct store_snapshot *s, const char *text)
{
	struct uidset set;
	struct strbuf b;

	uidset_init(&set);
	strbuf_init(&b, 4096);
	for (size_t i = 0; i < s->count; i++) {
		ck_assert(i == 0 || s->messages[i - 1].uid < s->messages[i].uid);
		uidset_add(&set, s->messages[i].uid);
	}
	uidset_format(&b, &set);
	ck_assert_str_eq(b.p, text);
	strbuf_clear(&b);
	uidset_clear(&set);
}

START_TEST(joining)
{
	struct store_snapshot *old, *latest, *both, *again;

	fill(6);
	old = load();
	fill(2);
	latest = load();
	both = store_snapshot_join(old, latest);
	ck_assert_ptr_eq(both, latest);
	store_snapshot_unref(both);
	store_snapshot_unref(latest);

	expunge("1,3,6");
	latest = load();
	expect_uids(latest, "2,4:5,7:8");
	both = store_snapshot_join(old, latest);
	expect_uids(both, "1:8");
	ck_assert(both->uidnext == latest->uidnext);
	ck_assert(both->highestmodseq == latest->highestmodseq);
	/* What went since then stays as well, what went and was never seen does not come. */
	expunge("7,8,2");
	again = load();
	store_snapshot_unref(latest);
	latest = store_snapshot_join(both, again);
	expect_uids(latest, "1:8");
	store_snapshot_unref(latest);
	latest = store_snapshot_join(old, again);
	expect_uids(latest, "1:6");
	store_snapshot_unref(latest);
	store_snapshot_unref(again);
	store_snapshot_unref(both);
	store_snapshot_unref(old);
}
END_TEST

START_TEST(joining_with_nothing)
{
	struct store_snapshot *none = load(), *some, *both;

	fill(3);
	some = load();
	both = store_snapshot_join(none, some);
	ck_assert_ptr_eq(both, some);
	store_snapshot_unref(both);
	both = store_snapshot_join(some, none);
	expect_uids(both, "1:3");
	store_snapshot_unref(both);
	store_snapshot_unref(some);
	store_snapshot_unref(none);
}
END_TEST

START_TEST(a_joined_message_is_as_it_was_last)
{
	struct store_flags_change seen = {.mode = FLAGS_ADD, .flags = FLAG_SEEN};
	struct store_snapshot *old, *latest, *both;
	struct db_txn *txn;

	fill(3);
	old = load();
	txn = begin(env);
	ck_ok(store_flags_change(txn, ACCOUNT, inbox, NULL, &seen, NULL, NULL, &err));
	commit(txn);
	expunge("2");
	latest = load();
	both = store_snapshot_join(old, latest);
	ck_assert_uint_eq(both->messages[0].flags, FLAG_SEEN);
	ck_assert_uint_eq(both->messages[1].flags, 0);
	ck_assert_uint_eq(both->messages[2].flags, FLAG_SEEN);
	store_snapshot_unref(both);
	store_snapshot_unref(latest);
	store_snapshot_unref(old);
}
END_TEST

/* --- sequence sets ------------------------------------------------------------------------------
 */
static void expect_selected(struct session *s, const char *set, bool is_uid, const char *wanted)
{
	struct arena arena;
	struct parser p = {.in = span_of(set), .arena = &arena};
	struct sequence seq;
	struct uidset out;
	struct strbuf b;
	bool is_good;

	arena_init(&arena, 65536);
	strbuf_init(&b, 4096);
	uidset_init(&out);
	ck_assert(parse_sequence(&p, &seq));
	is_good = view_select(s, &seq, is_uid, &out);
	ck_assert_msg(is_good == (wanted != NULL), "%s", set);
	uidset_format(&b, &out);
	if (wanted)
		ck_assert_msg(strcmp(b.p, wanted) == 0, "%s: %s, not %s", set, b.p, wanted);
	uidset_clear(&out);
	strbuf_clear(&b);
	arena_clear(&arena);
}

START_TEST(selecting)
{
	struct session s = {0};
	struct view v = {.session = &s};

	s.view = &v;
	fill(9);
	expunge("2,3,7");
	v.snap = load();
	expect_uids(v.snap, "1,4:6,8:9");
	expect_selected(&s, "1", false, "1");
	expect_selected(&s, "2:3", false, "4:5");
	/* In a range of numbers no UID of the view is left out. */
	expect_selected(&s, "1:*", false, "1:9");
	expect_selected(&s, "*", false, "9");
	expect_selected(&s, "*:5", false, "8:9");
	expect_selected(&s, "6,1,6,2:1", false, "1:4,9");
	expect_selected(&s, "7", false, NULL);
	expect_selected(&s, "1:7", false, NULL);
	expect_selected(&s, "4294967295", false, NULL);
	expect_selected(&s, "1", true, "1");
	expect_selected(&s, "2:3", true, "2:3");
	expect_selected(&s, "8:4294967295", true, "8:9");
	/* "n:*" holds the last message whatever n is (RFC 3501 section 6.4.8). */
	expect_selected(&s, "100:*", true, "9");
	expect_selected(&s, "*", true, "9");
	expect_selected(&s, "100:200", true, "");
	expect_selected(&s, "5,1:2,200", true, "1:2,5");
	store_snapshot_unref(v.snap);
}
END_TEST

START_TEST(selecting_in_an_empty_mailbox)
{
	struct session s = {0};
	struct view v = {.session = &s};

	s.view = &v;
	v.snap = load();
	expect_selected(&s, "1", false, NULL);
	expect_selected(&s, "*", false, NULL);
	expect_selected(&s, "1:*", false, NULL);
	expect_selected(&s, "1:*", true, "");
	expect_selected(&s, "*", true, "");
	expect_selected(&s, "1:4294967295", true, "");
	store_snapshot_unref(v.snap);
}
END_TEST

/* --- flags and \Recent --------------------------------------------------------------------------
 */
START_TEST(writing_flags)
{
	const struct span names[] = {SPAN_INIT("$Junk"), SPAN_INIT("work")};
	struct store_snapshot *snap;
	struct db_txn *txn = begin(env);
	struct strbuf b;

	append_text(txn, ACCOUNT, inbox, "a\r\n", FLAGS_ALL, names, 2);
	append_text(txn, ACCOUNT, inbox, "b\r\n", 0, names + 1, 1);
	append_text(txn, ACCOUNT, inbox, "c\r\n", 0, NULL, 0);
	commit(txn);
	snap = load();
	strbuf_init(&b, 4096);
	write_flags(&b, snap, &snap->messages[0], true);
	ck_assert_str_eq(
	    b.p, "(\\Answered \\Flagged \\Deleted \\Seen \\Draft $Junk work \\Recent)");
	strbuf_reset(&b);
	write_flags(&b, snap, &snap->messages[1], false);
	ck_assert_str_eq(b.p, "(work)");
	strbuf_reset(&b);
	write_flags(&b, snap, &snap->messages[2], false);
	ck_assert_str_eq(b.p, "()");
	strbuf_clear(&b);
	store_snapshot_unref(snap);
}
END_TEST

START_TEST(recent)
{
	struct mbox m = {.recent_next = 3};
	struct view first = {.mbox = &m}, second = {.mbox = &m};

	fill(5);
	first.snap = load();
	second.snap = store_snapshot_ref(first.snap);
	view_claim_recent(&first);
	view_claim_recent(&second);
	ck_assert_uint_eq(view_recent_count(&first), 3);
	ck_assert_uint_eq(view_recent_count(&second), 0);
	ck_assert(!message_is_recent(&first, &first.snap->messages[1]));
	ck_assert(message_is_recent(&first, &first.snap->messages[2]));
	fill(2);
	store_snapshot_unref(second.snap);
	second.snap = load();
	view_claim_recent(&second);
	ck_assert_uint_eq(view_recent_count(&second), 2);
	store_snapshot_unref(first.snap);
	first.snap = store_snapshot_ref(second.snap);
	first.is_read_only = true;
	view_claim_recent(&first);
	ck_assert_uint_eq(view_recent_count(&first), 3);
	ck_assert_uint_eq(m.recent_next, 8);
	uidset_clear(&first.recent);
	uidset_clear(&second.recent);
	store_snapshot_unref(first.snap);
	store_snapshot_unref(second.snap);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("imap_view");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, joining);
	tcase_add_test(tc, joining_with_nothing);
	tcase_add_test(tc, a_joined_message_is_as_it_was_last);
	tcase_add_test(tc, selecting);
	tcase_add_test(tc, selecting_in_an_empty_mailbox);
	tcase_add_test(tc, writing_flags);
	tcase_add_test(tc, recent);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
