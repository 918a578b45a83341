/*
 * The rows of the queue. Keys begin with a kind:
 *   a                the last qid that was given out
 *   e qid            entry
 *   b qid            body frame, if it is not a file
 *   r qid n          recipient
 *   d len dest time qid n   due; dest is the domain, empty for local delivery
 */
#include "smtpd/queue/queue.h"

#include "common/event/clock.h"

#define ROW_VERSION 1
#define ROW_MAX (16 * 1024)

static struct span key_entry(struct db_key *k, char kind, uint64_t qid)
{
	db_key_init(k);
	db_key_u8(k, (uint8_t)kind);
	db_key_u64(k, qid);
	return db_key_span(k);
}

static struct span key_rcpt(struct db_key *k, uint64_t qid, uint32_t n)
{
	key_entry(k, 'r', qid);
	db_key_u32(k, n);
	return db_key_span(k);
}

/* What the due rows of a recipient are read by: the domain, or nothing for local delivery. */
static struct span destination(const struct queue_rcpt *r)
{
	ssize_t at = span_rchr(r->address, '@');

	if (r->class == QUEUE_LOCAL || at < 0)
		return span_make("", 0);
	return span_sub(r->address, (size_t)at + 1, 255);
}

static struct span key_due_prefix(struct db_key *k, struct span dest)
{
	db_key_init(k);
	db_key_u8(k, 'd');
	db_key_u8(k, (uint8_t)dest.n);
	db_key_raw(k, dest);
	return db_key_span(k);
}

static struct span key_due(struct db_key *k, const struct queue_rcpt *r)
{
	key_due_prefix(k, destination(r));
	db_key_u64(k, (uint64_t)r->next);
	db_key_u64(k, r->qid);
	db_key_u32(k, r->n);
	return db_key_span(k);
}

static bool decode_entry(struct span row, struct queue_entry *e)
{
	struct dec d = dec_of(row);
	uint8_t flags, ret;

	if (dec_u8(&d) != ROW_VERSION)
		return false;
	e->sender = dec_bytes(&d);
	e->arrival = (int64_t)dec_u64(&d);
	e->client = dec_bytes(&d);
	e->helo = dec_bytes(&d);
	e->session = dec_bytes(&d);
	e->account = dec_u64(&d);
	flags = dec_u8(&d);
	e->is_utf8 = flags & 1;
	e->is_8bit = flags & 2;
	e->is_requiretls = flags & 4;
	ret = dec_u8(&d);
	e->ret = ret <= QUEUE_RET_HEADERS ? (enum queue_ret)ret : QUEUE_RET_NONE;
	e->envid = dec_bytes(&d);
	return blob_decode(&d, &e->blob) && dec_done(&d);
}

static bool decode_rcpt(struct span row, struct queue_rcpt *r)
{
	struct dec d = dec_of(row);
	uint8_t class, state;

	if (dec_u8(&d) != ROW_VERSION)
		return false;
	class = dec_u8(&d);
	state = dec_u8(&d);
	r->address = dec_bytes(&d);
	r->tries = dec_u32(&d);
	r->next = (int64_t)dec_u64(&d);
	r->last_reply = dec_bytes(&d);
	r->notify = dec_u8(&d);
	r->orcpt = dec_bytes(&d);
	r->class = class == QUEUE_REMOTE ? QUEUE_REMOTE : QUEUE_LOCAL;
	r->state = state == QUEUE_FAILED ? QUEUE_FAILED : QUEUE_WAITING;
	return dec_done(&d) && class <= QUEUE_REMOTE && state <= QUEUE_FAILED;
}

static int put_row(struct db_txn *txn, struct span key, const struct strbuf *row, struct err *err)
{
	if (row->failed)
		return err_set(err, ERR_LIMIT, "queue row too long");
	return db_put(txn, key, strbuf_span(row), err);
}

static int put_entry(struct db_txn *txn, const struct queue_entry *e, struct err *err)
{
	struct strbuf row;
	struct db_key k;
	int result;

	strbuf_init(&row, ROW_MAX);
	enc_u8(&row, ROW_VERSION);
	enc_bytes(&row, e->sender);
	enc_u64(&row, (uint64_t)e->arrival);
	enc_bytes(&row, e->client);
	enc_bytes(&row, e->helo);
	enc_bytes(&row, e->session);
	enc_u64(&row, e->account);
	enc_u8(&row,
	    (uint8_t)((e->is_utf8 ? 1 : 0) | (e->is_8bit ? 2 : 0) | (e->is_requiretls ? 4 : 0)));
	enc_u8(&row, (uint8_t)e->ret);
	enc_bytes(&row, e->envid);
	blob_encode(&row, &e->blob);
	result = put_row(txn, key_entry(&k, 'e', e->qid), &row, err);
	strbuf_clear(&row);
	return result;
}

