/*
 * APPEND (RFC 3501 section 6.3.11) with MULTIAPPEND (RFC 3502), APPENDUID (RFC 4315), literal8 (RFC
 * 3516) and APPENDLIMIT (RFC 7889); and REPLACE (RFC 8508), which is an APPEND that takes a message
 * away. Bytes go into an intake as they come; once all messages of the command are there (and
 * flushed, if they are large) one transaction writes them all, or none.
 *
 * Whether the mailbox is there and the quota leaves room is asked before a client is told to send a
 * literal; who does not wait for that hears it at the end. The transaction decides either way.
 */
#include "imapd/imap.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/mail/date.h"

#include <string.h>

#define MESSAGES_MAX 1000                  /* of one command */
#define INLINE_BYTES_MAX (8 * 1024 * 1024) /* held in memory; bodies behind go to files */
#define HELD_BYTES_MAX (32 * 1024 * 1024)  /* with cache rows: then no more messages */
#define DISCARD_MAX (1024 * 1024 * 1024)   /* of a refused literal that nobody asked for */
#define WORDS_MAX (64 * 1024)              /* flags and date of one message, parsed */

struct append_message {
	struct append_message *next;
	struct append *append;
	struct intake *intake;
	const struct intake_result *result; /* once it is complete */
	uint32_t flags;
	struct span *keywords; /* into words */
	size_t keyword_count;
	struct arena words;
	bool has_date, is_literal8;
	bool is_utf8; /* in "UTF8 (...)": an internationalized message (RFC 6855 section 4) */
	int64_t date;
};

struct append {
	struct session *session;
	struct span name; /* the command's */
	bool is_replace, is_uid;
	uint64_t mailbox; /* is_replace: the selected one */
	uint32_t uid;     /* is_replace: what goes */
	struct append_message *first, *last;
	size_t count;
	size_t running; /* intakes that are finishing */
	size_t held;    /* bytes of results in memory */
	uint64_t size;  /* of the literal announced last */
	bool is_sync;   /* it waits for "+" */
	bool is_ended;  /* the line is over */
	/* Why nothing is stored: the tagged answer's text, "BAD ..." or "NO ..." */
	const char *refusal;
	struct err err; /* an intake failed */
};

static void message_free(struct append_message *m)
{
	intake_free(m->intake);
	arena_clear(&m->words);
	mem_free(m);
}

static void append_free(struct append *a)
{
	if (!a)
		return;
	for (struct append_message *m = a->first, *next; m; m = next) {
		next = m->next;
		message_free(m);
	}
	mem_free(a);
}

void append_clear(struct session *s)
{
	append_free(s->append);
	s->append = NULL;
}

static void refuse(struct append *a, const char *text)
{
	if (!a->refusal)
		a->refusal = text;
}

/* Answers with the refusal; the command is over. */
static void answer_refusal(struct append *a)
{
	struct session *s = a->session;
	const char *text = a->refusal;

	append_clear(s);
	if (span_istarts(span_of(text), SPAN("BAD ")))
		finish_bad(s, text + 4);
	else
		finish(s, "%s", text);
}

/* --- writing ---------------------------------------------------------------------------------- */
struct append_task {
	struct task task;
	struct append *append;
	bool has_no_target, has_gone; /* how it failed */
	uint32_t uidvalidity;
	struct uidset uids;
};

static struct append_task *append_task_of(struct task *t)
{
	return container_of(t, struct append_task, task);
}

/* Also where the client did not live to see it: rows that are committed need their files. */
static void write_clear(struct task *t)
{
	struct append_task *w = append_task_of(t);

	if (t->err.code == ERR_NONE)
		for (struct append_message *m = w->append->first; m; m = m->next)
			intake_keep(m->intake);
	append_free(w->append);
	uidset_clear(&w->uids);
}

static int write_one(struct append_task *w, struct db_txn *txn, uint64_t mailbox,
    const struct append_message *m, struct err *err)
{
	struct session *s = w->task.session;
	const struct store_append what = {
	    .flags = m->flags | (m->is_utf8 ? MESSAGE_UTF8 : 0),
	    .keywords = m->keywords,
	    .keyword_count = m->keyword_count,
	    .internaldate = m->has_date ? m->date : clock_now(),
	    .blob = &m->result->blob,
	    .cache = m->result->cache,
	    .message_id = m->result->message_id,
	    .limits = s->limits,
	};
	struct store_appended res;

	if (store_append(txn, s->account, mailbox, &what, &res, err) < 0)
		return -1;
	w->uidvalidity = res.uidvalidity;
	uidset_add(&w->uids, res.uid);
	return 0;
}

