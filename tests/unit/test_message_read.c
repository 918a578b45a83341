/* A message as FETCH and SEARCH read it: cache rows made again, large bodies in steps, damage. */
#include "common/store/message_read.h"
#include "tests/support/store_fixture.h"

#define A 7

static struct db_env *env;
static struct blob_dir *blobs;
static struct message m;
static uint64_t inbox;

static void setup(void)
{
	struct db_txn *txn;

	fixture_setup();
	env = store_fixture_open();
	ck_ok(blob_dir_open(fixture_path("blob"), &blobs, &err));
	message_init(&m, blobs, A);
	txn = begin(env);
	ck_ok(store_account_ensure(txn, A, &err));
	inbox = mailbox_id(txn, A, "INBOX");
	commit(txn);
}

static void teardown(void)
{
	message_clear(&m);
	blob_dir_close(blobs);
	db_env_close(env);
	fixture_teardown();
}

/* Appends without a cache row; gives the object. */
static uint64_t add(struct span text)
{
	struct blob_writer *w = blob_writer_new(blobs, 64 * 1024);
	struct store_append ap = {.internaldate = 1};
	struct store_appended res;
	struct db_txn *txn;
	struct blob blob;

	ck_ok(blob_write(w, text, &err));
	ck_ok(blob_finish(w, &blob, &err));
	ap.blob = &blob;
	txn = begin(env);
	ck_ok(store_append(txn, A, inbox, &ap, &res, &err));
	commit(txn);
	blob_keep(w);
	blob_writer_free(w);
	return res.object;
}

static void put_row(uint64_t object, struct span row)
{
	struct db_txn *txn = begin(env);

	ck_ok(store_object_cache_put(txn, A, object, row, &err));
	commit(txn);
}

/* Runs step in slices of a transaction each until it is not 1. */
static int run(int (*step)(struct message *m, struct err *err), unsigned *slices)
{
	int rc = 1;

	for (*slices = 0; rc == 1; ++*slices) {
		struct db_txn *txn;

		ck_ok(db_read_begin(env, &txn, &err));
		message_slice(&m, txn);
		rc = step(&m, &err);
		db_abort(txn);
	}
	return rc;
}

static struct span large(struct strbuf *b)
{
	strbuf_init(b, (size_t)8 << 20);
	strbuf_add(
	    b, SPAN("Subject: large\r\nContent-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n"
		    "--=_b\r\n\r\n"));
	/* Noise, so that it does not fit inline. */
	for (uint32_t i = 1, v = 1; b->n < (size_t)3 << 20; i++) {
		v = v * 1664525 + 1013904223;
		strbuf_add_chr(b, (char)('!' + (v >> 24) % 90));
		if (i % 76 == 0)
			strbuf_add(b, SPAN("\r\n"));
	}
	strbuf_add(b, SPAN("\r\n--=_b--\r\n"));
	return strbuf_span(b);
}

static const struct span text = SPAN_INIT("From: a@b\r\nSubject: small\r\n\r\nbody\r\n");

START_TEST(a_missing_row_is_made_again)
{
	uint64_t object = add(text);
	unsigned slices;
	struct db_txn *txn;

	message_set(&m, object, text.n);
	ck_assert_int_eq(run(message_cache, &slices), 0);
	ck_assert(m.is_rebuilt && m.has_row);
	ck_assert_uint_eq(m.cache.header_size, text.n - 6);
	ck_assert(span_find(m.cache.envelope, SPAN("\"small\"")) > 0);
	ck_assert(span_starts(m.cache.fields, SPAN("From: a@b\r\n")));
	put_row(object, strbuf_span(&m.rebuilt));
	message_set(&m, object, text.n);
	ck_ok(db_read_begin(env, &txn, &err));
	message_slice(&m, txn);
	ck_assert_int_eq(message_cache(&m, &err), 0);
	ck_assert(!m.is_rebuilt && m.has_row);
	ck_assert_int_eq(message_tree(&m, &err), 0);
	ck_assert_uint_eq(m.tree->size, text.n);
	db_abort(txn);
}
END_TEST

START_TEST(rows_that_cannot_be_right_are_made_again)
{
	static const struct span other = SPAN_INIT("Subject: of another message\r\n"
						   "X-Long: with a longer header than all of the "
						   "first\r\n\r\nand body\r\n");
	uint64_t object = add(text), longer = add(other);
	unsigned slices;

	put_row(object, SPAN("\x01 a row of an older version"));
	message_set(&m, object, text.n);
	ck_assert_int_eq(run(message_cache, &slices), 0);
	ck_assert(m.is_rebuilt);
	put_row(object, SPAN("\x03"));
	message_set(&m, object, text.n);
	ck_assert_int_eq(run(message_tree, &slices), 0);
	ck_assert(m.is_rebuilt);
	/* A sound one of another message. */
	message_set(&m, longer, other.n);
	ck_assert_int_eq(run(message_cache, &slices), 0);
	put_row(object, strbuf_span(&m.rebuilt));
	message_set(&m, object, text.n);
	ck_assert_int_eq(run(message_tree, &slices), 0);
	ck_assert(m.is_rebuilt);
	ck_assert_uint_eq(m.tree->size, text.n);
}
END_TEST

