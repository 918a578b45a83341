/* SELECT and EXAMINE with CONDSTORE and QRESYNC (RFC 7162), CLOSE, UNSELECT (RFC 3691). */
#include "common/base/mem.h"
#include "imapd/imap.h"
#include "imapd/mailbox.h"

#define LINES_A_LOOK 64

/* What the client still has of the mailbox from last time. */
struct qresync {
	bool is_set, has_known;
	uint32_t uidvalidity;
	uint64_t modseq;
	struct uidset known;
	struct sequence numbers, uids; /* pairs of them, to know how far all is as it was */
};

struct select {
	struct task task;
	struct span name; /* in the command's arena */
	bool is_read_only, wants_condstore;
	struct qresync q;
	struct store_mailbox mailbox;
	struct uidset vanished;
	bool is_complete;
	size_t next;
};

/* --- parameters ---------------------------------------------------------------------------------
 */
static bool take_known(const struct sequence *seq, struct uidset *known)
{
	if (seq->is_saved)
		return false;
	for (size_t i = 0; i < seq->n; i++) {
		struct uid_range r = seq->r[i];

		if (r.first == 0 || r.last == 0)
			return false;
		uidset_add_range(known, r.first < r.last ? r.first : r.last,
		    r.first < r.last ? r.last : r.first);
	}
	uidset_sort(known);
	return true;
}

/* The pairs are in ascending order, without '*' and '$'. */
static bool is_ascending(const struct sequence *seq)
{
	uint32_t last = 0;

	if (seq->is_saved)
		return false;
	for (size_t i = 0; i < seq->n; i++) {
		if (seq->r[i].first <= last || seq->r[i].last < seq->r[i].first)
			return false;
		last = seq->r[i].last;
	}
	return true;
}

static bool parse_pairs(struct parser *p, struct qresync *q)
{
	return parse_chr(p, '(') && parse_sequence(p, &q->numbers) && parse_sp(p) &&
	       parse_sequence(p, &q->uids) && parse_chr(p, ')') && is_ascending(&q->numbers) &&
	       is_ascending(&q->uids);
}

/* "(" uidvalidity SP modseq [SP known-uids] [SP "(" numbers SP uids ")"] ")" */
static bool parse_qresync(struct parser *p, struct qresync *q)
{
	struct sequence known;

	if (!parse_sp(p) || !parse_chr(p, '(') || !parse_nz_number(p, &q->uidvalidity) ||
	    !parse_sp(p) || !parse_number(p, INT64_MAX, &q->modseq) || q->modseq == 0)
		return false;
	q->is_set = true;
	if (parse_chr(p, ')'))
		return true;
	if (!parse_sp(p))
		return false;
	if (p->in.n > 0 && p->in.p[0] != '(') {
		if (!parse_sequence(p, &known) || !take_known(&known, &q->known))
			return false;
		q->has_known = true;
		if (parse_chr(p, ')'))
			return true;
		if (!parse_sp(p))
			return false;
	}
	return parse_pairs(p, q) && parse_chr(p, ')');
}

static bool parse_parameters(struct parser *p, struct select *sel)
{
	struct span word;

	if (parse_end(p))
		return true;
	if (!parse_sp(p) || !parse_chr(p, '('))
		return false;
	do {
		if (!parse_atom(p, &word))
			return false;
		if (span_ieq(word, SPAN("CONDSTORE")))
			sel->wants_condstore = true;
		else if (!span_ieq(word, SPAN("QRESYNC")) || sel->q.is_set ||
			 !parse_qresync(p, &sel->q))
			return false;
	} while (parse_sp(p));
	return parse_chr(p, ')') && parse_end(p);
}

/* --- what changed since the client was here -----------------------------------------------------
 */
/* The last UID up to which the client's pairs say that nothing went. */
static uint32_t matched_uid(const struct qresync *q, const struct store_snapshot *snap)
{
	size_t i = 0, j = 0;
	uint32_t matched = 0;
	uint64_t number, uid;

	if (q->numbers.n == 0)
		return 0;
	number = q->numbers.r[0].first;
	uid = q->uids.r[0].first;
	while (number <= snap->count && snap->messages[number - 1].uid == uid) {
		matched = (uint32_t)uid;
		if (number++ == q->numbers.r[i].last) {
			if (++i == q->numbers.n)
				break;
			number = q->numbers.r[i].first;
		}
		if (uid++ == q->uids.r[j].last) {
			if (++j == q->uids.n)
				break;
			uid = q->uids.r[j].first;
		}
	}
	return matched;
}

