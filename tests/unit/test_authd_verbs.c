/* The table of admin verbs: default deny, the longest match, no doubles; and settings.conf's
 * writer. */
#include "common/authd/revert.h"
#include "common/base/mem.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct verb *find(const char *command, uint32_t *words)
{
	struct span rest = span_of(command);
	struct ipc_admin cmd = {0};

	while (cmd.count < IPC_ADMIN_WORDS && span_split(&rest, ' ', &cmd.words[cmd.count]))
		cmd.count++;
	return verb_find(&cmd, words);
}

static uint32_t count_spaces(const char *s)
{
	uint32_t n = 0;

	for (; *s; s++)
		n += *s == ' ';
	return n;
}

START_TEST(every_verb_is_found)
{
	const struct verb *v;
	char command[256];
	uint32_t words;

	for (size_t i = 0; (v = verb_at(i)); i++) {
		ck_assert_ptr_eq(find(v->name, &words), v);
		ck_assert_uint_eq(words, 1 + count_spaces(v->name));
		snprintf(command, sizeof(command), "%s one two three", v->name);
		ck_assert_ptr_eq(find(command, &words), v);
		ck_assert_ptr_nonnull(v->run);
		ck_assert_ptr_nonnull(v->usage);
		ck_assert_uint_le(v->min, v->max);
		ck_assert_uint_le(v->max + words, IPC_ADMIN_WORDS);
	}
}
END_TEST

START_TEST(nothing_else_is)
{
	static const char *const none[] = {"", " ", "account", "accounts list", "account  list",
	    "Account list", "alias", "domain addx", "pin", "pingx", "set\n"};
	uint32_t words;

	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		ck_assert_msg(!find(none[i], &words), "%s", none[i]);
	ck_assert_ptr_null(verb_find(&(struct ipc_admin){0}, &words));
}
END_TEST

/* Whoever adds a verb that needs less than an administrator must say so here too. */
START_TEST(who_may)
{
	static const char *const anyone[] = {"ping", "login", "setup status", "setup begin"};
	static const char *const user[] = {"logout", "whoami", "help", "my account", "my password",
	    "my app-password add", "my app-password list", "my app-password remove",
	    "my totp begin", "my totp confirm", "my totp remove", "my undelete list",
	    "my undelete message", "my undelete mailbox", "my undelete since"};
	const struct verb *v;
	size_t less = 0;
	uint32_t words;

	for (size_t i = 0; i < ARRAY_LEN(anyone); i++)
		ck_assert_int_eq(find(anyone[i], &words)->role, VERB_ANYONE);
	for (size_t i = 0; i < ARRAY_LEN(user); i++)
		ck_assert_int_eq(find(user[i], &words)->role, VERB_USER);
	for (size_t i = 0; (v = verb_at(i)); i++)
		less += v->role != VERB_ADMIN;
	ck_assert_uint_eq(less, ARRAY_LEN(anyone) + ARRAY_LEN(user));
}
END_TEST

START_TEST(what_changes)
{
	static const char *const reads[] = {"ping", "login", "whoami", "help", "domain list",
	    "account list", "account show", "app-password list", "alias list", "get", "diff",
	    "audit list", "status", "queue list", "queue show", "setup status", "my account",
	    "my app-password list", "undelete list", "cert list", "cert show", "cert check",
	    "cert export-chain", "sender list", "trace", "confirm status", "domain alias list",
	    "domain dns", "dkim list", "check-network", "queue paused list", "cert acme list",
	    "backup list", "backup last", "route list", "route suggest", "traffic",
	    "my undelete list", "failures list", "probe", "tls-rule list"};
	const struct verb *v;
	size_t n = 0;
	uint32_t words;

	for (size_t i = 0; i < ARRAY_LEN(reads); i++)
		ck_assert_msg(!(find(reads[i], &words)->flags & VERB_CHANGES), "%s", reads[i]);
	for (size_t i = 0; (v = verb_at(i)); i++)
		n += !(v->flags & VERB_CHANGES);
	ck_assert_uint_eq(n, ARRAY_LEN(reads));
	ck_assert_str_eq(find("queue remove 17", &words)->name, "queue");
	ck_assert_str_eq(find("queue list", &words)->name, "queue list");
}
END_TEST

/* The change that waits, and what it was before. */
START_TEST(revert_file)
{
	char dir[] = "/tmp/mailstead-unit-XXXXXX";
	char path[64];
	struct err err = ERR_INIT;
	struct strbuf text, names;
	int64_t until = 0;
	FILE *f;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	strbuf_init(&text, 1000);
	strbuf_init(&names, 100);
	ck_assert_int_lt(revert_read(dir, &text, &names, &until, &err), 0);
	ck_assert_int_eq(err.code, ERR_NOT_FOUND);
	ck_assert_int_eq(
	    revert_write(dir, "web.port web.address", SPAN("a = 1\nb = 2\n"), 1234567890123, &err),
	    0);
	ck_assert_int_eq(revert_read(dir, &text, &names, &until, &err), 0);
	ck_assert_str_eq(text.p, "a = 1\nb = 2\n");
	ck_assert_str_eq(names.p, "web.port web.address");
	ck_assert_int_eq(until, 1234567890123);
	ck_assert_int_eq(revert_write(dir, "web.port web.address", SPAN(""), 5, &err), 0);
	ck_assert_int_eq(revert_read(dir, &text, &names, &until, &err), 0);
	ck_assert_uint_eq(text.n, 0);
	ck_assert_int_eq(revert_remove(dir, &err), 0);
	ck_assert_int_eq(revert_remove(dir, &err), 0);
	snprintf(path, sizeof(path), "%s/settings.revert", dir);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs("something else\n", f);
	fclose(f);
	ck_assert_int_lt(revert_read(dir, &text, &names, &until, &err), 0);
	ck_assert_int_eq(err.code, ERR_INVALID);
	strbuf_clear(&text);
	strbuf_clear(&names);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("authd verbs");
	TCase *c = tcase_create("all");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(c, every_verb_is_found);
	tcase_add_test(c, nothing_else_is);
	tcase_add_test(c, who_may);
	tcase_add_test(c, what_changes);
	tcase_add_test(c, revert_file);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
