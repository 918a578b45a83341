/*
 * Is the store whole? Every reference, count, order and (with bodies) checksum is looked at, in one
 * transaction, so that what others write meanwhile does not confuse it. With repair, counts,
 * references, names and chunk heads are made right from what they count; messages keep their UIDs,
 * flags and dates. What cannot be made right is named by account, mailbox and UID and left as
 * readable as it is; only an entry whose object is gone altogether goes. For maint and tests: one
 * thread, no loop.
 */
#ifndef MS_STORE_CHECK_H
#define MS_STORE_CHECK_H

#include "common/db/db.h"
#include "common/store/blob.h"

struct store_damage {
	uint64_t account;    /* 0: of the store itself */
	const char *mailbox; /* its name, or NULL */
	uint32_t uid;        /* 0: not of one message */
	const char *what;
	bool is_repaired;
};

struct store_check {
	bool repair, bodies;
	void (*report)(void *arg, const struct store_damage *d);
	void (*progress)(void *arg, uint64_t done, uint64_t all); /* of bodies; may be NULL */
	void *arg;
	/* what was seen */
	uint64_t accounts, mailboxes, messages, objects, files, bodies_read;
	uint64_t damaged, repaired;
};

/* -1: the check itself failed (I/O, a row that LMDB cannot give). c->damaged says what it found. */
int store_check_run(
    struct db_env *env, struct blob_dir *blobs, struct store_check *c, struct err *err);

/* The ids of all files that have a reference: *ids is mem_free'd by the caller. */
int store_file_ids(
    struct db_txn *txn, unsigned char (**ids)[BLOB_ID_LEN], size_t *count, struct err *err);

#endif
