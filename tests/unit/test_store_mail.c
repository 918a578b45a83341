/* Accounts, mailboxes and messages: one behaviour a test. */
#include "tests/support/store_fixture.h"

#include "common/crypto/crypto.h"
#include "common/event/clock.h"

#define A 1

static struct db_env *env;
static struct db_txn *txn;

/* Each test runs in one transaction on an account that is there. */
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

static struct store_mailbox find(const char *name)
{
	struct store_mailbox mb;

	ck_ok(store_mailbox_find(txn, A, span_of(name), &mb, &err));
	return mb;
}

static bool is_there(const char *name)
{
	struct store_mailbox mb;

	return store_mailbox_find(txn, A, span_of(name), &mb, NULL) == 0;
}

static uint64_t create(const char *name)
{
	struct store_mailbox mb;

	ck_ok(store_mailbox_create(txn, A, span_of(name), 0, &mb, &err));
	return mb.id;
}

static struct store_snapshot *load(uint64_t id)
{
	struct store_snapshot *s;

	ck_ok(store_snapshot_load(txn, A, id, &s, &err));
	return s;
}

static uint32_t put(uint64_t id, uint32_t flags)
{
	return append_text(txn, A, id, "Subject: x\r\n\r\nbody\r\n", flags, NULL, 0);
}

static size_t count_rows(uint64_t account, enum store_kind kind)
{
	struct db_cursor c;
	struct db_key k;
	size_t n = 0;

	store_key(&k, account, kind);
	ck_ok(db_cursor_open(txn, &c, db_key_span(&k), &err));
	for (int rc = db_first(&c, &err); rc == 1; rc = db_next(&c, &err))
		n++;
	db_cursor_close(&c);
	return n;
}

START_TEST(a_new_account)
{
	static const struct {
		const char *name;
		uint32_t use;
	} want[] = {{"Archive", SPECIAL_ARCHIVE}, {"Drafts", SPECIAL_DRAFTS}, {"INBOX", 0},
	    {"Junk", SPECIAL_JUNK}, {"Sent", SPECIAL_SENT}, {"Trash", SPECIAL_TRASH}};
	struct store_mailbox *list;
	size_t count;

	ck_ok(store_account_ensure(txn, A, &err)); /* again: nothing happens */
	ck_ok(store_mailbox_list(txn, A, &list, &count, &err));
	ck_assert_uint_eq(count, 6);
	for (size_t i = 0; i < count; i++) {
		ck_assert_str_eq(list[i].name, want[i].name);
		ck_assert_uint_eq(list[i].special_use, want[i].use);
		ck_assert(list[i].is_subscribed && !list[i].has_children && !list[i].is_noselect);
		for (size_t j = 0; j < i; j++)
			ck_assert_uint_ne(list[i].uidvalidity, list[j].uidvalidity);
	}
	mem_free(list);
	ck_fails(store_account_ensure(txn, 0, &err), ERR_INVALID);
	ck_fails(store_mailbox_find(txn, 2, SPAN("INBOX"), &(struct store_mailbox){0}, &err),
	    ERR_NOT_FOUND);
}
END_TEST

START_TEST(mailbox_names)
{
	static const char *const bad[] = {
	    "", "/", "a/", "/a", "a//b", "a\nb", "a\x7f", "\xff", "a\xc2\x85z"};
	char out[STORE_NAME_MAX + 1], longest[STORE_NAME_MAX + 2];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_fails(store_name_check(span_of(bad[i]), out, &err), ERR_INVALID);
	ck_fails(store_name_check(span_make("a\0b", 3), out, &err), ERR_INVALID);
	memset(longest, 'x', sizeof(longest));
	ck_ok(store_name_check(span_make(longest, STORE_NAME_MAX), out, &err));
	ck_fails(store_name_check(span_make(longest, STORE_NAME_MAX + 1), out, &err), ERR_INVALID);
	ck_ok(store_name_check(SPAN("iNbOx"), out, &err));
	ck_assert_str_eq(out, "INBOX");
	ck_ok(store_name_check(SPAN("inbox/inbox"), out, &err));
	ck_assert_str_eq(out, "INBOX/inbox");
	ck_ok(store_name_check(SPAN("inboxes"), out, &err));
	ck_assert_str_eq(out, "inboxes");
	/* u + combining diaeresis becomes one character: both spellings are one mailbox. */
	ck_ok(store_name_check(SPAN("Mu\xcc\x88ll"), out, &err));
	ck_assert_str_eq(out, "M\xc3\xbcll");
}
END_TEST

