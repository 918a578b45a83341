/* What stands between a guesser and a password: throttle, cache, hashes; and the rows' decoders. */
#include "common/authd/cache.h"
#include "common/authd/hashq.h"
#include "common/authd/password.h"
#include "common/authd/rows.h"
#include "common/authd/throttle.h"
#include "common/base/mem.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- throttle ----------------------------------------------------------------------------------
 */
static const struct throttle_limits limits = {10, 20};

static struct throttle_who who(const char *network, const char *account)
{
	return (struct throttle_who){span_of(network), span_of(account), false};
}

static void fail_once(struct throttle *t, const struct throttle_who *w, uint64_t now)
{
	throttle_begin(t, w, now);
	throttle_end(t, w, true, now);
}

START_TEST(throttle_by_network)
{
	struct throttle *t = throttle_new(1000);
	char name[20];

	for (unsigned i = 0; i < 10; i++) {
		struct throttle_who w;

		snprintf(name, sizeof(name), "user%u", i);
		w = who("net", name);
		ck_assert_int_eq(throttle_ask(t, &w, &limits, 1000), THROTTLE_GO);
		fail_once(t, &w, 1000);
	}
	struct throttle_who other = who("net", "someone");
	struct throttle_who else_where = who("net2", "user1");

	ck_assert_int_eq(throttle_ask(t, &other, &limits, 1000), THROTTLE_STOP);
	ck_assert_int_eq(throttle_ask(t, &else_where, &limits, 1000), THROTTLE_GO);
	ck_assert_int_eq(throttle_ask(t, &other, &limits, 1000 + 3599), THROTTLE_STOP);
	ck_assert_int_eq(throttle_ask(t, &other, &limits, 1000 + 4200), THROTTLE_GO);
	throttle_free(t);
}
END_TEST

static void count_row(void *arg, const struct throttle_row *row)
{
	uint64_t *sum = arg;

	ck_assert(span_eq(row->name, row->is_network ? SPAN("net") : SPAN("alice")));
	*sum += row->failures;
}

START_TEST(throttle_seen_forgotten_and_blocked)
{
	struct throttle *t = throttle_new(1000);
	struct throttle_who w = who("net", "alice");
	uint64_t sum = 0;

	for (unsigned i = 0; i < 10; i++)
		fail_once(t, &w, 1000);
	throttle_each(t, 1000, count_row, &sum);
	ck_assert_uint_eq(sum, 20);
	ck_assert_int_eq(throttle_ask(t, &w, &limits, 1000), THROTTLE_STOP);
	ck_assert(throttle_forget(t, true, SPAN("net")));
	ck_assert(throttle_forget(t, false, SPAN("alice")));
	ck_assert(!throttle_forget(t, true, SPAN("net")));
	ck_assert_int_eq(throttle_ask(t, &w, &limits, 1000), THROTTLE_GO);
	throttle_block(t, SPAN("net"), UINT64_MAX, 1000);
	throttle_block(t, SPAN("net"), UINT64_MAX, 1000);
	ck_assert_int_eq(throttle_ask(t, &w, &limits, 1000 + 3599), THROTTLE_STOP);
	ck_assert_int_eq(throttle_ask(t, &w, &limits, 1000 + 4200), THROTTLE_GO);
	/* One that is being verified meanwhile is still counted down. */
	throttle_begin(t, &w, 6000);
	ck_assert(throttle_forget(t, true, SPAN("net")));
	throttle_end(t, &w, false, 6000);
	ck_assert_uint_eq(throttle_count(t), 0);
	throttle_free(t);
}
END_TEST

START_TEST(throttle_by_account)
{
	struct throttle *t = throttle_new(1000);
	char name[20];
	struct throttle_who w, victim = who("home", "alice");

	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "net%u", i);
		w = who(name, "alice");
		ck_assert_int_eq(throttle_ask(t, &w, &limits, 50), THROTTLE_GO);
		fail_once(t, &w, 50);
	}
	w = who("fresh", "alice");
	ck_assert_int_eq(throttle_ask(t, &w, &limits, 50), THROTTLE_STOP);
	ck_assert_int_eq(throttle_ask(t, &victim, &limits, 50), THROTTLE_STOP);
	/* An address alice is known at is not locked out by others ... */
	victim.is_known = true;
	ck_assert_int_eq(throttle_ask(t, &victim, &limits, 50), THROTTLE_GO);
	/* ... but by its own guesses. */
	for (unsigned i = 0; i < 10; i++)
		fail_once(t, &victim, 50);
	ck_assert_int_eq(throttle_ask(t, &victim, &limits, 50), THROTTLE_STOP);
	throttle_free(t);
}
END_TEST

