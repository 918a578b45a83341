/* Signing keys of domains (DKIM): keyd makes and keeps them, authd says for which domains. */
#ifndef MS_AUTHD_DNS_H
#define MS_AUTHD_DNS_H

#include "common/authd/call.h"

/* At the start: sees to it that every domain has keys, and each hour that new keys that are
 * published by now sign. */
void dkim_watch_open(struct authd *a);
void dkim_watch_close(struct authd *a);
/* call->after of a command whose first argument is a domain that came or went: tells keyd, and ends
 * well whatever comes of that: the next look is behind. */
void dkim_after_add(struct call *call);
void dkim_after_remove(struct call *call);

/* A domain of ours, or another name of one, in its one form; false: the call has ended. */
bool arg_domain(struct call *call, uint32_t i, char name[MAIL_DOMAIN_MAX + 1]);

#endif
