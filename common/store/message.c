/* Messages coming in, delivery exactly once, \Recent. */
#include "common/event/clock.h"
#include "common/store/store_int.h"

int store_append(struct db_txn *txn, uint64_t account, uint64_t mailbox,
    const struct store_append *m, struct store_appended *res, struct err *err)
{
	struct chunk_appender app;
	struct account_row a;
	struct mailbox_row row;
	struct store_message msg = {.flags = m->flags & FLAGS_STORED,
	    .size = m->blob->size,
	    .internaldate = m->internaldate,
	    .savedate = clock_now()};

	if (account_get(txn, account, &a, err) < 0 ||
	    mailbox_row_open(txn, account, mailbox, &row, err) < 0 ||
	    account_check_quota(&a, &m->limits, m->blob->size, 1, err) < 0 ||
	    mailbox_row_keywords(&row, m->keywords, m->keyword_count, true, &msg.keywords, err) < 0)
		return -1;
	if (row.mb.uidnext == UINT32_MAX || row.mb.messages == UINT32_MAX)
		return err_set(err, ERR_LIMIT, "mailbox \"%s\" has no UIDs left", row.mb.name);
	msg.uid = row.mb.uidnext++;
	msg.object = a.next_object++;
	msg.modseq = ++a.modseq;
	if (object_add(txn, account, msg.object, m, err) < 0 ||
	    chunk_appender_open(&app, txn, account, mailbox, err) < 0 ||
	    chunk_appender_add(&app, &msg, err) < 0 || chunk_appender_flush(&app, err) < 0)
		return -1;
	mailbox_row_count(&row, &msg, 1);
	row.mb.highestmodseq = msg.modseq;
	a.bytes += msg.size;
	a.messages++;
	if (mailbox_row_put(txn, account, &row, err) < 0 || account_put(txn, account, &a, err) < 0)
		return -1;
	store_note(txn, account, mailbox, msg.modseq);
	if (res)
		*res = (struct store_appended){row.mb.uidvalidity, msg.uid, msg.modseq, msg.object};
	return 0;
}

static void delivered_key(struct db_key *k, struct span key)
{
	store_key(k, 0, KIND_DELIVERED);
	db_key_raw(k, key);
}

int store_delivered_check(struct db_txn *txn, struct span key, bool *is_repeat, struct err *err)
{
	struct err why = ERR_INIT;
	struct db_key k;
	struct span val;

	delivered_key(&k, key);
	*is_repeat = db_get(txn, db_key_span(&k), &val, &why) == 0;
	if (*is_repeat || why.code == ERR_NOT_FOUND)
		return 0;
	return err_set(err, why.code, "%s", why.text);
}

int store_delivered_add(struct db_txn *txn, struct span key, struct err *err)
{
	unsigned char row[9];
	int64_t now = clock_now();
	struct db_key k;

	row[0] = ROW_VERSION;
	be_put64(row + 1, now > 0 ? (uint64_t)now : 0);
	delivered_key(&k, key);
	return db_put(txn, db_key_span(&k), span_make(row, sizeof(row)), err);
}

int store_recent_claim(
    struct db_txn *txn, uint64_t account, uint64_t mailbox, uint32_t *first, struct err *err)
{
	struct mailbox_row row;

	if (mailbox_row_open(txn, account, mailbox, &row, err) < 0)
		return -1;
	*first = row.mb.recent_uid;
	if (row.mb.recent_uid == row.mb.uidnext)
		return 0;
	row.mb.recent_uid = row.mb.uidnext;
	return mailbox_row_put(txn, account, &row, err);
}

int store_messages_get(struct db_txn *txn, uint64_t account, uint64_t mailbox,
    const struct uidset *uids, struct store_message *out, size_t max, size_t *n, struct err *err)
{
	struct chunk_walk w;
	int rc;

	*n = 0;
	chunk_walk_init(&w, txn, account, mailbox, uids);
	while ((rc = chunk_walk_next(&w, err)) == 1)
		for (size_t i = 0; i < w.c.n && *n < max; i++)
			if (chunk_walk_has(&w, w.c.m[i].uid))
				out[(*n)++] = w.c.m[i];
	return rc;
}
