/* Objects and files: whether each is referred to as often as it says, and is whole. */
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/store/check_int.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- what was expunged and is kept refers to objects too
 * ------------------------------------------- */
int check_expunged(struct checking *k, struct err *err)
{
	struct store_message m[CHUNK_MAX];
	struct db_cursor c;
	struct db_key key;
	int rc;

	store_key(&key, k->account, KIND_EXPUNGED);
	if (db_cursor_open(k->txn, &c, db_key_span(&key), err) < 0)
		return -1;
	for (rc = db_first(&c, err); rc == 1; rc = db_next(&c, err)) {
		struct err why = ERR_INIT;
		size_t n = 0;

		if (chunk_decode(c.val, m, CHUNK_MAX, &n, &why) < 0) {
			check_damage(k, NULL, 0, false, "expunged messages: %s", why.text);
			k->hides_objects = true;
			continue;
		}
		for (size_t i = 0; i < n; i++) {
			check_ref(k, m[i].object, NULL, m[i].uid);
			k->sum.kept_bytes += m[i].size;
		}
		k->sum.kept_messages += n;
	}
	db_cursor_close(&c);
	return rc;
}

/* The first row of a deleted mailbox at or behind *key that does not decode: 1, 0, -1. */
static int find_bad_deleted(struct checking *k, struct db_key *key, struct err *err)
{
	struct mailbox_row row;
	struct db_key prefix;
	struct db_cursor c;
	int rc;

	store_key(&prefix, k->account, KIND_DELETED);
	if (db_cursor_open(k->txn, &c, db_key_span(&prefix), err) < 0)
		return -1;
	for (rc = db_seek(&c, db_key_span(key), err); rc == 1; rc = db_next(&c, err)) {
		uint64_t id = c.key.n == 25 ? be_get64(c.key.p + 17) : 0;

		if (id == 0 || !mailbox_row_decode(c.val, id, &row)) {
			db_key_init(key);
			db_key_raw(key, c.key);
			break;
		}
		if (id >= k->sum.next_mailbox)
			k->sum.next_mailbox = id + 1;
	}
	db_cursor_close(&c);
	return rc;
}

/* A row that is damaged would keep everything from being restored: it goes, and what was in that
 * mailbox is kept as long as it would have been. */
int check_deleted(struct checking *k, struct err *err)
{
	struct db_key key;
	int rc;

	store_key(&key, k->account, KIND_DELETED);
	while ((rc = find_bad_deleted(k, &key, err)) == 1) {
		check_damage(k, NULL, 0, true, "the row of a deleted mailbox does not decode");
		if (k->c->repair && db_del(k->txn, db_key_span(&key), err) < 0)
			return -1;
		db_key_u8(&key, 0);
	}
	return rc;
}

/* --- objects
 * ----------------------------------------------------------------------------------------- */
static int by_object(const void *a, const void *b)
{
	const struct ref *x = a, *y = b;

	return x->object < y->object ? -1 : x->object > y->object;
}

/* The references of an object: their number, and the first. refs is sorted. */
static uint32_t count_refs(const struct checking *k, uint64_t object, const struct ref **first)
{
	const struct ref key = {.object = object};
	const struct ref *r =
	    k->ref_count ? bsearch(&key, k->refs, k->ref_count, sizeof(key), by_object) : NULL;
	const struct ref *end = k->refs + k->ref_count;
	uint32_t n = 0;

	*first = NULL;
	if (!r)
		return 0;
	while (r > k->refs && r[-1].object == object)
		r--;
	*first = r;
	for (; r < end && r->object == object; r++)
		n++;
	return n;
}

static void add_file(struct checking *k, const unsigned char id[BLOB_ID_LEN])
{
	if (k->file_count == k->file_cap) {
		k->file_cap = k->file_cap ? k->file_cap * 2 : 256;
		k->files = mem_grow(k->files, k->file_cap, sizeof(*k->files));
	}
	memcpy(k->files[k->file_count++].id, id, BLOB_ID_LEN);
}

