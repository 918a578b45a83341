#include "common/authd/setup.h"

#include "common/authd/call.h"
#include "common/authd/login.h"
#include "common/authd/session.h"
#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <string.h>

#define CODE_BYTES 16
#define GROUP 4
#define CODE_TEXT (2 * CODE_BYTES + 2 * CODE_BYTES / GROUP) /* groups of four, and a NUL */

int setup_apply(struct authd *a, struct span row, struct err *err)
{
	a->setup = (struct setup_row){0};
	if (row.p && !row_dec_setup(row, &a->setup))
		return err_set(err, ERR_CORRUPT, "accounts: the setup code's row does not decode");
	return 0;
}

static void put_row(struct change *c, const struct setup_row *r)
{
	struct strbuf b;
	struct db_key key;

	strbuf_init(&b, 128);
	row_enc_setup(&b, r);
	row_key_text(&key, ROW_SETUP, span_make("", 0));
	change_put(c, &key, &b);
}

static bool is_open(const struct authd *a)
{
	uint64_t now = (uint64_t)clock_now();

	return a->setup.created != 0 && now < a->setup.created + SETUP_SECONDS &&
	       a->setup.wrong < SETUP_WRONG_MAX;
}

/* --- setup-code --------------------------------------------------------------------------------
 */
struct fresh_code {
	char text[CODE_TEXT];
};

static void tell_code(struct call *call)
{
	const struct fresh_code *code = call->arg;
	struct strbuf b;

	strbuf_init(&b, 256);
	ipc_rec_text(&b, "code", span_of(code->text));
	ipc_rec_number(&b, "expires", IPC_TIME, call->a->setup.created + SETUP_SECONDS);
	call_record(call, &b);
	call_ok(call, "type this code into the web admin; it is shown only once");
}

void verb_setup_code(struct call *call)
{
	struct setup_row row = {.created = (uint64_t)clock_now()};
	char hex[2 * CODE_BYTES + 1];
	struct fresh_code *code;
	size_t n = 0;

	if (index_has_admin(&call->a->index)) {
		call_fail(call, ERR_EXISTS,
		    "there is an administrator already: account password sets a new password");
		return;
	}
	code = mem_zalloc(sizeof(*code));
	random_hex(hex, CODE_BYTES);
	for (size_t i = 0; i < 2 * CODE_BYTES; i++) {
		if (i > 0 && i % GROUP == 0)
			code->text[n++] = '-';
		code->text[n++] = hex[i];
	}
	sha256_once(span_make(hex, 2 * CODE_BYTES), row.hash);
	mem_wipe(hex, sizeof(hex));
	put_row(call_change(call), &row);
	call->arg = code;
	call->arg_n = sizeof(*code);
	call->after = tell_code;
	call_commit(call, "%s", "");
}

/* --- setup status ------------------------------------------------------------------------------
 */
void verb_setup_status(struct call *call)
{
	struct strbuf b;

	strbuf_init(&b, 256);
	ipc_rec_number(&b, "needed", IPC_BOOL, !index_has_admin(&call->a->index));
	ipc_rec_number(&b, "code", IPC_BOOL, is_open(call->a));
	call_record(call, &b);
	call_ok(call, "%s", "");
}

/* --- setup begin -------------------------------------------------------------------------------
 */
struct token {
	char text[SESSION_TOKEN_LEN + 1];
};

static void tell_token(struct call *call)
{
	const struct token *t = call->arg;
	struct strbuf b;

	strbuf_init(&b, 256);
	ipc_rec_text(&b, "token", span_of(t->text));
	call_record(call, &b);
	call_ok(call, "%s", "");
}

/* As it was typed: any case, with or without its dashes. */
static bool is_right(const struct authd *a, struct span typed)
{
	unsigned char hash[SHA256_LEN];
	char hex[2 * CODE_BYTES];
	size_t n = 0;

	for (size_t i = 0; i < typed.n; i++) {
		if (typed.p[i] == '-' || typed.p[i] == ' ')
			continue;
		if (n == sizeof(hex))
			return false;
		hex[n++] = ascii_lower(typed.p[i]);
	}
	sha256_once(span_make(hex, n), hash);
	mem_wipe(hex, sizeof(hex));
	return mem_equal_secret(hash, a->setup.hash, sizeof(hash));
}

static void refuse(struct call *call)
{
	struct setup_row row = call->a->setup;
	struct change *c = change_new(call->a);

	row.wrong++;
	put_row(c, &row);
	change_commit_lazy(c);
	log_warning(
	    "setup-code-wrong", LOG_SPAN("client", call_client(call)), LOG_U64("tries", row.wrong));
	call_fail(
	    call, ERR_DENIED, "this is not the code; mailsteadctl setup-code makes a new one");
}

void verb_setup_begin(struct call *call)
{
	static const struct throttle_limits limits = {SETUP_WRONG_PER_NETWORK, UINT64_MAX};
	struct authd *a = call->a;
	unsigned char net[NET_KEY_MAX];
	struct throttle_who who = {
	    .network = login_network(call_client(call), net), .account = SPAN("setup")};
	uint64_t now = clock_mono_ms() / 1000;
	struct token *t;

	if (index_has_admin(&a->index)) {
		call_fail(call, ERR_EXISTS, "this server is set up: sign in");
		return;
	}
	if (!is_open(a)) {
		call_fail(call, ERR_DENIED, "no code is open: mailsteadctl setup-code makes one");
		return;
	}
	if (throttle_ask(a->setup_throttle, &who, &limits, now) != THROTTLE_GO) {
		call_fail(call, ERR_TEMP, "too many wrong codes from here, try again in an hour");
		return;
	}
	throttle_begin(a->setup_throttle, &who, now);
	if (!is_right(a, call->cmd.secret)) {
		throttle_end(a->setup_throttle, &who, true, now);
		refuse(call);
		return;
	}
	throttle_end(a->setup_throttle, &who, false, now);
	memcpy(call->who, "setup", 6);
	t = mem_zalloc(sizeof(*t));
	session_create(a, call_change(call), SESSION_SETUP, t->text);
	call->arg = t;
	call->arg_n = sizeof(*t);
	call->after = tell_token;
	call_commit(call, "%s", "");
}
