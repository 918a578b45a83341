/* Bodies: inline and in files, byte for byte, damaged, flushed in the right order. */
#include "common/store/blob_int.h"
#include "tests/support/fixture.h"

#include "common/crypto/crypto.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <zstd.h>

static struct err err;

/* What was flushed and renamed, as one string: F file, N rename, D folder. */
static char trail[256];
static size_t trail_n;
static int fail_fsync;

static void trail_add(char c)
{
	if (trail_n < sizeof(trail) - 1)
		trail[trail_n++] = c;
	trail[trail_n] = '\0';
}

int fsync(int fd)
{
	struct stat st;

	trail_add(fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? 'D' : 'F');
	if (fail_fsync) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	trail_add('N');
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

static void trail_reset(void)
{
	trail_n = 0;
	trail[0] = '\0';
	fail_fsync = 0;
}

static struct blob_dir *open_dir(void)
{
	struct blob_dir *d;

	ck_ok(blob_dir_open(fixture_path("blob"), &d, &err));
	return d;
}

static size_t file_count(void)
{
	size_t n = 0;
	char path[512];
	DIR *top = opendir(fixture_path("blob"));
	struct dirent *e, *f;

	while ((e = readdir(top)) != NULL) {
		DIR *sub;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", fixture_path("blob"), e->d_name);
		sub = opendir(path);
		while ((f = readdir(sub)) != NULL)
			n += strcmp(f->d_name, ".") != 0 && strcmp(f->d_name, "..") != 0;
		closedir(sub);
	}
	closedir(top);
	return n;
}

/* Bytes that compress (text) or do not (noise). */
static char *make_body(size_t n, bool is_noise)
{
	char *p = mem_alloc(n + 1);

	if (is_noise)
		random_bytes(p, n);
	else
		for (size_t i = 0; i < n; i++)
			p[i] = "The quick brown fox\r\n"[(i + i / 1000) % 21];
	return p;
}

static struct blob_writer *write_body(
    struct blob_dir *d, size_t inline_max, struct span body, size_t step, struct blob *blob)
{
	struct blob_writer *w = blob_writer_new(d, inline_max);

	for (size_t at = 0; at < body.n; at += step)
		ck_ok(blob_write(w, span_sub(body, at, step), &err));
	ck_ok(blob_finish(w, blob, &err));
	return w;
}

static void check_body(struct blob_dir *d, const struct blob *blob, struct span body)
{
	struct strbuf out;
	struct blob_reader *r;
	char *buf = mem_alloc(7777);
	size_t n, at = 0;

	strbuf_init(&out, body.n);
	ck_ok(blob_read_all(d, blob, &out, body.n, &err));
	ck_assert(span_eq(strbuf_span(&out), body));
	strbuf_reset(&out);
	if (body.n)
		ck_fails(blob_read_all(d, blob, &out, body.n - 1, &err), ERR_LIMIT);
	strbuf_clear(&out);
	/* In odd pieces, and from the middle. */
	ck_ok(blob_open(d, blob, &r, &err));
	do {
		ck_ok(blob_read(r, buf, 7777, &n, &err));
		ck_assert(span_eq(span_make(buf, n), span_sub(body, at, n)));
		at += n;
		ck_assert_uint_eq(blob_position(r), at);
	} while (n);
	ck_assert_uint_eq(at, body.n);
	ck_ok(blob_read(r, buf, 7777, &n, &err));
	ck_assert_uint_eq(n, 0);
	blob_reader_free(r);
	ck_ok(blob_open(d, blob, &r, &err));
	ck_ok(blob_skip(r, body.n / 2, &err));
	ck_ok(blob_read(r, buf, 100, &n, &err));
	ck_assert(span_eq(span_make(buf, n), span_sub(body, body.n / 2, n)));
	blob_reader_free(r);
	mem_free(buf);
}

START_TEST(round_trips)
{
	static const size_t sizes[] = {0, 1, 100, 65535, 65536, 65537, 300000, 3000000};
	struct blob_dir *d = open_dir();

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		for (int noise = 0; noise < 2; noise++) {
			char *p = make_body(sizes[i], noise);
			struct span body = span_make(p, sizes[i]);
			struct blob blob, again;
			struct blob_writer *w = write_body(d, 64 * 1024, body, 10007, &blob);
			struct strbuf row;
			struct dec dec;

			ck_assert(blob.is_file == (blob.stored > 64 * 1024));
			ck_assert_uint_eq(blob.size, sizes[i]);
			strbuf_init(&row, 256);
			blob_encode(&row, &blob);
			dec = dec_of(strbuf_span(&row));
			ck_assert(blob_decode(&dec, &again) && dec_done(&dec));
			again.data = blob.data;
			check_body(d, &again, body);
			/* Every shorter row is refused. */
			for (size_t n = 0; n < row.n; n++) {
				dec = dec_of(span_sub(strbuf_span(&row), 0, n));
				ck_assert(!blob_decode(&dec, &again));
			}
			strbuf_clear(&row);
			blob_writer_free(w);
			mem_free(p);
		}
	}
	ck_assert_uint_eq(file_count(), 0); /* nobody kept one */
	blob_dir_close(d);
}
END_TEST

