/*
 * Objects: what messages point to. The row (references, thread, body's description), the body if it
 * is inline, the cache row. And the references to files, which may be shared by objects of several
 * accounts.
 */
#include "common/crypto/crypto.h"
#include "common/store/store_int.h"

#include <string.h>

static void object_key(
    struct db_key *k, uint64_t account, uint64_t object, enum store_object_part part)
{
	store_key(k, account, KIND_OBJECT);
	db_key_u64(k, object);
	db_key_u8(k, (uint8_t)part);
}

int object_get(
    struct db_txn *txn, uint64_t account, uint64_t object, struct object_row *row, struct err *err)
{
	struct db_key k;
	struct span val;
	struct dec d;

	*row = (struct object_row){0};
	object_key(&k, account, object, OBJECT_ROW);
	if (db_get(txn, db_key_span(&k), &val, err) < 0)
		return err_wrap(err, "object %llu", (unsigned long long)object);
	d = dec_of(val);
	if (dec_u8(&d) != ROW_VERSION)
		return store_corrupt(err, account, "an object row");
	row->refs = dec_u32(&d);
	row->thread = dec_u64(&d);
	if (!blob_decode(&d, &row->blob) || !dec_done(&d))
		return store_corrupt(err, account, "an object row");
	return 0;
}

int object_put(struct db_txn *txn, uint64_t account, uint64_t object, const struct object_row *row,
    struct err *err)
{
	struct strbuf b;
	struct db_key k;
	int rc;

	strbuf_init(&b, 1024);
	enc_u8(&b, ROW_VERSION);
	enc_u32(&b, row->refs);
	enc_u64(&b, row->thread);
	blob_encode(&b, &row->blob);
	object_key(&k, account, object, OBJECT_ROW);
	rc = db_put(txn, db_key_span(&k), strbuf_span(&b), err);
	strbuf_clear(&b);
	return rc;
}

/* The thread of a message id: the object of the first message that had it. */
static int thread_of(struct db_txn *txn, uint64_t account, uint64_t object, struct span message_id,
    uint64_t *thread, struct err *err)
{
	unsigned char sum[SHA256_LEN], row[9];
	struct err why = ERR_INIT;
	struct db_key k;
	struct span val;

	*thread = object;
	if (message_id.n == 0)
		return 0;
	sha256_once(message_id, sum);
	store_key(&k, account, KIND_THREAD);
	db_key_raw(&k, span_make(sum, 8));
	if (db_get(txn, db_key_span(&k), &val, &why) == 0 && val.n == sizeof(row)) {
		*thread = be_get64(val.p + 1);
		return 0;
	}
	if (why.code != ERR_NONE && why.code != ERR_NOT_FOUND)
		return err_set(err, why.code, "%s", why.text);
	row[0] = ROW_VERSION;
	be_put64(row + 1, object);
	return db_put(txn, db_key_span(&k), span_make(row, sizeof(row)), err);
}

int object_add(struct db_txn *txn, uint64_t account, uint64_t object, const struct store_append *m,
    struct err *err)
{
	struct object_row row = {.refs = 1, .blob = *m->blob};
	struct db_key k;

	if (thread_of(txn, account, object, m->message_id, &row.thread, err) < 0 ||
	    object_put(txn, account, object, &row, err) < 0)
		return -1;
	if (m->blob->is_file) {
		if (file_ref(txn, m->blob->id, err) < 0)
			return -1;
	} else {
		object_key(&k, account, object, OBJECT_BODY);
		if (db_put(txn, db_key_span(&k), m->blob->data, err) < 0)
			return -1;
	}
	return m->cache.n ? store_object_cache_put(txn, account, object, m->cache, err) : 0;
}

int object_ref(struct db_txn *txn, uint64_t account, uint64_t object, struct err *err)
{
	struct object_row row;

	if (object_get(txn, account, object, &row, err) < 0)
		return -1;
	if (row.refs == UINT32_MAX)
		return err_set(err, ERR_LIMIT, "too many copies of one message");
	row.refs++;
	return object_put(txn, account, object, &row, err);
}

static int object_del_part(struct db_txn *txn, uint64_t account, uint64_t object,
    enum store_object_part part, struct err *err)
{
	struct err why = ERR_INIT;
	struct db_key k;

	object_key(&k, account, object, part);
	if (db_del(txn, db_key_span(&k), &why) < 0 && why.code != ERR_NOT_FOUND)
		return err_set(err, why.code, "%s", why.text);
	return 0;
}

int object_forget(struct db_txn *txn, uint64_t account, uint64_t object, struct err *err)
{
	for (int part = OBJECT_ROW; part <= OBJECT_CACHE; part++)
		if (object_del_part(txn, account, object, (enum store_object_part)part, err) < 0)
			return -1;
	return 0;
}

int object_unref(
    struct db_txn *txn, uint64_t account, uint64_t object, int64_t now, struct err *err)
{
	struct object_row row;

	if (object_get(txn, account, object, &row, err) < 0)
		return -1;
	if (row.refs > 1) {
		row.refs--;
		return object_put(txn, account, object, &row, err);
	}
	if (row.blob.is_file && file_unref(txn, row.blob.id, now, err) < 0)
		return -1;
	return object_forget(txn, account, object, err);
}

