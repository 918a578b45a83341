/* MTA-STS policies, fetched for who sends. */
#include "common/ipc/msg.h"

void ipc_enc_policy_ask(struct strbuf *b, const struct ipc_policy_ask *m)
{
	enc_bytes(b, m->domain);
	enc_u32(b, m->count);
	for (uint32_t i = 0; i < m->count; i++)
		enc_bytes(b, m->addresses[i]);
}

bool ipc_dec_policy_ask(struct span body, struct ipc_policy_ask *m)
{
	struct dec d = dec_of(body);

	m->domain = dec_bytes(&d);
	m->count = dec_u32(&d);
	if (m->count > IPC_POLICY_ADDRESSES)
		return false;
	for (uint32_t i = 0; i < m->count; i++)
		m->addresses[i] = dec_bytes(&d);
	return dec_done(&d);
}

void ipc_enc_policy(struct strbuf *b, const struct ipc_policy *m)
{
	enc_u8(b, m->status);
	enc_bytes(b, m->text);
}

bool ipc_dec_policy(struct span body, struct ipc_policy *m)
{
	struct dec d = dec_of(body);

	m->status = dec_u8(&d);
	m->text = dec_bytes(&d);
	return dec_done(&d) && m->status < POLICY_STATUS_COUNT;
}
