/*
 * Chunks. A row is a head (version, a zero byte, count u16, unseen u16, deleted u16, highest modseq
 * u64) and entries of 40 bytes in UID order: uid u32, flags u8, keywords u64, modseq u48, object
 * u48, internaldate i40, savedate i40, size u40. The fixed size lets flags change in place.
 */
#include "common/store/store_int.h"

#include <string.h>

static void put_bits(unsigned char *p, uint64_t v, unsigned bytes)
{
	while (bytes-- > 0) {
		p[bytes] = (unsigned char)v;
		v >>= 8;
	}
}

static uint64_t get48(const unsigned char *p)
{
	return (uint64_t)be_get16(p) << 32 | be_get32(p + 2);
}

static uint64_t get40(const unsigned char *p)
{
	return (uint64_t)p[0] << 32 | be_get32(p + 1);
}

static int64_t get40_signed(const unsigned char *p)
{
	uint64_t v = get40(p);

	return (int64_t)(v << 24) >> 24;
}

/* Dates outside of the 35,000 years that fit are somebody's joke. */
static uint64_t clamp40(int64_t v)
{
	const int64_t max = (INT64_C(1) << 39) - 1;

	if (v > max)
		v = max;
	if (v < -max)
		v = -max;
	return (uint64_t)v;
}

size_t chunk_encode(const struct store_message *m, size_t n, unsigned char out[CHUNK_BYTES])
{
	unsigned char *p = out + CHUNK_HEAD;
	uint16_t unseen = 0, deleted = 0;
	uint64_t modseq = 0;

	for (size_t i = 0; i < n; i++, p += CHUNK_ENTRY) {
		be_put32(p, m[i].uid);
		p[4] = (unsigned char)m[i].flags;
		be_put64(p + 5, m[i].keywords);
		put_bits(p + 13, m[i].modseq, 6);
		put_bits(p + 19, m[i].object, 6);
		put_bits(p + 25, clamp40(m[i].internaldate), 5);
		put_bits(p + 30, clamp40(m[i].savedate), 5);
		put_bits(p + 35, m[i].size, 5);
		unseen += !(m[i].flags & FLAG_SEEN);
		deleted += (m[i].flags & FLAG_DELETED) != 0;
		if (m[i].modseq > modseq)
			modseq = m[i].modseq;
	}
	out[0] = ROW_VERSION;
	out[1] = 0;
	be_put16(out + 2, (uint16_t)n);
	be_put16(out + 4, unseen);
	be_put16(out + 6, deleted);
	be_put64(out + 8, modseq);
	return (size_t)(p - out);
}

int chunk_decode(struct span row, struct store_message *m, size_t cap, size_t *n, struct err *err)
{
	const unsigned char *p = (const unsigned char *)row.p;
	size_t count;
	uint32_t last = 0;

	if (row.n < CHUNK_HEAD || p[0] != ROW_VERSION)
		return err_set(err, ERR_CORRUPT, "a chunk of messages is damaged");
	count = be_get16(p + 2);
	if (row.n != CHUNK_HEAD + count * CHUNK_ENTRY || count > cap - *n || *n > cap)
		return err_set(err, ERR_CORRUPT, "a chunk of messages has a wrong length");
	m += *n;
	p += CHUNK_HEAD;
	for (size_t i = 0; i < count; i++, p += CHUNK_ENTRY) {
		m[i].uid = be_get32(p);
		m[i].flags = p[4];
		m[i].keywords = be_get64(p + 5);
		m[i].modseq = get48(p + 13);
		m[i].object = get48(p + 19);
		m[i].internaldate = get40_signed(p + 25);
		m[i].savedate = get40_signed(p + 30);
		m[i].size = get40(p + 35);
		if (m[i].uid <= last)
			return err_set(err, ERR_CORRUPT, "a chunk of messages is out of order");
		last = m[i].uid;
	}
	*n += count;
	return 0;
}

void chunk_key(struct db_key *k, uint64_t account, uint64_t mailbox, uint32_t first)
{
	store_key(k, account, KIND_MESSAGE);
	db_key_u64(k, mailbox);
	db_key_u32(k, first);
}

/* Fills c from the row a cursor stands on. */
static int chunk_load(struct chunk *c, const struct db_cursor *cur, struct err *err)
{
	if (cur->key.n < 4)
		return store_corrupt(err, c->account, "the key of a chunk");
	c->first = be_get32(cur->key.p + cur->key.n - 4);
	c->n = 0;
	return chunk_decode(cur->val, c->m, CHUNK_MAX, &c->n, err);
}

/* Opens a cursor over the chunks of c's mailbox. */
static int chunk_cursor(
    struct db_txn *txn, const struct chunk *c, struct db_cursor *cur, struct err *err)
{
	struct db_key k;

	store_key(&k, c->account, KIND_MESSAGE);
	db_key_u64(&k, c->mailbox);
	return db_cursor_open(txn, cur, db_key_span(&k), err);
}

int chunk_put(struct db_txn *txn, const struct chunk *c, struct err *err)
{
	unsigned char row[CHUNK_BYTES];
	size_t n = chunk_encode(c->m, c->n, row);
	struct db_key k;

	chunk_key(&k, c->account, c->mailbox, c->first);
	return db_put(txn, db_key_span(&k), span_make(row, n), err);
}

int chunk_del(struct db_txn *txn, const struct chunk *c, struct err *err)
{
	struct db_key k;

	chunk_key(&k, c->account, c->mailbox, c->first);
	return db_del(txn, db_key_span(&k), err);
}

