/* Reading a body back: never more than its length, and checked against its checksum. */
#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/store/blob_int.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#define BLOB_IN (64 * 1024)

void blob_encode(struct strbuf *b, const struct blob *blob)
{
	enc_u8(b, blob->is_file);
	enc_u8(b, blob->codec);
	enc_varint(b, blob->size);
	enc_varint(b, blob->stored);
	strbuf_add_mem(b, blob->sum, sizeof(blob->sum));
	if (blob->is_file)
		strbuf_add_mem(b, blob->id, sizeof(blob->id));
}

bool blob_decode(struct dec *d, struct blob *blob)
{
	struct span raw;

	*blob = (struct blob){0};
	raw = dec_raw(d, 1);
	if (raw.n != 1 || (unsigned char)raw.p[0] > 1)
		return false;
	blob->is_file = raw.p[0] != 0;
	blob->codec = dec_u8(d);
	blob->size = dec_varint(d);
	blob->stored = dec_varint(d);
	raw = dec_raw(d, sizeof(blob->sum));
	if (raw.n == sizeof(blob->sum))
		memcpy(blob->sum, raw.p, raw.n);
	if (blob->is_file) {
		raw = dec_raw(d, sizeof(blob->id));
		if (raw.n == sizeof(blob->id))
			memcpy(blob->id, raw.p, raw.n);
	}
	return dec_ok(d) && blob->codec == BLOB_CODEC_ZSTD;
}

struct blob_reader {
	struct blob blob;
	int fd;          /* a file's, else -1 */
	char *in;        /* the frame, or the part of the file read last */
	size_t in_n, at; /* held and used up */
	uint64_t loaded; /* stored bytes seen */
	uint64_t position;
	ZSTD_DCtx *zstd;
	struct sha256 *sha; /* NULL once compared */
	bool is_frame_done;
	char *skip; /* for what nobody wants */
};

int blob_open(
    struct blob_dir *d, const struct blob *blob, struct blob_reader **out, struct err *err)
{
	struct blob_reader *r;
	int fd = -1;

	*out = NULL;
	if (blob->codec != BLOB_CODEC_ZSTD) {
		err_set(err, ERR_UNSUPPORTED, "a body of codec %u", blob->codec);
		return -1;
	}
	if (!blob->is_file && blob->data.n != blob->stored) {
		err_set(err, ERR_CORRUPT, "a body has a wrong length");
		return -1;
	}
	if (blob->is_file) {
		fd = d ? blob_file_open(d, blob->id, err)
		       : err_set(err, ERR_INVALID, "no folder for a body's file");
		if (fd < 0)
			return -1;
	}
	r = mem_zalloc(sizeof(*r));
	r->blob = *blob;
	r->blob.data = (struct span){NULL, 0};
	r->fd = fd;
	r->sha = sha256_new();
	if (blob->is_file) {
		r->in = mem_alloc(BLOB_IN);
	} else {
		r->in = mem_dup(blob->data.p, blob->data.n);
		r->in_n = blob->data.n;
		r->loaded = blob->data.n;
		sha256_update(r->sha, blob->data);
	}
	*out = r;
	return 0;
}

/* More stored bytes; 1, 0 at the end of the file, -1. */
static int blob_load(struct blob_reader *r, struct err *err)
{
	ssize_t n;

	if (r->fd < 0)
		return 0;
	do
		n = read(r->fd, r->in, BLOB_IN);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_errno(err, errno, "reading a body");
	r->at = 0;
	r->in_n = (size_t)n;
	r->loaded += (uint64_t)n;
	if (r->loaded > r->blob.stored)
		return err_set(err, ERR_CORRUPT, "a body's file is too long");
	sha256_update(r->sha, span_make(r->in, r->in_n));
	return n > 0;
}

static int blob_check_end(struct blob_reader *r, struct err *err)
{
	unsigned char sum[SHA256_LEN];
	bool is_longer = r->at < r->in_n; /* bytes behind the frame */
	int rc = 0;

	while (r->fd >= 0 && (rc = blob_load(r, err)) == 1)
		is_longer = true;
	if (rc < 0)
		return -1;
	sha256_final(r->sha, sum);
	r->sha = NULL;
	if (r->loaded != r->blob.stored || r->position != r->blob.size || is_longer ||
	    memcmp(sum, r->blob.sum, sizeof(sum)) != 0)
		return err_set(err, ERR_CORRUPT, "a body does not have its length or checksum");
	return 0;
}

/* Decompresses into buf, at least one byte unless the frame ends. */
static int blob_decompress(struct blob_reader *r, void *buf, size_t cap, size_t *n, struct err *err)
{
	ZSTD_outBuffer out = {buf, cap, 0};

	while (out.pos == 0 && !r->is_frame_done) {
		ZSTD_inBuffer in = {r->in, r->in_n, r->at};
		size_t hint;
		int rc;

		hint = ZSTD_decompressStream(r->zstd, &out, &in);
		if (ZSTD_isError(hint))
			return err_set(err, ERR_CORRUPT, "a body does not decompress: %s",
			    ZSTD_getErrorName(hint));
		r->at = in.pos;
		r->is_frame_done = hint == 0;
		if (out.pos || r->is_frame_done)
			break;
		rc = in.pos < in.size ? 1 : blob_load(r, err);
		if (rc < 0)
			return -1;
		if (rc == 0)
			return err_set(err, ERR_CORRUPT, "a body ends too early");
	}
	*n = out.pos;
	return 0;
}