START_TEST(create_makes_parents)
{
	create("a/b/c");
	ck_assert(
	    find("a").has_children && find("a/b").has_children && !find("a/b/c").has_children);
	ck_fails(store_mailbox_create(txn, A, SPAN("a/b"), 0, NULL, &err), ERR_EXISTS);
	ck_fails(store_mailbox_create(txn, A, SPAN("inbox"), 0, NULL, &err), ERR_EXISTS);
	/* "a-z" stands between "a" and "a/b" in byte order. */
	create("d-x");
	create("d");
	ck_assert(!find("d").has_children);
	create("d/e");
	ck_assert(find("d").has_children);
}
END_TEST

START_TEST(delete_with_children)
{
	struct store_usage before, after;
	uint32_t validity = find("INBOX").uidvalidity;
	uint64_t a = create("a");

	create("a/b");
	ck_ok(store_account_usage(txn, A, &before, &err));
	put(a, 0);
	put(a, 0);
	ck_ok(store_mailbox_delete(txn, A, SPAN("a"), &err));
	ck_assert(find("a").is_noselect);
	ck_ok(store_account_usage(txn, A, &after, &err));
	ck_assert_uint_eq(after.messages, before.messages);
	ck_assert_uint_eq(after.bytes, before.bytes);
	ck_fails(store_mailbox_delete(txn, A, SPAN("a"), &err), ERR_INVALID);
	ck_fails(store_mailbox_delete(txn, A, SPAN("INBOX"), &err), ERR_INVALID);
	ck_fails(store_mailbox_delete(txn, A, SPAN("nope"), &err), ERR_NOT_FOUND);
	ck_fails(store_snapshot_load(txn, A, find("a").id, &(struct store_snapshot *){0}, &err),
	    ERR_INVALID);
	ck_fails(
	    store_snapshot_load(txn, A, a, &(struct store_snapshot *){0}, &err), ERR_NOT_FOUND);
	/* Made again it is a new mailbox. */
	a = create("a");
	ck_assert(!find("a").is_noselect && find("a").has_children);
	ck_assert_uint_gt(find("a").uidvalidity, validity);
	ck_assert_uint_eq(put(a, 0), 1);
	ck_ok(store_mailbox_delete(txn, A, SPAN("a/b"), &err));
	ck_ok(store_mailbox_delete(txn, A, SPAN("a"), &err));
	ck_assert(!is_there("a"));
}
END_TEST

START_TEST(rename_moves_the_tree)
{
	uint64_t a = create("a"), c = create("a/b/c");

	create("a-z");
	create("ab");
	put(c, 0);
	ck_ok(store_mailbox_subscribe(txn, A, SPAN("a/b"), true, &err));
	ck_fails(store_mailbox_rename(txn, A, SPAN("a"), SPAN("a/x"), &err), ERR_INVALID);
	ck_fails(store_mailbox_rename(txn, A, SPAN("a"), SPAN("ab"), &err), ERR_EXISTS);
	ck_fails(store_mailbox_rename(txn, A, SPAN("nope"), SPAN("x"), &err), ERR_NOT_FOUND);
	ck_ok(store_mailbox_rename(txn, A, SPAN("a"), SPAN("new/place"), &err));
	ck_assert(!is_there("a") && !is_there("a/b") && !is_there("a/b/c"));
	ck_assert(is_there("new") && is_there("a-z") && is_there("ab"));
	ck_assert_uint_eq(find("new/place").id, a);
	ck_assert_uint_eq(find("new/place/b/c").id, c);
	ck_assert_uint_eq(find("new/place/b/c").messages, 1);
	ck_assert(find("new/place/b").is_subscribed);
	create("t/sub");
	ck_ok(store_mailbox_delete(txn, A, SPAN("t"), &err));
	ck_fails(store_mailbox_rename(txn, A, SPAN("ab"), SPAN("t"), &err), ERR_EXISTS);
}
END_TEST

