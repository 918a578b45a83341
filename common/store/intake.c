/*
 * A message on its way in. The loop collects bytes in buffers; one worker at a time takes what has
 * been collected and compresses, hashes and parses it. So at most the buffers of one turn and those
 * that arrived meanwhile are held, whatever the message's size.
 */
#include "common/store/intake.h"

#include "common/base/mem.h"
#include "common/mail/envelope.h"
#include "common/store/cache.h"

#define INTAKE_START (64 * 1024) /* a worker starts once this much waits, or at the end */
#define INTAKE_FULL (256 * 1024) /* waiting */
#define INTAKE_SMALL (16 * 1024) /* compressed on the loop in less time than a thread wakes up */
#define INTAKE_CACHE_MAX (1024 * 1024) /* a larger cache row is not kept */
#define INTAKE_BUFFER_MAX                                                                          \
	(1024 * 1024) /* feeding beyond this, although full, is the caller's bug */

struct intake {
	/* the loop's */
	struct work work;
	struct workers *workers;
	struct strbuf waiting;
	void (*on_ready)(void *arg);
	void (*on_done)(void *arg, const struct intake_result *res, const struct err *err);
	void *ready_arg, *done_arg;
	bool is_finishing, is_full, is_freed, is_kept, is_running, is_overrun;
	struct deferred at_once; /* a small one was taken in on the loop: on_done follows */
	size_t inline_max;
	/* the worker's while is_running, else the loop's */
	struct strbuf taken;
	bool is_last;
	bool want_mime, is_header_done;
	struct blob_writer *writer;
	struct mime_parser *parser;
	struct strbuf header, cache;
	struct intake_result result;
	struct err err;
};

struct intake *intake_new(const struct intake_options *opt, void (*on_ready)(void *arg), void *arg)
{
	struct intake *in = mem_zalloc(sizeof(*in));

	in->workers = opt->workers;
	in->on_ready = on_ready;
	in->ready_arg = arg;
	in->want_mime = opt->want_mime;
	in->inline_max = opt->inline_max;
	in->writer = blob_writer_new(opt->dir, opt->inline_max);
	if (in->want_mime)
		in->parser = mime_parser_new();
	strbuf_init(&in->waiting, INTAKE_BUFFER_MAX);
	strbuf_init(&in->taken, INTAKE_BUFFER_MAX);
	strbuf_init(&in->header, MAIL_HEADER_MAX);
	strbuf_init(&in->cache, INTAKE_CACHE_MAX);
	return in;
}

/* --- on a worker ------------------------------------------------------------------------------ */
/* Collects the top header block: of long ones the first MAIL_HEADER_MAX bytes. */
static void intake_collect_header(struct intake *in, struct span data)
{
	size_t room = MAIL_HEADER_MAX - in->header.n, n = data.n < room ? data.n : room;
	bool complete;
	size_t size;

	if (in->is_header_done)
		return;
	strbuf_add(&in->header, span_sub(data, 0, n));
	size = mail_header_size(strbuf_span(&in->header), &complete);
	if (complete)
		strbuf_truncate(&in->header, size);
	in->is_header_done = complete || in->header.n == MAIL_HEADER_MAX;
}

static void intake_end(struct intake *in)
{
	struct mime_tree *tree;

	if (blob_finish(in->writer, &in->result.blob, &in->err) < 0)
		return;
	in->result.size = in->result.blob.size;
	if (!in->want_mime)
		return;
	tree = mime_parser_finish(in->parser);
	cache_encode(&in->cache, tree, strbuf_span(&in->header));
	mime_tree_free(tree);
	/* A row that did not fit is no row: it is rebuilt from the body when asked for. */
	if (!in->cache.failed)
		in->result.cache = strbuf_span(&in->cache);
	in->result.message_id = mail_msgid_of(strbuf_span(&in->header));
}

static void intake_run(struct work *work)
{
	struct intake *in = container_of(work, struct intake, work);
	struct span data = strbuf_span(&in->taken);

	if (in->err.code == ERR_NONE && blob_write(in->writer, data, &in->err) == 0 &&
	    in->want_mime) {
		mime_parser_feed(in->parser, data);
		intake_collect_header(in, data);
	}
	strbuf_reset(&in->taken);
	if (in->is_last && in->err.code == ERR_NONE)
		intake_end(in);
}

static void intake_run_free(struct work *work)
{
	struct intake *in = container_of(work, struct intake, work);

	blob_writer_free(in->writer);
	in->writer = NULL;
}

