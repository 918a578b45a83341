/*
 * FETCH and UID FETCH: a slice of answers at a time, from the snapshot on the loop where that
 * suffices, else on a reader thread. Where messages become \Seen they do so in batches, each before
 * it is sent: who hangs up in the middle of a mailbox has not read the rest of it.
 */
#include "common/base/mem.h"
#include "common/log/log.h"
#include "imapd/fetch.h"

#define BATCH 256 /* messages marked \Seen in one go */
#define SLICE_MESSAGES 500
#define AHEAD_BYTES ((size_t)2 * SLICE_BYTES) /* may wait for the client while more is read */
#define REBUILT_MAX 64                        /* cache rows made again in one slice */
#define REBUILT_BYTES (256 * 1024)

struct fetch {
	struct task task;
	struct fetch_request rq;
	struct fetch_writer writer;
	struct store_snapshot *snap;
	struct uidset uids;
	size_t range, next; /* where we are: in uids.r, in snap->messages */
	bool in_message, is_broken, on_reader;
	size_t sent_from; /* where the message begins in this slice's output; SIZE_MAX: before it */
	size_t failed;
	struct err why; /* of the first that failed */
	struct cache_rows *rebuilt;

	bool marks;                /* messages become \Seen */
	size_t batch_end;          /* those before this one are marked as they should be */
	struct uidset to_mark;     /* of the batch */
	struct store_message *now; /* BATCH: those, as they are since they were marked */
	size_t now_count;
	struct uidset marked;     /* by this command; the answers say so */
	struct uidset downgraded; /* RFC 6858: were told in another form than they are stored */
	bool wrote;

	struct uidset known, vanished; /* of QRESYNC's VANISHED: asked for, found */
};

/* --- rows that were made again ---------------------------------------------------------------- */
struct cache_rows {
	struct db_op op;
	uint64_t account;
	size_t n;
	uint64_t objects[REBUILT_MAX];
	size_t starts[REBUILT_MAX + 1];
	struct strbuf rows;
};

static struct cache_rows *rows_new(uint64_t account)
{
	struct cache_rows *c = mem_zalloc(sizeof(*c));

	c->account = account;
	strbuf_init(&c->rows, REBUILT_BYTES);
	return c;
}

static void rows_free(struct cache_rows *c)
{
	if (!c)
		return;
	strbuf_clear(&c->rows);
	mem_free(c);
}

/* What finds no room will be made once more another time. */
static void rows_add(struct cache_rows *c, const struct message *m)
{
	if (c->n == REBUILT_MAX || !strbuf_add(&c->rows, strbuf_span(&m->rebuilt)))
		return;
	c->objects[c->n++] = m->object;
	c->starts[c->n] = c->rows.n;
}

static int rows_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct cache_rows *c = container_of(op, struct cache_rows, op);

	for (size_t i = 0; i < c->n; i++) {
		struct err why = ERR_INIT;
		struct blob blob;
		struct span row =
		    span_sub(strbuf_span(&c->rows), c->starts[i], c->starts[i + 1] - c->starts[i]);

		/* An object that has gone in the meantime gets no row. */
		if (store_object_blob(txn, c->account, c->objects[i], &blob, &why) < 0)
			continue;
		if (store_object_cache_put(txn, c->account, c->objects[i], row, err) < 0)
			return -1;
	}
	return 0;
}

static void rows_done(struct db_op *op)
{
	struct cache_rows *c = container_of(op, struct cache_rows, op);

	if (op->err.code != ERR_NONE)
		log_warning("imap-cache", LOG_U64("account", c->account), LOG_ERR(&op->err));
	rows_free(c);
}

/* Nobody waits for it, and it causes no flush of its own. */
static void rows_write(struct store *store, struct cache_rows *c)
{
	c->op.run = rows_run;
	c->op.done = rows_done;
	c->op.cost = c->rows.n + c->n * 4096;
	db_write_lazy(store_writer(store), &c->op);
}

