#include "imapd/thread.h"

#include "common/base/hash.h"
#include "common/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* A chain of references longer than that is not followed to see whether a link would close a loop:
 * the link is left out. */
#define ANCESTORS_MAX 1000

void thread_tree_clear(struct thread_tree *t)
{
	mem_free(t->nodes);
	mem_free(t->roots);
	*t = (struct thread_tree){0};
}

static uint32_t add_node(struct thread_tree *t, uint32_t message)
{
	if (t->count == t->capacity) {
		t->capacity = t->capacity * 2 + 64;
		t->nodes = mem_grow(t->nodes, t->capacity, sizeof(*t->nodes));
	}
	t->nodes[t->count] = (struct thread_node){THREAD_NONE, THREAD_NONE, THREAD_NONE,
	    THREAD_NONE, THREAD_NONE, message, 0, THREAD_NONE, false};
	return (uint32_t)t->count++;
}

static void set_message(
    struct thread_tree *t, uint32_t i, const struct thread_message *m, uint32_t message)
{
	t->nodes[i].message = message;
	t->nodes[i].sent = m[message].sent;
	t->nodes[i].position = message;
}

/* --- links
 * ---------------------------------------------------------------------------------------- */
static void unlink_node(struct thread_tree *t, uint32_t i)
{
	struct thread_node *n = &t->nodes[i], *parent;

	if (n->parent == THREAD_NONE)
		return;
	parent = &t->nodes[n->parent];
	if (n->prev == THREAD_NONE)
		parent->first = n->next;
	else
		t->nodes[n->prev].next = n->next;
	if (n->next == THREAD_NONE)
		parent->last = n->prev;
	else
		t->nodes[n->next].prev = n->prev;
	n->parent = n->prev = n->next = THREAD_NONE;
}

/* i, which has no parent, becomes the last child. */
static void link_node(struct thread_tree *t, uint32_t parent, uint32_t i)
{
	struct thread_node *n = &t->nodes[i], *p = &t->nodes[parent];

	n->parent = parent;
	n->prev = p->last;
	n->next = THREAD_NONE;
	if (p->last == THREAD_NONE)
		p->first = i;
	else
		t->nodes[p->last].next = i;
	p->last = i;
}

/* Would a link from parent down to i close a loop? */
static bool is_loop(const struct thread_tree *t, uint32_t parent, uint32_t i)
{
	uint32_t at = parent;

	if (parent == i)
		return true;
	if (t->nodes[i].first == THREAD_NONE)
		return false;
	for (unsigned steps = 0; at != THREAD_NONE; at = t->nodes[at].parent)
		if (at == i || steps++ == ANCESTORS_MAX)
			return true;
	return false;
}

/* --- message ids
 * ---------------------------------------------------------------------------------- */
struct id_table {
	size_t mask;
	struct id_slot {
		uint64_t id;
		uint32_t node;
	} * slots;
};

static size_t table_size(size_t n)
{
	size_t size = 64;

	while (size < 2 * n)
		size *= 2;
	return size;
}

/* The node of an id, made if there is none. Ids are hashes: their bits are as good as any. */
static uint32_t node_of(struct thread_tree *t, struct id_table *ids, uint64_t id)
{
	size_t i = (size_t)(id >> 1) & ids->mask;

	while (ids->slots[i].id != 0 && ids->slots[i].id != id)
		i = (i + 1) & ids->mask;
	if (ids->slots[i].id == 0)
		ids->slots[i] = (struct id_slot){id, add_node(t, THREAD_NONE)};
	return ids->slots[i].node;
}

/* Step 1 for one message. */
static void add_message(
    struct thread_tree *t, struct id_table *ids, const struct thread_message *m, uint32_t message)
{
	uint32_t last = THREAD_NONE, own = THREAD_NONE;

