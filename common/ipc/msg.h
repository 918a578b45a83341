/*
 * All message types of the appliance, and their bodies. Each body has an encoder and a total
 * decoder; decoded spans point into the frame. A frame that does not decode is an error of the
 * peer: answer IPC_ERROR.
 */
#ifndef MS_IPC_MSG_H
#define MS_IPC_MSG_H

#include "common/base/codec.h"

enum ipc_type {
	IPC_ERROR = 1, /* body: ipc_error; answers any request */
	/* authd, $RUN/authd/auth.sock: asked by roles */
	IPC_AUTH_LOGIN = 10,         /* ipc_login -> IPC_AUTH_RESULT */
	IPC_AUTH_RESULT = 11,        /* ipc_login_result */
	IPC_AUTH_RESOLVE = 12,       /* ipc_resolve -> IPC_AUTH_RESOLVED */
	IPC_AUTH_RESOLVED = 13,      /* ipc_resolved */
	IPC_AUTH_SENDER = 14,        /* ipc_sender -> IPC_AUTH_SENDER_RESULT */
	IPC_AUTH_SENDER_RESULT = 15, /* u8: 1 the account may use this address, 0 it may not */
	IPC_AUTH_SUBMIT = 16,        /* ipc_submit -> IPC_AUTH_SUBMIT_RESULT */
	IPC_AUTH_SUBMIT_RESULT = 17, /* ipc_submit_result */
	IPC_AUTH_ROUTE = 18,         /* ipc_route_ask -> IPC_AUTH_ROUTE_IS; of who sends only */
	IPC_AUTH_ROUTE_IS = 19,      /* ipc_route */
	/* administration: $RUN/authd/admin.sock and web.sock, $RUN/<process>/ctl */
	IPC_ADMIN = 20,        /* ipc_admin -> any number of IPC_ADMIN_RECORD, then IPC_ADMIN_END */
	IPC_ADMIN_RECORD = 21, /* ipc_record */
	IPC_ADMIN_END = 22,    /* ipc_error; code 0 is success, text may be a message */
	IPC_AUTH_FORWARD = 23, /* ipc_forward -> IPC_AUTH_FORWARDED (auth.sock) */
	IPC_AUTH_FORWARDED = 24, /* the sender's text, empty: as it was */
	/* keyd, $RUN/keyd/keyd.sock: asked by monitors only; the answers hold private keys */
	IPC_KEY_FETCH = 30, /* ipc_key_fetch -> IPC_KEY_SET */
	IPC_KEY_SET = 31,   /* ipc_key_set */
	IPC_KEY_WATCH = 32, /* u64: generation that is known -> IPC_KEY_CHANGED, at the next one */
	IPC_KEY_CHANGED = 33, /* u64: the generation now */
	IPC_DKIM_FETCH = 34,  /* ipc_dkim_fetch -> IPC_DKIM_SET, perhaps when something changes */
	IPC_DKIM_SET = 35,    /* ipc_dkim_set */
	/*
	 * Between a program and who started it, over the link that is its descriptor 3. A change
	 * is config, certificates and sockets, then prepare; once it is prepared, commit or abort.
	 */
	LINK_READY = 40,     /* up: it serves */
	LINK_PING = 41,      /* down */
	LINK_PONG = 42,      /* up */
	LINK_CONFIG = 43,    /* down: ipc_config; begins a change */
	LINK_KEYS = 44,      /* down: ipc_key_set, of its listeners; only if they have TLS */
	LINK_SOCKET = 45,    /* down: ipc_socket, with one or two listening sockets */
	LINK_PREPARE = 46,   /* down */
	LINK_PREPARED = 47,  /* up: ipc_error; code 0: it can be committed */
	LINK_COMMIT = 48,    /* down */
	LINK_COMMITTED = 49, /* up: ports that went away are closed */
	LINK_ABORT = 50,     /* down */
	LINK_DRAIN = 51,     /* down: u32 seconds, until which sessions must have ended */
	LINK_UPGRADE = 52,   /* up, from authd: whoever started us, become what is installed now */
	LINK_DKIM = 53,      /* down: ipc_dkim_set, to the role that signs, when it serves */
	LINK_KICK = 54,      /* down: u64, the account whose sessions end now */
	/* smtpd-fetch, $RUN/smtpd-fetch/fetch.sock: asked by smtpd-send only */
	IPC_POLICY_FETCH = 60, /* ipc_policy_ask -> IPC_POLICY_IS */
	IPC_POLICY_IS = 61,    /* ipc_policy */
};

