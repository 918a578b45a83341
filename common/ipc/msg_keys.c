#include "common/ipc/msg.h"

void ipc_enc_key_fetch(struct strbuf *b, const struct ipc_key_fetch *m)
{
	if (m->count > IPC_KEY_IDS_MAX) {
		b->failed = true;
		return;
	}
	enc_bytes(b, m->purpose);
	enc_u32(b, m->count);
	for (uint32_t i = 0; i < m->count; i++)
		enc_bytes(b, m->ids[i]);
}

bool ipc_dec_key_fetch(struct span body, struct ipc_key_fetch *m)
{
	struct dec d = dec_of(body);

	m->purpose = dec_bytes(&d);
	m->count = dec_u32(&d);
	if (!dec_ok(&d) || m->count > IPC_KEY_IDS_MAX)
		return false;
	for (uint32_t i = 0; i < m->count; i++)
		m->ids[i] = dec_bytes(&d);
	return dec_done(&d);
}

void ipc_enc_key_set(struct strbuf *b, const struct ipc_key_set *m)
{
	if (m->ticket_count > IPC_KEY_TICKETS_MAX || m->count > IPC_KEY_IDS_MAX) {
		b->failed = true;
		return;
	}
	enc_u64(b, m->generation);
	enc_u32(b, m->ticket_count);
	for (uint32_t i = 0; i < m->ticket_count; i++)
		enc_bytes(b, m->tickets[i]);
	enc_u32(b, m->count);
}

void ipc_enc_key_cert(struct strbuf *b, const struct ipc_key_cert *m)
{
	enc_bytes(b, m->id);
	enc_bytes(b, m->chain);
	enc_bytes(b, m->key);
	enc_bytes(b, m->ocsp);
}

static bool dec_key_cert(struct dec *d, struct ipc_key_cert *m)
{
	m->id = dec_bytes(d);
	m->chain = dec_bytes(d);
	m->key = dec_bytes(d);
	m->ocsp = dec_bytes(d);
	return dec_ok(d);
}

bool ipc_dec_key_set(struct span body, struct ipc_key_set *m)
{
	struct dec d = dec_of(body);
	struct ipc_key_cert cert;

	m->generation = dec_u64(&d);
	m->ticket_count = dec_u32(&d);
	if (!dec_ok(&d) || m->ticket_count > IPC_KEY_TICKETS_MAX)
		return false;
	for (uint32_t i = 0; i < m->ticket_count; i++) {
		m->tickets[i] = dec_bytes(&d);
		if (m->tickets[i].n != IPC_KEY_TICKET_LEN)
			return false;
	}
	m->count = dec_u32(&d);
	m->certs = d;
	if (!dec_ok(&d) || m->count > IPC_KEY_IDS_MAX)
		return false;
	for (uint32_t i = 0; i < m->count; i++)
		if (!dec_key_cert(&d, &cert))
			return false;
	return dec_done(&d);
}

bool ipc_key_next(struct ipc_key_set *m, struct ipc_key_cert *cert)
{
	return m->certs.in.n > 0 && dec_key_cert(&m->certs, cert);
}

void ipc_enc_generation(struct strbuf *b, uint64_t generation)
{
	enc_u64(b, generation);
}

bool ipc_dec_generation(struct span body, uint64_t *generation)
{
	struct dec d = dec_of(body);

	*generation = dec_u64(&d);
	return dec_done(&d);
}

/* --- signing keys ----------------------------------------------------------------------------- */
void ipc_enc_dkim_fetch(struct strbuf *b, const struct ipc_dkim_fetch *m)
{
	enc_u64(b, m->generation);
	enc_bytes(b, m->after);
}

bool ipc_dec_dkim_fetch(struct span body, struct ipc_dkim_fetch *m)
{
	struct dec d = dec_of(body);

	m->generation = dec_u64(&d);
	m->after = dec_bytes(&d);
	return dec_done(&d);
}

void ipc_enc_dkim_set(struct strbuf *b, const struct ipc_dkim_set *m)
{
	enc_u64(b, m->generation);
	enc_u8(b, m->is_first);
	enc_u8(b, m->is_last);
}

void ipc_enc_dkim_key(struct strbuf *b, const struct ipc_dkim_key *m)
{
	enc_bytes(b, m->domain);
	enc_bytes(b, m->selector);
	enc_bytes(b, m->key);
}

static bool dec_dkim_key(struct dec *d, struct ipc_dkim_key *m)
{
	m->domain = dec_bytes(d);
	m->selector = dec_bytes(d);
	m->key = dec_bytes(d);
	return dec_ok(d);
}

bool ipc_dec_dkim_set(struct span body, struct ipc_dkim_set *m)
{
	struct dec d = dec_of(body);
	struct ipc_dkim_key key;

	m->generation = dec_u64(&d);
	m->is_first = dec_u8(&d) != 0;
	m->is_last = dec_u8(&d) != 0;
	m->keys = d;
	while (dec_ok(&d) && d.in.n > 0)
		(void)dec_dkim_key(&d, &key);
	return dec_done(&d);
}

bool ipc_dkim_next(struct ipc_dkim_set *m, struct ipc_dkim_key *key)
{
	return m->keys.in.n > 0 && dec_dkim_key(&m->keys, key);
}
