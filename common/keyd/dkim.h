/*
 * Where keyd keeps the keys that mail of a domain is signed with (DKIM, RFC 6376, RFC 8463): below
 * <state>/keys/_dkim one file for each domain, with all its keys and what each is for. A change is
 * the replacement of that file, so a crash leaves all of the old or all of the new.
 *
 * Keys come and go in pairs, RSA and Ed25519, under the selectors BASEr and BASEe. A domain has one
 * pair that signs, at most one that is published and waits, and those that signed before: they stay
 * published for a while, since mail that they signed may still be under way.
 *
 * All calls block, changes of a domain one after the other; reading needs no turn.
 */
#ifndef MS_KEYD_DKIM_H
#define MS_KEYD_DKIM_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#include <openssl/evp.h>

#define DKIM_FOLDER "_dkim"             /* no certificate id: shelf.h */
#define DKIM_DOMAIN_MAX 253             /* bytes of a name, in lower-case A-labels */
#define DKIM_SELECTOR_MAX 32            /* bytes */
#define DKIM_KEYS_MAX 8                 /* of a domain */
#define DKIM_OLD_SECONDS 1209600        /* for which a key stays published that signs no more */
#define DKIM_LIST_MAX (8 * 1024 * 1024) /* bytes of all names */
#define DKIM_RECORD_MAX 1024            /* bytes of a key record: "v=DKIM1; ..." */

enum dkim_state { DKIM_NEXT, DKIM_CURRENT, DKIM_OLD };

struct dkim_key {
	char selector[DKIM_SELECTOR_MAX + 1];
	enum dkim_state state;
	int64_t made;
	int64_t until; /* OLD: published until then */
	EVP_PKEY *key;
};

struct dkim_domain {
	struct dkim_key keys[DKIM_KEYS_MAX];
	size_t count;
};

const char *dkim_state_name(enum dkim_state s);
bool dkim_domain_is_good(struct span domain);
void dkim_clear(struct dkim_domain *d);

/* Makes the folder below dir (shelf_open has looked at that). */
int dkim_open(const char *dir, struct err *err);
/* ERR_NOT_FOUND: the domain has no keys. */
int dkim_read(const char *dir, const char *domain, struct dkim_domain *d, struct err *err);
/* Leaves out what is published no longer. Durable when it returns 0. */
int dkim_write(
    const char *dir, const char *domain, struct dkim_domain *d, int64_t now, struct err *err);
int dkim_remove(const char *dir, const char *domain, struct err *err); /* not there: fine */
/* The names of all domains with keys, each with a NUL behind it, in order. ERR_LIMIT. */
int dkim_list(const char *dir, struct strbuf *names, struct err *err);

/* A new pair, in this state. Makes an RSA key: takes up to seconds. */
int dkim_add_pair(struct dkim_domain *d, enum dkim_state state, int64_t now, struct err *err);
bool dkim_has(const struct dkim_domain *d, enum dkim_state state);
/* The waiting pair signs from now on. ERR_NOT_FOUND: none waits. */
int dkim_activate(struct dkim_domain *d, int64_t now, struct err *err);
/* Drops the keys of this state; how many. */
size_t dkim_drop(struct dkim_domain *d, enum dkim_state state);

/* The text of the key's TXT record (RFC 6376 section 3.6.1). */
int dkim_record(const struct dkim_key *k, struct strbuf *out, struct err *err);
bool dkim_is_rsa(const struct dkim_key *k);

#endif
