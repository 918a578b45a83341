/*
 * Message bodies: zstd frames with length and checksum, up to inline_max compressed bytes handed
 * back to be stored in a row, larger ones in one immutable file each, named by a random 128-bit id
 * in 256 folders. A file and its folder are flushed before blob_finish returns: so before the row
 * that refers to it is written, and outside any lock. Where bodies live is known here only.
 *
 * Used on worker threads (they read and write files); one object by one thread at a time.
 */
#ifndef MS_STORE_BLOB_H
#define MS_STORE_BLOB_H

#include "common/base/codec.h"
#include "common/base/err.h"

#define BLOB_ID_LEN 16

struct blob_dir; /* <state>/store/blob or <state>/queue/blob */

int blob_dir_open(const char *path, struct blob_dir **out, struct err *err); /* makes it */
void blob_dir_close(struct blob_dir *d);

/* What a row keeps about a body. */
struct blob {
	bool is_file;
	uint8_t codec;                 /* 1 zstd */
	uint64_t size;                 /* bytes of the message as received */
	uint64_t stored;               /* compressed bytes */
	unsigned char sum[32];         /* SHA-256 of the stored bytes */
	unsigned char id[BLOB_ID_LEN]; /* is_file */
	struct span data;              /* !is_file: the frame; owned by who filled it */
};

/* Encodes all but data (object row); blob_decode leaves data empty. Total. */
void blob_encode(struct strbuf *b, const struct blob *blob);
bool blob_decode(struct dec *d, struct blob *blob);

/* --- writing ---------------------------------------------------------------------------------- */
struct blob_writer;

/* d may be NULL if nothing may become a file (then everything is inline, tests). */
struct blob_writer *blob_writer_new(struct blob_dir *d, size_t inline_max);
int blob_write(struct blob_writer *w, struct span data, struct err *err);
/*
 * Ends the frame, flushes. blob->data points into the writer, which must outlive its use. A file
 * written is an orphan until a row refers to it: blob_writer_free after blob_keep leaves it,
 * without blob_keep unlinks it.
 */
int blob_finish(struct blob_writer *w, struct blob *blob, struct err *err);
void blob_keep(struct blob_writer *w);
bool blob_writer_is_empty(const struct blob_writer *w); /* nothing was written to it yet */
/* Freeing it now would unlink a file. */
bool blob_writer_has_file(const struct blob_writer *w);
void blob_writer_free(struct blob_writer *w);

/* --- reading ---------------------------------------------------------------------------------- */
struct blob_reader;

/* Opens the file, or copies the inline frame (so that no transaction is needed later). */
int blob_open(
    struct blob_dir *d, const struct blob *blob, struct blob_reader **out, struct err *err);
/* The next decompressed bytes, at most cap; *n 0 at the end. ERR_CORRUPT if length or checksum is
 * wrong (the checksum is known only at the end). */
int blob_read(struct blob_reader *r, void *buf, size_t cap, size_t *n, struct err *err);
int blob_skip(struct blob_reader *r, uint64_t bytes, struct err *err);
uint64_t blob_position(const struct blob_reader *r);
void blob_reader_free(struct blob_reader *r);
/* The whole body, if it is at most max: ERR_LIMIT otherwise. */
int blob_read_all(
    struct blob_dir *d, const struct blob *blob, struct strbuf *out, size_t max, struct err *err);

/* Adds the ids of files in one of the 256 folders that are older than age seconds. Temporary ones
 * older than temp_age, which nobody will name any more, are removed. */
int blob_list_old(struct blob_dir *d, unsigned folder, int64_t age, int64_t temp_age,
    struct strbuf *ids, struct err *err);
int blob_unlink(struct blob_dir *d, const unsigned char id[BLOB_ID_LEN], struct err *err);
/* Copies a file body into another folder tree (queue to store, account to account): a new id,
 * flushed. copy_file_range where possible. */
int blob_copy(struct blob_dir *from, const struct blob *src, struct blob_dir *to, struct blob *dst,
    struct err *err);

/*
 * The file of an id under the same id in another folder tree (a backup and back), flushed. One that
 * is there with the same length is left: files never change. *copied: the bytes written.
 */
int blob_clone(struct blob_dir *from, const unsigned char id[BLOB_ID_LEN], struct blob_dir *to,
    uint64_t *copied, struct err *err);
/* Calls fn for each file; fn returns -1 to stop, which is then returned. */
int blob_each(struct blob_dir *d, int (*fn)(void *arg, const unsigned char id[BLOB_ID_LEN]),
    void *arg, struct err *err);

#endif
