/*
 * The mail queue: messages that were accepted and not yet delivered everywhere, in the LMDB
 * environment <state>/queue/env with bodies as the store keeps them (<state>/queue/blob). Each role
 * of smtpd opens it. The functions with a struct db_txn run on the writer or a reader thread; the
 * schema stands in smtpd/README.md. A queue id is 64 bits, increasing, printed as 16 hex digits.
 */
#ifndef MS_SMTPD_QUEUE_QUEUE_H
#define MS_SMTPD_QUEUE_QUEUE_H

#include "common/base/hash.h"
#include "common/config/config.h"
#include "common/db/db.h"
#include "common/store/blob.h"

#define QUEUE_ID_TEXT 17
#define QUEUE_ADDRESS_MAX 512 /* bytes of a formatted address; a path has at most 256 */
#define QUEUE_ORCPT_MAX 1024
#define QUEUE_HINT_LEN 8
#define QUEUE_REPLY_MAX 512
#define QUEUE_LIFE_SECONDS (5 * 86400)

struct queue;

struct queue_options {
	struct loop *loop;
	const struct config *cfg;
	unsigned reader_threads;
	void (*on_failure)(void *arg, const struct err *err);
	void *arg;
};

int queue_open(const struct queue_options *opt, struct queue **out, struct err *err);
void queue_close(struct queue *q);
void queue_write(struct queue *q, struct db_op *op);
void queue_write_lazy(struct queue *q, struct db_op *op);
void queue_read(struct queue *q, struct db_job *job);
/* Looks for body files that no entry knows (store/sweep.h). One process is enough. */
void queue_sweep(struct queue *q);
struct db_env *queue_env(struct queue *q);
struct blob_dir *queue_blobs(struct queue *q);
struct workers *queue_workers(struct queue *q);

enum queue_class { QUEUE_LOCAL = 0, QUEUE_REMOTE = 1 };
enum queue_state {
	QUEUE_WAITING = 0, /* for its time */
	QUEUE_FAILED = 1,  /* for good: the sender is told, then it goes */
	QUEUE_HELD = 2,    /* by the administrator */
	QUEUE_SENT = 3,    /* into a mailbox, or to a server that tells nobody: the sender is told,
			      then it goes */
};
/* The notice that it takes long. */
enum queue_notice { NOTICE_NONE = 0, NOTICE_DUE = 1, NOTICE_SENT = 2 };

enum queue_ret { QUEUE_RET_NONE = 0, QUEUE_RET_FULL = 1, QUEUE_RET_HEADERS = 2 }; /* RFC 3461 */
/* Bits of queue_rcpt.notify; none: as if not said. */
#define QUEUE_NOTIFY_NEVER 1u
#define QUEUE_NOTIFY_SUCCESS 2u
#define QUEUE_NOTIFY_FAILURE 4u
#define QUEUE_NOTIFY_DELAY 8u

/* One message. Spans point into the map or the caller's memory. */
struct queue_entry {
	uint64_t qid;
	struct span sender; /* formatted; empty: the null sender */
	int64_t arrival;    /* seconds since 1970 */
	struct span client, helo, session;
	uint64_t account; /* who submitted it; 0: a stranger */
	bool is_utf8, is_8bit, is_requiretls;
	enum queue_ret ret;
	struct span envid; /* xtext; empty: none */
	struct blob blob;
};

struct queue_rcpt {
	uint64_t qid;
	uint32_t n; /* number within the message */
	enum queue_class class;
	enum queue_state state;
	struct span address; /* formatted, domain in lower case */
	uint32_t tries;
	int64_t next; /* seconds since 1970 */
	struct span last_reply;
	struct span host; /* whose reply that was; empty: our own */
	uint8_t notify;
	enum queue_notice notice;
	struct span orcpt;  /* "type;xtext"; empty: none */
	struct span sender; /* in MAIL FROM for this one, formatted; empty: the entry's */
};

void queue_id_format(char out[QUEUE_ID_TEXT], uint64_t qid);
bool queue_id_parse(struct span text, uint64_t *qid);

