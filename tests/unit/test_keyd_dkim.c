/* Signing keys on disk: whole or not at all, and what each is for over the time. */
#include "common/daemon/file.h"
#include "common/keyd/dkim.h"
#include "common/keyd/shelf.h"
#include "tests/support/fixture.h"
#include "tests/support/unit.h"

#include <sys/stat.h>
#include <unistd.h>

#define NOW ((int64_t)1795000000) /* in November 2026 */

static const char *keys_dir(void)
{
	return fixture_path("keys");
}

static void setup(void)
{
	struct err err = ERR_INIT;

	fixture_setup();
	ck_assert_msg(shelf_open(keys_dir(), &err) == 0, "%s", err.text);
	ck_assert_msg(dkim_open(keys_dir(), &err) == 0, "%s", err.text);
}

static void add_pair(struct dkim_domain *d, enum dkim_state state, int64_t now)
{
	struct err err = ERR_INIT;

	ck_assert_msg(dkim_add_pair(d, state, now, &err) == 0, "%s", err.text);
}

static void write_to(const char *domain, struct dkim_domain *d, int64_t now)
{
	struct err err = ERR_INIT;

	ck_assert_msg(dkim_write(keys_dir(), domain, d, now, &err) == 0, "%s", err.text);
	dkim_clear(d);
	ck_assert_msg(dkim_read(keys_dir(), domain, d, &err) == 0, "%s", err.text);
}

static void states_are(const struct dkim_domain *d, const char *want)
{
	char got[DKIM_KEYS_MAX + 1] = "";

	for (size_t i = 0; i < d->count; i++)
		got[i] = dkim_state_name(d->keys[i].state)[0];
	ck_assert_str_eq(got, want);
}

START_TEST(a_rotation)
{
	struct dkim_domain d = {0};
	struct err err = ERR_INIT;
	int64_t later = NOW + 86400;

	ck_assert_int_lt(dkim_read(keys_dir(), "example.org", &d, &err), 0);
	ck_assert_int_eq(err.code, ERR_NOT_FOUND);
	add_pair(&d, DKIM_CURRENT, NOW);
	write_to("example.org", &d, NOW);
	states_are(&d, "cc");
	ck_assert_str_eq(d.keys[0].selector, "ms202611r");
	ck_assert_str_eq(d.keys[1].selector, "ms202611e");
	ck_assert(dkim_is_rsa(&d.keys[0]) && !dkim_is_rsa(&d.keys[1]));
	ck_assert_int_lt(dkim_activate(&d, NOW, &err), 0);
	add_pair(&d, DKIM_NEXT, later);
	write_to("example.org", &d, later);
	states_are(&d, "ccnn");
	ck_assert_str_eq(d.keys[2].selector, "ms202611-2r");
	ck_assert_int_eq(dkim_activate(&d, later, &err), 0);
	write_to("example.org", &d, later);
	states_are(&d, "oocc");
	ck_assert_int_eq(d.keys[0].until, later + DKIM_OLD_SECONDS);
	/* Published no longer: gone with the next change. */
	write_to("example.org", &d, later + DKIM_OLD_SECONDS);
	states_are(&d, "cc");
	ck_assert_str_eq(d.keys[0].selector, "ms202611-2r");
	add_pair(&d, DKIM_NEXT, later);
	ck_assert_uint_eq(dkim_drop(&d, DKIM_NEXT), 2);
	states_are(&d, "cc");
	dkim_clear(&d);
}
END_TEST

/* Many rotations in a short time: the oldest that sign no more make room. */
START_TEST(many_rotations)
{
	struct dkim_domain d = {0};
	struct err err = ERR_INIT;

	add_pair(&d, DKIM_CURRENT, NOW);
	for (int i = 1; i < 6; i++) {
		add_pair(&d, DKIM_NEXT, NOW + i);
		ck_assert_int_eq(dkim_activate(&d, NOW + i, &err), 0);
	}
	states_are(&d, "oooooocc");
	ck_assert_int_eq(d.keys[0].until, NOW + 3 + DKIM_OLD_SECONDS);
	dkim_clear(&d);
}
END_TEST

static void record_begins(const struct dkim_key *k, const char *want, size_t length)
{
	struct err err = ERR_INIT;
	struct strbuf text;

	strbuf_init(&text, DKIM_RECORD_MAX);
	ck_assert_int_eq(dkim_record(k, &text, &err), 0);
	ck_assert_msg(span_starts(strbuf_span(&text), span_of(want)), "%s", text.p);
	ck_assert_uint_eq(text.n, length);
	strbuf_clear(&text);
}