/* In no hour are there more failures than the limit, whenever they come. */
START_TEST(throttle_any_hour)
{
	struct throttle *t = throttle_new(1000);
	struct throttle_who w = who("net", "alice");
	uint64_t at[4000];
	size_t n = 0;

	for (uint64_t now = 0; now < 100000; now += 37) {
		if (throttle_ask(t, &w, &limits, now) != THROTTLE_GO)
			continue;
		fail_once(t, &w, now);
		at[n++] = now;
	}
	ck_assert_uint_gt(n, 200);
	for (size_t i = 10; i < n; i++)
		ck_assert_uint_ge(at[i] - at[i - 10], 3600);
	throttle_free(t);
}
END_TEST

START_TEST(throttle_counts_what_runs)
{
	struct throttle *t = throttle_new(1000);
	struct throttle_who w = who("net", "alice");

	for (unsigned i = 0; i < 10; i++) {
		ck_assert_int_eq(throttle_ask(t, &w, &limits, 5), THROTTLE_GO);
		throttle_begin(t, &w, 5);
	}
	ck_assert_int_eq(throttle_ask(t, &w, &limits, 5), THROTTLE_WAIT);
	throttle_end(t, &w, false, 5);
	ck_assert_int_eq(throttle_ask(t, &w, &limits, 5), THROTTLE_GO);
	throttle_begin(t, &w, 5);
	for (unsigned i = 0; i < 10; i++) {
		ck_assert_int_eq(throttle_ask(t, &w, &limits, 5), THROTTLE_WAIT);
		throttle_end(t, &w, true, 5);
	}
	ck_assert_int_eq(throttle_ask(t, &w, &limits, 5), THROTTLE_STOP);
	throttle_free(t);
}
END_TEST

START_TEST(throttle_is_bounded)
{
	struct throttle *t = throttle_new(100);
	struct throttle_who busy = who("busy", "busy");
	char name[20];

	throttle_begin(t, &busy, 5);
	for (unsigned i = 0; i < 10000; i++) {
		struct throttle_who w;

		snprintf(name, sizeof(name), "n%u", i);
		w = who(name, name);
		fail_once(t, &w, 5);
	}
	ck_assert_uint_le(throttle_count(t), 100);
	throttle_end(t, &busy, true, 5);
	/* Good logins leave nothing. */
	throttle_free(t);
	t = throttle_new(100);
	throttle_begin(t, &busy, 5);
	throttle_end(t, &busy, false, 5);
	ck_assert_uint_eq(throttle_count(t), 0);
	throttle_free(t);
}
END_TEST

/* --- cache -------------------------------------------------------------------------------------
 */
START_TEST(cache_of_good_logins)
{
	struct good_logins *g = good_logins_new();

	ck_assert(!good_logins_match(g, 1, SPAN("secret"), 0));
	good_logins_put(g, 1, SPAN("secret"), 0, 1000);
	ck_assert(good_logins_match(g, 1, SPAN("secret"), 999));
	ck_assert(!good_logins_match(g, 1, SPAN("secre"), 999));
	ck_assert(!good_logins_match(g, 1, SPAN(""), 999));
	ck_assert(!good_logins_match(g, 2, SPAN("secret"), 999));
	good_logins_put(g, 1, SPAN("newer"), 500, 1000);
	ck_assert(!good_logins_match(g, 1, SPAN("secret"), 600));
	ck_assert(good_logins_match(g, 1, SPAN("newer"), 1499));
	ck_assert(!good_logins_match(g, 1, SPAN("newer"), 1500));
	ck_assert_uint_eq(good_logins_count(g), 0);
	good_logins_put(g, 1, SPAN("secret"), 0, 1000);
	good_logins_drop(g, 1);
	ck_assert(!good_logins_match(g, 1, SPAN("secret"), 1));
	good_logins_put(g, 1, SPAN("secret"), 0, 0);
	ck_assert(!good_logins_match(g, 1, SPAN("secret"), 0));
	good_logins_put(g, 1, SPAN("secret"), 0, 10);
	good_logins_free(g);
}
END_TEST

