/* What the check finds, and what its repair leaves: each kind of row is broken in turn. */
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/store/check.h"
#include "common/store/mailbox_int.h"
#include "tests/support/store_fixture.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <unistd.h>

#define A 7

static struct db_env *env;
static struct db_txn *txn;
static struct blob_dir *blobs;
static char said[8192];

/* Twenty-five thousand letters that do not compress below the limit, in a file of their own. */
static uint32_t append_file(uint64_t mailbox)
{
	struct blob_writer *w = blob_writer_new(blobs, 16);
	struct store_appended res;
	struct store_append m = {.internaldate = 5};
	struct blob blob;
	char text[25000];
	uint32_t x = 1;

	for (size_t i = 0; i < sizeof(text); i++) {
		x = x * 1103515245 + 12345;
		text[i] = (char)('a' + (x >> 16) % 26);
	}
	ck_ok(blob_write(w, span_make(text, sizeof(text)), &err));
	ck_ok(blob_finish(w, &blob, &err));
	ck_assert(blob.is_file);
	m.blob = &blob;
	ck_ok(store_append(txn, A, mailbox, &m, &res, &err));
	blob_keep(w);
	blob_writer_free(w);
	return res.uid;
}

static void setup(void)
{
	uint64_t inbox;
	struct uidset some;

	fixture_setup();
	env = store_fixture_open();
	ck_ok(blob_dir_open(fixture_path("blob"), &blobs, &err));
	txn = begin(env);
	ck_ok(store_account_ensure(txn, A, &err));
	inbox = mailbox_id(txn, A, "INBOX");
	for (int i = 0; i < 250; i++)
		append_text(txn, A, inbox, "From: a\r\n\r\nb\r\n", i % 3 ? FLAG_SEEN : 0, NULL, 0);
	append_file(inbox);
	append_text(txn, A, mailbox_id(txn, A, "Sent"), "x\r\n", FLAG_DELETED, NULL, 0);
	some = uids_of(10, 12);
	ck_ok(store_expunge(txn, A, inbox, &some, false, NULL, NULL, &err));
	some.r[0].first = some.r[0].last = 251;
	{
		struct store_copied copied;

		uidset_init(&copied.from);
		uidset_init(&copied.to);
		ck_ok(store_copy(txn, A, inbox, &some, mailbox_id(txn, A, "Archive"), false, NULL,
		    &copied, &err));
		uidset_clear(&copied.from);
		uidset_clear(&copied.to);
	}
	uidset_clear(&some);
	commit(txn);
	txn = NULL;
}

static void teardown(void)
{
	db_env_close(env);
	blob_dir_close(blobs);
	fixture_teardown();
}

static void on_damage(void *arg, const struct store_damage *d)
{
	size_t n = strlen(said);

	snprintf(said + n, sizeof(said) - n, "%llu/%s/%u: %s\n", (unsigned long long)d->account,
	    d->mailbox ? d->mailbox : "", d->uid, d->what);
}

static struct store_check check(bool repair)
{
	struct store_check c = {.repair = repair, .bodies = true, .report = on_damage};

	said[0] = '\0';
	ck_assert_msg(store_check_run(env, blobs, &c, &err) == 0, "%s", err.text);
	return c;
}

/* Found, repaired if it can be, and then nothing is left to find. */
static void expect(const char *what, bool is_mended)
{
	struct store_check c = check(false);

	ck_assert_msg(c.damaged > 0 && c.repaired == 0, "not found: %s", what);
	ck_assert_msg(strstr(said, what) != NULL, "%s in:\n%s", what, said);
	c = check(true);
	if (is_mended) {
		ck_assert_msg(c.repaired == c.damaged, "%s", said);
		c = check(false);
		ck_assert_msg(c.damaged == 0, "left after repair:\n%s", said);
	} else {
		ck_assert_uint_lt(c.repaired, c.damaged);
	}
}

START_TEST(a_whole_store_is_all_well)
{
	struct store_check c = check(false);

	ck_assert_msg(c.damaged == 0, "%s", said);
	ck_assert_uint_eq(c.accounts, 1);
	ck_assert_uint_eq(c.mailboxes, 6);
	ck_assert_uint_eq(c.messages, 250 - 3 + 1 + 1 + 1);
	ck_assert_uint_eq(c.objects, 252);
	ck_assert_uint_eq(c.files, 1);
	ck_assert_uint_eq(c.bodies_read, 252);
	c = check(true);
	ck_assert_uint_eq(c.damaged, 0);
}
END_TEST

