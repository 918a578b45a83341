/* Inside of common/store: rows and keys. The schema stands in common/README.md. */
#ifndef MS_STORE_STORE_INT_H
#define MS_STORE_STORE_INT_H

#include "common/store/store.h"

#define ROW_VERSION 1

/* The second part of every key. What a delivery writes in one account stands close together. */
enum store_kind {
	KIND_ACCOUNT = 1,
	KIND_MAILBOX = 2,      /* m */
	KIND_NAME = 3,         /* name */
	KIND_SUBSCRIPTION = 4, /* name */
	KIND_REMOVED = 5,      /* the account is being removed, or was */
	KIND_MESSAGE = 16,     /* m, first uid */
	KIND_VANISHED = 17,    /* m, modseq, first uid */
	KIND_EXPUNGED = 18,    /* time, m, first uid */
	KIND_DELETED = 19,     /* time, m */
	KIND_OBJECT = 32,      /* object, part */
	KIND_THREAD = 48,      /* hash of the message id */
	/* of account 0: */
	KIND_DELIVERED = 64, /* key of the delivery */
	KIND_FILE = 65,      /* file id */
	KIND_GC = 66,        /* time, file id */
	KIND_FORMAT = 67,    /* the number of the format: db/env.c */
};

/* The parts of an object are neighbours: its row, its body if that is inline, its cache row. */
enum store_object_part { OBJECT_ROW = 0, OBJECT_BODY = 1, OBJECT_CACHE = 2 };

void store_key(struct db_key *k, uint64_t account, enum store_kind kind);
int store_corrupt(struct err *err, uint64_t account, const char *what);
void store_note(struct db_txn *txn, uint64_t account, uint64_t mailbox, uint64_t modseq);

/* --- account and mailbox rows ------------------------------------------------------------------
 */
struct account_row {
	uint64_t bytes, messages;
	uint64_t kept_bytes, kept_messages; /* for undelete */
	uint64_t next_mailbox, next_object, modseq;
	uint32_t last_uidvalidity;
};

int account_get(struct db_txn *txn, uint64_t account, struct account_row *a, struct err *err);
int account_put(struct db_txn *txn, uint64_t account, const struct account_row *a, struct err *err);
/* Whether store_account_remove has begun with it: what is left of it refers to nothing for sure. */
int account_is_removed(struct db_txn *txn, uint64_t account, bool *is_removed, struct err *err);
/* Seconds since 1970, but always more than the last one of the account. */
uint32_t account_next_uidvalidity(struct account_row *a);
int account_check_quota(const struct account_row *a, const struct store_limits *limits,
    uint64_t bytes, uint64_t messages, struct err *err);

struct mailbox_row {
	struct store_mailbox mb;
	uint64_t vanished_floor; /* what vanished up to this modseq is not known any more */
	uint32_t vanished_rows;
	size_t keyword_count;
	char keywords[STORE_KEYWORDS_MAX][STORE_KEYWORD_LEN_MAX + 1];
};

/* The row as it is stored; decoding is total. */
#define MAILBOX_ROW_MAX 8192
void mailbox_row_encode(struct strbuf *b, const struct mailbox_row *row);
bool mailbox_row_decode(struct span val, uint64_t id, struct mailbox_row *row);
int mailbox_row_get(
    struct db_txn *txn, uint64_t account, uint64_t id, struct mailbox_row *row, struct err *err);
int mailbox_row_put(
    struct db_txn *txn, uint64_t account, const struct mailbox_row *row, struct err *err);
/* As get, and ERR_INVALID for \Noselect. */
int mailbox_row_open(
    struct db_txn *txn, uint64_t account, uint64_t id, struct mailbox_row *row, struct err *err);
/* Counts one message in (sign 1) or out (-1). */
void mailbox_row_count(struct mailbox_row *row, const struct store_message *m, int sign);
/* Bits of the named keywords; new ones are added to row if add: ERR_LIMIT, ERR_INVALID. */
int mailbox_row_keywords(struct mailbox_row *row, const struct span *names, size_t count, bool add,
    uint64_t *bits, struct err *err);

/* --- chunks: messages, packed ------------------------------------------------------------------
 */
#define CHUNK_HEAD 16
#define CHUNK_ENTRY 40
#define CHUNK_BYTES 4080 /* with LMDB's page header exactly one page */
#define CHUNK_MAX ((CHUNK_BYTES - CHUNK_HEAD) / CHUNK_ENTRY)
#define CHUNK_MERGE (CHUNK_MAX * 3 / 4) /* neighbours that are together at most this become one */

struct chunk {
	uint64_t account, mailbox;
	uint32_t first; /* in the key: no message of the chunk has a lower UID */
	size_t n;
	struct store_message m[CHUNK_MAX];
};

