#include "common/ipc/msg.h"

void ipc_enc_config(struct strbuf *b, const struct ipc_config *m)
{
	enc_bytes(b, m->main_path);
	enc_bytes(b, m->main_text);
	enc_bytes(b, m->settings_path);
	enc_bytes(b, m->settings_text);
}

bool ipc_dec_config(struct span body, struct ipc_config *m)
{
	struct dec d = dec_of(body);

	m->main_path = dec_bytes(&d);
	m->main_text = dec_bytes(&d);
	m->settings_path = dec_bytes(&d);
	m->settings_text = dec_bytes(&d);
	return dec_done(&d);
}

void ipc_enc_socket(struct strbuf *b, const struct ipc_socket *m)
{
	enc_bytes(b, m->address);
	enc_u16(b, m->port);
}

bool ipc_dec_socket(struct span body, struct ipc_socket *m)
{
	struct dec d = dec_of(body);

	m->address = dec_bytes(&d);
	m->port = dec_u16(&d);
	return dec_done(&d);
}
