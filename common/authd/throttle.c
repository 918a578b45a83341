#include "common/authd/throttle.h"

#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/base/mem.h"

#include <string.h>

#define SLOT_SECONDS 600
/* Six whole slots and the one that runs: never less than an hour is looked at. */
#define SLOTS 7
#define NAME_MAX_BYTES 320

struct bucket {
	struct list link; /* most recently used first */
	uint64_t slot;    /* number of the newest slot */
	uint32_t failures[SLOTS];
	uint32_t pending; /* being verified now */
	size_t key_n;
	char key[];
};

struct throttle {
	struct hash *buckets;
	struct list order;
	size_t max;
};

struct throttle *throttle_new(size_t buckets_max)
{
	struct throttle *t = mem_zalloc(sizeof(*t));

	t->buckets = hash_new();
	t->max = buckets_max;
	list_init(&t->order);
	return t;
}

static void drop(struct throttle *t, struct bucket *b)
{
	hash_remove(t->buckets, span_make(b->key, b->key_n));
	list_remove(&b->link);
	mem_free(b);
}

void throttle_free(struct throttle *t)
{
	if (!t)
		return;
	LIST_EACH_SAFE (it, &t->order)
		drop(t, container_of(it, struct bucket, link));
	hash_free(t->buckets);
	mem_free(t);
}

/* The key: one letter, so that a network never meets an account, and the (cut) name. */
static size_t make_key(char kind, struct span name, char out[NAME_MAX_BYTES + 1])
{
	size_t n = name.n < NAME_MAX_BYTES ? name.n : NAME_MAX_BYTES;

	out[0] = kind;
	if (n > 0)
		memcpy(out + 1, name.p, n);
	return n + 1;
}

static struct bucket *find(const struct throttle *t, char kind, struct span name)
{
	char key[NAME_MAX_BYTES + 1];

	return hash_get(t->buckets, span_make(key, make_key(kind, name, key)));
}

/* Forgets slots that are over. */
static void advance(struct bucket *b, uint64_t now)
{
	uint64_t slot = now / SLOT_SECONDS;

	if (slot <= b->slot)
		return;
	if (slot - b->slot >= SLOTS) {
		memset(b->failures, 0, sizeof(b->failures));
	} else {
		for (uint64_t s = b->slot + 1; s <= slot; s++)
			b->failures[s % SLOTS] = 0;
	}
	b->slot = slot;
}

static uint64_t failures(struct bucket *b, uint64_t now)
{
	uint64_t sum = 0;

	advance(b, now);
	for (size_t i = 0; i < SLOTS; i++)
		sum += b->failures[i];
	return sum;
}

static void evict(struct throttle *t)
{
	for (struct list *it = t->order.prev; it != &t->order; it = it->prev) {
		struct bucket *b = container_of(it, struct bucket, link);

		if (b->pending == 0) {
			drop(t, b);
			return;
		}
	}
}

static struct bucket *obtain(struct throttle *t, char kind, struct span name, uint64_t now)
{
	char key[NAME_MAX_BYTES + 1];
	size_t n = make_key(kind, name, key);
	struct bucket *b = hash_get(t->buckets, span_make(key, n));

	if (b) {
		list_remove(&b->link);
	} else {
		if (hash_count(t->buckets) >= t->max)
			evict(t);
		b = mem_zalloc(sizeof(*b) + n);
		memcpy(b->key, key, n);
		b->key_n = n;
		b->slot = now / SLOT_SECONDS;
		hash_set(t->buckets, span_make(key, n), b);
	}
	list_prepend(&t->order, &b->link);
	advance(b, now);
	return b;
}

static enum throttle_answer ask(struct bucket *b, uint64_t limit, uint64_t now)
{
	uint64_t failed;

	if (!b)
		return THROTTLE_GO;
	failed = failures(b, now);
	if (failed >= limit)
		return THROTTLE_STOP;
	return failed + b->pending >= limit ? THROTTLE_WAIT : THROTTLE_GO;
}

enum throttle_answer throttle_ask(struct throttle *t, const struct throttle_who *who,
    const struct throttle_limits *limits, uint64_t now)
{
	enum throttle_answer net = ask(find(t, 'n', who->network), limits->per_network, now);
	enum throttle_answer account = THROTTLE_GO;

	if (!who->is_known)
		account = ask(find(t, 'a', who->account), limits->per_account, now);
	return net > account ? net : account;
}

void throttle_begin(struct throttle *t, const struct throttle_who *who, uint64_t now)
{
	obtain(t, 'n', who->network, now)->pending++;
	if (!who->is_known)
		obtain(t, 'a', who->account, now)->pending++;
}

static void end(struct throttle *t, char kind, struct span name, bool is_failure, uint64_t now)
{
	struct bucket *b = obtain(t, kind, name, now);

	if (b->pending > 0)
		b->pending--;
	if (is_failure)
		b->failures[b->slot % SLOTS]++;
	else if (b->pending == 0 && failures(b, now) == 0)
		drop(t, b); /* most people never fail */
}

void throttle_end(struct throttle *t, const struct throttle_who *who, bool is_failure, uint64_t now)
{
	end(t, 'n', who->network, is_failure, now);
	if (!who->is_known)
		end(t, 'a', who->account, is_failure, now);
}

void throttle_each(struct throttle *t, uint64_t now,
    void (*fn)(void *arg, const struct throttle_row *row), void *arg)
{
	LIST_EACH_SAFE (it, &t->order) {
		struct bucket *b = container_of(it, struct bucket, link);
		struct throttle_row row = {.is_network = b->key[0] == 'n',
		    .name = span_make(b->key + 1, b->key_n - 1),
		    .failures = failures(b, now)};

		fn(arg, &row);
	}
}

bool throttle_forget(struct throttle *t, bool is_network, struct span name)
{
	struct bucket *b = find(t, is_network ? 'n' : 'a', name);

	if (!b)
		return false;
	/* One that is being verified comes back to it. */
	if (b->pending > 0)
		memset(b->failures, 0, sizeof(b->failures));
	else
		drop(t, b);
	return true;
}

void throttle_block(struct throttle *t, struct span network, uint64_t count, uint64_t now)
{
	struct bucket *b = obtain(t, 'n', network, now);

	b->failures[b->slot % SLOTS] += (uint32_t)(count < UINT32_MAX / 8 ? count : UINT32_MAX / 8);
}

size_t throttle_count(const struct throttle *t)
{
	return hash_count(t->buckets);
}
