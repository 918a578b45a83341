/* LMDB behind its wrapper: rows, cursors, keys, the group-commit writer, readers. */
#include "tests/support/fixture.h"

static struct err err;

/* --- rows and cursors ---------------------------------------------------------------------------
 */
START_TEST(rows)
{
	struct db_env *env = fixture_open(1 << 20, 1 << 20);
	struct db_txn *txn;
	struct span val;

	ck_ok(db_write_begin(env, &txn, &err));
	fixture_put(txn, "a", "1");
	ck_fails(db_add(txn, SPAN("a"), SPAN("2"), &err), ERR_EXISTS);
	ck_ok(db_add(txn, SPAN("b"), SPAN("2"), &err));
	ck_fails(db_del(txn, SPAN("c"), &err), ERR_NOT_FOUND);
	ck_fails(db_put(txn, SPAN(""), SPAN("2"), &err), ERR_INVALID);
	ck_ok(db_commit(txn, &err));
	ck_ok(db_write_begin(env, &txn, &err));
	ck_ok(db_del(txn, SPAN("a"), &err));
	db_abort(txn);
	ck_ok(db_read_begin(env, &txn, &err));
	ck_ok(db_get(txn, SPAN("a"), &val, &err));
	ck_assert(span_eq(val, SPAN("1")));
	ck_fails(db_get(txn, SPAN("c"), &val, &err), ERR_NOT_FOUND);
	db_abort(txn);
	ck_ok(db_write_begin(env, &txn, &err));
	ck_ok(db_del(txn, SPAN("a"), &err));
	ck_ok(db_commit(txn, &err));
	db_env_close(env);
	env = fixture_open(1 << 20, 1 << 20);
	ck_ok(db_read_begin(env, &txn, &err));
	ck_fails(db_get(txn, SPAN("a"), &val, &err), ERR_NOT_FOUND);
	ck_ok(db_get(txn, SPAN("b"), &val, &err));
	db_abort(txn);
	db_env_close(env);
}
END_TEST

static void expect(struct db_cursor *c, int rc, const char *key)
{
	ck_assert_int_eq(rc, key ? 1 : 0);
	if (key)
		ck_assert_msg(span_eq(c->key, span_of(key)), "%.*s, not %s", SPAN_FMT(c->key), key);
}

START_TEST(cursors)
{
	static const char *const keys[] = {
	    "a", "b1", "b3", "b5", "c\xff", "c\xff\xff", "c\xff\xff\x78", "d", "\xff\xff"};
	struct db_env *env = fixture_open(1 << 20, 1 << 20);
	struct db_txn *txn;
	struct db_cursor c;

	ck_ok(db_write_begin(env, &txn, &err));
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		fixture_put(txn, keys[i], "v");
	ck_ok(db_cursor_open(txn, &c, SPAN("b"), &err));
	expect(&c, db_first(&c, &err), "b1");
	expect(&c, db_prev(&c, &err), NULL);
	expect(&c, db_last(&c, &err), "b5");
	expect(&c, db_next(&c, &err), NULL);
	expect(&c, db_seek(&c, SPAN("b2"), &err), "b3");
	expect(&c, db_next(&c, &err), "b5");
	expect(&c, db_prev(&c, &err), "b3");
	expect(&c, db_seek(&c, SPAN("a"), &err), "b1");
	expect(&c, db_seek(&c, SPAN("b6"), &err), NULL);
	expect(&c, db_seek_back(&c, SPAN("b4"), &err), "b3");
	expect(&c, db_seek_back(&c, SPAN("b3"), &err), "b3");
	expect(&c, db_seek_back(&c, SPAN("b0"), &err), NULL);
	expect(&c, db_seek_back(&c, SPAN("b9"), &err), "b5");
	db_cursor_close(&c);
	ck_ok(db_cursor_open(txn, &c, SPAN("c\xff"), &err));
	expect(&c, db_last(&c, &err), "c\xff\xff\x78");
	db_cursor_close(&c);
	ck_ok(db_cursor_open(txn, &c, SPAN("\xff"), &err));
	expect(&c, db_last(&c, &err), "\xff\xff");
	expect(&c, db_seek_back(&c, SPAN("\xff\xff\xff"), &err), "\xff\xff");
	db_cursor_close(&c);
	ck_ok(db_cursor_open(txn, &c, SPAN(""), &err));
	expect(&c, db_first(&c, &err), "a");
	expect(&c, db_last(&c, &err), "\xff\xff");
	/* A write in between: on from a key. */
	ck_ok(db_del(txn, SPAN("b3"), &err));
	expect(&c, db_seek(&c, SPAN("b3"), &err), "b5");
	db_cursor_close(&c);
	db_abort(txn);
	db_env_close(env);
}
END_TEST