/* The neighbour at one side: 1, 0 (none), -1. */
static int chunk_neighbour(
    struct db_txn *txn, const struct chunk *c, bool right, struct chunk *out, struct err *err)
{
	struct db_cursor cur;
	struct db_key k;
	int rc;

	out->account = c->account;
	out->mailbox = c->mailbox;
	out->first = 0;
	out->n = 0;
	if (right ? c->first == UINT32_MAX : c->first == 0)
		return 0;
	if (chunk_cursor(txn, c, &cur, err) < 0)
		return -1;
	chunk_key(&k, c->account, c->mailbox, right ? c->first + 1 : c->first - 1);
	rc = right ? db_seek(&cur, db_key_span(&k), err) : db_seek_back(&cur, db_key_span(&k), err);
	if (rc == 1 && chunk_load(out, &cur, err) < 0)
		rc = -1;
	db_cursor_close(&cur);
	return rc;
}

int chunk_put_thinned(struct db_txn *txn, struct chunk *c, struct err *err)
{
	struct chunk other;
	int rc;

	if (c->n == 0)
		return chunk_del(txn, c, err);
	if (c->n >= CHUNK_MERGE)
		return chunk_put(txn, c, err);
	rc = chunk_neighbour(txn, c, false, &other, err);
	if (rc < 0)
		return -1;
	if (rc == 1 && other.n + c->n <= CHUNK_MERGE) {
		memcpy(other.m + other.n, c->m, c->n * sizeof(c->m[0]));
		other.n += c->n;
		return chunk_del(txn, c, err) < 0 ? -1 : chunk_put(txn, &other, err);
	}
	rc = chunk_neighbour(txn, c, true, &other, err);
	if (rc < 0)
		return -1;
	if (rc == 1 && other.n + c->n <= CHUNK_MERGE) {
		memcpy(c->m + c->n, other.m, other.n * sizeof(c->m[0]));
		c->n += other.n;
		if (chunk_del(txn, &other, err) < 0)
			return -1;
	}
	return chunk_put(txn, c, err);
}

void chunk_walk_init(struct chunk_walk *w, struct db_txn *txn, uint64_t account, uint64_t mailbox,
    const struct uidset *uids)
{
	w->txn = txn;
	w->uids = uids;
	w->range = 0;
	w->next = 1;
	w->c.account = account;
	w->c.mailbox = mailbox;
	w->c.n = 0;
}

/* The chunk that may hold w->next: the last one that starts at or below it, if it reaches that far,
 * else the one behind. */
static int chunk_walk_find(struct chunk_walk *w, struct db_cursor *cur, struct err *err)
{
	struct db_key k;
	int rc;

	chunk_key(&k, w->c.account, w->c.mailbox, (uint32_t)w->next);
	rc = db_seek_back(cur, db_key_span(&k), err);
	if (rc == 1) {
		if (chunk_load(&w->c, cur, err) < 0)
			return -1;
		if (w->c.n && w->c.m[w->c.n - 1].uid >= w->next)
			return 1;
	}
	if (rc < 0)
		return -1;
	rc = db_seek(cur, db_key_span(&k), err);
	if (rc == 1 && be_get32(cur->key.p + cur->key.n - 4) == w->next)
		rc = db_next(cur, err); /* seen just now: it ends below */
	if (rc == 1 && chunk_load(&w->c, cur, err) < 0)
		return -1;
	return rc;
}

int chunk_walk_next(struct chunk_walk *w, struct err *err)
{
	struct db_cursor cur;
	int rc = 0;

	if (w->uids) {
		while (w->range < w->uids->n && w->uids->r[w->range].last < w->next)
			w->range++;
		if (w->range == w->uids->n)
			return 0;
		if (w->uids->r[w->range].first > w->next)
			w->next = w->uids->r[w->range].first;
	}
	if (w->next > UINT32_MAX)
		return 0;
	if (chunk_cursor(w->txn, &w->c, &cur, err) < 0)
		return -1;
	rc = chunk_walk_find(w, &cur, err);
	db_cursor_close(&cur);
	if (rc == 1)
		w->next = (uint64_t)(w->c.n ? w->c.m[w->c.n - 1].uid : w->c.first) + 1;
	return rc;
}

bool chunk_walk_has(struct chunk_walk *w, uint32_t uid)
{
	if (!w->uids)
		return true;
	while (w->range < w->uids->n && w->uids->r[w->range].last < uid)
		w->range++;
	return w->range < w->uids->n && w->uids->r[w->range].first <= uid;
}

int chunk_appender_open(struct chunk_appender *a, struct db_txn *txn, uint64_t account,
    uint64_t mailbox, struct err *err)
{
	struct db_cursor cur;
	int rc;

	a->txn = txn;
	a->is_dirty = false;
	a->c.account = account;
	a->c.mailbox = mailbox;
	a->c.n = 0;
	if (chunk_cursor(txn, &a->c, &cur, err) < 0)
		return -1;
	rc = db_last(&cur, err);
	if (rc == 1)
		rc = chunk_load(&a->c, &cur, err);
	db_cursor_close(&cur);
	return rc;
}

int chunk_appender_add(struct chunk_appender *a, const struct store_message *m, struct err *err)
{
	if (a->c.n == CHUNK_MAX) {
		if (chunk_appender_flush(a, err) < 0)
			return -1;
		a->c.n = 0;
	}
	if (a->c.n == 0)
		a->c.first = m->uid;
	a->c.m[a->c.n++] = *m;
	a->is_dirty = true;
	return 0;
}

int chunk_appender_flush(struct chunk_appender *a, struct err *err)
{
	if (!a->is_dirty)
		return 0;
	a->is_dirty = false;
	return chunk_put(a->txn, &a->c, err);
}
