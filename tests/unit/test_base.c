/* Arena, strings, buffers, hash map, list, memory and errors: every edge that is small enough to be
 * tried in full. */
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/base/mem.h"
#include "common/base/strbuf.h"
#include "common/base/utf8.h"
#include "tests/support/unit.h"

#include <errno.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>

/* Its square is one more than a size can be. */
#define HALF_WIDTH ((size_t)1 << (sizeof(size_t) * 4))

/* --- arena ------------------------------------------------------------------------------------ */
START_TEST(arena_gives_zeroed_aligned_memory)
{
	struct arena a;

	arena_init(&a, 1 << 20);
	for (int round = 0; round < 3; round++) {
		for (size_t size = 0; size <= 700; size++) {
			unsigned char *p = arena_alloc(&a, size);

			ck_assert_ptr_nonnull(p);
			ck_assert_uint_eq((uintptr_t)p % alignof(max_align_t), 0);
			for (size_t i = 0; i < size; i++)
				ck_assert_uint_eq(p[i], 0);
			memset(p, 0xa5, size);
		}
		arena_reset(&a);
		ck_assert_uint_eq(a.used, 0);
	}
	arena_clear(&a);
	ck_assert_ptr_null(a.blocks);
}
END_TEST

START_TEST(arena_has_a_limit)
{
	struct arena a;
	size_t count = 0;

	arena_init(&a, 4096);
	ck_assert_ptr_null(arena_alloc(&a, 4097));
	ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX));
	ck_assert_ptr_null(arena_array(&a, SIZE_MAX / 2, 3));
	ck_assert_ptr_null(arena_array(&a, HALF_WIDTH, HALF_WIDTH));
	ck_assert_ptr_null(arena_strdup(&a, span_make("x", SIZE_MAX)));
	ck_assert_uint_eq(a.used, 0);
	ck_assert_ptr_nonnull(arena_alloc(&a, 4096));
	ck_assert_ptr_null(arena_alloc(&a, 1));
	arena_reset(&a);
	while (arena_alloc(&a, 1))
		count++;
	/* Rounded up to the alignment, and not one more. */
	ck_assert_uint_eq(count, 4096 / alignof(max_align_t));
	arena_clear(&a);
	arena_init(&a, SIZE_MAX);
	ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX));
	ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX - 3));
	arena_clear(&a);
}
END_TEST

START_TEST(arena_copies)
{
	struct arena a;
	struct span in = exact("abc", 3);
	struct span out;

	arena_init(&a, 1024);
	ck_assert_str_eq(arena_strdup(&a, in), "abc");
	ck_assert_str_eq(arena_strdup(&a, span_make(NULL, 0)), "");
	ck_assert(arena_copy(&a, in, &out));
	ck_assert(span_eq(out, in) && out.p != in.p);
	arena_clear(&a);
	arena_init(&a, 2);
	ck_assert(!arena_copy(&a, in, &out));
	exact_free(in);
}
END_TEST

/* --- spans ------------------------------------------------------------------------------------ */
START_TEST(span_compares)
{
	struct span a = exact("Abc", 3), b = exact("aBC", 3), c = exact("Ab", 2);
	struct span none = span_make(NULL, 0);

	ck_assert(!span_eq(a, b) && span_ieq(a, b) && !span_ieq(a, c));
	ck_assert(span_eq(none, none) && span_ieq(none, SPAN("")) && !span_eq(none, c));
	ck_assert(span_starts(a, c) && !span_starts(c, a) && span_starts(a, none));
	ck_assert(span_istarts(b, SPAN("ab")) && !span_istarts(b, SPAN("ac")));
	ck_assert(span_ends(a, SPAN("bc")) && !span_ends(c, a) && span_ends(c, none));
	ck_assert_int_lt(span_cmp(c, a), 0);
	ck_assert_int_gt(span_cmp(a, c), 0);
	ck_assert_int_eq(span_cmp(none, none), 0);
	ck_assert_int_gt(span_cmp(SPAN("\x80"), SPAN("\x7f")), 0);
	ck_assert_int_eq(span_chr(a, 'c'), 2);
	ck_assert_int_eq(span_chr(none, 'c'), -1);
	ck_assert_int_eq(span_rchr(SPAN("a.b.c"), '.'), 3);
	ck_assert_int_eq(span_rchr(none, '.'), -1);
	ck_assert_uint_eq(span_of(NULL).n, 0);
	exact_free(a);
	exact_free(b);
	exact_free(c);
}
END_TEST

