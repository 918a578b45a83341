/* Names, the index in memory, resolution of addresses, and loops of aliases. */
#include "common/authd/resolve.h"
#include "common/base/mem.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct index ix;
static struct resolver rv;

static void setup(void)
{
	index_init(&ix);
	rv = (struct resolver){&ix, "+", "mx.example.test", 0};
}

static void teardown(void)
{
	index_clear(&ix);
}

static void apply(const struct db_key *key, struct strbuf *row)
{
	struct err err = ERR_INIT;

	ck_assert_msg(
	    index_apply(&ix, db_key_span(key), strbuf_span(row), &err) == 0, "%s", err.text);
	strbuf_clear(row);
}

static void add_domain(const char *name)
{
	struct domain_row r = {1};
	struct strbuf b;
	struct db_key key;

	strbuf_init(&b, 1000);
	row_enc_domain(&b, &r);
	row_key_text(&key, ROW_DOMAIN, span_of(name));
	apply(&key, &b);
}

static void put_account(uint64_t number, const char *address, uint32_t flags, uint64_t deleting)
{
	struct user_row r = {.address = span_of(address),
	    .phc = SPAN("x"),
	    .flags = flags,
	    .protocols = PROTO_ALL,
	    .deleting = deleting};
	struct strbuf b;
	struct db_key key;

	strbuf_init(&b, 1000);
	row_enc_user(&b, &r);
	row_key_number(&key, ROW_USER, number);
	apply(&key, &b);
}

/* Targets separated by spaces; NULL removes. */
static void put_alias(const char *address, const char *targets)
{
	struct span rest = span_of(targets), t[ALIAS_TARGETS_MAX];
	struct strbuf b;
	struct db_key key;
	uint32_t n = 0;

	strbuf_init(&b, 100000);
	row_key_text(&key, ROW_ALIAS, span_of(address));
	if (!targets) {
		ck_assert_int_eq(index_apply(&ix, db_key_span(&key), span_of(NULL), NULL), 0);
		return;
	}
	while (span_split(&rest, ' ', &t[n]))
		n++;
	row_enc_alias(&b, t, n);
	apply(&key, &b);
}

/* "status: number+detail number" */
static const char *look(const char *address)
{
	static char out[4096];
	static const char *const words[] = {"local", "remote", "unknown", "quota", "temp"};
	struct resolve_result r;
	struct strbuf b;

	strbuf_init(&b, sizeof(out) - 1);
	resolve(&rv, span_of(address), &r);
	strbuf_addf(&b, "%s:", words[r.status]);
	for (uint32_t i = 0; i < r.count; i++) {
		const struct resolve_target *t = &r.targets[i];

		if (t->account)
			strbuf_addf(&b, " %lu%s%.*s", (unsigned long)t->account->number,
			    t->detail_n ? "+" : "", (int)t->detail_n, t->detail);
		else
			strbuf_addf(&b, " %.*s", SPAN_FMT(t->remote));
	}
	memcpy(out, b.p, b.n + 1);
	strbuf_clear(&b);
	resolve_clear(&r);
	return out;
}

static void fill(void)
{
	add_domain("example.test");
	add_domain("other.test");
	put_account(1, "alice@example.test", 0, 0);
	put_account(2, "bob@example.test", 0, 0);
	put_account(3, "carol@other.test", 0, 0);
}

