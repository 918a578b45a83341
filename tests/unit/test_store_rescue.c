/* A store whose database was damaged: what comes back is what was there, or says that it is not. */
#include "common/db/salvage.h"
#include "common/store/check.h"
#include "common/store/rescue.h"
#include "tests/support/store_fixture.h"
#include "tests/support/unit.h"

#include <fcntl.h>
#include <sys/stat.h>

#define ACCOUNTS 2
#define MESSAGES 260
#define SEEDS 60

static unsigned char *whole;
static size_t whole_n;
static struct blob_dir *blobs;
static size_t came_back, rescued, unreadable;

/* Every message says where it was. Sizes differ, some bodies have pages of their own. */
static size_t text_of(uint64_t account, const char *box, uint32_t uid, char out[9000])
{
	size_t n = (size_t)snprintf(
	    out, 200, "account %llu box %s uid %u\r\n", (unsigned long long)account, box, uid);
	size_t more = uid % 9 == 0 ? 3000 + uid * 7 : uid * 3 % 700;
	uint32_t x = uid * 2654435761u + (uint32_t)account;

	for (size_t i = 0; i < more; i++) {
		x = x * 1103515245 + 12345;
		out[n++] = (char)('a' + (x >> 16) % 26);
	}
	out[n] = '\0';
	return n;
}

/* Every thirteenth is a file of its own. */
static void append(struct db_txn *txn, uint64_t account, const char *box, uint32_t uid)
{
	static char text[9000];
	size_t n = text_of(account, box, uid, text);
	struct blob_writer *w = blob_writer_new(blobs, uid % 13 == 0 ? 16 : 1 << 20);
	struct store_append m = {.internaldate = 5, .flags = uid % 3 ? FLAG_SEEN : 0};
	struct store_appended res;
	struct blob blob;

	ck_ok(blob_write(w, span_make(text, n), &err));
	ck_ok(blob_finish(w, &blob, &err));
	m.blob = &blob;
	ck_ok(store_append(txn, account, mailbox_id(txn, account, box), &m, &res, &err));
	blob_keep(w);
	blob_writer_free(w);
	ck_assert_uint_eq(res.uid, uid);
}

static const char *const boxes[] = {"INBOX", "Sent", "Archive"};

static void setup(void)
{
	struct db_env *env;
	struct db_txn *txn;
	struct stat st;
	int fd;

	fixture_setup();
	env = store_fixture_open();
	ck_ok(blob_dir_open(fixture_path("blob"), &blobs, &err));
	for (uint32_t uid = 1; uid <= MESSAGES; uid++) {
		txn = begin(env);
		for (uint64_t account = 1; account <= ACCOUNTS; account++) {
			ck_ok(store_account_ensure(txn, account, &err));
			for (size_t i = 0; i < ARRAY_LEN(boxes); i++)
				append(txn, account, boxes[i], uid);
		}
		commit(txn);
	}
	db_env_close(env);
	fd = open(fixture_path("env/data.mdb"), O_RDONLY);
	ck_assert_int_eq(fstat(fd, &st), 0);
	whole_n = (size_t)st.st_size;
	whole = mem_alloc(whole_n);
	ck_assert_int_eq(read(fd, whole, whole_n), (ssize_t)whole_n);
	close(fd);
}

static void teardown(void)
{
	blob_dir_close(blobs);
	mem_free(whole);
	fixture_teardown();
}

/* A message that is presented as good is the one that was there. */
static void look_at(struct db_txn *txn, uint64_t account, const struct store_mailbox *mb,
    const struct store_message *m)
{
	static char want[9000];
	struct strbuf text;
	struct blob blob;
	char box[64];

	strbuf_init(&text, 1 << 20);
	err = (struct err)ERR_INIT;
	if (store_object_blob(txn, account, m->object, &blob, &err) < 0 ||
	    blob_read_all(blobs, &blob, &text, 1 << 20, &err) < 0) {
		unreadable++;
	} else if (strcmp(mb->name, STORE_RESCUED) == 0 ||
		   strncmp(mb->name, "Recovered ", 10) == 0) {
		/* Whole, and of this account; where it was it says itself. */
		struct span rest = strbuf_span(&text), word;
		uint64_t whose = 0, uid = 0;

		ck_assert(
		    span_take_iword(&rest, SPAN("account ")) && span_take_u64(&rest, 9, &whose));
		ck_assert(span_take_iword(&rest, SPAN(" box ")) && span_split(&rest, ' ', &word));
		snprintf(box, sizeof(box), "%.*s", SPAN_FMT(word));
		ck_assert(
		    span_take_iword(&rest, SPAN("uid ")) && span_take_u64(&rest, MESSAGES, &uid));
		ck_assert_uint_eq(whose, account);
		text_of(account, box, (uint32_t)uid, want);
		ck_assert_str_eq(text.p, want);
		rescued++;
	} else {
		text_of(account, mb->name, m->uid, want);
		ck_assert_str_eq(text.p, want);
		came_back++;
	}
	strbuf_clear(&text);
}