/* --- on the loop ------------------------------------------------------------------------------ */
static void intake_destroy(struct intake *in)
{
	deferred_cancel(&in->at_once);
	blob_writer_free(in->writer);
	mime_parser_free(in->parser);
	strbuf_clear(&in->waiting);
	strbuf_clear(&in->taken);
	strbuf_clear(&in->header);
	strbuf_clear(&in->cache);
	mem_free(in);
}

static void intake_done_free(struct work *work)
{
	intake_destroy(container_of(work, struct intake, work));
}

/* Removing a file may wait for the disk: that is work for a worker too. */
static void intake_discard(struct intake *in)
{
	if (in->is_kept)
		blob_keep(in->writer);
	if (!blob_writer_has_file(in->writer)) {
		intake_destroy(in);
		return;
	}
	in->work.run = intake_run_free;
	in->work.done = intake_done_free;
	workers_submit(in->workers, &in->work);
}

static void intake_done(struct work *work);

static void intake_take(struct intake *in)
{
	struct strbuf swap = in->taken;

	in->taken = in->waiting;
	in->waiting = swap;
	in->is_last = in->is_finishing;
}

static void intake_submit(struct intake *in)
{
	intake_take(in);
	in->is_running = true;
	in->work.run = intake_run;
	in->work.done = intake_done;
	workers_submit(in->workers, &in->work);
}

/* May free in: nothing of it is touched behind a callback. */
static void intake_done(struct work *work)
{
	struct intake *in = container_of(work, struct intake, work);
	bool was_full = in->is_full;

	in->is_running = false;
	if (in->is_freed) {
		intake_discard(in);
		return;
	}
	if (in->is_last) {
		/* Several results may wait for one transaction: they keep only what it needs. */
		strbuf_clear(&in->waiting);
		strbuf_clear(&in->taken);
		mime_parser_free(in->parser);
		in->parser = NULL;
		if (in->is_overrun && in->err.code == ERR_NONE)
			err_set(&in->err, ERR_LIMIT, "fed faster than it was taken");
		in->on_done(in->done_arg, &in->result, &in->err);
		return;
	}
	if (in->waiting.n >= INTAKE_START || in->is_finishing)
		intake_submit(in);
	in->is_full = in->waiting.n > INTAKE_FULL;
	if (was_full && !in->is_full && in->on_ready)
		in->on_ready(in->ready_arg);
}

void intake_feed(struct intake *in, struct span data)
{
	if (in->is_finishing || data.n == 0)
		return;
	/* Full and still fed: the message has lost bytes, and must not be accepted. */
	if (!strbuf_add(&in->waiting, data))
		in->is_overrun = true;
	if (!in->is_running && in->waiting.n >= INTAKE_START)
		intake_submit(in);
	in->is_full = in->waiting.n > INTAKE_FULL;
}

bool intake_is_full(const struct intake *in)
{
	return in->is_full;
}

static void intake_done_at_once(void *arg)
{
	struct intake *in = arg;

	in->on_done(in->done_arg, &in->result, &in->err);
}

/* Small enough for the loop, and nothing of it can become a file. */
static bool intake_is_small(const struct intake *in)
{
	return !in->want_mime && in->waiting.n <= INTAKE_SMALL &&
	       in->waiting.n + 1024 <= in->inline_max && blob_writer_is_empty(in->writer);
}

void intake_finish(struct intake *in,
    void (*on_done)(void *arg, const struct intake_result *res, const struct err *err))
{
	in->on_done = on_done;
	in->done_arg = in->ready_arg;
	in->is_finishing = true;
	if (in->is_running)
		return;
	if (intake_is_small(in)) {
		intake_take(in);
		intake_run(&in->work);
		in->at_once = (struct deferred){.fn = intake_done_at_once, .arg = in};
		loop_defer(workers_loop(in->workers), &in->at_once);
		return;
	}
	intake_submit(in);
}

struct intake *intake_whole(
    const struct intake_options *opt, const struct span *parts, size_t n, struct err *err)
{
	struct intake *in = intake_new(opt, NULL, NULL);

	for (size_t i = 0; i < n; i++)
		strbuf_add(&in->taken, parts[i]);
	in->is_finishing = in->is_last = true;
	if (in->taken.failed)
		err_set(&in->err, ERR_LIMIT, "too much to be taken in at once");
	intake_run(&in->work);
	if (in->err.code == ERR_NONE)
		return in;
	*err = in->err;
	intake_destroy(in);
	return NULL;
}

const struct intake_result *intake_result(const struct intake *in)
{
	return &in->result;
}

void intake_keep(struct intake *in)
{
	in->is_kept = true;
}

void intake_free(struct intake *in)
{
	if (!in)
		return;
	if (in->is_running)
		in->is_freed = true;
	else
		intake_discard(in);
}