/* --- hashes ------------------------------------------------------------------------------------
 */
static const struct hash_params cheap = {64, 2, 1};

START_TEST(hash_and_verify)
{
	char phc[PHC_MAX + 1], other[PHC_MAX + 1];
	struct strbuf b;
	struct phc p;

	ck_assert_int_eq(password_make(&cheap, SPAN("correct horse"), phc, NULL), 0);
	ck_assert_int_eq(password_make(&cheap, SPAN("correct horse"), other, NULL), 0);
	ck_assert_str_ne(phc, other);
	ck_assert_int_eq(password_verify(span_of(phc), SPAN("correct horse"), NULL), 1);
	ck_assert_int_eq(password_verify(span_of(phc), SPAN("correct hors"), NULL), 0);
	ck_assert_int_eq(password_verify(span_of(phc), SPAN(""), NULL), 0);
	ck_assert_int_eq(phc_parse(&p, span_of(phc), NULL), 0);
	ck_assert(phc_has_params(&p, &cheap));
	ck_assert(!phc_has_params(&p, &(struct hash_params){128, 2, 1}));
	strbuf_init(&b, PHC_MAX);
	ck_assert(phc_format(&p, &b));
	ck_assert_str_eq(b.p, phc);
	strbuf_clear(&b);
	password_dummy(&cheap, phc);
	ck_assert_int_eq(phc_parse(&p, span_of(phc), NULL), 0);
	ck_assert(phc_has_params(&p, &cheap));
	ck_assert_int_eq(password_verify(span_of(phc), SPAN(""), NULL), 0);
}
END_TEST

/* A string made by the argon2 reference tool: what others wrote can be read. */
START_TEST(known_hash)
{
	struct span phc = SPAN("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ"
			       "$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4");

	ck_assert_int_eq(password_verify(phc, SPAN("password"), NULL), 1);
	ck_assert_int_eq(password_verify(phc, SPAN("Password"), NULL), 0);
}
END_TEST

START_TEST(hash_strings)
{
	static const char *const bad[] = {
	    "",
	    "$",
	    "$argon2id$",
	    "$argon2i$v=19$m=64,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
	    "$argon2id$v=16$m=64,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
	    "$argon2id$v=19$m=0,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
	    "$argon2id$v=19$m=4294967296,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1b",
	    "$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
	    "$argon2id$v=19$m=64,t=17,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
	    "$argon2id$v=19$m=064,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
	    "$argon2id$v=19$t=2,m=64,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
	    "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ=$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
	    "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$",
	    "$argon2id$v=19$m=64,t=2,p=1$$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
	    "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4$",
	    "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/!",
	};
	struct err err = ERR_INIT;
	char phc[PHC_MAX + 1];
	struct phc p;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert_msg(phc_parse(&p, span_of(bad[i]), &err) < 0, "%s", bad[i]);
		ck_assert_int_eq(err.code, ERR_CORRUPT);
	}
	password_dummy(&cheap, phc);
	/* Cut anywhere: refused, or (within the hash) another hash, never read beyond. */
	for (size_t n = 0; n < strlen(phc); n++) {
		char *exact = mem_dup(n > 0 ? phc : "x", n > 0 ? n : 1);
		int rc = phc_parse(&p, span_make(exact, n), NULL);

		ck_assert(rc < 0 || p.hash_n < 32);
		mem_free(exact);
	}
}
END_TEST

