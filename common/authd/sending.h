/*
 * How much an account has sent and may still send: messages a minute, an hour and a day, recipients
 * elsewhere that it has not written to before a day, a pause between messages. A window begins with
 * its first message and lasts its length. Counters are kept in memory and written every few
 * seconds: a crash forgets those, nothing else. Loop thread.
 */
#ifndef MS_AUTHD_SENDING_H
#define MS_AUTHD_SENDING_H

#include "common/authd/authd.h"

#define SENDING_TEXT_MAX 200

/* The limits of an account: its own where it has them, else the settings'. 0: none. */
void sending_limits(const struct config *cfg, const struct account *acc, uint64_t out[LIMIT_COUNT]);
const char *sending_limit_name(enum send_limit l); /* "per_hour" */

/* Answers q (IPC_AUTH_SUBMIT); text is for the client. now: seconds since 1970. */
enum ipc_submit_status sending_ask(struct authd *a, const struct account *acc,
    const struct ipc_submit *q, int64_t now, char text[SENDING_TEXT_MAX]);

struct sendings *sendings_new(void);
void sendings_free(struct sendings *s);
/* A row of ROW_SENT that was loaded, or removed (row.p NULL). */
int sendings_apply(struct sendings *s, uint64_t account, struct span row, struct err *err);
/* Writes what has changed since the last time. */
void sendings_save(struct authd *a);

#endif
