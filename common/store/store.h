/*
 * The mail store: accounts, mailboxes, messages. The schema stands in common/README.md.
 *
 * Two layers. The functions that take a struct db_txn are synchronous and run on the writer or a
 * reader thread, inside a struct db_op or struct db_job that the caller derives from (or directly
 * in a test). A struct store ties environment, writer, readers, blobs and change notices together
 * for a daemon; store_* functions that take a struct store belong to the loop thread.
 *
 * Errors: ERR_NOT_FOUND (no such mailbox ...), ERR_EXISTS, ERR_QUOTA, ERR_INVALID (a name), and
 * the system's. An account exists here from its first use on (store_account_ensure).
 *
 * Mailbox names are UTF-8 in NFC, '/' separates levels, at most 400 bytes, no control characters,
 * no empty level, no leading or trailing '/'. INBOX is any case at the first level.
 */
#ifndef MS_STORE_STORE_H
#define MS_STORE_STORE_H

#include "common/db/db.h"
#include "common/store/blob.h"
#include "common/store/uidset.h"

#define STORE_NAME_MAX 400
#define STORE_MAILBOXES_MAX 10000 /* and as many subscriptions */
#define STORE_KEYWORDS_MAX 64     /* different keywords in one mailbox */
#define STORE_KEYWORD_LEN_MAX 64

/* --- the store of a daemon ------------------------------------------------------------------- */
struct store;

struct store_options {
	struct loop *loop;
	const char *dir; /* <state>/store: env/ and blob/ below it */
	size_t map_size, map_max, inline_max;
	unsigned reader_threads;
	unsigned batch_ops;
	size_t batch_bytes;
	uint64_t expunged_seconds; /* how long expunged messages and deleted mailboxes are kept */
	/* Where to send change hints (imapd's socket); may be NULL. */
	const char *hint_path;
	/* A failed sync: called once on the loop; the daemon must stop acknowledging and exit. */
	void (*on_failure)(void *arg, const struct err *err);
	void *arg;
};

int store_open(const struct store_options *opt, struct store **out, struct err *err);
void store_close(struct store *s); /* finishes what waits */
void store_write(struct store *s, struct db_op *op);
void store_read(struct store *s, struct db_job *job);
struct db_env *store_env(struct store *s);
struct blob_dir *store_blobs(struct store *s);
struct workers *store_workers(struct store *s);
size_t store_inline_max(const struct store *s);
struct db_writer *store_writer(struct store *s);

/* What on_commit sends and imapd's hint socket receives: three u64, big-endian. */
#define STORE_HINT_LEN 24
struct store_change {
	uint64_t account;
	uint64_t mailbox; /* 0: the list of mailboxes changed */
	uint64_t modseq;
};
void store_change_encode(unsigned char out[STORE_HINT_LEN], const struct store_change *c);
bool store_change_decode(struct span in, struct store_change *c);
/*
 * fn comes on the loop after each commit of this process that changed something, one call per
 * change. account 0: changes of other processes may have been missed (the last transaction id
 * moved): look at everything that is open.
 */
void store_on_change(
    struct store *s, void (*fn)(void *arg, const struct store_change *c), void *arg);
/* Feeds a hint datagram that the daemon received. */
void store_take_hint(struct store *s, struct span hint);

/* --- accounts --------------------------------------------------------------------------------- */
struct store_limits {
	uint64_t quota_bytes;    /* 0: none */
	uint64_t quota_messages; /* 0: none */
	bool counts_kept;        /* what is kept for undelete counts too */
};

struct store_usage {
	uint64_t bytes, messages;
	uint64_t kept_bytes, kept_messages; /* for undelete */
};

/* Creates the account with INBOX, Drafts, Sent, Junk, Trash, Archive (special-use and subscribed)
 * if it is not there. In every writing operation of a session's start and of delivery. */
int store_account_ensure(struct db_txn *txn, uint64_t account, struct err *err);
int store_account_usage(
    struct db_txn *txn, uint64_t account, struct store_usage *u, struct err *err);
/* ERR_QUOTA if so much more is too much. What adds something asks for itself. */
int store_quota_check(struct db_txn *txn, uint64_t account, const struct store_limits *limits,
    uint64_t bytes, uint64_t messages, struct err *err);

