/*
 * The rows of the queue. Keys begin with a kind:
 *   a                the last qid that was given out
 *   e qid            entry
 *   b qid            body frame, if it is not a file
 *   r qid n          recipient
 *   d len dest time qid n   due; dest is the domain, empty for local delivery
 *   x time dest      a destination has to be looked at from then on
 *   y dest           that time
 *   f qid n          a recipient whose sender is to be told something
 *   p dest           nothing is sent there for now; without a dest: nowhere
 */
#include "smtpd/queue/queue.h"

#include "common/event/clock.h"

#include <string.h>

#define ROW_VERSION 1
#define RCPT_VERSION 2 /* 1 has no sender of its own */
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

struct span queue_dest_of(const struct queue_rcpt *r)
{
	ssize_t at = span_rchr(r->address, '@');

	if (r->class == QUEUE_LOCAL || at < 0)
		return span_make("", 0);
	return span_sub(r->address, (size_t)at + 1, QUEUE_DEST_MAX);
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
	key_due_prefix(k, queue_dest_of(r));
	db_key_u64(k, (uint64_t)r->next);
	db_key_u64(k, r->qid);
	db_key_u32(k, r->n);
	return db_key_span(k);
}

static struct span key_look(struct db_key *k, int64_t time, struct span dest)
{
	db_key_init(k);
	db_key_u8(k, 'x');
	db_key_u64(k, (uint64_t)time);
	db_key_raw(k, dest);
	return db_key_span(k);
}

static struct span key_dest(struct db_key *k, struct span dest)
{
	db_key_init(k);
	db_key_u8(k, 'y');
	db_key_raw(k, dest);
	return db_key_span(k);
}

static struct span key_told(struct db_key *k, uint64_t qid, uint32_t n)
{
	key_entry(k, 'f', qid);
	db_key_u32(k, n);
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
	uint8_t version = dec_u8(&d), class, state, notice;

