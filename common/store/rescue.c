#include "common/store/rescue.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/store/mailbox_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBERS_MAX (UINT64_C(1) << 48) /* a number beyond is a damaged one */

/* --- single rows ------------------------------------------------------------------------------ */
static bool is_chunk(struct span val, uint32_t first)
{
	struct store_message m[CHUNK_MAX];
	struct err err = ERR_INIT;
	size_t n = 0;

	if (chunk_decode(val, m, CHUNK_MAX, &n, &err) < 0 || n == 0 || m[0].uid < first)
		return false;
	for (size_t i = 1; i < n; i++)
		if (m[i].uid <= m[i - 1].uid)
			return false;
	return true;
}

static bool is_object(struct span val)
{
	struct dec d = dec_of(val);
	struct blob blob;

	(void)dec_u8(&d);
	(void)dec_u32(&d);
	(void)dec_u64(&d);
	return blob_decode(&d, &blob) && dec_done(&d);
}

static bool is_mailbox(struct span val, uint64_t id)
{
	struct mailbox_row row;

	return id > 0 && mailbox_row_decode(val, id, &row) && row.mb.name[0] != '\0';
}

/* The rest of a key has a length of its own, but for names and what names a delivery. */
static size_t rest_of(uint8_t kind)
{
	switch (kind) {
	case KIND_ACCOUNT:
	case KIND_REMOVED:
		return 0;
	case KIND_MAILBOX:
	case KIND_THREAD:
		return 8;
	case KIND_OBJECT:
		return 9;
	case KIND_MESSAGE:
		return 12;
	case KIND_DELETED:
	case KIND_FILE:
		return 16;
	case KIND_VANISHED:
	case KIND_EXPUNGED:
		return 20;
	case KIND_GC:
		return 24;
	}
	return SIZE_MAX;
}

static bool is_sound(struct span key, struct span val)
{
	struct span rest = span_from(key, 9);
	uint8_t kind = key.n >= 9 ? (uint8_t)key.p[8] : 0;

	if (kind == KIND_FORMAT && be_get64(key.p) == 0)
		return rest.n == 0 && val.n == 5;
	if (kind == 0 || (rest_of(kind) != SIZE_MAX && rest.n != rest_of(kind)))
		return false;
	if (kind == KIND_OBJECT && rest.p[8] != OBJECT_ROW)
		return true; /* has its sum, or is made again */
	if (kind != KIND_SUBSCRIPTION && (val.n == 0 || val.p[0] != ROW_VERSION))
		return false;
	switch (kind) {
	case KIND_MAILBOX:
		return is_mailbox(val, be_get64(rest.p));
	case KIND_NAME:
		return rest.n > 0 && rest.n <= STORE_NAME_MAX && val.n == 9;
	case KIND_SUBSCRIPTION:
		return rest.n > 0 && rest.n <= STORE_NAME_MAX;
	case KIND_MESSAGE:
		return is_chunk(val, be_get32(rest.p + 8));
	case KIND_EXPUNGED:
		return is_chunk(val, 0);
	case KIND_DELETED:
		return is_mailbox(val, be_get64(rest.p + 8));
	case KIND_OBJECT:
		return is_object(val);
	case KIND_THREAD:
		return val.n == 9;
	case KIND_FILE:
		return val.n == 14;
	case KIND_ACCOUNT:
		return val.n == 61;
	case KIND_REMOVED:
		return val.n == 9;
	case KIND_VANISHED:
	case KIND_DELIVERED:
	case KIND_GC:
		return true;
	}
	return false;
}

bool store_row_is_taken(struct span key, struct span val, enum db_trust trust)
{
	if (!is_sound(key, val))
		return false;
	/* Bodies have sums; of other rows that are large nobody knows whose they were. */
	return trust != DB_GUESS || val.n <= DB_INLINE_MAX || (uint8_t)key.p[8] == KIND_OBJECT;
}