static int write_replaced(struct append_task *w, struct db_txn *txn, struct err *err)
{
	struct append *a = w->append;
	struct uidset old, gone;
	int rc;

	uidset_init(&old);
	uidset_init(&gone);
	uidset_add(&old, a->uid);
	rc = store_expunge(txn, a->session->account, a->mailbox, &old, false, &gone, NULL, err);
	if (rc == 0 && gone.n == 0) {
		w->has_gone = true;
		rc = err_set(err, ERR_NOT_FOUND, "the message has gone");
	}
	uidset_clear(&old);
	uidset_clear(&gone);
	return rc;
}

static int append_write(struct task *t, struct db_txn *txn, struct err *err)
{
	struct append_task *w = append_task_of(t);
	struct append *a = w->append;
	struct store_mailbox mb;

	w->has_no_target = w->has_gone = false;
	uidset_reset(&w->uids);
	if (store_mailbox_find(txn, t->session->account, a->name, &mb, err) < 0) {
		w->has_no_target = true;
		return -1;
	}
	if (a->is_replace && write_replaced(w, txn, err) < 0)
		return -1;
	for (const struct append_message *m = a->first; m; m = m->next)
		if (write_one(w, txn, mb.id, m, err) < 0)
			return -1;
	return 0;
}

static void write_fail(struct append_task *w)
{
	struct session *s = w->task.session;

	if (w->has_no_target && w->task.err.code == ERR_NOT_FOUND)
		finish_sync(s, true, "NO [TRYCREATE] There is no such mailbox");
	else if (w->has_gone)
		finish_refresh(s, true, "NO [EXPUNGEISSUED] The message to replace has gone");
	else
		finish_err(s, &w->task.err);
}

static void append_done(struct task *t)
{
	struct append_task *w = append_task_of(t);
	struct session *s = t->session;
	struct strbuf text;

	if (t->err.code != ERR_NONE) {
		write_fail(w);
		task_free(t);
		return;
	}
	strbuf_init(&text, 64 * 1024);
	strbuf_addf(&text, "OK [APPENDUID %u ", w->uidvalidity);
	uidset_format(&text, &w->uids);
	strbuf_add_str(&text, "] Appended");
	if (w->append->is_replace) {
		/* The new message before the old one's EXPUNGE (RFC 8508 section 3.3). */
		untagged(s, "%s", text.p);
		finish_refresh(s, true, "OK Replaced");
	} else {
		finish_refresh(s, true, text.p);
	}
	strbuf_clear(&text);
	task_free(t);
}

static void write_messages(struct append *a)
{
	struct session *s = a->session;
	struct append_task *w;
	struct err err = a->err;

	if (err.code != ERR_NONE) {
		append_clear(s);
		finish_err(s, &err);
		return;
	}
	w = task_new(s, sizeof(*w));
	w->append = a;
	s->append = NULL;
	uidset_init(&w->uids);
	w->task.write = append_write;
	w->task.done = append_done;
	w->task.clear = write_clear;
	w->task.op.need = DB_ADDS;
	w->task.op.cost = a->held + a->count * 8192;
	task_write(&w->task);
}

/* --- taking messages in ------------------------------------------------------------------------
 */
static void on_ready(void *arg)
{
	struct append_message *m = arg;

	conn_resume(m->append->session->conn);
}

static void on_taken(void *arg, const struct intake_result *res, const struct err *err)
{
	struct append_message *m = arg;
	struct append *a = m->append;

	a->running--;
	if (err->code != ERR_NONE && a->err.code == ERR_NONE)
		a->err = *err;
	m->result = res;
	a->held += res->blob.data.n + res->cache.n;
	if (a->is_ended && a->running == 0)
		write_messages(a);
}

static void begin_message(struct append *a)
{
	struct session *s = a->session;
	struct store *store = s->server->store;
	const struct intake_options opt = {
	    .workers = store_workers(store),
	    .dir = store_blobs(store),
	    .inline_max = a->held < INLINE_BYTES_MAX ? store_inline_max(store) : 0,
	    .want_mime = true,
	};

	a->last->intake = intake_new(&opt, on_ready, a->last);
	s->literal_left = a->size;
	s->wait = WAIT_MESSAGE;
	if (a->is_sync)
		conn_write(s->conn, SPAN("+ OK\r\n"));
}

bool append_is_full(struct session *s)
{
	struct append_message *m = s->append->last;

	return m->intake && intake_is_full(m->intake);
}

void append_bytes(struct session *s, struct span bytes)
{
	struct append *a = s->append;
	struct append_message *m = a->last;

	/* A slow line may take longer than an idle client is given. */
	conn_set_deadline(s->conn, config_u64(s->cfg, SET_IMAP_IDLE_DEADLINE) * 1000);
	if (memchr(bytes.p, '\0', bytes.n)) {
		refuse(a, m->is_literal8 ? "NO [UNKNOWN-CTE] Binary content is not stored"
					 : "NO [CANNOT] A message holds no NUL");
		intake_free(m->intake);
		m->intake = NULL;
	}
	if (m->intake)
		intake_feed(m->intake, bytes);
}