START_TEST(span_cuts_clamp)
{
	struct span s = exact("0123456789", 10);

	for (size_t start = 0; start <= 12; start++) {
		struct span from = span_from(s, start);

		ck_assert_uint_eq(from.n, start < 10 ? 10 - start : 0);
		for (size_t n = 0; n <= 12; n++) {
			struct span sub = span_sub(s, start, n);

			ck_assert_uint_eq(sub.n, from.n < n ? from.n : n);
			ck_assert_ptr_eq(sub.p, from.p);
		}
		ck_assert_uint_eq(span_sub(s, start, SIZE_MAX).n, from.n);
	}
	ck_assert_uint_eq(span_from(s, SIZE_MAX).n, 0);
	exact_free(s);
}
END_TEST

/* All texts of up to 8 letters of {a, b} against all needles of up to 4. */
START_TEST(span_finds)
{
	for (unsigned length = 0; length <= 8; length++)
		for (unsigned bits = 0; bits < 1u << length; bits++)
			for (unsigned m = 0; m <= 4; m++)
				for (unsigned needle = 0; needle < 1u << m; needle++) {
					char text[8], find[4], lower[4];
					struct span s, f, l;
					ssize_t want = -1;

					for (unsigned i = 0; i < length; i++)
						text[i] = bits >> i & 1 ? 'b' : 'a';
					for (unsigned i = 0; i < m; i++) {
						lower[i] = needle >> i & 1 ? 'b' : 'a';
						find[i] = ascii_upper(lower[i]);
					}
					for (unsigned at = 0; want < 0 && at + m <= length; at++)
						if (memcmp(text + at, lower, m) == 0)
							want = (ssize_t)at;
					s = exact(text, length);
					f = exact(find, m);
					l = exact(lower, m);
					ck_assert_int_eq(span_find(s, l), want);
					ck_assert_int_eq(span_ifind(s, f), want);
					exact_free(s);
					exact_free(f);
					exact_free(l);
				}
}
END_TEST

/* A needle longer than what the search tables hold. */
START_TEST(span_finds_long_needles)
{
	char text[2000], needle[600];

	memset(text, 'a', sizeof(text));
	memset(needle, 'A', sizeof(needle));
	needle[sizeof(needle) - 1] = 'B';
	ck_assert_int_eq(
	    span_ifind(span_make(text, sizeof(text)), span_make(needle, sizeof(needle))), -1);
	text[1234] = 'b';
	ck_assert_int_eq(
	    span_ifind(span_make(text, sizeof(text)), span_make(needle, sizeof(needle))),
	    1234 - 599);
	text[1234] = 'a';
	text[598] = 'c';
	text[599 + 600] = 'b';
	ck_assert_int_eq(
	    span_ifind(span_make(text, sizeof(text)), span_make(needle, sizeof(needle))), 600);
}
END_TEST

START_TEST(span_splits)
{
	struct span rest = exact(",a,,b,", 6);
	struct span whole = rest, out;
	const char *const want[] = {"", "a", "", "b", ""};

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		ck_assert(span_split(&rest, ',', &out));
		ck_assert(span_eq(out, span_of(want[i])));
	}
	ck_assert(!span_split(&rest, ',', &out));
	rest = SPAN("");
	ck_assert(span_split(&rest, ',', &out) && out.n == 0);
	ck_assert(!span_split(&rest, ',', &out));
	exact_free(whole);
}
END_TEST