void store_key_text(struct span key, char *out, size_t cap)
{
	struct span rest = span_from(key, 9);
	uint8_t kind = key.n >= 9 ? (uint8_t)key.p[8] : 0;

	if (kind == KIND_MESSAGE && rest.n == 12)
		snprintf(out, cap, "messages of mailbox %llu from UID %u on",
		    (unsigned long long)be_get64(rest.p), be_get32(rest.p + 8));
	else if (kind == KIND_OBJECT && rest.n >= 8)
		snprintf(out, cap, "bodies from %llu on", (unsigned long long)be_get64(rest.p));
	else
		snprintf(out, cap, "%s",
		    kind == 0               ? "the beginning"
		    : kind < KIND_MESSAGE   ? "mailboxes and names"
		    : kind < KIND_OBJECT    ? "what vanished or was expunged"
		    : kind < KIND_DELIVERED ? "bodies and threads"
					    : "deliveries and files");
}

/* --- an account ------------------------------------------------------------------------------- */
struct rescuing {
	struct store_rescue *r;
	struct db_txn *txn;
	struct blob_dir *blobs;
	uint64_t account;
	uint64_t *refs; /* objects that messages refer to */
	size_t ref_count, ref_cap;
	uint64_t next_mailbox;
	/* STORE_RESCUED, once it is needed */
	struct mailbox_row box;
	struct chunk_appender appender;
};

static void report(struct rescuing *k, const char *mailbox, uint32_t uid, const char *what)
{
	if (k->r->report)
		k->r->report(
		    k->r->arg, &(struct store_damage){k->account, mailbox, uid, what, true});
}

static void add_ref(struct rescuing *k, uint64_t object)
{
	if (k->ref_count == k->ref_cap) {
		k->ref_cap = k->ref_cap ? k->ref_cap * 2 : 1024;
		k->refs = mem_grow(k->refs, k->ref_cap, sizeof(*k->refs));
	}
	k->refs[k->ref_count++] = object;
}

/* The first row of a kind at or behind *key, which is set to it; 1, 0, -1. val is valid until the
 * next write. */
static int next_row(
    struct rescuing *k, enum store_kind kind, struct db_key *key, struct span *val, struct err *err)
{
	struct db_key prefix;
	struct db_cursor c;
	int rc;

	store_key(&prefix, k->account, kind);
	if (db_cursor_open(k->txn, &c, db_key_span(&prefix), err) < 0)
		return -1;
	rc = db_seek(&c, db_key_span(key), err);
	if (rc == 1) {
		db_key_init(key);
		db_key_raw(key, c.key);
		*val = c.val;
	}
	db_cursor_close(&c);
	return rc;
}

static void saw_mailbox(struct rescuing *k, uint64_t id)
{
	if (id >= k->next_mailbox && id < UINT64_MAX)
		k->next_mailbox = id + 1;
}

/* One that is known to be this message's: of its size. */
static bool is_its_body(struct rescuing *k, const struct store_message *m)
{
	struct err why = ERR_INIT;
	struct blob blob;

	/* One that is gone is the check's to name. */
	return store_object_blob(k->txn, k->account, m->object, &blob, &why) < 0 ||
	       blob.size == m->size;
}

static int look_at_chunk(struct rescuing *k, struct chunk *c, struct span val, struct err *err)
{
	struct mailbox_row row = {.mb = {.name = ""}};
	struct err why = ERR_INIT;
	size_t kept = 0;

	if (chunk_decode(val, c->m, CHUNK_MAX, &c->n, &why) < 0)
		return 0; /* the check names it */
	(void)mailbox_row_get(k->txn, k->account, c->mailbox, &row, &why);
	for (size_t i = 0; i < c->n; i++) {
		if (is_its_body(k, &c->m[i])) {
			add_ref(k, c->m[i].object);
			c->m[kept++] = c->m[i];
			continue;
		}
		report(k, row.mb.name, c->m[i].uid, "which body was its own is not known any more");
		k->r->dropped++;
	}
	if (kept == c->n)
		return 0;
	c->n = kept;
	return kept > 0 ? chunk_put(k->txn, c, err) : chunk_del(k->txn, c, err);
}