START_TEST(new_passwords)
{
	char longest[PASSWORD_MAX + 1];

	memset(longest, 'x', sizeof(longest));
	ck_assert_int_eq(password_check_new(SPAN("12345678"), NULL), 0);
	ck_assert_int_eq(password_check_new(SPAN("p\xc3\xa4sswort!"), NULL), 0);
	ck_assert_int_eq(password_check_new(span_make(longest, PASSWORD_MAX), NULL), 0);
	ck_assert_int_lt(password_check_new(span_make(longest, PASSWORD_MAX + 1), NULL), 0);
	ck_assert_int_lt(password_check_new(SPAN(""), NULL), 0);
	ck_assert_int_lt(password_check_new(SPAN("1234567"), NULL), 0);
	ck_assert_int_lt(password_check_new(SPAN("1234\0"
						 "5678"),
			     NULL),
	    0);
	ck_assert_int_lt(password_check_new(SPAN("12345678\n"), NULL), 0);
	ck_assert_int_lt(password_check_new(SPAN("12345678\xff"), NULL), 0);
}
END_TEST

/* --- a few hashes at a time, a queue, and then no more ------------------------------------------
 */
#define JOBS 80
static struct counted {
	struct hash_job job;
	bool has_started, is_done;
} counted[JOBS];
static unsigned running, most, finished;
static struct loop *hash_loop;

static enum hash_start count_start(struct hash_job *job)
{
	struct counted *c = container_of(job, struct counted, job);

	ck_assert(!c->has_started);
	c->has_started = true;
	running++;
	if (running > most)
		most = running;
	return HASH_GO;
}

static void count_done(struct hash_job *job)
{
	struct counted *c = container_of(job, struct counted, job);

	ck_assert(c->has_started && !c->is_done && job->result == 1);
	c->is_done = true;
	running--;
	if (++finished == 2 + 64)
		loop_stop(hash_loop);
}

/* Two run, 64 wait, the next is refused; what waited runs in its order, never more than two. */
START_TEST(hashes_at_once)
{
	const struct hash_params params = {64, 2, 1};
	char phc[PHC_MAX + 1];
	struct hashq *q;

	ck_assert_int_eq(password_make(&params, SPAN("right"), phc, NULL), 0);
	hash_loop = loop_new();
	q = hashq_new(hash_loop, 2);
	for (size_t i = 0; i < JOBS; i++) {
		struct hash_job *job = &counted[i].job;
		/* Results come over the loop, which does not run yet: nothing ends meanwhile. */
		bool is_taken;

		job->is_verify = true;
		memcpy(job->phc, phc, sizeof(phc));
		job->may_start = count_start;
		job->done = count_done;
		is_taken = hashq_submit(q, job, SPAN("right"), 64, false);
		ck_assert_int_eq(is_taken, i < 2 + 64);
		ck_assert_uint_eq(hashq_waiting(q), i < 2 ? 0 : i < 66 ? i - 1 : 64);
	}
	ck_assert_uint_eq(running, 2);
	loop_run(hash_loop);
	ck_assert_uint_eq(finished, 66);
	ck_assert_uint_eq(most, 2);
	ck_assert_uint_eq(hashq_started(q), 66);
	for (size_t i = 0; i < JOBS; i++)
		ck_assert_int_eq(counted[i].is_done, i < 66);
	hashq_free(q);
	loop_free(hash_loop);
}
END_TEST

/* --- rows: every decoder is total ---------------------------------------------------------------
 */
static struct alias_row alias_out;

static bool dec_alias(struct span s)
{
	return row_dec_alias(s, &alias_out);
}

static bool dec_user(struct span s)
{
	struct user_row r;

	return row_dec_user(s, &r);
}

static bool dec_app(struct span s)
{
	struct app_row r;

	return row_dec_app(s, &r);
}

static bool dec_session(struct span s)
{
	struct session_row r;

	return row_dec_session(s, &r);
}

static bool dec_audit(struct span s)
{
	struct audit_row r;

	return row_dec_audit(s, &r);
}

static bool dec_domain(struct span s)
{
	struct domain_row r;

	return row_dec_domain(s, &r);
}

static bool dec_u64_row(struct span s)
{
	uint64_t v;

	return row_dec_u64(s, &v);
}

