/*
 * Messages into the store, one transaction for a batch of them. What is there already is not put
 * there again: same mailbox, same bytes, same date. So an import that was cut off is run again.
 */
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/mail/envelope.h"
#include "common/maint/maint.h"
#include "common/maint/stream.h"
#include "common/store/cache.h"

#include <stdio.h>
#include <string.h>

#define BATCH 64

/* A message that was read, its body compressed (and durable, if it is a file). */
struct taken {
	struct letter letter;
	struct blob_writer *writer;
	struct blob blob;
	struct strbuf cache, header;
};

struct taking {
	struct maint *m;
	struct files files;
	size_t inline_max;
	uint64_t account;
	struct taken *batch;
	size_t count;
	uint64_t taken, skipped;
	/* what the mailbox looked at last holds: key -> this */
	struct hash *known;
	char known_of[STORE_NAME_MAX + 1];
};

#define KNOWN_KEY (32 + 8)

static struct span known_key(const struct blob *blob, int64_t date, unsigned char buf[KNOWN_KEY])
{
	memcpy(buf, blob->sum, 32);
	be_put64(buf + 32, (uint64_t)date);
	return span_make(buf, KNOWN_KEY);
}

static int load_known(struct taking *t, struct db_txn *txn, uint64_t mailbox, struct err *err)
{
	struct store_snapshot *s;

	if (store_snapshot_load(txn, t->account, mailbox, &s, err) < 0)
		return -1;
	for (size_t i = 0; i < s->count; i++) {
		unsigned char buf[KNOWN_KEY];
		struct blob blob;

		if (store_object_blob(txn, t->account, s->messages[i].object, &blob, NULL) == 0)
			hash_set(t->known, known_key(&blob, s->messages[i].internaldate, buf), t);
	}
	store_snapshot_unref(s);
	return 0;
}

/* The mailbox, made if it is not there, and what it holds. */
static int open_mailbox(struct taking *t, struct db_txn *txn, const char *name,
    struct store_mailbox *mb, struct err *err)
{
	struct err why = ERR_INIT;

	if (store_mailbox_find(txn, t->account, span_of(name), mb, &why) < 0) {
		if (why.code != ERR_NOT_FOUND)
			return err_set(err, why.code, "%s", why.text);
		if (store_mailbox_create(txn, t->account, span_of(name), 0, mb, err) < 0 ||
		    store_mailbox_subscribe(txn, t->account, span_of(name), true, err) < 0)
			return -1;
	}
	if (strcmp(t->known_of, name) == 0)
		return 0;
	hash_free(t->known);
	t->known = hash_new();
	snprintf(t->known_of, sizeof(t->known_of), "%s", name);
	return load_known(t, txn, mb->id, err);
}

static size_t split_keywords(const struct letter *l, struct span *out, size_t cap)
{
	struct span rest = span_of(l->keywords), word;
	size_t n = 0;

	while (n < cap && rest.n > 0 && span_split(&rest, ' ', &word))
		if (word.n > 0)
			out[n++] = word;
	return n;
}

static int append_one(struct taking *t, struct db_txn *txn, struct taken *one, struct err *err)
{
	struct span keywords[STORE_KEYWORDS_MAX];
	unsigned char buf[KNOWN_KEY];
	struct store_mailbox mb;
	struct store_append m = {.flags = one->letter.flags & FLAGS_STORED,
	    .keywords = keywords,
	    .keyword_count = split_keywords(&one->letter, keywords, STORE_KEYWORDS_MAX),
	    .internaldate = one->letter.date,
	    .blob = &one->blob,
	    .cache = one->cache.failed ? SPAN("") : strbuf_span(&one->cache),
	    .message_id = mail_msgid_of(strbuf_span(&one->header))};
	struct span key = known_key(&one->blob, one->letter.date, buf);

	if (open_mailbox(t, txn, one->letter.mailbox, &mb, err) < 0)
		return -1;
	if (hash_get(t->known, key)) {
		t->skipped++;
		return 0;
	}
	if (store_append(txn, t->account, mb.id, &m, NULL, err) < 0)
		return -1;
	hash_set(t->known, key, t);
	blob_keep(one->writer);
	t->taken++;
	return 0;
}