static void change_mailbox(void (*change)(struct mailbox_row *row))
{
	struct mailbox_row row;

	txn = begin(env);
	ck_ok(mailbox_row_get(txn, A, mailbox_id(txn, A, "INBOX"), &row, &err));
	change(&row);
	ck_ok(mailbox_row_put(txn, A, &row, &err));
	commit(txn);
}

static void wrong_counts(struct mailbox_row *row)
{
	row->mb.messages++;
	row->mb.unseen = 0;
	row->mb.bytes = 1;
	row->mb.uidnext = 5;
}

START_TEST(counts_of_a_mailbox)
{
	struct store_mailbox before, after;

	txn = begin(env);
	ck_ok(store_mailbox_find(txn, A, SPAN("INBOX"), &before, &err));
	db_abort(txn);
	change_mailbox(wrong_counts);
	expect("7/INBOX/0: the number of messages is 249, should be 248", true);
	txn = begin(env);
	ck_ok(store_mailbox_find(txn, A, SPAN("INBOX"), &after, &err));
	db_abort(txn);
	ck_assert_uint_eq(after.messages, before.messages);
	ck_assert_uint_eq(after.unseen, before.unseen);
	ck_assert_uint_eq(after.bytes, before.bytes);
	ck_assert_uint_eq(after.uidnext, before.uidnext);
	ck_assert_uint_eq(after.uidvalidity, before.uidvalidity);
}
END_TEST

START_TEST(usage_of_an_account)
{
	struct account_row a;

	txn = begin(env);
	ck_ok(account_get(txn, A, &a, &err));
	a.messages = 3;
	a.next_object = 1;
	ck_ok(account_put(txn, A, &a, &err));
	commit(txn);
	expect("the account counts 3 messages", true);
}
END_TEST

START_TEST(what_is_kept_for_undelete)
{
	struct account_row a;
	struct db_key k;

	txn = begin(env);
	ck_ok(account_get(txn, A, &a, &err));
	ck_assert_uint_eq(a.kept_messages, 3);
	ck_assert_uint_eq(a.kept_bytes, 3 * 14);
	a.kept_bytes = 0;
	ck_ok(account_put(txn, A, &a, &err));
	commit(txn);
	expect("for undelete 3 of 0 bytes, has 3 of 42", true);
	txn = begin(env);
	ck_ok(store_mailbox_delete(txn, A, SPAN("Junk"), &err));
	store_key(&k, A, KIND_DELETED);
	db_key_u64(&k, 1);
	db_key_u64(&k, 1);
	ck_ok(db_put(txn, db_key_span(&k), SPAN("\001damaged"), &err));
	commit(txn);
	expect("the row of a deleted mailbox does not decode", true);
}
END_TEST

START_TEST(references_of_an_object)
{
	struct object_row row;

	txn = begin(env);
	ck_ok(object_get(txn, A, 20, &row, &err));
	row.refs = 9;
	ck_ok(object_put(txn, A, 20, &row, &err));
	commit(txn);
	expect("object 20 says 9 references, has 1", true);
}
END_TEST

static void del_object_part(uint64_t object, enum store_object_part part)
{
	struct db_key k;

	store_key(&k, A, KIND_OBJECT);
	db_key_u64(&k, object);
	db_key_u8(&k, (uint8_t)part);
	txn = begin(env);
	ck_ok(db_del(txn, db_key_span(&k), &err));
	commit(txn);
}

START_TEST(an_object_that_is_gone_takes_its_message)
{
	struct store_snapshot *s;

	del_object_part(20, OBJECT_ROW);
	del_object_part(20, OBJECT_BODY);
	expect("its object 20 is gone", true);
	txn = begin(env);
	ck_ok(store_snapshot_load(txn, A, mailbox_id(txn, A, "INBOX"), &s, &err));
	db_abort(txn);
	ck_assert_uint_eq(s->count, 247);
	/* The others keep their UIDs. */
	ck_assert_uint_eq(s->messages[0].uid, 1);
	ck_assert_uint_eq(s->messages[246].uid, 251);
	store_snapshot_unref(s);
}
END_TEST

