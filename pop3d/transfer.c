/* RETR and TOP: a message from the store to the client, a slice at a time. */
#include "pop3d/pop3.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <string.h>

#define READ_MAX (16 * 1024)

/* A line has ended: the header's end, or one of TOP's body lines. */
static void line_ended(struct transfer *t)
{
	if (t->in_body && t->is_top && t->body_lines-- <= 1)
		t->is_done = true;
	if (!t->in_body && t->line_is_empty) {
		t->in_body = true;
		if (t->is_top && t->body_lines == 0)
			t->is_done = true;
	}
	t->at_line_start = true;
	t->line_is_empty = true;
}

static void encode_byte(struct transfer *t, char c)
{
	if (c == '\n') {
		if (!t->was_cr)
			strbuf_add_chr(&t->out, '\r');
		strbuf_add_chr(&t->out, '\n');
		t->was_cr = false;
		line_ended(t);
		return;
	}
	if (t->at_line_start && c == '.')
		strbuf_add_chr(&t->out, '.');
	t->at_line_start = false;
	if (c != '\r')
		t->line_is_empty = false;
	t->was_cr = c == '\r';
	strbuf_add_chr(&t->out, c);
}

void transfer_encode(struct transfer *t, struct span data)
{
	while (data.n > 0 && !t->is_done) {
		const char *end = data.p;
		const char *stop = data.p + data.n;

		/* Within a line nothing changes: copy up to the next byte that matters. */
		if (!t->at_line_start && !t->was_cr && !t->line_is_empty)
			while (end < stop && *end != '\n' && *end != '\r')
				end++;
		if (end > data.p) {
			strbuf_add_mem(&t->out, data.p, (size_t)(end - data.p));
			data = span_from(data, (size_t)(end - data.p));
			continue;
		}
		encode_byte(t, *data.p);
		data = span_from(data, 1);
	}
}

void transfer_encode_end(struct transfer *t)
{
	if (!t->at_line_start)
		strbuf_add(&t->out, t->was_cr ? SPAN("\n") : SPAN("\r\n"));
	strbuf_add(&t->out, SPAN(".\r\n"));
}

void transfer_clear(struct transfer *t)
{
	blob_reader_free(t->reader);
	if (t->downgraded)
		message_clear(t->downgraded);
	mem_free(t->downgraded);
	strbuf_clear(&t->out);
	memset(t, 0, sizeof(*t));
}

/* The next bytes of a message that the client cannot read as it is stored. */
static int downgraded_slice(struct transfer *t, struct db_txn *txn, struct err *err)
{
	struct message *m = t->downgraded;
	struct strbuf piece;
	uint64_t n, got = 1;
	int rc;

	message_slice(m, txn);
	rc = message_downgrade(m, err);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	strbuf_init(&piece, (size_t)MESSAGE_STEP + READ_MAX);
	while (rc == 0 && got > 0 && !t->is_done && t->out.n < POP3_SLICE_MAX) {
		strbuf_reset(&piece);
		n = m->size - t->at < READ_MAX ? m->size - t->at : READ_MAX;
		rc = message_read(m, t->at, n, &piece, &got, err);
		t->at += got;
		transfer_encode(t, strbuf_span(&piece));
		t->is_done |= rc == 0 && t->at == m->size;
	}
	strbuf_clear(&piece);
	if (rc == 0 && t->is_done)
		transfer_encode_end(t);
	return rc;
}

static int transfer_slice(struct transfer *t, struct db_txn *txn, struct err *err)
{
	char buf[READ_MAX];
	struct blob blob;
	size_t n = 1;

	if (!t->reader && (store_object_blob(txn, t->account, t->object, &blob, err) < 0 ||
			      blob_open(t->blobs, &blob, &t->reader, err) < 0))
		return -1;
	while (!t->is_done && n > 0 && t->out.n < POP3_SLICE_MAX) {
		if (blob_read(t->reader, buf, sizeof(buf), &n, err) < 0)
			return -1;
		transfer_encode(t, span_make(buf, n));
	}
	if (n == 0)
		t->is_done = true;
	if (t->is_done)
		transfer_encode_end(t);
	return 0;
}