static void check_file_of(struct checking *k, const struct ref *r, const struct blob *blob)
{
	struct blob_reader *reader;
	struct err why = ERR_INIT;

	if (blob_open(k->blobs, blob, &reader, &why) == 0)
		blob_reader_free(reader);
	else
		check_damage(k, r ? r->mailbox : NULL, r ? r->uid : 0, false, "%s", why.text);
}

static int fix_object(
    struct checking *k, uint64_t object, struct object_row *row, uint32_t n, struct err *err)
{
	if (!k->c->repair)
		return 0;
	/* Nobody's; its file is counted below. */
	if (n == 0)
		return object_forget(k->txn, k->account, object, err);
	row->refs = n;
	return object_put(k->txn, k->account, object, row, err);
}

static int check_object(struct checking *k, uint64_t object, struct err *err)
{
	const struct ref *first;
	uint32_t n = count_refs(k, object, &first);
	struct err why = ERR_INIT;
	struct object_row row;
	struct blob blob;
	bool is_hidden;

	k->c->objects++;
	if (object_get(k->txn, k->account, object, &row, &why) < 0 ||
	    store_object_blob(k->txn, k->account, object, &blob, &why) < 0) {
		/* What no message has any more need not stay. */
		bool is_nobodys = n == 0 && !k->hides_objects;

		check_damage(k, first ? first->mailbox : NULL, first ? first->uid : 0, is_nobodys,
		    "%s", why.text);
		if (is_nobodys && k->c->repair)
			return object_forget(k->txn, k->account, object, err);
		k->hides_files = true;
		return 0;
	}
	if (object >= k->sum.next_object)
		k->sum.next_object = object + 1;
	is_hidden = k->hides_objects && row.refs > n;
	if (row.blob.is_file && (n > 0 || is_hidden)) {
		add_file(k, row.blob.id);
		check_file_of(k, first, &row.blob);
	}
	if (row.refs == n || is_hidden)
		return 0;
	/* One that goes gives its file back, so it counts until then. */
	if (row.blob.is_file && n == 0 && !k->c->repair)
		add_file(k, row.blob.id);
	check_damage(k, first ? first->mailbox : NULL, first ? first->uid : 0, true,
	    "object %llu says %u references, has %u", (unsigned long long)object, row.refs, n);
	return fix_object(k, object, &row, n, err);
}

/* The number of the first object at or behind *next: 1, 0, -1. */
static int next_object(struct checking *k, uint64_t *next, struct err *err)
{
	struct db_cursor c;
	struct db_key prefix, key;
	int rc;

	store_key(&prefix, k->account, KIND_OBJECT);
	store_key(&key, k->account, KIND_OBJECT);
	db_key_u64(&key, *next);
	if (db_cursor_open(k->txn, &c, db_key_span(&prefix), err) < 0)
		return -1;
	rc = db_seek(&c, db_key_span(&key), err);
	if (rc == 1 && c.key.n != 18)
		rc = store_corrupt(err, k->account, "the key of an object");
	if (rc == 1)
		*next = be_get64(c.key.p + 9);
	db_cursor_close(&c);
	return rc;
}

int check_objects(struct checking *k, struct err *err)
{
	uint64_t next = 0;
	int rc;

	if (k->ref_count > 0)
		qsort(k->refs, k->ref_count, sizeof(*k->refs), by_object);
	while ((rc = next_object(k, &next, err)) == 1) {
		if (check_object(k, next, err) < 0)
			return -1;
		if (next++ == UINT64_MAX)
			return 0;
	}
	return rc;
}

int check_removed(struct checking *k, struct err *err)
{
	struct object_row row;
	uint64_t next = 0;
	int rc;

	while ((rc = next_object(k, &next, err)) == 1) {
		if (object_get(k->txn, k->account, next, &row, NULL) == 0 && row.blob.is_file)
			add_file(k, row.blob.id);
		if (next++ == UINT64_MAX)
			return 0;
	}
	return rc;
}

/* --- files
 * ---------------------------------------------------------------------------------------------- */
static int by_file(const void *a, const void *b)
{
	return memcmp(a, b, BLOB_ID_LEN);
}

