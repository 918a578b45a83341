/*
 * Random operations on an account against a plain model in memory. After every few the store must
 * say exactly what the model says: mailboxes, messages, counters, quota; and its rows must keep
 * their own rules: chunk sizes, UID order, reference counts. MODEL_SEED repeats a run.
 */
#include "tests/support/store_fixture.h"

#define ACCOUNT 7
#define BOX_MAX 8
#define MESSAGE_MAX 4000

struct model_message {
	uint32_t uid, flags, keywords; /* keywords: bit per name k0..k4 */
	unsigned text;
};

struct model_box {
	bool exists;
	char name[16];
	size_t n;
	uint32_t uidnext;
	struct model_message m[MESSAGE_MAX];
};

static struct model_box *model, *saved;
static unsigned next_text;
static const struct span names[] = {
    SPAN_INIT("k0"), SPAN_INIT("$Junk"), SPAN_INIT("k2"), SPAN_INIT("k3"), SPAN_INIT("k4")};

static unsigned pick(unsigned n)
{
	return (unsigned)rand() % n;
}

static void text_of(char out[64], unsigned number)
{
	snprintf(out, 64, "Subject: %u\r\n\r\n%.*s", number, (int)(number % 40),
	    "........................................");
}

static uint64_t size_of(unsigned number)
{
	char text[64];

	text_of(text, number);
	return strlen(text);
}

static size_t pick_keywords(struct span out[5], uint32_t bits)
{
	size_t n = 0;

	for (unsigned i = 0; i < 5; i++)
		if (bits >> i & 1)
			out[n++] = names[i];
	return n;
}

/* --- operations ---------------------------------------------------------------------------------
 */
static struct model_box *pick_box(void)
{
	struct model_box *b;

	do
		b = &model[pick(BOX_MAX)];
	while (!b->exists);
	return b;
}

static void do_append(struct db_txn *txn)
{
	struct model_box *b = pick_box();
	uint64_t id = mailbox_id(txn, ACCOUNT, b->name);

	for (unsigned n = 1 + pick(pick(20) == 0 ? 300 : 5); n > 0 && b->n < MESSAGE_MAX; n--) {
		struct model_message *m = &b->m[b->n++];
		struct span keywords[5];
		char text[64];

		*m = (struct model_message){
		    b->uidnext++, pick(32), pick(4) ? 0 : pick(32), next_text++};
		text_of(text, m->text);
		ck_assert_uint_eq(append_text(txn, ACCOUNT, id, text, m->flags, keywords,
				      pick_keywords(keywords, m->keywords)),
		    m->uid);
	}
}

/* Some UIDs, also such that are not there. */
static struct uidset pick_uids(const struct model_box *b)
{
	struct uidset s;
	uint32_t top = b->uidnext + 3;

	uidset_init(&s);
	switch (pick(4)) {
	case 0:
		uidset_add_range(&s, 1 + pick(top), UINT32_MAX);
		break;
	case 1:
		for (uint32_t uid = 1; uid < top; uid++)
			if (pick(3) == 0)
				uidset_add(&s, uid);
		break;
	default:
		for (unsigned i = 1 + pick(4); i > 0; i--) {
			uint32_t first = 1 + pick(top);

			uidset_add_range(&s, first, first + pick(pick(2) ? 3 : 150));
		}
		uidset_sort(&s);
	}
	return s;
}

static void do_flags(struct db_txn *txn)
{
	struct model_box *b = pick_box();
	uint64_t id = mailbox_id(txn, ACCOUNT, b->name);
	struct uidset uids = pick_uids(b);
	uint32_t flags = pick(32), bits = pick(3) ? 0 : pick(32);
	struct span keywords[5];
	struct store_flags_change ch = {
	    .mode = (enum store_flags_mode)pick(3), .flags = flags, .keywords = keywords};

	ch.keyword_count = pick_keywords(keywords, bits);
	ck_ok(store_flags_change(txn, ACCOUNT, id, &uids, &ch, NULL, NULL, &err));
	for (size_t i = 0; i < b->n; i++) {
		struct model_message *m = &b->m[i];

		if (!uidset_has(&uids, m->uid))
			continue;
		if (ch.mode == FLAGS_SET) {
			m->flags = flags;
			m->keywords = bits;
		} else if (ch.mode == FLAGS_ADD) {
			m->flags |= flags;
			m->keywords |= bits;
		} else {
			m->flags &= ~flags;
			m->keywords &= ~bits;
		}
	}
	uidset_clear(&uids);
}

static void do_expunge(struct db_txn *txn)
{
	struct model_box *b = pick_box();
	uint64_t id = mailbox_id(txn, ACCOUNT, b->name);
	struct uidset uids = pick_uids(b), gone;
	bool all = pick(3) == 0, only_deleted = all || pick(2);
	size_t keep = 0, removed = 0;

	uidset_init(&gone);
	ck_ok(store_expunge(txn, ACCOUNT, id, all ? NULL : &uids, only_deleted, &gone, NULL, &err));
	for (size_t i = 0; i < b->n; i++) {
		bool goes = (all || uidset_has(&uids, b->m[i].uid)) &&
			    (!only_deleted || (b->m[i].flags & FLAG_DELETED));

		ck_assert(uidset_has(&gone, b->m[i].uid) == goes);
		if (!goes)
			b->m[keep++] = b->m[i];
		removed += goes;
	}
	b->n = keep;
	ck_assert_uint_eq(uidset_count(&gone), removed);
	uidset_clear(&gone);
	uidset_clear(&uids);
}

