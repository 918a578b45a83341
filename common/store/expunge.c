/* Messages that go: from their chunk into a row for undelete, and into the list of vanished UIDs.
 */
#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/store/store_int.h"

int expunged_put(struct db_txn *txn, struct account_row *a, uint64_t account, uint64_t mailbox,
    const struct store_message *m, size_t n, struct err *err)
{
	int64_t now = clock_now();
	unsigned char row[CHUNK_BYTES];
	size_t len = chunk_encode(m, n, row);
	struct db_key k;

	for (size_t i = 0; i < n; i++)
		a->kept_bytes += m[i].size;
	a->kept_messages += n;
	store_key(&k, account, KIND_EXPUNGED);
	db_key_u64(&k, now > 0 ? (uint64_t)now : 0);
	db_key_u64(&k, mailbox);
	db_key_u32(&k, m[0].uid);
	return db_put(txn, db_key_span(&k), span_make(row, len), err);
}

int kept_release(
    struct db_txn *txn, uint64_t account, uint64_t bytes, uint64_t messages, struct err *err)
{
	struct account_row a;

	if (account_get(txn, account, &a, err) < 0)
		return -1;
	/* A wrong count is for the check to find, and nothing that waits for it. */
	a.kept_bytes -= bytes < a.kept_bytes ? bytes : a.kept_bytes;
	a.kept_messages -= messages < a.kept_messages ? messages : a.kept_messages;
	return account_put(txn, account, &a, err);
}

static int expunge_open(struct db_txn *txn, uint64_t account, uint64_t mailbox,
    struct account_row *a, struct mailbox_row *row, struct err *err)
{
	if (account_get(txn, account, a, err) < 0)
		return -1;
	return mailbox_row_open(txn, account, mailbox, row, err);
}

/* Takes the meant messages out of a chunk and counts them out. */
static int expunge_chunk(struct chunk_walk *w, struct account_row *a, struct mailbox_row *row,
    bool only_deleted, struct uidset *gone, struct err *err)
{
	struct store_message removed[CHUNK_MAX];
	struct chunk *c = &w->c;
	size_t keep = 0, n = 0;

	for (size_t i = 0; i < c->n; i++) {
		struct store_message *m = &c->m[i];

		if (!chunk_walk_has(w, m->uid) || (only_deleted && !(m->flags & FLAG_DELETED))) {
			c->m[keep++] = *m;
			continue;
		}
		mailbox_row_count(row, m, -1);
		a->bytes -= m->size;
		a->messages--;
		removed[n++] = *m;
		if (!uidset_add(gone, m->uid))
			return err_set(err, ERR_LIMIT, "too many messages at once");
	}
	if (n == 0)
		return 0;
	c->n = keep;
	if (expunged_put(w->txn, a, c->account, c->mailbox, removed, n, err) < 0)
		return -1;
	return chunk_put_thinned(w->txn, c, err);
}

int store_expunge(struct db_txn *txn, uint64_t account, uint64_t mailbox, const struct uidset *uids,
    bool only_deleted, struct uidset *gone, uint64_t *modseq, struct err *err)
{
	struct account_row a;
	struct mailbox_row row;
	struct chunk_walk w;
	struct uidset own;
	int rc = -1;

	uidset_init(&own);
	if (!gone)
		gone = &own;
	uidset_reset(gone);
	if (expunge_open(txn, account, mailbox, &a, &row, err) < 0)
		goto out;
	chunk_walk_init(&w, txn, account, mailbox, uids);
	while ((rc = chunk_walk_next(&w, err)) == 1)
		if (expunge_chunk(&w, &a, &row, only_deleted || !uids, gone, err) < 0) {
			rc = -1;
			goto out;
		}
	if (rc < 0)
		goto out;
	if (gone->n) {
		row.mb.highestmodseq = ++a.modseq;
		rc = -1;
		if (vanished_add(txn, account, &row, gone, err) < 0 ||
		    mailbox_row_put(txn, account, &row, err) < 0 ||
		    account_put(txn, account, &a, err) < 0)
			goto out;
		store_note(txn, account, mailbox, a.modseq);
		rc = 0;
	}
	if (modseq)
		*modseq = row.mb.highestmodseq;
out:
	uidset_clear(&own);
	return rc;
}

/* One chunk of a mailbox that goes as a whole. */
static int clear_chunk(struct db_txn *txn, struct account_row *a, struct chunk *c, struct err *err)
{
	for (size_t i = 0; i < c->n; i++)
		a->bytes -= c->m[i].size;
	a->messages -= c->n;
	if (c->n && expunged_put(txn, a, c->account, c->mailbox, c->m, c->n, err) < 0)
		return -1;
	return chunk_del(txn, c, err);
}

int mailbox_clear(
    struct db_txn *txn, uint64_t account, struct account_row *a, uint64_t mailbox, struct err *err)
{
	struct chunk_walk w;
	int rc;

	chunk_walk_init(&w, txn, account, mailbox, NULL);
	while ((rc = chunk_walk_next(&w, err)) == 1)
		if (clear_chunk(txn, a, &w.c, err) < 0)
			return -1;
	return rc < 0 ? -1 : vanished_clear(txn, account, mailbox, err);
}
