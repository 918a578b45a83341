#include "common/store/uidset.h"
#include "tests/support/fixture.h"

static void expect(const struct uidset *s, const char *text)
{
	struct strbuf b;

	strbuf_init(&b, 4096);
	uidset_format(&b, s);
	ck_assert_str_eq(b.p, text);
	strbuf_clear(&b);
}

START_TEST(ascending)
{
	struct uidset s;

	uidset_init(&s);
	expect(&s, "");
	ck_assert(!uidset_has(&s, 1));
	for (uint32_t uid = 1; uid <= 10; uid++)
		if (uid != 4 && uid != 6)
			ck_assert(uidset_add(&s, uid));
	expect(&s, "1:3,5,7:10");
	ck_assert_uint_eq(uidset_count(&s), 8);
	for (uint32_t uid = 0; uid <= 12; uid++)
		ck_assert(uidset_has(&s, uid) == (uid >= 1 && uid <= 10 && uid != 4 && uid != 6));
	uidset_reset(&s);
	expect(&s, "");
	uidset_clear(&s);
}
END_TEST

START_TEST(sorting)
{
	struct uidset s;

	uidset_init(&s);
	uidset_add_range(&s, 10, 20);
	uidset_add(&s, 3);
	uidset_add_range(&s, 15, 30);
	uidset_add_range(&s, 4, 5);
	uidset_add_range(&s, 31, 31);
	uidset_add_range(&s, 7, UINT32_MAX);
	uidset_add(&s, UINT32_MAX);
	uidset_sort(&s);
	expect(&s, "3:5,7:4294967295");
	ck_assert_uint_eq(uidset_count(&s), 3 + (uint64_t)UINT32_MAX - 6);
	ck_assert(uidset_has(&s, UINT32_MAX) && !uidset_has(&s, 6));
	uidset_clear(&s);
}
END_TEST

START_TEST(intersecting)
{
	struct uidset a, b, both;

	uidset_init(&a);
	uidset_init(&b);
	uidset_init(&both);
	uidset_intersect(&both, &a, &b);
	expect(&both, "");
	uidset_add_range(&a, 1, 5);
	uidset_add(&a, 9);
	uidset_add_range(&a, 20, UINT32_MAX);
	uidset_intersect(&both, &a, &b);
	expect(&both, "");
	uidset_add_range(&b, 2, 3);
	uidset_add_range(&b, 5, 10);
	uidset_add_range(&b, 19, 21);
	uidset_add(&b, UINT32_MAX);
	uidset_intersect(&both, &a, &b);
	expect(&both, "2:3,5,9,20:21,4294967295");
	uidset_reset(&both);
	uidset_intersect(&both, &b, &a);
	expect(&both, "2:3,5,9,20:21,4294967295");
	uidset_clear(&a);
	uidset_clear(&b);
	uidset_clear(&both);
}
END_TEST

START_TEST(bounds)
{
	struct uidset s;

	uidset_init(&s);
	ck_assert(!uidset_add(&s, 0));
	ck_assert(s.failed);
	uidset_reset(&s);
	ck_assert(!uidset_add_range(&s, 5, 4));
	uidset_reset(&s);
	for (uint32_t i = 1; i <= UIDSET_MAX; i++)
		ck_assert(uidset_add(&s, i * 2));
	ck_assert(uidset_add(&s, UIDSET_MAX * 2 + 1)); /* grows the last range */
	ck_assert(!uidset_add(&s, UIDSET_MAX * 2 + 3));
	ck_assert(s.failed);
	ck_assert_uint_eq(s.n, UIDSET_MAX);
	uidset_clear(&s);
}
END_TEST

/* Against a plain array of bits. */
START_TEST(random_sets)
{
	for (unsigned seed = 1; seed <= 200; seed++) {
		bool bits[200] = {false};
		uint64_t count = 0;
		struct uidset s;

		srand(seed);
		uidset_init(&s);
		for (int i = rand() % 40; i > 0; i--) {
			uint32_t first = 1 + (uint32_t)rand() % 190, n = (uint32_t)rand() % 9;

			uidset_add_range(&s, first, first + n);
			for (uint32_t uid = first; uid <= first + n; uid++)
				bits[uid] = true;
		}
		uidset_sort(&s);
		for (uint32_t uid = 0; uid < 200; uid++) {
			ck_assert_msg(
			    uidset_has(&s, uid) == bits[uid], "seed %u uid %u", seed, uid);
			count += bits[uid];
		}
		ck_assert_uint_eq(uidset_count(&s), count);
		for (size_t i = 1; i < s.n; i++)
			ck_assert_uint_gt(s.r[i].first, s.r[i - 1].last + 1);
		uidset_clear(&s);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("uidset");
	TCase *tc = tcase_create("uidset");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, ascending);
	tcase_add_test(tc, sorting);
	tcase_add_test(tc, intersecting);
	tcase_add_test(tc, bounds);
	tcase_add_test(tc, random_sets);
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
