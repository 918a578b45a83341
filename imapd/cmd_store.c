/* STORE and UID STORE (RFC 3501 section 6.4.6), with UNCHANGEDSINCE (RFC 7162 section 3.1.3). */
#include "imapd/imap.h"

#include "common/base/mem.h"

#define MODIFIED_MAX (512 * 1024)

struct store_task {
	struct task task;
	uint64_t mailbox;
	bool is_uid, is_silent;
	struct uidset uids, failed;
	struct store_flags_change change;
};

static struct store_task *store_task_of(struct task *t)
{
	return container_of(t, struct store_task, task);
}

static void store_clear(struct task *t)
{
	struct store_task *st = store_task_of(t);

	uidset_clear(&st->uids);
	uidset_clear(&st->failed);
}

static int store_write_flags(struct task *t, struct db_txn *txn, struct err *err)
{
	struct store_task *st = store_task_of(t);

	return store_flags_change(
	    txn, t->session->account, st->mailbox, &st->uids, &st->change, &st->failed, NULL, err);
}

/* Their sequence numbers, as far as the client knows them. */
static void to_numbers(const struct store_snapshot *snap, struct uidset *uids)
{
	struct uidset numbers;

	uidset_init(&numbers);
	for (size_t i = 0, r = 0; i < snap->count && r < uids->n; i++) {
		uint32_t uid = snap->messages[i].uid;

		while (r < uids->n && uids->r[r].last < uid)
			r++;
		if (r < uids->n && uids->r[r].first <= uid)
			uidset_add(&numbers, (uint32_t)i + 1);
	}
	uidset_clear(uids);
	*uids = numbers;
}

/* What was not changed is not expected to be. */
static void take_failed_out(struct uidset *uids, const struct uidset *failed)
{
	struct uidset left;
	size_t f = 0;

	uidset_init(&left);
	for (size_t i = 0; i < uids->n; i++) {
		uint64_t from = uids->r[i].first, last = uids->r[i].last;

		while (f < failed->n && failed->r[f].last < from)
			f++;
		while (f < failed->n && failed->r[f].first <= last) {
			if (failed->r[f].first > from)
				uidset_add_range(&left, (uint32_t)from, failed->r[f].first - 1);
			from = (uint64_t)failed->r[f].last + 1;
			if (from > last)
				break;
			f++;
		}
		if (from <= last)
			uidset_add_range(&left, (uint32_t)from, (uint32_t)last);
	}
	uidset_clear(uids);
	*uids = left;
}

static void store_done(struct task *t)
{
	struct store_task *st = store_task_of(t);
	struct session *s = t->session;
	struct strbuf text;

	if (t->err.code != ERR_NONE) {
		finish_err(s, &t->err);
		task_free(t);
		return;
	}
	if (st->failed.n > 0) {
		take_failed_out(&st->uids, &st->failed);
		if (!st->is_uid)
			to_numbers(s->view->snap, &st->failed);
	}
	strbuf_init(&text, MODIFIED_MAX);
	if (st->failed.n > 0) {
		strbuf_add_str(&text, "OK [MODIFIED ");
		uidset_format(&text, &st->failed);
		strbuf_add_str(&text, "] Some were changed meanwhile");
	} else {
		strbuf_add_str(&text, "OK Stored");
	}
	/* Told even if it made no difference: a client asks for what it wants to see. */
	view_expect(s, st->is_silent, &st->uids, &st->change);
	finish_refresh(s, st->is_uid, text.p);
	strbuf_clear(&text);
	task_free(t);
}

/* "(UNCHANGEDSINCE n) " if it is there. */
static bool parse_modifiers(struct parser *p, struct store_flags_change *change)
{
	struct span word;

	if (!parse_chr(p, '('))
		return true;
	if (!parse_atom(p, &word) || !span_ieq(word, SPAN("UNCHANGEDSINCE")) || !parse_sp(p) ||
	    !parse_number(p, INT64_MAX, &change->unchangedsince))
		return false;
	change->has_unchangedsince = true;
	return parse_chr(p, ')') && parse_sp(p);
}

/* "+FLAGS.SILENT (\Seen)" */
static bool parse_change(struct parser *p, struct store_task *st)
{
	struct store_flags_change *change = &st->change;
	struct flag_list flags;

	change->mode = FLAGS_SET;
	if (parse_chr(p, '+'))
		change->mode = FLAGS_ADD;
	else if (parse_chr(p, '-'))
		change->mode = FLAGS_REMOVE;
	if (!span_take_iword(&p->in, SPAN("FLAGS")))
		return false;
	st->is_silent = span_take_iword(&p->in, SPAN(".SILENT"));
	if (!parse_sp(p))
		return false;
	if (p->in.n > 0 && p->in.p[0] == '(' ? !parse_flag_list(p, &flags)
					     : !parse_flags_bare(p, &flags))
		return false;
	change->flags = flags.flags;
	change->keywords = flags.keywords;
	change->keyword_count = flags.keyword_count;
	return parse_end(p);
}

static void store(struct session *s, struct parser *p, bool is_uid)
{
	struct store_task *st = task_new(s, sizeof(*st));
	struct sequence seq;

	st->mailbox = s->view->mbox->id;
	st->is_uid = is_uid;
	st->task.write = store_write_flags;
	st->task.done = store_done;
	st->task.clear = store_clear;
	if (!parse_sequence(p, &seq) || !parse_sp(p) || !parse_modifiers(p, &st->change) ||
	    !parse_change(p, st)) {
		task_free(&st->task);
		finish_bad(s, "STORE set [(UNCHANGEDSINCE n)] [+-]FLAGS[.SILENT] flags");
		return;
	}
	if (!view_select(s, &seq, is_uid, &st->uids)) {
		task_free(&st->task);
		finish_bad(s, "There is no message with this number");
		return;
	}
	if (st->change.has_unchangedsince)
		session_enable_condstore(s);
	if (s->view->is_read_only) {
		task_free(&st->task);
		finish(s, "NO [NOPERM] The mailbox is selected read-only");
		return;
	}
	/* Marking as \Deleted is the first step of making room. */
	if (st->change.mode == FLAGS_REMOVE || !(st->change.flags & FLAG_DELETED))
		st->task.op.need = DB_CHANGES;
	st->task.op.cost = uidset_count(&st->uids) * 64;
	task_write(&st->task);
}

void cmd_store(struct session *s, struct parser *p)
{
	store(s, p, false);
}

void cmd_uid_store(struct session *s, struct parser *p)
{
	store(s, p, true);
}
