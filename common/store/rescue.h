/*
 * What is done with the rows that were read out of a damaged environment (db/salvage.h), before the
 * check repairs counts and references. For maint and tests: one thread, no loop.
 */
#ifndef MS_STORE_RESCUE_H
#define MS_STORE_RESCUE_H

#include "common/db/salvage.h"
#include "common/store/check.h"

/* Does it decode, whatever it says, and is it its own for sure? Total. */
bool store_row_is_taken(struct span key, struct span val, enum db_trust trust);
/* Where in the store a key is, for people: "messages of mailbox 3 from UID 7 on". */
void store_key_text(struct span key, char *out, size_t cap);

#define STORE_RESCUED "Recovered"

struct store_rescue {
	void (*report)(void *arg, const struct store_damage *d);
	void (*progress)(void *arg, uint64_t done, uint64_t all); /* of bodies; may be NULL */
	void *arg;
	uint64_t dropped, rescued; /* messages */
};

/*
 * Entries whose body cannot be theirs (another size) are taken out; bodies that are whole and that
 * no message refers to any more become messages of the mailbox STORE_RESCUED, which is made where
 * it is needed. Committed account by account.
 */
int store_rescue_run(
    struct db_env *env, struct blob_dir *blobs, struct store_rescue *r, struct err *err);

#endif
