/*
 * smtpd-send: mail to other servers. It has the queue and the network, no store. One struct dest
 * for each recipient domain with work, one struct mail for each message to it, one struct session
 * for each connection.
 *
 *   scan (which destinations are due) -> load (its recipients) -> claim (the attempt is written
 * down)
 *   -> session (route, connect, deliver) -> outcome (what came of it is written down)
 *
 * An attempt is in the queue before a connection is made: whatever crashes, nobody is hammered.
 * Only what one destination works on at the moment is in memory, however long the queue is.
 */
#ifndef MS_SMTPD_SEND_SEND_H
#define MS_SMTPD_SEND_SEND_H

#include "common/base/arena.h"
#include "common/base/hash.h"
#include "common/daemon/role.h"
#include "common/dns/dns.h"
#include "common/ipc/msg.h"
#include "smtpd/queue/queue.h"
#include "smtpd/queue/schedule.h"
#include "smtpd/send/dkim.h"
#include "smtpd/send/mx.h"
#include "smtpd/send/reply.h"
#include "smtpd/send/sts.h"

#define SCAN_MAX 512      /* destinations of one scan */
#define LOAD_MAX 128      /* recipients of one load */
#define MAIL_RCPTS_MAX 50 /* of one transaction */
#define MAIL_ARENA_MAX (256 * 1024)
#define DEAD_MS 30000         /* how long what could not be reached is believed unreachable */
#define SESSION_MAILS_MAX 100 /* one connection */
#define BLOCKED_NETWORKS 4
#define IDLE_MS 2000 /* a connection waits so long for the next message */

struct dest;
struct session;
struct ipv6;

/* What came of a recipient. */
enum result { RESULT_NONE, RESULT_SENT, RESULT_LATER, RESULT_NEVER };

struct target {
	struct queue_rcpt row; /* spans in the mail's arena */
	enum result result;
	bool is_accepted; /* RCPT was */
	bool is_relayed;  /* SENT, to a server that tells nobody of success */
	struct reply reply;
};

struct mail {
	struct list link;
	struct dest *dest;
	struct arena arena;
	struct queue_entry entry; /* spans in the arena; no body */
	struct span sender;       /* instead of the entry's, if not empty */
	struct target *targets;
	size_t count, target_cap;
	bool is_busy;                /* its targets are in send.busy */
	char host[DNS_NAME_MAX + 1]; /* that answered last */
	char tls[128];               /* how it was spoken to; empty: it was not */
};

enum route_status { ROUTE_FOUND, ROUTE_LATER, ROUTE_NEVER };

/* How to speak to a server that the administrator has named. */
struct relay {
	uint16_t port;
	enum relay_tls tls;
	char user[IPC_RELAY_TEXT_MAX + 1], password[IPC_RELAY_TEXT_MAX + 1];
};

struct route {
	enum route_status status;
	struct reply reply; /* not FOUND: why */
	struct mx_host hosts[MX_HOSTS_MAX];
	size_t count;
	bool is_secure;       /* DNSSEC has proven it */
	bool is_by_sender;    /* of other senders it may be another */
	struct relay *relays; /* of each host; NULL: the domain's own servers */
	struct sts *sts;      /* of the domain; NULL: not asked for */
};

void route_clear(struct route *r); /* wipes passwords, lets go of the policy */

struct dest {
	struct list ready; /* in send.ready: has mail, or it is due, and no connection is free */
	struct send *send;
	char name[QUEUE_DEST_MAX + 1];
	struct list mails; /* claimed, not yet taken by a session */
	size_t mail_count;
	struct list sessions;
	size_t session_count;
	size_t concurrency; /* connections at the moment at most */
	bool is_loading, may_have_more;
	struct db_job load;
	size_t outcomes; /* being written */
	/* All hosts failed: until then others are told the same without trying. */
	uint64_t dead_until; /* monotonic ms */
	struct reply dead_reply;
	char dead_host[DNS_NAME_MAX + 1];
	struct timer forget;
};

/* Certificate authorities: 1 MB that most servers never need, so they are read when a connection
 * is to be verified by them. */
struct authorities {
	struct work work;
	struct list waiting; /* sessions */
	struct tls_context *made;
	struct err err;
	bool is_loading, is_loaded;
};

struct send {
	struct role *role;
	struct queue *queue;
	struct dns *dns;
	struct ipc_client *fetcher; /* smtpd-fetch */
	struct hash *sts;           /* sts.c: domain -> struct sts_entry */
	struct tls_context *weak;   /* opportunistic: better than the clear, whatever it is */
	struct tls_context *tls;    /* certificates are not looked at, except by TLSA records */
	struct tls_context
	    *verified; /* tls.ca_file decides; NULL: there is no such file, or not yet */
	struct authorities authorities;
	struct hint_receiver *hints;
	struct schedule schedule;
	char local_hint[CONFIG_PATH_MAX];
	int hint_fd;

