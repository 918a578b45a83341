/*
 * Sessions of the web admin: a random token of 128 bits in the browser, its SHA-256 here. A session
 * ends 12 hours after login, after 30 minutes without a request, at logout, and with a change of
 * the account's password, rights or existence. Loop thread.
 */
#ifndef MS_AUTHD_SESSION_H
#define MS_AUTHD_SESSION_H

#include "common/authd/authd.h"

#define SESSION_SECONDS (12 * 3600)
#define SESSION_IDLE (30 * 60)
#define SESSION_TOKEN_LEN 32 /* hex digits */
#define SESSION_FRESH 120
#define SESSIONS_MAX 1000
#define SESSIONS_PER_ACCOUNT 20

struct sessions *sessions_new(void);
void sessions_free(struct sessions *s);
/* A row at load or after a commit. */
int sessions_apply(struct sessions *s, struct span token_hash, struct span row, struct err *err);

/* Adds the row of a new session to c (and removes the oldest beyond the limits). */
void session_create(
    struct authd *a, struct change *c, uint64_t account, char token[SESSION_TOKEN_LEN + 1]);
/* The account of a live session, 0 for none. Counts as activity. */
uint64_t session_find(struct authd *a, struct span token);
void session_remove(struct sessions *s, struct change *c, struct span token);
void session_remove_account(struct sessions *s, struct change *c, uint64_t account);
void session_sweep(struct authd *a);
/* Whether it was begun a moment ago, so with a password: what asks for more than a token. */
bool session_is_fresh(struct authd *a, struct span token);
/* The account of a session that setup-code opened: no account's, good only until there is an
 * administrator. */
#define SESSION_SETUP UINT64_MAX
size_t session_count(const struct sessions *s);

#endif