START_TEST(keys)
{
	struct db_key k;
	char raw[512] = "";

	db_key_init(&k);
	db_key_u8(&k, 1);
	db_key_u32(&k, 0x02030405);
	db_key_u64(&k, 0x060708090a0b0c0d);
	ck_assert(span_eq(db_key_span(&k), SPAN("\1\2\3\4\5\6\7\10\11\12\13\14\15")));
	db_key_raw(&k, span_make(raw, 511 - 13));
	ck_assert_uint_eq(db_key_span(&k).n, 511);
	db_key_u8(&k, 1);
	ck_assert_uint_eq(db_key_span(&k).n, 0);
}
END_TEST

/* --- the writer ---------------------------------------------------------------------------------
 */
struct test_op {
	struct db_op op;
	unsigned number, runs;
	size_t bytes; /* value to write; 0: a short one */
	bool fails;   /* after it has written */
	bool murmurs; /* says an error, and succeeds */
	bool is_done;
	struct bench *bench;
};

struct bench {
	struct loop *loop;
	struct db_env *env;
	struct db_writer *writer;
	size_t left, done;
};

static struct span op_key(char buf[16], unsigned number)
{
	snprintf(buf, 16, "op%05u", number);
	return span_of(buf);
}

static int op_run(struct db_op *op, struct db_txn *txn, struct err *e)
{
	struct test_op *t = container_of(op, struct test_op, op);
	char key[16], *big;
	uint64_t note = t->number;
	int rc;

	t->runs++;
	db_note(txn, &note);
	if (t->bytes) {
		big = mem_zalloc(t->bytes);
		rc = db_put(txn, op_key(key, t->number), span_make(big, t->bytes), e);
		mem_free(big);
	} else {
		rc = db_put(txn, op_key(key, t->number), SPAN("x"), e);
	}
	if (rc == 0 && t->fails)
		return err_set(e, ERR_QUOTA, "on purpose");
	if (t->murmurs)
		err_set(e, ERR_NOT_FOUND, "what nobody needs");
	return rc;
}

static void op_done(struct db_op *op)
{
	struct test_op *t = container_of(op, struct test_op, op);

	ck_assert(!t->is_done);
	t->is_done = true;
	t->bench->done++;
	if (--t->bench->left == 0)
		loop_stop(t->bench->loop);
}

static void op_init(struct test_op *t, struct bench *b, unsigned number)
{
	*t = (struct test_op){.op = {.run = op_run, .done = op_done}, .number = number, .bench = b};
	b->left++;
}

static struct bench bench_new(size_t map_size, size_t map_max)
{
	struct bench b = {.loop = loop_new(), .env = fixture_open(map_size, map_max)};

	b.writer = db_writer_new(b.env, b.loop, NULL);
	return b;
}

static void bench_end(struct bench *b)
{
	db_writer_free(b->writer);
	db_env_close(b->env);
	loop_free(b->loop);
}

static bool has_row(struct db_env *env, unsigned number)
{
	struct db_txn *txn;
	struct span val;
	char key[16];
	int rc;

	ck_ok(db_read_begin(env, &txn, &err));
	rc = db_get(txn, op_key(key, number), &val, &err);
	db_abort(txn);
	return rc == 0;
}