static void look(struct db_env *env)
{
	struct db_txn *txn;

	ck_ok(db_read_begin(env, &txn, &err));
	for (uint64_t account = 1; account <= ACCOUNTS; account++) {
		struct store_mailbox *list = NULL;
		size_t n = 0;

		ck_ok(store_mailbox_list(txn, account, &list, &n, &err));
		for (size_t i = 0; i < n; i++) {
			struct store_snapshot *s;

			ck_ok(store_snapshot_load(txn, account, list[i].id, &s, &err));
			for (size_t k = 0; k < s->count; k++)
				look_at(txn, account, &list[i], &s->messages[k]);
			store_snapshot_unref(s);
		}
		mem_free(list);
	}
	db_abort(txn);
}

static char said[4096];

static void on_damage(void *arg, const struct store_damage *d)
{
	size_t n = strlen(said);

	snprintf(said + n, sizeof(said) - n, "%llu/%s/%u: %s\n", (unsigned long long)d->account,
	    d->mailbox ? d->mailbox : "", d->uid, d->what);
}

/* As mailsteadctl recover does it. -1: it is no database any more. */
static int recover(const unsigned char *bytes, size_t n)
{
	struct db_options opt = {.dir = fixture_path("new"), .map_size = (size_t)256 << 20};
	struct db_recover r = {.is_taken = store_row_is_taken};
	struct store_rescue rescue = {.report = NULL};
	struct store_check c = {.repair = true};
	int fd = open(fixture_path("broken"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	int rc;

	came_back = rescued = unreadable = 0;
	ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
	(void)unlink(fixture_path("new/data.mdb"));
	(void)unlink(fixture_path("new/lock.mdb"));
	err = (struct err)ERR_INIT;
	ck_ok(db_env_open(&opt, &r.to, &err));
	rc = db_recover(fd, &r, &err);
	close(fd);
	if (rc == 0) {
		ck_ok(store_rescue_run(r.to, blobs, &rescue, &err));
		ck_ok(store_check_run(r.to, blobs, &c, &err));
		/* Now it is whole, but for bodies. */
		c = (struct store_check){.repair = false, .bodies = true, .report = on_damage};
		said[0] = '\0';
		ck_ok(store_check_run(r.to, blobs, &c, &err));
		look(r.to);
		ck_assert_msg((c.damaged > 0) == (unreadable > 0), "%zu: %s", unreadable, said);
	} else {
		ck_assert_int_eq(err.code, ERR_CORRUPT);
	}
	db_env_close(r.to);
	return rc;
}

#define ALL ((size_t)ACCOUNTS * MESSAGES * ARRAY_LEN(boxes))

START_TEST(without_damage)
{
	ck_assert_int_eq(recover(whole, whole_n), 0);
	ck_assert_uint_eq(came_back, ALL);
	ck_assert_uint_eq(rescued + unreadable, 0);
}
END_TEST

static uint32_t next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	return *x ^= *x << 5;
}

START_TEST(flipped_bits)
{
	size_t total = 0;

	for (uint32_t seed = 1; seed <= SEEDS; seed++) {
		unsigned char *bytes = mem_dup(whole, whole_n);
		uint32_t x = seed * 2654435761u;

		for (unsigned i = 0; i < 1 + seed * seed / 9; i++)
			bytes[next_random(&x) % whole_n] ^=
			    (unsigned char)(1u << next_random(&x) % 8);
		if (recover(bytes, whole_n) == 0)
			total += came_back + rescued;
		mem_free(bytes);
	}
	ck_assert_uint_ge(total, SEEDS * ALL * 8 / 10);
}
END_TEST

START_TEST(cut_off)
{
	for (uint32_t seed = 1; seed <= SEEDS / 2; seed++) {
		uint32_t x = seed * 2246822519u;

		(void)recover(whole, next_random(&x) % whole_n);
	}
}
END_TEST

/* Whatever page is gone: of a branch or a root nothing is missing, else what was on it. */
START_TEST(pages_that_are_gone)
{
	for (size_t page = 0; page < whole_n / 4096; page += page < 2 ? 1 : 7) {
		unsigned char *bytes = mem_dup(whole, whole_n);

		memset(bytes + page * 4096, 0, 4096);
		ck_assert_int_eq(recover(bytes, whole_n), 0);
		ck_assert_uint_ge(came_back + rescued, ALL - 40);
		mem_free(bytes);
	}
}
END_TEST

/* Rows of nobody, as damage may make them: before an account's, and behind all. */
START_TEST(keys_that_are_too_short)
{
	static const struct span keys[] = {
	    SPAN_INIT("\0\1"), SPAN_INIT("\0\0\0\0\0\0\0\2"), SPAN_INIT("\377\377\377")};
	struct db_env *env = store_fixture_open();
	struct store_rescue rescue = {0};
	struct store_check c = {.bodies = true, .report = on_damage};
	struct db_txn *txn = begin(env);
	struct span val;

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		ck_ok(db_put(txn, keys[i], SPAN("x"), &err));
	commit(txn);
	ck_ok(store_rescue_run(env, blobs, &rescue, &err));
	ck_ok(store_check_run(env, blobs, &c, &err));
	ck_assert_uint_eq(c.damaged, 0);
	ck_assert_uint_eq(c.messages, ALL);
	ck_ok(db_read_begin(env, &txn, &err));
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		ck_assert_int_eq(db_get(txn, keys[i], &val, &err), -1);
	db_abort(txn);
	db_env_close(env);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
	    without_damage, flipped_bits, cut_off, pages_that_are_gone, keys_that_are_too_short};
	TCase *tc = tcase_create("rescue");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 240);
	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