/* Of the range r what the mailbox does not have. */
static void add_absent(const struct store_snapshot *snap, struct uid_range r, struct uidset *out)
{
	uint64_t from = r.first;

	for (size_t i = store_snapshot_search(snap, r.first); i < snap->count && from <= r.last;
	     i++) {
		uint32_t uid = snap->messages[i].uid;

		if (uid > r.last)
			break;
		if (uid > from)
			uidset_add_range(out, (uint32_t)from, uid - 1);
		from = (uint64_t)uid + 1;
	}
	if (from <= r.last)
		uidset_add_range(out, (uint32_t)from, r.last);
}

static void tell_vanished_earlier(struct session *s, struct select *sel)
{
	const struct store_snapshot *snap = s->view->snap;
	struct uidset all, meant, absent;
	const struct uidset *candidates = &sel->vanished;

	uidset_init(&all);
	uidset_init(&meant);
	uidset_init(&absent);
	if (!sel->is_complete && snap->uidnext > 1) {
		uint32_t matched = matched_uid(&sel->q, snap);

		if (matched + 1 < snap->uidnext)
			uidset_add_range(&all, matched + 1, snap->uidnext - 1);
		candidates = &all;
	}
	if (sel->q.has_known) {
		uidset_intersect(&meant, candidates, &sel->q.known);
		candidates = &meant;
	}
	for (size_t i = 0; i < candidates->n; i++)
		add_absent(snap, candidates->r[i], &absent);
	tell_vanished(s, &absent, true);
	uidset_clear(&all);
	uidset_clear(&meant);
	uidset_clear(&absent);
}

static void selected(struct session *s);

static void tell_changed(struct session *s)
{
	struct select *sel = (struct select *)s->task;
	const struct store_snapshot *snap = s->view->snap;

	for (size_t told = 0; sel->next < snap->count; sel->next++) {
		const struct store_message *m = &snap->messages[sel->next];

		if (m->modseq <= sel->q.modseq ||
		    (sel->q.has_known && !uidset_has(&sel->q.known, m->uid)))
			continue;
		tell_flags(s, snap, sel->next);
		if (++told % LINES_A_LOOK == 0 && conn_is_congested(s->conn)) {
			sel->next++;
			session_flow(s, tell_changed);
			return;
		}
	}
	selected(s);
}

static void vanished_read(struct task *t, struct db_txn *txn, struct err *err)
{
	struct select *sel = (struct select *)t;

	store_vanished(txn, t->session->account, sel->mailbox.id, sel->q.modseq, &sel->vanished,
	    &sel->is_complete, err);
}

static void vanished_done(struct task *t)
{
	struct session *s = t->session;

	if (t->err.code != ERR_NONE) {
		view_close(s);
		finish_err(s, &t->err);
		task_free(t);
		return;
	}
	tell_vanished_earlier(s, (struct select *)t);
	tell_changed(s);
}

/* --- SELECT -------------------------------------------------------------------------------------
 */
static void selected(struct session *s)
{
	bool is_read_only = s->view->is_read_only;

	task_free(s->task);
	finish(s, "OK [%s] %s", is_read_only ? "READ-ONLY" : "READ-WRITE",
	    is_read_only ? "Examined" : "Selected");
}

static void tell_mailbox(struct session *s)
{
	const struct store_snapshot *snap = s->view->snap;
	size_t unseen = 0;
	struct strbuf id;

	while (unseen < snap->count && (snap->messages[unseen].flags & FLAG_SEEN))
		unseen++;
	write_flags_list(s, snap);
	untagged(s, "%zu EXISTS", snap->count);
	untagged(s, "%zu RECENT", s->view->recent_told);
	if (unseen < snap->count)
		untagged(s, "OK [UNSEEN %zu] First unseen", unseen + 1);
	untagged(s, "OK [UIDVALIDITY %u] UIDs valid", snap->uidvalidity);
	untagged(s, "OK [UIDNEXT %u] Predicted next UID", snap->uidnext);
	untagged(s, "OK [HIGHESTMODSEQ %llu] Highest", (unsigned long long)snap->highestmodseq);
	strbuf_init(&id, 64);
	write_mailbox_id(&id, snap->mailbox);
	untagged(s, "OK [MAILBOXID (%s)] The mailbox's id", id.p);
	strbuf_clear(&id);
}

