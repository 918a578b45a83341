/* EXPUNGE (RFC 3501 section 6.4.3) and UID EXPUNGE (RFC 4315 section 2.1). */
#include "imapd/imap.h"

#include "common/base/mem.h"

#include <stdio.h>

struct expunge_task {
	struct task task;
	uint64_t mailbox;
	bool is_uid;
	struct uidset uids;
	uint64_t modseq;
};

static struct expunge_task *expunge_task_of(struct task *t)
{
	return container_of(t, struct expunge_task, task);
}

static void expunge_clear(struct task *t)
{
	uidset_clear(&expunge_task_of(t)->uids);
}

static int expunge_write(struct task *t, struct db_txn *txn, struct err *err)
{
	struct expunge_task *e = expunge_task_of(t);

	return store_expunge(txn, t->session->account, e->mailbox, e->is_uid ? &e->uids : NULL,
	    true, NULL, &e->modseq, err);
}

static void expunge_done(struct task *t)
{
	struct session *s = t->session;
	char text[80] = "OK Expunged";

	if (t->err.code != ERR_NONE) {
		finish_err(s, &t->err);
		task_free(t);
		return;
	}
	/* RFC 7162 section 3.2.10: up to here the client knows all. */
	if (s->has_qresync)
		snprintf(text, sizeof(text), "OK [HIGHESTMODSEQ %llu] Expunged",
		    (unsigned long long)expunge_task_of(t)->modseq);
	task_free(t);
	finish_refresh(s, true, text);
}

/* uids is taken over. */
static void expunge(struct session *s, bool is_uid, struct uidset *uids)
{
	struct expunge_task *e = task_new(s, sizeof(*e));

	e->mailbox = s->view->mbox->id;
	e->is_uid = is_uid;
	e->uids = *uids;
	e->task.write = expunge_write;
	e->task.done = expunge_done;
	e->task.clear = expunge_clear;
	e->task.op.cost = s->view->snap->count * 64;
	task_write(&e->task);
}

void cmd_expunge(struct session *s, struct parser *p)
{
	struct uidset all;

	uidset_init(&all);
	if (s->view->is_read_only)
		finish(s, "NO [NOPERM] The mailbox is selected read-only");
	else
		expunge(s, false, &all);
}

void cmd_uid_expunge(struct session *s, struct parser *p)
{
	struct sequence seq;
	struct uidset uids;

	uidset_init(&uids);
	if (!parse_sequence(p, &seq) || !parse_end(p)) {
		finish_bad(s, "UID EXPUNGE set");
	} else if (s->view->is_read_only) {
		finish(s, "NO [NOPERM] The mailbox is selected read-only");
	} else if (!view_select(s, &seq, true, &uids)) {
		uidset_clear(&uids);
		finish_bad(s, "Not a set of UIDs");
	} else {
		expunge(s, true, &uids);
	}
}
