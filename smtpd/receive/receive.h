/*
 * The SMTP server (RFC 5321, 6409, 3207, 4954, 1870, 6152, 2920, 2034, 6531, 3030, 9422; LMTP, RFC
 * 2033): one struct session a connection, all on the loop thread. A query (authd, the queue) pauses
 * the connection, so that replies leave in the order of the commands. This program cannot open the
 * mail store.
 */
#ifndef MS_SMTPD_RECEIVE_RECEIVE_H
#define MS_SMTPD_RECEIVE_RECEIVE_H

#include "common/base/arena.h"
#include "common/daemon/role.h"
#include "common/mail/address.h"
#include "common/net/conn.h"
#include "common/sasl/sasl.h"
#include "common/store/intake.h"
#include "smtpd/queue/queue.h"
#include "smtpd/queue/trace.h"
#include "smtpd/receive/data.h"
#include "smtpd/receive/header.h"

#define SESSION_INPUT_MAX (64 * 1024)
#define TRANSACTION_ARENA_MAX (8 * 1024 * 1024) /* envelope: recipients_max addresses */

struct session;

/* The worker: what all sessions share. */
struct receive {
	struct role *role;
	struct queue *queue;
	struct list sessions; /* the oldest first */
	struct hash *senders; /* account -> its sessions that logged in */
	struct hash *known;   /* networks that have sent mail */
	struct list recordings;
	size_t inline_max;
	struct hints {
		char path[CONFIG_PATH_MAX];
		uint64_t qid;
		size_t count; /* messages that are to be told of */
	} hints[2];           /* of smtpd-local and smtpd-send */
	int hint_fd;
	struct deferred hint_step;
	struct timer hint_timer;
	uint64_t hint_wait; /* ms, behind a hint that was lost */
	bool is_low_on_space;
	struct timer space_timer;
	struct work space_work;
	struct config *space_cfg;
	bool has_space;
	size_t receipts; /* queue operations under way */
	uint64_t accepted, refused;
	int64_t refused_second; /* of the trace: how many there were in it */
	unsigned refused_now;
};

enum session_wait {
	WAIT_GREETING, /* ours: the client has to be quiet */
	WAIT_HOLD,     /* a pause behind an error */
	WAIT_COMMAND,
	WAIT_SASL,
	WAIT_DATA, /* content of DATA */
	WAIT_BDAT, /* content of a chunk */
	WAIT_RESULT,
	WAIT_OUTPUT,
};

struct rcpt {
	struct span address, orcpt;
	enum queue_class class;
	uint8_t notify;
};

/* A reply that waits until what it answers has been read. */
struct refusal {
	int code;
	const char *enhanced, *text;
};

/* One mail transaction, from MAIL to the reply behind its content; reset as a whole. */
struct transaction {
	struct arena arena;
	bool is_open;
	struct span sender; /* formatted; empty: null sender */
	bool is_utf8, is_8bit, is_requiretls;
	enum queue_ret ret;
	struct span envid;
	struct span refused_rcpt; /* of the next reply_error */
	uint8_t notify;           /* of the recipient that is being looked at */
	struct span orcpt;
	struct rcpt *rcpts;
	size_t rcpt_count, rcpt_cap;
	/* content */
	struct intake *intake;
	struct data_decoder decoder;
	struct header_filter header;
	char date_field[80], id_field[320], from_field[320];
	uint64_t size;       /* bytes of content so far */
	uint64_t started_ms; /* of DATA, for the least rate */
	uint64_t chunk_left; /* BDAT */
	bool has_content, is_last_chunk, is_too_big, is_bdat;
	const struct refusal *refusal; /* of the chunk that is being read */
	/* from_check */
	struct mail_list from;
	size_t from_count;
	struct strbuf from_address;
};

struct session {
	struct receive *server;
	struct role_listener *listener;
	struct config *cfg;
	struct conn *conn; /* NULL once it has gone */
	struct net_addr peer;
	struct list link;
	char id[17];
	char client[NET_ADDR_TEXT];
	enum session_wait wait;
	bool is_closing, has_quit, is_esmtp, is_lmtp;
	bool is_by_address; /* the account is the device's, who did not log in */
	bool is_logged;     /* line by line */
	bool is_kicked;     /* ends with the reply that is due */
	bool is_to_hold;    /* before the next command */
	struct timer hold;
	uint64_t login_by; /* monotonic ms; 0: whenever */
	unsigned pending;
	unsigned errors, idle; /* commands that bring no mail */
	size_t reply_count;    /* how often the next reply is written: LMTP has one a recipient */
	char helo[256];
	uint64_t account; /* logged in: not 0 */
	char user[SASL_USER_MAX + 1];
	struct sasl sasl;
	struct sasl_call *login;
	struct ipc_call *query;
	struct transaction t;
	uint64_t messages;
};

