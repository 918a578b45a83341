/* What tests of the store share: a folder of their own, an environment in it. */
#ifndef MS_TESTS_FIXTURE_H
#define MS_TESTS_FIXTURE_H

#include "common/base/mem.h"
#include "common/db/db.h"

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char fixture_dir[64];

static inline int fixture_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void fixture_setup(void)
{
	snprintf(fixture_dir, sizeof(fixture_dir), "/tmp/mailstead-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fixture_dir));
	setenv("MAILSTEAD_ALLOW_ROOT", "1", 1);
}

static inline void fixture_teardown(void)
{
	nftw(fixture_dir, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* A path below the folder; valid until the fourth call after it. */
static inline const char *fixture_path(const char *name)
{
	static char buf[4][160];
	static unsigned turn;
	char *out = buf[turn++ % 4];

	snprintf(out, sizeof(buf[0]), "%s/%s", fixture_dir, name);
	return out;
}

static inline struct db_env *fixture_open(size_t map_size, size_t map_max)
{
	struct db_options opt = {
	    .dir = fixture_path("env"), .map_size = map_size, .map_max = map_max};
	struct db_env *env = NULL;
	struct err err = ERR_INIT;

	ck_assert_msg(db_env_open(&opt, &env, &err) == 0, "%s", err.text);
	return env;
}

static inline void fixture_put(struct db_txn *txn, const char *key, const char *val)
{
	struct err err = ERR_INIT;

	ck_assert_msg(db_put(txn, span_of(key), span_of(val), &err) == 0, "%s", err.text);
}

#define ck_ok(call)                                                                                \
	do {                                                                                       \
		struct err *ck_err_ = &err;                                                        \
		*ck_err_ = (struct err){0};                                                        \
		ck_assert_msg((call) == 0, "%s: %s", #call, ck_err_->text);                        \
	} while (0)

#define ck_fails(call, want)                                                                       \
	do {                                                                                       \
		err = (struct err){0};                                                             \
		ck_assert_msg((call) < 0, "%s did not fail", #call);                               \
		ck_assert_msg(err.code == (want), "%s: code %s (%s), expected %s", #call,          \
		    err_code_name(err.code), err.text, err_code_name(want));                       \
	} while (0)

static inline int fixture_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}

#endif
