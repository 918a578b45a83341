/*
 * The threading algorithms of RFC 5256: pure, without recursion, in linear time but for the
 * sorting. Message ids come as hashes (0: none); sent dates order siblings, then the position in
 * the array, which is that of the mailbox.
 */
#ifndef MS_IMAPD_THREAD_H
#define MS_IMAPD_THREAD_H

#include "common/base/strbuf.h"

#define THREAD_NONE UINT32_MAX

struct thread_message {
	uint32_t number; /* as it is told */
	int64_t sent;
	uint64_t id;
	const uint64_t *references; /* oldest first */
	size_t reference_count;
	struct span subject; /* base subject, case-mapped */
	bool is_reply;
};

struct thread_node {
	uint32_t parent, first, last, prev, next; /* nodes, or THREAD_NONE */
	uint32_t message;                         /* THREAD_NONE: a message that is not there */
	int64_t sent;                             /* of the message, or the first child's */
	uint32_t position;                        /* the same way */
	bool is_deleted;
};

struct thread_tree {
	struct thread_node *nodes;
	size_t count, capacity;
	uint32_t *roots; /* in order */
	size_t root_count;
};

void thread_references(struct thread_tree *t, const struct thread_message *m, size_t n);
void thread_ordered_subject(struct thread_tree *t, const struct thread_message *m, size_t n);
void thread_tree_clear(struct thread_tree *t);
/* " (2)(3 6 (4 23)(44 7 96))"; nothing without threads. False if out is full. */
bool thread_write(struct strbuf *out, const struct thread_tree *t, const struct thread_message *m);

#endif