START_TEST(rename_too_long_below)
{
	char name[STORE_NAME_MAX + 1];
	struct span to;

	memset(name, 'y', sizeof(name));
	create("a/b");
	to = span_make(name, STORE_NAME_MAX);
	ck_fails(store_mailbox_rename(txn, A, SPAN("a"), to, &err), ERR_INVALID);
	to.n -= 2;
	ck_ok(store_mailbox_rename(txn, A, SPAN("a"), to, &err));
}
END_TEST

START_TEST(rename_inbox_gives_its_messages_away)
{
	uint64_t inbox = find("INBOX").id;

	create("INBOX/below");
	put(inbox, FLAG_SEEN);
	put(inbox, 0);
	ck_ok(store_mailbox_rename(txn, A, SPAN("inbox"), SPAN("old"), &err));
	ck_assert_uint_eq(find("INBOX").id, inbox);
	ck_assert_uint_eq(find("INBOX").messages, 0);
	ck_assert_uint_eq(find("old").messages, 2);
	ck_assert_uint_eq(find("old").unseen, 1);
	ck_assert(is_there("INBOX/below"));
	ck_assert_uint_eq(put(inbox, 0), 3);
}
END_TEST

static void collect(void *arg, struct span name)
{
	struct strbuf *b = arg;

	strbuf_add(b, name);
	strbuf_add_chr(b, ' ');
}

START_TEST(subscriptions)
{
	struct strbuf b;

	strbuf_init(&b, 1000);
	ck_ok(store_mailbox_subscribe(txn, A, SPAN("not/there"), true, &err));
	ck_ok(store_mailbox_subscribe(txn, A, SPAN("not/there"), true, &err));
	ck_ok(store_mailbox_subscribe(txn, A, SPAN("Junk"), false, &err));
	ck_ok(store_mailbox_subscribe(txn, A, SPAN("Junk"), false, &err));
	ck_ok(store_mailbox_delete(txn, A, SPAN("Sent"), &err));
	ck_ok(store_subscription_list(txn, A, collect, &b, &err));
	ck_assert_str_eq(b.p, "Archive Drafts INBOX Sent Trash not/there ");
	ck_assert(!find("Junk").is_subscribed);
	strbuf_clear(&b);
}
END_TEST

START_TEST(append_and_snapshot)
{
	struct span keywords[] = {SPAN("$Forwarded"), SPAN("mine")};
	uint64_t inbox = find("INBOX").id;
	struct store_snapshot *s, *again;
	struct span row;

	for (uint32_t i = 1; i <= 250; i++)
		ck_assert_uint_eq(
		    append_text(txn, A, inbox, "x", i % 2 ? FLAG_SEEN : 0, keywords, i % 3 ? 0 : 2),
		    i);
	s = load(inbox);
	ck_assert_uint_eq(s->count, 250);
	ck_assert_uint_eq(s->keyword_count, 2);
	ck_assert_str_eq(s->keywords[0], "$Forwarded");
	ck_assert_uint_eq(s->messages[2].keywords, 3);
	ck_assert_uint_eq(s->messages[3].keywords, 0);
	ck_assert_int_eq(s->messages[0].internaldate, 1700000000);
	ck_assert_int_ge(s->messages[0].savedate, clock_now() - 60);
	ck_assert_uint_eq(store_snapshot_search(s, 100), 99);
	ck_assert_uint_eq(store_snapshot_search(s, 251), 250);
	again = store_snapshot_ref(s);
	store_snapshot_unref(s);
	put(inbox, 0);
	ck_assert_uint_eq(again->count, 250); /* a picture: it does not change */
	ck_fails(store_object_cache(txn, A, again->messages[0].object, &row, &err), ERR_NOT_FOUND);
	ck_ok(store_object_cache_put(txn, A, again->messages[0].object, SPAN("row"), &err));
	ck_ok(store_object_cache(txn, A, again->messages[0].object, &row, &err));
	ck_assert(span_eq(row, SPAN("row")));
	store_snapshot_unref(again);
	store_snapshot_unref(NULL);
}
END_TEST

