/* The room that the disk keeps for a database: nothing is added without it, what removes goes on.
 */
#include "tests/support/fixture.h"
#include "tests/support/loop_fixture.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

static atomic_int fails; /* errno of every fallocate */
static atomic_uint calls;

int fallocate(int fd, int mode, off_t offset, off_t length)
{
	int (*real)(int fd, int mode, off_t offset, off_t length);
	int fail = atomic_load(&fails);

	atomic_fetch_add(&calls, 1);
	ck_assert_int_eq(mode, FALLOC_FL_KEEP_SIZE);
	if (fail) {
		errno = fail;
		return -1;
	}
	*(void **)&real =
	    dlsym(RTLD_NEXT, sizeof(long) == sizeof(off_t) ? "fallocate" : "fallocate64");
	return real(fd, mode, offset, length);
}

struct put {
	struct db_op op;
	unsigned n;
	size_t size;
};

static char page[65536];

static int put_run(struct db_op *op, struct db_txn *txn, struct err *e)
{
	struct put *p = container_of(op, struct put, op);
	struct db_key k;

	db_key_init(&k);
	db_key_u32(&k, p->n);
	return db_put(txn, db_key_span(&k), span_make(page, p->size), e);
}

static unsigned waiting;

static void put_done(struct db_op *op)
{
	if (--waiting == 0)
		loop_stop(loop);
}

static enum err_code put(struct db_writer *w, enum db_need need, unsigned n, size_t size)
{
	struct put p = {
	    .op = {.run = put_run, .done = put_done, .need = need}, .n = n, .size = size};

	waiting = 1;
	db_write(w, &p.op);
	loop_wait();
	return p.op.err.code;
}

static void setup(void)
{
	fixture_setup();
	loop_setup();
	atomic_store(&fails, 0);
	atomic_store(&calls, 0);
}

static void teardown(void)
{
	loop_teardown();
	fixture_teardown();
}

START_TEST(kept_and_made_anew)
{
	struct db_env *env = fixture_open((size_t)64 << 20, (size_t)64 << 20);
	struct db_writer *w = db_writer_new(env, loop, NULL);
	struct stat st;

	ck_assert_int_eq(put(w, DB_ADDS, 0, 10), ERR_NONE);
	ck_assert_uint_eq(atomic_load(&calls), 1);
	ck_assert_int_eq(stat(fixture_path("env/data.mdb"), &st), 0);
	ck_assert_int_ge(st.st_blocks, (4 << 20) / 512); /* there is room behind the end */
	ck_assert_int_lt(st.st_size, 1 << 20);           /* and the file is not longer */
	/* Half of it used: once more. Not for every commit. */
	for (unsigned i = 1; i <= 60; i++)
		ck_assert_int_eq(put(w, DB_ADDS, i, 60000), ERR_NONE);
	ck_assert_uint_ge(atomic_load(&calls), 2);
	ck_assert_uint_le(atomic_load(&calls), 4);
	db_writer_free(w);
	db_env_close(env);
}
END_TEST

START_TEST(without_it_nothing_is_added)
{
	struct db_env *env = fixture_open((size_t)64 << 20, (size_t)64 << 20);
	struct db_writer *w = db_writer_new(env, loop, NULL);

	atomic_store(&fails, ENOSPC);
	ck_assert_int_eq(put(w, DB_ADDS, 1, 10), ERR_NO_SPACE);
	ck_assert_int_eq(put(w, DB_CHANGES, 2, 10), ERR_NONE);
	ck_assert_int_eq(put(w, DB_REMOVES, 3, 10), ERR_NONE);
	atomic_store(&fails, EDQUOT);
	ck_assert_int_eq(put(w, DB_ADDS, 1, 10), ERR_NO_SPACE);
	/* Room again: at once. */
	atomic_store(&fails, 0);
	ck_assert_int_eq(put(w, DB_ADDS, 1, 10), ERR_NONE);
	/* There is enough of it left: the disk is not asked. */
	atomic_store(&fails, ENOSPC);
	ck_assert_int_eq(put(w, DB_ADDS, 4, 10), ERR_NONE);
	db_writer_free(w);
	db_env_close(env);
}
END_TEST

/* A file system that cannot keep room is used without. */
START_TEST(not_offered)
{
	struct db_env *env = fixture_open((size_t)64 << 20, (size_t)64 << 20);
	struct db_writer *w = db_writer_new(env, loop, NULL);

	atomic_store(&fails, EOPNOTSUPP);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(put(w, DB_ADDS, i, 10), ERR_NONE);
	ck_assert_uint_eq(atomic_load(&calls), 1);
	db_writer_free(w);
	db_env_close(env);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {kept_and_made_anew, without_it_nothing_is_added, not_offered};
	TCase *tc = tcase_create("reserve");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
