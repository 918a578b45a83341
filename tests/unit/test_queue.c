/* The rows of the queue: there and back, the order of what is due, removal, ids that never come
 * again. */
#include "smtpd/queue/queue.h"
#include "tests/support/store_fixture.h"
#include "tests/support/unit.h"

static struct db_env *env;

static void setup(void)
{
	fixture_setup();
	env = store_fixture_open();
}

static void teardown(void)
{
	db_env_close(env);
	fixture_teardown();
}

static struct blob inline_body(const char *text)
{
	struct blob b = {.codec = 1, .size = 3, .stored = strlen(text)};

	b.data = span_of(text);
	return b;
}

static struct blob file_body(unsigned char mark)
{
	struct blob b = {.codec = 1, .size = 1 << 20, .stored = 1 << 19, .is_file = true};

	memset(b.id, mark, sizeof(b.id));
	return b;
}

/* One message to count recipients, all due at next; its id. */
static uint64_t add(struct blob body, struct queue_rcpt *rcpts, size_t count)
{
	struct queue_entry e = {.sender = SPAN("alice@example.test"),
	    .arrival = 1700000000,
	    .client = SPAN("192.0.2.1"),
	    .helo = SPAN("client.example"),
	    .session = SPAN("0123456789abcdef"),
	    .account = 7,
	    .is_8bit = true,
	    .blob = body};
	struct db_txn *txn = begin(env);

	ck_ok(queue_add(txn, &e, rcpts, count, &err));
	commit(txn);
	return e.qid;
}

static struct queue_rcpt local_rcpt(const char *address, int64_t next)
{
	return (struct queue_rcpt){.address = span_of(address), .next = next};
}

START_TEST(there_and_back)
{
	struct queue_rcpt rcpts[2] = {
	    local_rcpt("bob@example.test", 5), {.class = QUEUE_REMOTE,
						   .address = SPAN("x@far.example"),
						   .next = 6,
						   .tries = 2,
						   .last_reply = SPAN("450 later")}};
	uint64_t qid = add(inline_body("frame"), rcpts, 2);
	struct db_txn *txn;
	struct queue_entry e;
	struct queue_rcpt r;

	ck_assert(rcpts[0].qid == qid && rcpts[0].n == 0 && rcpts[1].n == 1);
	ck_ok(db_read_begin(env, &txn, &err));
	ck_ok(queue_entry_get(txn, qid, &e, &err));
	ck_assert(span_eq(e.sender, SPAN("alice@example.test")) && e.arrival == 1700000000);
	ck_assert(span_eq(e.client, SPAN("192.0.2.1")) && span_eq(e.helo, SPAN("client.example")));
	ck_assert(span_eq(e.session, SPAN("0123456789abcdef")) && e.account == 7);
	ck_assert(e.is_8bit && !e.is_utf8 && !e.blob.is_file);
	ck_assert(span_eq(e.blob.data, SPAN("frame")));
	ck_ok(queue_rcpt_get(txn, qid, 0, &r, &err));
	ck_assert(span_eq(r.address, SPAN("bob@example.test")) && r.class == QUEUE_LOCAL);
	ck_assert(r.state == QUEUE_WAITING && r.tries == 0 && r.next == 5 && r.last_reply.n == 0);
	ck_ok(queue_rcpt_get(txn, qid, 1, &r, &err));
	ck_assert(r.class == QUEUE_REMOTE && r.tries == 2 && r.next == 6);
	ck_assert(span_eq(r.last_reply, SPAN("450 later")));
	ck_fails(queue_rcpt_get(txn, qid, 2, &r, &err), ERR_NOT_FOUND);
	ck_fails(queue_entry_get(txn, qid + 1, &e, &err), ERR_NOT_FOUND);
	db_abort(txn);
}
END_TEST

/* --- due -------------------------------------------------------------------------------------- */
struct seen {
	uint64_t qid[16];
	uint32_t n[16];
	size_t count, stop_after;
};

static bool on_due(void *arg, uint64_t qid, uint32_t n)
{
	struct seen *s = arg;

	s->qid[s->count] = qid;
	s->n[s->count] = n;
	s->count++;
	return s->count != s->stop_after;
}

static int64_t due(int64_t now, struct seen *s)
{
	struct db_txn *txn;
	int64_t next;

	s->count = 0;
	ck_ok(db_read_begin(env, &txn, &err));
	ck_ok(queue_each_due(txn, now, on_due, s, &next, &err));
	db_abort(txn);
	return next;
}