	if (m[message].id != 0)
		own = node_of(t, ids, m[message].id);
	/* An id that is missing, or another message's: as if it had a unique one. */
	if (own == THREAD_NONE || t->nodes[own].message != THREAD_NONE)
		own = add_node(t, THREAD_NONE);
	set_message(t, own, m, message);
	for (size_t i = 0; i < m[message].reference_count; i++) {
		uint32_t ref = node_of(t, ids, m[message].references[i]);

		if (last != THREAD_NONE && t->nodes[ref].parent == THREAD_NONE &&
		    !is_loop(t, last, ref))
			link_node(t, last, ref);
		last = ref;
	}
	if (last == THREAD_NONE) {
		unlink_node(t, own);
	} else if (!is_loop(t, last, own)) {
		unlink_node(t, own);
		link_node(t, last, own);
	}
}

static size_t count_ids(const struct thread_message *m, size_t n)
{
	size_t count = n;

	for (size_t i = 0; i < n; i++)
		count += m[i].reference_count;
	return count;
}

static void add_messages(struct thread_tree *t, const struct thread_message *m, size_t n)
{
	size_t size = table_size(count_ids(m, n));
	struct id_table ids = {size - 1, mem_array(size, sizeof(*ids.slots))};

	for (size_t i = 0; i < n; i++)
		add_message(t, &ids, m, (uint32_t)i);
	mem_free(ids.slots);
}

/* --- step 3: messages that are not there
 * ----------------------------------------------------------- */
static bool is_dummy(const struct thread_node *n)
{
	return n->message == THREAD_NONE;
}

/* Without children it goes, and so do its parents of that kind. */
static void prune_childless(struct thread_tree *t, uint32_t i)
{
	while (i != THREAD_NONE && is_dummy(&t->nodes[i]) && t->nodes[i].first == THREAD_NONE) {
		uint32_t parent = t->nodes[i].parent;

		unlink_node(t, i);
		t->nodes[i].is_deleted = true;
		i = parent;
	}
}

/* Its children take its place; below the root only if it is one. */
static void promote_children(struct thread_tree *t, uint32_t i)
{
	uint32_t parent = t->nodes[i].parent, child;

	if (parent == THREAD_NONE && t->nodes[i].first != t->nodes[i].last)
		return;
	while ((child = t->nodes[i].first) != THREAD_NONE) {
		unlink_node(t, child);
		if (parent != THREAD_NONE)
			link_node(t, parent, child);
	}
	unlink_node(t, i);
	t->nodes[i].is_deleted = true;
}

static void prune(struct thread_tree *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		if (!t->nodes[i].is_deleted)
			prune_childless(t, i);
	for (uint32_t i = 0; i < t->count; i++)
		if (is_dummy(&t->nodes[i]) && !t->nodes[i].is_deleted)
			promote_children(t, i);
}

/* --- order
 * ---------------------------------------------------------------------------------------- */
static int compare_nodes(const void *a, const void *b, void *arg)
{
	const struct thread_tree *t = arg;
	const struct thread_node *x = &t->nodes[*(const uint32_t *)a];
	const struct thread_node *y = &t->nodes[*(const uint32_t *)b];

	if (x->sent != y->sent)
		return x->sent < y->sent ? -1 : 1;
	return x->position < y->position ? -1 : x->position > y->position;
}

static void sort_nodes(struct thread_tree *t, uint32_t *list, size_t n)
{
	qsort_r(list, n, sizeof(*list), compare_nodes, t);
}

/* Sorts the children of a node; scratch has room for all nodes. */
static void sort_children(struct thread_tree *t, uint32_t i, uint32_t *scratch)
{
	struct thread_node *n = &t->nodes[i];
	size_t count = 0;

	if (n->first == n->last)
		return;
	for (uint32_t k = n->first; k != THREAD_NONE; k = t->nodes[k].next)
		scratch[count++] = k;
	sort_nodes(t, scratch, count);
	n->first = n->last = THREAD_NONE;
	for (size_t k = 0; k < count; k++)
		link_node(t, i, scratch[k]);
}