static uint32_t count_file(const struct checking *k, const unsigned char *id)
{
	const struct file_ref *f =
	    k->file_count ? bsearch(id, k->files, k->file_count, sizeof(*f), by_file) : NULL;
	const struct file_ref *end = k->files + k->file_count;
	uint32_t n = 0;

	if (!f)
		return 0;
	while (f > k->files && by_file(f - 1, id) == 0)
		f--;
	for (; f < end && by_file(f, id) == 0; f++)
		n++;
	return n;
}

static int check_file_row(struct checking *k, const unsigned char *id, struct err *err)
{
	static const unsigned char gc_row[1] = {ROW_VERSION};
	struct file_row f;
	struct db_key key;
	bool is_there;
	uint32_t n = count_file(k, id);

	if (file_get(k->txn, id, &f, &is_there, err) < 0)
		return -1;
	k->c->files += n > 0;
	if ((is_there ? f.refs : 0) == n || (k->hides_files && is_there && f.refs > n))
		return 0;
	check_damage(k, NULL, 0, true, "a body's file says %u references, has %u", f.refs, n);
	if (!k->c->repair)
		return 0;
	if (is_there && f.refs == 0) {
		gc_key(&key, f.gc_time, id);
		if (db_del(k->txn, db_key_span(&key), err) < 0)
			return -1;
	}
	f = (struct file_row){.refs = n};
	if (n == 0) {
		f.gc_time = (uint64_t)clock_now();
		gc_key(&key, f.gc_time, id);
		if (db_put(k->txn, db_key_span(&key), span_make(gc_row, sizeof(gc_row)), err) < 0)
			return -1;
	}
	return file_put(k->txn, id, &f, err);
}

/* The rows there are, then the files that have none. */
int check_files(struct checking *k, struct err *err)
{
	struct db_key prefix, key;
	int rc = 1;

	if (k->file_count > 0)
		qsort(k->files, k->file_count, sizeof(*k->files), by_file);
	store_key(&prefix, 0, KIND_FILE);
	key = prefix;
	while (rc == 1) {
		unsigned char id[BLOB_ID_LEN];
		struct db_cursor c;

		if (db_cursor_open(k->txn, &c, db_key_span(&prefix), err) < 0)
			return -1;
		rc = db_seek(&c, db_key_span(&key), err);
		if (rc == 1 && c.key.n != 9 + BLOB_ID_LEN)
			rc = store_corrupt(err, 0, "the key of a file");
		if (rc == 1)
			memcpy(id, c.key.p + 9, BLOB_ID_LEN);
		db_cursor_close(&c);
		if (rc == 1 && check_file_row(k, id, err) < 0)
			return -1;
		if (rc == 1) {
			file_key(&key, id);
			db_key_u8(&key, 0);
		}
	}
	for (size_t i = 0; rc == 0 && i < k->file_count; i++) {
		struct file_row f;
		bool is_there;

		if (i > 0 && by_file(&k->files[i], &k->files[i - 1]) == 0)
			continue;
		if (file_get(k->txn, k->files[i].id, &f, &is_there, err) < 0 ||
		    (!is_there && check_file_row(k, k->files[i].id, err) < 0))
			return -1;
	}
	return rc;
}

int store_file_ids(
    struct db_txn *txn, unsigned char (**ids)[BLOB_ID_LEN], size_t *count, struct err *err)
{
	struct db_cursor c;
	struct db_key prefix;
	size_t cap = 0;
	int rc;

	*ids = NULL;
	*count = 0;
	store_key(&prefix, 0, KIND_FILE);
	if (db_cursor_open(txn, &c, db_key_span(&prefix), err) < 0)
		return -1;
	for (rc = db_first(&c, err); rc == 1; rc = db_next(&c, err)) {
		/* Without references it is on its way out. */
		if (c.key.n != 9 + BLOB_ID_LEN || c.val.n < 5 || be_get32(c.val.p + 1) == 0)
			continue;
		if (*count == cap) {
			cap = cap ? cap * 2 : 256;
			*ids = mem_grow(*ids, cap, sizeof(**ids));
		}
		memcpy((*ids)[(*count)++], c.key.p + 9, BLOB_ID_LEN);
	}
	db_cursor_close(&c);
	return rc;
}

