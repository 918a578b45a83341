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
struct facts;

/* The worker: what all sessions share. */
struct imapd {
	struct role *role;
	struct store *store;
	struct hint_receiver *hints;
	struct list sessions;
	struct hash *mboxes;     /* (account, mailbox) -> mbox */
	struct timer still_here; /* for IDLE */
	bool is_stopping;
};

/* A mailbox that sessions have selected. */
struct mbox {
	struct imapd *server;
	uint64_t account, id;
	struct store_snapshot *latest; /* NULL until the first load came back well */
	uint64_t txn;                  /* latest holds all commits up to this one */
	uint32_t recent_next;          /* messages from this UID on are nobody's \Recent yet */
	uint32_t recent_kept;          /* what the store knows of that */
	struct list views;             /* struct view */
	struct list waiters;           /* struct refresh, for the load under way */
	struct list next_waiters;      /* for the one behind it */
	struct db_job job;
	struct store_snapshot *loaded;
	uint64_t job_txn;
	struct err err; /* why the last load failed */
	struct db_op claim;
	bool is_loading, is_dirty, is_gone, is_claiming;
	struct facts *facts; /* of SORT, THREAD and SEARCH (facts.h); or NULL */
	bool wants_days;     /* a SEARCH looked at the sent dates of many messages */
};

/* Somebody who waits for the mailbox as it is now. */
struct refresh {
	struct list link;
	void (*done)(struct refresh *r);
};

/* What one session knows of its selected mailbox. */
struct view {
	struct list link;
	struct session *session;
	struct mbox *mbox;
	struct store_snapshot
	    *snap; /* as the client was told; sequence number i + 1 is messages[i] */
	struct store_snapshot *base; /* snap is this one and messages that went untold; or NULL */
	bool is_read_only;
	struct uidset recent; /* these are \Recent here */
	size_t recent_told;
	size_t keywords_told;
	struct uidset saved; /* "$" of SEARCHRES: UIDs, some of which may have gone */
};

/* A difference on its way to the client (sync.c). */
struct telling {
	struct store_snapshot *from, *to; /* NULL when nothing is being told */
	unsigned phase;
	size_t i, j, told;
	bool may_expunge;
	uint64_t keywords; /* of session.expected, as bits of to */
	void (*done)(struct session *s);
};

enum session_state { NOT_AUTHENTICATED, AUTHENTICATED, SELECTED };

enum session_wait {
	WAIT_COMMAND,
	WAIT_LITERAL,  /* bytes of a literal into the command */
	WAIT_MESSAGE,  /* bytes of APPEND's literal into its intake */
	WAIT_DISCARD,  /* bytes of a refused literal, thrown away */
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
	bool is_closing;                 /* the session ends when the loop's turn does */
	bool has_condstore, has_qresync; /* RFC 7162: enabled; qresync implies condstore */
	bool has_utf8;                   /* RFC 6855: UTF8=ACCEPT is enabled */
	bool is_uid;                     /* the command has the UID prefix: answers name UIDs */
	unsigned pending;                /* jobs and operations that will come back */
	unsigned bad;
	uint64_t commands, written;
	uint64_t spoke_at; /* IDLE: monotonic ms of the last word to the client */
	struct deferred turn_end;

	uint64_t account;
	struct store_limits limits;
	char user[SASL_USER_MAX + 1];
	struct sasl sasl;
	struct sasl_call *login;

	/* the command being read or run */
	struct strbuf line;  /* with its literals; its memory goes with the next line */
	size_t segment;      /* where in it the line begins that is being read */
	bool line_is_over;   /* what stands in it was handed on: the next byte begins a new one */
	const char *refused; /* why the rest of the command is thrown away */
	uint64_t discarded;
	uint64_t literal_left;
	char tag[TAG_MAX + 1];
	struct arena arena;
	struct append *append;
	void (*on_drain)(struct session *s); /* WAIT_OUTPUT: go on */
	struct task *task;
	struct status_ahead *ahead; /* of the STATUS commands that wait; or NULL */

	struct view *view; /* SELECTED */
	struct refresh refresh;
	void (*after_refresh)(struct session *s);
	struct telling telling;
	const char *final; /* finish_sync: the tagged answer's text, in the arena */
	bool final_may_expunge;
	/* changes this session made: not told back as news */
	struct expected {
		bool is_set, is_silent;
		struct uidset uids;
		struct store_flags_change change;
	} expected;
};

/* --- session.c -------------------------------------------------------------------------------- */
/*
 * Nothing that a command calls frees its session: the end comes at the end of the loop's turn
 * (is_closing), or from the connection.
 */
