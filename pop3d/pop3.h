/*
 * The POP3 server (RFC 1939, 2449, 2595, 3206, 5034, 6856). One struct session a connection, all
 * of it on the loop thread; the store is reached by jobs on reader threads and operations on the
 * writer, during which the connection is paused. A session whose connection has gone lives until
 * its last job came back.
 */
#ifndef MS_POP3D_POP3_H
#define MS_POP3D_POP3_H

#include "common/daemon/role.h"
#include "common/net/conn.h"
#include "common/sasl/sasl.h"
#include "common/store/message_read.h"

#define POP3_LINE_MAX (SASL_LINE_MAX + 2)
#define POP3_SLICE_MAX (128 * 1024) /* bytes of a message sent between two looks at the client */

struct session;

/* What a connection is doing between commands; input is read only in WAIT_COMMAND and WAIT_SASL. */
enum session_wait {
	WAIT_COMMAND,
	WAIT_SASL,   /* a line of an AUTH exchange */
	WAIT_RESULT, /* authd, or the store */
	WAIT_OUTPUT, /* the client takes a long answer */
};

/* The worker: what all sessions share. */
struct pop3d {
	struct role *role;
	struct store *store;
	struct list sessions;
	struct hash *maildrops; /* accounts whose maildrop is in use by a session of this process */
	int lock_fd;            /* and by other processes: a byte per account, OFD-locked */
};

/* A list that is longer than the client takes at once (LIST, UIDL). */
struct listing {
	bool is_active, is_uidl;
	size_t next;
};

/* A message on its way to the client (RETR, TOP). */
struct transfer {
	struct db_job job;
	struct session *session;
	uint64_t account, object;
	struct blob_dir *blobs;
	struct blob_reader *reader;
	struct message *downgraded; /* RFC 6858; or NULL: the message as it is stored */
	uint64_t at;                /* in it */
	struct strbuf out;
	bool is_top, is_done, is_running;
	uint64_t body_lines; /* TOP: lines still to send */
	bool in_body, at_line_start, line_is_empty, was_cr;
};

struct session {
	struct pop3d *server;
	struct role_listener *listener;
	struct config *cfg;
	struct conn *conn; /* NULL once it has gone */
	struct net_addr peer;
	struct list link;
	char id[17];
	char client[NET_ADDR_TEXT];
	enum session_wait wait;
	bool is_in_transaction, is_closing;
	bool has_utf8;    /* RFC 6856: messages as they are */
	unsigned pending; /* jobs and operations that will come back */
	unsigned bad_commands;

	char user[SASL_USER_MAX + 1];
	struct sasl sasl;
	struct sasl_call *login;

	uint64_t account;
	bool has_lock;
	struct store_snapshot *drop; /* message n is drop->messages[n - 1] */
	unsigned char *marks;        /* MARK_* of each */
	size_t deleted, retrieved;
	uint64_t deleted_bytes, total_bytes;
	struct listing listing;
	struct transfer transfer;
};

#define MARK_DELETED 1u
#define MARK_RETRIEVED 2u

/* session.c */
void session_start(struct pop3d *p, struct role_listener *l, int fd, const struct net_addr *peer);
void session_end(struct session *s);       /* says no more; sends what waits and closes */
void session_finish_op(struct session *s); /* a pending operation came back */
void session_drain(struct session *s);
void session_kick(struct session *s);                /* deletes nothing */
bool session_login_allowed(const struct session *s); /* TLS, or the listener allows it without */
void session_next(struct session *s); /* an answer is complete: the next command may come */
void reply_ok(struct session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void reply_err(struct session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Counts, answers, and ends the session at the limit. */
void reply_bad(struct session *s, const char *text);

/* command.c */
void command_run(struct session *s, struct span line);
void command_sasl_line(struct session *s, struct span line);

/* cmd_auth.c */
void cmd_user(struct session *s, struct span arg);
void cmd_pass(struct session *s, struct span arg);
void cmd_auth(struct session *s, struct span arg);
void cmd_stls(struct session *s, struct span arg);
void cmd_capa(struct session *s, struct span arg);
void cmd_utf8(struct session *s, struct span arg);
void auth_step(struct session *s, enum sasl_step step);

/* cmd_mail.c */
void cmd_stat(struct session *s, struct span arg);
void cmd_list(struct session *s, struct span arg);
void cmd_uidl(struct session *s, struct span arg);
void cmd_dele(struct session *s, struct span arg);
void cmd_noop(struct session *s, struct span arg);
void cmd_rset(struct session *s, struct span arg);
void cmd_quit(struct session *s, struct span arg);
void listing_continue(struct session *s);

/* transfer.c */
void cmd_retr(struct session *s, struct span arg);
void cmd_top(struct session *s, struct span arg);
void transfer_continue(struct session *s);
void transfer_clear(struct transfer *t);
/*
 * Writes message bytes in the form of RFC 1939 section 3: lines end in CRLF (a lone LF becomes one,
 * so that every client agrees where a line ends), a leading dot is doubled. Stops after the header
 * and body_lines lines if is_top. Any split of the input gives the same output.
 */
void transfer_encode(struct transfer *t, struct span data);
void transfer_encode_end(struct transfer *t);

/* maildrop.c */
/* Takes the account's lock and loads its INBOX; answers the client either way. */
void maildrop_open(struct session *s, uint64_t account);
void maildrop_close(struct session *s); /* gives the lock back, frees what was loaded */
/* Writes deletions and \Seen, then answers and ends (the UPDATE state). */
void maildrop_update(struct session *s);
/* Message number as a client typed it: index, or -1 after an error reply. */
ssize_t maildrop_number(struct session *s, struct span arg);

#endif
