/* account ...: people who can log in. */
#include "common/authd/args.h"
#include "common/authd/ask.h"
#include "common/authd/login.h"
#include "common/authd/removal.h"
#include "common/authd/session.h"
#include "common/base/mem.h"
#include "common/event/clock.h"

void account_put(struct change *c, uint64_t number, const struct user_row *row)
{
	struct strbuf b;
	struct db_key key;

	strbuf_init(&b, 4096);
	row_enc_user(&b, row);
	row_key_number(&key, ROW_USER, number);
	change_put(c, &key, &b);
}

static void put_number(struct change *c, const struct db_key *key, uint64_t number)
{
	struct strbuf b;

	strbuf_init(&b, 16);
	row_enc_u64(&b, number);
	change_put(c, key, &b);
}

void account_put_login(struct change *c, uint64_t number, struct span address)
{
	struct db_key key;

	row_key_text(&key, ROW_LOGIN, address);
	put_number(c, &key, number);
}

/* Whatever rested on the old password or the old rights ends with them. */
void account_forget_logins(struct call *call, const struct account *acc)
{
	good_logins_drop(call->a->good, acc->number);
	session_remove_account(call->a->sessions, call_change(call), acc->number);
}

static void save(struct call *call, const struct account *acc, const struct user_row *row)
{
	account_put(call_change(call), acc->number, row);
	call_commit(call, "%.*s changed", SPAN_FMT(acc->row.address));
}

bool account_is_own(struct call *call, const struct account *acc)
{
	if (!call->is_web || call->account != acc->number)
		return false;
	call_fail(call, ERR_DENIED, "this would lock you out; another administrator can do it");
	return true;
}

void verb_account_add(struct call *call)
{
	uint64_t number = call->a->next_account;
	char text[NAME_TEXT_MAX + 1];
	struct name nm;
	struct db_key key;
	struct user_row row = {
	    .phc = span_of(call->hash.phc),
	    .protocols = PROTO_ALL,
	    .created = (uint64_t)clock_now(),
	    .changed = (uint64_t)clock_now(),
	};

	if (call->arg_count > 1) {
		if (!span_eq(call->args[1], SPAN("--admin"))) {
			call_fail(call, ERR_INVALID, "the only option is --admin");
			return;
		}
		row.flags |= USER_ADMIN;
		row.protocols = PROTO_WEB;
	}
	if (!arg_new_address(call, call->args[0], false, &nm, text))
		return;
	row.address = span_of(text);
	/* Spent even if the commit fails: a number is never given out twice. */
	call->a->next_account++;
	row_key_counter(&key, "account");
	put_number(call_change(call), &key, number + 1);
	account_put(call_change(call), number, &row);
	account_put_login(call_change(call), number, row.address);
	call_commit(
	    call, "account %s added%s", text, row.flags & USER_ADMIN ? ", an administrator" : "");
}

/* --- showing -----------------------------------------------------------------------------------
 */
void protocols_text(uint32_t bits, char out[32])
{
	static const char *const names[] = {"smtp", "imap", "pop3", "web"};
	struct strbuf b;

	strbuf_init(&b, 31);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!(bits & (1u << i)))
			continue;
		if (b.n > 0)
			strbuf_add_chr(&b, ',');
		strbuf_add_str(&b, names[i]);
	}
	for (size_t i = 0; i <= b.n; i++)
		out[i] = b.p[i];
	strbuf_clear(&b);
}

/* --- showing, with what the store says of them
 * -------------------------------------------------------------------------------------------------
 */
#define USAGE_MS 3000

/* Whom a list or a page is about, while imapd-worker is asked. */
struct shown {
	uint64_t numbers[LIST_PAGE];
	size_t count;
	bool are_more, is_long;
};

struct usage {
	uint64_t bytes, messages;
};

static void add_account(
    struct call *call, const struct account *acc, const struct usage *used, bool is_long)
{
	char protocols[32];
	struct strbuf b;

	protocols_text(acc->row.protocols, protocols);
	strbuf_init(&b, 8192);
	ipc_rec_text(&b, "address", acc->row.address);
	ipc_rec_number(&b, "number", IPC_NUMBER, acc->number);
	ipc_rec_text(
	    &b, "state", acc->row.flags & USER_DISABLED ? SPAN("disabled") : SPAN("active"));
	ipc_rec_number(&b, "admin", IPC_BOOL, (acc->row.flags & USER_ADMIN) != 0);
	ipc_rec_number(&b, "receive-only", IPC_BOOL, (acc->row.flags & USER_RECEIVE_ONLY) != 0);
	ipc_rec_text(&b, "protocols", span_of(protocols));
	ipc_rec_number(&b, "quota", IPC_BYTES, acc->row.quota_bytes);
	ipc_rec_number(&b, "quota-messages", IPC_NUMBER, acc->row.quota_messages);
	/* Without imapd-worker it is not known, which is not nothing. */
	if (used) {
		ipc_rec_number(&b, "used", IPC_BYTES, used->bytes);
		ipc_rec_number(&b, "messages", IPC_NUMBER, used->messages);
	}
	if (is_long) {
		ipc_rec_number(&b, "created", IPC_TIME, acc->row.created);
		ipc_rec_number(&b, "password-changed", IPC_TIME, acc->row.changed);
		ipc_rec_number(&b, "app-passwords", IPC_NUMBER, acc->app_count);
	}
	call_record(call, &b);
}

static struct span address_of_account(const void *p)
{
	return ((const struct account *)p)->row.address;
}

static void take_number(struct call *call, const void *p)
{
	struct shown *s = call->arg;

	s->numbers[s->count++] = ((const struct account *)p)->number;
}