void session_start(struct imapd *p, struct role_listener *l, int fd, const struct net_addr *peer);
void session_end(struct session *s); /* sends what waits and closes; for session.c and main.c */
void session_finish_op(struct session *s); /* something of pending came back */
void session_drain(struct session *s);
void session_kick(struct session *s); /* whatever it does */
bool session_may_login(const struct session *s);
void session_next(struct session *s); /* the command is answered */
/* "* BYE text", and the session ends. */
void session_bye(struct session *s, const char *text);
/* The first use of MODSEQ (RFC 7162 section 3.1): FETCH, STORE and SEARCH call it. */
void session_enable_condstore(struct session *s);
/* "* text". */
void untagged(struct session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The tagged answer; it ends the command (session_next). What the command's arena and line hold
 * stays until the end of the loop's turn. */
void finish(struct session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Tagged BAD for syntax, counted. */
void finish_bad(struct session *s, const char *text);
/* Tagged NO with the code that belongs to err; logged if it is our fault. */
void finish_err(struct session *s, const struct err *err);
/* finish, after telling the news of the selected mailbox (if there is one) that is known already.
 */
void finish_sync(struct session *s, bool may_expunge, const char *text);
/* As finish_sync, but after asking the store whether there is news: after a write of one's own. */
void finish_refresh(struct session *s, bool may_expunge, const char *text);
/* After each string of bytes: waits for the client if it does not keep up. True: go on now. False:
 * return to the loop, on_drain goes on. */
bool session_flow(struct session *s, void (*on_drain)(struct session *s));

/* --- input.c ---------------------------------------------------------------------------------- */
void input_run(struct session *s);
/* Between commands: gives the line's memory back. */
void input_tidy(struct session *s);

/* --- command.c -------------------------------------------------------------------------------- */
/* Takes the tag off a line (into s->tag); *rest stands behind it and its space. */
bool command_tag(struct session *s, struct span line, struct span *rest);
/* Runs the command in s->line. A function of the table gets a parser that stands at the first
 * argument (the space before it is taken); for those without arguments the end was checked. */
void command_run(struct session *s);
/* Is the literal just announced at the end of s->line APPEND's message? */
bool command_is_append(struct session *s);

/* --- task.c: work on the store for one command ------------------------------------------------ */
struct task {
	struct session *session;
	struct db_job job;
	struct db_op op;
	void (*read)(struct task *t, struct db_txn *txn, struct err *err);
	int (*write)(struct task *t, struct db_txn *txn, struct err *err);
	void (*done)(
	    struct task *t); /* on the loop; session->conn is there; err says how it went */
	void (*clear)(struct task *t); /* frees what the task holds; task_free calls it; or NULL */
	struct err err;
	bool is_running;
};
/*
 * size is that of a struct whose first member is the task; zeroed. The session's only task: done
 * frees it (task_free, before or behind finish) or runs it again. It may be left alone while the
 * session is in WAIT_OUTPUT (on_drain goes on with s->task); if the client goes away it is freed.
 */
void *task_new(struct session *s, size_t size);
void task_read(struct task *t);  /* runs read, then done; WAIT_RESULT */
void task_write(struct task *t); /* runs write until it is committed, then done; WAIT_RESULT */
void task_free(struct task *t);

/* --- mbox.c: the registry of open mailboxes --------------------------------------------------- */
struct mbox *mbox_get(struct imapd *p, uint64_t account, uint64_t id);
/* Nothing was committed anywhere since latest was loaded. */
bool mbox_is_current(const struct mbox *m);
/* done comes when latest holds all that was committed before this call (never from inside); or
 * when that failed: is_gone, or err. */
void mbox_refresh(struct mbox *m, struct refresh *r, void (*done)(struct refresh *r));
void mbox_changed(struct imapd *p, const struct store_change *c);
void mbox_keep_recent(struct mbox *m); /* writes down what sessions have shown as \Recent */
void mbox_release(struct mbox *m);     /* frees it if no view and no load is left */
void mboxes_free(struct imapd *p);     /* when the store is closed */
void refresh_cancel(struct refresh *r);

/* --- view.c: what a session knows of its mailbox ---------------------------------------------- */
/* m->latest is there. The session becomes SELECTED. */
struct view *view_open(struct session *s, struct mbox *m, bool is_read_only);
void view_close(struct session *s); /* of the session's selected mailbox; AUTHENTICATED */
/* Remembers what this command is about to change itself. uids is taken over (it is empty then);
 * change's keywords must live as long as the command. A change that is not silent is told for each
 * of uids, whether or not it made a difference. */
void view_expect(struct session *s, bool is_silent, struct uidset *uids,
    const struct store_flags_change *change);
void write_flags(struct strbuf *b, const struct store_snapshot *snap, const struct store_message *m,
    bool is_recent); /* "(\Seen $Forwarded)" */
void write_flags_list(
    struct session *s, const struct store_snapshot *snap); /* FLAGS, PERMANENTFLAGS */
bool message_is_recent(const struct view *v, const struct store_message *m);
size_t view_recent_count(const struct view *v);
void view_claim_recent(struct view *v); /* of messages that came to snap */
/* Sequence set -> UIDs of the view, sorted; out is initialised, and the caller's either way. False:
 * a sequence number that is not there (BAD). UIDs that are not in the view may stand inside of a
 * range, but none beyond its last message. */
bool view_select(struct session *s, const struct sequence *seq, bool is_uid, struct uidset *out);

/* --- sync.c ----------------------------------------------------------------------------------- */
/* Tells the difference between what the client knows and latest, waiting for the client where it
 * is long; then done, maybe from inside. Without may_expunge messages that went stay in the view.
 */
void view_sync(struct session *s, bool may_expunge, void (*done)(struct session *s));
void telling_clear(struct session *s);
/* "* n FETCH (FLAGS ...": i is the index in snap, s->view->snap. With UID and MODSEQ where the
 * session wants them. */
void tell_flags(struct session *s, const struct store_snapshot *snap, size_t i);
/* "* VANISHED ..." in answers of bearable length; is_earlier for (EARLIER). */
void tell_vanished(struct session *s, const struct uidset *uids, bool is_earlier);

/* --- admin.c ---------------------------------------------------------------------------------- */
void imapd_admin(struct role *r, const struct ipc_admin *cmd, const struct admin_request *rq);
/* admin_usage.c: usage, with the accounts' numbers (u64 each) beside it: a record for each, in
 * their order. */
void imapd_admin_usage(
    struct imapd *p, const struct ipc_admin *cmd, const struct admin_request *rq);

/* --- commands ----------------------------------------------------------------------------------
 */
void write_capabilities(struct session *s, struct strbuf *b);
void sasl_line(struct session *s, struct span line);
void idle_line(struct session *s, struct span line);
void idle_news(struct session *s); /* the mailbox of an idling session changed */
void idle_start(struct imapd *p);  /* the regular "still here" */

/*
 * APPEND (cmd_append.c). When the literal that is its message has been announced, input.c calls
 * append_begin; s->line holds the command up to and with the announcement, for as long as this call
 * lasts (keep copies in the arena). append_begin, now or after WAIT_RESULT (then with conn_resume),
 * sets literal_left and s->wait to one of
 *   WAIT_MESSAGE  having written "+ OK" if is_sync: append_bytes takes the bytes as they come,
 * until append_is_full (the intake's on_ready calls conn_resume); then WAIT_LINE_END WAIT_DISCARD
 * the bytes are thrown away; then append_refuse, which sets WAIT_LINE_END or refuses a
 * synchronising literal with finish. In WAIT_LINE_END append_line_end gets the rest of the line,
 * without CRLF: empty, or another message of MULTIAPPEND ending in "{n}" or "{n+}". It sets
 * s->wait, or finishes. On a broken line (NUL, bare CR or LF, too long) input.c calls append_clear
 * and answers itself. append_clear is harmless without an APPEND.
 */
void append_begin(struct session *s, uint64_t size, bool is_sync);
void append_bytes(struct session *s, struct span bytes);
bool append_is_full(struct session *s);
void append_line_end(struct session *s, struct span line);
void append_refuse(struct session *s);
void append_clear(struct session *s);

void cmd_capability(struct session *s, struct parser *p);
void cmd_noop(struct session *s, struct parser *p);
void cmd_logout(struct session *s, struct parser *p);
void cmd_id(struct session *s, struct parser *p);
void cmd_starttls(struct session *s, struct parser *p);
void cmd_login(struct session *s, struct parser *p);
void cmd_authenticate(struct session *s, struct parser *p);
void cmd_compress(struct session *s, struct parser *p);
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
void status_forget(struct session *s); /* what STATUS read ahead */
void cmd_list(struct session *s, struct parser *p);
void cmd_lsub(struct session *s, struct parser *p);
void cmd_append(struct session *s, struct parser *p);
void cmd_replace(struct session *s, struct parser *p);
void cmd_getquota(struct session *s, struct parser *p);
void cmd_getquotaroot(struct session *s, struct parser *p);
void cmd_setquota(struct session *s, struct parser *p);
void cmd_check(struct session *s, struct parser *p);
void cmd_expunge(struct session *s, struct parser *p);
void cmd_uid_expunge(struct session *s, struct parser *p);
void cmd_fetch(struct session *s, struct parser *p);
void cmd_store(struct session *s, struct parser *p);
void cmd_uid_store(struct session *s, struct parser *p);
void cmd_copy(struct session *s, struct parser *p);
void cmd_uid_copy(struct session *s, struct parser *p);
void cmd_move(struct session *s, struct parser *p);
void cmd_uid_move(struct session *s, struct parser *p);
void cmd_search(struct session *s, struct parser *p);
void cmd_sort(struct session *s, struct parser *p);
void cmd_thread(struct session *s, struct parser *p);
void cmd_idle(struct session *s, struct parser *p);

#endif
