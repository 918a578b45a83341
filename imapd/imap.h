/*
 * The IMAP server (RFC 3501 and what the capability line names). One struct session a connection,
 * on the loop thread; the store is reached by tasks (task.h): reads on reader threads in slices,
 * writes on the writer. One command at a time a session; what a client pipelines waits in its
 * connection. A session whose connection has gone lives until its task came back.
 *
 * What a client knows of its selected mailbox is a snapshot of the store (view). Sessions share
 * snapshots: the registry of open mailboxes (struct mbox) loads a new one when something changed,
 * and a session moves on to it, telling the client the difference, where RFC 3501 section 7.4.1 and
 * 5.5 let it.
 */
#ifndef MS_IMAPD_IMAP_H
#define MS_IMAPD_IMAP_H

#include "common/daemon/role.h"
#include "common/net/conn.h"
#include "common/sasl/sasl.h"
#include "common/store/intake.h"
#include "common/store/store.h"
#include "imapd/parser.h"

#define COMMAND_ARENA_MAX (4 * 1024 * 1024)
#define COMMAND_MAX (512 * 1024) /* bytes of a command with its literals, after login */
#define TAG_MAX 64
#define SLICE_BYTES (128 * 1024)

struct session;
struct task;

/* The worker: what all sessions share. */
struct imapd {
	struct role *role;
	struct store *store;
	struct hint_receiver *hints;
	struct list sessions;
	struct hash *mboxes; /* (account, mailbox) -> mbox */
	size_t session_count;
};

/* A mailbox that sessions have selected. */
struct mbox {
	struct imapd *server;
	uint64_t account, id;
	struct store_snapshot *latest;
	struct list views; /* struct view */
	struct list waiters; /* struct refresh, for the load under way */
	struct list next_waiters; /* for the one behind it */
	struct db_job job;
	struct store_snapshot *loaded;
	bool is_loading, is_gone, is_dead;
};

/* Somebody who waits for the mailbox as it is now. */
struct refresh {
	struct list link;
	void (*done)(struct refresh *r);
};

/* What one session knows of its selected mailbox. */
struct view {
	struct list link;
	struct mbox *mbox;
	struct store_snapshot *snap; /* as the client was told; sequence number i + 1 is messages[i] */
	bool is_read_only;
	uint32_t recent_first; /* messages from this UID on are \Recent here */
	size_t recent_told;
	size_t keywords_told;
};

enum session_state { NOT_AUTHENTICATED, AUTHENTICATED, SELECTED };

enum session_wait {
	WAIT_COMMAND,
	WAIT_LITERAL,  /* bytes of a literal into the command */
	WAIT_MESSAGE,  /* bytes of APPEND's literal into its intake */
	WAIT_DISCARD,  /* bytes of a refused literal */
	WAIT_LINE_END, /* the rest of APPEND's line */
	WAIT_SASL,
	WAIT_IDLE,   /* DONE */
	WAIT_RESULT, /* a task, or authd */
	WAIT_OUTPUT, /* the client takes a long answer */
};

struct session {
	struct imapd *server;
	struct role_listener *listener;
	struct config *cfg;
	struct conn *conn; /* NULL once it has gone */
	struct net_addr peer;
	struct list link;
	char id[17];
	char client[NET_ADDR_TEXT];
	enum session_state state;
	enum session_wait wait;
	bool is_closing, has_condstore;
	unsigned pending;
	unsigned bad;
	uint64_t commands;

	uint64_t account;
	struct store_limits limits;
	char user[SASL_USER_MAX + 1];
	struct sasl sasl;
	struct sasl_call *login;

	/* the command being read or run */
	struct strbuf line; /* with its literals */
	uint64_t literal_left;
	char tag[TAG_MAX + 1];
	struct arena arena;
	struct append *append;
	void (*on_drain)(struct session *s); /* WAIT_OUTPUT: go on */
	struct task *task;

	struct view *view; /* SELECTED */
	struct refresh refresh;
	void (*after_refresh)(struct session *s);
	/* changes this session made: not told back as news */
	struct expected {
		bool is_set, is_silent;
		struct uidset uids;
		struct store_flags_change change;
	} expected;
};

