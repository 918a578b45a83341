/*
 * The second factor of the web login: six digits of a clock (RFC 6238: SHA-1, 30 s), or one of ten
 * recovery codes. A code is good once; one step of clock difference either way is forgiven. Loop
 * thread.
 */
#ifndef MS_AUTHD_TOTP_H
#define MS_AUTHD_TOTP_H

#include "common/authd/authd.h"

#define TOTP_STEP_SECONDS 30
#define TOTP_DIGITS 6

/* The six digits of a step. */
void totp_code(const unsigned char secret[TOTP_SECRET_LEN], uint64_t step, char out[7]);
bool totp_is_on(const struct account *acc);
/* Whether the code is right now, and was not used before; what it uses up goes into c. */
bool totp_take(struct account *acc, struct span code, struct change *c);

#endif
