/*
 * Keys and rows of the auth environment. A key is a kind byte and the rest; a row begins with a
 * version byte. Decoders are total; decoded spans point into the row. Any thread.
 */
#ifndef MS_AUTHD_ROWS_H
#define MS_AUTHD_ROWS_H

#include "common/base/codec.h"
#include "common/db/db.h"

/* In the order in which they are loaded: what a row refers to comes before it. */
enum row_kind {
	ROW_COUNTER = 1,       /* name -> u64, the next number to give out */
	ROW_DOMAIN = 2,        /* domain -> domain_row */
	ROW_USER = 3,          /* account -> user_row */
	ROW_LOGIN = 4,         /* address -> account */
	ROW_ALIAS = 5,         /* address or "@domain" -> alias_row */
	ROW_APP = 6,           /* account, id -> app_row */
	ROW_APP_USED = 7,      /* account, id -> time */
	ROW_KNOWN = 8,         /* account, network -> time of the last good login from there */
	ROW_SESSION = 9,       /* hash of the token -> session_row */
	ROW_AUDIT = 10,        /* number -> audit_row */
	ROW_TOTP = 11,         /* account -> totp_row */
	ROW_SETUP = 12,        /* -> setup_row */
	ROW_LIMITS = 13,       /* account -> limits_row */
	ROW_GRANTS = 14,       /* account -> alias_row: what else it may send as */
	ROW_SENT = 15,         /* account -> what it has sent, sending.c */
	ROW_DOMAIN_ALIAS = 16, /* domain -> the domain whose addresses it has too, as text */
	ROW_ROUTE = 17,        /* "all", "to:domain", "from:domain" -> relays, routes.h */
	ROW_SRS = 18,          /* -> the key of rewritten senders, as text */
	ROW_PARTED =
	    19, /* account that was removed, was it all, alias -> alias_row: what led to it */
	ROW_LAST = ROW_PARTED,
};

enum user_flag {
	USER_DISABLED = 1,
	USER_RECEIVE_ONLY = 2, /* may read, may not send */
	USER_ADMIN = 4,
	USER_GOING = 8, /* removed, and it cannot be restored any more: its mail goes */
};

enum protocol_bit { PROTO_SMTP = 1, PROTO_IMAP = 2, PROTO_POP3 = 4, PROTO_WEB = 8 };
#define PROTO_ALL 15u
#define PROTO_MAIL 7u /* what an app password may be good for */

#define ALIAS_TARGETS_MAX 200
#define NET_KEY_MAX 20 /* bytes of a network as net_addr_prefix gives it */
#define APP_HASH_LEN 32
#define APP_SALT_LEN 16

struct domain_row {
	uint64_t created;
};

struct user_row {
	struct span address, phc; /* main address, argon2id hash */
	uint32_t flags, protocols;
	uint64_t quota_bytes, quota_messages; /* 0: none */
	uint64_t created, changed;            /* changed: the password */
	uint64_t deleting;                    /* 0, or since when the account is removed */
};

struct alias_row {
	uint64_t until; /* it is one before that; 0: for ever */
	uint32_t count;
	struct dec targets; /* read one after the other with dec_bytes */
};

/* What an account may send; LIMIT_DEFAULT: as the settings say. */
enum send_limit {
	LIMIT_MINUTE,
	LIMIT_HOUR,
	LIMIT_DAY,
	LIMIT_NEW,
	LIMIT_SESSIONS,
	LIMIT_PAUSE,
	LIMIT_COUNT
};
#define LIMIT_DEFAULT UINT64_MAX

struct limits_row {
	uint64_t values[LIMIT_COUNT];
};

struct app_row {
	struct span label, salt, hash; /* APP_SALT_LEN and APP_HASH_LEN bytes */
	uint32_t protocols;
	uint64_t created;
};

struct session_row {
	uint64_t account, created, seen;
};

#define TOTP_SECRET_LEN 20
#define RECOVERY_CODES 10
#define RECOVERY_HASH_LEN 32

/* The second factor of the web login (RFC 6238). */
struct totp_row {
	bool is_confirmed; /* the account has shown that its device knows the secret */
	uint64_t step;     /* the last one used: a code is good once */
	unsigned char secret[TOTP_SECRET_LEN];
	uint32_t recovery_count; /* those not used yet */
	unsigned char recovery[RECOVERY_CODES][RECOVERY_HASH_LEN];
};

/* The one-time code of the first administrator. */
struct setup_row {
	unsigned char hash[RECOVERY_HASH_LEN];
	uint64_t created;
	uint32_t wrong; /* tries with another code */
};

struct audit_row {
	uint64_t time;
	struct span who, client, words, result;
};

void row_key_counter(struct db_key *k, const char *name);
void row_key_text(struct db_key *k, enum row_kind kind, struct span text);
void row_key_number(struct db_key *k, enum row_kind kind, uint64_t number);
void row_key_app(struct db_key *k, enum row_kind kind, uint64_t account, uint64_t id);
/* was_all: the alias led nowhere else. */
void row_key_parted(struct db_key *k, uint64_t account, bool was_all, struct span alias);
void row_key_known(struct db_key *k, uint64_t account, struct span net);

/* Splits a key. False for one that is not of this environment. */
bool row_key_parse(struct span key, enum row_kind *kind, struct dec *rest);

void row_enc_u64(struct strbuf *b, uint64_t v); /* counter, login, times */
bool row_dec_u64(struct span row, uint64_t *v);
void row_enc_domain(struct strbuf *b, const struct domain_row *r);
bool row_dec_domain(struct span row, struct domain_row *r);
void row_enc_user(struct strbuf *b, const struct user_row *r);
bool row_dec_user(struct span row, struct user_row *r);
void row_enc_alias(struct strbuf *b, const struct span *targets, uint32_t count);
void row_enc_alias_until(
    struct strbuf *b, const struct span *targets, uint32_t count, uint64_t until);
void row_enc_text(struct strbuf *b, struct span text);
bool row_dec_text(struct span row, struct span *text);
bool row_dec_alias(struct span row, struct alias_row *r); /* every target was checked */
void row_enc_limits(struct strbuf *b, const struct limits_row *r);
bool row_dec_limits(struct span row, struct limits_row *r);
void row_enc_app(struct strbuf *b, const struct app_row *r);
bool row_dec_app(struct span row, struct app_row *r);
void row_enc_session(struct strbuf *b, const struct session_row *r);
bool row_dec_session(struct span row, struct session_row *r);
void row_enc_totp(struct strbuf *b, const struct totp_row *r);
bool row_dec_totp(struct span row, struct totp_row *r);
void row_enc_setup(struct strbuf *b, const struct setup_row *r);
bool row_dec_setup(struct span row, struct setup_row *r);
void row_enc_audit(struct strbuf *b, const struct audit_row *r);
bool row_dec_audit(struct span row, struct audit_row *r);

#endif
