/* account limits and sender ...: how much an account may send, and as whom. */
#include "common/authd/args.h"
#include "common/authd/sending.h"
#include "common/base/mem.h"

/* --- account limits ----------------------------------------------------------------------------
 */
static void show_limits(struct call *call, const struct account *acc)
{
	uint64_t most[LIMIT_COUNT];
	struct strbuf b;

	sending_limits(call->a->cfg, acc, most);
	strbuf_init(&b, 4096);
	ipc_rec_text(&b, "address", acc->row.address);
	for (int i = 0; i < LIMIT_COUNT; i++)
		ipc_rec_number(&b, sending_limit_name((enum send_limit)i), IPC_NUMBER, most[i]);
	call_record(call, &b);
	call_ok(call, "%s", "");
}

/* "per_hour=100", "per_hour=default" */
static bool take_limit(struct call *call, struct span word, struct limits_row *row)
{
	struct span name;

	if (!span_split(&word, '=', &name) || !word.p)
		goto bad;
	for (int i = 0; i < LIMIT_COUNT; i++) {
		if (!span_eq(name, span_of(sending_limit_name((enum send_limit)i))))
			continue;
		if (span_eq(word, SPAN("default"))) {
			row->values[i] = LIMIT_DEFAULT;
			return true;
		}
		if (span_u64(word, 1000000000, &row->values[i]))
			return true;
		break;
	}
bad:
	call_fail(call, ERR_INVALID,
	    "a limit is NAME=NUMBER or NAME=default, NAME one of per_minute, per_hour, per_day, "
	    "new_recipients_per_day, sessions, pause; 0: none");
	return false;
}

void verb_account_limits(struct call *call)
{
	struct account *acc = arg_account(call, 0);
	struct limits_row row;
	struct db_key key;
	struct strbuf b;

	if (!acc)
		return;
	if (call->arg_count == 1) {
		show_limits(call, acc);
		return;
	}
	for (int i = 0; i < LIMIT_COUNT; i++)
		row.values[i] = acc->has_limits ? acc->limits.values[i] : LIMIT_DEFAULT;
	for (uint32_t i = 1; i < call->arg_count; i++)
		if (!take_limit(call, call->args[i], &row))
			return;
	strbuf_init(&b, 256);
	row_enc_limits(&b, &row);
	row_key_number(&key, ROW_LIMITS, acc->number);
	change_put(call_change(call), &key, &b);
	call_commit(call, "limits of %.*s changed", SPAN_FMT(acc->row.address));
}

/* --- sender ------------------------------------------------------------------------------------
 */
/* "alice@example.test" or "@example.test", in the form that is compared. */
static bool take_sender(struct call *call, char text[NAME_TEXT_MAX + 1], size_t *n)
{
	struct err err = ERR_INIT;
	struct name nm;

	if (name_parse_alias(&nm, call->args[1], &err) < 0) {
		call_fail_err(call, &err);
		return false;
	}
	*n = name_format(&nm, text);
	return true;
}

static void write_grants(struct call *call, const struct account *acc, const struct span *list,
    uint32_t n, const char *text)
{
	struct db_key key;
	struct strbuf b;

	row_key_number(&key, ROW_GRANTS, acc->number);
	if (n == 0) {
		change_del(call_change(call), &key);
	} else {
		strbuf_init(&b, 128 * 1024);
		row_enc_alias(&b, list, n);
		change_put(call_change(call), &key, &b);
	}
	call_commit(call, "%.*s may %s send as %s", SPAN_FMT(acc->row.address),
	    n >= acc->grant_count && n > 0 ? "now" : "no longer", text);
}

static void change_grants(struct call *call, bool is_add)
{
	struct account *acc = arg_account(call, 0);
	struct span list[ALIAS_TARGETS_MAX + 1];
	char text[NAME_TEXT_MAX + 1];
	uint32_t n = 0;
	size_t text_n;
	bool is_there = false;

	if (!acc || !take_sender(call, text, &text_n))
		return;
	for (uint32_t i = 0; i < acc->grant_count; i++) {
		bool is_this = span_eq(acc->grants[i], span_make(text, text_n));

		is_there |= is_this;
		if (!is_this || is_add)
			list[n++] = acc->grants[i];
	}
	if (!is_add && !is_there) {
		call_fail(call, ERR_NOT_FOUND, "%.*s was not granted %s",
		    SPAN_FMT(acc->row.address), text);
		return;
	}
	if (is_add && n == ALIAS_TARGETS_MAX) {
		call_fail(call, ERR_LIMIT, "at most %d grants", ALIAS_TARGETS_MAX);
		return;
	}
	if (is_add && !is_there)
		list[n++] = span_make(text, text_n);
	write_grants(call, acc, list, n, text);
}

void verb_sender_add(struct call *call)
{
	change_grants(call, true);
}

void verb_sender_remove(struct call *call)
{
	change_grants(call, false);
}

void verb_sender_list(struct call *call)
{
	struct account *acc = arg_account(call, 0);

	if (!acc)
		return;
	for (uint32_t i = 0; i < acc->grant_count; i++) {
		struct strbuf b;

		strbuf_init(&b, 4096);
		ipc_rec_text(&b, "account", acc->row.address);
		ipc_rec_text(&b, "sender", acc->grants[i]);
		call_record(call, &b);
	}
	call_ok(call, "%s", "");
}