START_TEST(records)
{
	struct dkim_domain d = {0};

	add_pair(&d, DKIM_CURRENT, NOW);
	record_begins(&d.keys[0], "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A", 410);
	record_begins(&d.keys[1], "v=DKIM1; k=ed25519; p=", 66);
	dkim_clear(&d);
}
END_TEST

START_TEST(domain_names)
{
	static const char *const bad[] = {
	    "", ".", "..", ".org", "a/b", "../x", "A.org", "a b", "a\tb", "a_b.org"};
	struct err err = ERR_INIT;
	struct dkim_domain d;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert_msg(!dkim_domain_is_good(span_of(bad[i])), "%s", bad[i]);
		ck_assert_int_lt(dkim_read(keys_dir(), bad[i], &d, &err), 0);
		ck_assert_int_lt(dkim_remove(keys_dir(), bad[i], &err), 0);
	}
	ck_assert(dkim_domain_is_good(SPAN("xn--bcher-kva.example")));
}
END_TEST

/* A file that is none of ours, cut anywhere, or with a byte changed: said, and left. */
START_TEST(damage)
{
	struct dkim_domain d = {0};
	struct strbuf text, folder;
	struct err err = ERR_INIT;
	int fd;

	add_pair(&d, DKIM_CURRENT, NOW);
	write_to("example.org", &d, NOW);
	dkim_clear(&d);
	strbuf_init(&folder, 500);
	strbuf_addf(&folder, "%s/" DKIM_FOLDER, keys_dir());
	fd = file_open_folder(folder.p, &err);
	ck_assert_int_ge(fd, 0);
	strbuf_init(&text, 64 * 1024);
	ck_assert_int_eq(file_read(fd, "example.org.pem", &text, &err), 0);
	for (size_t n = 0; n < text.n; n += 13) {
		int rc;

		ck_assert_int_eq(file_write(fd, "example.org.pem", 0600,
				     span_sub(strbuf_span(&text), 0, n), &err),
		    0);
		err = (struct err)ERR_INIT;
		rc = dkim_read(keys_dir(), "example.org", &d, &err);
		/* Cut between two keys it is a file with one. */
		ck_assert(rc < 0 ? err.code == ERR_CORRUPT : d.count < 2);
		dkim_clear(&d);
	}
	close(fd);
	strbuf_clear(&text);
	strbuf_clear(&folder);
}
END_TEST

START_TEST(lists_and_removal)
{
	static const char *const names[] = {"b.org", "a.org", "a-b.org"};
	struct dkim_domain d = {0};
	struct err err = ERR_INIT;
	struct strbuf list;

	add_pair(&d, DKIM_CURRENT, NOW);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		write_to(names[i], &d, NOW);
	dkim_clear(&d);
	strbuf_init(&list, 1000);
	ck_assert_int_eq(dkim_list(keys_dir(), &list, &err), 0);
	ck_assert(span_eq(strbuf_span(&list), SPAN("a-b.org\0a.org\0b.org\0")));
	strbuf_reset(&list);
	ck_assert_int_eq(dkim_remove(keys_dir(), "a.org", &err), 0);
	ck_assert_int_eq(dkim_remove(keys_dir(), "a.org", &err), 0);
	ck_assert_int_eq(dkim_list(keys_dir(), &list, &err), 0);
	ck_assert(span_eq(strbuf_span(&list), SPAN("a-b.org\0b.org\0")));
	strbuf_reset(&list);
	ck_assert_int_lt(
	    (strbuf_clear(&list), strbuf_init(&list, 5), dkim_list(keys_dir(), &list, &err)), 0);
	ck_assert_int_eq(err.code, ERR_LIMIT);
	strbuf_clear(&list);
	/* The shelf of certificates does not touch it. */
	ck_assert_int_eq(shelf_open(keys_dir(), &err), 0);
	ck_assert_int_eq(dkim_read(keys_dir(), "b.org", &d, &err), 0);
	dkim_clear(&d);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
	    a_rotation, many_rotations, records, domain_names, damage, lists_and_removal};
	TCase *tc = tcase_create("dkim keys");

	tcase_add_checked_fixture(tc, setup, fixture_teardown);
	tcase_set_timeout(tc, 120);
	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
