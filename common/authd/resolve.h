/*
 * Who receives mail for an address. In order: the account or alias of that very address; the same
 * without its subaddress (alice+shop@ is alice@); postmaster and abuse of each of our domains and
 * "postmaster" alone (RFC 5321 4.5.1, RFC 2142), which always reach somebody; the domain's
 * catch-all. Aliases expand to at most RESOLVE_DEPTH levels, each account once. No I/O; loop
 * thread.
 */
#ifndef MS_AUTHD_RESOLVE_H
#define MS_AUTHD_RESOLVE_H

#include "common/authd/index.h"
#include "common/ipc/msg.h"

#define RESOLVE_DEPTH 10

struct resolver {
	struct index *ix;
	const char *separators; /* may be "" */
	const char *hostname;   /* its postmaster and abuse are ours too */
	uint64_t now;           /* seconds since 1970: aliases that ended by then are none */
};

struct resolve_target {
	struct account *account; /* NULL: an address on another server */
	struct span remote;      /* then; points into the index */
	size_t detail_n;
	char detail[MAIL_LOCAL_MAX];
};

struct resolve_result {
	uint8_t status; /* enum ipc_resolve_status */
	uint32_t count, cap;
	struct resolve_target *targets;
};

/* out is filled; resolve_clear frees it. */
void resolve(const struct resolver *rv, struct span address, struct resolve_result *out);
void resolve_clear(struct resolve_result *r);
/* The only target is an address on another server (in the caller's memory). */
void resolve_to_remote(struct resolve_result *r, struct span address);
/* Whether an account may send as an address: it is one of those the address resolves to, or the
 * address was granted to it. The empty address (null sender) is everybody's. */
bool resolve_may_send(const struct resolver *rv, const struct account *a, struct span address);

/* What one address stands for, one level only. */
struct found {
	struct account *account;
	struct alias *alias; /* at most one of both */
	bool is_remote;
	struct span detail; /* points into nm */
};
void resolve_step(const struct resolver *rv, const struct name *nm, struct found *out);
bool found_is_local(const struct found *f);

/*
 * Checks the aliases as they are in the index: from start (or from all, with NULL). ERR_INVALID
 * names a loop, or a chain that is longer than RESOLVE_DEPTH, or an address that reaches more than
 * IPC_RESOLVE_MAX accounts.
 */
int resolve_check(const struct resolver *rv, struct alias *start, struct err *err);

#endif