static int look_at_chunks(struct rescuing *k, struct err *err)
{
	struct db_key key;
	struct span val;
	int rc;

	store_key(&key, k->account, KIND_MESSAGE);
	while ((rc = next_row(k, KIND_MESSAGE, &key, &val, err)) == 1) {
		struct chunk c = {.account = k->account};

		if (key.n == 21) {
			c.mailbox = be_get64(key.b + 9);
			c.first = be_get32(key.b + 17);
			saw_mailbox(k, c.mailbox);
			if (look_at_chunk(k, &c, val, err) < 0)
				return -1;
		}
		db_key_u8(&key, 0);
	}
	return rc;
}

/* Expunged messages refer to bodies too; those without can never be restored. */
static int look_at_expunged(
    struct rescuing *k, const struct db_key *key, struct span val, struct err *err)
{
	struct store_message m[CHUNK_MAX];
	unsigned char row[CHUNK_BYTES];
	struct err why = ERR_INIT;
	size_t n = 0, kept = 0;

	if (chunk_decode(val, m, CHUNK_MAX, &n, &why) < 0)
		return 0;
	for (size_t i = 0; i < n; i++) {
		struct blob blob;

		if (store_object_blob(k->txn, k->account, m[i].object, &blob, &why) < 0 ||
		    blob.size != m[i].size) {
			report(k, NULL, m[i].uid, "it was expunged, and its body is gone");
			continue;
		}
		add_ref(k, m[i].object);
		m[kept++] = m[i];
	}
	if (kept == n)
		return 0;
	if (kept == 0)
		return db_del(k->txn, db_key_span(key), err);
	n = chunk_encode(m, kept, row);
	return db_put(k->txn, db_key_span(key), span_make(row, n), err);
}