START_TEST(writer_groups)
{
	enum { COUNT = 2000 };
	struct bench b = bench_new(1 << 24, 1 << 24);
	struct test_op *ops = mem_array(COUNT, sizeof(*ops));
	struct db_writer_stat st;

	for (unsigned i = 0; i < COUNT; i++) {
		op_init(&ops[i], &b, i);
		ops[i].fails = i % 10 == 3;
		db_write(b.writer, &ops[i].op);
	}
	loop_run(b.loop);
	db_writer_stat(b.writer, &st);
	ck_assert_uint_eq(st.operations, COUNT);
	ck_assert_uint_eq(st.failed, COUNT / 10);
	ck_assert_uint_eq(st.waiting, 0);
	ck_assert_uint_le(st.commits, COUNT / 2);
	for (unsigned i = 0; i < COUNT; i++) {
		ck_assert_int_eq(ops[i].op.err.code, ops[i].fails ? ERR_QUOTA : ERR_NONE);
		ck_assert(has_row(b.env, i) == !ops[i].fails);
	}
	bench_end(&b);
	mem_free(ops);
}
END_TEST

/* Alone, and in a batch where nothing else succeeds. */
START_TEST(writer_forgets_what_did_not_matter)
{
	for (unsigned count = 1; count <= 2; count++) {
		struct bench b = bench_new(1 << 20, 1 << 20);
		struct test_op ops[2];

		for (unsigned i = 0; i < count; i++) {
			op_init(&ops[i], &b, 10 * count + i);
			ops[i].murmurs = i == 0;
			ops[i].fails = i == 1;
			db_write(b.writer, &ops[i].op);
		}
		loop_run(b.loop);
		ck_assert_int_eq(ops[0].op.err.code, ERR_NONE);
		ck_assert(has_row(b.env, 10 * count));
		bench_end(&b);
	}
}
END_TEST

/* Freed with operations waiting: all are finished and told, also those that a done submits. */
static struct test_op late;

static void first_done(struct db_op *op)
{
	struct test_op *t = container_of(op, struct test_op, op);

	t->bench->done++;
	op_init(&late, t->bench, 7);
	db_write(t->bench->writer, &late.op);
}

START_TEST(writer_free_finishes)
{
	struct bench b = bench_new(1 << 20, 1 << 20);
	struct test_op one, two;

	op_init(&one, &b, 1);
	one.op.done = first_done;
	op_init(&two, &b, 2);
	db_write(b.writer, &one.op);
	db_write_lazy(b.writer, &two.op);
	db_writer_free(b.writer);
	ck_assert_uint_eq(b.done, 3);
	ck_assert(has_row(b.env, 1) && has_row(b.env, 2) && has_row(b.env, 7));
	db_env_close(b.env);
	loop_free(b.loop);
}
END_TEST

START_TEST(writer_lazy)
{
	struct bench b = bench_new(1 << 20, 1 << 20);
	struct test_op lazy, real, alone;
	struct db_writer_stat st;

	/* It rides along ... */
	op_init(&lazy, &b, 1);
	op_init(&real, &b, 2);
	db_write_lazy(b.writer, &lazy.op);
	db_write(b.writer, &real.op);
	loop_run(b.loop);
	db_writer_stat(b.writer, &st);
	ck_assert_uint_eq(st.commits, 1);
	ck_assert(has_row(b.env, 1) && has_row(b.env, 2));
	/* ... and goes by itself in the end. */
	op_init(&alone, &b, 3);
	db_write_lazy(b.writer, &alone.op);
	loop_run(b.loop);
	ck_assert(has_row(b.env, 3));
	bench_end(&b);
}
END_TEST

