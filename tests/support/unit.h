/*
 * What unit tests share: input in heap blocks of exactly its size, so that the address sanitizer
 * sees a byte too many; numbers at the edges; running a program's tests.
 */
#ifndef MS_TESTS_UNIT_H
#define MS_TESTS_UNIT_H

#include "common/base/mem.h"
#include "common/base/span.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* A copy; free .p with exact_free. An empty one has a pointer that may not be read. */
static inline struct span exact(const void *p, size_t n)
{
	char *block = malloc(n ? n : 1);

	if (!block)
		abort();
	if (n == 0) {
		free(block);
		return span_make(NULL, 0);
	}
	memcpy(block, p, n);
	return span_make(block, n);
}

static inline void exact_free(struct span s)
{
	free((void *)(uintptr_t)s.p);
}

/* The numbers at which 32 and 64 bit arithmetic breaks, and longer than any integer. */
static const char *const edge_numbers[] = {"0", "1", "9", "10", "2147483647", "2147483648",
    "2147483649", "4294967295", "4294967296", "4294967297", "9223372036854775807",
    "9223372036854775808", "9223372036854775809", "18446744073709551614", "18446744073709551615",
    "18446744073709551616", "99999999999999999999", "0000000000000000000000000000000000000007",
    "1234567890123456789012345678901234567890"};

static inline int unit_finish(TCase *tc)
{
	Suite *suite = suite_create("unit");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}

static inline void unit_add(TCase *tc, const TTest *const *tests, size_t n)
{
	for (size_t i = 0; i < n; i++)
		tcase_add_test(tc, tests[i]);
}

#endif
