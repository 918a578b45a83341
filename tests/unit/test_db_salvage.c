/* What is read of a data.mdb that LMDB must not open: never a row that was not written. */
#include "common/db/page.h"
#include "common/db/salvage.h"
#include "tests/support/fixture.h"
#include "tests/support/unit.h"

#include <fcntl.h>
#include <sys/stat.h>

#define ROWS 3000
#define SEEDS 120

static struct err err;
static unsigned char *whole; /* the file as it was */
static size_t whole_n;
static bool was_seen[ROWS];
static size_t seen, wrong, strange, uncertain, gaps;

static size_t value_of(unsigned i, unsigned turn, char out[12000])
{
	size_t n = i % 50 == 0 ? 5000 + i : 20 + i % 200;

	for (size_t k = 0; k < n; k++)
		out[k] = (char)(i * 31 + turn * 7 + k * (1 + i % 3));
	return n;
}

static void put(struct db_txn *txn, unsigned i, unsigned turn)
{
	static char val[12000];
	struct db_key k;

	db_key_init(&k);
	db_key_u32(&k, i);
	db_key_raw(&k, SPAN("some more of a key"));
	ck_ok(db_put(txn, db_key_span(&k), span_make(val, value_of(i, turn, val)), &err));
}

/* Rows of several transactions, so that pages were freed and used again. */
static void setup(void)
{
	struct db_env *env;
	struct db_txn *txn;
	struct stat st;
	int fd;

	fixture_setup();
	env = fixture_open((size_t)64 << 20, (size_t)64 << 20);
	for (unsigned turn = 0; turn < 12; turn++) {
		ck_ok(db_write_begin(env, &txn, &err));
		for (unsigned i = 0; i < ROWS; i++)
			if (turn == 0 || i % 11 == turn)
				put(txn, i, turn == 0 ? 0 : 1);
		ck_ok(db_commit(txn, &err));
	}
	db_env_close(env);
	fd = open(fixture_path("env/data.mdb"), O_RDONLY);
	ck_assert_int_eq(fstat(fd, &st), 0);
	whole_n = (size_t)st.st_size;
	whole = mem_alloc(whole_n);
	ck_assert_int_eq(read(fd, whole, whole_n), (ssize_t)whole_n);
	close(fd);
}

static void teardown(void)
{
	mem_free(whole);
	fixture_teardown();
}

/* A row of these is one that was written: as it is, or, if that is not certain, as it was. */
static int take(void *arg, struct span key, struct span val, enum db_trust trust, struct err *e)
{
	static char want[12000];
	uint32_t i = key.n == 22 ? be_get32(key.p) : ROWS;
	size_t n;
	bool is_good = false;

	if (i < ROWS) {
		n = value_of(i, i % 11 ? 1 : 0, want);
		is_good = span_eq(val, span_make(want, n));
		if (!is_good && trust != DB_CERTAIN)
			is_good = span_eq(val, span_make(want, value_of(i, 0, want)));
	}
	/* A bit of the first or last key that leaves it where it is; a page of the list of free
	 * ones that nothing tells from ours: keys that nobody looks for. */
	if (i >= ROWS) {
		strange++;
		return 0;
	}
	wrong += !is_good && (trust != DB_GUESS || val.n <= DB_INLINE_MAX);
	uncertain += trust != DB_CERTAIN;
	if (is_good && !was_seen[i]) {
		was_seen[i] = true;
		seen++;
	}
	return 0;
}

static void lost(void *arg, struct span from, struct span to)
{
	gaps++;
	ck_assert(!to.p || to.n > 0);
}