/* Mailboxes of any kind have numbers. */
static int look_at_others(struct rescuing *k, struct err *err)
{
	static const enum store_kind kinds[] = {KIND_MAILBOX, KIND_DELETED, KIND_EXPUNGED};
	static const size_t at[] = {9, 17, 17};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct db_key key;
		struct span val;
		int rc;

		store_key(&key, k->account, kinds[i]);
		while ((rc = next_row(k, kinds[i], &key, &val, err)) == 1) {
			if (key.n >= at[i] + 8)
				saw_mailbox(k, be_get64(key.b + at[i]));
			if (kinds[i] == KIND_EXPUNGED && look_at_expunged(k, &key, val, err) < 0)
				return -1;
			db_key_u8(&key, 0);
		}
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* --- bodies without a message ----------------------------------------------------------------- */
static bool body_is_whole(struct rescuing *k, uint64_t object, struct blob *blob)
{
	struct blob_reader *r = NULL;
	struct err why = ERR_INIT;
	char buf[16384];
	size_t n = 1;
	int rc;

	if (store_object_blob(k->txn, k->account, object, blob, &why) < 0 ||
	    blob_open(k->blobs, blob, &r, &why) < 0)
		return false;
	do
		rc = blob_read(r, buf, sizeof(buf), &n, &why);
	while (rc == 0 && n > 0);
	blob_reader_free(r);
	return rc == 0;
}

static int open_box(struct rescuing *k, struct err *err)
{
	const struct span name = SPAN(STORE_RESCUED);
	struct err why = ERR_INIT;
	uint64_t id = 0;

	if (k->box.mb.id)
		return 0;
	if (name_find(k->txn, k->account, name, &id, &why) < 0 ||
	    mailbox_row_get(k->txn, k->account, id, &k->box, &why) < 0) {
		k->box = (struct mailbox_row){.mb = {.id = k->next_mailbox++,
						  .uidvalidity = (uint32_t)clock_now(),
						  .uidnext = 1,
						  .recent_uid = 1}};
		snprintf(k->box.mb.name, sizeof(k->box.mb.name), "%s", STORE_RESCUED);
		if (name_put(k->txn, k->account, name, k->box.mb.id, err) < 0)
			return -1;
	}
	return chunk_appender_open(&k->appender, k->txn, k->account, k->box.mb.id, err);
}

static int rescue(struct rescuing *k, uint64_t object, const struct blob *blob, struct err *err)
{
	struct store_message m = {.object = object,
	    .size = blob->size,
	    .modseq = 1,
	    .internaldate = clock_now(),
	    .savedate = clock_now()};

	if (open_box(k, err) < 0)
		return -1;
	if (k->box.mb.uidnext == UINT32_MAX)
		return err_set(err, ERR_LIMIT, "%s has no UID left", STORE_RESCUED);
	m.uid = k->box.mb.uidnext++;
	report(k, STORE_RESCUED, m.uid, "its entry is lost: it was in another mailbox");
	k->r->rescued++;
	return chunk_appender_add(&k->appender, &m, err);
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int look_at_objects(struct rescuing *k, struct err *err)
{
	struct db_key key;
	struct span val;
	uint64_t last = 0, seen = 0;
	int rc;

	if (k->ref_count > 0)
		qsort(k->refs, k->ref_count, sizeof(*k->refs), by_number);
	store_key(&key, k->account, KIND_OBJECT);
	while ((rc = next_row(k, KIND_OBJECT, &key, &val, err)) == 1) {
		uint64_t object = key.n == 18 ? be_get64(key.b + 9) : 0;
		struct blob blob;

		db_key_u8(&key, 0);
		if (object == 0 || object == last)
			continue;
		last = object;
		if (k->r->progress && ++seen % 1000 == 0)
			k->r->progress(k->r->arg, seen, 0);
		if (k->ref_count > 0 &&
		    bsearch(&object, k->refs, k->ref_count, sizeof(object), by_number))
			continue;
		if (body_is_whole(k, object, &blob) && rescue(k, object, &blob, err) < 0)
			return -1;
	}
	if (rc == 0 && k->box.mb.id &&
	    (chunk_appender_flush(&k->appender, err) < 0 ||
		mailbox_row_put(k->txn, k->account, &k->box, err) < 0))
		return -1;
	return rc;
}

static int run_account(struct rescuing *k, struct err *err)
{
	struct account_row a;
	struct err why = ERR_INIT;
	bool is_removed;

	if (account_is_removed(k->txn, k->account, &is_removed, err) < 0)
		return -1;
	if (is_removed)
		return 0;
	k->ref_count = 0;
	k->box.mb.id = 0;
	k->next_mailbox = 1;
	if (account_get(k->txn, k->account, &a, &why) == 0 && a.next_mailbox > 0 &&
	    a.next_mailbox < NUMBERS_MAX)
		saw_mailbox(k, a.next_mailbox - 1);
	if (look_at_chunks(k, err) < 0 || look_at_others(k, err) < 0)
		return -1;
	return look_at_objects(k, err);
}

/* The first account with any row at or behind *account: 1, 0, -1. A key too short to name one is of
 * nobody: it goes, or the search would find it for ever. */
static int next_account(struct db_txn *txn, uint64_t *account, struct err *err)
{
	unsigned char stray[sizeof(uint64_t)];
	struct db_cursor c;
	struct db_key key;
	size_t n = 0;
	int rc;

	db_key_init(&key);
	db_key_u64(&key, *account);
	do {
		if (db_cursor_open(txn, &c, SPAN(""), err) < 0)
			return -1;
		rc = db_seek(&c, db_key_span(&key), err);
		n = rc == 1 ? c.key.n : 0;
		if (n >= 9)
			*account = be_get64(c.key.p);
		else if (n > 0)
			memcpy(stray, c.key.p, n);
		db_cursor_close(&c);
		if (rc == 1 && n < 9 && db_del(txn, span_make((const char *)stray, n), err) < 0)
			return -1;
	} while (rc == 1 && n < 9);
	return rc;
}

int store_rescue_run(
    struct db_env *env, struct blob_dir *blobs, struct store_rescue *r, struct err *err)
{
	struct rescuing *k = mem_zalloc(sizeof(*k));
	uint64_t account = 1;
	int rc = 1;

	k->r = r;
	k->blobs = blobs;
	while (rc == 1) {
		rc = db_write_begin(env, &k->txn, err);
		if (rc < 0)
			break;
		rc = next_account(k->txn, &account, err);
		k->account = account;
		if (rc == 1 && run_account(k, err) < 0)
			rc = -1;
		if (rc < 0)
			db_abort(k->txn);
		else if (db_commit(k->txn, err) < 0)
			rc = -1;
		if (account++ == UINT64_MAX)
			break;
	}
	mem_free(k->refs);
	mem_free(k);
	return rc < 0 ? -1 : 0;
}
