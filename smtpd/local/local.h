/*
 * Local delivery: takes messages from the queue and puts them into the store, each into each
 * account exactly once. No network. One struct delivery a message under way; many at a time, so
 * that the store's writer has something to group.
 *
 *   scan (queue reader) -> load (queue reader) -> resolve (authd) -> build (intake) -> deliver
 *   (store writer) -> settle (queue writer, in batches)
 */
#ifndef MS_SMTPD_LOCAL_LOCAL_H
#define MS_SMTPD_LOCAL_LOCAL_H

#include "common/base/arena.h"
#include "common/base/hash.h"
#include "common/daemon/role.h"
#include "common/store/intake.h"
#include "common/store/store.h"
#include "smtpd/queue/queue.h"
#include "smtpd/queue/trace.h"

#define DELIVERIES_MAX 128 /* under way at once */
#define SCAN_MAX 2048      /* due recipients looked at in one scan */
#define SETTLE_MAX 512     /* results written in one operation */
#define SETTLE_MS 1000     /* a result waits at most so long for company */
#define DELIVERY_ARENA_MAX (16 * 1024 * 1024)

struct delivery;

struct due {
	uint64_t qid;
	uint32_t n;
};

struct local {
	struct role *role;
	struct queue *queue;
	struct store *store;
	struct hint_receiver *hints;
	char send_hint[CONFIG_PATH_MAX]; /* smtpd-send's */
	int hint_fd;

	/* scan.c */
	struct db_job scan;
	struct due due[SCAN_MAX];
	size_t due_count, due_next; /* found, and those of them that were looked at */
	int64_t next_due;
	bool is_scanning, scan_again, has_started;
	struct timer tick, sweep;
	uint64_t last_txn;

	struct hash *busy; /* qid of each message under way, or settled and not yet written */
	size_t deliveries;

	/* settle.c */
	struct list delivered_list, deferred_list; /* struct outcome */
	size_t settled_count;                      /* in both */
	size_t settle_max;                         /* results in one operation */
	size_t settling;                           /* operations under way */
	struct timer settle_timer;
	bool is_stuck; /* the queue took no results: nothing new is begun for a moment */

	uint64_t delivered, deferred;
};

struct rcpt {
	struct queue_rcpt row; /* spans in the arena */
	bool is_failed;        /* temporary: try again */
	bool is_fault;         /* and it is our fault: try again soon */
	char reply[128];
	struct ipc_target *targets; /* only addresses elsewhere are kept, in the arena */
	uint32_t target_count;
	struct span sender; /* of what goes on elsewhere; empty: as it is */
};

struct delivery {
	struct local *local;
	struct db_job job;
	struct arena arena;
	struct queue_entry entry;
	struct rcpt *rcpts;
	size_t count, cap, resolving;
	struct blob_reader *reader;
	struct strbuf slice;
	bool is_read;
	struct intake *intake;
	const struct intake_result *message;
	struct ipc_call *query;
	size_t writes; /* store operations under way */
	bool has_kept;
};

/* What came of a recipient: written to the queue by settle.c. */
struct outcome {
	struct list link;
	uint64_t qid;
	struct queue_rcpt row; /* when it is not: as it will be */
	char *address, *reply, *session, *from;
	char *sender; /* of what goes on elsewhere */
	uint64_t size;
	char **forwards; /* addresses elsewhere, to which it goes on */
	size_t forward_count;
	bool is_only_forwarded;
};

/* main.c: there is something for smtpd-send, which would see it a moment later by itself. */
void local_tell_send(struct local *l);

/* scan.c */
void scan_start(struct local *l); /* looks for work now, or again after the running look */
void scan_hint(struct local *l, uint64_t qid); /* 0: several have come */
void scan_more(struct local *l);               /* a delivery has ended: begin the next */
void scan_init(struct local *l);
void scan_stop(struct local *l);

/* deliver.c */
void delivery_start(struct local *l, uint64_t qid);
void delivery_failed(struct delivery *d, const struct err *err); /* all its recipients wait */
void delivery_end(struct delivery *d);
void delivery_gone(struct local *l); /* one of l->deliveries */

/* message.c: a small message, all of it on the reader's thread. */
#define MESSAGE_WHOLE_MAX (64 * 1024)
void message_take_whole(struct delivery *d, struct err *err);
/* message.c: the body, with Return-Path, through the intake; then delivery_write. */
void message_build(struct delivery *d);
/* deliver.c: into the store. */
void delivery_write(struct delivery *d);

/* settle.c */
void settle_add(
    struct local *l, const struct queue_entry *e, const struct rcpt *r, bool is_delivered);
void settle_init(struct local *l);
void settle_stop(struct local *l); /* writes what waits */

/* removal.c: remove-account NUMBER queue|store */
void removal_admin(struct local *l, const struct ipc_admin *cmd, const struct admin_request *rq);

/* suggest.c */
void suggest_admin(struct local *l, const struct admin_request *rq);

/* trace.c */
void trace_admin(struct local *l, const struct ipc_admin *cmd, const struct admin_request *rq);

/* traffic.c */
void traffic_admin(struct local *l, const struct ipc_admin *cmd, const struct admin_request *rq);

/* What an administrator does to recipients that wait. */
struct queue_verb {
	const char *name, *done;
	enum queue_state to;
	bool is_delete, is_release;
};

/* admin.c */
int queue_change_rcpt(struct db_txn *txn, const struct queue_verb *verb,
    const struct trace_limits *limits, uint64_t qid, uint32_t n, struct err *err);
int queue_trace_removed(
    struct db_txn *txn, const struct trace_limits *limits, uint64_t qid, struct err *err);

/* bulk.c: to all of a domain, or with an empty one to all; pauses. */
void bulk_admin(struct local *l, const struct queue_verb *verb, struct span domain,
    const struct admin_request *rq);
/* What the account has submitted and still waits goes. */
void bulk_remove_account(struct local *l, uint64_t account, const struct admin_request *rq);
void pause_admin(struct local *l, const struct ipc_admin *cmd, const struct admin_request *rq);
void pause_list(struct local *l, const struct admin_request *rq);

/* admin.c */
void local_admin(struct role *r, const struct ipc_admin *cmd, const struct admin_request *rq);

#endif