static void do_copy(struct db_txn *txn)
{
	struct model_box *from = pick_box(), *to = pick_box();
	struct uidset uids = pick_uids(from);
	struct store_copied res;
	bool is_move = pick(2);
	struct model_message *taken = mem_array(MESSAGE_MAX, sizeof(*taken));
	size_t n = 0, keep = 0;

	uidset_init(&res.from);
	uidset_init(&res.to);
	for (size_t i = 0; i < from->n; i++)
		if (uidset_has(&uids, from->m[i].uid))
			taken[n++] = from->m[i];
	if (to->n + n <= MESSAGE_MAX) {
		ck_ok(store_copy(txn, ACCOUNT, mailbox_id(txn, ACCOUNT, from->name), &uids,
		    mailbox_id(txn, ACCOUNT, to->name), is_move, NULL, &res, &err));
		ck_assert_uint_eq(uidset_count(&res.from), n);
		ck_assert_uint_eq(uidset_count(&res.to), n);
		for (size_t i = 0; is_move && i < from->n; i++)
			if (!uidset_has(&uids, from->m[i].uid))
				from->m[keep++] = from->m[i];
		if (is_move)
			from->n = keep;
		for (size_t i = 0; i < n; i++) {
			taken[i].uid = to->uidnext++;
			to->m[to->n++] = taken[i];
		}
	}
	uidset_clear(&uids);
	uidset_clear(&res.from);
	uidset_clear(&res.to);
	mem_free(taken);
}

static void do_mailboxes(struct db_txn *txn)
{
	unsigned at = 1 + pick(BOX_MAX - 1);
	struct model_box *b = &model[at];

	if (!b->exists) {
		snprintf(b->name, sizeof(b->name), "box%u", at);
		ck_ok(store_mailbox_create(txn, ACCOUNT, span_of(b->name), 0, NULL, &err));
		b->exists = true;
		b->n = 0;
		b->uidnext = 1;
	} else if (pick(3) == 0) {
		ck_ok(store_mailbox_delete(txn, ACCOUNT, span_of(b->name), &err));
		b->exists = false;
	} else {
		char name[16];

		snprintf(name, sizeof(name), "%s%u", b->name[0] == 'b' ? "name" : "box", at);
		ck_ok(store_mailbox_rename(txn, ACCOUNT, span_of(b->name), span_of(name), &err));
		memcpy(b->name, name, sizeof(name));
	}
}

/* --- comparing ----------------------------------------------------------------------------------
 */
static uint32_t model_keywords(const struct store_snapshot *s, uint64_t bits)
{
	uint32_t out = 0;

	for (size_t i = 0; i < s->keyword_count; i++)
		for (unsigned k = 0; (bits >> i & 1) && k < 5; k++)
			if (span_ieq(span_of(s->keywords[i]), names[k]))
				out |= 1u << k;
	return out;
}

static void check_body(struct db_txn *txn, const struct store_message *m, unsigned number)
{
	struct strbuf b;
	struct blob blob;
	char text[64];

	text_of(text, number);
	strbuf_init(&b, 100);
	ck_ok(store_object_blob(txn, ACCOUNT, m->object, &blob, &err));
	ck_ok(blob_read_all(NULL, &blob, &b, 64, &err));
	ck_assert_str_eq(b.p, text);
	strbuf_clear(&b);
}

static void check_box(
    struct db_txn *txn, const struct model_box *b, uint64_t *bytes, uint64_t *messages)
{
	struct store_snapshot *s;
	struct store_mailbox mb;
	uint32_t unseen = 0, deleted = 0;
	uint64_t size = 0, modseq = 0;

	ck_ok(store_mailbox_find(txn, ACCOUNT, span_of(b->name), &mb, &err));
	ck_ok(store_snapshot_load(txn, ACCOUNT, mb.id, &s, &err));
	ck_assert_uint_eq(s->count, b->n);
	ck_assert_uint_eq(s->uidnext, b->uidnext);
	for (size_t i = 0; i < b->n; i++) {
		const struct store_message *m = &s->messages[i];

		ck_assert_uint_eq(m->uid, b->m[i].uid);
		ck_assert_uint_eq(m->flags, b->m[i].flags);
		ck_assert_uint_eq(model_keywords(s, m->keywords), b->m[i].keywords);
		ck_assert_uint_eq(m->size, size_of(b->m[i].text));
		ck_assert_int_eq(m->internaldate, 1700000000);
		if (pick(50) == 0)
			check_body(txn, m, b->m[i].text);
		unseen += !(m->flags & FLAG_SEEN);
		deleted += (m->flags & FLAG_DELETED) != 0;
		size += m->size;
		modseq = m->modseq > modseq ? m->modseq : modseq;
		ck_assert_uint_eq(store_snapshot_search(s, m->uid), i);
	}
	ck_assert_uint_le(modseq, s->highestmodseq);
	ck_assert_uint_eq(mb.messages, b->n);
	ck_assert_uint_eq(mb.unseen, unseen);
	ck_assert_uint_eq(mb.deleted, deleted);
	ck_assert_uint_eq(mb.bytes, size);
	*bytes += size;
	*messages += b->n;
	store_snapshot_unref(s);
}

