/*
 * A hash map from byte strings to pointers, SipHash with a random key per process, so that a peer
 * cannot choose colliding keys. Keys are copied; values are the caller's. Not thread-safe.
 */
#ifndef MS_BASE_HASH_H
#define MS_BASE_HASH_H

#include "common/base/span.h"

struct hash;

struct hash *hash_new(void);
void hash_free(struct hash *h); /* values are left alone */
void *hash_get(const struct hash *h, struct span key);
/* Sets and returns the value that was there before (NULL if none). value must not be NULL. */
void *hash_set(struct hash *h, struct span key, void *value);
void *hash_remove(struct hash *h, struct span key);
size_t hash_count(const struct hash *h);
/* Calls fn for each entry; fn may remove the entry it was given, nothing else. */
void hash_each(struct hash *h, void (*fn)(struct span key, void *value, void *arg), void *arg);

/* SipHash-2-4 of data under the process's key, and under a given 16-byte key. */
uint64_t hash_bytes(struct span data);
uint64_t hash_siphash(const unsigned char key[16], struct span data);

#endif