/* By time, then in the order of acceptance; remote recipients and failed ones are not local's. */
START_TEST(due_in_order)
{
	struct queue_rcpt a[2] = {local_rcpt("a@x", 300), local_rcpt("b@x", 100)};
	struct queue_rcpt b[3] = {local_rcpt("c@x", 100),
	    {.class = QUEUE_REMOTE, .address = SPAN("d@far"), .next = 1},
	    {.state = QUEUE_FAILED, .address = SPAN("e@x"), .next = 1}};
	struct queue_rcpt c[1] = {local_rcpt("f@x", INT64_MAX)};
	uint64_t first = add(inline_body("1"), a, 2), second = add(inline_body("2"), b, 3);
	uint64_t third = add(file_body(3), c, 1);
	struct seen s = {0};

	ck_assert(first < second && second < third);
	ck_assert_int_eq(due(0, &s), 100);
	ck_assert_uint_eq(s.count, 0);
	ck_assert_int_eq(due(99, &s), 100);
	ck_assert_int_eq(due(100, &s), 300);
	ck_assert_uint_eq(s.count, 2);
	ck_assert(s.qid[0] == first && s.n[0] == 1 && s.qid[1] == second && s.n[1] == 0);
	ck_assert_int_eq(due(300, &s), INT64_MAX);
	ck_assert_uint_eq(s.count, 3);
	ck_assert(s.qid[2] == first && s.n[2] == 0);
	ck_assert_int_eq(due(INT64_MAX, &s), 0);
	ck_assert_uint_eq(s.count, 4);
	s.stop_after = 1;
	due(INT64_MAX, &s);
	ck_assert_uint_eq(s.count, 1);
}
END_TEST

/* A try that failed moves its due row; one that failed for good has none. */
START_TEST(updates_move_the_due_row)
{
	struct queue_rcpt r = local_rcpt("a@x", 100);
	uint64_t qid = add(inline_body("1"), &r, 1);
	struct seen s = {0};
	struct db_txn *txn = begin(env);

	r.tries = 1;
	r.next = 250;
	r.last_reply = SPAN("452 4.2.2 full");
	ck_ok(queue_rcpt_update(txn, &r, &err));
	ck_ok(queue_rcpt_update(txn, &r, &err)); /* a replay */
	commit(txn);
	ck_assert_int_eq(due(249, &s), 250);
	due(250, &s);
	ck_assert_uint_eq(s.count, 1);
	txn = begin(env);
	r.state = QUEUE_FAILED;
	ck_ok(queue_rcpt_update(txn, &r, &err));
	commit(txn);
	ck_assert_int_eq(due(INT64_MAX, &s), 0);
	ck_assert_uint_eq(s.count, 0);
	txn = begin(env);
	ck_ok(queue_rcpt_get(txn, qid, 0, &r, &err));
	ck_assert(r.state == QUEUE_FAILED && span_eq(r.last_reply, SPAN("452 4.2.2 full")));
	/* Deleted meanwhile: stays deleted. */
	r.n = 5;
	ck_ok(queue_rcpt_update(txn, &r, &err));
	ck_fails(queue_rcpt_get(txn, qid, 5, &r, &err), ERR_NOT_FOUND);
	commit(txn);
}
END_TEST

/* --- removal ---------------------------------------------------------------------------------- */
static size_t rows(void)
{
	struct db_cursor c;
	struct db_txn *txn;
	size_t n = 0;

	ck_ok(db_read_begin(env, &txn, &err));
	ck_ok(db_cursor_open(txn, &c, SPAN(""), &err));
	for (int found = db_first(&c, &err); found == 1; found = db_next(&c, &err))
		n += c.key.p[0] != 'a';
	db_cursor_close(&c);
	db_abort(txn);
	return n;
}

START_TEST(the_last_recipient_takes_all)
{
	struct queue_rcpt r[2] = {local_rcpt("a@x", 1), local_rcpt("b@x", 1)};

	for (int is_file = 0; is_file < 2; is_file++) {
		uint64_t qid = add(is_file ? file_body(9) : inline_body("1"), r, 2);
		struct db_txn *txn = begin(env);
		struct blob file;

		ck_ok(queue_rcpt_remove(txn, qid, 1, &file, &err));
		ck_assert(!file.is_file);
		ck_ok(queue_rcpt_remove(txn, qid, 1, &file, &err)); /* a replay */
		ck_assert(!file.is_file);
		ck_ok(queue_rcpt_remove(txn, qid, 0, &file, &err));
		ck_assert_int_eq(file.is_file, is_file);
		ck_assert(!is_file || file.id[0] == 9);
		ck_ok(queue_rcpt_remove(txn, qid, 0, &file, &err));
		ck_assert(!file.is_file);
		commit(txn);
		ck_assert_uint_eq(rows(), 0);
	}
}
END_TEST

static bool on_rcpt(void *arg, const struct queue_rcpt *r)
{
	struct seen *s = arg;

	return on_due(s, r->qid, r->n);
}

START_TEST(listing)
{
	struct queue_rcpt r[3] = {local_rcpt("a@x", 9), local_rcpt("b@x", 8), local_rcpt("c@x", 7)};
	uint64_t first = add(inline_body("1"), r, 3), second = add(inline_body("2"), r, 2);
	struct seen s = {0};
	struct db_txn *txn;

	ck_ok(db_read_begin(env, &txn, &err));
	ck_ok(queue_each_rcpt(txn, 0, on_rcpt, &s, &err));
	ck_assert_uint_eq(s.count, 5);
	for (size_t i = 0; i < 5; i++)
		ck_assert(s.qid[i] == (i < 3 ? first : second) && s.n[i] == (i < 3 ? i : i - 3));
	s.count = 0;
	ck_ok(queue_each_rcpt(txn, second, on_rcpt, &s, &err));
	ck_assert_uint_eq(s.count, 2);
	s.count = 0;
	s.stop_after = 1;
	ck_ok(queue_each_rcpt(txn, first, on_rcpt, &s, &err));
	ck_assert_uint_eq(s.count, 1);
	db_abort(txn);
}
END_TEST