static int put_rcpt(struct db_txn *txn, const struct queue_rcpt *r, struct err *err)
{
	struct strbuf row;
	struct db_key k;
	int result;

	strbuf_init(&row, ROW_MAX);
	enc_u8(&row, ROW_VERSION);
	enc_u8(&row, (uint8_t)r->class);
	enc_u8(&row, (uint8_t)r->state);
	enc_bytes(&row, r->address);
	enc_u32(&row, r->tries);
	enc_u64(&row, (uint64_t)r->next);
	enc_bytes(&row, r->last_reply);
	enc_u8(&row, r->notify);
	enc_bytes(&row, r->orcpt);
	result = put_row(txn, key_rcpt(&k, r->qid, r->n), &row, err);
	strbuf_clear(&row);
	/* What has failed for good waits for nothing. */
	if (result == 0 && r->state == QUEUE_WAITING)
		result = db_put(txn, key_due(&k, r), span_make("", 0), err);
	return result;
}

/*
 * Microseconds since 1970, and later than every id before, also of messages that are long gone:
 * delivery takes an id that comes again (after a clock was set back) for one it has delivered.
 */
static int next_qid(struct db_txn *txn, uint64_t *qid, struct err *err)
{
	unsigned char raw[8];
	struct err missing;
	struct span last;

	*qid = (uint64_t)clock_now_us();
	if (db_get(txn, SPAN("a"), &last, &missing) == 0) {
		if (last.n != sizeof(raw))
			return err_set(err, ERR_CORRUPT, "the queue's last id");
		if (be_get64(last.p) >= *qid)
			*qid = be_get64(last.p) + 1;
	} else if (missing.code != ERR_NOT_FOUND) {
		return err_set(err, missing.code, "%s", missing.text);
	}
	be_put64(raw, *qid);
	return db_put(txn, SPAN("a"), span_make(raw, sizeof(raw)), err);
}

int queue_add(struct db_txn *txn, struct queue_entry *e, struct queue_rcpt *rcpts, size_t count,
    struct err *err)
{
	struct db_key k;

	if (next_qid(txn, &e->qid, err) < 0 || put_entry(txn, e, err) < 0)
		return -1;
	if (!e->blob.is_file && db_put(txn, key_entry(&k, 'b', e->qid), e->blob.data, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		rcpts[i].qid = e->qid;
		rcpts[i].n = (uint32_t)i;
		if (put_rcpt(txn, &rcpts[i], err) < 0)
			return -1;
	}
	return 0;
}

int queue_entry_get(struct db_txn *txn, uint64_t qid, struct queue_entry *e, struct err *err)
{
	struct db_key k;
	struct span row;

	*e = (struct queue_entry){.qid = qid};
	if (db_get(txn, key_entry(&k, 'e', qid), &row, err) < 0)
		return -1;
	if (!decode_entry(row, e))
		return err_set(err, ERR_CORRUPT, "queue entry %016llx", (unsigned long long)qid);
	if (!e->blob.is_file)
		return db_get(txn, key_entry(&k, 'b', qid), &e->blob.data, err);
	return 0;
}

int queue_each_file(struct db_txn *txn, struct hash *set, struct err *err)
{
	struct db_cursor c;
	int found;

	if (db_cursor_open(txn, &c, SPAN("e"), err) < 0)
		return -1;
	for (found = db_first(&c, err); found == 1; found = db_next(&c, err)) {
		struct queue_entry e = {0};

		if (!decode_entry(c.val, &e)) {
			found = err_set(err, ERR_CORRUPT, "a queue entry");
			break;
		}
		if (e.blob.is_file)
			hash_set(set, span_make(e.blob.id, sizeof(e.blob.id)), set);
	}
	db_cursor_close(&c);
	return found < 0 ? -1 : 0;
}

int queue_rcpt_get(
    struct db_txn *txn, uint64_t qid, uint32_t n, struct queue_rcpt *r, struct err *err)
{
	struct db_key k;
	struct span row;