static struct db_salvage salvage(const unsigned char *bytes, size_t n)
{
	struct db_salvage s = {.row = take, .lost = lost};
	int fd = open(fixture_path("broken"), O_RDWR | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
	memset(was_seen, 0, sizeof(was_seen));
	seen = wrong = strange = uncertain = gaps = 0;
	err = (struct err)ERR_INIT;
	if (db_salvage(fd, &s, &err) < 0)
		ck_assert_int_eq(err.code, ERR_CORRUPT);
	close(fd);
	return s;
}

START_TEST(of_a_whole_one_everything)
{
	struct db_salvage s = salvage(whole, whole_n);

	ck_assert_uint_eq(seen, ROWS);
	ck_assert_uint_eq(s.rows, ROWS);
	ck_assert_uint_eq(wrong + strange + uncertain + gaps + s.bad_pages + s.bad_rows, 0);
	ck_assert(!s.is_short && !s.has_no_root);
}
END_TEST

static unsigned char *copy(void)
{
	return mem_dup(whole, whole_n);
}

static bool is_kind(size_t page, enum page_kind kind)
{
	struct page p;

	return page_read(&p, whole + page * 4096, 4096, page) && p.kind == kind;
}

/* Pages at a time: whatever was on one, the rest is there. */
START_TEST(a_page_that_is_gone)
{
	size_t branches = 0;

	for (size_t page = 2; page < whole_n / 4096; page++) {
		unsigned char *bytes;

		/* What values say is not looked at here. */
		if (!is_kind(page, PAGE_BRANCH) && (page % 17 != 0 || !is_kind(page, PAGE_LEAF)))
			continue;
		bytes = copy();
		memset(bytes + page * 4096, 0xa5, 4096);
		salvage(bytes, whole_n);
		ck_assert_uint_eq(wrong, 0);
		/* One leaf has at most 90 rows; one branch is made good from what it points to. */
		ck_assert_uint_ge(seen, ROWS - 90);
		branches += is_kind(page, PAGE_BRANCH);
		mem_free(bytes);
	}
	ck_assert_uint_ge(branches, 1);
}
END_TEST

START_TEST(roots_that_are_gone)
{
	for (size_t which = 1; which <= 3; which++) {
		unsigned char *bytes = copy();

		for (size_t page = 0; page < 2; page++)
			if (which >> page & 1)
				memset(bytes + page * 4096, 0, 4096);
		ck_assert(salvage(bytes, whole_n).has_no_root);
		if (which == 3)
			ck_assert_uint_eq(gaps, 1);
		ck_assert_uint_eq(wrong, 0);
		/* But for the last transaction: nobody can know whether its root was there. */
		ck_assert_uint_ge(seen, ROWS - ROWS / 11 - 1);
		mem_free(bytes);
	}
}
END_TEST

static uint32_t next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	return *x ^= *x << 5;
}

/* In the tables and keys of pages, not in values: those the store's own sums look after. */
static void flip_heads(unsigned char *bytes, uint32_t *x, unsigned count)
{
	while (count > 0) {
		size_t page = next_random(x) % (whole_n / 4096);
		size_t at = next_random(x) % 200;
		struct page p;

		if (page >= 2 &&
		    (!page_read(&p, whole + page * 4096, 4096, page) || p.kind == PAGE_OVERFLOW))
			continue;
		/* Its head and table, or the flags and key of a node. A length that is off by one
		 * is the value's affair. */
		if (page >= 2 && next_random(x) % 2 == 0) {
			struct page_node n;

			ck_assert(page_node(&p, next_random(x) % p.count, &n));
			at = (size_t)((const unsigned char *)n.key.p - p.bytes) - 4 +
			     next_random(x) % (4 + n.key.n);
		} else if (page >= 2) {
			at %= page_head() + 2 * p.count;
		}
		bytes[page * 4096 + at] ^= (unsigned char)(1u << next_random(x) % 8);
		count--;
	}
}

START_TEST(flipped_bits)
{
	size_t total = 0;

	for (uint32_t seed = 1; seed <= SEEDS; seed++) {
		unsigned char *bytes = copy();
		uint32_t x = seed * 2654435761u;

		flip_heads(bytes, &x, 1 + seed % 40);
		salvage(bytes, whole_n);
		ck_assert_uint_eq(wrong, 0);
		ck_assert_uint_le(strange, seed % 40 + 1);
		total += seen;
		mem_free(bytes);
	}
	ck_assert_uint_ge(total, (size_t)SEEDS * ROWS * 8 / 10);
}
END_TEST

START_TEST(cut_off)
{
	for (uint32_t seed = 1; seed <= SEEDS; seed++) {
		uint32_t x = seed * 2246822519u;
		size_t n = next_random(&x) % whole_n;
		struct db_salvage s = salvage(whole, n);

		ck_assert_uint_eq(wrong, 0);
		ck_assert(n < 8192 || s.is_short || seen == ROWS);
	}
	salvage(whole, 0);
	ck_assert_int_eq(err.code, ERR_CORRUPT);
}
END_TEST

/* Everything at once: nothing to hope for but that it ends. */
START_TEST(noise)
{
	for (uint32_t seed = 1; seed <= SEEDS; seed++) {
		unsigned char *bytes = copy();
		uint32_t x = seed * 40503u + 1;

		for (unsigned i = 0; i < 20000; i++)
			bytes[next_random(&x) % whole_n] = (unsigned char)next_random(&x);
		salvage(bytes, whole_n);
		mem_free(bytes);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {of_a_whole_one_everything, a_page_that_is_gone,
	    roots_that_are_gone, flipped_bits, cut_off, noise};
	TCase *tc = tcase_create("salvage");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
