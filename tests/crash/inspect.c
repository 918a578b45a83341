/*
 * Opens what a crash has left, as the daemons would, and tells in one line of JSON what is there:
 * for the crash tests, which compare it with what was acknowledged. Reads one folder of a state
 * from each line of standard input; words behind it are passwords to try on every account.
 *
 * Messages carry a field "X-Token: name"; what is told of them is that name and the SHA-256 of
 * everything from that field on. Of a notice, which quotes such a message: whom it is about.
 */
#include "common/authd/password.h"
#include "common/authd/rows.h"
#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/store/check.h"
#include "common/store/store_int.h"
#include "smtpd/queue/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MESSAGE_MAX ((size_t)64 << 20)
#define MAP_SIZE ((size_t)1 << 30)
#define PASSWORDS_MAX 8

static struct strbuf out; /* the line */

/* --- JSON ------------------------------------------------------------------------------------- */
static void json_text(struct span s)
{
	strbuf_add_chr(&out, '"');
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
			strbuf_addf(&out, "\\u%04x", c);
		else
			strbuf_add_chr(&out, (char)c);
	}
	strbuf_add_chr(&out, '"');
}

static void json_comma(void)
{
	char last = out.n ? out.p[out.n - 1] : ',';

	if (last != '{' && last != '[' && last != ',' && last != ':')
		strbuf_add_chr(&out, ',');
}

static void json_key(const char *name)
{
	json_comma();
	json_text(span_of(name));
	strbuf_add_chr(&out, ':');
}

static void json_string(const char *name, struct span s)
{
	json_key(name);
	json_text(s);
}

static void json_number(const char *name, uint64_t v)
{
	json_key(name);
	strbuf_add_u64(&out, v);
}

static void json_error(const char *where, const struct err *err)
{
	json_comma();
	strbuf_add_chr(&out, '{');
	json_string("where", span_of(where));
	json_string("code", span_of(err_code_name(err->code)));
	json_string("text", span_of(err->text));
	strbuf_add_chr(&out, '}');
}

/* --- messages --------------------------------------------------------------------------------- */
static void notice(struct span text)
{
	static const struct span field = SPAN_INIT("\r\nFinal-Recipient: rfc822; ");
	ssize_t at;

	if (span_find(text, field) < 0)
		return;
	json_key("notice_of");
	strbuf_add_chr(&out, '[');
	while ((at = span_find(text, field)) >= 0) {
		text = span_from(text, (size_t)at + field.n);
		at = span_chr(text, '\r');
		json_comma();
		json_text(span_sub(text, 0, at < 0 ? text.n : (size_t)at));
	}
	strbuf_add_chr(&out, ']');
}

static void message(struct blob_dir *blobs, const struct blob *blob)
{
	unsigned char sum[SHA256_LEN];
	char hex[2 * SHA256_LEN + 1];
	struct err err = ERR_INIT;
	struct strbuf text;
	struct span rest, token;
	ssize_t at;

	strbuf_init(&text, MESSAGE_MAX);
	if (blob_read_all(blobs, blob, &text, MESSAGE_MAX, &err) < 0) {
		json_string("unreadable", span_of(err.text));
		strbuf_clear(&text);
		return;
	}
	rest = strbuf_span(&text);
	notice(rest);
	at = span_find(rest, SPAN("X-Token: "));
	if (at < 0) {
		json_string("unreadable", SPAN("no token"));
	} else {
		rest = span_from(rest, (size_t)at);
		token = span_from(rest, 9);
		sha256_once(rest, sum);
		hex_encode(hex, span_make(sum, sizeof(sum)));
		json_string("token", span_sub(token, 0, (size_t)span_chr(token, '\r')));
		json_string("sum", span_of(hex));
	}
	strbuf_clear(&text);
}

/* --- the store -------------------------------------------------------------------------------- */
static int mailbox_messages(struct db_txn *txn, struct blob_dir *blobs, uint64_t account,
    const struct store_mailbox *mb, struct err *err)
{
	struct store_snapshot *s;

	json_key(mb->name);
	strbuf_addf(&out, "{\"uidvalidity\":%u,\"uidnext\":%u,\"messages\":[", mb->uidvalidity,
	    mb->uidnext);
	if (mb->is_noselect) {
		strbuf_add_str(&out, "]}");
		return 0;
	}
	if (store_snapshot_load(txn, account, mb->id, &s, err) < 0)
		return -1;
	for (size_t i = 0; i < s->count; i++) {
		struct err why = ERR_INIT;
		struct blob blob;

		json_comma();
		strbuf_addf(
		    &out, "{\"uid\":%u,\"flags\":%u", s->messages[i].uid, s->messages[i].flags);
		if (store_object_blob(txn, account, s->messages[i].object, &blob, &why) < 0)
			json_string("unreadable", span_of(why.text));
		else
			message(blobs, &blob);
		strbuf_add_chr(&out, '}');
	}
	store_snapshot_unref(s);
	strbuf_add_str(&out, "]}");
	return 0;
}