START_TEST(dates_and_sizes_survive)
{
	static const int64_t dates[] = {0, -1, -2208988800, 4102444800, 253402300799};
	struct store_message m[5] = {0}, out[5];
	unsigned char row[CHUNK_BYTES];
	size_t n = 0, len;

	for (uint32_t i = 0; i < 5; i++) {
		m[i] = (struct store_message){.uid = i + 1,
		    .flags = FLAGS_ALL,
		    .keywords = UINT64_MAX - i,
		    .modseq = (UINT64_C(1) << 48) - 1 - i,
		    .object = (UINT64_C(1) << 48) - 1 - i,
		    .size = (UINT64_C(1) << 40) - 1 - i,
		    .internaldate = dates[i],
		    .savedate = -dates[i]};
	}
	len = chunk_encode(m, 5, row);
	ck_ok(chunk_decode(span_make(row, len), out, 5, &n, &err));
	ck_assert_uint_eq(n, 5);
	ck_assert_mem_eq(m, out, sizeof(m));
	/* Any shorter row, and one too many, are refused. */
	for (size_t i = 0; i < len; i++) {
		n = 0;
		ck_fails(chunk_decode(span_make(row, i), out, 5, &n, &err), ERR_CORRUPT);
	}
	n = 1;
	ck_fails(chunk_decode(span_make(row, len), out, 5, &n, &err), ERR_CORRUPT);
}
END_TEST

START_TEST(quota)
{
	uint64_t inbox = find("INBOX").id;
	char body[101];
	struct blob blob = {.codec = 1, .size = 100, .stored = 100, .data = span_make(body, 100)};
	struct store_append m = {.blob = &blob, .limits = {.quota_bytes = 350}};
	struct store_limits few = {.quota_messages = 4};
	struct uidset all = uids_of(1, UINT32_MAX);
	struct store_copied res;
	struct store_usage u;

	memset(body, 'b', sizeof(body));
	uidset_init(&res.from);
	uidset_init(&res.to);
	for (int i = 0; i < 3; i++)
		ck_ok(store_append(txn, A, inbox, &m, NULL, &err));
	ck_fails(store_append(txn, A, inbox, &m, NULL, &err), ERR_QUOTA);
	m.limits = few;
	ck_ok(store_append(txn, A, inbox, &m, NULL, &err));
	ck_fails(store_append(txn, A, inbox, &m, NULL, &err), ERR_QUOTA);
	ck_fails(
	    store_copy(txn, A, inbox, &all, find("Sent").id, false, &few, &res, &err), ERR_QUOTA);
	ck_ok(store_copy(txn, A, inbox, &all, find("Sent").id, true, &few, &res, &err));
	ck_ok(store_account_usage(txn, A, &u, &err));
	ck_assert_uint_eq(u.bytes, 400);
	ck_assert_uint_eq(u.messages, 4);
	/* Expunged messages stop counting at once. */
	ck_ok(store_expunge(txn, A, find("Sent").id, &all, false, NULL, NULL, &err));
	ck_ok(store_account_usage(txn, A, &u, &err));
	ck_assert_uint_eq(u.bytes + u.messages, 0);
	ck_ok(store_append(txn, A, inbox, &m, NULL, &err));
	uidset_clear(&res.from);
	uidset_clear(&res.to);
	uidset_clear(&all);
}
END_TEST

START_TEST(keywords)
{
	uint64_t inbox = find("INBOX").id;
	struct uidset all = uids_of(1, UINT32_MAX);
	char name[STORE_KEYWORD_LEN_MAX + 2];
	struct span k;
	struct store_flags_change ch = {.mode = FLAGS_ADD, .keywords = &k, .keyword_count = 1};
	static const char *const bad[] = {
	    "", "a b", "a(", "\\Seen", "a*", "a]", "a\"", "\x80", "{"};
	struct store_snapshot *s;

	put(inbox, 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		k = span_of(bad[i]);
		ck_fails(
		    store_flags_change(txn, A, inbox, &all, &ch, NULL, NULL, &err), ERR_INVALID);
	}
	memset(name, 'n', sizeof(name));
	k = span_make(name, STORE_KEYWORD_LEN_MAX + 1);
	ck_fails(store_flags_change(txn, A, inbox, &all, &ch, NULL, NULL, &err), ERR_INVALID);
	for (unsigned i = 0; i < STORE_KEYWORDS_MAX; i++) {
		snprintf(name, sizeof(name), "Key%u", i);
		k = span_of(name);
		ck_ok(store_flags_change(txn, A, inbox, &all, &ch, NULL, NULL, &err));
		/* Any case is the same one. */
		name[0] = 'k';
		ck_ok(store_flags_change(txn, A, inbox, &all, &ch, NULL, NULL, &err));
	}
	k = SPAN("one-more");
	ck_fails(store_flags_change(txn, A, inbox, &all, &ch, NULL, NULL, &err), ERR_LIMIT);
	ch.mode = FLAGS_REMOVE; /* what is not there can be removed */
	ck_ok(store_flags_change(txn, A, inbox, &all, &ch, NULL, NULL, &err));
	s = load(inbox);
	ck_assert_uint_eq(s->keyword_count, STORE_KEYWORDS_MAX);
	ck_assert_str_eq(s->keywords[63], "Key63");
	ck_assert_uint_eq(s->messages[0].keywords, UINT64_MAX);
	store_snapshot_unref(s);
	uidset_clear(&all);
}
END_TEST