/*
 * Delivery knows a message by its id for two weeks: an id that came again, after the clock was set
 * back and the queue had become empty, would be taken for delivered.
 */
START_TEST(ids_never_come_again)
{
	struct queue_rcpt r = local_rcpt("a@x", 1);
	uint64_t last = 0;

	for (int i = 0; i < 20; i++) {
		uint64_t qid = add(inline_body("1"), &r, 1);
		struct db_txn *txn = begin(env);
		struct blob file;

		ck_assert_uint_gt(qid, last);
		last = qid;
		ck_ok(queue_rcpt_remove(txn, qid, 0, &file, &err));
		commit(txn);
	}
	/* A clock that runs an hour behind what was given out. */
	for (int i = 0; i < 3; i++) {
		char val[8];
		struct db_txn *txn = begin(env);

		be_put64(val, last + 3600000000u);
		ck_ok(db_put(txn, SPAN("a"), span_make(val, sizeof(val)), &err));
		commit(txn);
		ck_assert_uint_eq(add(inline_body("1"), &r, 1), last + 3600000001u);
		last += 3600000001u;
	}
}
END_TEST

/* --- broken rows ------------------------------------------------------------------------------ */
/* Every row cut at every byte, and each of its bytes changed: an error or a row, never a crash. */
START_TEST(broken_rows)
{
	struct queue_rcpt r[2] = {local_rcpt("bob@example.test", 5), local_rcpt("c@x", 6)};
	uint64_t qid = add(file_body(1), r, 2);
	unsigned char key_bytes[13] = {'e'};
	struct db_txn *txn = begin(env);
	struct queue_entry e;
	struct queue_rcpt back;
	struct span row;
	char good[512];
	size_t n;

	for (int is_rcpt = 0; is_rcpt < 2; is_rcpt++) {
		struct span key = span_make(key_bytes, is_rcpt ? 13 : 9);

		key_bytes[0] = is_rcpt ? 'r' : 'e';
		be_put64(key_bytes + 1, qid);
		ck_ok(db_get(txn, key, &row, &err));
		n = row.n;
		memcpy(good, row.p, n);
		for (size_t cut = 0; cut < n; cut++) {
			ck_ok(db_put(txn, key, span_make(good, cut), &err));
			if (is_rcpt)
				ck_fails(queue_rcpt_get(txn, qid, 0, &back, &err), ERR_CORRUPT);
			else
				ck_fails(queue_entry_get(txn, qid, &e, &err), ERR_CORRUPT);
		}
		for (size_t at = 0; at < n; at++)
			for (int byte = 0; byte < 256; byte += 51) {
				char changed[512];

				memcpy(changed, good, n);
				changed[at] = (char)byte;
				ck_ok(db_put(txn, key, span_make(changed, n), &err));
				if (is_rcpt)
					(void)queue_rcpt_get(txn, qid, 0, &back, &err);
				else
					(void)queue_entry_get(txn, qid, &e, &err);
			}
		ck_ok(db_put(txn, key, span_make(good, n), &err));
	}
	db_abort(txn);
}
END_TEST

START_TEST(ids_as_text)
{
	static const char *const bad[] = {"", "0", "00000000000000001", "000000000000000g",
	    "000000000000000A", " 00000000000000", "-000000000000001", "0x00000000000001"};
	char text[QUEUE_ID_TEXT];
	uint64_t v;

	for (size_t i = 0; i < ARRAY_LEN(edge_numbers); i++) {
		uint64_t id;

		if (!span_u64(span_of(edge_numbers[i]), UINT64_MAX, &id))
			continue;
		queue_id_format(text, id);
		ck_assert_uint_eq(strlen(text), QUEUE_ID_TEXT - 1);
		ck_assert(queue_id_parse(span_of(text), &v) && v == id);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(!queue_id_parse(span_of(bad[i]), &v), "%s", bad[i]);
}
END_TEST

START_TEST(retry_times)
{
	int64_t age = 0;
	unsigned tries = 0;

	ck_assert_int_eq(queue_retry_delay(0), 60);
	ck_assert_int_eq(queue_retry_delay(UINT32_MAX), 14400);
	while (age < QUEUE_LIFE_SECONDS) {
		ck_assert(tries == 0 || queue_retry_delay(tries) >= queue_retry_delay(tries - 1));
		age += queue_retry_delay(tries++);
	}
	ck_assert(tries >= 30 && tries <= 40);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {there_and_back, due_in_order, updates_move_the_due_row,
	    the_last_recipient_takes_all, listing, ids_never_come_again, broken_rows, ids_as_text,
	    retry_times};
	TCase *tc = tcase_create("queue");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
