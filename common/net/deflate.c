#include "common/net/deflate.h"

#include "common/base/mem.h"

#include <zlib.h>

#define RAW_MAX 4096
/* Compressed bytes in a row that unpack to nothing: empty blocks, of which a peer that means well
 * sends one a flush. */
#define EMPTY_MAX (64 * 1024)
#define INPUT_MAX (16 * 1024)
/* 12 bits of window and a hash of 4,096 entries: 32 KiB a writer, and hardly worse on mail. */
#define WRITE_WINDOW_BITS (-12)
#define WRITE_MEM_LEVEL 5
#define READ_WINDOW_BITS (-15) /* whatever the peer chose */

struct deflate {
	z_stream reader;
	char *raw;     /* RAW_MAX, while some are there */
	bool may_hold; /* the last read filled its buffer: zlib may have more */
	bool has_ended;
	size_t empty; /* compressed bytes since the last one that came out */

	z_stream writer;
	bool is_writing; /* writer is set up */
	char *out;
	size_t out_at, out_n;
};

struct deflate *deflate_new(void)
{
	struct deflate *d = mem_zalloc(sizeof(*d));

	if (inflateInit2(&d->reader, READ_WINDOW_BITS) != Z_OK)
		fatal("inflateInit2: out of memory");
	return d;
}

static void end_writer(struct deflate *d)
{
	if (d->is_writing)
		deflateEnd(&d->writer);
	d->is_writing = false;
}

void deflate_free(struct deflate *d)
{
	if (!d)
		return;
	inflateEnd(&d->reader);
	end_writer(d);
	mem_free(d->raw);
	mem_free(d->out);
	mem_free(d);
}

/* --- reading ---------------------------------------------------------------------------------- */
char *deflate_room(struct deflate *d, size_t *cap)
{
	*cap = 0;
	if (d->reader.avail_in > 0)
		return NULL;
	if (!d->raw)
		d->raw = mem_alloc(RAW_MAX);
	*cap = RAW_MAX;
	return d->raw;
}

static void drop_raw(struct deflate *d)
{
	mem_free(d->raw);
	d->raw = NULL;
	d->reader.next_in = NULL;
	d->reader.avail_in = 0;
}

void deflate_took(struct deflate *d, size_t n)
{
	if (n == 0) {
		drop_raw(d);
		return;
	}
	d->reader.next_in = (unsigned char *)d->raw;
	d->reader.avail_in = (unsigned)n;
}

/* A peer that ends its stream cannot say anything more. */
static ssize_t read_ended(struct err *err)
{
	return err_set(err, ERR_CLOSED, "the peer ended its compressed stream");
}

ssize_t deflate_read(struct deflate *d, char *buf, size_t cap, struct err *err)
{
	unsigned had = d->reader.avail_in;
	size_t n;
	int rc;

	if (d->has_ended)
		return read_ended(err);
	if (!deflate_has_pending(d))
		return 0;
	d->reader.next_out = (unsigned char *)buf;
	d->reader.avail_out = (unsigned)cap;
	rc = inflate(&d->reader, Z_SYNC_FLUSH);
	if (rc == Z_STREAM_END)
		d->has_ended = true;
	else if (rc != Z_OK && rc != Z_BUF_ERROR)
		return err_set(err, ERR_INVALID, "broken compressed data: %s",
		    d->reader.msg ? d->reader.msg : "no reason");
	n = cap - d->reader.avail_out;
	d->empty = n > 0 ? 0 : d->empty + had - d->reader.avail_in;
	if (d->empty > EMPTY_MAX)
		return err_set(err, ERR_LIMIT, "compressed data without end that holds nothing");
	d->may_hold = d->reader.avail_out == 0;
	if (d->reader.avail_in == 0)
		drop_raw(d);
	return n == 0 && d->has_ended ? read_ended(err) : (ssize_t)n;
}

bool deflate_has_pending(const struct deflate *d)
{
	return d->reader.avail_in > 0 || d->may_hold;
}

/* --- writing ---------------------------------------------------------------------------------- */
static void begin_writer(struct deflate *d)
{
	if (d->is_writing)
		return;
	d->writer = (z_stream){0};
	if (deflateInit2(&d->writer, Z_BEST_SPEED, Z_DEFLATED, WRITE_WINDOW_BITS, WRITE_MEM_LEVEL,
		Z_DEFAULT_STRATEGY) != Z_OK)
		fatal("deflateInit2: out of memory");
	d->is_writing = true;
}

void deflate_write(struct deflate *d, struct span data, bool is_last)
{
	/* deflateBound is for one call of Z_FINISH; a flush may add what earlier calls held. */
	size_t cap = INPUT_MAX + data.n + data.n / 8 + 1024;

	begin_writer(d);
	d->out = mem_alloc(cap);
	d->writer.next_in = (unsigned char *)(uintptr_t)data.p;
	d->writer.avail_in = (unsigned)data.n;
	d->writer.next_out = (unsigned char *)d->out;
	d->writer.avail_out = (unsigned)cap;
	if (deflate(&d->writer, is_last ? Z_SYNC_FLUSH : Z_NO_FLUSH) != Z_OK ||
	    d->writer.avail_in > 0 || d->writer.avail_out == 0)
		fatal("deflate: the output is larger than its bound");
	d->out_at = 0;
	d->out_n = cap - d->writer.avail_out;
	/* A flush ends at a byte, and a new writer never refers to what was before it: the stream
	 * goes on as if it were the same one. */
	if (is_last)
		end_writer(d);
	deflate_sent(d, 0);
}

struct span deflate_output(const struct deflate *d)
{
	return span_make(d->out ? d->out + d->out_at : "", d->out_n - d->out_at);
}

void deflate_sent(struct deflate *d, size_t n)
{
	d->out_at += n;
	if (d->out_at < d->out_n)
		return;
	mem_free(d->out);
	d->out = NULL;
	d->out_at = d->out_n = 0;
}
