/*
 * Password hashes, a few at a time: each costs the memory of its parameters (19 MiB), so that at
 * most auth.hash_threads run in the whole appliance. What waits is asked again, in its order, when
 * a thread is free. Loop thread, except the hashing itself.
 */
#ifndef MS_AUTHD_HASHQ_H
#define MS_AUTHD_HASHQ_H

#include "common/authd/password.h"
#include "common/event/work.h"

struct hashq;

enum hash_start { HASH_GO, HASH_WAIT, HASH_DROP };

struct hash_job {
	struct work work;
	struct list link;
	struct hashq *q;
	bool is_verify;            /* else phc is made */
	struct hash_params params; /* to make with */
	char phc[PHC_MAX + 1];
	char *password; /* the job's copy, wiped when it ends */
	size_t password_n;
	int result; /* verify: 1 right, 0 wrong; make: 0; -1 with err */
	bool is_dropped;
	struct err err;
	/* Asked when a thread is free; NULL means HASH_GO. HASH_WAIT only while another job runs
	 * whose end changes the answer. HASH_DROP: done comes at once, is_dropped set. */
	enum hash_start (*may_start)(struct hash_job *job);
	void (*done)(struct hash_job *job); /* loop; may free the job */
};

struct hashq *hashq_new(struct loop *loop, unsigned threads);
/* Ends what waits (dropped) and what runs. */
void hashq_free(struct hashq *q);
/* Copies the password. False when max jobs wait already: nothing was taken. An urgent one goes
 * before all others and is never refused. */
bool hashq_submit(
    struct hashq *q, struct hash_job *job, struct span password, size_t max, bool is_urgent);
size_t hashq_waiting(const struct hashq *q);
uint64_t hashq_started(const struct hashq *q); /* hashes computed since the start, or begun */

#endif