/* --- session.c -------------------------------------------------------------------------------- */
void session_start(struct imapd *p, struct role_listener *l, int fd, const struct net_addr *peer);
void session_end(struct session *s);
void session_finish_op(struct session *s);
void session_drain(struct session *s);
bool session_may_login(const struct session *s);
void session_next(struct session *s); /* the command is answered */
/* "* text". */
void untagged(struct session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The tagged answer; it ends the command (session_next). */
void finish(struct session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Tagged BAD for syntax, counted. */
void finish_bad(struct session *s, const char *text);
/* Tagged NO with the code that belongs to err. */
void finish_err(struct session *s, const struct err *err);
/* finish, after telling the news of the selected mailbox. */
void finish_sync(struct session *s, bool may_expunge, const char *text);
/* As finish_sync, but after asking the store whether there is news. */
void finish_refresh(struct session *s, bool may_expunge, const char *text);
/* After each string of bytes: waits for the client if it does not keep up. True: go on now. */
bool session_flow(struct session *s, void (*on_drain)(struct session *s));

/* --- input.c ---------------------------------------------------------------------------------- */
void input_run(struct session *s);

/* --- command.c -------------------------------------------------------------------------------- */
void command_run(struct session *s);
/* Is the literal just announced APPEND's message? */
bool command_is_append(struct session *s);

/* --- task.c: work on the store for one command ------------------------------------------------ */
struct task {
	struct session *session;
	struct db_job job;
	struct db_op op;
	void (*read)(struct task *t, struct db_txn *txn, struct err *err);
	int (*write)(struct task *t, struct db_txn *txn, struct err *err);
	void (*done)(struct task *t);  /* on the loop; session->conn is there; err says how it went */
	void (*clear)(struct task *t); /* frees what the task holds; task_free calls it */
	struct err err;
};
/* size is that of a struct whose first member is the task. The session's only task. */
void *task_new(struct session *s, size_t size);
void task_read(struct task *t);  /* runs read, then done */
void task_write(struct task *t); /* runs write until it is committed, then done */
void task_free(struct task *t);

/* --- view.c ----------------------------------------------------------------------------------- */
struct mbox *mbox_get(struct imapd *p, uint64_t account, uint64_t id);
/* done comes when latest holds all that was committed before this call (never from inside). */
void mbox_refresh(struct mbox *m, struct refresh *r, void (*done)(struct refresh *r));
void mbox_changed(struct imapd *p, const struct store_change *c);
void mbox_release(struct mbox *m); /* frees it if no view and no load is left */
void refresh_cancel(struct refresh *r);
struct view *view_open(struct session *s, struct mbox *m, bool is_read_only, uint32_t recent_first);
void view_close(struct session *s); /* of the session's selected mailbox */
/* Tells the difference between what the client knows and latest. */
void view_sync(struct session *s, bool may_expunge);
/* Remembers what this command is about to change itself. uids is taken over. */
void view_expect(struct session *s, bool is_silent, struct uidset *uids,
    const struct store_flags_change *change);
void write_flags(struct strbuf *b, const struct store_snapshot *snap, const struct store_message *m,
    bool is_recent);
void write_flags_list(struct session *s, const struct store_snapshot *snap); /* FLAGS, PERMANENTFLAGS */
bool message_is_recent(const struct view *v, const struct store_message *m);
/* Sequence set -> UIDs of the view. False: a sequence number that is not there (BAD). */
bool view_select(struct session *s, const struct sequence *seq, bool is_uid, struct uidset *out);

/* --- commands ---------------------------------------------------------------------------------- */
void write_capabilities(struct session *s, struct strbuf *b);
void sasl_line(struct session *s, struct span line);
void idle_line(struct session *s, struct span line);
void append_begin(struct session *s, uint64_t size, bool is_sync);
void append_bytes(struct session *s, struct span bytes);
bool append_is_full(struct session *s);
void append_line_end(struct session *s, struct span line);
void append_refuse(struct session *s); /* after WAIT_DISCARD */
void append_clear(struct session *s);

void cmd_capability(struct session *s, struct parser *p);
void cmd_noop(struct session *s, struct parser *p);
void cmd_logout(struct session *s, struct parser *p);
void cmd_id(struct session *s, struct parser *p);
void cmd_starttls(struct session *s, struct parser *p);
void cmd_login(struct session *s, struct parser *p);
void cmd_authenticate(struct session *s, struct parser *p);
void cmd_enable(struct session *s, struct parser *p);
void cmd_namespace(struct session *s, struct parser *p);
void cmd_select(struct session *s, struct parser *p);
void cmd_examine(struct session *s, struct parser *p);
void cmd_close(struct session *s, struct parser *p);
void cmd_unselect(struct session *s, struct parser *p);
void cmd_create(struct session *s, struct parser *p);
void cmd_delete(struct session *s, struct parser *p);
void cmd_rename(struct session *s, struct parser *p);
void cmd_subscribe(struct session *s, struct parser *p);
void cmd_unsubscribe(struct session *s, struct parser *p);
void cmd_status(struct session *s, struct parser *p);
void cmd_list(struct session *s, struct parser *p);
void cmd_lsub(struct session *s, struct parser *p);
void cmd_append(struct session *s, struct parser *p);
void cmd_check(struct session *s, struct parser *p);
void cmd_expunge(struct session *s, struct parser *p);
void cmd_uid_expunge(struct session *s, struct parser *p);
void cmd_fetch(struct session *s, struct parser *p);
void cmd_uid_fetch(struct session *s, struct parser *p);
void cmd_store(struct session *s, struct parser *p);
void cmd_uid_store(struct session *s, struct parser *p);
void cmd_copy(struct session *s, struct parser *p);
void cmd_uid_copy(struct session *s, struct parser *p);
void cmd_move(struct session *s, struct parser *p);
void cmd_uid_move(struct session *s, struct parser *p);
void cmd_search(struct session *s, struct parser *p);
void cmd_uid_search(struct session *s, struct parser *p);
void cmd_idle(struct session *s, struct parser *p);

#endif
