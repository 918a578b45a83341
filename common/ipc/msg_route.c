/* Routes, servers that take mail instead of a domain's own; senders of what is forwarded. */
#include "common/ipc/msg.h"

void ipc_enc_route_ask(struct strbuf *b, const struct ipc_route_ask *m)
{
	enc_bytes(b, m->to);
	enc_bytes(b, m->from);
}

bool ipc_dec_route_ask(struct span body, struct ipc_route_ask *m)
{
	struct dec d = dec_of(body);

	m->to = dec_bytes(&d);
	m->from = dec_bytes(&d);
	return dec_done(&d);
}

void ipc_enc_relay(struct strbuf *b, const struct ipc_relay *r)
{
	enc_bytes(b, r->host);
	enc_u32(b, r->port);
	enc_u8(b, r->tls);
	enc_bytes(b, r->user);
	enc_bytes(b, r->password);
}

bool ipc_relay_next(struct dec *d, struct ipc_relay *r)
{
	uint32_t port;

	r->host = dec_bytes(d);
	port = dec_u32(d);
	r->tls = dec_u8(d);
	r->user = dec_bytes(d);
	r->password = dec_bytes(d);
	r->port = (uint16_t)port;
	return dec_ok(d) && port <= UINT16_MAX && r->tls < RELAY_TLS_COUNT;
}

bool ipc_dec_route(struct span body, struct ipc_route *m)
{
	struct dec d = dec_of(body);
	struct ipc_relay r;

	m->has_from = dec_u8(&d) != 0;
	m->count = dec_u32(&d);
	m->relays = d;
	if (!dec_ok(&d) || m->count > IPC_RELAYS_MAX)
		return false;
	for (uint32_t i = 0; i < m->count; i++)
		if (!ipc_relay_next(&d, &r))
			return false;
	return dec_done(&d);
}

void ipc_enc_forward(struct strbuf *b, const struct ipc_forward *m)
{
	enc_bytes(b, m->sender);
	enc_bytes(b, m->address);
}

bool ipc_dec_forward(struct span body, struct ipc_forward *m)
{
	struct dec d = dec_of(body);

	m->sender = dec_bytes(&d);
	m->address = dec_bytes(&d);
	return dec_done(&d);
}