START_TEST(a_large_body_in_steps)
{
	struct strbuf b, out;
	struct span body = large(&b);
	uint64_t object = add(body), got, at[] = {0, 1, 1000000, 2000001, 500, 3000000};
	unsigned slices;
	struct db_txn *txn;

	strbuf_init(&out, (size_t)4 << 20);
	message_set(&m, object, body.n);
	ck_assert_int_eq(run(message_tree, &slices), 0);
	ck_assert_uint_ge(slices, 3);
	ck_assert(m.is_rebuilt && m.is_verified);
	ck_assert_uint_eq(m.tree->count, 2);
	ck_assert(span_starts(m.cache.fields, SPAN("Subject: large\r\n")));
	/* Its bytes were checked on the way. */
	ck_assert_int_eq(run(message_open, &slices), 0);
	ck_assert_uint_eq(slices, 1);
	ck_ok(db_read_begin(env, &txn, &err));
	message_slice(&m, txn);
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		strbuf_reset(&out);
		do
			ck_ok(message_read(&m, at[i], 70000, &out, &got, &err));
		while (got == 0);
		ck_assert_uint_eq(got, 70000);
		ck_assert(span_eq(strbuf_span(&out), span_sub(body, (size_t)at[i], 70000)));
	}
	db_abort(txn);
	/* Without the tree it is gone through before the first byte is handed out. */
	message_set(&m, object, body.n);
	ck_assert_int_eq(run(message_open, &slices), 0);
	ck_assert_uint_ge(slices, 3);
	strbuf_clear(&b);
	strbuf_clear(&out);
}
END_TEST

/* Flips a bit of the stored body that is a row. */
static void damage_row(uint64_t object)
{
	struct db_txn *txn = begin(env);
	struct strbuf copy;
	struct db_key k;
	struct span val;

	store_key(&k, A, KIND_OBJECT);
	db_key_u64(&k, object);
	db_key_u8(&k, OBJECT_BODY);
	ck_ok(db_get(txn, db_key_span(&k), &val, &err));
	strbuf_init(&copy, val.n);
	strbuf_add(&copy, val);
	copy.p[copy.n / 2] ^= 1;
	ck_ok(db_put(txn, db_key_span(&k), strbuf_span(&copy), &err));
	commit(txn);
	strbuf_clear(&copy);
}

START_TEST(damage_in_a_row)
{
	uint64_t object = add(text);
	unsigned slices;

	message_set(&m, object, text.n + 1);
	ck_assert_int_eq(run(message_open, &slices), -1);
	ck_assert_int_eq(err.code, ERR_CORRUPT);
	damage_row(object);
	message_set(&m, object, text.n);
	ck_assert_int_eq(run(message_open, &slices), -1);
	ck_assert_int_eq(err.code, ERR_CORRUPT);
	ck_assert(!m.has_bytes && m.bytes.n == 0);
	ck_assert_int_eq(run(message_cache, &slices), -1);
	message_set(&m, object + 1000, text.n);
	ck_assert_int_eq(run(message_open, &slices), -1);
	ck_assert_int_eq(err.code, ERR_NOT_FOUND);
}
END_TEST

static int flip(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	FILE *f;
	int c;

	if (type != FTW_F)
		return 0;
	f = fopen(path, "r+b");
	ck_assert_ptr_nonnull(f);
	fseek(f, (long)st->st_size - 100, SEEK_SET);
	c = fgetc(f);
	fseek(f, (long)st->st_size - 100, SEEK_SET);
	fputc(c ^ 1, f);
	fclose(f);
	(void)ftw;
	return 0;
}

START_TEST(damage_at_the_end_of_a_file)
{
	struct strbuf b;
	struct span body = large(&b);
	uint64_t object = add(body);
	unsigned slices;

	nftw(fixture_path("blob"), flip, 16, FTW_PHYS);
	message_set(&m, object, body.n);
	ck_assert_int_eq(run(message_open, &slices), -1);
	ck_assert_int_eq(err.code, ERR_CORRUPT);
	message_set(&m, object, body.n);
	ck_assert_int_eq(run(message_tree, &slices), -1);
	strbuf_clear(&b);
}
END_TEST

/* --- downgraded ------------------------------------------------------------------------------- */
static void read_all(struct strbuf *out)
{
	struct db_txn *txn;
	uint64_t got;

	strbuf_reset(out);
	while (out->n < m.size) {
		/* Odd pieces, a slice each. */
		uint64_t n = out->n % 5 ? 77777 : 13;

		ck_ok(db_read_begin(env, &txn, &err));
		message_slice(&m, txn);
		if (n > m.size - out->n)
			n = m.size - out->n;
		ck_ok(message_read(&m, out->n, n, out, &got, &err));
		db_abort(txn);
	}
}

