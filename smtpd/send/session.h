/* Inside of a session: session.c makes the connection, transfer.c sends mail over it. */
#ifndef MS_SMTPD_SEND_SESSION_H
#define MS_SMTPD_SEND_SESSION_H

#include "common/net/conn.h"
#include "common/net/connector.h"
#include "smtpd/send/send.h"
#include "smtpd/send/source.h"
#include "smtpd/send/stuff.h"
#include "smtpd/send/tls_policy.h"
#include "smtpd/send/tlsa.h"

#define ADDRS_MAX 16
#define SLICE (64 * 1024) /* of content at a time */
#define SLICE_ROOM (SLICE + SOURCE_ROOM + DKIM_FIELDS_MAX)

enum step {
	STEP_ROUTE,
	STEP_RESOLVE,
	STEP_CONNECT,
	STEP_GREETING,
	STEP_EHLO,
	STEP_HELO,
	STEP_STARTTLS,
	STEP_HANDSHAKE,
	STEP_AUTH, /* PLAIN, or the end of LOGIN */
	STEP_LOGIN_USER,
	STEP_LOGIN_PASSWORD,
	STEP_PREPARE, /* the content is looked at */
	STEP_MAIL,    /* replies to MAIL and the RCPTs behind it */
	STEP_DATA,    /* 354 */
	STEP_BODY,    /* goes out; a reply now is to a chunk, or too early */
	STEP_FINAL,   /* the reply that counts */
	STEP_RSET,
	STEP_IDLE,
};

enum capability {
	CAP_PIPELINING = 1 << 0,
	CAP_8BITMIME = 1 << 1,
	CAP_SIZE = 1 << 2,
	CAP_STARTTLS = 1 << 3,
	CAP_SMTPUTF8 = 1 << 4,
	CAP_DSN = 1 << 5,
	CAP_REQUIRETLS = 1 << 6,
	CAP_CHUNKING = 1 << 7,
	CAP_AUTH_PLAIN = 1 << 8,
	CAP_AUTH_LOGIN = 1 << 9,
};

struct session {
	struct list link; /* in dest.sessions */
	struct dest *dest;
	struct send *send;
	enum step step;
	char id[17];

	struct route_query *route_query;
	struct route route;
	char sender_domain[QUEUE_DEST_MAX + 1]; /* of the first mail */
	size_t host;                            /* index in route */
	struct dns_query *queries[2];           /* A, AAAA */
	struct tlsa_query *tlsa_query;
	char domain[DNS_NAME_MAX + 1]; /* in A-labels */
	struct tls_policy policy;      /* of the domain */
	struct host_tls tls;           /* of the host */
	bool is_secure;                /* the host's addresses: proven by DNSSEC */
	/* The host's name behind CNAMEs; with TLSA records the one they stand at. */
	char base[DNS_NAME_MAX + 1];
	struct tlsa_set tlsa; /* of the host; none: no DANE */
	struct net_addr addrs[ADDRS_MAX];
	size_t addr_count, addr;
	struct connector *connector;
	struct conn *conn;
	struct list await; /* authorities.c: the handshake begins when they are there */
	struct reply_reader reader;
	bool is_without_tls; /* this address could not do it */
	bool is_trial_over;  /* this address has no certificate as MTA-STS wants it */
	bool is_verified;    /* TLS, with a certificate that is this host's for sure */
	unsigned caps;
	uint64_t size_max; /* of the SIZE extension; 0: none said */
	struct reply last; /* why the last address did not do */
	char last_host[DNS_NAME_MAX + 1];
	bool is_own;    /* a host of the domain is ourselves */
	bool was_alive; /* it took a command of a mail: no other host is tried for it */

	struct mail *mail;
	size_t replies; /* of MAIL and RCPT that came */
	size_t accepted;
	unsigned mails; /* over this connection */
	struct source source;
	struct dkim_keys *keys; /* while the content is prepared */
	size_t signature_size;  /* bytes that signing added */
	struct db_job job;
	struct work work;
	struct strbuf slice; /* of the content, not yet written */
	struct stuffer stuffer;
	enum convert_status content; /* looked at if the server is not up to all of it */
	bool has_utf8_header;
	char obstacle[100]; /* IMPOSSIBLE: why */
	bool says_utf8;     /* SMTPUTF8 */
	bool is_chunking;   /* BDAT, else DATA */
	bool is_data_said;  /* with the envelope */
	size_t chunks;      /* that have no reply yet */
	bool is_reading;
	bool is_dropped; /* the connection has gone while the job runs: the session ends with it */
	unsigned generation; /* send.generation when it began */
	bool is_ended;
	struct deferred bury; /* its memory goes at the end of the turn */
};

/* session.c */
/* The connection is of no use any more: the next address, or the end. */
void session_broken(struct session *c, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Behind session_broken, once no job runs any more: another host, or the end. */
void session_go_on(struct session *c);
void session_handshake(struct session *c); /* TLS begins, when what it takes is there */
void session_quit(struct session *c);      /* politely */
void session_idle(struct session *c);
const char *session_host(const struct session *c);

/* The server that the route names for this host; NULL: the domain's own. */
const struct relay *session_relay(const struct session *c);

/* auth.c: logs in; then transfer_start. */
void auth_start(struct session *c, const struct relay *relay);
void auth_reply(struct session *c, const struct reply *r);

/* envelope.c: before the content was looked at, and behind that; false: why not, for good. */
bool envelope_is_acceptable(struct session *c, struct reply *why);
bool envelope_needs_plan(const struct session *c); /* any thread */
bool envelope_is_possible(struct session *c, struct reply *why);
void envelope_add_mail(struct session *c, struct strbuf *b);
void envelope_add_rcpt(struct session *c, const struct target *t, struct strbuf *b);

/* sign.c: reads the first slice of the source, behind the signatures if this server answers for the
 * mail: it was submitted by a user, or written here. Any thread. */
int sign_first_slice(struct session *c, const struct queue_entry *e, struct err *err);

/* transfer.c */
void transfer_start(struct session *c); /* sends c->mail, or takes one; without any it is idle */
void transfer_reply(struct session *c, const struct reply *r);
void transfer_drain(struct session *c); /* output has gone out */
/* The mail ends as it is, before or in the middle of its transaction. */
void transfer_abort(struct session *c, enum result result, const struct reply *why);
void transfer_clear(struct session *c);

#endif