/*
 * Takes away all that an account has, a slice of at most so many rows or bytes in each transaction:
 * call again until is_done. From the first one on the account is gone for everybody: what reads or
 * writes in it gets ERR_NOT_FOUND, store_account_ensure too. Files go when the gc comes by.
 */
#define STORE_REMOVE_ROWS 256
#define STORE_REMOVE_BYTES (1024 * 1024)
struct store_removal {
	size_t rows, bytes; /* of this slice */
	bool is_done;
};
int store_account_remove(
    struct db_txn *txn, uint64_t account, struct store_removal *r, struct err *err);

/* --- mailboxes -------------------------------------------------------------------------------- */
enum store_special_use {
	SPECIAL_NONE = 0,
	SPECIAL_DRAFTS = 1u << 0,
	SPECIAL_SENT = 1u << 1,
	SPECIAL_JUNK = 1u << 2,
	SPECIAL_TRASH = 1u << 3,
	SPECIAL_ARCHIVE = 1u << 4,
	SPECIAL_ALL = 1u << 5,
	SPECIAL_FLAGGED = 1u << 6,
};

struct store_mailbox {
	uint64_t id;
	char name[STORE_NAME_MAX + 1];
	uint32_t uidvalidity, uidnext;
	uint64_t highestmodseq;
	uint32_t messages, unseen, deleted;
	uint64_t bytes;
	uint32_t special_use;
	uint32_t recent_uid; /* messages from this UID on have not been claimed as \Recent */
	bool is_subscribed;
	bool is_noselect;  /* only a level of the hierarchy */
	bool has_children; /* set by list, find and get */
	uint64_t modseq_created;
};

/* Checks and normalises a name (NFC, INBOX in upper case): ERR_INVALID. out holds
 * STORE_NAME_MAX + 1 bytes. */
int store_name_check(struct span name, char *out, struct err *err);
int store_mailbox_find(struct db_txn *txn, uint64_t account, struct span name,
    struct store_mailbox *mb, struct err *err);
int store_mailbox_get(
    struct db_txn *txn, uint64_t account, uint64_t id, struct store_mailbox *mb, struct err *err);
/* In name order (INBOX where its name sorts); *list is mem_free'd by the caller. */
int store_mailbox_list(struct db_txn *txn, uint64_t account, struct store_mailbox **list,
    size_t *count, struct err *err);
/* Missing parents are created too. ERR_LIMIT: there are STORE_MAILBOXES_MAX. */
int store_mailbox_create(struct db_txn *txn, uint64_t account, struct span name,
    uint32_t special_use, struct store_mailbox *mb, struct err *err);
/* With children it becomes \Noselect and loses its messages (RFC 3501 6.3.4); \Noselect with
 * children is refused (ERR_INVALID), INBOX too. */
int store_mailbox_delete(struct db_txn *txn, uint64_t account, struct span name, struct err *err);
/* Children move too; INBOX: its messages move to a new mailbox (RFC 3501 6.3.5). Names below the
 * new place must be free. */
int store_mailbox_rename(
    struct db_txn *txn, uint64_t account, struct span from, struct span to, struct err *err);
int store_mailbox_subscribe(
    struct db_txn *txn, uint64_t account, struct span name, bool on, struct err *err);
/* Messages that nobody has been shown as \Recent; bytes of the messages with \Deleted. */
int store_recent_count(struct db_txn *txn, uint64_t account, const struct store_mailbox *mb,
    uint32_t *count, struct err *err);
int store_deleted_bytes(struct db_txn *txn, uint64_t account, const struct store_mailbox *mb,
    uint64_t *bytes, struct err *err);
/* Subscriptions to names that do not exist are kept as well: listed by this one. */
int store_subscription_list(struct db_txn *txn, uint64_t account,
    void (*fn)(void *arg, struct span name), void *arg, struct err *err);

/* --- messages --------------------------------------------------------------------------------- */
#define FLAG_SEEN (1u << 0)
#define FLAG_ANSWERED (1u << 1)
#define FLAG_FLAGGED (1u << 2)
#define FLAG_DELETED (1u << 3)
#define FLAG_DRAFT (1u << 4)
#define FLAGS_ALL 0x1fu
/* Beside the flags, but none of IMAP's: nobody changes it. The message came as an internationalized
 * one (SMTPUTF8, RFC 6531; APPEND's UTF8, RFC 6855): clients that cannot read that get it
 * downgraded (message_downgrade). */