/* What is read is the message want, and all that is told of it is that of want. */
static void check_downgraded(struct span stored, struct span want)
{
	uint64_t object = add(stored);
	struct mime_tree *tree = mime_tree_parse(want);
	struct strbuf out, row;
	unsigned slices;

	strbuf_init(&out, want.n + (size_t)1024 * 1024);
	strbuf_init(&row, (size_t)1 << 20);
	message_set(&m, object, stored.n);
	message_want_downgraded(&m);
	ck_assert_int_eq(run(message_downgrade, &slices), 0);
	ck_assert(!message_has_new_row(&m));
	ck_assert_uint_eq(m.size, want.n);
	read_all(&out);
	ck_assert(span_eq(strbuf_span(&out), want));
	ck_assert_int_eq(run(message_cache, &slices), 0);
	cache_encode(&row, tree, want);
	ck_assert(span_eq(strbuf_span(&row), strbuf_span(&m.rebuilt)));
	ck_assert_uint_eq(m.tree->count, tree->count);
	mime_tree_free(tree);
	strbuf_clear(&row);
	strbuf_clear(&out);
}

#define BEGIN "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
#define INNER "--b\r\nContent-Type: message/rfc822\r\n\r\n"

static const struct {
	struct span stored, want;
} downgraded[] = {
    {SPAN_INIT("Subject: \xc3\xbc\r\nFrom: a@b\r\nX: \xc3\xbc\r\n\r\n\xc3\xbc stays\r\n"),
	SPAN_INIT("Subject: =?utf-8?B?w7w=?=\r\nFrom: a@b\r\n\r\n\xc3\xbc stays\r\n")},
    {SPAN_INIT("X: \xc3\xbc"), SPAN_INIT("")},
    {SPAN_INIT(BEGIN "Content-Disposition: attachment; filename=\xc3\xbc\r\n\r\none\r\n"
		     "--b\r\n\r\ntwo\r\n" INNER "Subject: \xc3\xbc\r\n\r\nin\r\n--b--\r\n"),
	SPAN_INIT(
	    BEGIN "Content-Disposition: attachment; filename*=utf-8''%C3%BC\r\n\r\none\r\n"
		  "--b\r\n\r\ntwo\r\n" INNER "Subject: =?utf-8?B?w7w=?=\r\n\r\nin\r\n--b--\r\n")},
    /* A boundary that cannot be shown takes the structure with it. */
    {SPAN_INIT("Content-Type: multipart/mixed; boundary=\xc3\xbc\r\n\r\n"
	       "--\xc3\xbc\r\nSubject: \xc3\xbc\r\n\r\none\r\n--\xc3\xbc--\r\n"),
	SPAN_INIT("Content-Type: multipart/mixed\r\n\r\n"
		  "--\xc3\xbc\r\nSubject: =?utf-8?B?w7w=?=\r\n\r\none\r\n--\xc3\xbc--\r\n")},
};

START_TEST(a_downgraded_message)
{
	for (size_t i = 0; i < ARRAY_LEN(downgraded); i++)
		check_downgraded(downgraded[i].stored, downgraded[i].want);
}
END_TEST

START_TEST(a_large_downgraded_message)
{
	struct strbuf in, want, body;

	large(&body);
	strbuf_init(&in, (size_t)8 << 20);
	strbuf_init(&want, (size_t)8 << 20);
	strbuf_truncate(&body, body.n - strlen("--=_b--\r\n"));
	strbuf_add(&in, SPAN("To: \xc3\xbc <a@b>\r\n"));
	strbuf_add(&want, SPAN("To: =?utf-8?B?w7w=?= <a@b>\r\n"));
	strbuf_add(&in, strbuf_span(&body));
	strbuf_add(&want, strbuf_span(&body));
	strbuf_add_str(&in, "--=_b\r\nContent-Description: \xc3\xbc\r\n\r\nx\r\n--=_b--\r\n");
	strbuf_add_str(
	    &want, "--=_b\r\nContent-Description: =?utf-8?B?w7w=?=\r\n\r\nx\r\n--=_b--\r\n");
	check_downgraded(strbuf_span(&in), strbuf_span(&want));
	ck_assert(message_is_downgraded(&m));
	strbuf_clear(&in);
	strbuf_clear(&want);
	strbuf_clear(&body);
}
END_TEST

START_TEST(what_is_ascii_is_the_same_downgraded)
{
	uint64_t object;
	unsigned slices;

	check_downgraded(text, text);
	ck_assert(!message_is_downgraded(&m));
	/* The next message is none. */
	object = add(text);
	message_set(&m, object, text.n);
	ck_assert_int_eq(run(message_cache, &slices), 0);
	ck_assert(message_has_new_row(&m));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("message_read");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_missing_row_is_made_again);
	tcase_add_test(tc, rows_that_cannot_be_right_are_made_again);
	tcase_add_test(tc, a_large_body_in_steps);
	tcase_add_test(tc, damage_in_a_row);
	tcase_add_test(tc, damage_at_the_end_of_a_file);
	tcase_add_test(tc, a_downgraded_message);
	tcase_add_test(tc, a_large_downgraded_message);
	tcase_add_test(tc, what_is_ascii_is_the_same_downgraded);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
