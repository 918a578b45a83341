/*
 * STATUS (RFC 3501 section 6.3.10, with the items of its extensions). A client that asks about all
 * its mailboxes sends one command behind the other: what waits in the connection is looked at, and
 * the mailboxes of several commands are read at once. What was read ahead is used as long as
 * nothing was committed since.
 */
#include "imapd/imap.h"
#include "imapd/mailbox.h"

#include "common/base/mem.h"

#include <string.h>

#define AHEAD_MAX 64

/* --- items ------------------------------------------------------------------------------------ */
static const struct {
	struct span name;
	unsigned item;
} status_names[] = {
    {SPAN_INIT("MESSAGES"), STATUS_MESSAGES},
    {SPAN_INIT("RECENT"), STATUS_RECENT},
    {SPAN_INIT("UIDNEXT"), STATUS_UIDNEXT},
    {SPAN_INIT("UIDVALIDITY"), STATUS_UIDVALIDITY},
    {SPAN_INIT("UNSEEN"), STATUS_UNSEEN},
    {SPAN_INIT("HIGHESTMODSEQ"), STATUS_HIGHESTMODSEQ},
    {SPAN_INIT("SIZE"), STATUS_SIZE},
    {SPAN_INIT("MAILBOXID"), STATUS_MAILBOXID},
    {SPAN_INIT("DELETED"), STATUS_DELETED},
    {SPAN_INIT("DELETED-STORAGE"), STATUS_DELETED_STORAGE},
    {SPAN_INIT("APPENDLIMIT"), STATUS_APPENDLIMIT},
};

bool parse_status_items(struct parser *p, unsigned *items)
{
	struct span word;

	*items = 0;
	if (!parse_chr(p, '('))
		return false;
	do {
		unsigned item = 0;

		if (!parse_atom(p, &word))
			return false;
		for (size_t i = 0; i < ARRAY_LEN(status_names); i++)
			if (span_ieq(word, status_names[i].name))
				item = status_names[i].item;
		if (!item)
			return false;
		*items |= item;
	} while (parse_sp(p));
	return parse_chr(p, ')');
}

int status_load(struct db_txn *txn, uint64_t account, const struct store_mailbox *mb,
    unsigned items, struct mailbox_status *st, struct err *err)
{
	*st = (struct mailbox_status){0};
	if ((items & STATUS_RECENT) && store_recent_count(txn, account, mb, &st->recent, err) < 0)
		return -1;
	if (items & STATUS_DELETED_STORAGE)
		return store_deleted_bytes(txn, account, mb, &st->deleted_bytes, err);
	return 0;
}

static uint64_t status_value(const struct store_mailbox *mb, const struct mailbox_status *st,
    unsigned item, uint64_t append_limit)
{
	switch ((enum status_item)item) {
	case STATUS_MESSAGES:
		return mb->messages;
	case STATUS_RECENT:
		return st->recent;
	case STATUS_UIDNEXT:
		return mb->uidnext;
	case STATUS_UIDVALIDITY:
		return mb->uidvalidity;
	case STATUS_UNSEEN:
		return mb->unseen;
	case STATUS_HIGHESTMODSEQ:
		return mb->highestmodseq;
	case STATUS_SIZE:
		return mb->bytes;
	case STATUS_DELETED:
		return mb->deleted;
	case STATUS_DELETED_STORAGE:
		return st->deleted_bytes;
	case STATUS_APPENDLIMIT:
		return append_limit;
	case STATUS_MAILBOXID:
		break;
	}
	return mb->id;
}

void write_status(struct strbuf *b, const struct store_mailbox *mb, const struct mailbox_status *st,
    unsigned items, uint64_t append_limit, bool is_utf8)
{
	const char *sep = " (";

	strbuf_add_str(b, "* STATUS ");
	write_mailbox(b, span_of(mb->name), is_utf8);
	for (size_t i = 0; i < ARRAY_LEN(status_names); i++) {
		unsigned item = status_names[i].item;

		if (!(items & item))
			continue;
		strbuf_add_str(b, sep);
		sep = " ";
		strbuf_add(b, status_names[i].name);
		strbuf_add_chr(b, ' ');
		if (item == STATUS_MAILBOXID) {
			strbuf_add_chr(b, '(');
			write_mailbox_id(b, mb->id);
			strbuf_add_chr(b, ')');
		} else {
			strbuf_add_u64(b, status_value(mb, st, item, append_limit));
		}
	}
	strbuf_add_str(b, ")\r\n");
}

/* --- the command -------------------------------------------------------------------------------
 */
struct ahead {
	char name[STORE_NAME_MAX + 1]; /* as the client wrote it */
	struct store_mailbox mb;
	bool is_there;
};

struct status_ahead {
	uint64_t txn; /* in which it was read */
	size_t n, next;
	struct ahead e[AHEAD_MAX];
};

void status_forget(struct session *s)
{
	mem_free(s->ahead);
	s->ahead = NULL;
}

