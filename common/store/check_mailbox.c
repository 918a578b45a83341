/* Mailboxes, their names and the chunks of their messages. */
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/store/check_int.h"
#include "common/store/mailbox_int.h"

#include <stdio.h>
#include <string.h>

static struct check_box *find_box(struct checking *k, uint64_t id)
{
	for (size_t i = 0; i < k->box_count; i++)
		if (k->boxes[i].id == id)
			return &k->boxes[i];
	return NULL;
}

static void add_box(struct checking *k, uint64_t id, const char *name)
{
	if (k->box_count == k->box_cap) {
		k->box_cap = k->box_cap ? k->box_cap * 2 : 16;
		k->boxes = mem_grow(k->boxes, k->box_cap, sizeof(*k->boxes));
	}
	k->boxes[k->box_count++] = (struct check_box){id, mem_strdup(name)};
}

void check_ref(struct checking *k, uint64_t object, const char *mailbox, uint32_t uid)
{
	if (k->ref_count == k->ref_cap) {
		k->ref_cap = k->ref_cap ? k->ref_cap * 2 : 1024;
		k->refs = mem_grow(k->refs, k->ref_cap, sizeof(*k->refs));
	}
	k->refs[k->ref_count++] = (struct ref){object, mailbox, uid};
}

/* --- the messages of one mailbox -----------------------------------------------------------------
 */
struct box_sum {
	uint32_t messages, unseen, deleted, last_uid;
	uint64_t bytes, modseq;
};

/* An entry whose object is there counts; one without goes. */
static bool check_entry(struct checking *k, const struct mailbox_row *row,
    const struct store_message *m, struct box_sum *s)
{
	struct err why = ERR_INIT;
	struct blob blob;

	if (m->uid <= s->last_uid)
		check_damage(k, row->mb.name, m->uid, false, "UIDs are not in order");
	if (store_object_blob(k->txn, k->account, m->object, &blob, &why) < 0 &&
	    why.code == ERR_NOT_FOUND) {
		check_damage(k, row->mb.name, m->uid, true, "its object %llu is gone",
		    (unsigned long long)m->object);
		return false;
	}
	if (why.code != ERR_NONE)
		check_damage(k, row->mb.name, m->uid, false, "%s", why.text);
	else if (blob.size != m->size)
		check_damage(k, row->mb.name, m->uid, true, "size %llu, its body has %llu",
		    (unsigned long long)m->size, (unsigned long long)blob.size);
	check_ref(k, m->object, row->mb.name, m->uid);
	s->last_uid = m->uid;
	s->messages++;
	s->unseen += !(m->flags & FLAG_SEEN);
	s->deleted += (m->flags & FLAG_DELETED) != 0;
	s->bytes += why.code == ERR_NONE ? blob.size : m->size;
	if (m->modseq > s->modseq)
		s->modseq = m->modseq;
	return true;
}

/* The chunk as it should be, if it is not. */
static int check_chunk(struct checking *k, const struct mailbox_row *row, struct chunk *c,
    struct span val, struct box_sum *s, struct err *err)
{
	unsigned char should[CHUNK_BYTES];
	size_t kept = 0, n;

	for (size_t i = 0; i < c->n; i++) {
		struct err why = ERR_INIT;
		struct blob blob;

		if (!check_entry(k, row, &c->m[i], s))
			continue;
		c->m[kept] = c->m[i];
		if (store_object_blob(k->txn, k->account, c->m[i].object, &blob, &why) == 0)
			c->m[kept].size = blob.size;
		kept++;
	}
	if (c->n > 0 && c->first > c->m[0].uid)
		check_damage(k, row->mb.name, c->m[0].uid, false, "its chunk begins behind it");
	c->n = kept;
	n = chunk_encode(c->m, c->n, should);
	if (span_eq(val, span_make(should, n)))
		return 0;
	if (kept > 0 && val.n == n)
		check_damage(k, row->mb.name, 0, true, "the counts of a chunk are wrong");
	if (!k->c->repair)
		return 0;
	return c->n > 0 ? chunk_put(k->txn, c, err) : chunk_del(k->txn, c, err);
}

/* One chunk at or behind *first: 1, 0 (no more), -1. Each by a cursor of its own: the one before
 * may have been written. */
static int next_chunk(struct checking *k, const struct mailbox_row *row, uint64_t *first,
    struct box_sum *s, struct err *err)
{
	struct chunk c = {.account = k->account, .mailbox = row->mb.id};
	struct err why = ERR_INIT;
	struct db_cursor cur;
	struct db_key prefix, key;
	int rc;

