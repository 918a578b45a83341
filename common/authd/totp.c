#include "common/authd/totp.h"

#include "common/authd/args.h"
#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/event/clock.h"

#include <stdio.h>
#include <string.h>

#define RECOVERY_BYTES 10 /* 80 bits */
#define RECOVERY_TEXT (2 * RECOVERY_BYTES)
#define SECRET_TEXT (TOTP_SECRET_LEN * 8 / 5)

void totp_code(const unsigned char secret[TOTP_SECRET_LEN], uint64_t step, char out[7])
{
	unsigned char counter[8], mac[SHA1_LEN];
	uint32_t v;

	be_put64(counter, step);
	hmac_sha1(span_make(secret, TOTP_SECRET_LEN), span_make(counter, sizeof(counter)), mac);
	v = be_get32(mac + (mac[SHA1_LEN - 1] & 0xf)) & 0x7fffffff;
	snprintf(out, 7, "%06u", (unsigned)(v % 1000000));
}

bool totp_is_on(const struct account *acc)
{
	return acc->totp && acc->totp->is_confirmed;
}

static void put_row(struct change *c, uint64_t account, const struct totp_row *r)
{
	struct strbuf b;
	struct db_key key;

	strbuf_init(&b, 1024);
	row_enc_totp(&b, r);
	row_key_number(&key, ROW_TOTP, account);
	change_put(c, &key, &b);
}

/* Digits or letters as typed, without the spaces and dashes people put between them. */
static size_t tidy(struct span typed, char *out, size_t cap)
{
	size_t n = 0;

	for (size_t i = 0; i < typed.n; i++) {
		if (typed.p[i] == ' ' || typed.p[i] == '-')
			continue;
		if (n == cap)
			return 0;
		out[n++] = ascii_lower(typed.p[i]);
	}
	return n;
}

static bool take_step(const struct totp_row *old, struct span code, struct totp_row *next)
{
	uint64_t now = (uint64_t)clock_now() / TOTP_STEP_SECONDS;
	char want[7];

	for (uint64_t step = now - 1; step <= now + 1; step++) {
		totp_code(old->secret, step, want);
		if (step > old->step && mem_equal_secret(want, code.p, TOTP_DIGITS)) {
			next->step = step;
			return true;
		}
	}
	return false;
}

static bool take_recovery(const struct totp_row *old, struct span code, struct totp_row *next)
{
	unsigned char hash[SHA256_LEN];

	sha256_once(code, hash);
	for (uint32_t i = 0; i < old->recovery_count; i++) {
		if (!mem_equal_secret(hash, old->recovery[i], sizeof(hash)))
			continue;
		next->recovery_count--;
		memcpy(next->recovery[i], old->recovery[old->recovery_count - 1], sizeof(hash));
		return true;
	}
	return false;
}

bool totp_take(struct account *acc, struct span code, struct change *c)
{
	struct totp_row next = *acc->totp;
	char text[RECOVERY_TEXT];
	size_t n = tidy(code, text, sizeof(text));
	bool is_right = false;

	if (n == TOTP_DIGITS)
		is_right = take_step(acc->totp, span_make(text, n), &next);
	else if (n == RECOVERY_TEXT)
		is_right = take_recovery(acc->totp, span_make(text, n), &next);
	/* In memory at once: the same code in another login at this moment is wrong already. */
	if (is_right) {
		*acc->totp = next;
		put_row(c, acc->number, &next);
	}
	mem_wipe(&next, sizeof(next));
	return is_right;
}

/* --- verbs --------------------------------------------------------------------------------------
 */
static void base32(const unsigned char *in, size_t n, char *out)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	uint32_t bits = 0;
	unsigned have = 0;

	for (size_t i = 0; i < n; i++) {
		bits = bits << 8 | in[i];
		for (have += 8; have >= 5; have -= 5)
			*out++ = letters[bits >> (have - 5) & 31];
	}
	*out = '\0';
}

struct begun {
	char secret[SECRET_TEXT + 1];
	char recovery[RECOVERY_CODES][RECOVERY_TEXT + 1];
};

static void tell_secret(struct call *call)
{
	const struct begun *t = call->arg;
	struct strbuf b;

	strbuf_init(&b, 4096);
	ipc_rec_text(&b, "secret", span_of(t->secret));
	call_record(call, &b);
	for (size_t i = 0; i < RECOVERY_CODES; i++) {
		strbuf_init(&b, 256);
		ipc_rec_text(&b, "recovery", span_of(t->recovery[i]));
		call_record(call, &b);
	}
	call_ok(call, "shown only once: confirm with a code of the device");
}

void verb_totp_begin(struct call *call)
{
	struct account *acc = arg_own_account(call);
	struct totp_row row = {.recovery_count = RECOVERY_CODES};
	struct begun *t;

	if (!acc)
		return;
	if (totp_is_on(acc)) {
		call_fail(call, ERR_EXISTS, "there is a second factor: remove it first");
		return;
	}
	t = mem_zalloc(sizeof(*t));
	random_bytes(row.secret, sizeof(row.secret));
	base32(row.secret, sizeof(row.secret), t->secret);
	for (size_t i = 0; i < RECOVERY_CODES; i++) {
		random_hex(t->recovery[i], RECOVERY_BYTES);
		sha256_once(span_of(t->recovery[i]), row.recovery[i]);
	}
	put_row(call_change(call), acc->number, &row);
	mem_wipe(&row, sizeof(row));
	call->arg = t;
	call->arg_n = sizeof(*t);
	call->after = tell_secret;
	call_commit(call, "%s", "");
}

void verb_totp_confirm(struct call *call)
{
	struct account *acc = arg_own_account(call);
	struct totp_row row;
	char text[TOTP_DIGITS];
	size_t n;

	if (!acc)
		return;
	if (!acc->totp || acc->totp->is_confirmed) {
		call_fail(call, ERR_INVALID, "nothing to confirm");
		return;
	}
	row = *acc->totp;
	n = tidy(call->args[0], text, sizeof(text));
	if (n != TOTP_DIGITS || !take_step(acc->totp, span_make(text, n), &row)) {
		call_fail(call, ERR_DENIED, "this is not the code that the device shows now");
		return;
	}
	row.is_confirmed = true;
	put_row(call_change(call), acc->number, &row);
	mem_wipe(&row, sizeof(row));
	call_commit(call, "the second factor is on");
}

static void remove_row(struct call *call, const struct account *acc)
{
	struct db_key key;

	row_key_number(&key, ROW_TOTP, acc->number);
	change_del(call_change(call), &key);
	call_commit(call, "the second factor is off");
}

void verb_totp_remove(struct call *call)
{
	struct account *acc = arg_own_account(call);

	if (acc)
		remove_row(call, acc);
}

void verb_totp_remove_other(struct call *call)
{
	struct account *acc = arg_account(call, 0);

	if (acc)
		remove_row(call, acc);
}