#define MESSAGE_UTF8 (1u << 5)
#define FLAGS_STORED (FLAGS_ALL | MESSAGE_UTF8)

struct store_message {
	uint32_t uid;
	uint32_t flags;
	uint64_t keywords; /* bit n: the mailbox's keyword n */
	uint64_t modseq;
	uint64_t object;
	uint64_t size;                  /* RFC822.SIZE */
	int64_t internaldate, savedate; /* seconds since 1970 */
};

/* An immutable picture of a mailbox; shared by sessions, reference-counted (atomically). */
struct store_snapshot {
	uint64_t account, mailbox;
	uint32_t uidvalidity, uidnext;
	uint64_t highestmodseq;
	uint32_t recent_uid;
	uint32_t special_use;
	size_t count;
	struct store_message *messages; /* by UID */
	size_t keyword_count;
	char (*keywords)[STORE_KEYWORD_LEN_MAX + 1];
};

int store_snapshot_load(struct db_txn *txn, uint64_t account, uint64_t mailbox,
    struct store_snapshot **out, struct err *err);
struct store_snapshot *store_snapshot_ref(struct store_snapshot *s);
void store_snapshot_unref(struct store_snapshot *s); /* NULL is fine; any thread */
/*
 * latest, and those messages of old that it has no more, in their places: for a session that may
 * not be told yet that they went. A new reference to latest itself if there are none. Any thread.
 */
struct store_snapshot *store_snapshot_join(
    const struct store_snapshot *old, struct store_snapshot *latest);
/* Index of the first message with a UID >= uid (count if none). */
size_t store_snapshot_search(const struct store_snapshot *s, uint32_t uid);

/* The body of an object. blob->data points into the map: open or copy it inside the transaction.*/
int store_object_blob(
    struct db_txn *txn, uint64_t account, uint64_t object, struct blob *blob, struct err *err);
/* The cache row (store/cache.h); ERR_NOT_FOUND if it must be rebuilt from the body. */
int store_object_cache(
    struct db_txn *txn, uint64_t account, uint64_t object, struct span *row, struct err *err);
int store_object_cache_put(
    struct db_txn *txn, uint64_t account, uint64_t object, struct span row, struct err *err);
/* What the object's thread is named by: the first object of the account with its Message-ID. */
int store_object_thread(
    struct db_txn *txn, uint64_t account, uint64_t object, uint64_t *thread, struct err *err);

struct store_append {
	uint32_t flags;              /* FLAGS_STORED */
	const struct span *keywords; /* names */
	size_t keyword_count;
	int64_t internaldate;
	const struct blob *blob; /* with data if inline */
	struct span cache;       /* may be empty */
	struct span message_id;  /* for threads; may be empty */
	struct store_limits limits;
};

struct store_appended {
	uint32_t uidvalidity, uid;
	uint64_t modseq, object;
};

int store_append(struct db_txn *txn, uint64_t account, uint64_t mailbox,
    const struct store_append *m, struct store_appended *res, struct err *err);

/*
 * Delivery, exactly once: key is what names this delivery for ever (queue id and recipient). If it
 * was delivered before, *is_repeat is set and nothing is written. The record is kept for
 * STORE_DELIVERED_DAYS days.
 */
#define STORE_DELIVERED_DAYS 14
int store_delivered_check(struct db_txn *txn, struct span key, bool *is_repeat, struct err *err);
int store_delivered_add(struct db_txn *txn, struct span key, struct err *err);

enum store_flags_mode { FLAGS_SET, FLAGS_ADD, FLAGS_REMOVE };

struct store_flags_change {
	enum store_flags_mode mode;
	uint32_t flags;
	const struct span *keywords;
	size_t keyword_count;
	bool has_unchangedsince; /* CONDSTORE: skip messages with a higher modseq */
	uint64_t unchangedsince;
};

/* Unknown UIDs are skipped. failed (may be NULL) takes those that unchangedsince kept back. */
int store_flags_change(struct db_txn *txn, uint64_t account, uint64_t mailbox,
    const struct uidset *uids, const struct store_flags_change *ch, struct uidset *failed,
    uint64_t *modseq, struct err *err);
/* The messages of uids that are there, in order, at most max: *n of them in out. */
int store_messages_get(struct db_txn *txn, uint64_t account, uint64_t mailbox,
    const struct uidset *uids, struct store_message *out, size_t max, size_t *n, struct err *err);
