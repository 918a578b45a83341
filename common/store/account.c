/* Account rows, and what every account starts with. */
#include "common/event/clock.h"
#include "common/store/store_int.h"

void store_key(struct db_key *k, uint64_t account, enum store_kind kind)
{
	db_key_init(k);
	db_key_u64(k, account);
	db_key_u8(k, (uint8_t)kind);
}

int store_corrupt(struct err *err, uint64_t account, const char *what)
{
	return err_set(
	    err, ERR_CORRUPT, "account %llu: %s is damaged", (unsigned long long)account, what);
}

void store_note(struct db_txn *txn, uint64_t account, uint64_t mailbox, uint64_t modseq)
{
	const struct store_change c = {account, mailbox, modseq};
	unsigned char note[STORE_HINT_LEN];

	store_change_encode(note, &c);
	db_note(txn, note);
}

void store_change_encode(unsigned char out[STORE_HINT_LEN], const struct store_change *c)
{
	be_put64(out, c->account);
	be_put64(out + 8, c->mailbox);
	be_put64(out + 16, c->modseq);
}

bool store_change_decode(struct span in, struct store_change *c)
{
	if (in.n != STORE_HINT_LEN)
		return false;
	c->account = be_get64(in.p);
	c->mailbox = be_get64(in.p + 8);
	c->modseq = be_get64(in.p + 16);
	return true;
}

int account_get(struct db_txn *txn, uint64_t account, struct account_row *a, struct err *err)
{
	struct db_key k;
	struct span val;
	struct dec d;

	*a = (struct account_row){0};
	store_key(&k, account, KIND_ACCOUNT);
	if (db_get(txn, db_key_span(&k), &val, err) < 0)
		return err_wrap(err, "account %llu", (unsigned long long)account);
	d = dec_of(val);
	if (dec_u8(&d) != ROW_VERSION)
		return store_corrupt(err, account, "the account row");
	a->bytes = dec_u64(&d);
	a->messages = dec_u64(&d);
	a->kept_bytes = dec_u64(&d);
	a->kept_messages = dec_u64(&d);
	a->next_mailbox = dec_u64(&d);
	a->next_object = dec_u64(&d);
	a->modseq = dec_u64(&d);
	a->last_uidvalidity = dec_u32(&d);
	return dec_done(&d) ? 0 : store_corrupt(err, account, "the account row");
}

int account_put(struct db_txn *txn, uint64_t account, const struct account_row *a, struct err *err)
{
	unsigned char row[61];
	struct db_key k;

	row[0] = ROW_VERSION;
	be_put64(row + 1, a->bytes);
	be_put64(row + 9, a->messages);
	be_put64(row + 17, a->kept_bytes);
	be_put64(row + 25, a->kept_messages);
	be_put64(row + 33, a->next_mailbox);
	be_put64(row + 41, a->next_object);
	be_put64(row + 49, a->modseq);
	be_put32(row + 57, a->last_uidvalidity);
	store_key(&k, account, KIND_ACCOUNT);
	return db_put(txn, db_key_span(&k), span_make(row, sizeof(row)), err);
}

uint32_t account_next_uidvalidity(struct account_row *a)
{
	int64_t now = clock_now();
	uint32_t v = now > 0 && now < UINT32_MAX ? (uint32_t)now : 1;

	if (v <= a->last_uidvalidity)
		v = a->last_uidvalidity + 1;
	a->last_uidvalidity = v;
	return v;
}

int account_check_quota(const struct account_row *a, const struct store_limits *limits,
    uint64_t bytes, uint64_t messages, struct err *err)
{
	uint64_t used_bytes = a->bytes, used_messages = a->messages;

	if (!limits)
		return 0;
	if (limits->counts_kept) {
		used_bytes += a->kept_bytes;
		used_messages += a->kept_messages;
	}
	if (limits->quota_bytes &&
	    (used_bytes > limits->quota_bytes || bytes > limits->quota_bytes - used_bytes))
		return err_set(err, ERR_QUOTA, "over quota: %llu of %llu bytes are in use",
		    (unsigned long long)used_bytes, (unsigned long long)limits->quota_bytes);
	if (limits->quota_messages && (used_messages > limits->quota_messages ||
					  messages > limits->quota_messages - used_messages))
		return err_set(err, ERR_QUOTA, "over quota: %llu of %llu messages",
		    (unsigned long long)used_messages, (unsigned long long)limits->quota_messages);
	return 0;
}

int store_quota_check(struct db_txn *txn, uint64_t account, const struct store_limits *limits,
    uint64_t bytes, uint64_t messages, struct err *err)
{
	struct account_row a;

	if (account_get(txn, account, &a, err) < 0)
		return -1;
	return account_check_quota(&a, limits, bytes, messages, err);
}

int store_account_usage(
    struct db_txn *txn, uint64_t account, struct store_usage *u, struct err *err)
{
	struct account_row a;

	if (account_get(txn, account, &a, err) < 0)
		return -1;
	*u = (struct store_usage){a.bytes, a.messages, a.kept_bytes, a.kept_messages};
	return 0;
}

int store_account_ensure(struct db_txn *txn, uint64_t account, struct err *err)
{
	static const struct {
		struct span name;
		uint32_t use;
	} first[] = {
	    {SPAN_INIT("INBOX"), SPECIAL_NONE},
	    {SPAN_INIT("Drafts"), SPECIAL_DRAFTS},
	    {SPAN_INIT("Sent"), SPECIAL_SENT},
	    {SPAN_INIT("Junk"), SPECIAL_JUNK},
	    {SPAN_INIT("Trash"), SPECIAL_TRASH},
	    {SPAN_INIT("Archive"), SPECIAL_ARCHIVE},
	};
	const struct account_row a = {.next_mailbox = 1, .next_object = 1};
	struct store_mailbox mb;
	struct db_key k;
	struct span val;
	struct err why = ERR_INIT;
	bool is_removed;

	if (account == 0)
		return err_set(err, ERR_INVALID, "there is no account 0");
	store_key(&k, account, KIND_ACCOUNT);
	if (db_get(txn, db_key_span(&k), &val, &why) == 0)
		return 0;
	if (why.code != ERR_NOT_FOUND)
		return err_set(err, why.code, "%s", why.text);
	if (account_is_removed(txn, account, &is_removed, err) < 0)
		return -1;
	if (is_removed)
		return err_set(
		    err, ERR_NOT_FOUND, "account %llu was removed", (unsigned long long)account);
	if (account_put(txn, account, &a, err) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
		if (store_mailbox_create(txn, account, first[i].name, first[i].use, &mb, err) < 0 ||
		    store_mailbox_subscribe(txn, account, first[i].name, true, err) < 0)
			return -1;
	return 0;
}
