/* LIST's patterns against the rule itself, on random patterns and names. */
#include "common/crypto/crypto.h"
#include "imapd/list_match.h"
#include "tests/support/fixture.h"

static struct arena arena;

static bool matches(const char *pattern, const char *name)
{
	struct list_pattern p;

	arena_reset(&arena);
	ck_assert(list_pattern_compile(&p, &arena, span_of(pattern)));
	return list_pattern_matches(&p, span_of(name));
}

/* table[j]: the first j characters of the pattern match what was read of the name. */
static bool rule(const char *pattern, const char *name)
{
	size_t m = strlen(pattern);
	bool table[128] = {true}, next[128];

	ck_assert_uint_lt(m, 127);
	for (size_t j = 0; j < m; j++)
		table[j + 1] = table[j] && strchr("*%", pattern[j]);
	for (; *name; name++) {
		next[0] = false;
		for (size_t j = 0; j < m; j++) {
			bool is_wild = pattern[j] == '*' || (pattern[j] == '%' && *name != '/');

			next[j + 1] =
			    (pattern[j] == *name && !strchr("*%", pattern[j]) && table[j]) ||
			    (is_wild && table[j + 1]) || (strchr("*%", pattern[j]) && next[j]);
		}
		memcpy(table, next, m + 1);
	}
	return table[m];
}

START_TEST(random_ones)
{
	static const char letters[] = "ab/*%";
	unsigned hits = 0;

	for (int i = 0; i < 200000; i++) {
		char pattern[101], name[101];
		size_t m = random_below(i % 10 ? 8 : 100), n = random_below(i % 10 ? 8 : 100);

		for (size_t j = 0; j < m; j++)
			pattern[j] = letters[random_below(5)];
		for (size_t j = 0; j < n; j++)
			name[j] = letters[random_below(3)];
		pattern[m] = name[n] = '\0';
		ck_assert_msg(
		    matches(pattern, name) == rule(pattern, name), "%s %s", pattern, name);
		hits += rule(pattern, name);
	}
	ck_assert_uint_gt(hits, 1000);
}
END_TEST

START_TEST(inbox)
{
	ck_assert(matches("inbox", "INBOX"));
	ck_assert(matches("iNb%", "INBOX"));
	ck_assert(matches("Inbox/a", "INBOX/a"));
	ck_assert(!matches("inbox/A", "INBOX/a"));
	ck_assert(!matches("*box", "INBOX"));
	ck_assert(!matches("inboxes", "INBOXES"));
	ck_assert(!matches("in%", "INside"));
	ck_assert(!matches("a/inbox", "a/INBOX"));
}
END_TEST

START_TEST(word_borders)
{
	struct list_pattern p;
	char pattern[LIST_PATTERN_MAX + 2];

	for (size_t n = 60; n < 400; n++) {
		memset(pattern, 'x', n);
		pattern[n] = '\0';
		ck_assert(matches(pattern, pattern));
		ck_assert(!matches(pattern, pattern + 1));
		pattern[n] = '*';
		pattern[n + 1] = '\0';
		ck_assert(matches(pattern, pattern));
		pattern[n] = '\0';
	}
	memset(pattern, '*', sizeof(pattern));
	ck_assert(list_pattern_compile(&p, &arena, span_make(pattern, LIST_PATTERN_MAX)));
	ck_assert_uint_eq(p.length, 1);
	ck_assert(!list_pattern_compile(&p, &arena, span_make(pattern, LIST_PATTERN_MAX + 1)));
	memset(pattern, 'x', sizeof(pattern));
	ck_assert(list_pattern_compile(&p, &arena, span_make(pattern, LIST_PATTERN_MAX)));
	ck_assert(list_pattern_matches(&p, span_make(pattern, LIST_PATTERN_MAX)));
	ck_assert(!list_pattern_matches(&p, span_make(pattern, LIST_PATTERN_MAX - 1)));
}
END_TEST

static void setup(void)
{
	arena_init(&arena, 1024 * 1024);
}

static void teardown(void)
{
	arena_clear(&arena);
}

int main(void)
{
	Suite *suite = suite_create("imap-list-match");
	TCase *tc = tcase_create("imap-list-match");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, random_ones);
	tcase_add_test(tc, inbox);
	tcase_add_test(tc, word_borders);
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