	if (*first > UINT32_MAX)
		return 0;
	store_key(&prefix, k->account, KIND_MESSAGE);
	db_key_u64(&prefix, row->mb.id);
	chunk_key(&key, k->account, row->mb.id, (uint32_t)*first);
	if (db_cursor_open(k->txn, &cur, db_key_span(&prefix), err) < 0)
		return -1;
	rc = db_seek(&cur, db_key_span(&key), err);
	if (rc == 1) {
		c.first = be_get32(cur.key.p + cur.key.n - 4);
		*first = (uint64_t)c.first + 1;
		if (chunk_decode(cur.val, c.m, CHUNK_MAX, &c.n, &why) < 0) {
			check_damage(k, row->mb.name, c.first, false,
			    "%s: the messages from this UID on cannot be read", why.text);
			k->hides_objects = true;
		} else if (check_chunk(k, row, &c, cur.val, s, err) < 0) {
			rc = -1;
		}
	}
	db_cursor_close(&cur);
	return rc;
}

/* --- one mailbox
 * ---------------------------------------------------------------------------------- */
static bool compare(struct checking *k, const struct mailbox_row *row, uint64_t has,
    uint64_t should, const char *what)
{
	if (has == should)
		return false;
	check_damage(k, row->mb.name, 0, true, "%s is %llu, should be %llu", what,
	    (unsigned long long)has, (unsigned long long)should);
	return true;
}

static int check_counts(
    struct checking *k, struct mailbox_row *row, const struct box_sum *s, struct err *err)
{
	struct store_mailbox *mb = &row->mb;
	bool is_wrong = compare(k, row, mb->messages, s->messages, "the number of messages");

	is_wrong |= compare(k, row, mb->unseen, s->unseen, "the number of unseen messages");
	is_wrong |= compare(k, row, mb->deleted, s->deleted, "the number of deleted messages");
	is_wrong |= compare(k, row, mb->bytes, s->bytes, "the size");
	if (mb->uidnext <= s->last_uid)
		is_wrong |= compare(k, row, mb->uidnext, (uint64_t)s->last_uid + 1, "UIDNEXT");
	if (mb->highestmodseq < s->modseq)
		is_wrong |= compare(k, row, mb->highestmodseq, s->modseq, "HIGHESTMODSEQ");
	if (!is_wrong || !k->c->repair)
		return 0;
	mb->messages = s->messages;
	mb->unseen = s->unseen;
	mb->deleted = s->deleted;
	mb->bytes = s->bytes;
	if (mb->uidnext <= s->last_uid)
		mb->uidnext = s->last_uid + 1;
	if (mb->highestmodseq < s->modseq)
		mb->highestmodseq = s->modseq;
	return mailbox_row_put(k->txn, k->account, row, err);
}

static int check_name(struct checking *k, const struct mailbox_row *row, struct err *err)
{
	struct span name = span_of(row->mb.name);
	struct err why = ERR_INIT;
	uint64_t id = 0;
	int rc = name_find(k->txn, k->account, name, &id, &why);

	if (rc == 0 && id == row->mb.id)
		return 0;
	if (rc < 0 && why.code != ERR_NOT_FOUND)
		return err_set(err, why.code, "%s", why.text);
	check_damage(k, row->mb.name, 0, rc < 0,
	    rc < 0 ? "it has no name row" : "another mailbox has its name");
	if (rc == 0 || !k->c->repair)
		return 0;
	return name_put(k->txn, k->account, name, row->mb.id, err);
}

static int check_box(struct checking *k, struct mailbox_row *row, struct err *err)
{
	struct box_sum s = {.messages = 0};
	uint64_t first = 0;
	int rc;

	k->c->mailboxes++;
	while ((rc = next_chunk(k, row, &first, &s, err)) == 1)
		;
	if (rc < 0 || check_name(k, row, err) < 0 || check_counts(k, row, &s, err) < 0)
		return -1;
	k->c->messages += s.messages;
	k->sum.messages += s.messages;
	k->sum.bytes += s.bytes;
	if (row->mb.id >= k->sum.next_mailbox)
		k->sum.next_mailbox = row->mb.id + 1;
	if (row->mb.highestmodseq > k->sum.modseq)
		k->sum.modseq = row->mb.highestmodseq;
	if (row->mb.uidvalidity > k->sum.last_uidvalidity)
		k->sum.last_uidvalidity = row->mb.uidvalidity;
	return 0;
}