/* uids NULL: all with \Deleted; only_deleted: of uids, those with \Deleted (UID EXPUNGE). */
int store_expunge(struct db_txn *txn, uint64_t account, uint64_t mailbox, const struct uidset *uids,
    bool only_deleted, struct uidset *gone, uint64_t *modseq, struct err *err);
/* from[i] became to[i]; ascending. is_move expunges the sources in the same transaction. */
struct store_copied {
	uint32_t uidvalidity;
	struct uidset from, to; /* initialised by the caller, reset by each run */
};
int store_copy(struct db_txn *txn, uint64_t account, uint64_t mailbox, const struct uidset *uids,
    uint64_t target, bool is_move, const struct store_limits *limits, struct store_copied *res,
    struct err *err);
/*
 * UIDs that vanished after modseq since (QRESYNC). *is_complete false: it goes back further than
 * what is remembered; every UID the client knows and the mailbox does not have has vanished.
 */
int store_vanished(struct db_txn *txn, uint64_t account, uint64_t mailbox, uint64_t since,
    struct uidset *out, bool *is_complete, struct err *err);
/* Claims \Recent: the caller's session shows messages from *first on as \Recent, nobody else. */
int store_recent_claim(
    struct db_txn *txn, uint64_t account, uint64_t mailbox, uint32_t *first, struct err *err);

/* --- undelete --------------------------------------------------------------------------------- */
/*
 * What was expunged, and mailboxes that were deleted, can be restored until the gc takes them
 * (expunged_seconds). Messages come back with flags, keywords and dates, but for \Deleted, at the
 * end of the mailbox they were in, whatever its name is now; if it is gone, of the one that has its
 * name now, which is made again where needed. Limits are not asked.
 */
struct store_deleted {
	const char *mailbox; /* its name, now or last */
	bool is_mailbox_gone;
	int64_t time;                  /* when it was expunged */
	const struct store_message *m; /* NULL: the deleted mailbox itself */
};
/* By time. fn may end it with false. Reader thread. */
int store_deleted_list(struct db_txn *txn, uint64_t account,
    bool (*fn)(void *arg, const struct store_deleted *d), void *arg, struct err *err);

#define STORE_UNDELETE_MAX 20000
struct store_undelete {
	struct span mailbox; /* of mailboxes with this name; empty: of all */
	uint32_t uid;        /* this message; 0: all */
	int64_t since;       /* expunged at or after this time; 0: all */
};
struct store_undeleted {
	size_t messages, mailboxes; /* restored, made again */
	bool is_more;               /* STORE_UNDELETE_MAX were restored: call again */
};
int store_undelete(struct db_txn *txn, uint64_t account, const struct store_undelete *what,
    struct store_undeleted *res, struct err *err);

/* --- removing what nobody refers to ------------------------------------------------------------
 */
/*
 * One slice of a round through the store: delivery records of more than STORE_DELIVERED_DAYS days
 * go, expunged messages (and what is kept of deleted mailboxes) of more than expunged_seconds lose
 * their references, and files that have
 * had none for file_seconds are handed out to be unlinked: in two steps, first marked here, then
 * unlinked outside of any transaction, then forgotten by store_gc_forget. A file that is marked
 * gets no new reference (ERR_TEMP). store_open does all of it in the background.
 */
#define STORE_GC_FILES 32
struct store_gc {
	int64_t now;
	uint64_t expunged_seconds, file_seconds;
	size_t budget; /* rows and objects looked at in this slice, about */
	/* where the round is; zeroed at its start */
	uint64_t account;
	struct db_key delivered;
	bool is_delivered_done, is_done;
	/* what this slice did */
	size_t freed; /* objects */
	unsigned char files[STORE_GC_FILES][BLOB_ID_LEN];
	size_t file_count;
};
int store_gc(struct db_txn *txn, struct store_gc *gc, struct err *err);
/* Starts a round now instead of in some minutes. */
void store_gc_start(struct store *s);
/* Looks for files that no row knows (store/sweep.h), if it is not doing that already. One daemon
 * is enough. */
void store_sweep(struct store *s);
/* The files have been unlinked. */
int store_gc_forget(
    struct db_txn *txn, const unsigned char (*files)[BLOB_ID_LEN], size_t count, struct err *err);

#endif