/* --- the command ------------------------------------------------------------------------------ */
static void fetch_clear(struct task *t)
{
	struct fetch *f = container_of(t, struct fetch, task);

	fetch_writer_clear(&f->writer);
	store_snapshot_unref(f->snap);
	uidset_clear(&f->uids);
	uidset_clear(&f->to_mark);
	mem_free(f->now);
	uidset_clear(&f->marked);
	uidset_clear(&f->downgraded);
	uidset_clear(&f->known);
	uidset_clear(&f->vanished);
	rows_free(f->rebuilt);
}

/* The next message that was asked for, from *next on. */
static bool find_next(const struct fetch *f, size_t *range, size_t *next)
{
	while (*range < f->uids.n && *next < f->snap->count) {
		struct uid_range r = f->uids.r[*range];
		const struct store_message *m = &f->snap->messages[*next];

		if (m->uid < r.first)
			*next = store_snapshot_search(f->snap, r.first);
		else if (m->uid > r.last)
			++*range;
		else if (f->rq.has_changedsince && m->modseq <= f->rq.changedsince)
			++*next;
		else
			return true;
	}
	return false;
}

static bool is_over(struct fetch *f)
{
	return !f->in_message && !find_next(f, &f->range, &f->next);
}

/* The message as this command left it; NULL if it did not change it. */
static const struct store_message *marked_now(const struct fetch *f, uint32_t uid)
{
	for (size_t low = 0, high = f->now_count; low < high;) {
		size_t mid = low + (high - low) / 2;

		if (f->now[mid].uid == uid)
			return &f->now[mid];
		if (f->now[mid].uid < uid)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* Does the message at hand, or the next one, need a reader thread? */
static bool needs_reader(const struct fetch *f)
{
	if (f->rq.needs_store)
		return true;
	return f->in_message ? f->writer.is_downgraded
			     : fetch_is_downgraded(&f->rq, &f->snap->messages[f->next]);
}

/* One message, or more of it. False: the slice or the batch is over, or it needs a reader. */
static bool write_one(struct fetch *f, struct err *err)
{
	struct fetch_writer *w = &f->writer;
	int rc;

	if (!f->in_message) {
		if (is_over(f) || f->next >= f->batch_end || (!f->on_reader && needs_reader(f)))
			return false;
		f->in_message = true;
		f->sent_from = w->out.n;
		fetch_writer_set(w, f->next, marked_now(f, f->snap->messages[f->next].uid));
	}
	rc = fetch_write(w, err);
	if (rc == 1)
		return false;
	if (rc < 0 && f->sent_from == SIZE_MAX) {
		f->is_broken = true;
		return false;
	}
	if (rc < 0) {
		/* Nothing of it has been sent: it is left out, and the end says so. */
		strbuf_truncate(&w->out, f->sent_from);
		w->out.failed = false;
		if (f->failed++ == 0)
			f->why = *err;
		*err = (struct err)ERR_INIT;
	} else if (w->is_downgraded && message_is_downgraded(&w->m)) {
		uidset_add(&f->downgraded, w->row->uid);
	}
	if (message_has_new_row(&w->m))
		rows_add(f->rebuilt, &w->m);
	f->in_message = false;
	f->next++;
	return true;
}

static void write_slice(struct fetch *f, struct err *err)
{
	struct fetch_writer *w = &f->writer;

	f->sent_from = f->in_message && w->is_begun ? SIZE_MAX : 0;
	for (size_t n = 0; n < SLICE_MESSAGES && w->out.n < SLICE_BYTES; n++)
		if (!write_one(f, err))
			break;
}

static void fetch_read(struct task *t, struct db_txn *txn, struct err *err)
{
	struct fetch *f = container_of(t, struct fetch, task);

	message_slice(&f->writer.m, txn);
	if (!f->rebuilt)
		f->rebuilt = rows_new(f->snap->account);
	f->on_reader = true;
	write_slice(f, err);
	f->on_reader = false;
}

/* --- \Seen ------------------------------------------------------------------------------------ */
static const struct store_flags_change mark_seen = {.mode = FLAGS_ADD, .flags = FLAG_SEEN};

static int mark_run(struct task *t, struct db_txn *txn, struct err *err)
{
	struct fetch *f = container_of(t, struct fetch, task);

	f->now_count = 0;
	if (store_flags_change(txn, f->snap->account, f->snap->mailbox, &f->to_mark, &mark_seen,
		NULL, NULL, err) < 0)
		return -1;
	/* Others may have changed them since the snapshot: the answers tell what is so. */
	return store_messages_get(txn, f->snap->account, f->snap->mailbox, &f->to_mark, f->now,
	    BATCH, &f->now_count, err);
}

static void fetch_continue(struct session *s);

/* A keyword that came after the snapshot cannot be named yet: that message is left to the news. */
static void leave_out_unnamed(struct fetch *f)
{
	size_t known = f->snap->keyword_count, n = 0;

	for (size_t i = 0; i < f->now_count; i++)
		if (known >= 64 || f->now[i].keywords >> known == 0)
			f->now[n++] = f->now[i];
	f->now_count = n;
}

static void mark_done(struct task *t)
{
	struct fetch *f = container_of(t, struct fetch, task);
	struct uidset all = {0};

	f->wrote = true;
	if (t->err.code != ERR_NONE) {
		/* On a full disk mail can be read all the same. */
		log_error("imap-seen", LOG_STR("session", t->session->id),
		    LOG_U64("account", f->snap->account), LOG_ERR(&t->err));
		f->now_count = 0;
	}
	leave_out_unnamed(f);
	/* The answers say it; it is no news any more. */
	for (size_t i = 0; i < f->now_count; i++)
		uidset_add(&f->marked, f->now[i].uid);
	for (size_t i = 0; i < f->marked.n; i++)
		uidset_add_range(&all, f->marked.r[i].first, f->marked.r[i].last);
	view_expect(t->session, true, &all, &mark_seen);
	fetch_continue(t->session);
}

/* Chooses the next batch. True: it has to be marked first. */
static bool start_batch(struct fetch *f)
{
	size_t range = f->range, next = f->next, n = 0;

	f->now_count = 0;
	f->batch_end = f->snap->count;
	if (!f->marks)
		return false;
	uidset_reset(&f->to_mark);
	for (; n < BATCH && find_next(f, &range, &next); next++, n++)
		if (!(f->snap->messages[next].flags & FLAG_SEEN))
			uidset_add(&f->to_mark, f->snap->messages[next].uid);
	if (n == BATCH)
		f->batch_end = next;
	return f->to_mark.n > 0;
}

static void mark_batch(struct fetch *f)
{
	if (!f->now)
		f->now = mem_array(BATCH, sizeof(*f->now));
	f->task.write = mark_run;
	f->task.done = mark_done;
	f->task.op.cost = f->to_mark.n * 4096;
	task_write(&f->task);
}

/* --- VANISHED (RFC 7162 section 3.2.6) -------------------------------------------------------- */
/* What was asked for as the client typed it: also UIDs behind the last message. */
static void keep_known(struct fetch *f, const struct sequence *seq)
{
	uint32_t last = f->snap->uidnext - 1;

	for (size_t i = 0; i < seq->n; i++) {
		uint32_t a = seq->r[i].first ? seq->r[i].first : last;
		uint32_t b = seq->r[i].last ? seq->r[i].last : last;

		if (a > b) {
			uint32_t swap = a;

			a = b;
			b = swap;
		}
		b = b < last ? b : last;
		if (a <= b)
			uidset_add_range(&f->known, a, b);
	}
	uidset_sort(&f->known);
}

/* Puts into out what of first .. last is in known and not in the mailbox. */
static void add_vanished(struct fetch *f, struct uid_range of)
{
	for (size_t i = 0; i < f->known.n; i++) {
		struct uid_range r = f->known.r[i];
		size_t k;

		if (r.last < of.first || r.first > of.last)
			continue;
		r.first = r.first > of.first ? r.first : of.first;
		r.last = r.last < of.last ? r.last : of.last;
		for (k = store_snapshot_search(f->snap, r.first);
		     k < f->snap->count && f->snap->messages[k].uid <= r.last; k++) {
			uint32_t uid = f->snap->messages[k].uid;

			if (uid > r.first)
				uidset_add_range(&f->vanished, r.first, uid - 1);
			if (uid == r.last)
				break;
			r.first = uid + 1;
		}
		if (k == f->snap->count || f->snap->messages[k].uid != r.last)
			uidset_add_range(&f->vanished, r.first, r.last);
	}
}

static void vanished_read(struct task *t, struct db_txn *txn, struct err *err)
{
	struct fetch *f = container_of(t, struct fetch, task);
	struct uidset all = {0};
	bool is_complete;

	if (store_vanished(txn, f->snap->account, f->snap->mailbox, f->rq.changedsince, &all,
		&is_complete, err) == 0) {
		uidset_sort(&all);
		if (is_complete)
			for (size_t i = 0; i < all.n; i++)
				add_vanished(f, all.r[i]);
		else
			add_vanished(f, (struct uid_range){1, UINT32_MAX});
	}
	uidset_clear(&all);
}

static void vanished_done(struct task *t)
{
	struct fetch *f = container_of(t, struct fetch, task);
	struct session *s = t->session;
	struct err err = t->err;

	if (err.code != ERR_NONE) {
		task_free(t);
		finish_err(s, &err);
		return;
	}
	uidset_sort(&f->vanished);
	if (f->vanished.n > 0)
		tell_vanished(s, &f->vanished, true);
	if (session_flow(s, fetch_continue))
		fetch_continue(s);
}

/* --- the command ------------------------------------------------------------------------------ */
static const char *failure(enum err_code code)
{
	switch (code) {
	case ERR_UNSUPPORTED:
		return "NO [UNKNOWN-CTE] A part has an encoding that cannot be undone";
	case ERR_NOT_FOUND:
		return "NO [EXPUNGEISSUED] Some messages are not there any more";
	case ERR_LIMIT:
		return "NO [LIMIT] Some messages have too large headers for that";
	case ERR_CORRUPT:
		return "NO [SERVERBUG] Some messages are damaged";
	default:
		return "NO [UNAVAILABLE] Some messages could not be read, try later";
	}
}

/* The tagged answer's text. */
static void fetch_result(const struct fetch *f, struct strbuf *text)
{
	if (f->failed) {
		strbuf_add_str(text, failure(f->why.code));
		return;
	}
	if (f->downgraded.n > 0) {
		strbuf_add_str(text, "OK [DOWNGRADED ");
		uidset_format(text, &f->downgraded);
		strbuf_add_str(text, "] Fetched");
	}
	/* Too many to be told. */
	if (text->failed)
		strbuf_reset(text);
	if (text->n == 0)
		strbuf_add_str(text, "OK Fetched");
}

static void fetch_end(struct fetch *f)
{
	struct session *s = f->task.session;
	bool may_expunge = s->is_uid, wrote = f->wrote;
	struct strbuf text;

	strbuf_init(&text, 256 * 1024);
	fetch_result(f, &text);

	if (f->failed)
		log_error("imap-fetch", LOG_STR("session", s->id),
		    LOG_U64("account", f->snap->account), LOG_U64("messages", f->failed),
		    LOG_ERR(&f->why));
	/* What was left out has not been told. */
	if (f->failed)
		s->expected.is_set = false;
	task_free(&f->task);
	if (wrote)
		finish_refresh(s, may_expunge, text.p);
	else
		finish_sync(s, may_expunge, text.p);
	strbuf_clear(&text);
}

/* Sends a slice. False: the connection had to be given up. */
static bool deliver(struct fetch *f, const struct err *err)
{
	struct session *s = f->task.session;

	if (f->is_broken) {
		/* In the middle of a message only closing is honest. */
		log_error("imap-fetch-broken", LOG_STR("session", s->id),
		    LOG_U64("account", f->snap->account), LOG_ERR(err));
		s->is_closing = true;
		loop_defer(s->server->role->loop, &s->turn_end);
		return false;
	}
	conn_write(s->conn, strbuf_span(&f->writer.out));
	strbuf_reset(&f->writer.out);
	if (f->rebuilt && f->rebuilt->n > 0) {
		rows_write(s->server->store, f->rebuilt);
		f->rebuilt = NULL;
	}
	return true;
}

static void fetch_done(struct task *t)
{
	struct fetch *f = container_of(t, struct fetch, task);
	struct session *s = t->session;
	struct err err = t->err;

	/* Not even a transaction: nothing more can be read. */
	if (err.code != ERR_NONE && !f->is_broken) {
		task_free(t);
		finish_err(s, &err);
		return;
	}
	/* The next slice is made while the client takes this one. */
	if (deliver(f, &err) &&
	    (conn_output_waiting(s->conn) <= AHEAD_BYTES || session_flow(s, fetch_continue)))
		fetch_continue(s);
}

static void fetch_continue(struct session *s)
{
	struct fetch *f = container_of(s->task, struct fetch, task);
	struct err err = ERR_INIT;

	while (!is_over(f)) {
		if (!f->in_message && f->next >= f->batch_end && start_batch(f)) {
			mark_batch(f);
			return;
		}
		if (needs_reader(f)) {
			f->task.read = fetch_read;
			f->task.done = fetch_done;
			task_read(&f->task);
			return;
		}
		write_slice(f, &err);
		if (!deliver(f, &err) || !session_flow(s, fetch_continue))
			return;
	}
	fetch_end(f);
}

static bool parse(struct session *s, struct parser *p, struct fetch *f, struct sequence *seq)
{
	if (!parse_sequence(p, seq) || !parse_sp(p) || !fetch_parse_items(p, &f->rq) ||
	    !fetch_parse_modifiers(p, &f->rq))
		return false;
	return !f->rq.wants_vanished || (s->is_uid && s->has_qresync);
}

static void start(struct fetch *f, const struct sequence *seq)
{
	struct session *s = f->task.session;

	f->marks = f->rq.sets_seen && !s->view->is_read_only;
	fetch_writer_init(&f->writer, s->server->store, f->snap, &f->rq);
	f->writer.tells_modseq = s->has_condstore;
	for (size_t i = 0; i < s->view->recent.n; i++)
		uidset_add_range(
		    &f->writer.recent, s->view->recent.r[i].first, s->view->recent.r[i].last);
	if (!f->rq.wants_vanished) {
		fetch_continue(s);
		return;
	}
	keep_known(f, seq);
	f->task.read = vanished_read;
	f->task.done = vanished_done;
	task_read(&f->task);
}

void cmd_fetch(struct session *s, struct parser *p)
{
	struct fetch *f = task_new(s, sizeof(*f));
	struct sequence seq;

	f->task.clear = fetch_clear;
	f->rq.is_uid = s->is_uid;
	f->rq.is_utf8 = s->has_utf8;
	f->snap = store_snapshot_ref(s->view->snap);
	if (!parse(s, p, f, &seq)) {
		task_free(&f->task);
		finish_bad(s, "FETCH set items: one of them is unknown or malformed");
		return;
	}
	if (!view_select(s, &seq, s->is_uid, &f->uids)) {
		task_free(&f->task);
		finish_bad(s, "There is no message with this number");
		return;
	}
	if (f->rq.has_modseq)
		session_enable_condstore(s);
	start(f, &seq);
}