/* The rows themselves: chunk sizes, and references against what refers. */
static void check_rows(struct db_txn *txn)
{
	uint32_t *refs = mem_array(next_text + 2, sizeof(*refs));
	struct store_message m[CHUNK_MAX];
	struct db_cursor c;

	ck_ok(db_cursor_open(txn, &c, SPAN(""), &err));
	for (int rc = db_first(&c, &err); rc != 0; rc = db_next(&c, &err)) {
		size_t n = 0;

		ck_assert_int_eq(rc, 1);
		if (c.key.p[8] != KIND_MESSAGE && c.key.p[8] != KIND_EXPUNGED)
			continue;
		ck_assert_uint_le(c.val.n, 4080);
		ck_ok(chunk_decode(c.val, m, CHUNK_MAX, &n, &err));
		ck_assert_uint_gt(n, 0);
		ck_assert_uint_le(be_get32(c.key.p + c.key.n - 4), m[0].uid);
		for (size_t i = 0; i < n; i++)
			refs[m[i].object]++;
	}
	for (int rc = db_first(&c, &err); rc == 1; rc = db_next(&c, &err))
		if (c.key.p[8] == KIND_OBJECT && c.key.p[17] == OBJECT_ROW)
			ck_assert_uint_eq(be_get32(c.val.p + 1), refs[be_get64(c.key.p + 9)]);
	db_cursor_close(&c);
	mem_free(refs);
}

static void check_all(struct db_env *env)
{
	struct store_mailbox *list;
	struct store_usage usage;
	struct db_txn *txn;
	uint64_t bytes = 0, messages = 0;
	size_t count, boxes = 0;

	ck_ok(db_read_begin(env, &txn, &err));
	for (unsigned i = 0; i < BOX_MAX; i++) {
		if (!model[i].exists)
			continue;
		check_box(txn, &model[i], &bytes, &messages);
		boxes++;
	}
	ck_ok(store_mailbox_list(txn, ACCOUNT, &list, &count, &err));
	ck_assert_uint_eq(count, boxes + 5); /* Drafts, Sent, Junk, Trash, Archive */
	for (size_t i = 1; i < count; i++)
		ck_assert_int_lt(strcmp(list[i - 1].name, list[i].name), 0);
	mem_free(list);
	ck_ok(store_account_usage(txn, ACCOUNT, &usage, &err));
	ck_assert_uint_eq(usage.bytes, bytes);
	ck_assert_uint_eq(usage.messages, messages);
	check_rows(txn);
	db_abort(txn);
}

static void run_step(struct db_txn *txn)
{
	switch (pick(8)) {
	case 0:
	case 1:
	case 2:
		do_append(txn);
		break;
	case 3:
	case 4:
		do_flags(txn);
		break;
	case 5:
		do_expunge(txn);
		break;
	case 6:
		do_copy(txn);
		break;
	case 7:
		if (pick(4) == 0)
			do_mailboxes(txn);
		break;
	}
}

START_TEST(against_a_model)
{
	const char *given = getenv("MODEL_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10)
			      : (unsigned)getpid() * 2654435761u % 1000000u + (unsigned)_i;
	struct db_env *env = store_fixture_open();
	struct db_txn *txn = begin(env);

	printf("MODEL_SEED=%u\n", seed);
	fflush(stdout);
	srand(seed);
	model = mem_array(BOX_MAX, sizeof(*model));
	saved = mem_array(BOX_MAX, sizeof(*model));
	next_text = 0;
	model[0] = (struct model_box){.exists = true, .name = "INBOX", .uidnext = 1};
	ck_ok(store_account_ensure(txn, ACCOUNT, &err));
	commit(txn);
	for (unsigned i = 0; i < 600; i++) {
		unsigned text = next_text;
		bool is_undone = pick(12) == 0;

		if (is_undone)
			memcpy(saved, model, BOX_MAX * sizeof(*model));
		txn = begin(env);
		for (unsigned n = 1 + pick(3); n > 0; n--)
			run_step(txn);
		if (is_undone) {
			db_abort(txn);
			memcpy(model, saved, BOX_MAX * sizeof(*model));
			next_text = text;
		} else {
			commit(txn);
		}
		if (i % 20 == 0)
			check_all(env);
	}
	check_all(env);
	db_env_close(env);
	env = store_fixture_open();
	check_all(env);
	db_env_close(env);
	mem_free(model);
	mem_free(saved);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-model");
	TCase *tc = tcase_create("store-model");

	tcase_add_checked_fixture(tc, fixture_setup, fixture_teardown);
	tcase_set_timeout(tc, 200);
	tcase_add_loop_test(tc, against_a_model, 0, 3);
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