static void forget_batch(struct taking *t)
{
	for (size_t i = 0; i < t->count; i++) {
		blob_writer_free(t->batch[i].writer);
		strbuf_clear(&t->batch[i].cache);
		strbuf_clear(&t->batch[i].header);
	}
	t->count = 0;
}

/* A failed batch leaves nothing: its files go with it. */
static int write_batch(struct taking *t, struct err *err)
{
	struct db_txn *txn;
	int rc = db_write_begin(t->files.env, &txn, err);

	if (rc == 0) {
		rc = store_account_ensure(txn, t->account, err);
		for (size_t i = 0; rc == 0 && i < t->count; i++)
			rc = append_one(t, txn, &t->batch[i], err);
		if (rc == 0)
			rc = db_commit(txn, err);
		else
			db_abort(txn);
	}
	/* What is known of the mailbox may be of the transaction that was undone. */
	if (rc < 0)
		t->known_of[0] = '\0';
	forget_batch(t);
	maint_progress("%llu messages", (unsigned long long)t->taken);
	return rc;
}

static int read_body(struct taken *one, int fd, bool *is_whole, struct err *err)
{
	struct mime_parser *parser = mime_parser_new();
	char *buf = mem_alloc(STREAM_PIECE_MAX);
	struct mime_tree *tree;
	size_t n = 0;
	int rc;

	while ((rc = stream_get_bytes(fd, buf, &n, is_whole, err)) == 1) {
		struct span bytes = span_make(buf, n);

		if (blob_write(one->writer, bytes, err) < 0) {
			rc = -1;
			break;
		}
		mime_parser_feed(parser, bytes);
		strbuf_add(&one->header, span_sub(bytes, 0, MAIL_HEADER_MAX - one->header.n));
	}
	tree = mime_parser_finish(parser);
	if (rc == 0) {
		bool complete;

		strbuf_truncate(
		    &one->header, mail_header_size(strbuf_span(&one->header), &complete));
		cache_encode(&one->cache, tree, strbuf_span(&one->header));
	}
	mime_tree_free(tree);
	mime_parser_free(parser);
	mem_free(buf);
	return rc < 0 ? -1 : blob_finish(one->writer, &one->blob, err);
}

static int take_all(struct taking *t, int fd, struct err *err)
{
	int rc;

	for (;;) {
		struct taken *one = &t->batch[t->count];
		bool is_whole = false;

		rc = stream_get_head(fd, &one->letter, err);
		if (rc != 1)
			break;
		one->writer = blob_writer_new(t->files.blobs, t->inline_max);
		strbuf_init(&one->cache, (size_t)2 << 20);
		strbuf_init(&one->header, MAIL_HEADER_MAX);
		t->count++;
		if (read_body(one, fd, &is_whole, err) < 0)
			return -1;
		if (!is_whole) {
			blob_writer_free(one->writer);
			strbuf_clear(&one->cache);
			strbuf_clear(&one->header);
			t->count--;
		}
		if (t->count == BATCH && write_batch(t, err) < 0)
			return -1;
	}
	return rc < 0 || t->count == 0 ? rc : write_batch(t, err);
}

int store_take(struct maint *m, uint64_t account, int fd, uint64_t *taken, uint64_t *skipped)
{
	struct taking t = {.m = m,
	    .account = account,
	    .inline_max = config_u64(m->cfg, SET_STORE_INLINE_MAX),
	    .batch = mem_array(BATCH, sizeof(*t.batch)),
	    .known = hash_new()};
	struct err err = ERR_INIT;
	int rc = files_open(m, "store", &t.files, &err);

	if (rc == 0)
		rc = take_all(&t, fd, &err);
	forget_batch(&t);
	mem_free(t.batch);
	hash_free(t.known);
	files_close(&t.files);
	*taken = t.taken;
	*skipped = t.skipped;
	return rc < 0 ? maint_fail(m, &err) : 0;
}