size_t chunk_encode(const struct store_message *m, size_t n, unsigned char out[CHUNK_BYTES]);
/* Appends the messages of a row to m; -1 with ERR_CORRUPT. */
int chunk_decode(struct span row, struct store_message *m, size_t cap, size_t *n, struct err *err);
void chunk_key(struct db_key *k, uint64_t account, uint64_t mailbox, uint32_t first);
int chunk_put(struct db_txn *txn, const struct chunk *c, struct err *err);
int chunk_del(struct db_txn *txn, const struct chunk *c, struct err *err);
/* Writes a chunk that lost messages: deletes an empty one, merges a thin one with a neighbour. */
int chunk_put_thinned(struct db_txn *txn, struct chunk *c, struct err *err);

/* Goes through the chunks that hold messages of a set, in order. */
struct chunk_walk {
	struct db_txn *txn;
	const struct uidset *uids; /* NULL: all */
	size_t range;
	uint64_t next; /* UIDs below are done */
	struct chunk c;
};

void chunk_walk_init(struct chunk_walk *w, struct db_txn *txn, uint64_t account, uint64_t mailbox,
    const struct uidset *uids);
/* 1: w->c is the next chunk (which may be written back or deleted), 0: end, -1. */
int chunk_walk_next(struct chunk_walk *w, struct err *err);
/* Is this UID meant? To be asked in ascending order. */
bool chunk_walk_has(struct chunk_walk *w, uint32_t uid);

/* Adds messages at the end of a mailbox. */
struct chunk_appender {
	struct db_txn *txn;
	struct chunk c;
	bool is_dirty;
};

int chunk_appender_open(struct chunk_appender *a, struct db_txn *txn, uint64_t account,
    uint64_t mailbox, struct err *err);
int chunk_appender_add(struct chunk_appender *a, const struct store_message *m, struct err *err);
int chunk_appender_flush(struct chunk_appender *a, struct err *err);

/* --- objects and files -------------------------------------------------------------------------
 */
struct object_row {
	uint32_t refs;
	uint64_t thread;
	struct blob blob; /* without data */
};

int object_get(
    struct db_txn *txn, uint64_t account, uint64_t object, struct object_row *row, struct err *err);
int object_put(struct db_txn *txn, uint64_t account, uint64_t object, const struct object_row *row,
    struct err *err);
int object_add(struct db_txn *txn, uint64_t account, uint64_t object, const struct store_append *m,
    struct err *err);
int object_ref(struct db_txn *txn, uint64_t account, uint64_t object, struct err *err);
/* Without references the rows go, and the file's reference. */
int object_unref(
    struct db_txn *txn, uint64_t account, uint64_t object, int64_t now, struct err *err);
/* The rows go, whatever they say; a file's references are not touched. */
int object_forget(struct db_txn *txn, uint64_t account, uint64_t object, struct err *err);
/* References to a file of the blob folder, of all accounts. */
struct file_row {
	uint32_t refs;
	uint64_t gc_time; /* refs 0: since when; the row of KIND_GC has it in its key */
	bool is_dying;    /* is being unlinked: no new reference */
};

void file_key(struct db_key *k, const unsigned char id[BLOB_ID_LEN]);
void gc_key(struct db_key *k, uint64_t time, const unsigned char id[BLOB_ID_LEN]);
int file_get(struct db_txn *txn, const unsigned char id[BLOB_ID_LEN], struct file_row *f,
    bool *is_there, struct err *err);
int file_put(struct db_txn *txn, const unsigned char id[BLOB_ID_LEN], const struct file_row *f,
    struct err *err);
int file_ref(struct db_txn *txn, const unsigned char id[BLOB_ID_LEN], struct err *err);
int file_unref(
    struct db_txn *txn, const unsigned char id[BLOB_ID_LEN], int64_t now, struct err *err);

/* --- messages that go --------------------------------------------------------------------------
 */
#define VANISHED_ROWS_MAX 10000
#define VANISHED_SECONDS (90 * 86400)
/* Remembers UIDs that vanished at row->highestmodseq; forgets old ones. */
int vanished_add(struct db_txn *txn, uint64_t account, struct mailbox_row *row,
    const struct uidset *gone, struct err *err);
int vanished_clear(struct db_txn *txn, uint64_t account, uint64_t mailbox, struct err *err);
/* Keeps entries (of one chunk) for undelete. */
int expunged_put(struct db_txn *txn, struct account_row *a, uint64_t account, uint64_t mailbox,
    const struct store_message *m, size_t n, struct err *err);
/* Counts entries that are kept no longer out of an account that was not read yet. */
int kept_release(
    struct db_txn *txn, uint64_t account, uint64_t bytes, uint64_t messages, struct err *err);
/* Keeps the row of a mailbox that is being deleted for undelete. */
int deleted_put(
    struct db_txn *txn, uint64_t account, const struct mailbox_row *row, struct err *err);
/* All messages of a mailbox go, and its chunk and vanished rows; quota falls. */
int mailbox_clear(
    struct db_txn *txn, uint64_t account, struct account_row *a, uint64_t mailbox, struct err *err);

#endif
