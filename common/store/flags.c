#include "common/store/store_int.h"

/* One change of flags, while it goes through the chunks. */
struct flags_op {
	const struct store_flags_change *ch;
	struct uidset *failed;
	uint64_t bits, modseq;
	struct mailbox_row row;
	struct chunk_walk walk;
	bool has_changed;
};

static void flags_apply(const struct flags_op *op, struct store_message *m)
{
	uint32_t flags = op->ch->flags & FLAGS_ALL;

	switch (op->ch->mode) {
	case FLAGS_SET:
		m->flags = flags | (m->flags & ~FLAGS_ALL);
		m->keywords = op->bits;
		break;
	case FLAGS_ADD:
		m->flags |= flags;
		m->keywords |= op->bits;
		break;
	case FLAGS_REMOVE:
		m->flags &= ~flags;
		m->keywords &= ~op->bits;
		break;
	}
}

static int flags_change_chunk(struct flags_op *op, struct db_txn *txn, struct err *err)
{
	struct chunk *c = &op->walk.c;
	bool is_dirty = false;

	for (size_t i = 0; i < c->n; i++) {
		struct store_message *m = &c->m[i], old = *m;

		if (!chunk_walk_has(&op->walk, m->uid))
			continue;
		if (op->ch->has_unchangedsince && m->modseq > op->ch->unchangedsince) {
			if (op->failed)
				uidset_add(op->failed, m->uid);
			continue;
		}
		flags_apply(op, m);
		if (m->flags == old.flags && m->keywords == old.keywords)
			continue;
		m->modseq = op->modseq;
		mailbox_row_count(&op->row, &old, -1);
		mailbox_row_count(&op->row, m, 1);
		is_dirty = true;
	}
	op->has_changed |= is_dirty;
	return is_dirty ? chunk_put(txn, c, err) : 0;
}

int store_flags_change(struct db_txn *txn, uint64_t account, uint64_t mailbox,
    const struct uidset *uids, const struct store_flags_change *ch, struct uidset *failed,
    uint64_t *modseq, struct err *err)
{
	struct flags_op op = {.ch = ch, .failed = failed};
	struct account_row a;
	size_t keywords;
	int rc;

	if (failed)
		uidset_reset(failed);
	if (account_get(txn, account, &a, err) < 0 ||
	    mailbox_row_open(txn, account, mailbox, &op.row, err) < 0)
		return -1;
	keywords = op.row.keyword_count;
	if (mailbox_row_keywords(&op.row, ch->keywords, ch->keyword_count, ch->mode != FLAGS_REMOVE,
		&op.bits, err) < 0)
		return -1;
	op.modseq = a.modseq + 1;
	chunk_walk_init(&op.walk, txn, account, mailbox, uids);
	while ((rc = chunk_walk_next(&op.walk, err)) == 1)
		if (flags_change_chunk(&op, txn, err) < 0)
			return -1;
	if (rc < 0)
		return -1;
	if (op.has_changed) {
		a.modseq = op.row.mb.highestmodseq = op.modseq;
		if (account_put(txn, account, &a, err) < 0)
			return -1;
		store_note(txn, account, mailbox, op.modseq);
	}
	if (modseq)
		*modseq = op.row.mb.highestmodseq;
	if (!op.has_changed && keywords == op.row.keyword_count)
		return 0;
	return mailbox_row_put(txn, account, &op.row, err);
}