START_TEST(names)
{
	static const struct {
		const char *in, *out;
	} t[] = {
	    {"Alice@Example.TEST", "alice@example.test"},
	    {"\"Alice\"@example.test", "alice@example.test"},
	    {"\"a b\"@example.test", "\"a b\"@example.test"},
	    {"a b@example.test", "\"a b\"@example.test"},
	    {"x@b\xc3\xbc"
	     "cher.test",
		"x@xn--bcher-kva.test"},
	    {"x@XN--BCHER-KVA.test", "x@xn--bcher-kva.test"},
	    {"PostMaster", "postmaster"},
	    {"x@[127.0.0.1]", "x@[127.0.0.1]"},
	    {"@example.test", NULL},
	    {"alice", NULL},
	    {"", NULL},
	    {"@", NULL},
	    {"a@", NULL},
	    {"a@b_c.test", NULL},
	    {"a@-b.test", NULL},
	    {"a\r\n@b.test", NULL},
	    {"a@b.test.", NULL},
	};
	char text[NAME_TEXT_MAX + 1];
	struct name nm, again;

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		int rc = name_parse(&nm, span_of(t[i].in), NULL);

		ck_assert_msg((rc == 0) == (t[i].out != NULL), "%s: %d", t[i].in, rc);
		if (rc < 0)
			continue;
		name_format(&nm, text);
		ck_assert_str_eq(text, t[i].out);
		ck_assert_int_eq(name_parse(&again, span_of(text), NULL), 0);
		ck_assert(span_eq(name_local(&nm), name_local(&again)));
	}
	ck_assert_int_eq(name_parse_alias(&nm, SPAN("@Example.test"), NULL), 0);
	name_format(&nm, text);
	ck_assert_str_eq(text, "@example.test");
	/* 64 bytes of local part that all need a backslash. */
	memset(nm.local, '"', 64);
	nm.local_n = 64;
	ck_assert_uint_eq(name_format(&nm, text), 64 * 2 + 2 + 1 + strlen("example.test"));
}
END_TEST

START_TEST(accounts)
{
	fill();
	ck_assert_str_eq(look("alice@example.test"), "local: 1");
	ck_assert_str_eq(look("ALICE@Example.Test"), "local: 1");
	ck_assert_str_eq(look("alice+shop@example.test"), "local: 1+shop");
	ck_assert_str_eq(look("alice+a+b@example.test"), "local: 1+a+b");
	ck_assert_str_eq(look("+alice@example.test"), "unknown:");
	ck_assert_str_eq(look("nobody@example.test"), "unknown:");
	ck_assert_str_eq(look("alice@elsewhere.test"), "remote:");
	ck_assert_str_eq(look("alice@[127.0.0.1]"), "remote:");
	ck_assert_str_eq(look("alice%other.test@example.test"), "unknown:");
	ck_assert_str_eq(look("not an address"), "unknown:");
	rv.separators = "";
	ck_assert_str_eq(look("alice+shop@example.test"), "unknown:");
	rv.separators = "-=";
	ck_assert_str_eq(look("alice=x@example.test"), "local: 1+x");
	/* An account that is being deleted receives nothing, and its address is free. */
	put_account(1, "alice@example.test", 0, 99);
	ck_assert_str_eq(look("alice@example.test"), "unknown:");
	put_account(4, "alice@example.test", 0, 0);
	ck_assert_str_eq(look("alice@example.test"), "local: 4");
	ck_assert_uint_eq(index_domain(&ix, SPAN("example.test"))->account_count, 2);
}
END_TEST

START_TEST(special)
{
	fill();
	ck_assert_str_eq(look("postmaster@example.test"), "local: 1");
	ck_assert_str_eq(look("Abuse@example.test"), "local: 1");
	ck_assert_str_eq(look("postmaster@other.test"), "local: 3");
	ck_assert_str_eq(look("Postmaster"), "local: 1");
	ck_assert_str_eq(look("postmaster@mx.example.test"), "local: 1");
	ck_assert_str_eq(look("alice@mx.example.test"), "remote:");
	ck_assert_str_eq(look("webmaster@example.test"), "unknown:");
	put_alias("postmaster@example.test", "bob@example.test");
	ck_assert_str_eq(look("postmaster+x@example.test"), "local: 2+x");
}
END_TEST

/* Whoever takes over an administrator's login must find no mail there. */
START_TEST(administrators_get_no_mail)
{
	add_domain("example.test");
	put_account(1, "root@example.test", USER_ADMIN, 0);
	ck_assert_str_eq(look("root@example.test"), "unknown:");
	ck_assert_str_eq(look("postmaster@example.test"), "temp:");
	put_account(2, "alice@example.test", 0, 0);
	ck_assert_str_eq(look("postmaster@example.test"), "local: 2");
	put_alias("@example.test", "alice@example.test");
	ck_assert_str_eq(look("root@example.test"), "local: 2");
	ck_assert(index_has_admin(&ix));
	put_account(1, "root@example.test", USER_ADMIN | USER_DISABLED, 0);
	ck_assert(!index_has_admin(&ix));
}
END_TEST

