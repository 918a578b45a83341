/*
 * Good logins, remembered for a while: per account a keyed MAC of the password that was right,
 * under a key that lives as long as the process. Time in milliseconds of a steady clock, from the
 * caller. Loop thread.
 */
#ifndef MS_AUTHD_CACHE_H
#define MS_AUTHD_CACHE_H

#include "common/base/span.h"

struct good_logins;

struct good_logins *good_logins_new(void);
void good_logins_free(struct good_logins *g);
void good_logins_put(struct good_logins *g, uint64_t account, struct span password, uint64_t now_ms,
    uint64_t keep_ms);
bool good_logins_match(
    struct good_logins *g, uint64_t account, struct span password, uint64_t now_ms);
void good_logins_drop(struct good_logins *g, uint64_t account);
size_t good_logins_count(const struct good_logins *g);

#endif
