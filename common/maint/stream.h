/*
 * Messages on their way between a child that may touch the store and one that may touch files: a
 * head, then the bytes of the message with CRLF line ends, over a pipe. Blocking; every length is
 * checked, whatever the other side sends.
 */
#ifndef MS_MAINT_STREAM_H
#define MS_MAINT_STREAM_H

#include "common/base/err.h"
#include "common/store/store.h"

#define LETTER_KEYWORDS_MAX 1024

struct letter {
	char mailbox[STORE_NAME_MAX + 1];
	uint32_t flags;
	int64_t date;                           /* internal date */
	char keywords[LETTER_KEYWORDS_MAX + 1]; /* separated by spaces */
};

/* The bytes come in pieces, each with its length; one of no bytes is the end. A message that could
 * not be read to its end is marked, and the other side drops it. */
int stream_put_head(int fd, const struct letter *l, struct err *err);
int stream_put_bytes(int fd, struct span bytes, struct err *err); /* any number; not empty */
int stream_put_end(int fd, bool is_whole, struct err *err);

#define STREAM_PIECE_MAX 65536

/* 1: a head came, 0: there is none any more, -1. */
int stream_get_head(int fd, struct letter *l, struct err *err);
/* 1: *n bytes came into buf (STREAM_PIECE_MAX), 0: the end (*is_whole), -1. */
int stream_get_bytes(int fd, char *buf, size_t *n, bool *is_whole, struct err *err);

/* --- the two ends ------------------------------------------------------------------------------
 */
struct maint;
/* store_out.c, store_in.c: of one account; run as the store's user. */
int store_send(struct maint *m, uint64_t account, struct span mailbox, int fd);
struct files;
/* The same from an environment that is open; uid 0: all messages. */
int store_send_from(struct maint *m, struct files *f, uint64_t account, struct span mailbox,
    uint32_t uid, int fd, struct err *err);
int store_take(struct maint *m, uint64_t account, int fd, uint64_t *taken, uint64_t *skipped);
/* files_in.c: an mbox file, a folder of them, or a Maildir; mailbox: where to put a single file */
int files_send(struct maint *m, const char *path, struct span mailbox, int fd);
/* files_out.c: into a new folder. */
int files_take(struct maint *m, const char *path, bool is_mbox, int fd, uint64_t *taken);

#endif
