/* Writing a body: compressed as it comes, kept in memory up to inline_max, then in a file. */
#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/store/blob_int.h"

#include <pthread.h>
#include <string.h>
#include <zstd.h>

#define BLOB_SMALL (64 * 1024)    /* up to here in one go: no streaming context is needed */
#define BLOB_OUT_MIN (128 * 1024) /* written to a file at a time */

struct blob_writer {
	struct blob_dir *dir;
	size_t inline_max;
	struct strbuf raw; /* not compressed yet, while the body may be small */
	ZSTD_CCtx *zstd;   /* once it is not */
	struct strbuf out; /* compressed, not in a file */
	struct sha256 *sha;
	struct blob_file file;
	bool is_file, is_kept, has_failed;
	uint64_t size, stored;
};

struct blob_writer *blob_writer_new(struct blob_dir *d, size_t inline_max)
{
	struct blob_writer *w = mem_zalloc(sizeof(*w));

	w->dir = d;
	w->inline_max = d ? inline_max : SIZE_MAX;
	strbuf_init(&w->raw, BLOB_SMALL);
	strbuf_init(&w->out, SIZE_MAX / 2);
	w->file.fd = -1;
	w->sha = sha256_new();
	return w;
}

/* Hashes what is compressed and moves it to the file as soon as it is too much for a row. */
static int blob_flush_out(struct blob_writer *w, bool is_end, struct err *err)
{
	if (!w->is_file) {
		if (w->out.n <= w->inline_max)
			return 0;
		if (blob_file_create(w->dir, &w->file, err) < 0)
			return -1;
		w->is_file = true;
	}
	if (w->out.n == 0 || (!is_end && w->out.n < BLOB_OUT_MIN))
		return 0;
	sha256_update(w->sha, strbuf_span(&w->out));
	w->stored += w->out.n;
	if (blob_file_write(&w->file, strbuf_span(&w->out), err) < 0)
		return -1;
	strbuf_reset(&w->out);
	return 0;
}

static int blob_stream(
    struct blob_writer *w, struct span data, ZSTD_EndDirective end, struct err *err)
{
	ZSTD_inBuffer in = {data.p, data.n, 0};
	size_t left;

	do {
		size_t room = ZSTD_CStreamOutSize();
		ZSTD_outBuffer out = {strbuf_room(&w->out, room), room, 0};

		if (!out.dst)
			return err_set(err, ERR_LIMIT, "a body is too large");
		left = ZSTD_compressStream2(w->zstd, &out, &in, end);
		if (ZSTD_isError(left))
			return err_set(
			    err, ERR_IO, "compressing a body: %s", ZSTD_getErrorName(left));
		strbuf_added(&w->out, out.pos);
		if (blob_flush_out(w, false, err) < 0)
			return -1;
	} while (end == ZSTD_e_end ? left != 0 : in.pos < in.size);
	return 0;
}

/* The body is not small: from now on it is compressed as it comes. */
static int blob_start_stream(struct blob_writer *w, struct err *err)
{
	w->zstd = ZSTD_createCCtx();
	if (!w->zstd)
		return err_set(err, ERR_NO_SPACE, "no memory to compress a body");
	ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, 1);
	ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_windowLog, BLOB_WINDOW_LOG);
	if (blob_stream(w, strbuf_span(&w->raw), ZSTD_e_continue, err) < 0)
		return -1;
	strbuf_clear(&w->raw);
	return 0;
}

static int blob_write_any(struct blob_writer *w, struct span data, struct err *err)
{
	if (!w->zstd) {
		if (data.n <= BLOB_SMALL - w->raw.n) {
			strbuf_add(&w->raw, data);
			return 0;
		}
		if (blob_start_stream(w, err) < 0)
			return -1;
	}
	return blob_stream(w, data, ZSTD_e_continue, err);
}

int blob_write(struct blob_writer *w, struct span data, struct err *err)
{
	if (w->has_failed)
		return err_set(err, ERR_IO, "writing this body failed before");
	if (data.n == 0)
		return 0;
	if (blob_write_any(w, data, err) < 0) {
		w->has_failed = true;
		return -1;
	}
	w->size += data.n;
	return 0;
}

static pthread_once_t compressor_once = PTHREAD_ONCE_INIT;
static pthread_key_t compressor_key;

static void compressor_free(void *zstd)
{
	ZSTD_freeCCtx(zstd);
}

static void compressor_make_key(void)
{
	if (pthread_key_create(&compressor_key, compressor_free) != 0)
		fatal("no key for a thread's compressor");
}

/* One a thread: making one costs more than what it does for a small body. */
static ZSTD_CCtx *compressor(void)
{
	ZSTD_CCtx *zstd;

	pthread_once(&compressor_once, compressor_make_key);
	zstd = pthread_getspecific(compressor_key);
	if (zstd)
		return zstd;
	zstd = ZSTD_createCCtx();
	if (!zstd || pthread_setspecific(compressor_key, zstd) != 0)
		fatal("no memory to compress a body");
	return zstd;
}

static int blob_compress_small(struct blob_writer *w, struct err *err)
{
	size_t room = ZSTD_compressBound(w->raw.n), n;

	n = ZSTD_compressCCtx(
	    compressor(), strbuf_room(&w->out, room), room, w->raw.p, w->raw.n, 1);
	if (ZSTD_isError(n))
		return err_set(err, ERR_IO, "compressing a body: %s", ZSTD_getErrorName(n));
	strbuf_added(&w->out, n);
	strbuf_clear(&w->raw);
	return 0;
}

int blob_finish(struct blob_writer *w, struct blob *blob, struct err *err)
{
	*blob = (struct blob){0};
	if (w->has_failed || !w->sha)
		return err_set(err, ERR_IO, "this body cannot be finished");
	if ((w->zstd ? blob_stream(w, SPAN(""), ZSTD_e_end, err) : blob_compress_small(w, err)) <
		0 ||
	    blob_flush_out(w, true, err) < 0 ||
	    (w->is_file && blob_file_commit(&w->file, err) < 0)) {
		w->has_failed = true;
		return -1;
	}
	if (!w->is_file) {
		sha256_update(w->sha, strbuf_span(&w->out));
		w->stored = w->out.n;
		blob->data = strbuf_span(&w->out);
	}
	sha256_final(w->sha, blob->sum);
	w->sha = NULL;
	ZSTD_freeCCtx(w->zstd);
	w->zstd = NULL;
	blob->is_file = w->is_file;
	blob->codec = BLOB_CODEC_ZSTD;
	blob->size = w->size;
	blob->stored = w->stored;
	memcpy(blob->id, w->file.id, sizeof(blob->id));
	return 0;
}

void blob_keep(struct blob_writer *w)
{
	w->is_kept = true;
}

bool blob_writer_is_empty(const struct blob_writer *w)
{
	return w->size == 0;
}

bool blob_writer_has_file(const struct blob_writer *w)
{
	return w->is_file && !w->is_kept;
}

void blob_writer_free(struct blob_writer *w)
{
	if (!w)
		return;
	if (!w->is_kept)
		blob_file_discard(&w->file);
	sha256_abort(w->sha);
	ZSTD_freeCCtx(w->zstd);
	strbuf_clear(&w->raw);
	strbuf_clear(&w->out);
	mem_free(w);
}
