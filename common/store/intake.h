/*
 * Takes a message in from the event loop: bytes are collected, compressed, checksummed and parsed
 * on worker threads as they come, with bounded memory, whatever the size. Ends in a struct
 * intake_result, which an append or a queue operation refers to. Loop thread.
 *
 *     in = intake_new(...);  intake_feed(in, bytes) ...  intake_finish(in, on_done)
 */
#ifndef MS_STORE_INTAKE_H
#define MS_STORE_INTAKE_H

#include "common/event/work.h"
#include "common/store/blob.h"

struct intake;

struct intake_options {
	struct workers *workers;
	struct blob_dir *dir;
	size_t inline_max;
	bool want_mime; /* also parse the structure, for the cache row */
};

struct intake_result {
	struct blob blob;  /* blob.data points into the intake */
	struct span cache; /* want_mime: the cache row (store/cache.h); points into the intake */
	uint64_t size;
	struct span message_id; /* want_mime: the Message-ID field's value, or empty */
};

/* on_ready comes when intake_is_full has become false again. */
struct intake *intake_new(const struct intake_options *opt, void (*on_ready)(void *arg), void *arg);
void intake_feed(struct intake *in, struct span data); /* copies */
/* More than 256 KiB wait for the workers: pause the connection until on_ready. */
bool intake_is_full(const struct intake *in);
/*
 * on_done: err.code 0 and the result (valid until intake_free), or the error (ERR_NO_SPACE,
 * ERR_IO). Body bytes are durable then if they are in a file. Never called from inside.
 */
void intake_finish(struct intake *in,
    void (*on_done)(void *arg, const struct intake_result *res, const struct err *err));
/*
 * A whole message that is in memory, in parts, on a worker's thread: for small ones, which are not
 * worth several ways between threads. NULL with err, or one that has its result; to be freed on the
 * loop like any.
 */
struct intake *intake_whole(
    const struct intake_options *opt, const struct span *parts, size_t n, struct err *err);
const struct intake_result *intake_result(const struct intake *in);
/* A row now refers to the file: keep it. Call after the row's commit. */
void intake_keep(struct intake *in);
/* Any time; without intake_keep a file is removed. Waits for nothing: cleans up when its worker
 * is through. */
void intake_free(struct intake *in);

#endif
