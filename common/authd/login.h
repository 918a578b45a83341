/* What login.c shares with the verbs. */
#ifndef MS_AUTHD_LOGIN_H
#define MS_AUTHD_LOGIN_H

#include "common/authd/authd.h"

uint32_t protocol_bit(struct span name); /* enum protocol_bit, 0 for none of ours */
/* APP_HASH_LEN bytes. */
void app_password_hash(struct span salt, struct span password, unsigned char out[APP_HASH_LEN]);
/* Writes a new hash of the same password, when no change stands before it in the queue. */
void account_rehash(struct authd *a, const struct account *acc, struct span phc);

/* The network that attempts of a client are counted for: points into buf, or into client. */
struct span login_network(struct span client, unsigned char buf[NET_KEY_MAX]);
/* A failed guess at something behind the password (the second factor). */
void login_count_failure(struct authd *a, struct span client, const struct account *acc);
/* Somebody proved there to be the account's owner, by the second factor too. */
void login_remember(struct authd *a, struct span client, const struct account *acc);
/* May the network try again? False: too many failures. */
bool login_may_try(struct authd *a, struct span client, const struct account *acc);

struct call;
/* Writes the call's hash as the account's password and ends the call. */
void account_set_password(struct call *call, struct account *acc);

#endif