/* --- before the first literal: is there a mailbox, and room in it? ------------------------------
 */
struct check_task {
	struct task task;
	struct span name;
	uint64_t size;
	bool has_no_target;
};

static void check_read(struct task *t, struct db_txn *txn, struct err *err)
{
	struct check_task *c = container_of(t, struct check_task, task);
	const struct session *s = t->session;
	struct store_mailbox mb;

	if (store_mailbox_find(txn, s->account, c->name, &mb, err) < 0) {
		c->has_no_target = true;
		return;
	}
	if (mb.is_noselect)
		err_set(err, ERR_INVALID, "this name is only a level of the hierarchy");
	else if (c->size > 0)
		store_quota_check(txn, s->account, &s->limits, c->size, 1, err);
}

static void check_done(struct task *t)
{
	struct check_task *c = container_of(t, struct check_task, task);
	struct session *s = t->session;

	if (t->err.code == ERR_NONE) {
		begin_message(s->append);
		conn_resume(s->conn);
	} else {
		append_clear(s);
		if (c->has_no_target && t->err.code == ERR_NOT_FOUND)
			finish_sync(s, true, "NO [TRYCREATE] There is no such mailbox");
		else
			finish_err(s, &t->err);
	}
	task_free(t);
}

/* What a replaced message leaves is free only at the end: REPLACE is not asked about room here. */
static void check(struct append *a)
{
	struct session *s = a->session;
	struct check_task *c = task_new(s, sizeof(*c));

	c->name = a->name;
	c->size = a->is_replace ? 0 : a->size;
	c->task.read = check_read;
	c->task.done = check_done;
	task_read(&c->task);
}

/* --- the command -------------------------------------------------------------------------------
 */
/* A literal has been announced: take it, or not. */
static void begin_literal(struct append *a)
{
	struct session *s = a->session;

	if (a->size > config_u64(s->cfg, SET_SMTP_MESSAGE_MAX))
		refuse(a, "NO [TOOBIG] The message is too large");
	else if (a->size == 0)
		refuse(a, "NO [CANNOT] A message is not empty");
	else if (a->count > MESSAGES_MAX || a->held > HELD_BYTES_MAX)
		refuse(a, "NO [LIMIT] Too many messages in one command");
	if (!a->refusal) {
		if (a->is_sync && a->count == 1)
			check(a);
		else
			begin_message(a);
	} else if (a->is_sync) {
		answer_refusal(a);
	} else if (a->size > DISCARD_MAX) {
		append_clear(s);
		session_bye(s, "[TOOBIG] The message is too large");
	} else {
		s->literal_left = a->size;
		s->wait = WAIT_DISCARD;
	}
}

void append_refuse(struct session *s)
{
	s->wait = WAIT_LINE_END;
}

static bool keep_flags(struct append_message *m, const struct flag_list *f)
{
	m->flags = f->flags;
	m->keyword_count = f->keyword_count;
	m->keywords = f->keywords;
	/* They stand in the line, which goes. */
	for (size_t i = 0; i < f->keyword_count; i++)
		if (!arena_copy(&m->words, f->keywords[i], &m->keywords[i]))
			return false;
	return true;
}

/* '(flags) "date" ' of which any may be missing; and "UTF8 (~", closed behind the literal. */
static bool parse_message(struct parser *p, struct append_message *m)
{
	struct flag_list flags;
	struct span date;
	int zone;

	if (p->in.n > 0 && p->in.p[0] == '(' &&
	    (!parse_flag_list(p, &flags) || !keep_flags(m, &flags) || !parse_sp(p)))
		return false;
	if (p->in.n > 0 && p->in.p[0] == '"') {
		m->has_date = true;
		if (!parse_string(p, &date) || !mail_internaldate_parse(date, &m->date, &zone) ||
		    !parse_sp(p))
			return false;
	}
	m->is_utf8 = span_take_iword(&p->in, SPAN("UTF8 ("));
	m->is_literal8 = parse_chr(p, '~');
	if (m->is_utf8 && !m->is_literal8)
		return false;
	return p->in.n > 0 && p->in.p[0] == '{' && !memchr(p->in.p, ' ', p->in.n);
}