/* --- bodies: every byte of each, an object a transaction
 * -------------------------------------------------- */
struct body_walk {
	struct db_key key; /* where to go on */
	uint64_t account, object;
};

/* The next object of any account: 1, 0, -1. */
static int next_body(struct body_walk *w, struct db_txn *txn, struct err *err)
{
	struct db_cursor c;
	int rc;

	if (db_cursor_open(txn, &c, SPAN(""), err) < 0)
		return -1;
	for (;;) {
		uint64_t account;

		rc = db_seek(&c, db_key_span(&w->key), err);
		if (rc != 1 || c.key.n < 9)
			break;
		account = be_get64(c.key.p);
		if (c.key.n == 18 && (uint8_t)c.key.p[8] == KIND_OBJECT) {
			w->account = account;
			w->object = be_get64(c.key.p + 9);
			store_key(&w->key, account, KIND_OBJECT);
			db_key_u64(&w->key, w->object + 1);
			break;
		}
		/* To the account's objects, or to the next account. */
		if ((uint8_t)c.key.p[8] < KIND_OBJECT)
			store_key(&w->key, account, KIND_OBJECT);
		else
			store_key(&w->key, account + 1, KIND_ACCOUNT);
	}
	db_cursor_close(&c);
	return rc;
}

static int read_whole(struct blob_reader *r, struct err *err)
{
	char buf[16384];
	size_t n;

	do
		if (blob_read(r, buf, sizeof(buf), &n, err) < 0)
			return -1;
	while (n > 0);
	return 0;
}

/* The messages that refer to an object, for the report. */
static void name_messages(struct checking *k, uint64_t object, const struct err *why)
{
	struct mailbox_row row;
	struct err err = ERR_INIT;
	struct db_cursor c;
	struct db_key key;
	bool is_named = false;

	store_key(&key, k->account, KIND_MESSAGE);
	if (db_cursor_open(k->txn, &c, db_key_span(&key), &err) < 0)
		return;
	for (int rc = db_first(&c, &err); rc == 1; rc = db_next(&c, &err)) {
		struct store_message m[CHUNK_MAX];
		size_t n = 0;

		if (c.key.n != 21 || chunk_decode(c.val, m, CHUNK_MAX, &n, &err) < 0)
			continue;
		for (size_t i = 0; i < n; i++) {
			if (m[i].object != object || mailbox_row_get(k->txn, k->account,
							 be_get64(c.key.p + 9), &row, &err) < 0)
				continue;
			check_damage(k, row.mb.name, m[i].uid, false, "%s", why->text);
			is_named = true;
		}
	}
	db_cursor_close(&c);
	if (!is_named)
		check_damage(k, NULL, 0, false, "expunged object %llu: %s",
		    (unsigned long long)object, why->text);
}

static int check_body(struct checking *k, const struct body_walk *w, struct err *err)
{
	struct blob_reader *r = NULL;
	struct err why = ERR_INIT;
	struct blob blob;

	k->account = w->account;
	/* What cannot be opened was reported already. */
	if (store_object_blob(k->txn, w->account, w->object, &blob, &why) < 0 ||
	    blob_open(k->blobs, &blob, &r, &why) < 0)
		return 0;
	if (read_whole(r, &why) < 0)
		name_messages(k, w->object, &why);
	blob_reader_free(r);
	k->c->bodies_read++;
	return 0;
}

int check_bodies(struct db_env *env, struct blob_dir *blobs, struct store_check *c, struct err *err)
{
	struct checking k = {.c = c, .blobs = blobs};
	struct body_walk w = {.account = 0};
	int rc;

	store_key(&w.key, 1, KIND_ACCOUNT);
	do {
		if (db_read_begin(env, &k.txn, err) < 0)
			return -1;
		rc = next_body(&w, k.txn, err);
		if (rc == 1)
			rc = check_body(&k, &w, err) < 0 ? -1 : 1;
		db_abort(k.txn);
		if (rc == 1 && c->progress && c->bodies_read % 1000 == 0)
			c->progress(c->arg, c->bodies_read, c->objects);
	} while (rc == 1);
	return rc;
}