START_TEST(writer_large_operation)
{
	struct bench b = bench_new(1 << 26, 1 << 26);
	struct test_op ops[3];
	struct db_writer_stat st;

	/* The middle one is above the limit of a batch: it may not share. */
	for (unsigned i = 0; i < 3; i++) {
		op_init(&ops[i], &b, i);
		ops[i].op.cost = i == 1 ? (size_t)64 << 20 : 0;
	}
	for (unsigned i = 0; i < 3; i++)
		db_write(b.writer, &ops[i].op);
	loop_run(b.loop);
	db_writer_stat(b.writer, &st);
	ck_assert_uint_eq(st.commits, 3);
	bench_end(&b);
}
END_TEST

static uint64_t notes[64];
static size_t note_count;

static void take_notes(void *arg, const void *all, size_t count)
{
	memcpy(notes + note_count, all, count * sizeof(notes[0]));
	note_count += count;
}

START_TEST(writer_notes)
{
	struct db_options opt = {.dir = fixture_path("env"),
	    .map_size = 1 << 20,
	    .on_commit = take_notes,
	    .note_size = sizeof(uint64_t)};
	struct bench b = {.loop = loop_new()};
	struct test_op ops[10];

	ck_ok(db_env_open(&opt, &b.env, &err));
	b.writer = db_writer_new(b.env, b.loop, NULL);
	for (unsigned i = 0; i < 10; i++) {
		op_init(&ops[i], &b, i);
		ops[i].fails = i % 2 == 1;
		db_write(b.writer, &ops[i].op);
	}
	loop_run(b.loop);
	ck_assert_uint_eq(note_count, 5);
	for (size_t i = 0; i < 5; i++)
		ck_assert_uint_eq(notes[i], 2 * i);
	bench_end(&b);
}
END_TEST

/* --- a map that is almost full ------------------------------------------------------------------
 */
static void fill_to(struct db_env *env, unsigned percent)
{
	static char value[2000];
	struct db_stat st;

	for (unsigned i = 0;; i++) {
		struct db_txn *txn;
		char key[32];

		ck_ok(db_env_stat(env, &st, &err));
		if ((st.used_pages - st.free_pages) * st.page_size * 100 >= st.map_bytes * percent)
			return;
		snprintf(key, sizeof(key), "fill%u-%u", percent, i);
		ck_ok(db_write_begin(env, &txn, &err));
		ck_ok(db_put(txn, span_of(key), span_make(value, sizeof(value)), &err));
		ck_ok(db_commit(txn, &err));
	}
}

static int empty_run(struct db_op *op, struct db_txn *txn, struct err *e)
{
	struct db_cursor c;
	struct db_key k;
	int got;

	do {
		if (db_cursor_open(txn, &c, SPAN("fill"), e) < 0)
			return -1;
		got = db_first(&c, e);
		db_key_init(&k);
		if (got == 1)
			db_key_raw(&k, c.key);
		db_cursor_close(&c);
	} while (got == 1 && db_del(txn, db_key_span(&k), e) == 0);
	return got;
}

static enum err_code try_op(struct bench *b, enum db_need need, bool is_emptying)
{
	struct test_op op;

	op_init(&op, b, need);
	op.op.need = need;
	if (is_emptying)
		op.op.run = empty_run;
	db_write(b->writer, &op.op);
	loop_run(b->loop);
	return op.op.err.code;
}

START_TEST(what_is_full_can_be_emptied)
{
	struct bench b = bench_new(4 << 20, 4 << 20);

	fill_to(b.env, 70);
	for (int need = DB_REMOVES; need <= DB_ADDS; need++)
		ck_assert_int_eq(try_op(&b, need, false), ERR_NONE);
	fill_to(b.env, 80);
	ck_assert_int_eq(try_op(&b, DB_ADDS, false), ERR_NO_SPACE);
	ck_assert_int_eq(try_op(&b, DB_CHANGES, false), ERR_NONE);
	fill_to(b.env, 95);
	ck_assert_int_eq(try_op(&b, DB_ADDS, false), ERR_NO_SPACE);
	ck_assert_int_eq(try_op(&b, DB_CHANGES, false), ERR_NO_SPACE);
	ck_assert_int_eq(try_op(&b, DB_REMOVES, false), ERR_NONE);
	ck_assert_int_eq(try_op(&b, DB_REMOVES, true), ERR_NONE);
	ck_assert_int_eq(try_op(&b, DB_ADDS, false), ERR_NONE);
	bench_end(&b);
}
END_TEST