/* enum err_code and a text for people. */
struct ipc_error {
	uint16_t code;
	struct span text;
};

/* "Is this password right?" One question for all protocols and the web. */
struct ipc_login {
	struct span protocol; /* "smtp", "imap", "pop3", "web" */
	struct span listener; /* its name, for the log */
	struct span client;   /* address as text, for throttling and the log */
	struct span user;     /* as typed: alice@example.test */
	struct span password;
};

enum ipc_login_status {
	LOGIN_OK = 0,
	LOGIN_FAILED = 1,    /* unknown, wrong, or disabled: never told apart */
	LOGIN_TEMP = 2,      /* hash queue full or authd not ready: temporary failure */
	LOGIN_THROTTLED = 3, /* too many failures: temporary failure, try later */
	LOGIN_NOT_HERE = 4,  /* right, but the account may not use this protocol */
};

struct ipc_login_result {
	uint8_t status;
	uint64_t account;     /* number, never reused */
	struct span address;  /* canonical main address */
	uint64_t quota_bytes; /* 0: none */
	uint64_t quota_messages;
	uint64_t sessions_max; /* of submission at once; 0: any number */
	struct span text;      /* for the log and the reply of a temporary failure */
};

/* "May this address receive, and who gets it?" Asked at RCPT and again at delivery. */
struct ipc_resolve {
	struct span address; /* canonical: local@domain, domain in lower case; "postmaster" alone */
};

enum ipc_resolve_status {
	RESOLVE_LOCAL = 0,      /* accounts[] */
	RESOLVE_REMOTE = 1,     /* the domain is not ours */
	RESOLVE_UNKNOWN = 2,    /* our domain, no such user: 550 5.1.1 */
	RESOLVE_OVER_QUOTA = 3, /* 452 4.2.2 */
	RESOLVE_TEMP = 4,
};

#define IPC_RESOLVE_MAX 1000

struct ipc_target {
	uint64_t account; /* 0: an address on another server, to which the message goes on */
	uint64_t quota_bytes;
	uint64_t quota_messages;
	struct span address; /* the account's main address, or the one elsewhere */
	struct span detail;  /* subaddress: alice+detail@..., may be empty */
};

struct ipc_resolved {
	uint8_t status;
	uint32_t count;     /* of targets, at most IPC_RESOLVE_MAX */
	struct dec targets; /* read one after the other with ipc_target_next */
};

struct ipc_sender {
	uint64_t account;
	struct span address;
};

/* "As whom does it go on?" Of mail to an address of ours that leads to another server. */
struct ipc_forward {
	struct span sender, address;
};

void ipc_enc_forward(struct strbuf *b, const struct ipc_forward *m);
bool ipc_dec_forward(struct span body, struct ipc_forward *m);

/* --- routes: "which servers take mail from there to there, if not the domain's own?" -----------
 */
#define IPC_RELAYS_MAX 8
#define IPC_RELAY_TEXT_MAX 255 /* bytes of each text */

enum relay_tls {
	RELAY_TLS_VERIFIED,      /* with a certificate that names the host */
	RELAY_TLS_REQUIRED,      /* with any */
	RELAY_TLS_OPPORTUNISTIC, /* if it is offered, and works */
	RELAY_TLS_NONE,
	RELAY_TLS_COUNT,
};

struct ipc_route_ask {
	struct span to, from; /* domains */
};

struct ipc_relay {
	struct span host;           /* empty: the domain's own servers after all */
	uint16_t port;              /* 465: TLS from the first byte */
	uint8_t tls;                /* enum relay_tls */
	struct span user, password; /* empty: no login */
};

struct ipc_route {
	bool has_from;     /* it may be another one for another sender */
	uint32_t count;    /* 0: no route, the domain's own servers */
	struct dec relays; /* in the order in which they are tried; read with ipc_relay_next */
};

void ipc_enc_route_ask(struct strbuf *b, const struct ipc_route_ask *m);
bool ipc_dec_route_ask(struct span body, struct ipc_route_ask *m);
/* A route is u8 has_from, u32 count, and its relays. */
void ipc_enc_relay(struct strbuf *b, const struct ipc_relay *r);
bool ipc_relay_next(struct dec *d, struct ipc_relay *r);
bool ipc_dec_route(struct span body, struct ipc_route *m);

