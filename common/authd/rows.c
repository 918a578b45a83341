#include "common/authd/rows.h"

#include "common/authd/name.h"

#include <string.h>

#define ROW_VERSION 1
#define ROW_VERSION_UNTIL 2 /* of an alias that ends */

static void key_begin(struct db_key *k, enum row_kind kind)
{
	db_key_init(k);
	db_key_u8(k, (uint8_t)kind);
}

void row_key_counter(struct db_key *k, const char *name)
{
	row_key_text(k, ROW_COUNTER, span_of(name));
}

void row_key_text(struct db_key *k, enum row_kind kind, struct span text)
{
	key_begin(k, kind);
	db_key_raw(k, text);
}

void row_key_number(struct db_key *k, enum row_kind kind, uint64_t number)
{
	key_begin(k, kind);
	db_key_u64(k, number);
}

void row_key_app(struct db_key *k, enum row_kind kind, uint64_t account, uint64_t id)
{
	key_begin(k, kind);
	db_key_u64(k, account);
	db_key_u64(k, id);
}

void row_key_parted(struct db_key *k, uint64_t account, bool was_all, struct span alias)
{
	key_begin(k, ROW_PARTED);
	db_key_u64(k, account);
	db_key_u8(k, was_all);
	db_key_raw(k, alias);
}

void row_key_known(struct db_key *k, uint64_t account, struct span net)
{
	key_begin(k, ROW_KNOWN);
	db_key_u64(k, account);
	db_key_raw(k, net);
}

bool row_key_parse(struct span key, enum row_kind *kind, struct dec *rest)
{
	uint8_t k;

	*rest = dec_of(key);
	k = dec_u8(rest);
	if (!dec_ok(rest) || k < ROW_COUNTER || k > ROW_LAST)
		return false;
	*kind = (enum row_kind)k;
	return true;
}

static struct dec begin(struct span row)
{
	struct dec d = dec_of(row);

	if (dec_u8(&d) != ROW_VERSION)
		d.bad = true;
	return d;
}

void row_enc_u64(struct strbuf *b, uint64_t v)
{
	enc_u8(b, ROW_VERSION);
	enc_u64(b, v);
}

bool row_dec_u64(struct span row, uint64_t *v)
{
	struct dec d = begin(row);

	*v = dec_u64(&d);
	return dec_done(&d);
}

void row_enc_domain(struct strbuf *b, const struct domain_row *r)
{
	row_enc_u64(b, r->created);
}

bool row_dec_domain(struct span row, struct domain_row *r)
{
	return row_dec_u64(row, &r->created);
}

void row_enc_user(struct strbuf *b, const struct user_row *r)
{
	enc_u8(b, ROW_VERSION);
	enc_bytes(b, r->address);
	enc_bytes(b, r->phc);
	enc_u32(b, r->flags);
	enc_u32(b, r->protocols);
	enc_u64(b, r->quota_bytes);
	enc_u64(b, r->quota_messages);
	enc_u64(b, r->created);
	enc_u64(b, r->changed);
	enc_u64(b, r->deleting);
}

bool row_dec_user(struct span row, struct user_row *r)
{
	struct dec d = begin(row);

	r->address = dec_bytes(&d);
	r->phc = dec_bytes(&d);
	r->flags = dec_u32(&d);
	r->protocols = dec_u32(&d);
	r->quota_bytes = dec_u64(&d);
	r->quota_messages = dec_u64(&d);
	r->created = dec_u64(&d);
	r->changed = dec_u64(&d);
	r->deleting = dec_u64(&d);
	return dec_done(&d) && r->address.n > 0 && r->address.n <= NAME_TEXT_MAX;
}

void row_enc_alias(struct strbuf *b, const struct span *targets, uint32_t count)
{
	enc_u8(b, ROW_VERSION);
	enc_u32(b, count);
	for (uint32_t i = 0; i < count; i++)
		enc_bytes(b, targets[i]);
}

void row_enc_alias_until(
    struct strbuf *b, const struct span *targets, uint32_t count, uint64_t until)
{
	if (until == 0) {
		row_enc_alias(b, targets, count);
		return;
	}
	enc_u8(b, ROW_VERSION_UNTIL);
	enc_u64(b, until);
	enc_u32(b, count);
	for (uint32_t i = 0; i < count; i++)
		enc_bytes(b, targets[i]);
}

bool row_dec_alias(struct span row, struct alias_row *r)
{
	struct dec d = dec_of(row);
	uint8_t version = dec_u8(&d);

	if (version != ROW_VERSION && version != ROW_VERSION_UNTIL)
		return false;
	r->until = version == ROW_VERSION_UNTIL ? dec_u64(&d) : 0;
	r->count = dec_u32(&d);
	r->targets = d;
	if (!dec_ok(&d) || r->count == 0 || r->count > ALIAS_TARGETS_MAX)
		return false;
	for (uint32_t i = 0; i < r->count; i++) {
		struct span t = dec_bytes(&d);

		if (!dec_ok(&d) || t.n == 0 || t.n > NAME_TEXT_MAX)
			return false;
	}
	return dec_done(&d);
}

