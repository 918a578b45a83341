/* The message as the store will hold it: Return-Path, then the bytes that were accepted. */
#include "smtpd/local/local.h"

#include "common/base/mem.h"

#define SLICE (128 * 1024)

static void read_slice(struct delivery *d);

static void read_run(struct db_job *job, struct db_txn *txn)
{
	struct delivery *d = container_of(job, struct delivery, job);

	while (!d->is_read && d->slice.n < SLICE) {
		char *room = strbuf_room(&d->slice, 16 * 1024);
		size_t n = 0;

		if (!room || blob_read(d->reader, room, 16 * 1024, &n, &job->err) < 0)
			return;
		strbuf_added(&d->slice, n);
		d->is_read = n == 0;
	}
}

static void on_message(void *arg, const struct intake_result *res, const struct err *err)
{
	struct delivery *d = arg;

	if (err->code != ERR_NONE) {
		delivery_failed(d, err);
		return;
	}
	d->message = res;
	delivery_write(d);
}

static void read_done(struct db_job *job)
{
	struct delivery *d = container_of(job, struct delivery, job);

	if (job->err.code != ERR_NONE) {
		delivery_failed(d, &job->err);
		return;
	}
	intake_feed(d->intake, strbuf_span(&d->slice));
	strbuf_reset(&d->slice);
	if (d->is_read)
		intake_finish(d->intake, on_message);
	else if (!intake_is_full(d->intake))
		read_slice(d);
}

static void read_slice(struct delivery *d)
{
	d->job.err = (struct err)ERR_INIT;
	d->job.run = read_run;
	d->job.done = read_done;
	queue_read(d->local->queue, &d->job);
}

static void on_ready(void *arg)
{
	read_slice(arg);
}

static bool is_all_failed(const struct delivery *d)
{
	for (size_t i = 0; i < d->count; i++)
		if (!d->rcpts[i].is_failed)
			return false;
	return true;
}

static struct intake_options options_of(const struct local *l)
{
	return (struct intake_options){
	    .workers = store_workers(l->store),
	    .dir = store_blobs(l->store),
	    .inline_max = store_inline_max(l->store),
	    .want_mime = true,
	};
}

static void write_head(const struct delivery *d, struct strbuf *head)
{
	strbuf_init(head, 1024);
	strbuf_addf(head, "Return-Path: <%.*s>\r\n", SPAN_FMT(d->entry.sender));
}

void message_take_whole(struct delivery *d, struct err *err)
{
	struct intake_options opt = options_of(d->local);
	struct span parts[2];
	struct strbuf head;

	if (blob_read_all(queue_blobs(d->local->queue), &d->entry.blob, &d->slice,
		MESSAGE_WHOLE_MAX, err) < 0)
		return;
	write_head(d, &head);
	parts[0] = strbuf_span(&head);
	parts[1] = strbuf_span(&d->slice);
	d->intake = intake_whole(&opt, parts, 2, err);
	strbuf_clear(&head);
	strbuf_clear(&d->slice);
	if (d->intake)
		d->message = intake_result(d->intake);
}

void message_build(struct delivery *d)
{
	struct intake_options opt = options_of(d->local);
	struct strbuf head;

	/* All failed: there is nothing to write, and what came of it is settled. */
	if (d->message || is_all_failed(d)) {
		delivery_write(d);
		return;
	}
	d->intake = intake_new(&opt, on_ready, d);
	write_head(d, &head);
	intake_feed(d->intake, strbuf_span(&head));
	strbuf_clear(&head);
	read_slice(d);
}
