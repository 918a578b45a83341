#include "common/base/hash.h"

#include "common/base/mem.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#define BUCKETS_MIN 16

struct entry {
	struct entry *next;
	uint64_t hash;
	void *value;
	size_t n;
	char key[];
};

struct hash {
	struct entry **buckets;
	size_t bucket_count; /* a power of two */
	size_t count;
};

/* --- SipHash-2-4 (Aumasson and Bernstein, 2012) ----------------------------------------------- */
struct sip {
	uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static uint64_t load_le(const unsigned char *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static void sip_rounds(struct sip *s, unsigned rounds)
{
	while (rounds-- > 0) {
		s->v0 += s->v1;
		s->v1 = rotate(s->v1, 13) ^ s->v0;
		s->v0 = rotate(s->v0, 32);
		s->v2 += s->v3;
		s->v3 = rotate(s->v3, 16) ^ s->v2;
		s->v0 += s->v3;
		s->v3 = rotate(s->v3, 21) ^ s->v0;
		s->v2 += s->v1;
		s->v1 = rotate(s->v1, 17) ^ s->v2;
		s->v2 = rotate(s->v2, 32);
	}
}

static void sip_word(struct sip *s, uint64_t word)
{
	s->v3 ^= word;
	sip_rounds(s, 2);
	s->v0 ^= word;
}

uint64_t hash_siphash(const unsigned char key[16], struct span data)
{
	uint64_t k0 = load_le(key, 8);
	uint64_t k1 = load_le(key + 8, 8);
	struct sip s = {
	    .v0 = k0 ^ 0x736f6d6570736575u,
	    .v1 = k1 ^ 0x646f72616e646f6du,
	    .v2 = k0 ^ 0x6c7967656e657261u,
	    .v3 = k1 ^ 0x7465646279746573u,
	};
	const unsigned char *p = (const unsigned char *)data.p;
	size_t whole = data.n / 8 * 8;

	for (size_t i = 0; i < whole; i += 8)
		sip_word(&s, load_le(p + i, 8));
	sip_word(
	    &s, (uint64_t)data.n << 56 | (data.n > whole ? load_le(p + whole, data.n - whole) : 0));
	s.v2 ^= 0xff;
	sip_rounds(&s, 4);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

static unsigned char process_key[16];
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

static void make_process_key(void)
{
	if (getrandom(process_key, sizeof(process_key), 0) != (ssize_t)sizeof(process_key))
		fatal("no random bytes from the kernel");
}

uint64_t hash_bytes(struct span data)
{
	pthread_once(&process_key_once, make_process_key);
	return hash_siphash(process_key, data);
}

/* --- the map ---------------------------------------------------------------------------------- */
struct hash *hash_new(void)
{
	struct hash *h = mem_zalloc(sizeof(*h));

	h->bucket_count = BUCKETS_MIN;
	h->buckets = mem_array(h->bucket_count, sizeof(struct entry *));
	return h;
}

void hash_free(struct hash *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->bucket_count; i++) {
		while (h->buckets[i]) {
			struct entry *e = h->buckets[i];

			h->buckets[i] = e->next;
			mem_free(e);
		}
	}
	mem_free(h->buckets);
	mem_free(h);
}

/* The link that points to the entry, or the NULL at the end of its bucket. */
static struct entry **find(const struct hash *h, struct span key, uint64_t hash)
{
	struct entry **at = &h->buckets[hash & (h->bucket_count - 1)];

	while (*at && ((*at)->hash != hash || !span_eq(span_make((*at)->key, (*at)->n), key)))
		at = &(*at)->next;
	return at;
}

void *hash_get(const struct hash *h, struct span key)
{
	struct entry *e = *find(h, key, hash_bytes(key));

	return e ? e->value : NULL;
}

static void resize(struct hash *h, size_t bucket_count)
{
	struct entry **buckets = mem_array(bucket_count, sizeof(struct entry *));

	for (size_t i = 0; i < h->bucket_count; i++) {
		while (h->buckets[i]) {
			struct entry *e = h->buckets[i];
			struct entry **to = &buckets[e->hash & (bucket_count - 1)];

			h->buckets[i] = e->next;
			e->next = *to;
			*to = e;
		}
	}
	mem_free(h->buckets);
	h->buckets = buckets;
	h->bucket_count = bucket_count;
}

void *hash_set(struct hash *h, struct span key, void *value)
{
	uint64_t hash = hash_bytes(key);
	struct entry **at = find(h, key, hash);
	struct entry *e = *at;

	if (e) {
		void *old = e->value;

		e->value = value;
		return old;
	}
	e = mem_alloc(sizeof(*e) + key.n);
	*e = (struct entry){.hash = hash, .value = value, .n = key.n};
	if (key.n > 0)
		memcpy(e->key, key.p, key.n);
	*at = e;
	if (++h->count > h->bucket_count)
		resize(h, h->bucket_count * 2);
	return NULL;
}

void *hash_remove(struct hash *h, struct span key)
{
	struct entry **at = find(h, key, hash_bytes(key));
	struct entry *e = *at;
	void *value;

	if (!e)
		return NULL;
	value = e->value;
	*at = e->next;
	mem_free(e);
	h->count--;
	return value;
}

size_t hash_count(const struct hash *h)
{
	return h->count;
}

void hash_each(struct hash *h, void (*fn)(struct span key, void *value, void *arg), void *arg)
{
	for (size_t i = 0; i < h->bucket_count; i++) {
		struct entry *next;

		for (struct entry *e = h->buckets[i]; e; e = next) {
			next = e->next;
			fn(span_make(e->key, e->n), e->value, arg);
		}
	}
}