/* --- MTA-STS: "what is the policy of this domain?" ----------------------------------------------
 */
#define IPC_POLICY_ADDRESSES 8

struct ipc_policy_ask {
	struct span domain; /* in A-labels */
	uint32_t count;
	struct span addresses[IPC_POLICY_ADDRESSES]; /* of mta-sts.<domain>, as text */
};

enum ipc_policy_status {
	POLICY_FOUND,       /* text is the policy (common/mail/mta_sts.h) */
	POLICY_UNREACHABLE, /* text says why, as below */
	POLICY_NOT_TRUSTED, /* the certificate */
	POLICY_INVALID,     /* an answer, but no policy */
	POLICY_STATUS_COUNT,
};

struct ipc_policy {
	uint8_t status;
	struct span text;
};

void ipc_enc_policy_ask(struct strbuf *b, const struct ipc_policy_ask *m);
bool ipc_dec_policy_ask(struct span body, struct ipc_policy_ask *m);
void ipc_enc_policy(struct strbuf *b, const struct ipc_policy *m);
bool ipc_dec_policy(struct span body, struct ipc_policy *m);

/*
 * A command of the admin plane, already split into words: "account" "add" "bob@example.test".
 * A secret (a new password) never stands among the words.
 */
#define IPC_ADMIN_WORDS 64
struct ipc_admin {
	struct span token;  /* web session token; empty on admin.sock (peer credentials count) */
	struct span client; /* address of the browser, for audit and throttling; may be empty */
	struct span secret;
	uint32_t count;
	struct span words[IPC_ADMIN_WORDS];
	struct span content; /* a file that goes with the command (a certificate); may be empty */
};

/* One row of an answer: named values in order, so that a client can print a table or JSON. */
enum ipc_value_type { IPC_TEXT = 0, IPC_NUMBER = 1, IPC_BOOL = 2, IPC_BYTES = 3, IPC_TIME = 4 };

struct ipc_value {
	struct span name;
	uint8_t type;     /* enum ipc_value_type */
	struct span text; /* IPC_TEXT */
	uint64_t number;  /* the others; IPC_TIME is seconds since 1970, 0 never */
};

/* A configuration: the texts of its two files (config_texts). */
struct ipc_config {
	struct span main_path, main_text, settings_path, settings_text;
};

/* Which listener the sockets that come along are for. */
struct ipc_socket {
	struct span address; /* as in the configuration; "*" has an IPv4 and an IPv6 socket */
	uint16_t port;
};

/* --- keys ------------------------------------------------------------------------------------- */
#define IPC_KEY_IDS_MAX 16
#define IPC_KEY_TICKETS_MAX 3
#define IPC_KEY_TICKET_LEN 80 /* name 16, AES-256 key 32, HMAC key 32 */

/* The certificates of these ids and the ticket keys of a purpose ("imapd"): a ticket made for one
 * purpose is no good for another. */
struct ipc_key_fetch {
	struct span purpose;
	uint32_t count;
	struct span ids[IPC_KEY_IDS_MAX];
};

struct ipc_key_cert {
	struct span id;
	struct span chain; /* PEM, leaf first */
	struct span key;   /* PEM */
	struct span ocsp;  /* DER of a response to staple, or empty */
};

struct ipc_key_set {
	uint64_t generation; /* changes with every change of any certificate or ticket key */
	uint32_t ticket_count;
	/* Newest first: it makes tickets, all read them. */
	struct span tickets[IPC_KEY_TICKETS_MAX];
	uint32_t count;
	struct dec certs; /* in the order asked for; read with ipc_key_next */
};

/* --- signing keys of domains (DKIM): all of them, page by page ----------------------------------
 */
/* With an empty after and the generation that is known, the answer waits for another one. */
struct ipc_dkim_fetch {
	uint64_t generation; /* 0: none */
	struct span after;   /* the page behind this domain; empty: the first */
};

#define IPC_DKIM_PAGE (512 * 1024) /* a page that has more bytes is full */
#define IPC_DKIM_LAST_AT 9         /* byte of a page that says whether it is the last */

struct ipc_dkim_key {
	struct span domain, selector;
	struct span key; /* PEM */
};

struct ipc_dkim_set {
	uint64_t generation; /* of the signing keys; pages of another one do not go together */
	bool is_first, is_last;
	struct dec keys; /* by domain; read with ipc_dkim_next */
};