static void opened(struct session *s)
{
	struct select *sel = (struct select *)s->task;
	struct mbox *m = mbox_get(s->server, s->account, sel->mailbox.id);

	if (m->is_gone || m->err.code != ERR_NONE) {
		struct err err = m->err;

		mbox_release(m);
		task_free(&sel->task);
		finish_err(s, &err);
		return;
	}
	if (sel->wants_condstore)
		session_enable_condstore(s);
	view_open(s, m, sel->is_read_only);
	tell_mailbox(s);
	if (sel->q.is_set && sel->q.uidvalidity == s->view->snap->uidvalidity &&
	    sel->q.modseq < s->view->snap->highestmodseq) {
		sel->task.read = vanished_read;
		sel->task.done = vanished_done;
		task_read(&sel->task);
		return;
	}
	selected(s);
}

static void select_refreshed(struct refresh *r)
{
	opened(container_of(r, struct session, refresh));
}

static void find_read(struct task *t, struct db_txn *txn, struct err *err)
{
	struct select *sel = (struct select *)t;

	if (store_mailbox_find(txn, t->session->account, sel->name, &sel->mailbox, err) < 0)
		return;
	if (sel->mailbox.is_noselect)
		err_set(err, ERR_NOT_FOUND, "this is only a level of the hierarchy");
}

static void find_done(struct task *t)
{
	struct session *s = t->session;
	struct select *sel = (struct select *)t;
	struct mbox *m;

	if (t->err.code != ERR_NONE) {
		finish_err(s, &t->err);
		task_free(t);
		return;
	}
	m = mbox_get(s->server, s->account, sel->mailbox.id);
	if (mbox_is_current(m))
		opened(s);
	else
		mbox_refresh(m, &s->refresh, select_refreshed);
}

static void select_clear(struct task *t)
{
	struct select *sel = (struct select *)t;

	uidset_clear(&sel->q.known);
	uidset_clear(&sel->vanished);
}

static void leave_selected(struct session *s)
{
	if (!s->view)
		return;
	view_close(s);
	untagged(s, "OK [CLOSED] Previous mailbox closed");
}

static void select_or_examine(struct session *s, struct parser *p, bool is_read_only)
{
	struct select *sel = task_new(s, sizeof(*sel));

	sel->is_read_only = is_read_only;
	uidset_init(&sel->q.known);
	uidset_init(&sel->vanished);
	sel->task.clear = select_clear;
	sel->task.read = find_read;
	sel->task.done = find_done;
	if (!parse_mailbox(p, &sel->name) || !parse_parameters(p, sel)) {
		task_free(&sel->task);
		finish_bad(s, "SELECT needs a mailbox, and parameters it knows");
		return;
	}
	if (sel->q.is_set && !s->has_qresync) {
		task_free(&sel->task);
		finish_bad(s, "ENABLE QRESYNC comes first");
		return;
	}
	leave_selected(s);
	task_read(&sel->task);
}

void cmd_select(struct session *s, struct parser *p)
{
	select_or_examine(s, p, false);
}

void cmd_examine(struct session *s, struct parser *p)
{
	select_or_examine(s, p, true);
}

/* --- leaving ------------------------------------------------------------------------------------
 */
/* Runs beside the loop, where a client that hangs up takes the view away: knows the mailbox itself.
 */
struct close_task {
	struct task task;
	uint64_t mailbox;
};

static int close_write(struct task *t, struct db_txn *txn, struct err *err)
{
	const struct close_task *c = container_of(t, struct close_task, task);

	return store_expunge(txn, t->session->account, c->mailbox, NULL, true, NULL, NULL, err);
}

static void close_done(struct task *t)
{
	struct session *s = t->session;
	/* A mailbox that was deleted meanwhile has nothing to expunge. */
	bool is_done = t->err.code == ERR_NONE || t->err.code == ERR_NOT_FOUND;

	view_close(s);
	if (is_done)
		finish(s, "OK Closed");
	else
		finish_err(s, &t->err);
	task_free(t);
}

void cmd_close(struct session *s, struct parser *p)
{
	struct close_task *c;

	if (s->view->is_read_only) {
		cmd_unselect(s, p);
		return;
	}
	c = task_new(s, sizeof(*c));
	c->mailbox = s->view->mbox->id;
	c->task.write = close_write;
	c->task.done = close_done;
	task_write(&c->task);
}

void cmd_unselect(struct session *s, struct parser *p)
{
	view_close(s);
	finish(s, "OK Mailbox left");
}
