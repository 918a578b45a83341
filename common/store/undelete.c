/*
 * Undelete: rows of expunged messages are chunks that still hold their references to objects, so
 * restoring moves entries back. Where they belong is known by their mailbox's number: from its row,
 * or from what was kept of it when it was deleted.
 */
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/store/mailbox_int.h"

#include <stdlib.h>

#define EXPUNGED_KEY (8 + 1 + 8 + 8 + 4)
#define DELETED_KEY (8 + 1 + 8 + 8)

int deleted_put(
    struct db_txn *txn, uint64_t account, const struct mailbox_row *row, struct err *err)
{
	int64_t now = clock_now();
	struct strbuf b;
	struct db_key k;
	int rc;

	strbuf_init(&b, MAILBOX_ROW_MAX);
	mailbox_row_encode(&b, row);
	store_key(&k, account, KIND_DELETED);
	db_key_u64(&k, now > 0 ? (uint64_t)now : 0);
	db_key_u64(&k, row->mb.id);
	rc = b.failed ? err_set(err, ERR_LIMIT, "a mailbox row is too long")
		      : db_put(txn, db_key_span(&k), strbuf_span(&b), err);
	strbuf_clear(&b);
	return rc;
}

/* --- where messages come from ------------------------------------------------------------------
 */
struct origin {
	uint64_t id;
	int64_t deleted; /* when; is_gone */
	bool is_gone;
	char *name; /* NULL: it is not known any more */
	uint32_t special_use;
	size_t keyword_count;
	char (*keywords)[STORE_KEYWORD_LEN_MAX + 1];
};

struct origins {
	struct origin *o;
	size_t n, cap, last;
	size_t gone; /* the first ones are those that are gone */
};

static void origins_clear(struct origins *os)
{
	for (size_t i = 0; i < os->n; i++) {
		mem_free(os->o[i].name);
		mem_free(os->o[i].keywords);
	}
	mem_free(os->o);
}

static struct origin *origin_add(struct origins *os, uint64_t id, const struct mailbox_row *row)
{
	struct origin *o;

	if (os->n == os->cap) {
		os->cap = os->cap ? os->cap * 2 : 16;
		os->o = mem_grow(os->o, os->cap, sizeof(*os->o));
	}
	o = &os->o[os->n++];
	*o = (struct origin){.id = id};
	if (!row)
		return o;
	o->name = mem_strdup(row->mb.name);
	o->special_use = row->mb.special_use;
	o->keyword_count = row->keyword_count;
	if (o->keyword_count)
		o->keywords = mem_dup(row->keywords, o->keyword_count * sizeof(row->keywords[0]));
	return o;
}

/* Those that are gone, all at once. */
static int origins_load(struct origins *os, struct db_txn *txn, uint64_t account, struct err *err)
{
	struct mailbox_row row;
	struct db_cursor c;
	struct db_key k;
	int rc;

	store_key(&k, account, KIND_DELETED);
	if (db_cursor_open(txn, &c, db_key_span(&k), err) < 0)
		return -1;
	for (rc = db_first(&c, err); rc == 1; rc = db_next(&c, err)) {
		struct origin *o;
		uint64_t id;

		if (c.key.n != DELETED_KEY) {
			rc = store_corrupt(err, account, "a row of a deleted mailbox");
			break;
		}
		id = be_get64(c.key.p + 17);
		if (!mailbox_row_decode(c.val, id, &row)) {
			rc = store_corrupt(err, account, "a row of a deleted mailbox");
			break;
		}
		o = origin_add(os, id, &row);
		o->is_gone = true;
		o->deleted = (int64_t)be_get64(c.key.p + 9);
	}
	db_cursor_close(&c);
	os->gone = os->n;
	return rc;
}