START_TEST(span_takes)
{
	struct span s = SPAN("Hello 12x"), t = SPAN(" \t\r\n x \r\n"), blank = SPAN(" \t \r\n");
	uint64_t v = 77;

	ck_assert(!span_take_iword(&s, SPAN("hellO!")) && s.n == 9);
	ck_assert(span_take_iword(&s, SPAN("hellO")) && s.n == 4);
	ck_assert(!span_take_chr(&s, 'x') && span_take_chr(&s, ' '));
	ck_assert(!span_take_u64(&s, 11, &v) && v == 77 && s.n == 3);
	ck_assert(span_take_u64(&s, 12, &v) && v == 12 && span_eq(s, SPAN("x")));
	ck_assert(!span_take_u64(&s, 12, &v) && v == 12);
	ck_assert(span_eq(span_trim(t), SPAN("x")) && span_trim(blank).n == 0);
	s = span_make(NULL, 0);
	ck_assert(!span_take_chr(&s, 'x') && !span_take_u64(&s, 1, &v));
}
END_TEST

/* Each edge number, as itself, with something around it, and against limits below, at and above. */
START_TEST(span_numbers)
{
	static const char *const not [] = {
	    "", "-1", "+1", " 1", "1 ", "0x1", "1e3", "\xef\xbc\x91"};
	uint64_t v;

	for (size_t i = 0; i < ARRAY_LEN(edge_numbers); i++) {
		struct span s = exact(edge_numbers[i], strlen(edge_numbers[i]));
		uint64_t want;
		bool fits;

		errno = 0;
		want = strtoull(edge_numbers[i], NULL, 10);
		fits = errno == 0;
		v = 42;
		ck_assert_msg(span_u64(s, UINT64_MAX, &v) == fits, "%s", edge_numbers[i]);
		ck_assert_uint_eq(v, fits ? want : 42);
		if (fits) {
			ck_assert(span_u64(s, want, &v));
			ck_assert(want == 0 || !span_u64(s, want - 1, &v));
		}
		v = 42;
		ck_assert(!span_u64(span_sub(s, 0, s.n - 1), 0, &v) || v == 0);
		exact_free(s);
	}
	for (size_t i = 0; i < ARRAY_LEN(not ); i++)
		ck_assert_msg(!span_u64(span_of(not [i]), UINT64_MAX, &v), "\"%s\"", not [i]);
}
END_TEST

START_TEST(span_lowers)
{
	char in[300], out[300];

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (char)i;
	for (size_t from = 0; from < 260; from++)
		for (size_t n = 0; n <= 20; n++) {
			bool is_ascii = true;

			memset(out, '#', sizeof(out));
			for (size_t i = from; i < from + n; i++)
				is_ascii &= (unsigned char)in[i] < 0x80;
			ck_assert_int_eq(span_lower(out, span_make(in + from, n)), is_ascii);
			for (size_t i = 0; i < n; i++)
				ck_assert_int_eq(out[i], ascii_lower(in[from + i]));
			ck_assert_int_eq(out[n], '#');
		}
}
END_TEST

START_TEST(ascii_classes)
{
	for (int i = 0; i < 256; i++) {
		char c = (char)i;
		bool digit = i >= 48 && i <= 57, upper = i >= 65 && i <= 90,
		     lower = i >= 97 && i <= 122;

		ck_assert_int_eq(ascii_is_digit(c), digit);
		ck_assert_int_eq(ascii_is_alpha(c), upper || lower);
		ck_assert_int_eq(ascii_is_alnum(c), upper || lower || digit);
		ck_assert_int_eq(ascii_is_ctl(c), i < 32 || i == 127);
		ck_assert_int_eq((unsigned char)ascii_lower(c), upper ? i + 32 : i);
		ck_assert_int_eq((unsigned char)ascii_upper(c), lower ? i - 32 : i);
	}
}
END_TEST

