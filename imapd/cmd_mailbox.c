/* Commands on mailboxes as such: CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE. */
#include "imapd/imap.h"
#include "imapd/mailbox.h"

#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/mail/imapstr.h"
#include "common/mail/mutf7.h"

void write_mailbox(struct strbuf *b, struct span name, bool is_utf8)
{
	struct strbuf coded;

	if (is_utf8 && !utf8_is_ascii(name)) {
		strbuf_add_chr(b, '"');
		for (size_t i = 0; i < name.n; i++) {
			if (name.p[i] == '"' || name.p[i] == '\\')
				strbuf_add_chr(b, '\\');
			strbuf_add_chr(b, name.p[i]);
		}
		strbuf_add_chr(b, '"');
		return;
	}
	if (is_utf8) {
		mail_write_astring(b, name);
		return;
	}
	/* A character of one byte never takes more than five: "&", three and "-". */
	strbuf_init(&coded, 5 * STORE_NAME_MAX);
	if (!mail_mutf7_from_utf8(&coded, name))
		strbuf_add(&coded, name);
	mail_write_astring(b, strbuf_span(&coded));
	strbuf_clear(&coded);
}

void write_mailbox_id(struct strbuf *b, uint64_t id)
{
	strbuf_addf(b, "M%llu", (unsigned long long)id);
}

/* One name, two for RENAME. The spans are the command's, which outlives its task. */
struct mailbox_task {
	struct task task;
	struct span name, to;
	uint32_t special_use;
	bool is_on;
	struct store_mailbox mb;
};

static struct mailbox_task *mailbox_task_of(struct task *t)
{
	return container_of(t, struct mailbox_task, task);
}

static void answer(struct task *t, const char *text)
{
	struct session *s = t->session;

	if (t->err.code != ERR_NONE)
		finish_err(s, &t->err);
	else
		finish_sync(s, true, text);
}

/* --- CREATE ----------------------------------------------------------------------------------- */
static const struct {
	struct span name;
	uint32_t use;
} special_uses[] = {
    {SPAN_INIT("\\Drafts"), SPECIAL_DRAFTS},
    {SPAN_INIT("\\Sent"), SPECIAL_SENT},
    {SPAN_INIT("\\Junk"), SPECIAL_JUNK},
    {SPAN_INIT("\\Trash"), SPECIAL_TRASH},
    {SPAN_INIT("\\Archive"), SPECIAL_ARCHIVE},
};

/* The bit of a special use that a mailbox can be given (RFC 6154); 0 for \All, \Flagged and others,
 * which would have to show messages of other mailboxes. */
static uint32_t special_use_of(struct span word)
{
	for (size_t i = 0; i < ARRAY_LEN(special_uses); i++)
		if (span_ieq(word, special_uses[i].name))
			return special_uses[i].use;
	return 0;
}

/* " (USE (\Drafts ...))" (RFC 6154 section 3); *is_known false: a use that is not offered. */
static bool parse_use(struct parser *p, uint32_t *uses, bool *is_known)
{
	struct span word;

	*is_known = true;
	if (!parse_sp(p) || !parse_chr(p, '(') || !parse_atom(p, &word) ||
	    !span_ieq(word, SPAN("USE")) || !parse_sp(p) || !parse_chr(p, '('))
		return false;
	if (!parse_chr(p, ')')) {
		do {
			uint32_t use;

			if (!parse_word(p, &word) || word.p[0] != '\\')
				return false;
			use = special_use_of(word);
			*is_known &= use != 0;
			*uses |= use;
		} while (parse_sp(p));
		if (!parse_chr(p, ')'))
			return false;
	}
	return parse_chr(p, ')') && parse_end(p);
}

static int create_write(struct task *t, struct db_txn *txn, struct err *err)
{
	struct mailbox_task *m = mailbox_task_of(t);

	return store_mailbox_create(txn, t->session->account, m->name, m->special_use, &m->mb, err);
}

static void create_done(struct task *t)
{
	struct strbuf text;

	strbuf_init(&text, 256);
	strbuf_add_str(&text, "OK [MAILBOXID (");
	write_mailbox_id(&text, mailbox_task_of(t)->mb.id);
	strbuf_add_str(&text, ")] Created");
	answer(t, text.p);
	strbuf_clear(&text);
	task_free(t);
}