/* The mailbox with a number, known or not; NULL with err. Valid until the next call. */
static struct origin *origin_of(
    struct origins *os, struct db_txn *txn, uint64_t account, uint64_t id, struct err *err)
{
	struct err why = ERR_INIT;
	struct mailbox_row row;
	size_t i = os->last;

	if (i < os->n && os->o[i].id == id)
		return &os->o[i];
	for (i = 0; i < os->n && os->o[i].id != id; i++)
		;
	os->last = i;
	if (i < os->n)
		return &os->o[i];
	if (mailbox_row_get(txn, account, id, &row, &why) == 0)
		return origin_add(os, id, &row);
	if (why.code == ERR_NOT_FOUND)
		return origin_add(os, id, NULL);
	err_set(err, why.code, "%s", why.text);
	return NULL;
}

/* --- listing -----------------------------------------------------------------------------------
 */
/* The next row of expunged messages at or behind k: 1, 0, -1. k moves behind it. */
static int expunged_next(struct db_txn *txn, uint64_t account, struct db_key *k,
    struct db_key *row_key, uint64_t *mailbox, struct store_message m[CHUNK_MAX], size_t *n,
    struct err *err)
{
	struct db_cursor c;
	struct db_key prefix;
	int rc;

	store_key(&prefix, account, KIND_EXPUNGED);
	if (db_cursor_open(txn, &c, db_key_span(&prefix), err) < 0)
		return -1;
	rc = db_seek(&c, db_key_span(k), err);
	if (rc == 1 && c.key.n != EXPUNGED_KEY)
		rc = store_corrupt(err, account, "a row of expunged messages");
	if (rc == 1) {
		db_key_init(row_key);
		db_key_raw(row_key, c.key);
		*k = *row_key;
		db_key_u8(k, 0);
		*mailbox = be_get64(c.key.p + 17);
		*n = 0;
		if (chunk_decode(c.val, m, CHUNK_MAX, n, err) < 0)
			rc = -1;
	}
	db_cursor_close(&c);
	return rc;
}

static void expunged_first(struct db_key *k, uint64_t account, int64_t since)
{
	store_key(k, account, KIND_EXPUNGED);
	db_key_u64(k, since > 0 ? (uint64_t)since : 0);
}

static int64_t expunged_time(const struct db_key *row_key)
{
	return (int64_t)be_get64(row_key->b + 9);
}

/* Is there a mailbox of this name that holds messages: 1, 0, -1. */
static int name_is_used(
    struct db_txn *txn, uint64_t account, const char *name, uint64_t *id, struct err *err)
{
	struct err why = ERR_INIT;
	struct mailbox_row row;

	if (name_find(txn, account, span_of(name), id, &why) < 0)
		return why.code == ERR_NOT_FOUND ? 0 : err_set(err, why.code, "%s", why.text);
	if (mailbox_row_get(txn, account, *id, &row, err) < 0)
		return -1;
	return !row.mb.is_noselect;
}

static int list_messages(struct origins *os, struct db_txn *txn, uint64_t account,
    bool (*fn)(void *arg, const struct store_deleted *d), void *arg, struct err *err)
{
	struct store_message m[CHUNK_MAX];
	struct db_key k, row_key;
	uint64_t mailbox;
	size_t n;
	int rc;

	expunged_first(&k, account, 0);
	while ((rc = expunged_next(txn, account, &k, &row_key, &mailbox, m, &n, err)) == 1) {
		const struct origin *o = origin_of(os, txn, account, mailbox, err);

		if (!o)
			return -1;
		for (size_t i = 0; i < n && o->name; i++) {
			const struct store_deleted d = {
			    o->name, o->is_gone, expunged_time(&row_key), &m[i]};

			if (!fn(arg, &d))
				return 1;
		}
	}
	return rc;
}

