/*
 * The way to the first administrator: a one-time code of 128 bits that the installation prints
 * ("mailsteadctl setup-code"). Whoever types it into the web admin gets a session that may
 * administer until there is an administrator. A code is good for 24 hours and for 50 wrong tries;
 * five an hour from one network. Loop thread.
 */
#ifndef MS_AUTHD_SETUP_H
#define MS_AUTHD_SETUP_H

#include "common/authd/authd.h"

#define SETUP_SECONDS ((uint64_t)24 * 3600)
#define SETUP_WRONG_MAX 50
#define SETUP_WRONG_PER_NETWORK 5

/* The row at load or after a commit; row.p NULL: there is none. */
int setup_apply(struct authd *a, struct span row, struct err *err);

#endif
