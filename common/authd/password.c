#include "common/authd/password.h"

#include "common/base/base64.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/crypto/crypto.h"

#include <argon2.h>
#include <string.h>

#define SALT_LEN 16
#define HASH_LEN 32

static int corrupt(struct err *err, const char *what)
{
	return err_set(err, ERR_CORRUPT, "bad password hash: %s", what);
}

static bool take_number(struct span *s, struct span key, uint64_t max, uint32_t *out)
{
	uint64_t v;

	if (!span_starts(*s, key))
		return false;
	*s = span_from(*s, key.n);
	if (s->n == 0 || s->p[0] == '0' || !span_take_u64(s, max, &v))
		return false;
	*out = (uint32_t)v;
	return true;
}

/* Base64 without padding, as PHC strings have it. */
static bool take_base64(struct span in, unsigned char *out, size_t cap, size_t min, size_t *n)
{
	struct strbuf padded, plain;
	bool ok;

	if (in.n > BASE64_ENCODED_LEN(cap) || span_chr(in, '=') >= 0)
		return false;
	strbuf_init(&padded, BASE64_ENCODED_LEN(cap) + 4);
	strbuf_init(&plain, cap);
	strbuf_add(&padded, in);
	while (padded.n % 4 != 0 && !padded.failed)
		strbuf_add_chr(&padded, '=');
	ok = base64_decode(&plain, strbuf_span(&padded)) && plain.n >= min && plain.n <= cap;
	if (ok) {
		memcpy(out, plain.p, plain.n);
		*n = plain.n;
	}
	strbuf_clear(&padded);
	strbuf_clear(&plain);
	return ok;
}

int phc_parse(struct phc *out, struct span text, struct err *err)
{
	struct hash_params *p = &out->params;
	struct span salt;

	if (text.n > PHC_MAX)
		return corrupt(err, "too long");
	if (!span_starts(text, SPAN("$argon2id$v=19$")))
		return corrupt(err, "not argon2id, version 19");
	text = span_from(text, sizeof("$argon2id$v=19$") - 1);
	if (!take_number(&text, SPAN("m="), 1024 * 1024, &p->memory_kib) ||
	    !take_number(&text, SPAN(",t="), 16, &p->passes) ||
	    !take_number(&text, SPAN(",p="), 4, &p->lanes) || p->memory_kib < 8 * p->lanes ||
	    !span_take_chr(&text, '$'))
		return corrupt(err, "parameters");
	if (!span_split(&text, '$', &salt) ||
	    !take_base64(salt, out->salt, sizeof(out->salt), 8, &out->salt_n))
		return corrupt(err, "salt");
	if (!text.p || !take_base64(text, out->hash, sizeof(out->hash), 16, &out->hash_n))
		return corrupt(err, "hash");
	return 0;
}

static void add_base64(struct strbuf *out, struct span in)
{
	size_t start = out->n;

	base64_encode(out, in);
	while (out->n > start && out->p[out->n - 1] == '=')
		strbuf_truncate(out, out->n - 1);
}

bool phc_format(const struct phc *p, struct strbuf *out)
{
	strbuf_addf(out, "$argon2id$v=19$m=%u,t=%u,p=%u$", p->params.memory_kib, p->params.passes,
	    p->params.lanes);
	add_base64(out, span_make(p->salt, p->salt_n));
	strbuf_add_chr(out, '$');
	add_base64(out, span_make(p->hash, p->hash_n));
	return !out->failed;
}

bool phc_has_params(const struct phc *p, const struct hash_params *params)
{
	return p->params.memory_kib == params->memory_kib && p->params.passes == params->passes &&
	       p->params.lanes == params->lanes && p->hash_n == HASH_LEN && p->salt_n == SALT_LEN;
}

static int run_argon2(
    const struct phc *p, struct span password, unsigned char *out, struct err *err)
{
	int rc = argon2id_hash_raw(p->params.passes, p->params.memory_kib, p->params.lanes,
	    password.n > 0 ? password.p : "", password.n, p->salt, p->salt_n, out, p->hash_n);

	if (rc == ARGON2_OK)
		return 0;
	return err_set(err, rc == ARGON2_MEMORY_ALLOCATION_ERROR ? ERR_NO_SPACE : ERR_IO,
	    "password hash: %s", argon2_error_message(rc));
}

int password_make(
    const struct hash_params *params, struct span password, char out[PHC_MAX + 1], struct err *err)
{
	struct phc p = {.params = *params, .salt_n = SALT_LEN, .hash_n = HASH_LEN};
	struct strbuf b;
	int rc = -1;

	strbuf_init(&b, PHC_MAX);
	random_bytes(p.salt, p.salt_n);
	if (run_argon2(&p, password, p.hash, err) < 0)
		goto out;
	if (!phc_format(&p, &b)) {
		err_set(err, ERR_IO, "password hash: too long");
		goto out;
	}
	memcpy(out, b.p, b.n + 1);
	rc = 0;
out:
	strbuf_clear(&b);
	mem_wipe(&p, sizeof(p));
	return rc;
}

int password_verify(struct span phc, struct span password, struct err *err)
{
	struct phc p = {0};
	unsigned char got[sizeof(p.hash)];
	int rc;

	if (phc_parse(&p, phc, err) < 0 || run_argon2(&p, password, got, err) < 0)
		return -1;
	rc = mem_equal_secret(got, p.hash, p.hash_n) ? 1 : 0;
	mem_wipe(got, sizeof(got));
	mem_wipe(&p, sizeof(p));
	return rc;
}

int password_check_new(struct span password, struct err *err)
{
	if (password.n < PASSWORD_MIN)
		return err_set(
		    err, ERR_INVALID, "a password needs at least %d characters", PASSWORD_MIN);
	if (password.n > PASSWORD_MAX)
		return err_set(err, ERR_INVALID, "a password has at most %d bytes", PASSWORD_MAX);
	for (size_t i = 0; i < password.n; i++)
		if (ascii_is_ctl(password.p[i]))
			return err_set(
			    err, ERR_INVALID, "a password must not contain control characters");
	if (!utf8_is_valid(password))
		return err_set(err, ERR_INVALID, "a password must be valid UTF-8");
	return 0;
}

void password_dummy(const struct hash_params *params, char out[PHC_MAX + 1])
{
	struct phc p = {.params = *params, .salt_n = SALT_LEN, .hash_n = HASH_LEN};
	struct strbuf b;

	/* A hash that is not that of any password anyone can find: no argon2 needed to make it. */
	random_bytes(p.salt, p.salt_n);
	random_bytes(p.hash, p.hash_n);
	strbuf_init(&b, PHC_MAX);
	phc_format(&p, &b);
	memcpy(out, b.p, b.n + 1);
	strbuf_clear(&b);
}
