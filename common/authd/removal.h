/*
 * Accounts that go. "account remove" marks the account: it receives nothing, logs in nowhere, its
 * sessions end, its address is free; all it had stays, for "account restore". When the time for
 * undelete is over, or at once with --now, it is marked as going, and the job here has smtpd-local
 * take what it has in queue and store, in small steps, and at last removes its rows. The mark is
 * the job's only state: cut off anywhere, it begins again and finds less. Loop thread.
 */
#ifndef MS_AUTHD_REMOVAL_H
#define MS_AUTHD_REMOVAL_H

#include "common/authd/call.h"

void removal_open(struct authd *a);
void removal_close(struct authd *a);
void removal_look(struct authd *a); /* there may be something to do */
/* When a removed account goes, by the settings of now; seconds since 1970. */
uint64_t removal_time(const struct authd *a, const struct account *acc);

/* verbs_account.c */
void account_put(struct change *c, uint64_t number, const struct user_row *row);
void account_put_login(struct change *c, uint64_t number, struct span address);
void account_forget_logins(struct call *call, const struct account *acc);
/* True, and the call ended: it is the one that asks. */
bool account_is_own(struct call *call, const struct account *acc);

/* verbs_remove.c */
void list_removed(struct call *call);
/* Behind the commit of the call the sessions of the account end, in all daemons. */
void account_kick_after(struct call *call, uint64_t number);

#endif
