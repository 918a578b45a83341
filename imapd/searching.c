/* A search through the selected mailbox: for SEARCH, SORT and THREAD. */
#include "common/base/mem.h"
#include "common/log/log.h"
#include "imapd/search.h"

#define SLICE_COST 40000 /* messages that only the snapshot is asked about */

static void searching_clear(struct task *t)
{
	struct searching *x = container_of(t, struct searching, task);

	if (x->clear)
		x->clear(x);
	facts_load_clear(&x->load);
	facts_free(x->facts);
	search_state_clear(&x->state);
	search_program_clear(&x->program);
	store_snapshot_unref(x->snap);
	mem_free(x->hits);
}

void *searching_new(struct session *s, size_t size)
{
	struct searching *x = task_new(s, size);

	x->task.clear = searching_clear;
	x->snap = store_snapshot_ref(s->view->snap);
	x->hits = mem_zalloc(x->snap->count / 8 + 1);
	return x;
}

bool searching_is_hit(const struct searching *x, size_t index)
{
	return x->hits[index / 8] & 1u << index % 8;
}

static void add_hit(struct searching *x, size_t index)
{
	const struct store_message *m = &x->snap->messages[index];

	x->hits[index / 8] |= (unsigned char)(1u << index % 8);
	if (x->count++ == 0)
		x->first = index;
	x->last = index;
	if (m->modseq > x->modseq)
		x->modseq = m->modseq;
}

/* 1: more to do. Where that fails, or a message cannot be read, rows are asked as ever: they say
 * why. */
static int load_facts(struct searching *x, struct db_txn *txn)
{
	struct err why = ERR_INIT;
	int rc = facts_load_slice(&x->load, txn, &why);

	if (rc == 1)
		return 1;
	x->has_loaded = true;
	if (rc == 0 && x->load.failed == 0)
		x->state.facts = x->facts;
	return 0;
}

static void searching_read(struct task *t, struct db_txn *txn, struct err *err)
{
	struct searching *x = container_of(t, struct searching, task);

	if (x->facts && !x->has_loaded && load_facts(x, txn) == 1)
		return;
	message_slice(&x->state.m, txn);
	x->state.cost = 0;
	while (x->next < x->snap->count && x->state.cost < SLICE_COST) {
		struct err why = ERR_INIT;
		int rc = search_match(&x->state, x->next, &why);

		if (rc == SEARCH_UNKNOWN)
			return;
		if (rc < 0 && x->failed++ == 0)
			x->why = why;
		if (rc == SEARCH_TRUE)
			add_hit(x, x->next);
		x->next++;
	}
}

/* For the next search, or for the SORT that this was for. */
static void keep_facts(struct searching *x)
{
	struct mbox *m = x->task.session->view->mbox;

	if (x->state.dates > x->snap->count / 2)
		m->wants_days = true;
	if (!x->state.facts)
		return;
	x->state.facts = NULL;
	facts_give(x->facts, m);
	x->facts = NULL;
}

/* Sent dates are worth a column once somebody asked for those of most messages. */
static void take_facts(struct searching *x)
{
	struct session *s = x->task.session;
	struct mbox *m = s->view->mbox;

	if (!x->program.has_sent || (!m->wants_days && !facts_has(m, FACT_SENT_DAY)))
		return;
	x->facts = facts_take(m);
	facts_load_init(&x->load, s->server->store, x->facts, x->snap, FACT_SENT_DAY);
}

static void searching_done(struct task *t)
{
	struct searching *x = container_of(t, struct searching, task);
	struct session *s = t->session;
	struct err err = t->err;

	if (err.code != ERR_NONE) {
		task_free(t);
		finish_err(s, &err);
		return;
	}
	if (x->next < x->snap->count) {
		task_read(t);
		return;
	}
	if (x->failed)
		log_error("imap-search", LOG_STR("session", s->id),
		    LOG_U64("account", x->snap->account), LOG_U64("messages", x->failed),
		    LOG_ERR(&x->why));
	keep_facts(x);
	x->found(x);
}

const char *searching_result(const struct searching *x, const char *ok)
{
	if (!x->failed)
		return ok;
	if (x->why.code == ERR_NOT_FOUND)
		return "NO [EXPUNGEISSUED] Some messages are not there any more";
	if (x->why.code == ERR_CORRUPT)
		return "NO [SERVERBUG] Some messages are damaged";
	return "NO [UNAVAILABLE] Some messages could not be read, try later";
}

static void refuse(struct searching *x, enum search_parsed why)
{
	struct session *s = x->task.session;

	if (x->saves && why != SEARCH_BAD)
		uidset_clear(&s->view->saved);
	task_free(&x->task);
	switch (why) {
	case SEARCH_BADCHARSET:
		finish(s, "NO [BADCHARSET (US-ASCII UTF-8)] Unknown charset");
		break;
	case SEARCH_TOO_LONG:
		finish(s, "NO [LIMIT] Too many search keys, or too long ones");
		break;
	default:
		finish_bad(s, "Unknown search key or a wrong argument");
		break;
	}
}

void searching_start(struct searching *x, struct parser *p, struct span charset)
{
	struct session *s = x->task.session;
	enum search_parsed parsed = search_parse(s, p, charset, &x->program);

	if (parsed != SEARCH_GOOD) {
		refuse(x, parsed);
		return;
	}
	if (x->program.has_modseq)
		session_enable_condstore(s);
	search_state_init(&x->state, s, x->snap, &x->program);
	take_facts(x);
	x->task.read = searching_read;
	x->task.done = searching_done;
	task_read(&x->task);
}
