/* COPY (RFC 3501 section 6.4.7) and MOVE (RFC 6851), with COPYUID (RFC 4315). */
#include "imapd/imap.h"

#include "common/base/mem.h"

#define COPYUID_MAX (1000 * 1000) /* a tagged answer holds a little more */

struct copy_task {
	struct task task;
	uint64_t mailbox;
	bool is_uid, is_move;
	bool has_no_target, has_gone; /* how it failed */
	struct span name;
	struct uidset uids;
	uint64_t count; /* messages that the client sees in uids */
	struct store_copied copied;
};

static struct copy_task *copy_task_of(struct task *t)
{
	return container_of(t, struct copy_task, task);
}

static void copy_clear(struct task *t)
{
	struct copy_task *c = copy_task_of(t);

	uidset_clear(&c->uids);
	uidset_clear(&c->copied.from);
	uidset_clear(&c->copied.to);
}

/* All or nothing where the client named messages that it sees (RFC 2180 section 4.4.1); UIDs that
 * do not exist are passed over (RFC 3501 section 6.4.8). */
static int copy_write(struct task *t, struct db_txn *txn, struct err *err)
{
	struct copy_task *c = copy_task_of(t);
	struct session *s = t->session;
	struct store_mailbox target;

	c->has_no_target = c->has_gone = false;
	if (store_mailbox_find(txn, s->account, c->name, &target, err) < 0) {
		c->has_no_target = true;
		return -1;
	}
	if (store_copy(txn, s->account, c->mailbox, &c->uids, target.id, c->is_move, &s->limits,
		&c->copied, err) < 0)
		return -1;
	if (!c->is_uid && uidset_count(&c->copied.from) < c->count) {
		c->has_gone = true;
		return err_set(err, ERR_NOT_FOUND, "some of the messages have gone");
	}
	return 0;
}

static uint64_t count_seen(const struct store_snapshot *snap, const struct uidset *uids)
{
	uint64_t count = 0;

	for (size_t i = 0; i < uids->n; i++)
		count += uids->r[i].last == UINT32_MAX
			     ? snap->count - store_snapshot_search(snap, uids->r[i].first)
			     : store_snapshot_search(snap, uids->r[i].last + 1) -
				   store_snapshot_search(snap, uids->r[i].first);
	return count;
}

static void copy_fail(struct copy_task *c)
{
	struct session *s = c->task.session;

	if (c->has_no_target && c->task.err.code == ERR_NOT_FOUND)
		finish_sync(s, true, "NO [TRYCREATE] There is no such mailbox");
	else if (c->has_gone)
		finish_refresh(s, true, "NO [EXPUNGEISSUED] Some of the messages have gone");
	else
		finish_err(s, &c->task.err);
}

/* MOVE says where they went before it says that they went (RFC 6851 section 4.3). */
static void copy_succeed(struct copy_task *c)
{
	struct session *s = c->task.session;
	const char *text = c->is_move ? "Moved" : "Copied";
	struct strbuf b;

	strbuf_init(&b, COPYUID_MAX);
	strbuf_add_str(&b, "OK ");
	if (c->copied.from.n > 0) {
		strbuf_addf(&b, "[COPYUID %u ", c->copied.uidvalidity);
		uidset_format(&b, &c->copied.from);
		strbuf_add_chr(&b, ' ');
		uidset_format(&b, &c->copied.to);
		strbuf_add_str(&b, "] ");
	}
	strbuf_add_str(&b, text);
	if (b.failed) {
		strbuf_reset(&b);
		strbuf_addf(&b, "OK %s", text);
	}
	if (c->is_move && c->copied.from.n > 0) {
		untagged(s, "%s", b.p);
		strbuf_reset(&b);
		strbuf_addf(&b, "OK %s", text);
	}
	finish_refresh(s, true, b.p);
	strbuf_clear(&b);
}

static void copy_done(struct task *t)
{
	struct copy_task *c = copy_task_of(t);

	if (t->err.code != ERR_NONE)
		copy_fail(c);
	else
		copy_succeed(c);
	task_free(t);
}

static void copy(struct session *s, struct parser *p, bool is_uid, bool is_move)
{
	struct copy_task *c;
	struct sequence seq;
	struct span name;

	if (!parse_sequence(p, &seq) || !parse_sp(p) || !parse_mailbox(p, &name) || !parse_end(p)) {
		finish_bad(s, is_move ? "MOVE set mailbox" : "COPY set mailbox");
		return;
	}
	if (is_move && s->view->is_read_only) {
		finish(s, "NO [NOPERM] The mailbox is selected read-only");
		return;
	}
	c = task_new(s, sizeof(*c));
	c->mailbox = s->view->mbox->id;
	c->is_uid = is_uid;
	c->is_move = is_move;
	c->name = name;
	c->task.write = copy_write;
	c->task.done = copy_done;
	c->task.clear = copy_clear;
	if (!view_select(s, &seq, is_uid, &c->uids)) {
		task_free(&c->task);
		finish_bad(s, "There is no message with this number");
		return;
	}
	c->task.op.need = is_move ? DB_CHANGES : DB_ADDS;
	c->count = count_seen(s->view->snap, &c->uids);
	c->task.op.cost = c->count * 512;
	task_write(&c->task);
}

void cmd_copy(struct session *s, struct parser *p)
{
	copy(s, p, false, false);
}

void cmd_uid_copy(struct session *s, struct parser *p)
{
	copy(s, p, true, false);
}

void cmd_move(struct session *s, struct parser *p)
{
	copy(s, p, false, true);
}

void cmd_uid_move(struct session *s, struct parser *p)
{
	copy(s, p, true, true);
}