	*r = (struct queue_rcpt){.qid = qid, .n = n};
	if (db_get(txn, key_rcpt(&k, qid, n), &row, err) < 0)
		return -1;
	if (!decode_rcpt(row, r))
		return err_set(
		    err, ERR_CORRUPT, "queue recipient %016llx/%u", (unsigned long long)qid, n);
	return 0;
}

int queue_each_rcpt(struct db_txn *txn, uint64_t first_qid,
    bool (*fn)(void *arg, const struct queue_rcpt *r), void *arg, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	int found;

	if (db_cursor_open(txn, &c, SPAN("r"), err) < 0)
		return -1;
	for (found = db_seek(&c, key_entry(&k, 'r', first_qid), err); found == 1;
	     found = db_next(&c, err)) {
		struct queue_rcpt r = {0};

		if (c.key.n != 13 || !decode_rcpt(c.val, &r)) {
			found = err_set(err, ERR_CORRUPT, "queue recipient row");
			break;
		}
		r.qid = be_get64(c.key.p + 1);
		r.n = be_get32(c.key.p + 9);
		if (!fn(arg, &r))
			break;
	}
	db_cursor_close(&c);
	return found < 0 ? -1 : 0;
}

int queue_each_due(struct db_txn *txn, int64_t now, bool (*fn)(void *arg, uint64_t qid, uint32_t n),
    void *arg, int64_t *next, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	int found;

	*next = 0;
	if (db_cursor_open(txn, &c, key_due_prefix(&k, span_make("", 0)), err) < 0)
		return -1;
	for (found = db_first(&c, err); found == 1; found = db_next(&c, err)) {
		if (c.key.n != 22) {
			found = err_set(err, ERR_CORRUPT, "queue due row");
			break;
		}
		if ((int64_t)be_get64(c.key.p + 2) > now) {
			*next = (int64_t)be_get64(c.key.p + 2);
			break;
		}
		if (!fn(arg, be_get64(c.key.p + 10), be_get32(c.key.p + 18)))
			break;
	}
	db_cursor_close(&c);
	return found < 0 ? -1 : 0;
}

/* A missing row is what a replay finds: not an error. */
static int remove_row(struct db_txn *txn, struct span key, struct err *err)
{
	struct err missing;

	if (db_del(txn, key, &missing) == 0 || missing.code == ERR_NOT_FOUND)
		return 0;
	return err_set(err, missing.code, "%s", missing.text);
}

static int has_rcpts(struct db_txn *txn, uint64_t qid, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	int found;

	if (db_cursor_open(txn, &c, key_entry(&k, 'r', qid), err) < 0)
		return -1;
	found = db_first(&c, err);
	db_cursor_close(&c);
	return found;
}

static int remove_entry(struct db_txn *txn, uint64_t qid, struct blob *file, struct err *err)
{
	struct queue_entry e;
	struct db_key k;
	struct err missing;

	if (queue_entry_get(txn, qid, &e, &missing) == 0 && e.blob.is_file) {
		*file = e.blob;
		file->data = span_make("", 0);
	}
	if (remove_row(txn, key_entry(&k, 'b', qid), err) < 0)
		return -1;
	return remove_row(txn, key_entry(&k, 'e', qid), err);
}

int queue_rcpt_remove(
    struct db_txn *txn, uint64_t qid, uint32_t n, struct blob *file, struct err *err)
{
	struct queue_rcpt r;
	struct db_key k;
	struct err missing;
	int left;

	file->is_file = false;
	if (queue_rcpt_get(txn, qid, n, &r, &missing) == 0 &&
	    remove_row(txn, key_due(&k, &r), err) < 0)
		return -1;
	if (remove_row(txn, key_rcpt(&k, qid, n), err) < 0)
		return -1;
	left = has_rcpts(txn, qid, err);
	if (left != 0)
		return left < 0 ? -1 : 0;
	return remove_entry(txn, qid, file, err);
}

int queue_rcpt_update(struct db_txn *txn, const struct queue_rcpt *r, struct err *err)
{
	struct queue_rcpt old;
	struct db_key k;

	/* Deleted by the administrator meanwhile: stays deleted. */
	if (queue_rcpt_get(txn, r->qid, r->n, &old, err) < 0)
		return err && err->code == ERR_NOT_FOUND ? 0 : -1;
	if (remove_row(txn, key_due(&k, &old), err) < 0)
		return -1;
	return put_rcpt(txn, r, err);
}
