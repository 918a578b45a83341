/*
 * One message of the store as FETCH, SEARCH, SORT and THREAD look at it: its cache row, its MIME
 * tree, its bytes. Used on a reader thread inside a slice. What takes long (a large body) is done a
 * step at a time: those functions return 1 for "more to do: end this slice and call again in the
 * next", 0 for done, -1 with err. ERR_CORRUPT: the stored message is damaged; no byte of a body is
 * handed out before all of it had its checksum.
 */
#ifndef MS_IMAPD_MESSAGE_H
#define MS_IMAPD_MESSAGE_H

#include "common/mail/section.h"
#include "common/store/cache.h"
#include "common/store/store.h"

#define MESSAGE_WHOLE_MAX (1024 * 1024) /* bodies up to this are held as a whole */
#define MESSAGE_STEP (1024 * 1024)      /* bytes of a larger one looked at in one step */

struct message {
	struct blob_dir *blobs;
	struct db_txn *txn; /* of this slice */
	uint64_t account, object, size;

	bool has_row; /* cache is valid (it points into the map, or into rebuilt) */
	struct cache cache;
	struct strbuf rebuilt; /* a row that was missing, made again: to be written back */
	bool is_rebuilt;
	struct mime_tree *tree; /* NULL until message_tree */

	bool has_bytes; /* bytes is the whole body */
	struct strbuf bytes;
	bool is_verified;           /* a large body was read to its end once */
	struct blob_reader *reader; /* of a large one */
	struct mime_parser *parser; /* while the row of a large one is made */
	struct strbuf header;       /* meanwhile: its first MAIL_HEADER_MAX bytes */
};

void message_init(struct message *m, struct blob_dir *blobs, uint64_t account);
void message_clear(struct message *m);
/* A slice begins: what pointed into the map is forgotten. */
void message_slice(struct message *m, struct db_txn *txn);
/* Another message; what was held of the last one is dropped. */
void message_set(struct message *m, uint64_t object, uint64_t size);

int message_cache(struct message *m, struct err *err); /* m->cache, for this slice */
int message_tree(struct message *m, struct err *err);  /* m->tree, until message_set */
/* Reads and checks the body: after it message_read works. */
int message_open(struct message *m, struct err *err);
/*
 * Appends bytes at .. at + n - 1, which are in the message, or as many of them as a step allows:
 * *got says how many. 0 of n > 0: call again in the next slice.
 */
int message_read(
    struct message *m, uint64_t at, uint64_t n, struct strbuf *out, uint64_t *got, struct err *err);

#endif