/* Writes entry, recipients and due rows. e->qid is chosen here (later than all before). rcpts[i].n
 * is i. */
int queue_add(struct db_txn *txn, struct queue_entry *e, struct queue_rcpt *rcpts, size_t count,
    struct err *err);
/* The ids of all bodies that are files, into a set (the values mean nothing). */
int queue_each_file(struct db_txn *txn, struct hash *set, struct err *err);
int queue_entry_get(struct db_txn *txn, uint64_t qid, struct queue_entry *e, struct err *err);
int queue_rcpt_get(
    struct db_txn *txn, uint64_t qid, uint32_t n, struct queue_rcpt *r, struct err *err);
/* fn gives false to stop. after_qid 0: from the start. */
int queue_each_rcpt(struct db_txn *txn, uint64_t first_qid,
    bool (*fn)(void *arg, const struct queue_rcpt *r), void *arg, struct err *err);
/* The local recipients due at now, in order of their time; fn gives false to stop. *next is the
 * time of the first that is not due yet, 0 if there is none. */
int queue_each_due(struct db_txn *txn, int64_t now, bool (*fn)(void *arg, uint64_t qid, uint32_t n),
    void *arg, int64_t *next, struct err *err);

/*
 * Remote recipients are read destination by destination, a destination being the domain: a dead one
 * with many waiting costs the others nothing. An index says from when on each has to be looked at,
 * never too late, sometimes too early.
 */
#define QUEUE_DEST_MAX 255
/* The destinations to be looked at by now, in order of their time. *next as above. */
int queue_each_dest(struct db_txn *txn, int64_t now, bool (*fn)(void *arg, struct span dest),
    void *arg, int64_t *next, struct err *err);
/* The recipients of one that are due at now, as queue_each_due. */
int queue_each_due_of(struct db_txn *txn, struct span dest, int64_t now,
    bool (*fn)(void *arg, uint64_t qid, uint32_t n), void *arg, int64_t *next, struct err *err);
/* Puts the destination's place in the index right: after its recipients were changed. */
int queue_dest_settle(struct db_txn *txn, struct span dest, struct err *err);
/* The domain of a remote recipient; empty for a local one. */
struct span queue_dest_of(const struct queue_rcpt *r);

/* Nothing more is sent to a destination, or with an empty one to any, until that is taken back. */
int queue_pause_set(struct db_txn *txn, struct span dest, bool is_paused, struct err *err);
bool queue_is_paused(struct db_txn *txn, struct span dest);
int queue_each_pause(
    struct db_txn *txn, bool (*fn)(void *arg, struct span dest), void *arg, struct err *err);

/* The recipients whose sender is to be told something, in order of their message: FAILED, SENT, or
 * a notice is due. */
int queue_each_told(struct db_txn *txn, bool (*fn)(void *arg, uint64_t qid, uint32_t n), void *arg,
    struct err *err);
/* One more recipient of a message that is there, before another is taken out. r->qid is set, r->n
 * is chosen. */
int queue_rcpt_add(struct db_txn *txn, struct queue_rcpt *r, struct err *err);
/*
 * Takes a recipient out. With the last one the entry goes, and its body: if that is a file, *blob
 * is filled (is_file true) for the caller to unlink after the commit. Not there any more is fine: a
 * replay is harmless.
 */
int queue_rcpt_remove(
    struct db_txn *txn, uint64_t qid, uint32_t n, struct blob *file, struct err *err);
/* Sets state, tries, next, notice, last_reply and host (in the caller's memory); the rest stays as
 * it was. One that was deleted meanwhile stays deleted. */
int queue_rcpt_update(struct db_txn *txn, const struct queue_rcpt *r, struct err *err);

/* Seconds from a try to the next, by the number of tries made. */
int64_t queue_retry_delay(uint32_t tries);
/* The same after a fault of our own, which ends at some moment: a full disk, a service that starts
 * again. */
int64_t queue_fault_delay(uint32_t tries);

#endif