START_TEST(condstore)
{
	uint64_t inbox = find("INBOX").id, before, modseq;
	struct uidset all = uids_of(1, UINT32_MAX), two = uids_of(2, 2), failed;
	struct store_flags_change ch = {.mode = FLAGS_ADD, .flags = FLAG_SEEN};
	struct store_snapshot *s;

	uidset_init(&failed);
	for (int i = 0; i < 3; i++)
		put(inbox, 0);
	before = find("INBOX").highestmodseq;
	ck_ok(store_flags_change(txn, A, inbox, &two, &ch, NULL, &modseq, &err));
	ck_assert_uint_eq(modseq, before + 1);
	/* The same again changes nothing, not even the modseq. */
	ck_ok(store_flags_change(txn, A, inbox, &two, &ch, NULL, &modseq, &err));
	ck_assert_uint_eq(modseq, before + 1);
	ch.flags = FLAG_FLAGGED;
	ch.has_unchangedsince = true;
	ch.unchangedsince = before;
	ck_ok(store_flags_change(txn, A, inbox, &all, &ch, &failed, &modseq, &err));
	ck_assert_uint_eq(uidset_count(&failed), 1);
	ck_assert(uidset_has(&failed, 2));
	s = load(inbox);
	ck_assert_uint_eq(s->messages[0].flags, FLAG_FLAGGED);
	ck_assert_uint_eq(s->messages[1].flags, FLAG_SEEN);
	ck_assert_uint_eq(s->messages[1].modseq, before + 1);
	ck_assert_uint_eq(s->messages[2].modseq, before + 2);
	ck_assert_uint_eq(s->highestmodseq, before + 2);
	store_snapshot_unref(s);
	uidset_clear(&failed);
	uidset_clear(&all);
	uidset_clear(&two);
}
END_TEST

START_TEST(vanished)
{
	uint64_t inbox = find("INBOX").id, first, second;
	struct uidset some = uids_of(2, 4), more = uids_of(8, 8), got;
	struct strbuf b;
	bool is_complete;

	strbuf_init(&b, 100);
	uidset_init(&got);
	for (int i = 0; i < 10; i++)
		put(inbox, 0);
	first = find("INBOX").highestmodseq;
	ck_ok(store_expunge(txn, A, inbox, &some, false, NULL, &second, &err));
	ck_assert_uint_eq(second, first + 1);
	ck_ok(store_expunge(txn, A, inbox, &more, false, NULL, NULL, &err));
	ck_ok(store_vanished(txn, A, inbox, first, &got, &is_complete, &err));
	uidset_format(&b, &got);
	ck_assert_str_eq(b.p, "2:4,8");
	ck_assert(is_complete);
	strbuf_reset(&b);
	ck_ok(store_vanished(txn, A, inbox, second, &got, &is_complete, &err));
	uidset_format(&b, &got);
	ck_assert_str_eq(b.p, "8");
	ck_assert_uint_eq(count_rows(A, KIND_VANISHED), 2);
	/* More rows than are kept: what was there is forgotten, and that is said. */
	for (uint32_t i = 0; i < 2 * VANISHED_ROWS_MAX + 10; i++)
		put(inbox, i % 2 ? 0 : FLAG_DELETED);
	ck_ok(store_expunge(txn, A, inbox, NULL, false, NULL, &second, &err));
	ck_ok(store_vanished(txn, A, inbox, first, &got, &is_complete, &err));
	ck_assert(!is_complete);
	ck_assert_uint_eq(count_rows(A, KIND_VANISHED), 0);
	ck_ok(store_vanished(txn, A, inbox, second, &got, &is_complete, &err));
	ck_assert(is_complete);
	strbuf_clear(&b);
	uidset_clear(&some);
	uidset_clear(&more);
	uidset_clear(&got);
}
END_TEST

