/*
 * Accounts, domains and aliases in memory: what RCPT and logins look things up in. It is built from
 * the rows of the auth environment at start and kept in step by giving it each row again after its
 * commit: one code path for both. Loop thread; pointers are valid until the next index_apply.
 */
#ifndef MS_AUTHD_INDEX_H
#define MS_AUTHD_INDEX_H

#include "common/authd/name.h"
#include "common/authd/rows.h"
#include "common/base/hash.h"
#include "common/base/list.h"

#define KNOWN_MAX 64 /* networks remembered per account */
#define KNOWN_SECONDS ((uint64_t)30 * 86400)

struct domain {
	struct span name;
	uint64_t created;
	struct list accounts; /* by number */
	size_t account_count, alias_count;
	size_t name_count; /* domain aliases that lead here */
};

struct app {
	struct list link;
	uint64_t id, used;
	struct app_row row; /* spans are owned */
};

struct known {
	struct list link;
	uint64_t time;
	size_t n;
	unsigned char net[NET_KEY_MAX];
};

/* An alias that led to an account when that was removed. */
struct parted {
	struct list link;
	bool was_all;         /* it led nowhere else, and is gone */
	struct span key, row; /* owned; the alias' address; an alias_row */
};

struct account {
	struct list link; /* domain->accounts; in no list once it is removed */
	uint64_t number;
	struct user_row row; /* spans are owned */
	struct domain *domain;
	struct list apps, known; /* known: latest first */
	struct list parted;      /* once it is removed */
	size_t app_count, known_count;
	struct totp_row *totp; /* NULL: no second factor */
	struct limits_row limits;
	bool has_limits;
	struct span *grants; /* addresses and "@domain"s that it may send as, besides its own */
	uint32_t grant_count;
	uint32_t generation; /* rises with every change: a login begun before is not remembered */
	uint64_t mark;       /* resolve: seen in this walk */
};

struct alias {
	struct domain *domain;
	struct span address; /* or "@domain" */
	uint32_t count;
	struct span *targets;
	uint64_t until; /* 0: for ever */
	uint64_t mark;  /* resolve and loop check: seen in this walk */
	uint32_t height;
	bool is_on_path;
	bool is_going; /* verbs_remove.c: leads only to what is being removed */
};

/* Another name of a domain. */
struct domain_alias {
	struct span name;
	struct domain *domain;
};

struct index {
	struct hash *accounts; /* by address, those that were removed left out */
	struct hash *numbers;  /* by number, all */
	struct hash *aliases, *domains;
	struct hash *domain_aliases; /* name -> struct domain_alias */
	uint64_t mark;
};

void index_init(struct index *ix);
void index_clear(struct index *ix);
/* A row that was put, or removed (row.p NULL). Kinds that are not the index's are passed over.
 * ERR_CORRUPT for what does not decode or refers to nothing. */
int index_apply(struct index *ix, struct span key, struct span row, struct err *err);

struct domain *index_domain(const struct index *ix, struct span name);
/* The domain that this is another name of. */
struct domain *index_domain_alias(const struct index *ix, struct span name);
struct account *index_account(const struct index *ix, struct span address);
struct account *index_number(const struct index *ix, uint64_t number);
struct alias *index_alias(const struct index *ix, struct span address);

/* The networks an account has logged in from. */
bool account_is_known(const struct account *a, struct span net, uint64_t now);

/* All of a hash as an array sorted by key: free with mem_free. */
void **index_sorted(struct hash *h, size_t *n);
bool account_is_deleting(const struct account *a);
/* A live account that may administer. */
bool account_is_admin(const struct account *a);
/* Whether it holds mail: an administrator's login does not, so that whoever takes it reads none. */
bool account_is_mailbox(const struct account *a);
/* Whether there is any administrator. */
bool index_has_admin(const struct index *ix);

#endif