int store_deleted_list(struct db_txn *txn, uint64_t account,
    bool (*fn)(void *arg, const struct store_deleted *d), void *arg, struct err *err)
{
	struct origins os = {0};
	int rc = origins_load(&os, txn, account, err);

	if (rc == 0)
		rc = list_messages(&os, txn, account, fn, arg, err);
	for (size_t i = 0; rc == 0 && i < os.gone; i++) {
		const struct store_deleted d = {os.o[i].name, true, os.o[i].deleted, NULL};
		uint64_t id;
		int used = name_is_used(txn, account, os.o[i].name, &id, err);

		if (used < 0 || (used == 0 && !fn(arg, &d)))
			rc = used < 0 ? -1 : 1;
	}
	origins_clear(&os);
	return rc < 0 ? -1 : 0;
}

/* --- restoring ---------------------------------------------------------------------------------
 */
struct found {
	size_t origin;
	struct store_message m;
};

struct undelete_op {
	struct db_txn *txn;
	uint64_t account;
	const struct store_undelete *what;
	struct store_undeleted *res;
	struct origins os;
	struct found *found;
	size_t n;
	uint64_t bytes;
};

static bool is_meant(const struct undelete_op *op, const struct origin *o)
{
	return o->name &&
	       (op->what->mailbox.n == 0 || span_eq(op->what->mailbox, span_of(o->name)));
}

/* Takes what is meant out of one row. */
static int take_row(struct undelete_op *op, size_t origin, const struct db_key *row_key,
    struct store_message *m, size_t n, struct err *err)
{
	unsigned char row[CHUNK_BYTES];
	size_t keep = 0;

	for (size_t i = 0; i < n; i++) {
		if (op->n == STORE_UNDELETE_MAX || (op->what->uid && m[i].uid != op->what->uid)) {
			op->res->is_more |= op->n == STORE_UNDELETE_MAX;
			m[keep++] = m[i];
			continue;
		}
		op->found[op->n++] = (struct found){origin, m[i]};
		op->bytes += m[i].size;
	}
	if (keep == n)
		return 0;
	if (keep == 0)
		return db_del(op->txn, db_key_span(row_key), err);
	return db_put(
	    op->txn, db_key_span(row_key), span_make(row, chunk_encode(m, keep, row)), err);
}

static int take_messages(struct undelete_op *op, struct err *err)
{
	struct store_message m[CHUNK_MAX];
	struct db_key k, row_key;
	uint64_t mailbox;
	size_t n;
	int rc = 0;

	expunged_first(&k, op->account, op->what->since);
	while (!op->res->is_more && (rc = expunged_next(op->txn, op->account, &k, &row_key,
					 &mailbox, m, &n, err)) == 1) {
		const struct origin *o = origin_of(&op->os, op->txn, op->account, mailbox, err);

		if (!o)
			return -1;
		if (is_meant(op, o) &&
		    take_row(op, (size_t)(o - op->os.o), &row_key, m, n, err) < 0)
			return -1;
	}
	return rc < 0 ? -1 : 0;
}

static int found_cmp(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	if (x->origin != y->origin)
		return x->origin < y->origin ? -1 : 1;
	return (x->m.uid > y->m.uid) - (x->m.uid < y->m.uid);
}

/* The mailbox that takes what comes from o; made again if it is gone. */
static int open_target(
    struct undelete_op *op, const struct origin *o, uint64_t *id, struct err *err)
{
	struct store_mailbox mb;
	int used;

	*id = o->id;
	if (!o->is_gone)
		return 0;
	used = name_is_used(op->txn, op->account, o->name, id, err);
	if (used != 0)
		return used < 0 ? -1 : 0;
	if (store_mailbox_create(op->txn, op->account, span_of(o->name), o->special_use, &mb, err) <
		0 ||
	    store_mailbox_subscribe(op->txn, op->account, span_of(o->name), true, err) < 0)
		return -1;
	op->res->mailboxes++;
	*id = mb.id;
	return 0;
}