START_TEST(thin_chunks_merge)
{
	uint64_t inbox = find("INBOX").id;
	struct uidset uids;
	struct store_snapshot *s;
	size_t full;

	uidset_init(&uids);
	for (int i = 0; i < 5000; i++)
		put(inbox, 0);
	full = count_rows(A, KIND_MESSAGE);
	ck_assert_uint_le(full, 5000 / CHUNK_MAX + 1);
	/* Nine of ten go: the rest does not stay in fifty rows. */
	for (uint32_t uid = 1; uid <= 5000; uid++)
		if (uid % 10)
			uidset_add(&uids, uid);
	ck_ok(store_expunge(txn, A, inbox, &uids, false, NULL, NULL, &err));
	ck_assert_uint_le(count_rows(A, KIND_MESSAGE), full / 5);
	s = load(inbox);
	ck_assert_uint_eq(s->count, 500);
	for (size_t i = 0; i < s->count; i++)
		ck_assert_uint_eq(s->messages[i].uid, 10 * (i + 1));
	store_snapshot_unref(s);
	/* One at a time, from the back. */
	for (uint32_t uid = 5000; uid > 0; uid -= 10) {
		struct uidset one = uids_of(uid, uid);

		ck_ok(store_expunge(txn, A, inbox, &one, false, NULL, NULL, &err));
		uidset_clear(&one);
	}
	ck_assert_uint_eq(count_rows(A, KIND_MESSAGE), 0);
	ck_assert_uint_eq(put(inbox, 0), 5001);
	uidset_clear(&uids);
}
END_TEST

START_TEST(copy_and_move_onto_itself)
{
	uint64_t inbox = find("INBOX").id;
	struct uidset two = uids_of(1, 2);
	struct store_copied res;
	struct store_snapshot *s;

	uidset_init(&res.from);
	uidset_init(&res.to);
	put(inbox, FLAG_SEEN);
	put(inbox, 0);
	ck_ok(store_copy(txn, A, inbox, &two, inbox, false, NULL, &res, &err));
	ck_ok(store_copy(txn, A, inbox, &two, inbox, true, NULL, &res, &err));
	ck_assert_uint_eq(res.uidvalidity, find("INBOX").uidvalidity);
	s = load(inbox);
	ck_assert_uint_eq(s->count, 4);
	for (uint32_t i = 0; i < 4; i++)
		ck_assert_uint_eq(s->messages[i].uid, i + 3);
	store_snapshot_unref(s);
	ck_assert_uint_eq(find("INBOX").messages, 4);
	ck_assert_uint_eq(find("INBOX").unseen, 2);
	ck_fails(store_copy(txn, A, inbox, &two, 999, false, NULL, &res, &err), ERR_NOT_FOUND);
	uidset_clear(&res.from);
	uidset_clear(&res.to);
	uidset_clear(&two);
}
END_TEST

START_TEST(delivered_once)
{
	bool repeat;

	ck_ok(store_delivered_check(txn, SPAN("q1 alice"), &repeat, &err));
	ck_assert(!repeat);
	ck_ok(store_delivered_add(txn, SPAN("q1 alice"), &err));
	ck_ok(store_delivered_check(txn, SPAN("q1 alice"), &repeat, &err));
	ck_assert(repeat);
	ck_ok(store_delivered_check(txn, SPAN("q1 bob"), &repeat, &err));
	ck_assert(!repeat);
}
END_TEST

START_TEST(recent_is_claimed_once)
{
	uint64_t inbox = find("INBOX").id;
	uint32_t first;

	put(inbox, 0);
	put(inbox, 0);
	ck_ok(store_recent_claim(txn, A, inbox, &first, &err));
	ck_assert_uint_eq(first, 1);
	ck_ok(store_recent_claim(txn, A, inbox, &first, &err));
	ck_assert_uint_eq(first, 3);
	put(inbox, 0);
	ck_ok(store_recent_claim(txn, A, inbox, &first, &err));
	ck_assert_uint_eq(first, 3);
}
END_TEST