START_TEST(nobody_yet)
{
	add_domain("example.test");
	ck_assert_str_eq(look("postmaster@example.test"), "temp:");
	ck_assert_str_eq(look("postmaster"), "temp:");
	ck_assert_str_eq(look("alice@example.test"), "unknown:");
}
END_TEST

START_TEST(aliases)
{
	fill();
	put_alias("all@example.test", "alice@example.test bob@example.test carol+list@other.test");
	put_alias("team@example.test", "all@example.test alice@example.test");
	put_alias("@other.test", "carol@other.test");
	ck_assert_str_eq(look("all@example.test"), "local: 1 2 3+list");
	ck_assert_str_eq(look("all+x@example.test"), "local: 1+x 2+x 3+list");
	ck_assert_str_eq(look("team@example.test"), "local: 1 2 3+list");
	ck_assert_str_eq(look("anything@other.test"), "local: 3");
	ck_assert_str_eq(look("any+detail@other.test"), "local: 3");
	/* Somebody looks after a domain even where all else goes to a catch-all. */
	ck_assert_str_eq(look("abuse@other.test"), "local: 3");
	put_alias("team@example.test", NULL);
	ck_assert_str_eq(look("team@example.test"), "unknown:");
	ck_assert_uint_eq(index_domain(&ix, SPAN("example.test"))->alias_count, 1);
}
END_TEST

START_TEST(senders)
{
	const struct account *alice, *bob;

	fill();
	put_alias("sales@example.test", "alice@example.test");
	alice = index_number(&ix, 1);
	bob = index_number(&ix, 2);
	ck_assert(resolve_may_send(&rv, alice, SPAN("alice@example.test")));
	ck_assert(resolve_may_send(&rv, alice, SPAN("Alice+x@EXAMPLE.test")));
	ck_assert(resolve_may_send(&rv, alice, SPAN("sales@example.test")));
	ck_assert(resolve_may_send(&rv, alice, SPAN("")));
	ck_assert(!resolve_may_send(&rv, bob, SPAN("sales@example.test")));
	ck_assert(!resolve_may_send(&rv, bob, SPAN("alice@example.test")));
	ck_assert(!resolve_may_send(&rv, alice, SPAN("nobody@example.test")));
	ck_assert(!resolve_may_send(&rv, alice, SPAN("alice@elsewhere.test")));
	ck_assert(!resolve_may_send(&rv, bob, SPAN("postmaster@example.test")));
	ck_assert(resolve_may_send(&rv, alice, SPAN("postmaster@example.test")));
}
END_TEST

START_TEST(elsewhere)
{
	fill();
	put_alias("away@example.test", "x@elsewhere.test");
	put_alias("both@example.test", "alice@example.test x@elsewhere.test away@example.test");
	ck_assert_str_eq(look("away@example.test"), "local: x@elsewhere.test");
	ck_assert_str_eq(look("both@example.test"), "local: 1 x@elsewhere.test");
	ck_assert_str_eq(look("x@elsewhere.test"), "remote:");
	/* Nobody here may send as an address that only leads elsewhere. */
	ck_assert(!resolve_may_send(&rv, index_number(&ix, 1), SPAN("away@example.test")));
	ck_assert(resolve_may_send(&rv, index_number(&ix, 1), SPAN("both@example.test")));
	ck_assert(!resolve_may_send(&rv, index_number(&ix, 1), SPAN("x@elsewhere.test")));
}
END_TEST

START_TEST(aliases_that_end)
{
	const struct span target = SPAN("alice@example.test");
	struct strbuf b;
	struct db_key key;

	fill();
	strbuf_init(&b, 1000);
	row_enc_alias_until(&b, &target, 1, 100);
	row_key_text(&key, ROW_ALIAS, SPAN("short@example.test"));
	apply(&key, &b);
	rv.now = 99;
	ck_assert_str_eq(look("short@example.test"), "local: 1");
	ck_assert_str_eq(look("short+x@example.test"), "local: 1+x");
	rv.now = 100;
	ck_assert_str_eq(look("short@example.test"), "unknown:");
	ck_assert(!resolve_may_send(&rv, index_number(&ix, 1), SPAN("short@example.test")));
}
END_TEST