START_TEST(without_a_folder_all_is_inline)
{
	char *p = make_body(200000, true);
	struct blob blob;
	struct blob_writer *w = write_body(NULL, 0, span_make(p, 200000), 5000, &blob);

	ck_assert(!blob.is_file);
	check_body(NULL, &blob, span_make(p, 200000));
	blob_writer_free(w);
	mem_free(p);
}
END_TEST

START_TEST(durable_before_finish_returns)
{
	char *p = make_body(100000, true);
	struct blob_dir *d = open_dir();
	struct blob blob, other;
	struct blob_writer *w;
	struct stat st;
	char name[BLOB_NAME_LEN], hex[33];

	trail_reset();
	w = write_body(d, 1000, span_make(p, 100000), 5000, &blob);
	/* The new folder's parent, the file, then its name, then the folder that holds the name. */
	ck_assert_str_eq(trail, "DFND");
	hex_encode(hex, span_make(blob.id, sizeof(blob.id)));
	snprintf(name, sizeof(name), "%.2s/%s", hex, hex);
	ck_assert_int_eq(fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0660);
	blob_keep(w);
	blob_writer_free(w);
	ck_assert_uint_eq(file_count(), 1);
	/* A copy has the same order and its own id. */
	trail_reset();
	ck_ok(blob_copy(d, &blob, d, &other, &err));
	ck_assert_ptr_nonnull(strstr(trail, "FND"));
	ck_assert(memcmp(other.id, blob.id, sizeof(blob.id)) != 0);
	ck_ok(blob_unlink(d, blob.id, &err));
	check_body(d, &other, span_make(p, 100000));
	ck_fails(blob_unlink(d, blob.id, &err), ERR_NOT_FOUND);
	/* A flush that fails: an error, and nothing is left behind. */
	trail_reset();
	fail_fsync = 1;
	w = blob_writer_new(d, 1000);
	if (blob_write(w, span_make(p, 100000), &err) == 0)
		ck_fails(blob_finish(w, &blob, &err), ERR_IO);
	blob_writer_free(w);
	trail_reset();
	ck_assert_uint_eq(file_count(), 1);
	blob_dir_close(d);
	mem_free(p);
}
END_TEST

static void file_name(char *out, size_t cap, const struct blob *blob)
{
	char hex[33];

	hex_encode(hex, span_make(blob->id, sizeof(blob->id)));
	snprintf(out, cap, "%s/%.2s/%s", fixture_path("blob"), hex, hex);
}

