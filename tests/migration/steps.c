/*
 * Instead of common/maint/steps.c: to get to the second format every row is written once more, as
 * it was, so that the programs can read it. MAILSTEAD_TEST_STEP=NAME:fail or NAME:kill ends the
 * step of a database in its middle.
 */
#include "common/maint/steps.h"
#include "common/base/mem.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLICE 100

static int rewrite_slice(struct db_txn *txn, struct db_key *from, size_t *n, struct err *err)
{
	struct db_cursor c;
	int rc = 1;

	*n = 0;
	if (db_cursor_open(txn, &c, SPAN(""), err) < 0)
		return -1;
	while (*n < SLICE && (rc = db_seek(&c, db_key_span(from), err)) == 1) {
		char *copy = mem_dup(c.val.n > 0 ? c.val.p : "", c.val.n > 0 ? c.val.n : 1);
		size_t len = c.val.n;

		db_key_init(from);
		db_key_raw(from, c.key);
		rc = db_put(txn, db_key_span(from), span_make(copy, len), err);
		mem_free(copy);
		if (rc < 0)
			break;
		db_key_u8(from, 0);
		(*n)++;
	}
	db_cursor_close(&c);
	return rc < 0 ? -1 : 0;
}

static int in_the_middle(const char *name, struct err *err)
{
	const char *what = getenv("MAILSTEAD_TEST_STEP");
	char text[40];

	snprintf(text, sizeof(text), "%s:kill", name);
	if (what && strcmp(what, text) == 0)
		(void)kill(getpid(), SIGKILL);
	snprintf(text, sizeof(text), "%s:fail", name);
	if (what && strcmp(what, text) == 0)
		return err_set(err, ERR_INVALID, "a row that no version ever wrote");
	return 0;
}

static int rewrite(struct db_env *env, const char *name, struct err *err)
{
	struct db_key from;
	size_t n = SLICE;

	db_key_init(&from);
	db_key_u8(&from, 0);
	while (n == SLICE) {
		struct db_txn *txn;

		if (db_write_begin(env, &txn, err) < 0)
			return -1;
		if (rewrite_slice(txn, &from, &n, err) < 0) {
			db_abort(txn);
			return -1;
		}
		if (db_commit(txn, err) < 0 || in_the_middle(name, err) < 0)
			return -1;
	}
	return 0;
}

static int store(struct db_env *env, struct err *err)
{
	return rewrite(env, "store", err);
}

static int auth(struct db_env *env, struct err *err)
{
	return rewrite(env, "auth", err);
}

const struct migration_step migration_steps[] = {{"store", 1, store}, {"auth", 1, auth}, {0}};
