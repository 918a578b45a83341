/* account ...: people who can log in. */
#include "common/authd/args.h"
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

static void add_account(struct call *call, const struct account *acc, bool is_long)
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

static void show_account(struct call *call, const void *p)
{
	add_account(call, p, false);
}

void verb_account_list(struct call *call)
{
	if (call->arg_count == 1 && span_eq(call->args[0], SPAN("--removed"))) {
		list_removed(call);
		return;
	}
	list_addresses(call, call->a->index.accounts, address_of_account, show_account);
}

void verb_account_show(struct call *call)
{
	struct account *acc = arg_account(call, 0);

	if (!acc)
		return;
	add_account(call, acc, true);
	call_ok(call, "%s", "");
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