START_TEST(changes_are_encoded)
{
	const struct store_change c = {1, UINT64_MAX, 3};
	struct store_change out;
	unsigned char raw[STORE_HINT_LEN];

	store_change_encode(raw, &c);
	ck_assert(store_change_decode(span_make(raw, sizeof(raw)), &out));
	ck_assert_mem_eq(&c, &out, sizeof(c));
	ck_assert(!store_change_decode(span_make(raw, sizeof(raw) - 1), &out));
}
END_TEST

/* --- gc -----------------------------------------------------------------------------------------
 */
static struct blob_dir *blobs;

static void append_file(uint64_t account, struct blob *blob)
{
	struct store_append m = {.blob = blob};
	struct store_mailbox mb;

	ck_ok(store_account_ensure(txn, account, &err));
	ck_ok(store_mailbox_find(txn, account, SPAN("INBOX"), &mb, &err));
	ck_ok(store_append(txn, account, mb.id, &m, NULL, &err));
}

static void expunge_all(uint64_t account)
{
	struct uidset all = uids_of(1, UINT32_MAX);
	struct store_mailbox mb;

	ck_ok(store_mailbox_find(txn, account, SPAN("INBOX"), &mb, &err));
	ck_ok(store_expunge(txn, account, mb.id, &all, false, NULL, NULL, &err));
	uidset_clear(&all);
}

static struct store_gc gc_round(int64_t now, size_t budget)
{
	struct store_gc gc = {
	    .now = now, .expunged_seconds = 1000, .file_seconds = 100, .budget = budget};
	int slices = 0;

	do
		ck_ok(store_gc(txn, &gc, &err));
	while (!gc.is_done && ++slices < 10000);
	ck_assert(gc.is_done);
	return gc;
}

static void make_file(struct blob *blob)
{
	struct blob_writer *w = blob_writer_new(blobs, 10);
	char noise[3000];

	random_bytes(noise, sizeof(noise));
	ck_ok(blob_write(w, span_make(noise, sizeof(noise)), &err));
	ck_ok(blob_finish(w, blob, &err));
	ck_assert(blob->is_file);
	blob_keep(w);
	blob_writer_free(w);
}

START_TEST(gc_of_rows)
{
	int64_t now = clock_now();
	uint64_t inbox = find("INBOX").id;
	struct uidset all = uids_of(1, UINT32_MAX);
	struct store_copied res;
	bool repeat;

	uidset_init(&res.from);
	uidset_init(&res.to);
	for (int i = 0; i < 300; i++)
		put(inbox, 0);
	ck_ok(store_copy(txn, A, inbox, &all, find("Sent").id, false, NULL, &res, &err));
	for (int i = 0; i < 50; i++)
		put(inbox, 0);
	ck_ok(store_delivered_add(txn, SPAN("old"), &err));
	expunge_all(A);
	gc_round(now + 500, 20); /* too early */
	ck_assert_uint_gt(count_rows(A, KIND_EXPUNGED), 0);
	ck_assert_uint_eq(count_rows(A, KIND_OBJECT), 700);
	/* The 300 that were copied stay. */
	gc_round(now + 2000, 20);
	ck_assert_uint_eq(count_rows(A, KIND_EXPUNGED), 0);
	ck_assert_uint_eq(count_rows(A, KIND_OBJECT), 600);
	ck_ok(store_delivered_check(txn, SPAN("old"), &repeat, &err));
	ck_assert(repeat);
	gc_round(now + (STORE_DELIVERED_DAYS + 1) * 86400, 20);
	ck_ok(store_delivered_check(txn, SPAN("old"), &repeat, &err));
	ck_assert(!repeat);
	uidset_clear(&all);
	uidset_clear(&res.from);
	uidset_clear(&res.to);
}
END_TEST

