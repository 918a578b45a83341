/* app-password ...: passwords for one device or program, made here and shown once. */
#include "common/authd/args.h"
#include "common/authd/login.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/crypto/crypto.h"
#include "common/event/clock.h"

#include <string.h>

#define APPS_MAX 50
#define LABEL_MAX 64
#define GROUPS 6
#define GROUP 4 /* 24 letters of 32: 120 bits */
#define SECRET_LEN (GROUPS * (GROUP + 1) - 1)

/* Without look-alikes. */
static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";

static void make_secret(char out[SECRET_LEN + 1])
{
	unsigned char raw[GROUPS * GROUP];
	size_t n = 0;

	random_bytes(raw, sizeof(raw));
	for (size_t i = 0; i < sizeof(raw); i++) {
		if (i > 0 && i % GROUP == 0)
			out[n++] = '-';
		out[n++] = letters[raw[i] % 32];
	}
	out[n] = '\0';
	mem_wipe(raw, sizeof(raw));
}

static bool label_is_good(struct span label)
{
	if (label.n == 0 || label.n > LABEL_MAX || !utf8_is_valid(label))
		return false;
	for (size_t i = 0; i < label.n; i++)
		if (ascii_is_ctl(label.p[i]))
			return false;
	return true;
}

static struct app *find(const struct account *acc, uint64_t id)
{
	LIST_EACH (it, &acc->apps) {
		struct app *app = container_of(it, struct app, link);

		if (app->id == id)
			return app;
	}
	return NULL;
}

/* The secret is told only when it is on disk. */
struct added {
	uint64_t id;
	char secret[SECRET_LEN + 1];
};

static void tell_secret(struct call *call)
{
	struct added *added = call->arg;
	struct strbuf b;

	strbuf_init(&b, 512);
	ipc_rec_number(&b, "id", IPC_NUMBER, added->id);
	ipc_rec_text(&b, "password", span_of(added->secret));
	call_record(call, &b);
	call_ok(call, "this password is shown only once");
}

static void put_app(struct call *call, uint64_t account, uint64_t id, const struct app_row *row)
{
	struct change *c = call_change(call);
	struct strbuf b;
	struct db_key key;

	strbuf_init(&b, 1024);
	row_enc_app(&b, row);
	row_key_app(&key, ROW_APP, account, id);
	change_put(c, &key, &b);
	strbuf_init(&b, 16);
	row_enc_u64(&b, id + 1);
	row_key_counter(&key, "app");
	change_put(c, &key, &b);
}

/* label and protocols are the arguments from first on. */
static void add(struct call *call, const struct account *acc, uint32_t first)
{
	unsigned char salt[APP_SALT_LEN], hash[APP_HASH_LEN];
	struct app_row row = {.protocols = PROTO_MAIL, .created = (uint64_t)clock_now()};
	struct added *added;

	if (!label_is_good(call->args[first])) {
		call_fail(call, ERR_INVALID, "a label is 1 to %d bytes of text", LABEL_MAX);
		return;
	}
	if (acc->app_count >= APPS_MAX) {
		call_fail(call, ERR_LIMIT, "an account has at most %d app passwords", APPS_MAX);
		return;
	}
	if (call->arg_count > first + 1 &&
	    !arg_protocols(call, first + 1, PROTO_MAIL, &row.protocols))
		return;
	added = mem_zalloc(sizeof(*added));
	make_secret(added->secret);
	added->id = call->a->next_app++;
	random_bytes(salt, sizeof(salt));
	app_password_hash(span_make(salt, sizeof(salt)), span_of(added->secret), hash);
	row.label = call->args[first];
	row.salt = span_make(salt, sizeof(salt));
	row.hash = span_make(hash, sizeof(hash));
	put_app(call, acc->number, added->id, &row);
	call->arg = added;
	call->arg_n = sizeof(*added);
	call->after = tell_secret;
	call_commit(call, "%s", "");
}

static void list(struct call *call, const struct account *acc)
{
	LIST_EACH (it, &acc->apps) {
		const struct app *app = container_of(it, struct app, link);
		char protocols[32];
		struct strbuf b;

		protocols_text(app->row.protocols, protocols);
		strbuf_init(&b, 1024);
		ipc_rec_number(&b, "id", IPC_NUMBER, app->id);
		ipc_rec_text(&b, "label", app->row.label);
		ipc_rec_text(&b, "protocols", span_of(protocols));
		ipc_rec_number(&b, "created", IPC_TIME, app->row.created);
		ipc_rec_number(&b, "last-used", IPC_TIME, app->used);
		call_record(call, &b);
	}
	call_ok(call, "%s", "");
}

static void remove_app(struct call *call, const struct account *acc, struct span arg)
{
	struct db_key key;
	uint64_t id;

	if (!span_u64(arg, UINT64_MAX, &id) || !find(acc, id)) {
		call_fail(
		    call, ERR_NOT_FOUND, "no such app password: app-password list shows them");
		return;
	}
	row_key_app(&key, ROW_APP, acc->number, id);
	change_del(call_change(call), &key);
	row_key_app(&key, ROW_APP_USED, acc->number, id);
	change_del(call_change(call), &key);
	call_commit(call, "app password removed");
}

/* --- for any account, and for one's own --------------------------------------------------------
 */
void verb_app_add(struct call *call)
{
	struct account *acc = arg_account(call, 0);

	if (acc)
		add(call, acc, 1);
}

void verb_app_list(struct call *call)
{
	struct account *acc = arg_account(call, 0);

	if (acc)
		list(call, acc);
}

void verb_app_remove(struct call *call)
{
	struct account *acc = arg_account(call, 0);

	if (acc)
		remove_app(call, acc, call->args[1]);
}

/* Such a password outlives the session: hence VERB_FRESH. */
void verb_my_app_add(struct call *call)
{
	struct account *acc = arg_own_account(call);

	if (acc)
		add(call, acc, 0);
}

void verb_my_app_list(struct call *call)
{
	struct account *acc = arg_own_account(call);

	if (acc)
		list(call, acc);
}

void verb_my_app_remove(struct call *call)
{
	struct account *acc = arg_own_account(call);

	if (acc)
		remove_app(call, acc, call->args[0]);
}