/* A message that is not there is as old as its oldest child. */
static void date_dummy(struct thread_tree *t, uint32_t i)
{
	struct thread_node *n = &t->nodes[i];

	for (uint32_t k = n->first; k != THREAD_NONE; k = t->nodes[k].next) {
		if (k != n->first && compare_nodes(&k, &i, t) > 0)
			continue;
		n->sent = t->nodes[k].sent;
		n->position = t->nodes[k].position;
	}
}

static void find_roots(struct thread_tree *t)
{
	mem_free(t->roots);
	t->roots = mem_array(t->count + 1, sizeof(*t->roots));
	t->root_count = 0;
	for (uint32_t i = 0; i < t->count; i++) {
		struct thread_node *n = &t->nodes[i];

		if (n->is_deleted || n->parent != THREAD_NONE)
			continue;
		if (is_dummy(n))
			date_dummy(t, i);
		t->roots[t->root_count++] = i;
	}
	sort_nodes(t, t->roots, t->root_count);
}

/* --- step 5: threads of the same subject
 * ------------------------------------------------------------ */
struct subject_table {
	size_t mask;
	struct subject_slot {
		uint64_t hash;
		uint32_t node;
	} * slots;
};

/* Of a message that is not there, the first child's counts. */
static const struct thread_message *speaker(
    const struct thread_tree *t, const struct thread_message *m, uint32_t i)
{
	return &m[is_dummy(&t->nodes[i]) ? t->nodes[i].position : t->nodes[i].message];
}

static struct subject_slot *find_subject(struct subject_table *subjects,
    const struct thread_tree *t, const struct thread_message *m, struct span subject)
{
	uint64_t hash = hash_bytes(subject);
	size_t i = (size_t)hash & subjects->mask;

	while (subjects->slots[i].node != THREAD_NONE &&
	       (subjects->slots[i].hash != hash ||
		   !span_eq(speaker(t, m, subjects->slots[i].node)->subject, subject)))
		i = (i + 1) & subjects->mask;
	subjects->slots[i].hash = hash;
	return &subjects->slots[i];
}

static bool is_reply(const struct thread_tree *t, const struct thread_message *m, uint32_t i)
{
	return !is_dummy(&t->nodes[i]) && m[t->nodes[i].message].is_reply;
}

/* Which thread stands for a subject: a message that is not there, then one that is no reply. */
static void enter_subject(struct subject_slot *slot, const struct thread_tree *t,
    const struct thread_message *m, uint32_t i)
{
	bool is_better;

	if (slot->node == THREAD_NONE) {
		slot->node = i;
		return;
	}
	is_better = is_dummy(&t->nodes[i]) || (is_reply(t, m, slot->node) && !is_reply(t, m, i));
	if (!is_dummy(&t->nodes[slot->node]) && is_better)
		slot->node = i;
}

/* Thread i and the one that stands for its subject become one. */
static void merge(
    struct thread_tree *t, const struct thread_message *m, struct subject_slot *slot, uint32_t i)
{
	uint32_t other = slot->node, child;

	if (is_dummy(&t->nodes[other]) && is_dummy(&t->nodes[i])) {
		while ((child = t->nodes[i].first) != THREAD_NONE) {
			unlink_node(t, child);
			link_node(t, other, child);
		}
		t->nodes[i].is_deleted = true;
	} else if (is_dummy(&t->nodes[other]) || (is_reply(t, m, i) && !is_reply(t, m, other))) {
		link_node(t, other, i);
	} else {
		uint32_t both = add_node(t, THREAD_NONE);

		link_node(t, both, other);
		link_node(t, both, i);
		date_dummy(t, both);
		slot->node = both;
	}
}

static void gather_subjects(struct thread_tree *t, const struct thread_message *m)
{
	size_t size = table_size(t->root_count);
	struct subject_table subjects = {size - 1, mem_alloc(size * sizeof(*subjects.slots))};

	memset(subjects.slots, 0xff, size * sizeof(*subjects.slots));
	for (size_t i = 0; i < t->root_count; i++) {
		struct span subject = speaker(t, m, t->roots[i])->subject;

		if (subject.n > 0)
			enter_subject(find_subject(&subjects, t, m, subject), t, m, t->roots[i]);
	}
	for (size_t i = 0; i < t->root_count; i++) {
		struct span subject = speaker(t, m, t->roots[i])->subject;
		struct subject_slot *slot;

		if (subject.n == 0)
			continue;
		slot = find_subject(&subjects, t, m, subject);
		if (slot->node != t->roots[i] && t->nodes[t->roots[i]].parent == THREAD_NONE)
			merge(t, m, slot, t->roots[i]);
	}
	mem_free(subjects.slots);
}