/* --- all of an account
 * ------------------------------------------------------------------------------ */
/* The rows, collected first: checking writes. */
static int load_boxes(struct checking *k, struct err *err)
{
	struct mailbox_row row;
	struct db_cursor c;
	struct db_key key;
	int rc;

	store_key(&key, k->account, KIND_MAILBOX);
	if (db_cursor_open(k->txn, &c, db_key_span(&key), err) < 0)
		return -1;
	for (rc = db_first(&c, err); rc == 1; rc = db_next(&c, err)) {
		uint64_t id = c.key.n == 17 ? be_get64(c.key.p + 9) : 0;

		if (id == 0 || !mailbox_row_decode(c.val, id, &row))
			check_damage(k, NULL, 0, false, "the row of mailbox %llu does not decode",
			    (unsigned long long)id);
		else
			add_box(k, id, row.mb.name);
	}
	db_cursor_close(&c);
	return rc;
}

/* A chunk whose mailbox has no row: gives it one, under a name of its own. */
static int adopt(struct checking *k, uint64_t id, struct err *err)
{
	struct mailbox_row row = {.mb = {.id = id, .uidnext = 1}};

	snprintf(row.mb.name, sizeof(row.mb.name), "Recovered %llu", (unsigned long long)id);
	check_damage(k, row.mb.name, 0, true, "messages of mailbox %llu, which has no row",
	    (unsigned long long)id);
	if (!k->c->repair)
		return 0;
	row.mb.uidvalidity = (uint32_t)clock_now();
	row.mb.recent_uid = 1;
	if (mailbox_row_put(k->txn, k->account, &row, err) < 0)
		return -1;
	add_box(k, id, row.mb.name);
	return 0;
}

static int find_strays(struct checking *k, struct err *err)
{
	uint64_t next = 0;
	int rc = 1;

	while (rc == 1) {
		struct db_cursor c;
		struct db_key prefix, key;
		uint64_t id = 0;

		store_key(&prefix, k->account, KIND_MESSAGE);
		store_key(&key, k->account, KIND_MESSAGE);
		db_key_u64(&key, next);
		if (db_cursor_open(k->txn, &c, db_key_span(&prefix), err) < 0)
			return -1;
		rc = db_seek(&c, db_key_span(&key), err);
		if (rc == 1 && c.key.n >= 17)
			id = be_get64(c.key.p + 9);
		db_cursor_close(&c);
		if (rc == 1 && !find_box(k, id) && adopt(k, id, err) < 0)
			return -1;
		if (rc == 1 && id == UINT64_MAX)
			return 0;
		next = id + 1;
	}
	return rc;
}

static int check_names(struct checking *k, struct err *err)
{
	struct db_key prefix, key;
	struct db_cursor c;
	int rc;

	store_key(&prefix, k->account, KIND_NAME);
	key = prefix;
	do {
		struct db_key found;
		bool is_dangling = false;

		if (db_cursor_open(k->txn, &c, db_key_span(&prefix), err) < 0)
			return -1;
		rc = db_seek(&c, db_key_span(&key), err);
		db_key_init(&found);
		if (rc == 1) {
			is_dangling = c.val.n != 9 || !find_box(k, be_get64(c.val.p + 1));
			db_key_raw(&found, c.key);
			key = found;
			db_key_u8(&key, 0);
		}
		db_cursor_close(&c);
		if (!is_dangling)
			continue;
		check_damage(k, NULL, 0, true, "the name \"%.*s\" stands for no mailbox",
		    (int)(found.n - prefix.n), (const char *)found.b + prefix.n);
		if (k->c->repair && db_del(k->txn, db_key_span(&found), err) < 0)
			return -1;
	} while (rc == 1);
	return rc;
}

int check_mailboxes(struct checking *k, struct err *err)
{
	if (load_boxes(k, err) < 0 || find_strays(k, err) < 0)
		return -1;
	for (size_t i = 0; i < k->box_count; i++) {
		struct mailbox_row row;

		if (mailbox_row_get(k->txn, k->account, k->boxes[i].id, &row, err) < 0)
			return -1;
		/* References name mailboxes by the name that outlives this row. */
		if (check_box(k, &row, err) < 0)
			return -1;
		for (size_t r = k->ref_count; r > 0 && k->refs[r - 1].mailbox == row.mb.name; r--)
			k->refs[r - 1].mailbox = k->boxes[i].name;
	}
	return check_names(k, err);
}
