/* The folders of keyd: every change is whole or has not happened, whatever lies around. */
#include "common/daemon/file.h"
#include "common/keyd/shelf.h"
#include "tests/support/fixture.h"
#include "tests/support/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static const char *keys_dir(void)
{
	return fixture_path("keys");
}

static void setup(void)
{
	struct err err = ERR_INIT;

	fixture_setup();
	ck_assert_msg(shelf_open(keys_dir(), &err) == 0, "%s", err.text);
}

static void put(const char *id, enum slot slot, const char *text)
{
	struct err err = ERR_INIT;

	ck_assert_msg(shelf_put(keys_dir(), id, slot, ORIGIN_IMPORT, span_of(text), &err) == 0,
	    "%s", err.text);
}

static void installed(const char *id, const char *text)
{
	struct err err = ERR_INIT;

	put(id, SLOT_CANDIDATE, text);
	ck_assert_msg(shelf_install(keys_dir(), id, false, &err) == 0, "%s", err.text);
}

/* NULL: nothing is there. */
static void expect(const char *id, enum slot slot, const char *want)
{
	struct strbuf text;
	struct err err = ERR_INIT;
	int result;

	shelf_buf_init(&text);
	result = shelf_read(keys_dir(), id, slot, &text, &err);
	if (want) {
		ck_assert_msg(result == 0, "%s", err.text);
		ck_assert_str_eq(text.p, want);
	} else {
		ck_assert_int_lt(result, 0);
		ck_assert_int_eq(err.code, ERR_NOT_FOUND);
	}
	shelf_buf_clear(&text);
}

static size_t count_files(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	size_t n = 0;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
	closedir(d);
	return n;
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	fclose(f);
}

/* --- the life of a certificate ---------------------------------------------------------------- */
START_TEST(install_and_back)
{
	struct err err = ERR_INIT;

	expect("shop", SLOT_CURRENT, NULL);
	put("shop", SLOT_CANDIDATE, "one");
	expect("shop", SLOT_CURRENT, NULL);
	ck_ok(shelf_install(keys_dir(), "shop", false, &err));
	expect("shop", SLOT_CURRENT, "one");
	expect("shop", SLOT_CANDIDATE, NULL);
	expect("shop", SLOT_PREVIOUS, NULL);
	ck_fails(shelf_rollback(keys_dir(), "shop", &err), ERR_NOT_FOUND);
	ck_fails(shelf_install(keys_dir(), "shop", false, &err), ERR_NOT_FOUND);
	installed("shop", "two");
	installed("shop", "three");
	expect("shop", SLOT_CURRENT, "three");
	expect("shop", SLOT_PREVIOUS, "two");
	ck_ok(shelf_rollback(keys_dir(), "shop", &err));
	expect("shop", SLOT_CURRENT, "two");
	expect("shop", SLOT_PREVIOUS, "three");
	ck_ok(shelf_rollback(keys_dir(), "shop", &err));
	expect("shop", SLOT_CURRENT, "three");
	/* What no index names is not kept: two bundles and the index. */
	ck_assert_uint_eq(count_files(fixture_path("keys/shop")), 3);
	ck_ok(shelf_remove(keys_dir(), "shop", &err));
	expect("shop", SLOT_CURRENT, NULL);
	ck_assert_uint_eq(count_files(keys_dir()), 0);
	ck_fails(shelf_remove(keys_dir(), "shop", &err), ERR_NOT_FOUND);
}
END_TEST

