#include "common/ipc/msg.h"

void ipc_enc_error(struct strbuf *b, const struct ipc_error *m)
{
	enc_u16(b, m->code);
	enc_bytes(b, m->text);
}

bool ipc_dec_error(struct span body, struct ipc_error *m)
{
	struct dec d = dec_of(body);

	m->code = dec_u16(&d);
	m->text = dec_bytes(&d);
	return dec_done(&d);
}

void ipc_enc_login(struct strbuf *b, const struct ipc_login *m)
{
	enc_bytes(b, m->protocol);
	enc_bytes(b, m->listener);
	enc_bytes(b, m->client);
	enc_bytes(b, m->user);
	enc_bytes(b, m->password);
}

bool ipc_dec_login(struct span body, struct ipc_login *m)
{
	struct dec d = dec_of(body);

	m->protocol = dec_bytes(&d);
	m->listener = dec_bytes(&d);
	m->client = dec_bytes(&d);
	m->user = dec_bytes(&d);
	m->password = dec_bytes(&d);
	return dec_done(&d);
}

void ipc_enc_login_result(struct strbuf *b, const struct ipc_login_result *m)
{
	enc_u8(b, m->status);
	enc_u64(b, m->account);
	enc_bytes(b, m->address);
	enc_u64(b, m->quota_bytes);
	enc_u64(b, m->quota_messages);
	enc_u64(b, m->sessions_max);
	enc_bytes(b, m->text);
}

bool ipc_dec_login_result(struct span body, struct ipc_login_result *m)
{
	struct dec d = dec_of(body);

	m->status = dec_u8(&d);
	m->account = dec_u64(&d);
	m->address = dec_bytes(&d);
	m->quota_bytes = dec_u64(&d);
	m->quota_messages = dec_u64(&d);
	m->sessions_max = dec_u64(&d);
	m->text = dec_bytes(&d);
	return dec_done(&d);
}

void ipc_enc_resolve(struct strbuf *b, const struct ipc_resolve *m)
{
	enc_bytes(b, m->address);
}

bool ipc_dec_resolve(struct span body, struct ipc_resolve *m)
{
	struct dec d = dec_of(body);

	m->address = dec_bytes(&d);
	return dec_done(&d);
}

static bool dec_target(struct dec *d, struct ipc_target *t)
{
	t->account = dec_u64(d);
	t->quota_bytes = dec_u64(d);
	t->quota_messages = dec_u64(d);
	t->address = dec_bytes(d);
	t->detail = dec_bytes(d);
	return dec_ok(d);
}

void ipc_enc_resolved(struct strbuf *b, uint8_t status, const struct ipc_target *targets, size_t n)
{
	if (n > IPC_RESOLVE_MAX) {
		b->failed = true;
		return;
	}
	enc_u8(b, status);
	enc_u32(b, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		enc_u64(b, targets[i].account);
		enc_u64(b, targets[i].quota_bytes);
		enc_u64(b, targets[i].quota_messages);
		enc_bytes(b, targets[i].address);
		enc_bytes(b, targets[i].detail);
	}
}

bool ipc_dec_resolved(struct span body, struct ipc_resolved *m)
{
	struct dec d = dec_of(body);
	struct ipc_target t;

	m->status = dec_u8(&d);
	m->count = dec_u32(&d);
	m->targets = d;
	if (!dec_ok(&d) || m->count > IPC_RESOLVE_MAX)
		return false;
	for (uint32_t i = 0; i < m->count; i++)
		if (!dec_target(&d, &t))
			return false;
	return dec_done(&d);
}

bool ipc_target_next(struct ipc_resolved *m, struct ipc_target *t)
{
	return m->targets.in.n > 0 && dec_target(&m->targets, t);
}

void ipc_enc_sender(struct strbuf *b, const struct ipc_sender *m)
{
	enc_u64(b, m->account);
	enc_bytes(b, m->address);
}

bool ipc_dec_sender(struct span body, struct ipc_sender *m)
{
	struct dec d = dec_of(body);

	m->account = dec_u64(&d);
	m->address = dec_bytes(&d);
	return dec_done(&d);
}

void ipc_enc_submit(struct strbuf *b, const struct ipc_submit *m)
{
	enc_u64(b, m->account);
	enc_u8(b, m->step);
	enc_bytes(b, m->address);
}

bool ipc_dec_submit(struct span body, struct ipc_submit *m)
{
	struct dec d = dec_of(body);

	m->account = dec_u64(&d);
	m->step = dec_u8(&d);
	m->address = dec_bytes(&d);
	return dec_done(&d) && m->step <= SUBMIT_SENT;
}

void ipc_enc_submit_result(struct strbuf *b, const struct ipc_submit_result *m)
{
	enc_u8(b, m->status);
	enc_bytes(b, m->text);
}

bool ipc_dec_submit_result(struct span body, struct ipc_submit_result *m)
{
	struct dec d = dec_of(body);

	m->status = dec_u8(&d);
	m->text = dec_bytes(&d);
	return dec_done(&d) && m->status <= SUBMIT_LIMITED;
}

void ipc_enc_admin(struct strbuf *b, const struct ipc_admin *m)
{
	if (m->count > IPC_ADMIN_WORDS) {
		b->failed = true;
		return;
	}
	enc_bytes(b, m->token);
	enc_bytes(b, m->client);
	enc_bytes(b, m->secret);
	enc_u32(b, m->count);
	for (uint32_t i = 0; i < m->count; i++)
		enc_bytes(b, m->words[i]);
	enc_bytes(b, m->content);
}

bool ipc_dec_admin(struct span body, struct ipc_admin *m)
{
	struct dec d = dec_of(body);

	m->token = dec_bytes(&d);
	m->client = dec_bytes(&d);
	m->secret = dec_bytes(&d);
	m->count = dec_u32(&d);
	if (!dec_ok(&d) || m->count > IPC_ADMIN_WORDS)
		return false;
	for (uint32_t i = 0; i < m->count; i++)
		m->words[i] = dec_bytes(&d);
	m->content = dec_bytes(&d);
	return dec_done(&d);
}

void ipc_rec_text(struct strbuf *b, const char *name, struct span v)
{
	enc_str(b, name);
	enc_u8(b, IPC_TEXT);
	enc_bytes(b, v);
}

void ipc_rec_number(struct strbuf *b, const char *name, enum ipc_value_type type, uint64_t v)
{
	enc_str(b, name);
	enc_u8(b, (uint8_t)type);
	enc_u64(b, v);
}

bool ipc_rec_next(struct dec *d, struct ipc_value *v)
{
	if (d->bad || d->in.n == 0)
		return false;
	*v = (struct ipc_value){.name = dec_bytes(d)};
	v->type = dec_u8(d);
	if (v->type == IPC_TEXT)
		v->text = dec_bytes(d);
	else if (v->type <= IPC_TIME)
		v->number = dec_u64(d);
	else
		d->bad = true;
	return dec_ok(d);
}