static void add_message(struct append *a, struct span line)
{
	struct append_message *m = mem_zalloc(sizeof(*m));
	struct parser p = {.in = line, .arena = &m->words};

	arena_init(&m->words, WORDS_MAX);
	m->append = a;
	if (a->last)
		a->last->next = m;
	else
		a->first = m;
	a->last = m;
	a->count++;
	if (!parse_message(&p, m))
		refuse(a, "BAD APPEND mailbox [(flag...)] [\"date-time\"] literal");
	else if (m->is_utf8 && !a->session->has_utf8)
		refuse(a, "BAD UTF8 needs ENABLE UTF8=ACCEPT");
}

/* "REPLACE number mailbox": the number, of the one message that is replaced. */
static bool parse_replaced(struct append *a, struct parser *p)
{
	struct session *s = a->session;
	struct sequence seq;
	struct uidset uids;

	if (!parse_sequence(p, &seq) || seq.n != 1 || seq.r[0].first != seq.r[0].last ||
	    !parse_sp(p))
		return false;
	if (!s->view || s->view->is_read_only) {
		refuse(a, s->view ? "NO [NOPERM] The mailbox is selected read-only"
				  : "BAD Select a mailbox first");
		return true;
	}
	a->mailbox = s->view->mbox->id;
	uidset_init(&uids);
	if (!view_select(s, &seq, a->is_uid, &uids))
		refuse(a, "BAD There is no message with this number");
	else if (uids.n == 0)
		refuse(a, "NO [NONEXISTENT] There is no message with this UID");
	else
		a->uid = uids.r[0].first;
	uidset_clear(&uids);
	return true;
}

/* "tag [UID] APPEND|REPLACE ... " up to the first message. */
static bool parse_command(struct append *a, struct parser *p)
{
	struct session *s = a->session;
	struct span name;

	if (!command_tag(s, p->in, &p->in) || !parse_atom(p, &name) || !parse_sp(p))
		return false;
	a->is_uid = span_ieq(name, SPAN("UID"));
	if (a->is_uid && (!parse_atom(p, &name) || !parse_sp(p)))
		return false;
	s->is_uid = a->is_uid;
	a->is_replace = span_ieq(name, SPAN("REPLACE"));
	if (a->is_replace && !parse_replaced(a, p))
		return false;
	return parse_mailbox(p, &a->name) && parse_sp(p);
}

void append_begin(struct session *s, uint64_t size, bool is_sync)
{
	struct append *a = mem_zalloc(sizeof(*a));
	struct parser p = {.in = span_sub(strbuf_span(&s->line), 0, s->line.n - 2),
	    .arena = &s->arena,
	    .is_utf8 = s->has_utf8};

	a->session = s;
	s->append = a;
	s->commands++;
	a->size = size;
	a->is_sync = is_sync;
	if (!parse_command(a, &p)) {
		refuse(a, "BAD APPEND mailbox [(flag...)] [\"date-time\"] literal");
		p.in = SPAN("");
	}
	add_message(a, p.in);
	begin_literal(a);
}

/* "{n}" or "{n+}" at the end of a line. */
static bool find_literal(struct span line, uint64_t *size, bool *is_sync)
{
	ssize_t open = span_rchr(line, '{');
	struct span in;

	if (open < 0)
		return false;
	in = span_from(line, (size_t)open + 1);
	if (!span_take_u64(&in, UINT64_MAX, size))
		return false;
	*is_sync = !span_take_chr(&in, '+');
	return span_eq(in, SPAN("}"));
}

/* The last message's bytes are complete. */
static void end_message(struct append *a)
{
	struct append_message *m = a->last;

	if (!m->intake || a->refusal)
		return;
	a->running++;
	intake_finish(m->intake, on_taken);
}

void append_line_end(struct session *s, struct span line)
{
	struct append *a = s->append;
	bool is_more;

	end_message(a);
	if (a->last->is_utf8 && !span_take_chr(&line, ')'))
		refuse(a, "BAD UTF8 ends in a parenthesis");
	is_more = line.n > 0;
	if (is_more && (a->is_replace || line.p[0] != ' '))
		refuse(a, "BAD Only a space may follow a message");
	if (is_more && find_literal(line, &a->size, &a->is_sync)) {
		/* A refused command is read to its end; of what follows nothing is kept. */
		if (!a->refusal)
			add_message(a, span_from(line, 1));
		begin_literal(a);
		return;
	}
	if (is_more)
		refuse(a, "BAD APPEND mailbox [(flag...)] [\"date-time\"] literal");
	if (a->refusal) {
		answer_refusal(a);
		return;
	}
	a->is_ended = true;
	s->wait = WAIT_RESULT;
	/* on_taken goes on. */
}

void cmd_append(struct session *s, struct parser *p)
{
	finish_bad(s, "APPEND mailbox [(flag...)] [\"date-time\"] literal");
}

void cmd_replace(struct session *s, struct parser *p)
{
	finish_bad(s, "REPLACE number mailbox [(flag...)] [\"date-time\"] literal");
}
