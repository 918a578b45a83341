/* A day of mail that comes and goes, compressed: file and rows stay within twice what lives. */
#include "common/crypto/crypto.h"
#include "common/event/clock.h"
#include "common/store/store.h"
#include "tests/support/store_fixture.h"

#include <sys/stat.h>

#define ACCOUNT 1
#define LIVE 500
#define EACH 20 /* come, and the oldest go, in one step */
#define HOURS 24
#define STEPS_AN_HOUR 6

static struct db_env *env;

static void come(uint64_t inbox, unsigned count)
{
	struct db_txn *txn = begin(env);
	char text[1500];

	for (unsigned i = 0; i < count; i++) {
		char noise[361];

		for (size_t at = 0; at < 360; at += 60)
			random_hex(noise + at, 30);
		snprintf(
		    text, sizeof(text), "Subject: %s\r\n\r\n%s%s\r\n", noise, noise + 100, noise);
		append_text(txn, ACCOUNT, inbox, text, 0, NULL, 0);
	}
	commit(txn);
}

static void go(uint64_t inbox, uint32_t first)
{
	struct uidset uids = uids_of(first, first + EACH - 1), gone;
	struct db_txn *txn = begin(env);
	uint64_t modseq;

	uidset_init(&gone);
	ck_ok(store_expunge(txn, ACCOUNT, inbox, &uids, false, &gone, &modseq, &err));
	uidset_clear(&gone);
	uidset_clear(&uids);
	commit(txn);
}

/* As the background does it: in slices, each a transaction. */
static void collect(void)
{
	struct store_gc gc = {.now = clock_now() + 2, .budget = 100};

	while (!gc.is_done) {
		struct db_txn *txn = begin(env);

		ck_ok(store_gc(txn, &gc, &err));
		commit(txn);
	}
}

static struct db_stat look(void)
{
	struct db_stat st;

	ck_ok(db_env_stat(env, &st, &err));
	return st;
}

START_TEST(a_day)
{
	struct db_stat first, last;
	struct db_txn *txn;
	struct stat copy;
	uint64_t inbox;
	uint32_t oldest = 1;

	env = store_fixture_open();
	txn = begin(env);
	ck_ok(store_account_ensure(txn, ACCOUNT, &err));
	inbox = mailbox_id(txn, ACCOUNT, "INBOX");
	commit(txn);
	come(inbox, LIVE);
	first = look();
	for (unsigned hour = 0; hour < HOURS; hour++) {
		for (unsigned step = 0; step < STEPS_AN_HOUR; step++, oldest += EACH) {
			come(inbox, EACH);
			go(inbox, oldest);
		}
		collect();
	}
	last = look();
	ck_ok(db_env_copy(env, fixture_path("copy"), &err));
	ck_assert_int_eq(stat(fixture_path("copy/data.mdb"), &copy), 0);
	printf("%d hours, %u messages: file %llu KB, alive %llu KB; rows %llu, at first %llu\n",
	    HOURS, oldest - 1, (unsigned long long)last.file_bytes >> 10,
	    (unsigned long long)copy.st_size >> 10, (unsigned long long)last.entries,
	    (unsigned long long)first.entries);
	ck_assert_uint_le(last.file_bytes, 2 * (uint64_t)copy.st_size);
	ck_assert_uint_le(last.entries, 2 * first.entries);
	db_env_close(env);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-churn");
	TCase *tc = tcase_create("churn");

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, fixture_setup, fixture_teardown);
	tcase_add_test(tc, a_day);
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
