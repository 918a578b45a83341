#include "common/base/mem.h"
#include "common/store/store_int.h"

#include <stdatomic.h>
#include <string.h>

#define SNAPSHOT_FIRST_MAX (1024 * 1024) /* messages allocated for on the row's word alone */

/* The count stands before the public part, so that nobody outside sees an atomic. */
struct snapshot_box {
	atomic_size_t refs;
	struct store_snapshot s;
};

static int snapshot_add_chunk(
    struct store_snapshot *s, size_t *cap, struct span val, struct err *err)
{
	uint32_t last = s->count ? s->messages[s->count - 1].uid : 0;
	size_t at = s->count;

	if (*cap - s->count < CHUNK_MAX) {
		*cap += *cap / 2 + CHUNK_MAX;
		s->messages = mem_grow(s->messages, *cap, sizeof(*s->messages));
	}
	if (chunk_decode(val, s->messages, *cap, &s->count, err) < 0)
		return -1;
	if (s->count > at && s->messages[at].uid <= last)
		return store_corrupt(err, s->account, "the order of chunks");
	return 0;
}

static int snapshot_fill(struct db_txn *txn, struct store_snapshot *s, size_t cap, struct err *err)
{
	struct db_cursor cur;
	struct db_key k;
	int rc;

	s->messages = mem_alloc(cap * sizeof(*s->messages));
	store_key(&k, s->account, KIND_MESSAGE);
	db_key_u64(&k, s->mailbox);
	if (db_cursor_open(txn, &cur, db_key_span(&k), err) < 0)
		return -1;
	for (rc = db_first(&cur, err); rc == 1; rc = db_next(&cur, err)) {
		if (snapshot_add_chunk(s, &cap, cur.val, err) < 0) {
			rc = -1;
			break;
		}
	}
	db_cursor_close(&cur);
	return rc;
}

int store_snapshot_load(struct db_txn *txn, uint64_t account, uint64_t mailbox,
    struct store_snapshot **out, struct err *err)
{
	struct snapshot_box *box;
	struct store_snapshot *s;
	struct mailbox_row row;
	size_t cap;

	*out = NULL;
	if (mailbox_row_open(txn, account, mailbox, &row, err) < 0)
		return -1;
	box = mem_zalloc(sizeof(*box));
	atomic_init(&box->refs, 1);
	s = &box->s;
	s->account = account;
	s->mailbox = mailbox;
	s->uidvalidity = row.mb.uidvalidity;
	s->uidnext = row.mb.uidnext;
	s->highestmodseq = row.mb.highestmodseq;
	s->recent_uid = row.mb.recent_uid;
	s->special_use = row.mb.special_use;
	s->keyword_count = row.keyword_count;
	if (s->keyword_count)
		s->keywords = mem_dup(row.keywords, s->keyword_count * sizeof(row.keywords[0]));
	cap = row.mb.messages < SNAPSHOT_FIRST_MAX ? row.mb.messages : SNAPSHOT_FIRST_MAX;
	if (snapshot_fill(txn, s, cap + CHUNK_MAX, err) < 0) {
		store_snapshot_unref(s);
		return -1;
	}
	*out = s;
	return 0;
}

struct store_snapshot *store_snapshot_ref(struct store_snapshot *s)
{
	atomic_fetch_add_explicit(
	    &container_of(s, struct snapshot_box, s)->refs, 1, memory_order_relaxed);
	return s;
}

void store_snapshot_unref(struct store_snapshot *s)
{
	struct snapshot_box *box;

	if (!s)
		return;
	box = container_of(s, struct snapshot_box, s);
	if (atomic_fetch_sub_explicit(&box->refs, 1, memory_order_acq_rel) != 1)
		return;
	mem_free(s->messages);
	mem_free(s->keywords);
	mem_free(box);
}

size_t store_snapshot_search(const struct store_snapshot *s, uint32_t uid)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->messages[mid].uid < uid)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* How many messages of old latest has no more. */
static size_t count_missing(const struct store_snapshot *old, const struct store_snapshot *latest)
{
	size_t n = 0, j = 0;

	for (size_t i = 0; i < old->count; i++) {
		while (j < latest->count && latest->messages[j].uid < old->messages[i].uid)
			j++;
		if (j == latest->count || latest->messages[j].uid != old->messages[i].uid)
			n++;
	}
	return n;
}

struct store_snapshot *store_snapshot_join(
    const struct store_snapshot *old, struct store_snapshot *latest)
{
	size_t missing = count_missing(old, latest);
	struct snapshot_box *box;
	struct store_snapshot *s;
	size_t i = 0, j = 0;

	if (missing == 0)
		return store_snapshot_ref(latest);
	box = mem_zalloc(sizeof(*box));
	atomic_init(&box->refs, 1);
	s = &box->s;
	*s = *latest;
	s->keywords = NULL;
	if (s->keyword_count)
		s->keywords =
		    mem_dup(latest->keywords, s->keyword_count * sizeof(latest->keywords[0]));
	s->count = latest->count + missing;
	s->messages = mem_array(s->count, sizeof(*s->messages));
	for (size_t n = 0; n < s->count; n++) {
		const struct store_message *a = i < old->count ? &old->messages[i] : NULL;
		const struct store_message *b = j < latest->count ? &latest->messages[j] : NULL;

		if (b && (!a || b->uid <= a->uid)) {
			i += a && a->uid == b->uid;
			j++;
			s->messages[n] = *b;
		} else if (a) {
			i++;
			s->messages[n] = *a;
		}
	}
	return s;
}
