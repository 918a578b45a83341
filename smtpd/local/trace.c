/* trace FROM|TO|ID|last [COUNT]: what became of messages, the newest first. */
#include "smtpd/local/local.h"

#include "common/base/mem.h"

#define COUNT_DEFAULT 100
#define COUNT_MAX 10000
#define SLICE 2000 /* records looked at in one read transaction */

struct search {
	struct db_job job;
	struct local *local;
	struct admin_request rq;
	struct span word; /* in lower case; empty: all */
	uint64_t count, found, next;
	struct strbuf rows; /* of this slice, each a byte string */
};

/* word is in lower case already. */
static bool has_word(struct span text, struct span word)
{
	for (size_t i = 0; i + word.n <= text.n; i++)
		if (span_ieq(span_sub(text, i, word.n), word))
			return true;
	return false;
}

static bool is_wanted(const struct search *s, const struct trace_record *r)
{
	char id[QUEUE_ID_TEXT];

	if (s->word.n == 0)
		return true;
	queue_id_format(id, r->qid);
	return (r->qid != 0 && span_eq(s->word, span_of(id))) || span_eq(s->word, r->session) ||
	       has_word(r->from, s->word) || has_word(r->to, s->word) ||
	       span_eq(s->word, r->client);
}

static void add_row(struct search *s, const struct trace_record *r)
{
	char id[QUEUE_ID_TEXT];
	struct strbuf row;

	queue_id_format(id, r->qid);
	strbuf_init(&row, 16 * 1024);
	ipc_rec_number(&row, "time", IPC_TIME, (uint64_t)r->time);
	ipc_rec_text(&row, "event", span_of(trace_event_name(r->event)));
	ipc_rec_text(&row, "session", r->session);
	ipc_rec_text(&row, "id", r->qid != 0 ? span_of(id) : span_make("", 0));
	ipc_rec_text(&row, "client", r->client);
	ipc_rec_text(&row, "from", r->from);
	ipc_rec_text(&row, "to", r->to);
	ipc_rec_number(&row, "size", IPC_BYTES, r->size);
	ipc_rec_text(&row, "text", r->text);
	ipc_rec_text(&row, "server", r->server);
	ipc_rec_text(&row, "tls", r->tls);
	enc_bytes(&s->rows, strbuf_span(&row));
	strbuf_clear(&row);
}

static bool take(void *arg, const struct trace_record *r)
{
	struct search *s = arg;

	if (is_wanted(s, r)) {
		add_row(s, r);
		s->found++;
	}
	return s->found < s->count;
}

static void search_run(struct db_job *job, struct db_txn *txn)
{
	struct search *s = container_of(job, struct search, job);

	trace_back(txn, s->next, SLICE, take, s, &s->next, &job->err);
}

static void search_free(struct search *s)
{
	strbuf_clear(&s->rows);
	mem_free((void *)(uintptr_t)s->word.p);
	mem_free(s);
}

static void search_done(struct db_job *job)
{
	struct search *s = container_of(job, struct search, job);
	struct dec rows = dec_of(strbuf_span(&s->rows));

	while (rows.in.n > 0 && dec_ok(&rows)) {
		struct strbuf row;

		strbuf_init(&row, 16 * 1024);
		strbuf_add(&row, dec_bytes(&rows));
		admin_record(&s->rq, &row);
		strbuf_clear(&row);
	}
	strbuf_reset(&s->rows);
	if (job->err.code == ERR_NONE && s->next != 0 && s->found < s->count) {
		queue_read(s->local->queue, &s->job);
		return;
	}
	admin_end(&s->rq, job->err.code, "%s", job->err.text);
	search_free(s);
}

void trace_admin(struct local *l, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	struct search *s;
	uint64_t count = COUNT_DEFAULT;
	bool is_all = cmd->count > 1 && span_eq(cmd->words[1], SPAN("last"));
	char *word;

	if (cmd->count < 2 || cmd->count > 3 || cmd->words[1].n == 0 ||
	    (cmd->count == 3 && (!span_u64(cmd->words[2], COUNT_MAX, &count) || count == 0))) {
		admin_end(rq, ERR_INVALID, "usage: trace FROM|TO|ID|CLIENT|last [COUNT]");
		return;
	}
	s = mem_zalloc(sizeof(*s));
	s->local = l;
	s->rq = *rq;
	s->count = count;
	word = mem_strndup(cmd->words[1].p, cmd->words[1].n);
	for (size_t i = 0; word[i]; i++)
		word[i] = ascii_lower(word[i]);
	s->word = span_make(word, is_all ? 0 : cmd->words[1].n);
	strbuf_init(&s->rows, (size_t)COUNT_MAX * 16 * 1024);
	s->job.run = search_run;
	s->job.done = search_done;
	queue_read(l->queue, &s->job);
}