/* --- buffers ---------------------------------------------------------------------------------- */
START_TEST(strbuf_keeps_its_limit)
{
	for (size_t max = 0; max <= 200; max++) {
		struct strbuf b;
		size_t held = 0;

		strbuf_init(&b, max);
		ck_assert_str_eq(b.p, "");
		for (size_t n = 0; n <= 20; n++) {
			struct span part = exact("abcdefghijklmnopqrst", n);
			bool fits = held + n <= max;

			ck_assert_int_eq(strbuf_add(&b, part), fits);
			held += fits ? n : 0;
			ck_assert_uint_eq(b.n, held);
			ck_assert_uint_eq(b.p[held], 0);
			exact_free(part);
		}
		ck_assert_int_eq(b.failed, max < 210);
		ck_assert(strbuf_add_str(&b, "") && b.failed == (max < 210));
		strbuf_reset(&b);
		ck_assert(!b.failed && b.n == 0 && strcmp(b.p, "") == 0);
		strbuf_clear(&b);
	}
}
END_TEST

START_TEST(strbuf_formats)
{
	struct strbuf b;
	char *stolen;
	size_t n;

	strbuf_init(&b, 64);
	ck_assert(strbuf_addf(&b, "%s-%d", "x", 7) && strbuf_addf(&b, "%s", ""));
	ck_assert(
	    strbuf_add_u64(&b, 0) && strbuf_add_chr(&b, ' ') && strbuf_add_u64(&b, UINT64_MAX));
	ck_assert_str_eq(b.p, "x-70 18446744073709551615");
	ck_assert(!strbuf_addf(&b, "%64d", 1) && b.failed);
	ck_assert_str_eq(b.p, "x-70 18446744073709551615");
	stolen = strbuf_steal(&b, &n);
	ck_assert_uint_eq(n, 25);
	ck_assert_str_eq(stolen, "x-70 18446744073709551615");
	ck_assert(!b.failed && b.n == 0 && b.max == 64);
	mem_free(stolen);
	stolen = strbuf_steal(&b, NULL);
	ck_assert_str_eq(stolen, "");
	mem_free(stolen);
}
END_TEST

START_TEST(strbuf_moves)
{
	for (size_t drop = 0; drop <= 12; drop++)
		for (size_t cut = 0; cut <= 12; cut++) {
			struct strbuf b;
			struct span want;

			strbuf_init(&b, 100);
			strbuf_add_str(&b, "0123456789");
			strbuf_drop_front(&b, drop);
			strbuf_truncate(&b, cut);
			want = span_sub(span_from(SPAN("0123456789"), drop), 0, cut);
			ck_assert(span_eq(strbuf_span(&b), want));
			ck_assert_uint_eq(strlen(b.p), want.n);
			strbuf_clear(&b);
		}
}
END_TEST

START_TEST(strbuf_room_is_exact)
{
	struct strbuf b;
	char *to;

	strbuf_init(&b, 100);
	ck_assert_ptr_null(strbuf_room(&b, 101));
	ck_assert(b.failed);
	ck_assert_ptr_null(strbuf_room(&b, SIZE_MAX));
	to = strbuf_room(&b, 100);
	ck_assert_ptr_nonnull(to);
	memset(to, 'x', 100);
	strbuf_added(&b, 100);
	ck_assert_uint_eq(b.n, 100);
	ck_assert_ptr_null(strbuf_room(&b, 1));
	strbuf_clear(&b);
	strbuf_init(&b, SIZE_MAX);
	strbuf_add_chr(&b, 'x');
	ck_assert_ptr_null(strbuf_room(&b, SIZE_MAX - 1));
	strbuf_clear(&b);
}
END_TEST

START_TEST(strbuf_added_too_much)
{
	struct strbuf b;

	strbuf_init(&b, 1000);
	(void)strbuf_room(&b, 10);
	strbuf_added(&b, 900);
}
END_TEST