START_TEST(gc_of_files)
{
	int64_t now = clock_now();
	struct store_gc gc;
	struct blob blob, other;

	ck_ok(blob_dir_open(fixture_path("blob"), &blobs, &err));
	make_file(&blob);
	append_file(1, &blob);
	append_file(2, &blob); /* two accounts share it */
	expunge_all(1);
	gc = gc_round(now + 2000, 1000);
	ck_assert_uint_eq(count_rows(0, KIND_GC), 0);
	expunge_all(2);
	gc_round(now + 2000, 1000);
	ck_assert_uint_eq(count_rows(0, KIND_GC), 1);
	/* Wanted again before it went: it stays. */
	append_file(3, &blob);
	ck_assert_uint_eq(count_rows(0, KIND_GC), 0);
	expunge_all(3);
	gc_round(now + 2000, 1000);
	gc = gc_round(now + 2050, 1000);
	ck_assert_uint_eq(gc.file_count, 0); /* not yet */
	gc = gc_round(now + 2101, 1000);
	ck_assert_uint_eq(gc.file_count, 1);
	ck_assert_mem_eq(gc.files[0], blob.id, BLOB_ID_LEN);
	/* Marked: nobody may refer to it any more; if its remover dies it is found again. */
	ck_fails(file_ref(txn, blob.id, &err), ERR_TEMP);
	gc = gc_round(now + 2101, 1000);
	ck_assert_uint_eq(gc.file_count, 1);
	ck_ok(blob_unlink(blobs, gc.files[0], &err));
	ck_ok(store_gc_forget(txn, (const unsigned char(*)[BLOB_ID_LEN])gc.files, 1, &err));
	ck_ok(store_gc_forget(txn, (const unsigned char(*)[BLOB_ID_LEN])gc.files, 1, &err));
	ck_assert_uint_eq(count_rows(0, KIND_GC) + count_rows(0, KIND_FILE), 0);
	make_file(&other);
	append_file(1, &other);
	ck_assert_uint_eq(count_rows(0, KIND_FILE), 1);
	blob_dir_close(blobs);
}
END_TEST

/* --- size ---------------------------------------------------------------------------------------
 */
START_TEST(a_hundred_thousand_messages)
{
	enum { COUNT = 100000 };
	uint64_t inbox = find("INBOX").id, start, loaded, changed;
	struct store_flags_change ch = {.mode = FLAGS_ADD, .flags = FLAG_SEEN};
	struct uidset all = uids_of(1, UINT32_MAX);
	struct store_snapshot *s;

	for (int i = 0; i < COUNT; i++) {
		put(inbox, 0);
		if (i % 1000 == 999) {
			commit(txn);
			txn = begin(env);
		}
	}
	start = clock_mono_us();
	s = load(inbox);
	loaded = clock_mono_us();
	ck_ok(store_flags_change(txn, A, inbox, &all, &ch, NULL, NULL, &err));
	changed = clock_mono_us();
	printf("100,000 messages: load %llu us, flags %llu us\n",
	    (unsigned long long)(loaded - start), (unsigned long long)(changed - loaded));
	ck_assert_uint_eq(s->count, COUNT);
	store_snapshot_unref(s);
	s = load(inbox);
	for (size_t i = 0; i < COUNT; i++)
		ck_assert(s->messages[i].flags == FLAG_SEEN && s->messages[i].uid == i + 1);
	store_snapshot_unref(s);
	ck_assert_uint_eq(find("INBOX").unseen, 0);
	ck_assert_uint_eq(count_rows(A, KIND_MESSAGE), COUNT / CHUNK_MAX + 1);
	uidset_clear(&all);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-mail");
	TCase *tc = tcase_create("store-mail");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, a_new_account);
	tcase_add_test(tc, mailbox_names);
	tcase_add_test(tc, create_makes_parents);
	tcase_add_test(tc, delete_with_children);
	tcase_add_test(tc, rename_moves_the_tree);
	tcase_add_test(tc, rename_too_long_below);
	tcase_add_test(tc, rename_inbox_gives_its_messages_away);
	tcase_add_test(tc, subscriptions);
	tcase_add_test(tc, append_and_snapshot);
	tcase_add_test(tc, dates_and_sizes_survive);
	tcase_add_test(tc, quota);
	tcase_add_test(tc, keywords);
	tcase_add_test(tc, condstore);
	tcase_add_test(tc, vanished);
	tcase_add_test(tc, thin_chunks_merge);
	tcase_add_test(tc, copy_and_move_onto_itself);
	tcase_add_test(tc, delivered_once);
	tcase_add_test(tc, recent_is_claimed_once);
	tcase_add_test(tc, changes_are_encoded);
	tcase_add_test(tc, gc_of_rows);
	tcase_add_test(tc, gc_of_files);
	tcase_add_test(tc, a_hundred_thousand_messages);
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