START_TEST(other_names_of_domains)
{
	struct err err = ERR_INIT;
	struct strbuf b;
	struct db_key key;

	fill();
	strbuf_init(&b, 1000);
	row_enc_text(&b, SPAN("example.test"));
	row_key_text(&key, ROW_DOMAIN_ALIAS, SPAN("example.org"));
	apply(&key, &b);
	put_alias("@example.test", "bob@example.test");
	ck_assert_str_eq(look("alice@example.org"), "local: 1");
	ck_assert_str_eq(look("alice+x@EXAMPLE.org"), "local: 1+x");
	ck_assert_str_eq(look("whoever@example.org"), "local: 2");
	ck_assert_str_eq(look("postmaster@example.org"), "local: 1");
	ck_assert_str_eq(look("alice@sub.example.org"), "remote:");
	ck_assert(resolve_may_send(&rv, index_number(&ix, 1), SPAN("alice@example.org")));
	/* It can neither lose its domain nor lead nowhere. */
	strbuf_init(&b, 1000);
	row_enc_text(&b, SPAN("nowhere.test"));
	ck_assert_int_eq(index_apply(&ix, db_key_span(&key), strbuf_span(&b), &err), -1);
	strbuf_clear(&b);
	ck_assert_int_eq(index_apply(&ix, db_key_span(&key), span_of(NULL), &err), 0);
	ck_assert_str_eq(look("alice@example.org"), "remote:");
}
END_TEST

START_TEST(loops)
{
	struct err err = ERR_INIT;

	fill();
	put_alias("a@example.test", "b@example.test");
	put_alias("b@example.test", "alice@example.test c@example.test");
	put_alias("c@example.test", "bob@example.test");
	ck_assert_int_eq(resolve_check(&rv, NULL, &err), 0);
	put_alias("c@example.test", "a+x@example.test");
	ck_assert_int_eq(resolve_check(&rv, NULL, &err), -1);
	ck_assert_int_eq(err.code, ERR_INVALID);
	ck_assert_str_eq(err.text, "aliases would loop: a@example.test > b@example.test > "
				   "c@example.test > a@example.test");
	ck_assert_int_eq(resolve_check(&rv, index_alias(&ix, SPAN("c@example.test")), &err), -1);
	/* Even so, resolving ends. */
	ck_assert_str_eq(look("a@example.test"), "local: 1");
	put_alias("c@example.test", "c@example.test");
	ck_assert_int_eq(resolve_check(&rv, index_alias(&ix, SPAN("c@example.test")), &err), -1);
	ck_assert_str_eq(err.text, "aliases would loop: c@example.test > c@example.test");
	/* Through a catch-all. */
	put_alias("c@example.test", "bob@example.test");
	ck_assert_int_eq(resolve_check(&rv, NULL, NULL), 0);
	put_alias("@other.test", "x@other.test");
	ck_assert_int_eq(resolve_check(&rv, index_alias(&ix, SPAN("@other.test")), &err), -1);
	ck_assert_str_eq(err.text, "aliases would loop: @other.test > @other.test");
}
END_TEST

static void chain(int length)
{
	char from[64], to[64];

	for (int i = 1; i <= length; i++) {
		snprintf(from, sizeof(from), "n%d@example.test", i);
		snprintf(to, sizeof(to), "n%d@example.test", i - 1);
		put_alias(from, i == 1 ? "alice@example.test" : to);
	}
}

START_TEST(depth)
{
	struct err err = ERR_INIT;

	fill();
	chain(10);
	ck_assert_int_eq(resolve_check(&rv, NULL, &err), 0);
	ck_assert_str_eq(look("n10@example.test"), "local: 1");
	chain(11);
	ck_assert_int_eq(resolve_check(&rv, NULL, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "more than 10 aliases"));
	ck_assert_str_eq(look("n11@example.test"), "temp:");
	chain(40);
	ck_assert_int_eq(resolve_check(&rv, index_alias(&ix, SPAN("n40@example.test")), &err), -1);
}
END_TEST

/* Ten levels of aliases that each name all aliases of the next: work is by edge, not by path. */
START_TEST(diamonds)
{
	char from[64], targets[1024], one[64];

	fill();
	for (int level = 0; level < 10; level++) {
		targets[0] = '\0';
		for (int i = 0; i < 12; i++) {
			snprintf(
			    one, sizeof(one), "%sd%d-%d@example.test", i ? " " : "", level - 1, i);
			memcpy(targets + strlen(targets), one, strlen(one) + 1);
		}
		for (int i = 0; i < 12; i++) {
			snprintf(from, sizeof(from), "d%d-%d@example.test", level, i);
			put_alias(from, level ? targets : "alice@example.test bob@example.test");
		}
	}
	ck_assert_int_eq(resolve_check(&rv, NULL, NULL), 0);
	ck_assert_str_eq(look("d9-0@example.test"), "local: 1 2");
}
END_TEST

