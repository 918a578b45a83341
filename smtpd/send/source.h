/*
 * The content of a mail on its way: the message from the queue, converted if the server needs that.
 * What comes out still has its own line ends and dots (stuff.h). Opened in a transaction, read on
 * any worker thread.
 */
#ifndef MS_SMTPD_SEND_SOURCE_H
#define MS_SMTPD_SEND_SOURCE_H

#include "common/store/blob.h"
#include "smtpd/send/convert.h"

struct source {
	struct blob_reader *reader;
	struct convert_plan *plan;
	struct converter *converter;
	bool is_done;
};

/* What would have to change for a server that takes 7 bits only: reads all of it. */
int source_plan(struct blob_dir *dir, const struct blob *blob, struct convert_plan **plan,
    enum convert_status *status, struct err *err);
/* From the start. The plan, if there is one to follow, becomes the source's. */
int source_open(struct blob_dir *dir, const struct blob *blob, struct convert_plan *plan,
    struct source *out, struct err *err);
/* Appends until out holds at least want bytes, or all (is_done). out's limit must leave room for
 * SOURCE_ROOM more. */
#define SOURCE_ROOM (4 * 16 * 1024 + CONVERT_HEADER_MAX + 2048)
int source_read(struct source *s, struct strbuf *out, size_t want, struct err *err);
/* To the start again. */
int source_rewind(struct blob_dir *dir, const struct blob *blob, struct source *s, struct err *err);
void source_close(struct source *s); /* a zeroed one is fine */

#endif
