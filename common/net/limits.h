/*
 * Counts open connections in total, by address (/32, /64) and by network (/24, /48). Not
 * thread-safe: the loop's. A listener's sessions enter and leave.
 */
#ifndef MS_NET_LIMITS_H
#define MS_NET_LIMITS_H

#include "common/net/addr.h"

struct limits;

struct limits *limits_new(size_t total, size_t per_address, size_t per_network);
void limits_free(struct limits *l);
void limits_set(struct limits *l, size_t total, size_t per_address, size_t per_network);
/* 0, or -1 with ERR_LIMIT naming which one was reached; then nothing was counted. */
int limits_enter(struct limits *l, const struct net_addr *a, struct err *err);
void limits_leave(struct limits *l, const struct net_addr *a);
bool limits_is_full(const struct limits *l); /* in total */
size_t limits_total(const struct limits *l);

#endif