static void answer(struct session *s, const struct store_mailbox *mb,
    const struct mailbox_status *st, unsigned items)
{
	struct strbuf b;

	strbuf_init(&b, 16 * 1024);
	write_status(&b, mb, st, items, config_u64(s->cfg, SET_SMTP_MESSAGE_MAX), s->has_utf8);
	conn_write(s->conn, strbuf_span(&b));
	strbuf_clear(&b);
	finish_sync(s, true, "OK Status told");
}

/* Everything asked for stands in the mailbox's row. */
static bool is_complete(const struct store_mailbox *mb, unsigned items)
{
	return !((items & STATUS_RECENT) && mb->recent_uid < mb->uidnext) &&
	       !((items & STATUS_DELETED_STORAGE) && mb->deleted);
}

/* True: answered from what was read ahead. */
static bool answer_ahead(struct session *s, struct span name, unsigned items)
{
	static const struct mailbox_status none = {0};
	struct status_ahead *a = s->ahead;
	const struct ahead *e;

	if (!a || a->next == a->n || a->txn != db_env_last_txn(store_env(s->server->store)))
		return false;
	e = &a->e[a->next++];
	if (!e->is_there || !span_eq(name, span_of(e->name)) || !is_complete(&e->mb, items))
		return false;
	answer(s, &e->mb, &none, items);
	return true;
}

struct status_task {
	struct task task;
	struct span name;
	unsigned items;
	struct store_mailbox mb;
	struct mailbox_status st;
	struct status_ahead *ahead;
};

static void status_clear(struct task *t)
{
	mem_free(container_of(t, struct status_task, task)->ahead);
}

static void read_ahead(struct status_ahead *a, struct db_txn *txn, uint64_t account)
{
	a->txn = db_txn_id(txn);
	for (size_t i = 0; i < a->n; i++) {
		struct ahead *e = &a->e[i];

		/* What is not there, or fails, is asked for again by its own command. */
		e->is_there =
		    store_mailbox_find(txn, account, span_of(e->name), &e->mb, NULL) == 0 &&
		    !e->mb.is_noselect;
	}
}

static void status_read(struct task *t, struct db_txn *txn, struct err *err)
{
	struct status_task *st = container_of(t, struct status_task, task);
	uint64_t account = t->session->account;

	if (st->ahead)
		read_ahead(st->ahead, txn, account);
	if (store_mailbox_find(txn, account, st->name, &st->mb, err) < 0)
		return;
	if (st->mb.is_noselect)
		err_set(err, ERR_INVALID, "this name is only a level of the hierarchy");
	else
		status_load(txn, account, &st->mb, st->items, &st->st, err);
}

static void status_done(struct task *t)
{
	struct status_task *st = container_of(t, struct status_task, task);
	struct session *s = t->session;

	status_forget(s);
	s->ahead = st->ahead;
	st->ahead = NULL;
	if (t->err.code == ERR_NONE)
		answer(s, &st->mb, &st->st, st->items);
	else
		finish_err(s, &t->err);
	task_free(t);
}

/* The mailbox of a line "tag STATUS mailbox (...)". */
static bool take_status(struct session *s, struct span line, char name[STORE_NAME_MAX + 1])
{
	struct parser p = {.in = line, .arena = &s->arena, .is_utf8 = s->has_utf8};
	struct span word;

	if (!span_split(&p.in, ' ', &word) || !parse_atom(&p, &word) ||
	    !span_ieq(word, SPAN("STATUS")) || !parse_sp(&p) || !parse_mailbox(&p, &word) ||
	    !parse_sp(&p) || word.n > STORE_NAME_MAX || memchr(word.p, '\0', word.n))
		return false;
	memcpy(name, word.p, word.n);
	name[word.n] = '\0';
	return true;
}

/* Of the whole lines that wait: NULL if the next is no STATUS. */
static struct status_ahead *look_ahead(struct session *s)
{
	struct span in = conn_input(s->conn), line;
	struct status_ahead *a = NULL;
	char name[STORE_NAME_MAX + 1];

	while (
	    span_chr(in, '\n') >= 0 && span_split(&in, '\n', &line) && take_status(s, line, name)) {
		if (!a)
			a = mem_zalloc(sizeof(*a));
		memcpy(a->e[a->n++].name, name, sizeof(name));
		if (a->n == AHEAD_MAX)
			break;
	}
	return a;
}

void cmd_status(struct session *s, struct parser *p)
{
	struct status_task *st;
	struct span name;
	unsigned items;

	if (!parse_mailbox(p, &name) || !parse_sp(p) || !parse_status_items(p, &items) ||
	    !parse_end(p)) {
		finish_bad(s, "STATUS mailbox (item...)");
		return;
	}
	/* RFC 7162 section 3.1: asking for it is what enables it. */
	if (items & STATUS_HIGHESTMODSEQ)
		session_enable_condstore(s);
	if (answer_ahead(s, name, items))
		return;
	st = task_new(s, sizeof(*st));
	st->name = name;
	st->items = items;
	st->ahead = look_ahead(s);
	st->task.read = status_read;
	st->task.done = status_done;
	st->task.clear = status_clear;
	task_read(&st->task);
}
