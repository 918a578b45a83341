/* What the parts of the check share. */
#ifndef MS_STORE_CHECK_INT_H
#define MS_STORE_CHECK_INT_H

#include "common/store/check.h"
#include "common/store/store_int.h"

/* A message, or an expunged one (mailbox NULL), that refers to an object. */
struct ref {
	uint64_t object;
	const char *mailbox;
	uint32_t uid;
};

struct check_box {
	uint64_t id;
	char *name;
};

struct file_ref {
	unsigned char id[BLOB_ID_LEN];
};

struct checking {
	struct store_check *c;
	struct db_txn *txn;
	struct blob_dir *blobs;
	uint64_t account;
	struct check_box *boxes;
	size_t box_count, box_cap;
	struct ref *refs;
	size_t ref_count, ref_cap;
	struct file_ref *files; /* one for each object that has one, of all accounts */
	size_t file_count, file_cap;
	/* Rows that cannot be read refer to objects, or files, that nobody knows: then what seems
	 * to be referred to too seldom is left alone. */
	bool hides_objects; /* of this account */
	bool hides_files;
	struct account_row sum; /* what the account's row should say at least */
};

/* Reports; is_repaired follows from whether repairs are asked for and can_repair. */
bool check_damage(struct checking *k, const char *mailbox, uint32_t uid, bool can_repair,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* check_mailbox.c: mailboxes, names, chunks of one account. */
void check_ref(struct checking *k, uint64_t object, const char *mailbox, uint32_t uid);
int check_mailboxes(struct checking *k, struct err *err);
/* check_object.c: objects of one account; then files of all. */
int check_expunged(struct checking *k, struct err *err);
int check_deleted(struct checking *k, struct err *err);
int check_objects(struct checking *k, struct err *err);
/* Of an account that is being removed: only the files that its objects still refer to count. */
int check_removed(struct checking *k, struct err *err);
int check_files(struct checking *k, struct err *err);
int check_bodies(
    struct db_env *env, struct blob_dir *blobs, struct store_check *c, struct err *err);

#endif
