/* What tests of accounts, mailboxes and messages share. */
#ifndef MS_TESTS_STORE_FIXTURE_H
#define MS_TESTS_STORE_FIXTURE_H

#include "common/store/store_int.h"
#include "tests/support/fixture.h"

static struct err err;

/* Opens with what change notices need. */
static inline struct db_env *store_fixture_open(void)
{
	struct db_options opt = {
	    .dir = fixture_path("env"), .map_size = (size_t)256 << 20, .note_size = STORE_HINT_LEN};
	struct db_env *env = NULL;

	ck_ok(db_env_open(&opt, &env, &err));
	return env;
}

static inline struct db_txn *begin(struct db_env *env)
{
	struct db_txn *txn;

	ck_ok(db_write_begin(env, &txn, &err));
	return txn;
}

static inline void commit(struct db_txn *txn)
{
	ck_ok(db_commit(txn, &err));
}

static inline uint64_t mailbox_id(struct db_txn *txn, uint64_t account, const char *name)
{
	struct store_mailbox mb;

	ck_ok(store_mailbox_find(txn, account, span_of(name), &mb, &err));
	return mb.id;
}

/* Appends text; gives the UID. */
static inline uint32_t append_text(struct db_txn *txn, uint64_t account, uint64_t mailbox,
    const char *text, uint32_t flags, const struct span *keywords, size_t keyword_count)
{
	struct blob_writer *w = blob_writer_new(NULL, 0);
	struct store_append m = {
	    .flags = flags, .keywords = keywords, .keyword_count = keyword_count};
	struct store_appended res;
	struct blob blob;

	ck_ok(blob_write(w, span_of(text), &err));
	ck_ok(blob_finish(w, &blob, &err));
	m.blob = &blob;
	m.internaldate = 1700000000;
	ck_ok(store_append(txn, account, mailbox, &m, &res, &err));
	blob_writer_free(w);
	return res.uid;
}

static inline struct uidset uids_of(uint32_t first, uint32_t last)
{
	struct uidset s;

	uidset_init(&s);
	uidset_add_range(&s, first, last);
	return s;
}

#endif
