/*
 * One message of the store as IMAP's FETCH, SEARCH, SORT and THREAD and POP3's RETR look at it: its
 * cache row, its MIME tree, its bytes. Used on a reader thread inside a slice. What takes long (a
 * large body) is done a step at a time: those functions return 1 for "more to do: end this slice
 * and call again in the next", 0 for done, -1 with err. ERR_CORRUPT: the stored message is damaged;
 * no byte of a body is handed out before all of it had its checksum.
 */
#ifndef MS_STORE_MESSAGE_READ_H
#define MS_STORE_MESSAGE_READ_H

#include "common/mail/section.h"
#include "common/store/cache.h"
#include "common/store/store.h"

#define MESSAGE_WHOLE_MAX (1024 * 1024) /* bodies up to this are held as a whole */
#define MESSAGE_STEP (1024 * 1024)      /* bytes of a larger one looked at in one step */
#define MESSAGE_HEADERS_MAX ((size_t)8 * MESSAGE_WHOLE_MAX) /* of a downgraded one */

/* Bytes of a downgraded message: of its new headers, or from a place in the stored one. */
struct message_piece {
	uint64_t at, n; /* in the downgraded message */
	uint64_t from;
	bool is_new; /* from is in downgrade.headers */
};

/* RFC 6858; message_downgrade.c. */
struct message_downgrade {
	bool is_wanted, is_made;
	struct strbuf headers; /* the new ones */
	struct message_piece *pieces;
	size_t count, cap;
	/* meanwhile: */
	uint32_t part;              /* the next part whose header is to be looked at */
	uint64_t done;              /* bytes of the stored message that have become pieces */
	struct strbuf header;       /* of that part, as far as it was read */
	struct mime_parser *parser; /* of what came out */
	uint64_t parsed;
};

struct message {
	struct blob_dir *blobs;
	struct db_txn *txn; /* of this slice */
	uint64_t account, object;
	uint64_t stored; /* bytes in the store ... */
	uint64_t size;   /* ... and as it is read; other than stored once it is downgraded */

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
	struct message_downgrade downgrade;
};

void message_init(struct message *m, struct blob_dir *blobs, uint64_t account);
void message_clear(struct message *m);
/* A slice begins: what pointed into the map is forgotten. */
void message_slice(struct message *m, struct db_txn *txn);
/* Another message; what was held of the last one is dropped. */
void message_set(struct message *m, uint64_t object, uint64_t size);
/*
 * Behind message_set, of a message with MESSAGE_UTF8, for a client that cannot read it: from here
 * on everything is that of the downgraded message (mail/downgrade.h), the same each time. size only
 * after this returned 0. ERR_LIMIT: its headers are too long for that.
 */
void message_want_downgraded(struct message *m);
int message_downgrade(struct message *m, struct err *err);
/* It was, and is another now. */
bool message_is_downgraded(const struct message *m);
/* A row was made for it that belongs into the store. */
bool message_has_new_row(const struct message *m);

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

/* --- for message_downgrade.c --- */
int message_stored_tree(struct message *m, struct err *err);
int message_stored_open(struct message *m, struct err *err);
int message_stored_read(
    struct message *m, uint64_t at, uint64_t n, struct strbuf *out, uint64_t *got, struct err *err);
/* Makes m->rebuilt and m->cache of m->tree, just parsed. */
int message_keep_row(struct message *m, struct span header, struct err *err);
int message_downgraded_read(
    struct message *m, uint64_t at, uint64_t n, struct strbuf *out, uint64_t *got, struct err *err);
void message_downgrade_clear(struct message *m);

#endif