/* "May this account send this?" Asked on the way of a submitted message. */
enum ipc_submit_step {
	SUBMIT_MAIL = 0, /* address: the sender. His own? Within the limits of messages? */
	SUBMIT_RCPT = 1, /* address: a recipient elsewhere. Within the limit of new ones? */
	SUBMIT_SENT = 2, /* no address: a message was accepted, count it */
};

struct ipc_submit {
	uint64_t account;
	uint8_t step;
	struct span address;
};

enum ipc_submit_status {
	SUBMIT_OK = 0,
	SUBMIT_NOT_YOURS = 1, /* never */
	SUBMIT_LIMITED = 2,   /* not now; text says which limit and until when */
};

struct ipc_submit_result {
	uint8_t status;
	struct span text;
};

void ipc_enc_error(struct strbuf *b, const struct ipc_error *m);
bool ipc_dec_error(struct span body, struct ipc_error *m);
void ipc_enc_login(struct strbuf *b, const struct ipc_login *m);
bool ipc_dec_login(struct span body, struct ipc_login *m);
void ipc_enc_login_result(struct strbuf *b, const struct ipc_login_result *m);
bool ipc_dec_login_result(struct span body, struct ipc_login_result *m);
void ipc_enc_resolve(struct strbuf *b, const struct ipc_resolve *m);
bool ipc_dec_resolve(struct span body, struct ipc_resolve *m);
void ipc_enc_resolved(struct strbuf *b, uint8_t status, const struct ipc_target *targets, size_t n);
bool ipc_dec_resolved(struct span body, struct ipc_resolved *m);
bool ipc_target_next(struct ipc_resolved *m, struct ipc_target *t);
void ipc_enc_sender(struct strbuf *b, const struct ipc_sender *m);
bool ipc_dec_sender(struct span body, struct ipc_sender *m);
void ipc_enc_submit(struct strbuf *b, const struct ipc_submit *m);
bool ipc_dec_submit(struct span body, struct ipc_submit *m);
void ipc_enc_submit_result(struct strbuf *b, const struct ipc_submit_result *m);
bool ipc_dec_submit_result(struct span body, struct ipc_submit_result *m);
void ipc_enc_admin(struct strbuf *b, const struct ipc_admin *m);
bool ipc_dec_admin(struct span body, struct ipc_admin *m);
void ipc_enc_key_fetch(struct strbuf *b, const struct ipc_key_fetch *m);
bool ipc_dec_key_fetch(struct span body, struct ipc_key_fetch *m);
/* The head of a set; then m->count certificates follow. */
void ipc_enc_key_set(struct strbuf *b, const struct ipc_key_set *m);
void ipc_enc_key_cert(struct strbuf *b, const struct ipc_key_cert *m);
bool ipc_dec_key_set(struct span body, struct ipc_key_set *m);
bool ipc_key_next(struct ipc_key_set *m, struct ipc_key_cert *cert);
void ipc_enc_generation(struct strbuf *b, uint64_t generation);
bool ipc_dec_generation(struct span body, uint64_t *generation);

void ipc_enc_dkim_fetch(struct strbuf *b, const struct ipc_dkim_fetch *m);
bool ipc_dec_dkim_fetch(struct span body, struct ipc_dkim_fetch *m);
/* The head of a page; then keys follow. */
void ipc_enc_dkim_set(struct strbuf *b, const struct ipc_dkim_set *m);
void ipc_enc_dkim_key(struct strbuf *b, const struct ipc_dkim_key *m);
bool ipc_dec_dkim_set(struct span body, struct ipc_dkim_set *m); /* every key was checked */
bool ipc_dkim_next(struct ipc_dkim_set *m, struct ipc_dkim_key *key);

void ipc_enc_config(struct strbuf *b, const struct ipc_config *m);
bool ipc_dec_config(struct span body, struct ipc_config *m);
void ipc_enc_socket(struct strbuf *b, const struct ipc_socket *m);
bool ipc_dec_socket(struct span body, struct ipc_socket *m);

/* A record is built value by value and read the same way. */
void ipc_rec_text(struct strbuf *b, const char *name, struct span v);
void ipc_rec_number(struct strbuf *b, const char *name, enum ipc_value_type type, uint64_t v);
/* Takes the next value off d (dec_of(body)); false at the end or when d went bad. */
bool ipc_rec_next(struct dec *d, struct ipc_value *v);

#endif