START_TEST(damage_is_found)
{
	char *p = make_body(50000, true), path[256], *frame, c;
	struct blob_dir *d = open_dir();
	struct blob blob, bad;
	struct blob_writer *w = write_body(d, 1 << 20, span_make(p, 50000), 5000, &blob);
	struct strbuf out;

	strbuf_init(&out, 1 << 20);
	frame = mem_dup(blob.data.p, blob.data.n);
	bad = blob;
	bad.data = span_make(frame, blob.data.n);
	for (size_t at = 0; at < bad.data.n; at += 997) {
		frame[at] ^= 0x10;
		ck_fails(blob_read_all(d, &bad, &out, 1 << 20, &err), ERR_CORRUPT);
		frame[at] ^= 0x10;
	}
	ck_ok(blob_read_all(d, &bad, &out, 1 << 20, &err));
	bad.size--;
	ck_fails(blob_read_all(d, &bad, &out, 1 << 20, &err), ERR_CORRUPT);
	bad.size += 2;
	ck_fails(blob_read_all(d, &bad, &out, 1 << 20, &err), ERR_CORRUPT);
	bad.size--;
	bad.data.n--;
	ck_fails(blob_read_all(d, &bad, &out, 1 << 20, &err), ERR_CORRUPT);
	mem_free(frame);
	blob_writer_free(w);
	/* The same in a file: one bit, too short, too long. */
	w = write_body(d, 100, span_make(p, 50000), 5000, &blob);
	file_name(path, sizeof(path), &blob);
	for (int i = 0; i < 3; i++) {
		int fd = open(path, O_RDWR);

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(pread(fd, &c, 1, 30000), 1);
		c ^= 1;
		if (i == 0)
			ck_assert_int_eq(pwrite(fd, &c, 1, 30000), 1);
		else
			ck_assert_int_eq(ftruncate(fd, (off_t)blob.stored + (i == 1 ? -1 : 1)), 0);
		ck_fails(blob_read_all(d, &blob, &out, 1 << 20, &err), ERR_CORRUPT);
		c ^= 1;
		ck_assert_int_eq(pwrite(fd, &c, 1, 30000), 1);
		ck_assert_int_eq(ftruncate(fd, (off_t)blob.stored), 0);
		close(fd);
		if (i == 0)
			ck_ok(blob_read_all(d, &blob, &out, 1 << 20, &err));
	}
	blob_writer_free(w);
	strbuf_clear(&out);
	blob_dir_close(d);
	mem_free(p);
}
END_TEST

/* A frame of 1 GB of zeros that says it is 1,000 bytes: no more than that is ever handed out. */
START_TEST(a_bomb_stays_small)
{
	size_t cap = 1 << 20, n = 256 << 10;
	char *zeros = mem_zalloc(n), *frame = mem_alloc(cap), buf[4096];
	ZSTD_CCtx *z = ZSTD_createCCtx();
	ZSTD_outBuffer out = {frame, cap, 0};
	struct blob blob = {.codec = BLOB_CODEC_ZSTD, .size = 1000};
	struct blob_reader *r;
	uint64_t got = 0;
	int rc;

	for (int i = 0; i < 4096; i++) {
		ZSTD_inBuffer in = {zeros, n, 0};

		ck_assert(!ZSTD_isError(
		    ZSTD_compressStream2(z, &out, &in, i == 4095 ? ZSTD_e_end : ZSTD_e_continue)));
	}
	ZSTD_freeCCtx(z);
	blob.stored = out.pos;
	blob.data = span_make(frame, out.pos);
	sha256_once(blob.data, blob.sum);
	ck_ok(blob_open(NULL, &blob, &r, &err));
	do {
		rc = blob_read(r, buf, sizeof(buf), &n, &err);
		got += n;
	} while (rc == 0 && n);
	ck_assert_int_lt(rc, 0);
	ck_assert_int_eq(err.code, ERR_CORRUPT);
	ck_assert_uint_le(got, 1000);
	blob_reader_free(r);
	mem_free(zeros);
	mem_free(frame);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("blob");
	TCase *tc = tcase_create("blob");

	tcase_add_checked_fixture(tc, fixture_setup, fixture_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, round_trips);
	tcase_add_test(tc, without_a_folder_all_is_inline);
	tcase_add_test(tc, durable_before_finish_returns);
	tcase_add_test(tc, damage_is_found);
	tcase_add_test(tc, a_bomb_stays_small);
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