/* The answer has one record for each number, in our order. */
static bool next_usage(struct dec *rows, uint64_t number, struct usage *used)
{
	struct dec record = dec_of(dec_bytes(rows));
	struct ipc_value v;
	uint64_t of = 0;

	while (dec_ok(rows) && ipc_rec_next(&record, &v)) {
		if (span_eq(v.name, SPAN("account")))
			of = v.number;
		else if (span_eq(v.name, SPAN("used")))
			used->bytes = v.number;
		else if (span_eq(v.name, SPAN("messages")))
			used->messages = v.number;
	}
	return of == number;
}

static void on_usage(void *arg, const struct ask_answer *answers, size_t n)
{
	struct call *call = arg;
	const struct shown *s = call->arg;
	bool is_known = answers->code == ERR_NONE;
	struct dec rows = dec_of(strbuf_span(&answers->records));

	for (size_t i = 0; i < s->count; i++) {
		const struct account *acc = index_number(&call->a->index, s->numbers[i]);
		struct usage used = {0, 0};

		is_known = is_known && next_usage(&rows, s->numbers[i], &used);
		if (acc && !account_is_deleting(acc))
			add_account(call, acc, is_known ? &used : NULL, s->is_long);
	}
	list_end(call, s->are_more);
}

/* call->arg: struct shown */
static void ask_usage(struct call *call)
{
	static const char *const worker[] = {"imapd-worker"};
	const struct shown *s = call->arg;
	struct ipc_admin what = {.count = 1, .words = {SPAN_INIT("usage")}};
	struct strbuf numbers;

	if (call->a->is_stopping) {
		call_fail(call, ERR_TEMP, "authd is stopping");
		return;
	}
	strbuf_init(&numbers, sizeof(s->numbers));
	for (size_t i = 0; i < s->count; i++)
		enc_u64(&numbers, s->numbers[i]);
	what.content = strbuf_span(&numbers);
	ask_all(call->a, NULL, worker, 1, &what, USAGE_MS, on_usage, call);
	strbuf_clear(&numbers);
}

static struct shown *shown_new(struct call *call)
{
	struct shown *s = mem_zalloc(sizeof(*s));

	call->arg = s;
	call->arg_n = sizeof(*s);
	return s;
}

void verb_account_list(struct call *call)
{
	struct shown *s;

	if (call->arg_count == 1 && span_eq(call->args[0], SPAN("--removed"))) {
		list_removed(call);
		return;
	}
	s = shown_new(call);
	if (list_each(call, call->a->index.accounts, address_of_account, take_number, &s->are_more))
		ask_usage(call);
}

void verb_account_show(struct call *call)
{
	struct account *acc = arg_account(call, 0);
	struct shown *s;

	if (!acc)
		return;
	s = shown_new(call);
	s->numbers[s->count++] = acc->number;
	s->is_long = true;
	ask_usage(call);
}

/* --- changing ----------------------------------------------------------------------------------
 */
void account_set_password(struct call *call, struct account *acc)
{
	struct user_row row = acc->row;

	row.phc = span_of(call->hash.phc);
	row.changed = (uint64_t)clock_now();
	account_forget_logins(call, acc);
	save(call, acc, &row);
}

void verb_account_password(struct call *call)
{
	struct account *acc = arg_account(call, 0);

	if (acc)
		account_set_password(call, acc);
}

/* With it the account's sessions end: what was open would go on for weeks. */
static void set_flag(struct call *call, uint32_t flag, bool on)
{
	struct account *acc = arg_account(call, 0);
	struct user_row row;

	if (!acc)
		return;
	if (on && flag == USER_DISABLED && account_is_own(call, acc))
		return;
	row = acc->row;
	row.flags = on ? row.flags | flag : row.flags & ~flag;
	account_forget_logins(call, acc);
	if (on && flag == USER_DISABLED)
		account_kick_after(call, acc->number);
	save(call, acc, &row);
}

void verb_account_disable(struct call *call)
{
	set_flag(call, USER_DISABLED, true);
}

void verb_account_enable(struct call *call)
{
	set_flag(call, USER_DISABLED, false);
}

void verb_account_receive_only(struct call *call)
{
	bool on;

	if (arg_bool(call, 1, &on))
		set_flag(call, USER_RECEIVE_ONLY, on);
}

void verb_account_quota(struct call *call)
{
	struct account *acc = arg_account(call, 0);
	struct user_row row;

	if (!acc)
		return;
	row = acc->row;
	if (!arg_amount(call, 1, true, &row.quota_bytes))
		return;
	if (call->arg_count > 2 && !arg_amount(call, 2, false, &row.quota_messages))
		return;
	good_logins_drop(call->a->good, acc->number);
	save(call, acc, &row);
}

void verb_account_protocols(struct call *call)
{
	struct account *acc = arg_account(call, 0);
	struct user_row row;

	if (!acc)
		return;
	row = acc->row;
	if (!arg_protocols(
		call, 1, account_is_mailbox(acc) ? PROTO_ALL : PROTO_WEB, &row.protocols))
		return;
	save(call, acc, &row);
}

/* --- a hash with newer parameters ---------------------------------------------------------------
 */
static void on_rehash_committed(void *arg, const struct err *err)
{
	struct authd *a = arg;

	a->is_busy = false;
	call_next(a);
}

void account_rehash(struct authd *a, const struct account *acc, struct span phc)
{
	struct user_row row = acc->row;
	struct change *c;

	/* It has time: whoever waits to change something goes first. */
	if (a->current || a->is_busy || a->is_stopping || !list_is_empty(&a->changes))
		return;
	c = change_new(a);
	row.phc = phc;
	account_put(c, acc->number, &row);
	a->is_busy = true;
	change_commit(c, on_rehash_committed, a);
}
