/* What the parts of common/store/blob_*.c share. */
#ifndef MS_STORE_BLOB_INT_H
#define MS_STORE_BLOB_INT_H

#include "common/store/blob.h"

#include <stdatomic.h>

#define BLOB_CODEC_ZSTD 1
#define BLOB_WINDOW_LOG 17 /* 128 KiB: bounds the memory of both sides */
#define BLOB_READ_WINDOW_LOG_MAX 20
#define BLOB_NAME_LEN 40 /* "xx/" and 32 digits, or "xx/." and 32 digits and "t" */

struct blob_dir {
	int fd;
	char *path;
	atomic_bool is_flushed[256]; /* this process saw to it that the folder itself is durable */
};

/* A file that is being written under a name of its own, and gets its final one when it is flushed.
 */
struct blob_file {
	struct blob_dir *dir;
	int fd; /* -1: closed */
	unsigned char id[BLOB_ID_LEN];
	bool is_named; /* stands under its final name */
};

int blob_file_create(struct blob_dir *d, struct blob_file *f, struct err *err);
int blob_file_write(struct blob_file *f, struct span data, struct err *err);
/* Flush, rename, flush the folder. */
int blob_file_commit(struct blob_file *f, struct err *err);
/* Under another id, whose folder is there. */
int blob_file_commit_as(struct blob_file *f, const unsigned char id[BLOB_ID_LEN], struct err *err);
/* Closes and removes whatever there is. */
void blob_file_discard(struct blob_file *f);
int blob_file_open(struct blob_dir *d, const unsigned char id[BLOB_ID_LEN], struct err *err);

#endif