START_TEST(pending)
{
	struct shelf_index ix;
	struct err err = ERR_INIT;

	put("shop", SLOT_PENDING, "request");
	ck_ok(shelf_index_get(keys_dir(), "shop", &ix, &err));
	ck_assert(ix.number[SLOT_PENDING] > 0 && ix.number[SLOT_CURRENT] == 0);
	ck_assert_int_eq(ix.origin[SLOT_PENDING], ORIGIN_IMPORT);
	put("shop", SLOT_CANDIDATE, "answer");
	ck_ok(shelf_install(keys_dir(), "shop", true, &err));
	expect("shop", SLOT_PENDING, NULL);
	expect("shop", SLOT_CURRENT, "answer");
	/* The last thing that goes takes the id with it. */
	put("other", SLOT_PENDING, "request");
	ck_ok(shelf_drop(keys_dir(), "other", SLOT_PENDING, &err));
	ck_fails(shelf_index_get(keys_dir(), "other", &ix, &err), ERR_NOT_FOUND);
	ck_assert_uint_eq(count_files(keys_dir()), 1);
	ck_fails(shelf_drop(keys_dir(), "shop", SLOT_PENDING, &err), ERR_NOT_FOUND);
}
END_TEST

START_TEST(staples)
{
	struct strbuf der;
	struct err err = ERR_INIT;

	strbuf_init(&der, STAPLE_MAX);
	ck_fails(shelf_staple_put(keys_dir(), "shop", SPAN("x"), &err), ERR_NOT_FOUND);
	installed("shop", "one");
	ck_ok(shelf_staple_put(keys_dir(), "shop", SPAN("response"), &err));
	ck_ok(shelf_staple_get(keys_dir(), "shop", &der, &err));
	ck_assert_str_eq(der.p, "response");
	/* It is about the certificate it came for, also after a change and back. */
	installed("shop", "two");
	strbuf_reset(&der);
	ck_fails(shelf_staple_get(keys_dir(), "shop", &der, &err), ERR_NOT_FOUND);
	ck_ok(shelf_rollback(keys_dir(), "shop", &err));
	ck_ok(shelf_staple_get(keys_dir(), "shop", &der, &err));
	ck_ok(shelf_staple_put(keys_dir(), "shop", SPAN(""), &err));
	ck_ok(shelf_staple_put(keys_dir(), "shop", SPAN(""), &err));
	ck_fails(shelf_staple_get(keys_dir(), "shop", &der, &err), ERR_NOT_FOUND);
	strbuf_clear(&der);
}
END_TEST

static void count_id(void *arg, const char *id)
{
	size_t *n = arg;

	ck_assert(key_id_is_good(span_of(id)));
	(*n)++;
}

