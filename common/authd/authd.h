/*
 * authd: the one process that can read a password hash. It answers roles on auth.sock, mailsteadctl
 * on admin.sock and the web admin on web.sock. Everything is decided on the loop from memory; rows
 * are written by the database's writer thread, one administrative change after the other, and
 * memory follows a commit, never the other way round.
 */
#ifndef MS_AUTHD_AUTHD_H
#define MS_AUTHD_AUTHD_H

#include "common/authd/cache.h"
#include "common/authd/hashq.h"
#include "common/authd/index.h"
#include "common/authd/resolve.h"
#include "common/authd/routes.h"
#include "common/authd/srs.h"
#include "common/authd/throttle.h"
#include "common/daemon/role.h"
#include "common/db/db.h"
#include "common/event/work.h"

#define AUDIT_MAX 100000

struct call;
struct sendings;
struct sessions;

struct authd_counts {
	uint64_t good, failed, throttled, temporary;
};

/* removal.c */
struct removal {
	struct timer look;
	uint64_t number; /* the account that is going */
	bool is_busy, is_queue, is_done;
};

struct authd {
	struct role *role;
	struct loop *loop;
	struct config *cfg; /* the newest; the role's frame gets it by SIGHUP */
	struct db_env *env;
	struct db_writer *writer;
	struct db_readers *readers;
	struct index index;
	struct routes routes;
	unsigned char srs_key[SRS_KEY_LEN];
	bool has_srs_key;
	struct throttle *throttle;
	struct good_logins *good;
	struct hashq *hashq;
	char dummy[PHC_MAX + 1]; /* what unknown users are verified against */
	struct hash_params dummy_params;
	struct sessions *sessions;
	struct sendings *sendings;
	struct workers *files, *forwarders;
	struct ipc_server *auth, *admin, *web;
	struct list changes;  /* calls that change something, waiting for their turn */
	struct call *current; /* its turn */
	size_t call_count;    /* all that run or wait */
	bool is_busy;         /* a change without a call has its turn */
	bool is_in_next;      /* call_next is running */
	uint64_t next_account, next_app, next_audit;
	struct authd_counts counts;
	struct setup_row setup; /* created 0: no code is open */
	struct throttle *setup_throttle;
	uint64_t started_ms;
	struct removal removal;
	struct timer restart; /* upgrade.c */
	struct timer sweep, save, revert, hangup, dkim;
	uint64_t revert_at;     /* steady clock, ms: a change is undone then; 0: none waits */
	char revert_names[400]; /* the settings that it changed, apart by spaces */
	bool is_stopping;
};

/* main.c's parts, in state.c */
int state_open(struct authd *a, struct err *err); /* environment, rows into memory */
void state_close(struct authd *a);
int state_apply(struct authd *a, struct span key, struct span row, struct err *err);
struct resolver authd_resolver(struct authd *a);
struct hash_params authd_hash_params(const struct authd *a);
void authd_take_config(struct authd *a, struct config *cfg); /* takes the reference */
void authd_status(const struct authd *a, struct strbuf *record);

/* --- changes of rows -------------------------------------------------------------------------- */
struct change;

struct change *change_new(struct authd *a);
/* Both copy. put: row's bytes; the buffer is cleared. */
void change_put(struct change *c, const struct db_key *key, struct strbuf *row);
/* The same where the row is still there when the transaction runs; else nothing. */
void change_update(struct change *c, const struct db_key *key, struct strbuf *row);
void change_del(struct change *c, const struct db_key *key); /* absent is fine */
/* One transaction; memory follows, then done. Takes c. */
void change_commit(struct change *c, void (*done)(void *arg, const struct err *err), void *arg);
/* For what may be lost in a crash: memory first, the disk with the next commit, and there behind
 * changes that were made later: what such a change could remove must be a change_update. Takes c.
 */
void change_commit_lazy(struct change *c);
void change_free(struct change *c);

/* --- audit ------------------------------------------------------------------------------------ */
uint64_t audit_add(struct change *c, struct authd *a, struct span who, struct span client,
    struct span words, struct span result);
/* The same row again, with what came of it: number is audit_add's. */
void audit_put(struct change *c, uint64_t number, struct span who, struct span client,
    struct span words, struct span result);

/* --- logins ----------------------------------------------------------------------------------- */
struct login_answer {
	enum ipc_login_status status;
	struct account *account; /* with LOGIN_OK and LOGIN_NOT_HERE; valid during the callback */
	const char *text;
};

/* on_answer comes once, perhaps from inside. Strings of q are copied. */
void login_ask(struct authd *a, const struct ipc_login *q,
    void (*on_answer)(void *arg, const struct login_answer *answer), void *arg);

/* --- upgrade.c -------------------------------------------------------------------------------- */
void upgrade_open(struct authd *a);
void upgrade_close(struct authd *a);

/* --- servers ---------------------------------------------------------------------------------- */
int auth_server_open(struct authd *a, struct err *err);  /* auth.sock */
int admin_server_open(struct authd *a, struct err *err); /* admin.sock, web.sock */

#endif