/* --- readers ------------------------------------------------------------------------------------
 */
struct test_job {
	struct db_job job;
	struct bench *bench;
	char value[8];
};

static void job_run(struct db_job *job, struct db_txn *txn)
{
	struct test_job *t = container_of(job, struct test_job, job);
	struct span val;

	if (db_get(txn, SPAN("op00001"), &val, &job->err) == 0)
		memcpy(t->value, val.p, val.n < 7 ? val.n : 7);
}

static void job_done(struct db_job *job)
{
	struct test_job *t = container_of(job, struct test_job, job);

	if (--t->bench->left == 0)
		loop_stop(t->bench->loop);
}

START_TEST(readers)
{
	enum { COUNT = 500 };
	struct bench b = bench_new(1 << 22, 1 << 22);
	struct db_readers *r = db_readers_new(b.env, b.loop, 2);
	struct test_job *jobs = mem_array(COUNT, sizeof(*jobs));
	struct test_op *ops = mem_array(COUNT, sizeof(*ops));

	op_init(&ops[0], &b, 1);
	db_write(b.writer, &ops[0].op);
	loop_run(b.loop);
	/* Reading while others write. */
	for (unsigned i = 0; i < COUNT; i++) {
		jobs[i] = (struct test_job){.job = {.run = job_run, .done = job_done}, .bench = &b};
		b.left++;
		db_read(r, &jobs[i].job);
		if (i == 0)
			continue;
		op_init(&ops[i], &b, i + 1);
		db_write(b.writer, &ops[i].op);
	}
	loop_run(b.loop);
	for (unsigned i = 0; i < COUNT; i++)
		ck_assert_str_eq(jobs[i].value, "x");
	db_readers_free(r);
	bench_end(&b);
	mem_free(jobs);
	mem_free(ops);
}
END_TEST

START_TEST(statistics)
{
	struct db_env *env = fixture_open(1 << 20, 1 << 20);
	struct db_stat st;
	struct db_txn *txn;
	uint64_t before = db_env_last_txn(env), foreign, later;

	ck_assert(db_env_foreign(env, &foreign));
	ck_ok(db_write_begin(env, &txn, &err));
	fixture_put(txn, "k", "v");
	ck_ok(db_commit(txn, &err));
	ck_ok(db_write_begin(env, &txn, &err)); /* nothing written: not a transaction */
	ck_ok(db_commit(txn, &err));
	ck_assert_uint_eq(db_env_last_txn(env), before + 1);
	ck_assert(db_env_foreign(env, &later));
	ck_assert_uint_eq(later, foreign);
	ck_ok(db_env_stat(env, &st, &err));
	ck_assert_uint_eq(st.entries, 1);
	ck_assert_uint_eq(st.map_bytes, 1 << 20);
	ck_assert_uint_eq(st.max_readers, 512);
	ck_assert_uint_ge(st.file_bytes, st.page_size * 3);
	db_env_close(env);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("db");
	TCase *tc = tcase_create("db");

	tcase_add_checked_fixture(tc, fixture_setup, fixture_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, rows);
	tcase_add_test(tc, cursors);
	tcase_add_test(tc, keys);
	tcase_add_test(tc, writer_groups);
	tcase_add_test(tc, writer_forgets_what_did_not_matter);
	tcase_add_test(tc, writer_free_finishes);
	tcase_add_test(tc, writer_lazy);
	tcase_add_test(tc, writer_large_operation);
	tcase_add_test(tc, writer_notes);
	tcase_add_test(tc, what_is_full_can_be_emptied);
	tcase_add_test(tc, readers);
	tcase_add_test(tc, statistics);
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