START_TEST(a_name_that_is_gone_or_stands_for_nothing)
{
	txn = begin(env);
	ck_ok(name_del(txn, A, SPAN("Sent"), &err));
	ck_ok(name_put(txn, A, SPAN("Ghost"), 99, &err));
	commit(txn);
	expect("7/Sent/0: it has no name row", true);
	txn = begin(env);
	ck_assert_uint_ne(mailbox_id(txn, A, "Sent"), 0);
	db_abort(txn);
}
END_TEST

START_TEST(messages_without_a_mailbox_get_one)
{
	struct store_mailbox mb;
	struct db_key k;
	uint64_t id;

	txn = begin(env);
	id = mailbox_id(txn, A, "Sent");
	store_key(&k, A, KIND_MAILBOX);
	db_key_u64(&k, id);
	ck_ok(db_del(txn, db_key_span(&k), &err));
	commit(txn);
	expect("which has no row", true);
	txn = begin(env);
	{
		char name[64];

		snprintf(name, sizeof(name), "Recovered %llu", (unsigned long long)id);
		ck_ok(store_mailbox_find(txn, A, span_of(name), &mb, &err));
	}
	db_abort(txn);
	ck_assert_uint_eq(mb.messages, 1);
	ck_assert_uint_eq(mb.deleted, 1);
	ck_assert_uint_eq(mb.uidnext, 2);
}
END_TEST

START_TEST(a_chunk_head_and_a_size)
{
	struct chunk_walk w;

	txn = begin(env);
	chunk_walk_init(&w, txn, A, mailbox_id(txn, A, "INBOX"), NULL);
	ck_assert_int_eq(chunk_walk_next(&w, &err), 1);
	w.c.m[4].size = 1;
	ck_ok(chunk_put(txn, &w.c, &err));
	commit(txn);
	expect("7/INBOX/5: size 1, its body has 14", true);
}
END_TEST

START_TEST(an_unreadable_chunk_is_named_and_left)
{
	struct chunk_walk w;
	struct db_key k;
	uint64_t object;
	struct object_row row;

	txn = begin(env);
	chunk_walk_init(&w, txn, A, mailbox_id(txn, A, "INBOX"), NULL);
	ck_assert_int_eq(chunk_walk_next(&w, &err), 1);
	object = w.c.m[0].object;
	chunk_key(&k, A, w.c.mailbox, w.c.first);
	ck_ok(db_put(txn, db_key_span(&k), SPAN("\1garbage"), &err));
	commit(txn);
	expect("7/INBOX/1: ", false);
	/* Its messages' bodies are all that is left of them. */
	txn = begin(env);
	ck_ok(object_get(txn, A, object, &row, &err));
	ck_assert_uint_eq(row.refs, 1);
	db_abort(txn);
}
END_TEST

START_TEST(an_unreadable_object_leaves_its_file)
{
	struct db_key k;
	struct object_row row;
	struct file_row f;
	bool is_there;

	txn = begin(env);
	ck_ok(object_get(txn, A, 251, &row, &err));
	store_key(&k, A, KIND_OBJECT);
	db_key_u64(&k, 251);
	db_key_u8(&k, OBJECT_ROW);
	ck_ok(db_put(txn, db_key_span(&k), SPAN("\1garbage"), &err));
	commit(txn);
	expect("7/INBOX/251: ", false);
	txn = begin(env);
	ck_ok(file_get(txn, row.blob.id, &f, &is_there, &err));
	ck_assert(is_there);
	ck_assert_uint_eq(f.refs, 1);
	db_abort(txn);
}
END_TEST

/* The path of the one file below blob/. */
static const char *file_path(void)
{
	static char path[512];
	glob_t found;

	snprintf(path, sizeof(path), "%s/*/*", fixture_path("blob"));
	ck_assert_int_eq(glob(path, 0, NULL, &found), 0);
	ck_assert_uint_eq(found.gl_pathc, 1);
	snprintf(path, sizeof(path), "%s", found.gl_pathv[0]);
	globfree(&found);
	return path;
}

