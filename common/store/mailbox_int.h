/* What creating and renaming mailboxes share. */
#ifndef MS_STORE_MAILBOX_INT_H
#define MS_STORE_MAILBOX_INT_H

#include "common/store/store_int.h"

int name_put(struct db_txn *txn, uint64_t account, struct span name, uint64_t id, struct err *err);
int name_del(struct db_txn *txn, uint64_t account, struct span name, struct err *err);
int name_find(
    struct db_txn *txn, uint64_t account, struct span name, uint64_t *id, struct err *err);
/* 1, 0, -1 */
int name_has_children(struct db_txn *txn, uint64_t account, struct span name, struct err *err);
/* Makes a mailbox under a name that is free; changes a, which the caller writes. */
int mailbox_add(struct db_txn *txn, uint64_t account, struct account_row *a, struct span name,
    uint32_t special_use, uint64_t *id, struct err *err);
int mailbox_add_parents(
    struct db_txn *txn, uint64_t account, struct account_row *a, struct span name, struct err *err);

#endif