static void enc_one(struct strbuf *b, int kind)
{
	struct span targets[] = {SPAN("a@b.test"), SPAN("c@d.test")};

	strbuf_init(b, 10000);
	switch (kind) {
	case 0:
		row_enc_alias(b, targets, 2);
		break;
	case 1:
		row_enc_user(
		    b, &(struct user_row){SPAN("a@b.test"), SPAN("hash"), 1, 2, 3, 4, 5, 6, 7});
		break;
	case 2:
		row_enc_app(b, &(struct app_row){SPAN("phone"), SPAN("0123456789abcdef"),
				   SPAN("0123456789abcdef0123456789abcdef"), 3, 9});
		break;
	case 3:
		row_enc_session(b, &(struct session_row){1, 2, 3});
		break;
	case 4:
		row_enc_audit(
		    b, &(struct audit_row){1, SPAN("w"), SPAN("c"), SPAN("x y"), SPAN("ok")});
		break;
	case 5:
		row_enc_domain(b, &(struct domain_row){1});
		break;
	default:
		row_enc_u64(b, 77);
		break;
	}
}

START_TEST(rows_cut_anywhere)
{
	static bool (*const dec[])(struct span) = {
	    dec_alias, dec_user, dec_app, dec_session, dec_audit, dec_domain, dec_u64_row};
	bool (*fn)(struct span) = dec[_i];
	struct strbuf b;

	enc_one(&b, _i);
	ck_assert(fn(strbuf_span(&b)));
	for (size_t n = 0; n < b.n; n++) {
		char *exact = mem_dup(b.p, n > 0 ? n : 1);

		ck_assert(!fn(span_make(exact, n)));
		mem_free(exact);
	}
	/* Another version, a byte too much, every byte inverted once: never a crash. */
	b.p[0] ^= 2;
	ck_assert(!fn(strbuf_span(&b)));
	b.p[0] ^= 2;
	for (size_t i = 0; i < b.n; i++) {
		b.p[i] = (char)~b.p[i];
		(void)fn(strbuf_span(&b));
		b.p[i] = (char)~b.p[i];
	}
	strbuf_add_chr(&b, 0);
	ck_assert(!fn(strbuf_span(&b)));
	strbuf_clear(&b);
}
END_TEST

START_TEST(rows_round_trip)
{
	struct user_row u;
	struct alias_row a;
	struct strbuf b;

	enc_one(&b, 1);
	ck_assert(row_dec_user(strbuf_span(&b), &u));
	ck_assert(span_eq(u.address, SPAN("a@b.test")) && span_eq(u.phc, SPAN("hash")));
	ck_assert(u.flags == 1 && u.protocols == 2 && u.quota_bytes == 3 && u.quota_messages == 4);
	ck_assert(u.created == 5 && u.changed == 6 && u.deleting == 7);
	strbuf_clear(&b);
	enc_one(&b, 0);
	ck_assert(row_dec_alias(strbuf_span(&b), &a));
	ck_assert_uint_eq(a.count, 2);
	ck_assert(span_eq(dec_bytes(&a.targets), SPAN("a@b.test")));
	ck_assert(span_eq(dec_bytes(&a.targets), SPAN("c@d.test")));
	strbuf_clear(&b);
	/* A count that promises more than there is allocates nothing and is refused. */
	ck_assert(!row_dec_alias(SPAN("\x01\xff\xff\xff\xff"), &a));
	ck_assert(!row_dec_alias(SPAN("\x01\x00\x00\x00\x00"), &a));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("authd login");
	TCase *c = tcase_create("all");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(c, throttle_by_network);
	tcase_add_test(c, throttle_seen_forgotten_and_blocked);
	tcase_add_test(c, throttle_by_account);
	tcase_add_test(c, throttle_any_hour);
	tcase_add_test(c, throttle_counts_what_runs);
	tcase_add_test(c, throttle_is_bounded);
	tcase_add_test(c, cache_of_good_logins);
	tcase_add_test(c, hash_and_verify);
	tcase_add_test(c, known_hash);
	tcase_add_test(c, hash_strings);
	tcase_add_test(c, hashes_at_once);
	tcase_add_test(c, new_passwords);
	tcase_add_loop_test(c, rows_cut_anywhere, 0, 7);
	tcase_add_test(c, rows_round_trip);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