void row_enc_limits(struct strbuf *b, const struct limits_row *r)
{
	enc_u8(b, ROW_VERSION);
	for (int i = 0; i < LIMIT_COUNT; i++)
		enc_u64(b, r->values[i]);
}

bool row_dec_limits(struct span row, struct limits_row *r)
{
	struct dec d = begin(row);

	for (int i = 0; i < LIMIT_COUNT; i++)
		r->values[i] = dec_u64(&d);
	return dec_done(&d);
}

void row_enc_text(struct strbuf *b, struct span text)
{
	enc_u8(b, ROW_VERSION);
	enc_bytes(b, text);
}

bool row_dec_text(struct span row, struct span *text)
{
	struct dec d = begin(row);

	*text = dec_bytes(&d);
	return dec_done(&d);
}

void row_enc_app(struct strbuf *b, const struct app_row *r)
{
	enc_u8(b, ROW_VERSION);
	enc_bytes(b, r->label);
	enc_bytes(b, r->salt);
	enc_bytes(b, r->hash);
	enc_u32(b, r->protocols);
	enc_u64(b, r->created);
}

bool row_dec_app(struct span row, struct app_row *r)
{
	struct dec d = begin(row);

	r->label = dec_bytes(&d);
	r->salt = dec_bytes(&d);
	r->hash = dec_bytes(&d);
	r->protocols = dec_u32(&d);
	r->created = dec_u64(&d);
	return dec_done(&d) && r->salt.n == APP_SALT_LEN && r->hash.n == APP_HASH_LEN;
}

void row_enc_session(struct strbuf *b, const struct session_row *r)
{
	enc_u8(b, ROW_VERSION);
	enc_u64(b, r->account);
	enc_u64(b, r->created);
	enc_u64(b, r->seen);
}

bool row_dec_session(struct span row, struct session_row *r)
{
	struct dec d = begin(row);

	r->account = dec_u64(&d);
	r->created = dec_u64(&d);
	r->seen = dec_u64(&d);
	return dec_done(&d);
}

static void copy(struct dec *d, unsigned char *out, size_t n)
{
	struct span s = dec_raw(d, n);

	if (dec_ok(d))
		memcpy(out, s.p, n);
}

void row_enc_totp(struct strbuf *b, const struct totp_row *r)
{
	enc_u8(b, ROW_VERSION);
	enc_u8(b, r->is_confirmed);
	enc_u64(b, r->step);
	strbuf_add(b, span_make(r->secret, sizeof(r->secret)));
	enc_u32(b, r->recovery_count);
	for (uint32_t i = 0; i < r->recovery_count; i++)
		strbuf_add(b, span_make(r->recovery[i], RECOVERY_HASH_LEN));
}

bool row_dec_totp(struct span row, struct totp_row *r)
{
	struct dec d = begin(row);

	r->is_confirmed = dec_u8(&d) != 0;
	r->step = dec_u64(&d);
	copy(&d, r->secret, sizeof(r->secret));
	r->recovery_count = dec_u32(&d);
	if (!dec_ok(&d) || r->recovery_count > RECOVERY_CODES)
		return false;
	for (uint32_t i = 0; i < r->recovery_count; i++)
		copy(&d, r->recovery[i], RECOVERY_HASH_LEN);
	return dec_done(&d);
}

void row_enc_setup(struct strbuf *b, const struct setup_row *r)
{
	enc_u8(b, ROW_VERSION);
	strbuf_add(b, span_make(r->hash, sizeof(r->hash)));
	enc_u64(b, r->created);
	enc_u32(b, r->wrong);
}

bool row_dec_setup(struct span row, struct setup_row *r)
{
	struct dec d = begin(row);

	copy(&d, r->hash, sizeof(r->hash));
	r->created = dec_u64(&d);
	r->wrong = dec_u32(&d);
	return dec_done(&d);
}

void row_enc_audit(struct strbuf *b, const struct audit_row *r)
{
	enc_u8(b, ROW_VERSION);
	enc_u64(b, r->time);
	enc_bytes(b, r->who);
	enc_bytes(b, r->client);
	enc_bytes(b, r->words);
	enc_bytes(b, r->result);
}

bool row_dec_audit(struct span row, struct audit_row *r)
{
	struct dec d = begin(row);

	r->time = dec_u64(&d);
	r->who = dec_bytes(&d);
	r->client = dec_bytes(&d);
	r->words = dec_bytes(&d);
	r->result = dec_bytes(&d);
	return dec_done(&d);
}
