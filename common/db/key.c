#include "common/db/db.h"

#include <string.h>

void db_key_init(struct db_key *k)
{
	k->n = 0;
	k->failed = false;
}

static unsigned char *key_room(struct db_key *k, size_t n)
{
	unsigned char *at = k->b + k->n;

	if (k->failed || n > sizeof(k->b) - k->n) {
		k->failed = true;
		return NULL;
	}
	k->n += n;
	return at;
}

void db_key_u8(struct db_key *k, uint8_t v)
{
	unsigned char *at = key_room(k, 1);

	if (at)
		*at = v;
}

void db_key_u32(struct db_key *k, uint32_t v)
{
	unsigned char *at = key_room(k, 4);

	if (at)
		be_put32(at, v);
}

void db_key_u64(struct db_key *k, uint64_t v)
{
	unsigned char *at = key_room(k, 8);

	if (at)
		be_put64(at, v);
}

void db_key_raw(struct db_key *k, struct span s)
{
	unsigned char *at = key_room(k, s.n);

	if (at && s.n)
		memcpy(at, s.p, s.n);
}

/* Empty if the key did not fit: LMDB refuses an empty key, so nothing can be written under it. */
struct span db_key_span(const struct db_key *k)
{
	return k->failed ? (struct span){NULL, 0} : span_make(k->b, k->n);
}
