/* Figures that no row holds: counted when they are asked for. */
#include "common/store/store_int.h"

int store_recent_count(struct db_txn *txn, uint64_t account, const struct store_mailbox *mb,
    uint32_t *count, struct err *err)
{
	struct uid_range range = {mb->recent_uid, UINT32_MAX};
	struct uidset uids = {.r = &range, .n = 1, .cap = 1};
	struct chunk_walk w;
	int rc;

	*count = 0;
	if (mb->recent_uid >= mb->uidnext)
		return 0;
	chunk_walk_init(&w, txn, account, mb->id, &uids);
	while ((rc = chunk_walk_next(&w, err)) == 1)
		for (size_t i = 0; i < w.c.n; i++)
			*count += w.c.m[i].uid >= mb->recent_uid;
	return rc;
}

int store_deleted_bytes(struct db_txn *txn, uint64_t account, const struct store_mailbox *mb,
    uint64_t *bytes, struct err *err)
{
	struct chunk_walk w;
	int rc;

	*bytes = 0;
	if (mb->deleted == 0)
		return 0;
	chunk_walk_init(&w, txn, account, mb->id, NULL);
	while ((rc = chunk_walk_next(&w, err)) == 1)
		for (size_t i = 0; i < w.c.n; i++)
			if (w.c.m[i].flags & FLAG_DELETED)
				*bytes += w.c.m[i].size;
	return rc;
}