int store_object_blob(
    struct db_txn *txn, uint64_t account, uint64_t object, struct blob *blob, struct err *err)
{
	struct object_row row;
	struct db_key k;

	if (object_get(txn, account, object, &row, err) < 0)
		return -1;
	*blob = row.blob;
	if (blob->is_file)
		return 0;
	object_key(&k, account, object, OBJECT_BODY);
	if (db_get(txn, db_key_span(&k), &blob->data, err) < 0)
		return err_wrap(err, "body of object %llu", (unsigned long long)object);
	if (blob->data.n != blob->stored)
		return store_corrupt(err, account, "a message body");
	return 0;
}

int store_object_cache(
    struct db_txn *txn, uint64_t account, uint64_t object, struct span *row, struct err *err)
{
	struct db_key k;

	object_key(&k, account, object, OBJECT_CACHE);
	return db_get(txn, db_key_span(&k), row, err);
}

int store_object_cache_put(
    struct db_txn *txn, uint64_t account, uint64_t object, struct span row, struct err *err)
{
	struct db_key k;

	object_key(&k, account, object, OBJECT_CACHE);
	return db_put(txn, db_key_span(&k), row, err);
}

int store_object_thread(
    struct db_txn *txn, uint64_t account, uint64_t object, uint64_t *thread, struct err *err)
{
	struct object_row row;

	if (object_get(txn, account, object, &row, err) < 0)
		return -1;
	*thread = row.thread;
	return 0;
}

/* --- files ------------------------------------------------------------------------------------ */
void file_key(struct db_key *k, const unsigned char id[BLOB_ID_LEN])
{
	store_key(k, 0, KIND_FILE);
	db_key_raw(k, span_make(id, BLOB_ID_LEN));
}

void gc_key(struct db_key *k, uint64_t time, const unsigned char id[BLOB_ID_LEN])
{
	store_key(k, 0, KIND_GC);
	db_key_u64(k, time);
	db_key_raw(k, span_make(id, BLOB_ID_LEN));
}

int file_get(struct db_txn *txn, const unsigned char id[BLOB_ID_LEN], struct file_row *f,
    bool *is_there, struct err *err)
{
	struct err why = ERR_INIT;
	struct db_key k;
	struct span val;
	struct dec d;

	*f = (struct file_row){0};
	file_key(&k, id);
	*is_there = db_get(txn, db_key_span(&k), &val, &why) == 0;
	if (!*is_there)
		return why.code == ERR_NOT_FOUND ? 0 : err_set(err, why.code, "%s", why.text);
	d = dec_of(val);
	if (dec_u8(&d) != ROW_VERSION)
		return store_corrupt(err, 0, "a file row");
	f->refs = dec_u32(&d);
	f->gc_time = dec_u64(&d);
	f->is_dying = dec_u8(&d) != 0;
	return dec_done(&d) ? 0 : store_corrupt(err, 0, "a file row");
}

int file_put(struct db_txn *txn, const unsigned char id[BLOB_ID_LEN], const struct file_row *f,
    struct err *err)
{
	unsigned char row[14];
	struct db_key k;

	row[0] = ROW_VERSION;
	be_put32(row + 1, f->refs);
	be_put64(row + 5, f->gc_time);
	row[13] = f->is_dying;
	file_key(&k, id);
	return db_put(txn, db_key_span(&k), span_make(row, sizeof(row)), err);
}

int file_ref(struct db_txn *txn, const unsigned char id[BLOB_ID_LEN], struct err *err)
{
	struct file_row f;
	struct db_key k;
	bool is_there;

	if (file_get(txn, id, &f, &is_there, err) < 0)
		return -1;
	if (f.is_dying)
		return err_set(err, ERR_TEMP, "the body's file is being removed");
	if (f.refs == UINT32_MAX)
		return err_set(err, ERR_LIMIT, "too many copies of one message");
	if (is_there && f.refs == 0) {
		/* It was to go: not any more. */
		gc_key(&k, f.gc_time, id);
		if (db_del(txn, db_key_span(&k), err) < 0)
			return -1;
	}
	f.refs++;
	f.gc_time = 0;
	return file_put(txn, id, &f, err);
}

int file_unref(
    struct db_txn *txn, const unsigned char id[BLOB_ID_LEN], int64_t now, struct err *err)
{
	static const unsigned char row[1] = {ROW_VERSION};
	struct file_row f;
	struct db_key k;
	bool is_there;

	if (file_get(txn, id, &f, &is_there, err) < 0)
		return -1;
	if (!is_there || f.refs == 0)
		return store_corrupt(err, 0, "the count of a file");
	f.refs--;
	if (f.refs == 0) {
		f.gc_time = now > 0 ? (uint64_t)now : 0;
		gc_key(&k, f.gc_time, id);
		if (db_put(txn, db_key_span(&k), span_make(row, sizeof(row)), err) < 0)
			return -1;
	}
	return file_put(txn, id, &f, err);
}