/* --- hash map --------------------------------------------------------------------------------- */
/* The reference vectors: key 00..0f, message 00..n-1; the first, some, and the last of 64. */
START_TEST(siphash_vectors)
{
	static const struct {
		size_t n;
		uint64_t want;
	} vectors[] = {{0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd}, {2, 0x0d6c8009d9a94f5a},
	    {7, 0xab0200f58b01d137}, {8, 0x93f5f5799a932462}, {15, 0xa129ca6149be45e5},
	    {63, 0x958a324ceb064572}};
	unsigned char key[16], message[64];

	for (unsigned i = 0; i < 64; i++)
		message[i] = (unsigned char)i;
	memcpy(key, message, 16);
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		struct span s = exact(message, vectors[i].n);

		ck_assert_uint_eq(hash_siphash(key, s), vectors[i].want);
		exact_free(s);
	}
}
END_TEST

static void count_each(struct span key, void *value, void *arg)
{
	unsigned *seen = arg;

	ck_assert_uint_eq(key.n, 4);
	seen[(uintptr_t)value - 1]++;
}

static void remove_even(struct span key, void *value, void *arg)
{
	if ((uintptr_t)value % 2 == 0)
		ck_assert_ptr_eq(hash_remove(arg, key), value);
}

START_TEST(hash_against_an_array)
{
	struct hash *h = hash_new();
	uintptr_t model[512] = {0};
	unsigned seen[4000] = {0};
	size_t count = 0;

	srand(7);
	for (uintptr_t turn = 1; turn < 4000; turn++) {
		uint32_t key = (uint32_t)rand() % 512;
		struct span s = exact(&key, sizeof(key));

		ck_assert_uint_eq((uintptr_t)hash_get(h, s), model[key]);
		if (rand() % 3) {
			ck_assert_uint_eq((uintptr_t)hash_set(h, s, (void *)turn), model[key]);
			count += model[key] == 0;
			model[key] = turn;
		} else {
			ck_assert_uint_eq((uintptr_t)hash_remove(h, s), model[key]);
			count -= model[key] != 0;
			model[key] = 0;
		}
		ck_assert_uint_eq(hash_count(h), count);
		exact_free(s);
	}
	hash_each(h, count_each, seen);
	for (size_t i = 0; i < 512; i++)
		if (model[i])
			ck_assert_uint_eq(seen[model[i] - 1], 1);
	hash_each(h, remove_even, h);
	for (uint32_t i = 0; i < 512; i++)
		ck_assert_uint_eq(
		    (uintptr_t)hash_get(h, span_make(&i, 4)), model[i] % 2 ? model[i] : 0);
	hash_free(h);
	hash_free(NULL);
}
END_TEST

START_TEST(hash_keys_are_bytes)
{
	struct hash *h = hash_new();
	int a, b, c;

	hash_set(h, span_make(NULL, 0), &a);
	hash_set(h, span_make("\0", 1), &b);
	hash_set(h, span_make("\0\0", 2), &c);
	ck_assert_ptr_eq(hash_get(h, SPAN("")), &a);
	ck_assert_ptr_eq(hash_get(h, span_make("\0", 1)), &b);
	ck_assert_ptr_eq(hash_get(h, span_make("\0\0", 2)), &c);
	ck_assert_ptr_null(hash_remove(h, SPAN("x")));
	ck_assert_uint_eq(hash_bytes(SPAN("a")), hash_bytes(SPAN("a")));
	hash_free(h);
}
END_TEST

/* --- list ------------------------------------------------------------------------------------- */
struct item {
	struct list link;
	char c;
};

