/* Files that no row knows: removed when they are old, everything else stays. */
#include "common/store/sweep.h"
#include "smtpd/queue/queue.h"
#include "tests/support/loop_fixture.h"
#include "tests/support/store_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

static struct db_env *env;
static struct blob_dir *dir;
static struct db_readers *readers;
static size_t removed;
static unsigned asked;

static void setup(void)
{
	fixture_setup();
	loop_setup();
	env = store_fixture_open();
	ck_ok(blob_dir_open(fixture_path("blob"), &dir, &err));
	readers = db_readers_new(env, loop, 1);
	removed = 999;
}

static void teardown(void)
{
	db_readers_free(readers);
	db_env_close(env);
	blob_dir_close(dir);
	loop_teardown();
	fixture_teardown();
}

/* A file below blob/, so many seconds old; returns its path. */
static const char *file(const char *name, int64_t age)
{
	struct timespec times[2];
	const char *path;
	char folder[80];
	int fd;

	snprintf(folder, sizeof(folder), "blob/%.2s", name);
	(void)mkdir(fixture_path(folder), 0700);
	snprintf(folder, sizeof(folder), "blob/%s", name);
	path = fixture_path(folder);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_ge(fd, 0);
	clock_gettime(CLOCK_REALTIME, &times[0]);
	times[0].tv_sec -= age;
	times[1] = times[0];
	ck_assert_int_eq(futimens(fd, times), 0);
	close(fd);
	return path;
}

static bool is_there(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "blob/%s", name);
	return access(fixture_path(path), F_OK) == 0;
}

static void on_done(void *arg, size_t n)
{
	removed = n;
	loop_stop(loop);
}

/* Ids whose second byte is 0x11 are known. */
static int known_by_byte(void *arg, struct db_txn *txn, const unsigned char (*ids)[BLOB_ID_LEN],
    size_t count, bool *known, struct err *e)
{
	ck_assert_ptr_nonnull(txn);
	asked += (unsigned)count;
	for (size_t i = 0; i < count; i++)
		known[i] = ids[i][1] == 0x11;
	return arg ? err_set(e, ERR_IO, "on purpose") : 0;
}

START_TEST(what_goes_and_what_stays)
{
	static const char *const gone[] = {"00/00000000000000000000000000000000",
	    "00/00220000000000000000000000000001", "ff/ff000000000000000000000000000000",
	    "ab/.abcdef00000000000000000000000000t"};
	static const char *const stay[] = {"00/00110000000000000000000000000000",
	    "ff/ff110000000000000000000000000000", "10/notes.txt", "10/10", "ab/README",
	    "ab/ab00000000000000000000000000000g"};

	for (size_t i = 0; i < ARRAY_LEN(gone); i++)
		file(gone[i], 100000);
	for (size_t i = 0; i < ARRAY_LEN(stay); i++)
		file(stay[i], 100000);
	file("7f/7f000000000000000000000000000000", SWEEP_SECONDS - 100);
	file("7f/.7f000000000000000000000000000001t", SWEEP_TEMP_SECONDS - 100);
	ck_assert_int_eq(
	    symlink("/etc/passwd", fixture_path("blob/10/10000000000000000000000000000000")), 0);
	sweep_start(readers, dir, known_by_byte, NULL, on_done);
	loop_wait();
	ck_assert_uint_eq(removed, 3);
	ck_assert_uint_eq(asked, 5);
	for (size_t i = 0; i < ARRAY_LEN(gone); i++)
		ck_assert_msg(!is_there(gone[i]), "%s", gone[i]);
	for (size_t i = 0; i < ARRAY_LEN(stay); i++)
		ck_assert_msg(is_there(stay[i]), "%s", stay[i]);
	ck_assert(is_there("7f/7f000000000000000000000000000000"));
	ck_assert(is_there("7f/.7f000000000000000000000000000001t"));
	ck_assert(is_there("10/10000000000000000000000000000000"));
}
END_TEST

START_TEST(an_error_removes_nothing)
{
	file("00/00000000000000000000000000000000", 100000);
	sweep_start(readers, dir, known_by_byte, &asked, on_done);
	loop_wait();
	ck_assert_uint_eq(removed, 0);
	ck_assert(is_there("00/00000000000000000000000000000000"));
}
END_TEST

/* Stopped, it ends while the readers are freed. */
START_TEST(stopped)
{
	struct sweep *s;

	for (unsigned i = 0; i < 256; i++) {
		char name[48];

		snprintf(name, sizeof(name), "%02x/%02x%030x", i, i, i);
		file(name, 100000);
	}
	s = sweep_start(readers, dir, known_by_byte, NULL, on_done);
	sweep_stop(s);
	sweep_stop(NULL);
	db_readers_free(readers);
	ck_assert_uint_le(removed, 1);
	readers = db_readers_new(env, loop, 1);
}
END_TEST

/* The store knows files by their rows, the queue by its entries. */
START_TEST(of_the_queue)
{
	struct queue_rcpt r[1] = {{.address = SPAN("a@x")}};
	struct db_txn *txn = begin(env);
	struct hash *set = hash_new();

	for (unsigned i = 0; i < 4; i++) {
		struct queue_entry e = {.sender = SPAN("s@x"), .blob = {.codec = 1}};

		e.blob.is_file = i % 2;
		e.blob.id[3] = (unsigned char)i;
		e.blob.data = SPAN("frame");
		e.blob.stored = 5;
		ck_ok(queue_add(txn, &e, r, 1, &err));
	}
	ck_ok(queue_each_file(txn, set, &err));
	ck_assert_uint_eq(hash_count(set), 2);
	ck_assert_ptr_nonnull(hash_get(set, SPAN("\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0")));
	ck_assert_ptr_nonnull(hash_get(set, SPAN("\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0")));
	hash_free(set);
	db_abort(txn);
}
END_TEST

START_TEST(of_a_store)
{
	struct store_options opt = {.loop = loop,
	    .dir = fixture_path("store"),
	    .map_size = 1 << 24,
	    .map_max = 1 << 24,
	    .reader_threads = 1};
	unsigned char id[BLOB_ID_LEN] = {0x00, 0x33};
	struct file_row f = {.refs = 1};
	struct store *s;
	struct db_txn *txn;
	char name[80];

	ck_ok(store_open(&opt, &s, &err));
	ck_ok(db_write_begin(store_env(s), &txn, &err));
	ck_ok(file_put(txn, id, &f, &err));
	commit(txn);
	for (unsigned known = 0; known < 2; known++) {
		snprintf(name, sizeof(name), "../store/blob/00");
		(void)mkdir(fixture_path("store/blob/00"), 0700);
		file(known ? "../store/blob/00/00330000000000000000000000000000"
			   : "../store/blob/00/00440000000000000000000000000000",
		    100000);
	}
	store_sweep(s);
	store_sweep(s);
	for (int i = 0;
	     i < 500 &&
	     access(fixture_path("store/blob/00/00440000000000000000000000000000"), F_OK) == 0;
	     i++)
		loop_settle();
	ck_assert_int_ne(
	    access(fixture_path("store/blob/00/00440000000000000000000000000000"), F_OK), 0);
	store_sweep(s);
	store_close(s); /* in the middle of one */
	ck_assert_int_eq(
	    access(fixture_path("store/blob/00/00330000000000000000000000000000"), F_OK), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
	    what_goes_and_what_stays, an_error_removes_nothing, stopped, of_the_queue, of_a_store};
	TCase *tc = tcase_create("sweep");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