static void transfer_run(struct db_job *job, struct db_txn *txn)
{
	struct transfer *t = container_of(job, struct transfer, job);

	if (t->downgraded)
		downgraded_slice(t, txn, &job->err);
	else
		transfer_slice(t, txn, &job->err);
}

/* Nothing was sent yet: an error reply. In the middle of a message only closing is honest. */
static void transfer_failed(struct session *s, const struct err *err, bool is_first)
{
	log_error("pop3-read", LOG_STR("session", s->id), LOG_U64("account", s->account),
	    LOG_U64("object", s->transfer.object), LOG_ERR(err));
	transfer_clear(&s->transfer);
	if (!is_first) {
		session_end(s);
		return;
	}
	reply_err(s, "[SYS/TEMP] The message cannot be read");
	session_next(s);
}

static void transfer_done(struct db_job *job)
{
	struct transfer *t = container_of(job, struct transfer, job);
	struct session *s = t->session;
	bool is_first = s->wait == WAIT_RESULT;
	struct err err = job->err;

	t->is_running = false;
	if (!s->conn) {
		session_finish_op(s);
		return;
	}
	if (err.code != ERR_NONE) {
		transfer_failed(s, &err, is_first);
		session_finish_op(s);
		return;
	}
	/* It is not known yet whether the message can be shown. */
	if (is_first && t->out.n == 0 && !t->is_done) {
		transfer_continue(s);
		session_finish_op(s);
		return;
	}
	if (is_first)
		reply_ok(s, "Message follows");
	conn_write(s->conn, strbuf_span(&t->out));
	strbuf_reset(&t->out);
	s->wait = WAIT_OUTPUT;
	if (t->is_done) {
		transfer_clear(t);
		session_next(s);
	} else if (!conn_is_congested(s->conn)) {
		transfer_continue(s);
	}
	session_finish_op(s);
}

void transfer_continue(struct session *s)
{
	struct transfer *t = &s->transfer;

	if (t->is_running)
		return;
	t->is_running = true;
	t->job.run = transfer_run;
	t->job.done = transfer_done;
	s->pending++;
	store_read(s->server->store, &t->job);
}

static void transfer_start(struct session *s, size_t i, bool is_top, uint64_t lines)
{
	struct transfer *t = &s->transfer;

	*t = (struct transfer){
	    .session = s,
	    .account = s->account,
	    .object = s->drop->messages[i].object,
	    .blobs = store_blobs(s->server->store),
	    .is_top = is_top,
	    .body_lines = lines,
	    .at_line_start = true,
	    .line_is_empty = true,
	};
	if ((s->drop->messages[i].flags & MESSAGE_UTF8) && !s->has_utf8) {
		t->downgraded = mem_zalloc(sizeof(*t->downgraded));
		message_init(t->downgraded, t->blobs, t->account);
		message_set(t->downgraded, t->object, s->drop->messages[i].size);
		message_want_downgraded(t->downgraded);
	}
	/* Doubled dots and added CRs make at most twice the bytes of one read more. */
	strbuf_init(&t->out, POP3_SLICE_MAX + 64 * 1024);
	s->wait = WAIT_RESULT;
	transfer_continue(s);
}

void cmd_retr(struct session *s, struct span arg)
{
	ssize_t i = maildrop_number(s, arg);

	if (i < 0)
		return;
	if (!(s->marks[i] & MARK_RETRIEVED))
		s->retrieved++;
	s->marks[i] |= MARK_RETRIEVED;
	transfer_start(s, (size_t)i, false, 0);
}

void cmd_top(struct session *s, struct span arg)
{
	ssize_t space = span_chr(arg, ' ');
	uint64_t lines;
	ssize_t i;

	if (space < 0 || !span_u64(span_trim(span_from(arg, (size_t)space)), UINT32_MAX, &lines)) {
		reply_bad(s, "TOP needs a message number and a number of lines");
		return;
	}
	i = maildrop_number(s, span_sub(arg, 0, (size_t)space));
	if (i >= 0)
		transfer_start(s, (size_t)i, true, lines);
}