/* The first account from *account on: 1, 0, -1. */
static int next_account(struct db_txn *txn, uint64_t *account, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	int rc;

	if (*account == 0)
		*account = 1;
	if (db_cursor_open(txn, &c, SPAN(""), err) < 0)
		return -1;
	db_key_init(&k);
	db_key_u64(&k, *account);
	rc = db_seek(&c, db_key_span(&k), err);
	if (rc == 1)
		*account = be_get64(c.key.p);
	db_cursor_close(&c);
	return rc;
}

static int accounts(struct db_txn *txn, struct blob_dir *blobs, struct err *err)
{
	uint64_t account = 0;
	int rc;

	json_key("accounts");
	strbuf_add_chr(&out, '{');
	while ((rc = next_account(txn, &account, err)) == 1) {
		struct store_mailbox *list = NULL;
		char name[24];
		size_t count = 0;

		snprintf(name, sizeof(name), "%llu", (unsigned long long)account++);
		json_key(name);
		strbuf_add_chr(&out, '{');
		if (store_mailbox_list(txn, account - 1, &list, &count, err) < 0)
			return -1;
		for (size_t i = 0; i < count; i++)
			if (mailbox_messages(txn, blobs, account - 1, &list[i], err) < 0) {
				mem_free(list);
				return -1;
			}
		mem_free(list);
		strbuf_add_chr(&out, '}');
	}
	strbuf_add_chr(&out, '}');
	return rc;
}

static void on_damage(void *arg, const struct store_damage *d)
{
	json_comma();
	strbuf_add_chr(&out, '{');
	json_number("account", d->account);
	json_string("mailbox", span_of(d->mailbox));
	json_number("uid", d->uid);
	json_string("what", span_of(d->what));
	strbuf_add_chr(&out, '}');
}

static int check(struct db_env *env, struct blob_dir *blobs, struct err *err)
{
	struct store_check c = {.bodies = true, .report = on_damage};
	int rc;

	json_key("findings");
	strbuf_add_chr(&out, '[');
	rc = store_check_run(env, blobs, &c, err);
	strbuf_add_chr(&out, ']');
	return rc;
}

static int delivered(struct db_txn *txn, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	int rc;

	store_key(&k, 0, KIND_DELIVERED);
	json_key("delivered");
	strbuf_add_chr(&out, '[');
	if (db_cursor_open(txn, &c, db_key_span(&k), err) < 0)
		return -1;
	for (rc = db_first(&c, err); rc == 1; rc = db_next(&c, err)) {
		char hex[256];
		struct span rest = span_sub(span_from(c.key, 9), 0, 120);

		hex_encode(hex, rest);
		json_comma();
		json_text(span_of(hex));
	}
	db_cursor_close(&c);
	strbuf_add_chr(&out, ']');
	return rc;
}

/* --- the queue -------------------------------------------------------------------------------- */
struct walk {
	struct db_txn *txn;
	struct blob_dir *blobs;
};

static bool on_rcpt(void *arg, const struct queue_rcpt *r)
{
	struct walk *w = arg;
	struct queue_entry e;
	struct err err = ERR_INIT;
	char qid[QUEUE_ID_TEXT];

	json_comma();
	strbuf_add_chr(&out, '{');
	queue_id_format(qid, r->qid);
	json_string("qid", span_of(qid));
	json_number("n", r->n);
	json_string("to", r->address);
	json_number("state", r->state);
	json_number("tries", r->tries);
	json_number("is_remote", r->class == QUEUE_REMOTE);
	if (queue_entry_get(w->txn, r->qid, &e, &err) < 0)
		json_string("unreadable", span_of(err.text));
	else
		message(w->blobs, &e.blob);
	strbuf_add_chr(&out, '}');
	return true;
}

static bool on_due(void *arg, uint64_t qid, uint32_t n)
{
	char text[QUEUE_ID_TEXT + 16];

	queue_id_format(text, qid);
	snprintf(text + QUEUE_ID_TEXT - 1, 16, "/%u", n);
	json_comma();
	json_text(span_of(text));
	return true;
}

static int queue(struct db_txn *txn, struct blob_dir *blobs, struct err *err)
{
	struct walk w = {txn, blobs};
	int64_t next;

	json_key("queue");
	strbuf_add_chr(&out, '[');
	if (queue_each_rcpt(txn, 0, on_rcpt, &w, err) < 0)
		return -1;
	strbuf_add_chr(&out, ']');
	json_key("due");
	strbuf_add_chr(&out, '[');
	if (queue_each_due(txn, INT64_MAX, on_due, NULL, &next, err) < 0)
		return -1;
	strbuf_add_chr(&out, ']');
	return 0;
}

/* --- authd ------------------------------------------------------------------------------------ */
static struct span passwords[PASSWORDS_MAX];
static size_t password_count;