void cmd_create(struct session *s, struct parser *p)
{
	struct mailbox_task *m;
	struct span name;
	uint32_t uses = 0;
	bool is_known = true;

	if (!parse_mailbox(p, &name) || (!parse_end(p) && !parse_use(p, &uses, &is_known))) {
		finish_bad(s, "CREATE mailbox [(USE (\\Special...))]");
		return;
	}
	if (!is_known) {
		finish(s, "NO [USEATTR] This special use cannot be given to a mailbox");
		return;
	}
	/* A delimiter at the end only announces that there will be mailboxes below (RFC
	 * 3501 6.3.3). */
	if (name.n > 1 && name.p[name.n - 1] == '/')
		name.n--;
	m = task_new(s, sizeof(*m));
	m->name = name;
	m->special_use = uses;
	m->task.op.need = DB_CHANGES;
	m->task.write = create_write;
	m->task.done = create_done;
	task_write(&m->task);
}

/* --- DELETE, RENAME --------------------------------------------------------------------------- */
static int delete_write(struct task *t, struct db_txn *txn, struct err *err)
{
	struct mailbox_task *m = mailbox_task_of(t);
	uint64_t account = t->session->account;

	if (store_mailbox_find(txn, account, m->name, &m->mb, err) < 0)
		return -1;
	return store_mailbox_delete(txn, account, m->name, err);
}

/* Who deletes the mailbox it has selected has none selected then; other sessions that have are told
 * so and closed. */
static void delete_done(struct task *t)
{
	struct session *s = t->session;

	if (t->err.code == ERR_NONE && s->view && s->view->mbox->id == mailbox_task_of(t)->mb.id) {
		view_close(s);
		untagged(s, "OK [CLOSED] The selected mailbox was deleted");
	}
	answer(t, "OK Deleted");
	task_free(t);
}

void cmd_delete(struct session *s, struct parser *p)
{
	struct mailbox_task *m;
	struct span name;

	if (!parse_mailbox(p, &name) || !parse_end(p)) {
		finish_bad(s, "DELETE mailbox");
		return;
	}
	m = task_new(s, sizeof(*m));
	m->name = name;
	m->task.write = delete_write;
	m->task.done = delete_done;
	task_write(&m->task);
}

static int rename_write(struct task *t, struct db_txn *txn, struct err *err)
{
	struct mailbox_task *m = mailbox_task_of(t);

	return store_mailbox_rename(txn, t->session->account, m->name, m->to, err);
}

static void rename_done(struct task *t)
{
	answer(t, "OK Renamed");
	task_free(t);
}

void cmd_rename(struct session *s, struct parser *p)
{
	struct mailbox_task *m;
	struct span from, to;

	if (!parse_mailbox(p, &from) || !parse_sp(p) || !parse_mailbox(p, &to) || !parse_end(p)) {
		finish_bad(s, "RENAME mailbox mailbox");
		return;
	}
	m = task_new(s, sizeof(*m));
	m->name = from;
	m->to = to;
	m->task.op.need = DB_CHANGES;
	m->task.write = rename_write;
	m->task.done = rename_done;
	task_write(&m->task);
}

/* --- SUBSCRIBE, UNSUBSCRIBE --------------------------------------------------------------------
 */
/* Only what exists can be subscribed to; a subscription outlives its mailbox (RFC 3501 6.3.6). */
static int subscribe_write(struct task *t, struct db_txn *txn, struct err *err)
{
	struct mailbox_task *m = mailbox_task_of(t);
	uint64_t account = t->session->account;

	if (m->is_on && store_mailbox_find(txn, account, m->name, &m->mb, err) < 0)
		return -1;
	return store_mailbox_subscribe(txn, account, m->name, m->is_on, err);
}

static void subscribe_done(struct task *t)
{
	answer(t, mailbox_task_of(t)->is_on ? "OK Subscribed" : "OK Unsubscribed");
	task_free(t);
}

static void subscribe(struct session *s, struct parser *p, bool is_on)
{
	struct mailbox_task *m;
	struct span name;

	if (!parse_mailbox(p, &name) || !parse_end(p)) {
		finish_bad(s, is_on ? "SUBSCRIBE mailbox" : "UNSUBSCRIBE mailbox");
		return;
	}
	m = task_new(s, sizeof(*m));
	m->name = name;
	m->is_on = is_on;
	m->task.op.need = DB_CHANGES;
	m->task.write = subscribe_write;
	m->task.done = subscribe_done;
	task_write(&m->task);
}

void cmd_subscribe(struct session *s, struct parser *p)
{
	subscribe(s, p, true);
}

void cmd_unsubscribe(struct session *s, struct parser *p)
{
	subscribe(s, p, false);
}