/* session.c */
void session_start(struct receive *p, struct role_listener *l, int fd, const struct net_addr *peer);
void session_end(struct session *s); /* sends what waits, closes */
void session_finish_op(struct session *s);
/* The session is the account's now, if that has not too many; 0: nobody's. */
bool session_set_account(struct session *s, uint64_t account, uint64_t most);
void session_drain(struct session *s);
/* With a reply that is due, if the message may be accepted already; else now. */
void session_kick(struct session *s);
void session_next(struct session *s); /* the next command may come */
/* The deadline of the next command: less under stress, and never behind the one for logging in. */
void session_set_deadline(struct session *s);
bool session_is_stressed(const struct session *s);
bool session_needs_tls(const struct session *s);
bool session_needs_login(const struct session *s); /* before MAIL */
bool session_may_login(const struct session *s);
void transaction_reset(struct session *s);
/* "250", "2.1.0" (or NULL), text. */
void reply(struct session *s, int code, const char *enhanced, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same, counted as an error of the client; at the limit the session ends with 421. */
void reply_error(struct session *s, int code, const char *enhanced, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The reply for a fault of ours: 452 or 451, never 5xx. */
void reply_fault(struct session *s, const struct err *err);

/* refusal.c: a word about a message that was refused, for the trace; to may be empty */
void trace_refused(struct session *s, struct span to, int code, const char *enhanced);

/* guard.c: networks that have sent mail, sessions that are recorded */
void guard_init(struct receive *p);
void guard_clear(struct receive *p);
bool guard_is_known(const struct receive *p, const struct net_addr *a);
void guard_remember(struct receive *p, const struct net_addr *a);
/* Whether somebody asked for the next session from there, once. */
bool guard_is_recorded(struct receive *p, const struct net_addr *a);
void guard_admin(struct role *r, const struct ipc_admin *cmd, const struct admin_request *rq);
/* A line of the dialogue for the log, if the session is logged. */
void session_log(const struct session *s, const char *who, struct span line);

/* command.c */
void command_run(struct session *s, struct span line);

/* cmd_hello.c */
void cmd_helo(struct session *s, struct span arg);
void cmd_ehlo(struct session *s, struct span arg);
void cmd_starttls(struct session *s, struct span arg);
void cmd_noop(struct session *s, struct span arg);
void cmd_rset(struct session *s, struct span arg);
void cmd_quit(struct session *s, struct span arg);
void cmd_help(struct session *s, struct span arg);
void cmd_vrfy(struct session *s, struct span arg);
void cmd_not_here(struct session *s, struct span arg);
void cmd_auth(struct session *s, struct span arg);
void auth_line(struct session *s, struct span line);

/* device.c: listeners of printers and cameras. Whatever they say, the sender is the listener's. */
bool device_is_known(const struct session *s); /* by its address */
void device_mail(struct session *s);           /* MAIL, behind its syntax */
bool device_may_write_to(const struct session *s, struct span address);

/* cmd_mail.c */
/* A question to authd; its answer comes before the next command is looked at. */
void ask_authd(struct session *s, uint16_t type, const struct strbuf *body,
    void (*on_reply)(void *arg, const struct ipc_msg *msg, const struct err *err));
void ask_sender(struct session *s); /* whether the account may send as the sender, now */
void cmd_mail(struct session *s, struct span arg);
void cmd_rcpt(struct session *s, struct span arg);

/* params.c: what stands behind the path; false after a reply */
bool params_mail(struct session *s, struct span rest);
bool params_rcpt(struct session *s, struct span rest);

/* from.c: refuses the message, or goes on with message_finish */
#define FROM_ADDRESSES_MAX 20
void from_check(struct session *s);

/* cmd_data.c */
void cmd_data(struct session *s, struct span arg);
void cmd_bdat(struct session *s, struct span arg);
void data_input(struct session *s); /* content has come */

/* accept.c */
/* Begins a message: its intake, with our Received field. */
void message_begin(struct session *s);
void message_feed(struct session *s, struct span content);
/* The content is complete and good. */
void message_accept(struct session *s);
/* And whose it is was looked at: into the queue, then 250. */
void message_finish(struct session *s);

/* tell.c: those who take messages on hear of them once a turn of the loop */
int tell_start(struct receive *p, struct err *err);
void tell_stop(struct receive *p);
void tell(struct receive *p, enum queue_class class, uint64_t qid);

/* space.c */
void space_start(struct receive *p);
void space_stop(struct receive *p);

#endif