static void expect_list(struct list *head, const char *want)
{
	char got[16] = "";
	size_t n = 0;

	LIST_EACH (it, head)
		got[n++] = container_of(it, struct item, link)->c;
	ck_assert_str_eq(got, want);
	for (struct list *it = head->prev; it != head; it = it->prev)
		ck_assert_int_eq(container_of(it, struct item, link)->c, got[--n]);
	ck_assert_uint_eq(n, 0);
}

START_TEST(list_operations)
{
	struct item items[5] = {{.c = 'a'}, {.c = 'b'}, {.c = 'c'}, {.c = 'd'}, {.c = 'e'}};
	struct list head, other;

	list_init(&head);
	list_init(&other);
	expect_list(&head, "");
	ck_assert_ptr_null(list_take_first(&head));
	ck_assert(!list_is_linked(&items[0].link));
	list_remove(&items[0].link);
	list_append(&head, &items[1].link);
	list_prepend(&head, &items[0].link);
	list_append(&head, &items[3].link);
	list_add_before(&items[3].link, &items[2].link);
	expect_list(&head, "abcd");
	list_splice(&other, &head);
	expect_list(&head, "");
	list_splice(&other, &head);
	list_append(&head, &items[4].link);
	list_splice(&head, &other);
	expect_list(&head, "eabcd");
	LIST_EACH_SAFE (it, &head)
		if (container_of(it, struct item, link)->c != 'b')
			list_remove(it);
	expect_list(&head, "b");
	ck_assert_ptr_eq(list_take_first(&head), &items[1].link);
	ck_assert(list_is_empty(&head) && !list_is_linked(&items[1].link));
}
END_TEST

/* --- memory ----------------------------------------------------------------------------------- */
START_TEST(mem_functions)
{
	char *p = mem_zalloc(0), *q;
	int *numbers = mem_array(3, sizeof(int));

	ck_assert_ptr_nonnull(p);
	mem_free(p);
	ck_assert(numbers[0] == 0 && numbers[1] == 0 && numbers[2] == 0);
	numbers[2] = 9;
	numbers = mem_grow(numbers, 100, sizeof(int));
	ck_assert_int_eq(numbers[2], 9);
	mem_free(numbers);
	p = mem_strndup("abc", 2);
	q = mem_strdup("ab");
	ck_assert_str_eq(p, q);
	ck_assert(mem_equal_secret(p, q, 3) && !mem_equal_secret(p, "ax", 2));
	ck_assert(mem_equal_secret(p, "xx", 0));
	mem_wipe(p, 2);
	ck_assert(p[0] == 0 && p[1] == 0);
	mem_free_secret(p, 3);
	mem_free_secret(q, 3);
	mem_free_secret(NULL, 9);
	p = mem_dup(NULL, 0);
	mem_free(p);
}
END_TEST

START_TEST(mem_dies_on_overflow)
{
	mem_array(SIZE_MAX / 2, 3);
}
END_TEST

START_TEST(mem_dies_on_growth_overflow)
{
	mem_grow(NULL, HALF_WIDTH * 2, HALF_WIDTH * 2);
}
END_TEST

START_TEST(mem_dies_on_string_overflow)
{
	mem_strndup("x", SIZE_MAX);
}
END_TEST

START_TEST(fatal_ends)
{
	fatal("%s", "on purpose");
}
END_TEST

/* --- errors ----------------------------------------------------------------------------------- */
START_TEST(err_texts)
{
	struct err e = ERR_INIT;

	ck_assert_int_eq(err_set(NULL, ERR_IO, "x"), -1);
	ck_assert_int_eq(err_errno(NULL, EIO, "x"), -1);
	ck_assert_int_eq(err_wrap(NULL, "x"), -1);
	ck_assert_int_eq(err_set(&e, ERR_BUSY, "a %d", 1), -1);
	ck_assert_int_eq(e.code, ERR_BUSY);
	ck_assert_int_eq(err_wrap(&e, "b %d", 2), -1);
	ck_assert_str_eq(e.text, "b 2: a 1");
	ck_assert_int_eq(e.code, ERR_BUSY);
	err_errno(&e, EIO, "read %s", "x");
	ck_assert_str_eq(e.text, "read x: Input/output error");
}
END_TEST

