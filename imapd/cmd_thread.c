/* THREAD (RFC 5256): REFERENCES and ORDEREDSUBJECT. */
#include "common/base/mem.h"
#include "common/log/log.h"
#include "imapd/facts.h"
#include "imapd/search.h"
#include "imapd/thread.h"

#define PIECE (32 * 1024)
#define ANSWER_MAX ((size_t)256 * 1024 * 1024)

struct thread {
	struct searching x;
	bool by_references;
	struct facts *facts;
	struct facts_load load;
	struct strbuf out;
	bool is_done;
	size_t at; /* bytes of out that were sent */
};

static void thread_clear(struct searching *x)
{
	struct thread *c = container_of(x, struct thread, x);

	facts_load_clear(&c->load);
	facts_free(c->facts);
	strbuf_clear(&c->out);
}

static struct thread_message *list_messages(struct thread *c, bool is_uid)
{
	struct thread_message *list = mem_array(c->x.count + 1, sizeof(*list));
	const struct facts *f = c->facts;
	size_t n = 0, at = 0;

	for (size_t i = c->x.first; n < c->x.count; i++) {
		struct thread_message *m = &list[n];
		size_t row;

		if (!searching_is_hit(&c->x, i))
			continue;
		row = facts_row(f, c->x.snap->messages[i].uid, &at);
		m->number = is_uid ? c->x.snap->messages[i].uid : (uint32_t)i + 1;
		m->sent = f->sent[row];
		m->subject = facts_text(f, FACT_SUBJECT, row);
		m->is_reply = f->replies[row];
		if (c->by_references) {
			m->id = f->ids[row];
			m->reference_count = f->references[row].n;
			/* There may be none at all, and then no array. */
			if (m->reference_count > 0)
				m->references = f->reference_ids + f->references[row].at;
		}
		n++;
	}
	return list;
}

static void thread_read(struct task *t, struct db_txn *txn, struct err *err)
{
	struct thread *c = container_of(t, struct thread, x.task);
	struct thread_message *list;
	struct thread_tree tree;

	if (facts_load_slice(&c->load, txn, err) != 0)
		return;
	/* Nobody on the loop changes it while a task runs. */
	list = list_messages(c, t->session->is_uid);
	if (c->by_references)
		thread_references(&tree, list, c->x.count);
	else
		thread_ordered_subject(&tree, list, c->x.count);
	strbuf_add(&c->out, SPAN("* THREAD"));
	thread_write(&c->out, &tree, list);
	strbuf_add(&c->out, SPAN("\r\n"));
	if (c->out.failed)
		err_set(err, ERR_LIMIT, "too many messages for one answer");
	thread_tree_clear(&tree);
	mem_free(list);
	c->is_done = true;
}

static void tell_more(struct session *s)
{
	struct thread *c = container_of(s->task, struct thread, x.task);
	const char *text;
	bool is_uid = s->is_uid;

	while (c->at < c->out.n) {
		struct span piece = span_sub(strbuf_span(&c->out), c->at, PIECE);

		conn_write(s->conn, piece);
		c->at += piece.n;
		if (!session_flow(s, tell_more))
			return;
	}
	text = searching_result(&c->x, "OK Threaded");
	task_free(&c->x.task);
	finish_sync(s, is_uid, text);
}

static void thread_done(struct task *t)
{
	struct thread *c = container_of(t, struct thread, x.task);
	struct session *s = t->session;
	struct err err = t->err;

	if (err.code != ERR_NONE) {
		task_free(t);
		finish_err(s, &err);
		return;
	}
	if (!c->is_done) {
		task_read(t);
		return;
	}
	if (c->load.failed) {
		log_error("imap-thread", LOG_STR("session", s->id), LOG_U64("account", s->account),
		    LOG_U64("messages", c->load.failed));
	} else {
		facts_give(c->facts, s->view->mbox);
		c->facts = NULL;
	}
	tell_more(s);
}

static void found(struct searching *x)
{
	struct thread *c = container_of(x, struct thread, x);
	struct session *s = x->task.session;

	c->facts = facts_take(s->view->mbox);
	facts_load_init(&c->load, s->server->store, c->facts, x->snap,
	    FACT_SENT | 1u << FACT_SUBJECT | (c->by_references ? FACT_REFERENCES : 0));
	x->task.read = thread_read;
	x->task.done = thread_done;
	task_read(&x->task);
}

void cmd_thread(struct session *s, struct parser *p)
{
	struct thread *c = searching_new(s, sizeof(*c));
	struct span algorithm, charset;

	c->x.found = found;
	c->x.clear = thread_clear;
	strbuf_init(&c->out, ANSWER_MAX);
	if (!parse_atom(p, &algorithm) || !parse_sp(p) || !parse_astring(p, &charset) ||
	    !parse_sp(p)) {
		task_free(&c->x.task);
		finish_bad(s, "THREAD needs an algorithm, a charset and search keys");
		return;
	}
	c->by_references = span_ieq(algorithm, SPAN("REFERENCES"));
	if (!c->by_references && !span_ieq(algorithm, SPAN("ORDEREDSUBJECT"))) {
		task_free(&c->x.task);
		finish_bad(s, "Unknown threading algorithm");
		return;
	}
	searching_start(&c->x, p, charset);
}