/* As in a copy: one that finds no room is dropped. */
static uint64_t map_keywords(struct mailbox_row *row, const struct origin *o, uint64_t bits)
{
	uint64_t out = 0;

	for (size_t i = 0; i < o->keyword_count; i++) {
		struct span name = span_of(o->keywords[i]);
		uint64_t bit = 0;

		if ((bits >> i & 1) && mailbox_row_keywords(row, &name, 1, true, &bit, NULL) == 0)
			out |= bit;
	}
	return out;
}

/* Appends found[from..to), all of one mailbox, to mailbox id. */
static int put_back(struct undelete_op *op, size_t from, size_t to, uint64_t id, struct err *err)
{
	const struct origin *o = &op->os.o[op->found[from].origin];
	struct chunk_appender app;
	struct mailbox_row row;
	struct account_row a;

	if (account_get(op->txn, op->account, &a, err) < 0 ||
	    mailbox_row_open(op->txn, op->account, id, &row, err) < 0 ||
	    chunk_appender_open(&app, op->txn, op->account, id, err) < 0)
		return -1;
	if (to - from >= UINT32_MAX - row.mb.uidnext)
		return err_set(err, ERR_LIMIT, "mailbox \"%s\" has no UIDs left", row.mb.name);
	row.mb.highestmodseq = ++a.modseq;
	for (size_t i = from; i < to; i++) {
		struct store_message m = op->found[i].m;

		m.uid = row.mb.uidnext++;
		m.modseq = a.modseq;
		m.flags &= ~FLAG_DELETED;
		m.keywords = map_keywords(&row, o, m.keywords);
		mailbox_row_count(&row, &m, 1);
		a.bytes += m.size;
		if (chunk_appender_add(&app, &m, err) < 0)
			return -1;
	}
	a.messages += to - from;
	op->res->messages += to - from;
	store_note(op->txn, op->account, id, a.modseq);
	return chunk_appender_flush(&app, err) < 0 ||
		       mailbox_row_put(op->txn, op->account, &row, err) < 0 ||
		       account_put(op->txn, op->account, &a, err) < 0
		   ? -1
		   : 0;
}

static int undelete_run(struct undelete_op *op, struct err *err)
{
	uint64_t id;

	if (origins_load(&op->os, op->txn, op->account, err) < 0 || take_messages(op, err) < 0)
		return -1;
	if (op->n && kept_release(op->txn, op->account, op->bytes, op->n, err) < 0)
		return -1;
	if (op->n)
		qsort(op->found, op->n, sizeof(*op->found), found_cmp);
	for (size_t from = 0, to; from < op->n; from = to) {
		for (to = from; to < op->n && op->found[to].origin == op->found[from].origin; to++)
			;
		if (open_target(op, &op->os.o[op->found[from].origin], &id, err) < 0 ||
		    put_back(op, from, to, id, err) < 0)
			return -1;
	}
	/* Also mailboxes in which there was nothing. */
	for (size_t i = 0; i < op->os.gone && !op->what->uid && !op->res->is_more; i++)
		if (is_meant(op, &op->os.o[i]) && op->os.o[i].deleted >= op->what->since &&
		    open_target(op, &op->os.o[i], &id, err) < 0)
			return -1;
	return 0;
}

int store_undelete(struct db_txn *txn, uint64_t account, const struct store_undelete *what,
    struct store_undeleted *res, struct err *err)
{
	struct undelete_op op = {.txn = txn, .account = account, .what = what, .res = res};
	char name[STORE_NAME_MAX + 1];
	struct store_undelete norm = *what;
	int rc;

	*res = (struct store_undeleted){0};
	if (what->mailbox.n) {
		if (store_name_check(what->mailbox, name, err) < 0)
			return -1;
		norm.mailbox = span_of(name);
		op.what = &norm;
	}
	op.found = mem_array(STORE_UNDELETE_MAX, sizeof(*op.found));
	rc = undelete_run(&op, err);
	origins_clear(&op.os);
	mem_free(op.found);
	return rc;
}