START_TEST(wide)
{
	char address[64], targets[200 * 24];
	struct err err = ERR_INIT;
	size_t n;

	fill();
	for (int group = 0; group < 6; group++) {
		n = 0;
		for (int i = 0; i < 200; i++) {
			uint64_t number = 100 + (uint64_t)(group * 200 + i);

			snprintf(address, sizeof(address), "u%d@example.test", (int)number);
			put_account(number, address, 0, 0);
			n += (size_t)snprintf(
			    targets + n, sizeof(targets) - n, "%s%s", i ? " " : "", address);
		}
		snprintf(address, sizeof(address), "g%d@example.test", group);
		put_alias(address, targets);
	}
	put_alias("five@example.test", "g0@example.test g1@example.test g2@example.test "
				       "g3@example.test g4@example.test");
	ck_assert_int_eq(resolve_check(&rv, NULL, &err), 0);
	put_alias("six@example.test", "five@example.test g5@example.test");
	ck_assert_int_eq(resolve_check(&rv, index_alias(&ix, SPAN("six@example.test")), &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "more than 1000"));
}
END_TEST

START_TEST(corrupt_rows)
{
	struct err err = ERR_INIT;
	struct db_key key;
	struct strbuf b;

	strbuf_init(&b, 1000);
	row_key_number(&key, ROW_USER, 9);
	ck_assert_int_eq(index_apply(&ix, db_key_span(&key), SPAN("\x01rubbish"), &err), -1);
	ck_assert_int_eq(err.code, ERR_CORRUPT);
	row_enc_user(&b, &(struct user_row){.address = SPAN("a@nowhere.test")});
	ck_assert_int_eq(index_apply(&ix, db_key_span(&key), strbuf_span(&b), &err), -1);
	ck_assert_int_eq(index_apply(&ix, SPAN("\x7f"), SPAN("x"), &err), -1);
	ck_assert_int_eq(index_apply(&ix, SPAN("\x03\x00"), SPAN("x"), &err), -1);
	strbuf_clear(&b);
	fill();
	strbuf_reset(&b);
	row_enc_user(&b, &(struct user_row){.address = SPAN("alice@example.test")});
	ck_assert_int_eq(index_apply(&ix, db_key_span(&key), strbuf_span(&b), &err), -1);
	strbuf_clear(&b);
	ck_assert_uint_eq(hash_count(ix.accounts), 3);
}
END_TEST

START_TEST(known_networks)
{
	struct account *a;
	struct strbuf b;
	struct db_key key;

	fill();
	a = index_number(&ix, 1);
	strbuf_init(&b, 100);
	row_enc_u64(&b, 1000);
	row_key_known(&key, 1, SPAN("net"));
	apply(&key, &b);
	ck_assert(account_is_known(a, SPAN("net"), 1000 + KNOWN_SECONDS - 1));
	ck_assert(!account_is_known(a, SPAN("net"), 1000 + KNOWN_SECONDS));
	ck_assert(!account_is_known(a, SPAN("ne"), 1000));
	ck_assert_int_eq(index_apply(&ix, db_key_span(&key), span_of(NULL), NULL), 0);
	ck_assert(!account_is_known(a, SPAN("net"), 1000));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("authd resolve");
	TCase *c = tcase_create("all");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, names);
	tcase_add_test(c, accounts);
	tcase_add_test(c, special);
	tcase_add_test(c, administrators_get_no_mail);
	tcase_add_test(c, nobody_yet);
	tcase_add_test(c, aliases);
	tcase_add_test(c, senders);
	tcase_add_test(c, elsewhere);
	tcase_add_test(c, aliases_that_end);
	tcase_add_test(c, other_names_of_domains);
	tcase_add_test(c, loops);
	tcase_add_test(c, depth);
	tcase_add_test(c, diamonds);
	tcase_add_test(c, wide);
	tcase_add_test(c, corrupt_rows);
	tcase_add_test(c, known_networks);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