START_TEST(ids)
{
	static const char *const bad[] = {"", ".", "..", "../x", "a/b", "A", "a_b", "-a", "a b",
	    "\xc3\xbc", "a.b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
	struct err err = ERR_INIT;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_fails(
		    shelf_put(keys_dir(), bad[i], SLOT_CANDIDATE, ORIGIN_SELF, SPAN("x"), &err),
		    ERR_INVALID);
	put("a", SLOT_PENDING, "x");
	installed("0-9", "y");
	ck_assert_int_eq(mkdir(fixture_path("keys/empty"), 0700), 0);
	ck_assert_int_eq(mkdir(fixture_path("keys/Strange"), 0700), 0);
	write_file(fixture_path("keys/file"), "");
	ck_ok(shelf_each(keys_dir(), count_id, &n, &err));
	ck_assert_uint_eq(n, 2);
}
END_TEST

START_TEST(modes)
{
	struct stat st;
	struct err err = ERR_INIT;
	mode_t old = umask(0);

	installed("shop", "one");
	umask(old);
	ck_assert_int_eq(stat(keys_dir(), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	ck_assert_int_eq(stat(fixture_path("keys/shop"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	ck_assert_int_eq(stat(fixture_path("keys/shop/1.pem"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(chmod(keys_dir(), 0750), 0);
	ck_fails(shelf_open(keys_dir(), &err), ERR_DENIED);
	ck_assert_ptr_nonnull(strstr(err.text, "0700"));
}
END_TEST

/* --- what a crash leaves ---------------------------------------------------------------------- */
START_TEST(leftovers)
{
	struct err err = ERR_INIT;

	installed("shop", "one");
	installed("shop", "two");
	/* In the middle of an install: a bundle that nothing names, a half index. */
	write_file(fixture_path("keys/shop/7.pem"), "half");
	write_file(fixture_path("keys/shop/8.pem.new"), "ha");
	write_file(fixture_path("keys/shop/index.new"), "mailstead-keys 1\ncurr");
	/* In the middle of a removal, and of making an id. */
	ck_assert_int_eq(mkdir(fixture_path("keys/.removed-gone"), 0700), 0);
	write_file(fixture_path("keys/.removed-gone/1.pem"), "key");
	write_file(fixture_path("keys/.removed-gone/index"), "mailstead-keys 1\n");
	ck_assert_int_eq(mkdir(fixture_path("keys/begun"), 0700), 0);
	write_file(fixture_path("keys/begun/1.pem"), "key");
	ck_ok(shelf_open(keys_dir(), &err));
	expect("shop", SLOT_CURRENT, "two");
	expect("shop", SLOT_PREVIOUS, "one");
	ck_assert_uint_eq(count_files(fixture_path("keys/shop")), 3);
	ck_assert_int_lt(access(fixture_path("keys/.removed-gone"), F_OK), 0);
	expect("begun", SLOT_CURRENT, NULL);
	installed("begun", "now");
	expect("begun", SLOT_CURRENT, "now");
	ck_assert_uint_eq(count_files(fixture_path("keys/begun")), 2);
}
END_TEST

/* Installs one after the other until somebody ends it; says when the first one stands. */
_Noreturn static void install_for_ever(unsigned first, int told)
{
	for (unsigned i = 0;; i++) {
		char text[5000];

		memset(text, (int)('a' + (first + i) % 26), sizeof(text) - 1);
		text[sizeof(text) - 1] = '\0';
		if (shelf_put(keys_dir(), "shop", SLOT_CANDIDATE, ORIGIN_IMPORT, span_of(text),
			NULL) < 0 ||
		    shelf_install(keys_dir(), "shop", false, NULL) < 0)
			_exit(1);
		if (i == 0 && write(told, "", 1) != 1)
			_exit(1);
	}
}

static char whole_letter(enum slot slot)
{
	struct strbuf text;
	struct err err = ERR_INIT;
	char letter;

	shelf_buf_init(&text);
	ck_assert_msg(shelf_read(keys_dir(), "shop", slot, &text, &err) == 0, "%s", err.text);
	letter = text.p[0];
	ck_assert_uint_eq(text.n, 4999);
	for (size_t i = 0; i < text.n; i++)
		ck_assert_int_eq(text.p[i], letter);
	shelf_buf_clear(&text);
	return letter;
}

/* Killed at any moment, what is there is whole, and so is what was there before. */
START_TEST(killed_at_any_moment)
{
	struct err err = ERR_INIT;
	unsigned changes = 0;
	char last = 0;

	for (int i = 0; i < 30; i++) {
		struct timespec pause = {.tv_nsec = i % 25 * 300000};
		int status, ends[2];
		char byte;
		pid_t pid;

		ck_assert_int_eq(pipe(ends), 0);
		pid = fork();
		if (pid == 0)
			install_for_ever((unsigned)i, ends[1]);
		ck_assert_int_eq(read(ends[0], &byte, 1), 1);
		close(ends[0]);
		close(ends[1]);
		nanosleep(&pause, NULL);
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status));
		ck_ok(shelf_open(keys_dir(), &err));
		changes += whole_letter(SLOT_CURRENT) != last;
		last = whole_letter(SLOT_CURRENT);
		ck_assert_uint_le(count_files(fixture_path("keys/shop")), 4);
		if (access(fixture_path("keys/shop/3.pem"), F_OK) == 0)
			(void)whole_letter(SLOT_PREVIOUS);
	}
	ck_assert_uint_gt(changes, 5);
}
END_TEST

/* A number is not used again while something could still mean the old bundle. */
START_TEST(numbers)
{
	struct shelf_index ix, again;
	struct err err = ERR_INIT;

	installed("shop", "one");
	write_file(fixture_path("keys/shop/41.pem"), "half");
	put("shop", SLOT_CANDIDATE, "two");
	ck_ok(shelf_index_get(keys_dir(), "shop", &ix, &err));
	ck_assert_uint_eq(ix.number[SLOT_CANDIDATE], 42);
	put("shop", SLOT_CANDIDATE, "three");
	ck_ok(shelf_index_get(keys_dir(), "shop", &again, &err));
	ck_assert_uint_gt(again.number[SLOT_CANDIDATE], ix.number[SLOT_CANDIDATE]);
	expect("shop", SLOT_CANDIDATE, "three");
	expect("shop", SLOT_CURRENT, "one");
}
END_TEST

START_TEST(damaged_index)
{
	static const char *const bad[] = {"", "mailstead-keys 2\n", "hello",
	    "mailstead-keys 1\ncurrent x import\n", "mailstead-keys 1\ncurrent 1\n",
	    "mailstead-keys 1\ncurrent 1 import more\n", "mailstead-keys 1\nfuture 1 import\n",
	    "mailstead-keys 1\ncurrent 0 import\n",
	    "mailstead-keys 1\ncurrent 99999999999 import\n"};
	struct err err = ERR_INIT;
	struct strbuf text;

	shelf_buf_init(&text);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		installed("shop", "one");
		write_file(fixture_path("keys/shop/index"), bad[i]);
		ck_fails(shelf_read(keys_dir(), "shop", SLOT_CURRENT, &text, &err), ERR_CORRUPT);
		ck_assert_ptr_nonnull(strstr(err.text, "certificate shop: index:"));
		/* Nothing is thrown away that somebody may want to save. */
		ck_ok(shelf_open(keys_dir(), &err));
		ck_assert_uint_ge(count_files(fixture_path("keys/shop")), 2);
		ck_fails(
		    shelf_put(keys_dir(), "shop", SLOT_CANDIDATE, ORIGIN_SELF, SPAN("x"), &err),
		    ERR_CORRUPT);
		unlink(fixture_path("keys/shop/index"));
	}
	shelf_buf_clear(&text);
}
END_TEST

START_TEST(links_are_not_followed)
{
	struct strbuf text;
	struct err err = ERR_INIT;

	shelf_buf_init(&text);
	installed("shop", "one");
	write_file(fixture_path("secret"), "not yours");
	ck_assert_int_eq(unlink(fixture_path("keys/shop/1.pem")), 0);
	ck_assert_int_eq(symlink(fixture_path("secret"), fixture_path("keys/shop/1.pem")), 0);
	ck_assert_int_lt(shelf_read(keys_dir(), "shop", SLOT_CURRENT, &text, &err), 0);
	ck_assert_uint_eq(text.n, 0);
	ck_assert_int_eq(symlink(fixture_path("keys/shop"), fixture_path("keys/link")), 0);
	ck_assert_int_lt(shelf_read(keys_dir(), "link", SLOT_CURRENT, &text, &err), 0);
	/* A full bundle, and one byte more. */
	shelf_buf_clear(&text);
	shelf_buf_init(&text);
	put("big", SLOT_CANDIDATE, "x");
	{
		char *big = mem_alloc(BUNDLE_MAX + 2);

		memset(big, 'x', BUNDLE_MAX + 1);
		big[BUNDLE_MAX] = '\0';
		put("big", SLOT_CANDIDATE, big);
		expect("big", SLOT_CANDIDATE, big);
		big[BUNDLE_MAX] = 'x';
		big[BUNDLE_MAX + 1] = '\0';
		put("big", SLOT_CANDIDATE, big);
		ck_fails(shelf_read(keys_dir(), "big", SLOT_CANDIDATE, &text, &err), ERR_LIMIT);
		mem_free(big);
	}
	shelf_buf_clear(&text);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {install_and_back, pending, staples, ids, modes, leftovers,
	    killed_at_any_moment, numbers, damaged_index, links_are_not_followed};
	TCase *tc = tcase_create("shelf");

	tcase_set_timeout(tc, 60);

	tcase_add_checked_fixture(tc, setup, fixture_teardown);
	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