static int blob_start(struct blob_reader *r, struct err *err)
{
	if (r->zstd)
		return 0;
	r->zstd = ZSTD_createDCtx();
	if (!r->zstd)
		return err_set(err, ERR_NO_SPACE, "no memory to decompress a body");
	ZSTD_DCtx_setParameter(r->zstd, ZSTD_d_windowLogMax, BLOB_READ_WINDOW_LOG_MAX);
	return 0;
}

int blob_read(struct blob_reader *r, void *buf, size_t cap, size_t *n, struct err *err)
{
	*n = 0;
	if (cap == 0 || !r->sha)
		return 0;
	if (blob_start(r, err) < 0 || blob_decompress(r, buf, cap, n, err) < 0)
		return -1;
	if (*n > r->blob.size - r->position) {
		*n = 0;
		return err_set(err, ERR_CORRUPT, "a body is longer than its length");
	}
	r->position += *n;
	return *n ? 0 : blob_check_end(r, err);
}

int blob_skip(struct blob_reader *r, uint64_t bytes, struct err *err)
{
	if (!r->skip)
		r->skip = mem_alloc(BLOB_IN);
	while (bytes) {
		size_t n;

		if (blob_read(r, r->skip, bytes < BLOB_IN ? (size_t)bytes : BLOB_IN, &n, err) < 0)
			return -1;
		if (n == 0)
			return 0;
		bytes -= n;
	}
	return 0;
}

uint64_t blob_position(const struct blob_reader *r)
{
	return r->position;
}

void blob_reader_free(struct blob_reader *r)
{
	if (!r)
		return;
	if (r->fd >= 0)
		close(r->fd);
	ZSTD_freeDCtx(r->zstd);
	sha256_abort(r->sha);
	mem_free(r->in);
	mem_free(r->skip);
	mem_free(r);
}

/* --- small bodies: at once ----------------------------------------------------------------------
 */
static pthread_once_t decompressor_once = PTHREAD_ONCE_INIT;
static pthread_key_t decompressor_key;

static void decompressor_free(void *zstd)
{
	ZSTD_freeDCtx(zstd);
}

static void decompressor_make_key(void)
{
	if (pthread_key_create(&decompressor_key, decompressor_free) != 0)
		fatal("no key for a thread's decompressor");
}

/* One a thread: making one costs more than what it does for a small body. */
static ZSTD_DCtx *decompressor(void)
{
	ZSTD_DCtx *zstd;

	pthread_once(&decompressor_once, decompressor_make_key);
	zstd = pthread_getspecific(decompressor_key);
	if (zstd)
		return zstd;
	zstd = ZSTD_createDCtx();
	if (!zstd || pthread_setspecific(decompressor_key, zstd) != 0)
		fatal("no memory to decompress a body");
	return zstd;
}

static int read_inline(const struct blob *blob, struct strbuf *out, struct err *err)
{
	unsigned char sum[SHA256_LEN];
	char *room = strbuf_room(out, (size_t)blob->size);
	size_t n;

	if (!room)
		return err_set(err, ERR_LIMIT, "no room for a body");
	sha256_once(blob->data, sum);
	if (blob->data.n != blob->stored || memcmp(sum, blob->sum, sizeof(sum)) != 0)
		return err_set(err, ERR_CORRUPT, "a body does not have its length or checksum");
	n = ZSTD_decompressDCtx(
	    decompressor(), room, (size_t)blob->size, blob->data.p, blob->data.n);
	if (ZSTD_isError(n) || n != blob->size)
		return err_set(err, ERR_CORRUPT, "a body does not decompress to its length");
	strbuf_added(out, n);
	return 0;
}

int blob_read_all(
    struct blob_dir *d, const struct blob *blob, struct strbuf *out, size_t max, struct err *err)
{
	struct blob_reader *r;
	size_t n = 0, had = out->n;
	int rc;

	if (blob->size > max)
		return err_set(err, ERR_LIMIT, "a body of %llu bytes, %zu are the limit",
		    (unsigned long long)blob->size, max);
	if (!blob->is_file && blob->codec == BLOB_CODEC_ZSTD)
		return read_inline(blob, out, err);
	if (blob_open(d, blob, &r, err) < 0)
		return -1;
	do {
		uint64_t left = blob->size - blob_position(r);
		size_t cap = left < BLOB_IN ? (size_t)left : BLOB_IN;
		char end = 0, *room = cap ? strbuf_room(out, cap) : &end;

		rc = room ? blob_read(r, room, cap ? cap : 1, &n, err)
			  : err_set(err, ERR_LIMIT, "no room for a body");
		if (rc == 0 && cap)
			strbuf_added(out, n);
	} while (rc == 0 && n);
	blob_reader_free(r);
	if (rc < 0)
		strbuf_truncate(out, had);
	return rc;
}