static void user(struct span row)
{
	struct user_row u;
	struct err err;

	if (!row_dec_user(row, &u)) {
		json_string("damaged", SPAN("user"));
		return;
	}
	json_string("address", u.address);
	json_number("flags", u.flags);
	json_number("deleting", u.deleting != 0);
	for (size_t i = 0; i < password_count; i++)
		if (password_verify(u.phc, passwords[i], &err) == 1)
			json_string("password", passwords[i]);
}

static int auth(struct db_txn *txn, struct err *err)
{
	struct db_cursor c;
	int rc;

	json_key("users");
	strbuf_add_chr(&out, '[');
	if (db_cursor_open(txn, &c, SPAN("\x03"), err) < 0)
		return -1;
	for (rc = db_first(&c, err); rc == 1; rc = db_next(&c, err)) {
		json_comma();
		strbuf_add_chr(&out, '{');
		json_number("number", c.key.n == 9 ? be_get64(c.key.p + 1) : 0);
		user(c.val);
		strbuf_add_chr(&out, '}');
	}
	db_cursor_close(&c);
	strbuf_add_str(&out, "],");
	json_key("aliases");
	strbuf_add_chr(&out, '[');
	if (rc < 0 || db_cursor_open(txn, &c, SPAN("\x05"), err) < 0)
		return -1;
	for (rc = db_first(&c, err); rc == 1; rc = db_next(&c, err)) {
		json_comma();
		json_text(span_from(c.key, 1));
	}
	db_cursor_close(&c);
	strbuf_add_chr(&out, ']');
	return rc;
}

/* --- a state ---------------------------------------------------------------------------------- */
enum part { STORE, QUEUE, AUTH };

static int look(
    enum part part, const char *dir, struct db_env *env, struct db_txn *txn, struct err *err)
{
	char path[512];
	struct blob_dir *blobs = NULL;
	int rc = -1;

	if (part == AUTH)
		return auth(txn, err);
	snprintf(path, sizeof(path), "%s/%s/blob", dir, part == STORE ? "store" : "queue");
	if (access(path, F_OK) == 0 && blob_dir_open(path, &blobs, err) < 0)
		return -1;
	if (part == QUEUE)
		rc = queue(txn, blobs, err);
	else if (accounts(txn, blobs, err) == 0 && delivered(txn, err) == 0)
		rc = check(env, blobs, err);
	blob_dir_close(blobs);
	return rc;
}

static void environment(enum part part, const char *dir, struct strbuf *errors)
{
	static const char *const names[] = {"store/env", "queue/env", "auth/env"};
	char path[512], data[600];
	struct db_options opt = {.dir = path, .map_size = MAP_SIZE, .map_max = MAP_SIZE};
	struct db_env *env = NULL;
	struct db_txn *txn = NULL;
	struct err err = ERR_INIT;
	size_t before = out.n;

	snprintf(path, sizeof(path), "%s/%s", dir, names[part]);
	snprintf(data, sizeof(data), "%s/data.mdb", path);
	if (access(data, F_OK) < 0)
		return; /* a daemon would make a new one */
	if (db_env_open(&opt, &env, &err) < 0 || db_read_begin(env, &txn, &err) < 0 ||
	    look(part, dir, env, txn, &err) < 0) {
		struct strbuf kept = out;

		strbuf_truncate(&kept, before);
		out = *errors;
		json_error(names[part], &err);
		*errors = out;
		out = kept;
	}
	db_abort(txn);
	if (env)
		db_env_close(env);
}

static void inspect(const char *dir)
{
	struct strbuf errors;

	strbuf_init(&out, (size_t)256 << 20);
	strbuf_init(&errors, 1 << 20);
	strbuf_add_chr(&out, '{');
	environment(STORE, dir, &errors);
	environment(QUEUE, dir, &errors);
	environment(AUTH, dir, &errors);
	json_key("errors");
	strbuf_add_chr(&out, '[');
	strbuf_add(&out, strbuf_span(&errors));
	strbuf_add_str(&out, "]}\n");
	fwrite(out.p, 1, out.n, stdout);
	fflush(stdout);
	strbuf_clear(&out);
	strbuf_clear(&errors);
}

int main(void)
{
	static char line[4096];

	setenv("MAILSTEAD_ALLOW_ROOT", "1", 1);
	while (fgets(line, sizeof(line), stdin)) {
		struct span rest = span_of(line), word;
		char dir[512];

		line[strcspn(line, "\n")] = '\0';
		rest = span_of(line);
		span_split(&rest, '\t', &word);
		snprintf(dir, sizeof(dir), "%.*s", SPAN_FMT(word));
		password_count = 0;
		while (password_count < PASSWORDS_MAX && span_split(&rest, '\t', &word))
			passwords[password_count++] = word;
		inspect(dir);
	}
	return 0;
}