START_TEST(a_body_with_a_flipped_bit)
{
	const char *path = file_path();
	int fd = open(path, O_RDWR);
	char c;

	ck_assert_int_eq(pread(fd, &c, 1, 4000), 1);
	c ^= 4;
	ck_assert_int_eq(pwrite(fd, &c, 1, 4000), 1);
	close(fd);
	/* It cannot be mended; both messages that share it are named. */
	expect("7/INBOX/251: ", false);
	ck_assert_ptr_nonnull(strstr(said, "7/Archive/1: "));
}
END_TEST

START_TEST(a_file_that_is_gone)
{
	ck_assert_int_eq(unlink(file_path()), 0);
	expect("7/INBOX/251: ", false);
}
END_TEST

START_TEST(references_of_a_file)
{
	struct object_row row;
	struct file_row f;
	bool is_there;

	txn = begin(env);
	ck_ok(object_get(txn, A, 251, &row, &err));
	ck_assert(row.blob.is_file);
	ck_ok(file_get(txn, row.blob.id, &f, &is_there, &err));
	f.refs = 5;
	ck_ok(file_put(txn, row.blob.id, &f, &err));
	commit(txn);
	expect("a body's file says 5 references, has 1", true);
}
END_TEST

/* A slice, all by itself, as a process that was started again for each would do it. */
static struct store_removal remove_slice(void)
{
	struct store_removal r = {0};

	db_env_close(env);
	env = store_fixture_open();
	txn = begin(env);
	ck_ok(store_account_remove(txn, A, &r, &err));
	commit(txn);
	return r;
}

/* Every slice leaves a store that is all well, the account gone, and the others as they were. */
START_TEST(an_account_is_removed_slice_by_slice)
{
	struct store_removal r = {0};
	struct store_check c;
	struct object_row row;
	struct file_row f;
	size_t slices = 0, rows = 0;
	bool is_there;

	txn = begin(env);
	ck_ok(object_get(txn, A, 251, &row, &err));
	ck_ok(store_account_ensure(txn, A + 1, &err));
	ck_ok(store_account_ensure(txn, A - 1, &err));
	append_text(txn, A + 1, mailbox_id(txn, A + 1, "INBOX"), "x\r\n", 0, NULL, 0);
	ck_ok(store_mailbox_delete(txn, A, SPAN("Archive"), &err));
	commit(txn);
	for (; !r.is_done; slices++) {
		struct store_gc gc = {.now = clock_now() + 86400, .budget = 1000};

		r = remove_slice();
		rows += r.rows;
		ck_assert_uint_le(r.rows, STORE_REMOVE_ROWS);
		c = check(true);
		ck_assert_msg(c.damaged == 0, "%s", said);
		ck_assert_uint_eq(c.accounts, 2);
		txn = begin(env);
		ck_assert_int_lt(store_account_ensure(txn, A, &err), 0);
		ck_assert_int_eq(err.code, ERR_NOT_FOUND);
		err = (struct err){0};
		/* What was expunged in it is not the gc's any more. */
		ck_ok(store_gc(txn, &gc, &err));
		db_abort(txn);
	}
	ck_assert_uint_gt(slices, 2);
	ck_assert_uint_gt(rows, 500);
	ck_assert_uint_eq(remove_slice().rows, 0);
	txn = begin(env);
	ck_ok(file_get(txn, row.blob.id, &f, &is_there, &err));
	ck_assert(is_there && f.refs == 0 && f.gc_time > 0);
	ck_assert_uint_gt(mailbox_id(txn, A - 1, "INBOX"), 0);
	db_abort(txn);
	c = check(false);
	ck_assert_uint_eq(c.messages, 1);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {a_whole_store_is_all_well, counts_of_a_mailbox,
	    usage_of_an_account, what_is_kept_for_undelete, references_of_an_object,
	    an_object_that_is_gone_takes_its_message, a_name_that_is_gone_or_stands_for_nothing,
	    messages_without_a_mailbox_get_one, a_chunk_head_and_a_size,
	    an_unreadable_chunk_is_named_and_left, an_unreadable_object_leaves_its_file,
	    a_body_with_a_flipped_bit, a_file_that_is_gone, references_of_a_file,
	    an_account_is_removed_slice_by_slice};
	Suite *suite = suite_create("store check");
	TCase *c = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(c, setup, teardown);
	for (size_t i = 0; i < ARRAY_LEN(tests); i++)
		tcase_add_test(c, tests[i]);
	suite_add_tcase(suite, c);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
