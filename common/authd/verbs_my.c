/* my ...: what people may see and change of their own account in the web admin. */
#include "common/authd/args.h"
#include "common/authd/login.h"
#include "common/authd/totp.h"

struct own {
	struct call *call;
	const struct account *acc;
};

/* An alias that delivers to the account directly. */
static void add_alias(struct span key, void *value, void *arg)
{
	const struct alias *al = value;
	const struct own *own = arg;
	struct strbuf b;

	for (uint32_t i = 0; i < al->count; i++) {
		if (!span_eq(al->targets[i], own->acc->row.address))
			continue;
		strbuf_init(&b, 1024);
		ipc_rec_text(&b, "alias", al->address);
		call_record(own->call, &b);
		return;
	}
}

void verb_my_account(struct call *call)
{
	const struct account *acc = arg_own_account(call);
	struct own own = {call, acc};
	char protocols[32];
	struct strbuf b;

	if (!acc)
		return;
	protocols_text(acc->row.protocols, protocols);
	strbuf_init(&b, 2048);
	ipc_rec_text(&b, "address", acc->row.address);
	ipc_rec_number(&b, "admin", IPC_BOOL, account_is_admin(acc));
	ipc_rec_number(&b, "mailbox", IPC_BOOL, account_is_mailbox(acc));
	ipc_rec_text(&b, "protocols", span_of(protocols));
	ipc_rec_number(&b, "receive-only", IPC_BOOL, (acc->row.flags & USER_RECEIVE_ONLY) != 0);
	ipc_rec_number(&b, "quota", IPC_BYTES, acc->row.quota_bytes);
	ipc_rec_number(&b, "password-changed", IPC_TIME, acc->row.changed);
	ipc_rec_number(&b, "second-factor", IPC_BOOL, totp_is_on(acc));
	ipc_rec_number(
	    &b, "recovery-codes", IPC_NUMBER, totp_is_on(acc) ? acc->totp->recovery_count : 0);
	call_record(call, &b);
	hash_each(call->a->index.aliases, add_alias, &own);
	call_ok(call, "%s", "");
}

/* The session began with the old password just now (VERB_FRESH). */
void verb_my_password(struct call *call)
{
	struct account *acc = arg_own_account(call);

	if (acc)
		account_set_password(call, acc);
}