START_TEST(err_codes)
{
	static const struct {
		int errnum;
		enum err_code code;
	} table[] = {{ENOSPC, ERR_NO_SPACE}, {EDQUOT, ERR_NO_SPACE}, {ENFILE, ERR_NO_SPACE},
	    {EMFILE, ERR_NO_SPACE}, {ENOMEM, ERR_NO_SPACE}, {ENOENT, ERR_NOT_FOUND},
	    {EEXIST, ERR_EXISTS}, {EACCES, ERR_DENIED}, {EPERM, ERR_DENIED}, {EAGAIN, ERR_TIMEOUT},
	    {ETIMEDOUT, ERR_TIMEOUT}, {EPIPE, ERR_CLOSED}, {ECONNRESET, ERR_CLOSED}, {EIO, ERR_IO},
	    {EINVAL, ERR_IO}, {0, ERR_IO}};
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		err_errno(&e, table[i].errnum, "x");
		ck_assert_msg(e.code == table[i].code, "%d", table[i].errnum);
	}
	for (int code = ERR_NONE; code <= ERR_UNSUPPORTED; code++) {
		const char *name = err_code_name((enum err_code)code);

		ck_assert_str_ne(name, "unknown");
		for (int other = ERR_NONE; other < code; other++)
			ck_assert_str_ne(name, err_code_name((enum err_code)other));
	}
	ck_assert_str_eq(err_code_name((enum err_code)(ERR_UNSUPPORTED + 1)), "unknown");
	ck_assert_str_eq(err_code_name((enum err_code) - 1), "unknown");
}
END_TEST

/* Characters of one to four bytes over every place where the text can be cut. */
START_TEST(err_cuts_between_characters)
{
	static const char *const characters[] = {
	    "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x93\xa7"};
	struct err e;
	char text[400];

	for (size_t k = 0; k < ARRAY_LEN(characters); k++)
		for (size_t before = 225; before <= 245; before++) {
			size_t n = before;

			memset(text, 'x', before);
			while (n + 4 < sizeof(text)) {
				memcpy(text + n, characters[k], strlen(characters[k]));
				n += strlen(characters[k]);
			}
			text[n] = '\0';
			err_set(&e, ERR_IO, "%s", text);
			ck_assert_msg(utf8_is_valid(span_of(e.text)), "%zu %zu", k, before);
			ck_assert_uint_ge(strlen(e.text), sizeof(e.text) - 4);
			ck_assert(strncmp(e.text, text, strlen(e.text)) == 0);
			err_set(&e, ERR_IO, "why");
			err_wrap(&e, "%s", text);
			ck_assert(utf8_is_valid(span_of(e.text)));
		}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {arena_gives_zeroed_aligned_memory, arena_has_a_limit,
	    arena_copies, span_compares, span_cuts_clamp, span_finds, span_finds_long_needles,
	    span_splits, span_takes, span_numbers, span_lowers, ascii_classes,
	    strbuf_keeps_its_limit, strbuf_formats, strbuf_moves, strbuf_room_is_exact,
	    siphash_vectors, hash_against_an_array, hash_keys_are_bytes, list_operations,
	    mem_functions, err_texts, err_codes, err_cuts_between_characters};
	TCase *tc = tcase_create("base");

	unit_add(tc, tests, ARRAY_LEN(tests));
	tcase_add_exit_test(tc, strbuf_added_too_much, 70);
	tcase_add_exit_test(tc, mem_dies_on_overflow, 71);
	tcase_add_exit_test(tc, mem_dies_on_growth_overflow, 71);
	tcase_add_exit_test(tc, mem_dies_on_string_overflow, 71);
	tcase_add_exit_test(tc, fatal_ends, 70);
	return unit_finish(tc);
}