	if (version != 1 && version != RCPT_VERSION)
		return false;
	class = dec_u8(&d);
	state = dec_u8(&d);
	r->address = dec_bytes(&d);
	r->tries = dec_u32(&d);
	r->next = (int64_t)dec_u64(&d);
	r->last_reply = dec_bytes(&d);
	r->host = dec_bytes(&d);
	r->notify = dec_u8(&d);
	notice = dec_u8(&d);
	r->orcpt = dec_bytes(&d);
	r->sender = version > 1 ? dec_bytes(&d) : span_make("", 0);
	if (!dec_done(&d) || class > QUEUE_REMOTE || state > QUEUE_SENT || notice > NOTICE_SENT)
		return false;
	r->class = (enum queue_class) class;
	r->state = (enum queue_state)state;
	r->notice = (enum queue_notice)notice;
	return true;
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

/* A missing row is what a replay finds: not an error. */
static int remove_row(struct db_txn *txn, struct span key, struct err *err)
{
	struct err missing;

	if (db_del(txn, key, &missing) == 0 || missing.code == ERR_NOT_FOUND)
		return 0;
	return err_set(err, missing.code, "%s", missing.text);
}

/* 1 and the time at which the destination is looked at, 0 if it is not. */
static int look_time(struct db_txn *txn, struct span dest, int64_t *time, struct err *err)
{
	struct err missing;
	struct db_key k;
	struct span val;

	if (db_get(txn, key_dest(&k, dest), &val, &missing) < 0)
		return missing.code == ERR_NOT_FOUND
			   ? 0
			   : err_set(err, missing.code, "%s", missing.text);
	if (val.n != 8)
		return err_set(err, ERR_CORRUPT, "queue destination row");
	*time = (int64_t)be_get64(val.p);
	return 1;
}

static int set_look_time(struct db_txn *txn, struct span dest, int64_t time, struct err *err)
{
	unsigned char raw[8];
	struct db_key k;

	be_put64(raw, (uint64_t)time);
	if (db_put(txn, key_dest(&k, dest), span_make(raw, sizeof(raw)), err) < 0)
		return -1;
	return db_put(txn, key_look(&k, time, dest), span_make("", 0), err);
}

/* Not later than time. */
static int look_by(struct db_txn *txn, struct span dest, int64_t time, struct err *err)
{
	struct db_key k;
	int64_t old = 0;
	int found;

	if (dest.n == 0)
		return 0;
	found = look_time(txn, dest, &old, err);
	if (found < 0 || (found == 1 && old <= time))
		return found < 0 ? -1 : 0;
	if (found == 1 && remove_row(txn, key_look(&k, old, dest), err) < 0)
		return -1;
	return set_look_time(txn, dest, time, err);
}

static bool is_to_be_told(const struct queue_rcpt *r)
{
	return r->state == QUEUE_FAILED || r->state == QUEUE_SENT || r->notice == NOTICE_DUE;
}

/* What goes with the row: its place among the due, and among those that somebody is told of. */
static int put_indexes(struct db_txn *txn, const struct queue_rcpt *r, struct err *err)
{
	struct db_key k;

	if (r->state == QUEUE_WAITING && (db_put(txn, key_due(&k, r), span_make("", 0), err) < 0 ||
					     look_by(txn, queue_dest_of(r), r->next, err) < 0))
		return -1;
	if (is_to_be_told(r))
		return db_put(txn, key_told(&k, r->qid, r->n), span_make("", 0), err);
	return 0;
}

static int remove_indexes(struct db_txn *txn, const struct queue_rcpt *r, struct err *err)
{
	struct db_key k;

	if (remove_row(txn, key_due(&k, r), err) < 0)
		return -1;
	return remove_row(txn, key_told(&k, r->qid, r->n), err);
}

static int put_rcpt(struct db_txn *txn, const struct queue_rcpt *r, struct err *err)
{
	struct strbuf row;
	struct db_key k;
	int result;

	strbuf_init(&row, ROW_MAX);
	enc_u8(&row, RCPT_VERSION);
	enc_u8(&row, (uint8_t)r->class);
	enc_u8(&row, (uint8_t)r->state);
	enc_bytes(&row, r->address);
	enc_u32(&row, r->tries);
	enc_u64(&row, (uint64_t)r->next);
	enc_bytes(&row, r->last_reply);
	enc_bytes(&row, r->host);
	enc_u8(&row, r->notify);
	enc_u8(&row, (uint8_t)r->notice);
	enc_bytes(&row, r->orcpt);
	enc_bytes(&row, r->sender.p ? r->sender : span_make("", 0));
	result = put_row(txn, key_rcpt(&k, r->qid, r->n), &row, err);
	strbuf_clear(&row);
	return result == 0 ? put_indexes(txn, r, err) : -1;
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

int queue_each_due_of(struct db_txn *txn, struct span dest, int64_t now,
    bool (*fn)(void *arg, uint64_t qid, uint32_t n), void *arg, int64_t *next, struct err *err)
{
	size_t head = 2 + dest.n;
	struct db_cursor c;
	struct db_key k;
	int found;

	*next = 0;
	if (db_cursor_open(txn, &c, SPAN("d"), err) < 0)
		return -1;
	for (found = db_seek(&c, key_due_prefix(&k, dest), err); found == 1;
	     found = db_next(&c, err)) {
		if (c.key.n < head || memcmp(c.key.p, k.b, head) != 0)
			break;
		if (c.key.n != head + 20) {
			found = err_set(err, ERR_CORRUPT, "queue due row");
			break;
		}
		if ((int64_t)be_get64(c.key.p + head) > now) {
			*next = (int64_t)be_get64(c.key.p + head);
			break;
		}
		if (!fn(arg, be_get64(c.key.p + head + 8), be_get32(c.key.p + head + 16)))
			break;
	}
	db_cursor_close(&c);
	return found < 0 ? -1 : 0;
}

int queue_each_due(struct db_txn *txn, int64_t now, bool (*fn)(void *arg, uint64_t qid, uint32_t n),
    void *arg, int64_t *next, struct err *err)
{
	return queue_each_due_of(txn, span_make("", 0), now, fn, arg, next, err);
}

int queue_each_dest(struct db_txn *txn, int64_t now, bool (*fn)(void *arg, struct span dest),
    void *arg, int64_t *next, struct err *err)
{
	struct db_cursor c;
	int found;

	*next = 0;
	if (db_cursor_open(txn, &c, SPAN("x"), err) < 0)
		return -1;
	for (found = db_first(&c, err); found == 1; found = db_next(&c, err)) {
		if (c.key.n <= 9) {
			found = err_set(err, ERR_CORRUPT, "queue destination row");
			break;
		}
		if ((int64_t)be_get64(c.key.p + 1) > now) {
			*next = (int64_t)be_get64(c.key.p + 1);
			break;
		}
		if (!fn(arg, span_from(c.key, 9)))
			break;
	}
	db_cursor_close(&c);
	return found < 0 ? -1 : 0;
}

static bool stop_at_first(void *arg, uint64_t qid, uint32_t n)
{
	return false;
}

int queue_dest_settle(struct db_txn *txn, struct span dest, struct err *err)
{
	struct db_key k;
	int64_t old = 0, next = 0;
	int found = look_time(txn, dest, &old, err);

	/* With nothing due before the beginning of time, next is the first of all. */
	if (found < 0 || queue_each_due_of(txn, dest, -1, stop_at_first, NULL, &next, err) < 0)
		return -1;
	if (found == 1 && old == next)
		return 0;
	if (found == 1 && (remove_row(txn, key_look(&k, old, dest), err) < 0 ||
			      remove_row(txn, key_dest(&k, dest), err) < 0))
		return -1;
	return next != 0 ? set_look_time(txn, dest, next, err) : 0;
}

int queue_each_told(
    struct db_txn *txn, bool (*fn)(void *arg, uint64_t qid, uint32_t n), void *arg, struct err *err)
{
	struct db_cursor c;
	int found;

	if (db_cursor_open(txn, &c, SPAN("f"), err) < 0)
		return -1;
	for (found = db_first(&c, err); found == 1; found = db_next(&c, err)) {
		if (c.key.n != 13) {
			found = err_set(err, ERR_CORRUPT, "queue row of a notice");
			break;
		}
		if (!fn(arg, be_get64(c.key.p + 1), be_get32(c.key.p + 9)))
			break;
	}
	db_cursor_close(&c);
	return found < 0 ? -1 : 0;
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

int queue_rcpt_add(struct db_txn *txn, struct queue_rcpt *r, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	int found;

	if (db_cursor_open(txn, &c, key_entry(&k, 'r', r->qid), err) < 0)
		return -1;
	found = db_last(&c, err);
	r->n = found == 1 && c.key.n == 13 ? be_get32(c.key.p + 9) + 1 : 0;
	db_cursor_close(&c);
	return found < 0 ? -1 : put_rcpt(txn, r, err);
}

int queue_rcpt_remove(
    struct db_txn *txn, uint64_t qid, uint32_t n, struct blob *file, struct err *err)
{
	struct queue_rcpt r;
	struct db_key k;
	struct err missing;
	int left;

	file->is_file = false;
	if (queue_rcpt_get(txn, qid, n, &r, &missing) == 0 && remove_indexes(txn, &r, err) < 0)
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
	char address[QUEUE_ADDRESS_MAX], orcpt[QUEUE_ORCPT_MAX], sender[QUEUE_ADDRESS_MAX];
	struct queue_rcpt row = *r, old;
	struct err missing;

	if (queue_rcpt_get(txn, r->qid, r->n, &old, &missing) < 0)
		return missing.code == ERR_NOT_FOUND
			   ? 0
			   : err_set(err, missing.code, "%s", missing.text);
	if (old.address.n > sizeof(address) || old.orcpt.n > sizeof(orcpt) ||
	    old.sender.n > sizeof(sender))
		return err_set(err, ERR_CORRUPT, "queue recipient row");
	/* What points into the map is gone with the first write. */
	memcpy(address, old.address.p ? old.address.p : "", old.address.n);
	memcpy(orcpt, old.orcpt.p ? old.orcpt.p : "", old.orcpt.n);
	memcpy(sender, old.sender.p ? old.sender.p : "", old.sender.n);
	old.address = row.address = span_make(address, old.address.n);
	row.sender = span_make(sender, old.sender.n);
	row.orcpt = span_make(orcpt, old.orcpt.n);
	row.class = old.class;
	row.notify = old.notify;
	if (remove_indexes(txn, &old, err) < 0)
		return -1;
	return put_rcpt(txn, &row, err);
}

/* --- pauses ----------------------------------------------------------------------------------- */
static struct span key_pause(struct db_key *k, struct span dest)
{
	db_key_init(k);
	db_key_u8(k, 'p');
	db_key_raw(k, dest);
	return db_key_span(k);
}

int queue_pause_set(struct db_txn *txn, struct span dest, bool is_paused, struct err *err)
{
	struct db_key k;

	if (!is_paused)
		return remove_row(txn, key_pause(&k, dest), err);
	return db_put(txn, key_pause(&k, dest), span_make("", 0), err);
}

bool queue_is_paused(struct db_txn *txn, struct span dest)
{
	struct db_key k;
	struct span val;

	return db_get(txn, key_pause(&k, dest), &val, NULL) == 0;
}

int queue_each_pause(
    struct db_txn *txn, bool (*fn)(void *arg, struct span dest), void *arg, struct err *err)
{
	struct db_cursor c;
	int found;

	if (db_cursor_open(txn, &c, SPAN("p"), err) < 0)
		return -1;
	for (found = db_first(&c, err); found == 1; found = db_next(&c, err))
		if (!fn(arg, span_from(c.key, 1)))
			break;
	db_cursor_close(&c);
	return found < 0 ? -1 : 0;
}