void thread_references(struct thread_tree *t, const struct thread_message *m, size_t n)
{
	uint32_t *scratch;

	*t = (struct thread_tree){0};
	add_messages(t, m, n);
	prune(t);
	find_roots(t);
	gather_subjects(t, m);
	find_roots(t);
	scratch = mem_array(t->count + 1, sizeof(*scratch));
	for (uint32_t i = 0; i < t->count; i++)
		if (!t->nodes[i].is_deleted)
			sort_children(t, i, scratch);
	mem_free(scratch);
}

/* --- ORDEREDSUBJECT
 * --------------------------------------------------------------------------------- */
static int compare_subjects(const void *a, const void *b, void *arg)
{
	const struct thread_message *m = arg;
	const struct thread_message *x = &m[*(const uint32_t *)a], *y = &m[*(const uint32_t *)b];
	int d = span_cmp(x->subject, y->subject);

	if (d != 0)
		return d;
	if (x->sent != y->sent)
		return x->sent < y->sent ? -1 : 1;
	return x < y ? -1 : x > y;
}

void thread_ordered_subject(struct thread_tree *t, const struct thread_message *m, size_t n)
{
	uint32_t *order = mem_array(n + 1, sizeof(*order)), root = THREAD_NONE;

	*t = (struct thread_tree){0};
	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	/* The comparison only reads it. */
	qsort_r(order, n, sizeof(*order), compare_subjects, (void *)(uintptr_t)m);
	for (size_t i = 0; i < n; i++) {
		uint32_t node = add_node(t, THREAD_NONE);

		set_message(t, node, m, order[i]);
		if (i > 0 && span_eq(m[order[i]].subject, m[order[i - 1]].subject))
			link_node(t, root, node);
		else
			root = node;
	}
	mem_free(order);
	find_roots(t);
}

/* --- the answer
 * ------------------------------------------------------------------------------------- */
/* Does the node stand in parentheses of its own? */
static bool is_list(const struct thread_tree *t, uint32_t i)
{
	const struct thread_node *n = &t->nodes[i], *parent;

	if (n->parent == THREAD_NONE)
		return true;
	parent = &t->nodes[n->parent];
	return is_dummy(parent) || parent->first != parent->last;
}

/* From a node that is written with all below it: closes what ends, and gives the next one. */
static uint32_t leave(struct strbuf *out, const struct thread_tree *t, uint32_t i)
{
	while (true) {
		if (is_list(t, i))
			strbuf_add_chr(out, ')');
		if (t->nodes[i].next != THREAD_NONE)
			return t->nodes[i].next;
		if (t->nodes[i].parent == THREAD_NONE)
			return THREAD_NONE;
		i = t->nodes[i].parent;
	}
}

bool thread_write(struct strbuf *out, const struct thread_tree *t, const struct thread_message *m)
{
	bool is_behind_number = true; /* there is a space before the first one */

	for (size_t r = 0; r < t->root_count && !out->failed; r++) {
		uint32_t i = t->roots[r];

		while (i != THREAD_NONE) {
			const struct thread_node *n = &t->nodes[i];

			if (is_behind_number)
				strbuf_add_chr(out, ' ');
			if (is_list(t, i))
				strbuf_add_chr(out, '(');
			is_behind_number = !is_dummy(n);
			if (is_behind_number)
				strbuf_add_u64(out, m[n->message].number);
			if (n->first != THREAD_NONE) {
				i = n->first;
				continue;
			}
			i = leave(out, t, i);
			is_behind_number = false;
		}
	}
	return !out->failed;
}
