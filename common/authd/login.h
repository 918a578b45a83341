/* What login.c shares with the verbs. */
#ifndef MS_AUTHD_LOGIN_H
#define MS_AUTHD_LOGIN_H

#include "common/authd/authd.h"

uint32_t protocol_bit(struct span name); /* enum protocol_bit, 0 for none of ours */
/* APP_HASH_LEN bytes. */
void app_password_hash(struct span salt, struct span password, unsigned char out[APP_HASH_LEN]);
/* Writes a new hash of the same password, when no change stands before it in the queue. */
void account_rehash(struct authd *a, const struct account *acc, struct span phc);

#endif