	struct hash *dests; /* name -> struct dest */
	struct hash *busy;  /* recipients of mails in memory: an attempt may outlast its time */
	struct list ready;  /* wait for a connection to be free */
	size_t sessions;
	/* Of settings and routes: a connection that began under another one takes no more mail. */
	unsigned generation;
	size_t loads; /* destinations whose mails are being read */

	/* sched.c */
	struct db_job scan;
	char (*found)[QUEUE_DEST_MAX + 1];
	size_t found_count;
	int64_t next_look;
	bool is_scanning, scan_again;
	bool is_paused; /* all of it, by the administrator */
	struct timer tick;
	uint64_t last_txn;

	/* sign.c: nothing is sent before the first set has come. */
	struct dkim_keys *keys;     /* NULL: none yet */
	struct dkim_keys *new_keys; /* on their way */

	/* blocked.c: networks in which nobody answered, since anybody did */
	uint32_t closed[BLOCKED_NETWORKS];
	size_t closed_count;
	bool is_egress_closed; /* the last check-network found port 25 closed */

	struct ipv6 *ipv6;
	struct bouncer *bouncer;
	uint64_t sent, deferred, failed;
};

/* sched.c */
void sched_init(struct send *s);
void sched_stop(struct send *s);
void sched_scan(struct send *s); /* looks for work now, or again after the running look */

/* dest.c */
struct dest *dest_get(struct send *s, const char *name);
void dest_free(struct dest *d);
/* Recipients are due: load and claim them. */
void dest_look(struct dest *d);
/* Mail or a place for a connection has come: begins what can begin. */
void dest_run(struct dest *d);
struct mail *dest_take(struct dest *d); /* the next mail; NULL */
/* The next of a sender's domain. */
struct mail *dest_take_from(struct dest *d, const char *sender_domain);
void dest_session_ended(struct dest *d);
/* A connection worked, or nothing could be reached. */
void dest_is_alive(struct dest *d);
void dest_is_dead(struct dest *d, const struct reply *why, const char *host);
bool dest_is_idle(const struct dest *d);
void dests_run_ready(struct send *s);

/* claim.c: from the queue's rows to mails of the destination, with the attempt written down. */
void claim_start(struct dest *d);

/* route.c */
struct route_query;
/* on_route comes once, never from inside; the route is the callee's to take over. is_anew: the
 * domain's policy is looked for again, however lately it was. */
struct route_query *route_ask(struct send *s, const char *domain, const char *sender_domain,
    bool is_anew, void (*on_route)(void *arg, struct route *r), void *arg);
void route_cancel(struct route_query *q);

/* session.c */
void session_start(struct dest *d);
/* The process ends: what only asks for names does not wait for answers. */
void sessions_drain(struct dest *d);
void sessions_end_idle(struct dest *d);
bool session_take_more(struct dest *d); /* an idle connection takes the next mail */

/* authorities.c */
void authorities_init(struct send *s); /* a file of the administrator's is read at once */
/* False: session_handshake comes when they have been read. */
bool authorities_await(struct session *c);
/* Any thread; NULL: there are none. */
struct tls_context *authorities_load(const struct send *s, struct err *err);

/* outcome.c: takes the mail over; targets without a result are tried later. */
void mail_finish(struct mail *m);
/* All targets that have no result yet. */
void mail_fail(struct mail *m, enum result result, const struct reply *why, const char *host);
void mail_free(struct mail *m);
bool mail_is_busy(const struct send *s, uint64_t qid, uint32_t n);
void mail_set_busy(struct mail *m);
/* Claimed, but not tried: due again at once (the process ends). */
void mail_give_back(struct mail *m);

/* sign.c: what the monitor sends (LINK_DKIM). */
void send_take_keys(struct role *r, const struct ipc_msg *msg);

/* ipv6.c */
struct ipv6 *ipv6_new(struct send *s);
void ipv6_free(struct ipv6 *v); /* NULL is fine */
void ipv6_look(struct ipv6 *v); /* settings may have changed */
bool ipv6_is_on(const struct send *s);

/* blocked.c: connections to port 25 that got nowhere, or somewhere */
void blocked_failed(struct send *s, const struct net_addr *a);
void blocked_reached(struct send *s);
bool blocked_is(const struct send *s);
void blocked_found(struct send *s, bool is_closed); /* by check-network */

/* bounce.c */
struct bouncer *bouncer_new(struct send *s);
void bouncer_look(struct bouncer *b); /* somebody is to be told something */
void bouncer_free(struct bouncer *b);
bool bouncer_is_idle(const struct bouncer *b);

/* envelope.c: what stands in MAIL FROM, and its domain in A-labels ("" for none). */
struct span mail_sender(const struct mail *m);
void mail_sender_domain(const struct mail *m, char out[QUEUE_DEST_MAX + 1]);

/* main.c */
/* Settings or routes are other ones: connections that wait for mail end, others with their mail. */
void send_changed(struct send *s);
void send_check_drained(struct send *s);
void send_tell_local(struct send *s, uint64_t qid);
const char *send_helo(const struct send *s);
/* A resolver as the settings want it. */
int send_open_dns(const struct send *s, struct dns **out, struct err *err);

#endif
