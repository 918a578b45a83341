/* Messages out of the store. */
#include "common/base/mem.h"
#include "common/maint/maint.h"
#include "common/maint/stream.h"

#include <stdio.h>
#include <string.h>

static void fill_head(
    struct letter *l, const struct store_mailbox *mb, const struct store_snapshot *s, size_t i)
{
	const struct store_message *m = &s->messages[i];
	size_t n = 0;

	memcpy(l->mailbox, mb->name, sizeof(l->mailbox));
	l->flags = m->flags;
	l->date = m->internaldate;
	l->keywords[0] = '\0';
	for (size_t k = 0; k < s->keyword_count; k++) {
		size_t len = strlen(s->keywords[k]);

		if (!(m->keywords >> k & 1) || n + len + 2 > sizeof(l->keywords))
			continue;
		n += (size_t)snprintf(l->keywords + n, sizeof(l->keywords) - n, "%s%s",
		    n > 0 ? " " : "", s->keywords[k]);
	}
}

/* The body, opened inside a transaction of its own and read outside. */
static int open_body(
    struct files *f, uint64_t account, uint64_t object, struct blob_reader **r, struct err *err)
{
	struct db_txn *txn;
	struct blob blob;
	int rc;

	if (db_read_begin(f->env, &txn, err) < 0)
		return -1;
	rc = store_object_blob(txn, account, object, &blob, err);
	if (rc == 0)
		rc = blob_open(f->blobs, &blob, r, err);
	db_abort(txn);
	return rc;
}

/* A body that cannot be read is named and left out; -1 only if it cannot be handed on. */
static int send_one(struct files *f, uint64_t account, const struct letter *l,
    const struct store_message *msg, int fd, struct err *err)
{
	struct blob_reader *r = NULL;
	struct err why = ERR_INIT;
	char buf[16384];
	size_t n = 0;
	int rc = open_body(f, account, msg->object, &r, &why);

	if (stream_put_head(fd, l, err) < 0)
		rc = -2;
	while (rc == 0 && (rc = blob_read(r, buf, sizeof(buf), &n, &why)) == 0 && n > 0)
		if (stream_put_bytes(fd, span_make(buf, n), err) < 0)
			rc = -2;
	blob_reader_free(r);
	if (rc == -2)
		return -1;
	if (rc < 0)
		fprintf(stderr, "%s, UID %u: %s\n", l->mailbox, msg->uid, why.text);
	return stream_put_end(fd, rc == 0, err);
}

static int send_mailbox(struct files *f, uint64_t account, const struct store_mailbox *mb,
    uint32_t uid, int fd, struct err *err)
{
	struct store_snapshot *s = NULL;
	struct db_txn *txn;
	struct letter l;
	int rc;

	if (db_read_begin(f->env, &txn, err) < 0)
		return -1;
	rc = store_snapshot_load(txn, account, mb->id, &s, err);
	db_abort(txn);
	for (size_t i = 0; rc == 0 && i < s->count; i++) {
		if (uid != 0 && s->messages[i].uid != uid)
			continue;
		fill_head(&l, mb, s, i);
		rc = send_one(f, account, &l, &s->messages[i], fd, err);
		if (i % 100 == 0)
			maint_progress("%s: %zu of %zu", mb->name, i, s->count);
	}
	store_snapshot_unref(s);
	return rc;
}

int store_send_from(struct maint *m, struct files *f, uint64_t account, struct span mailbox,
    uint32_t uid, int fd, struct err *err)
{
	struct store_mailbox *list = NULL;
	struct db_txn *txn;
	size_t n = 0, sent = 0;
	int rc = db_read_begin(f->env, &txn, err);

	if (rc == 0) {
		rc = store_mailbox_list(txn, account, &list, &n, err);
		db_abort(txn);
	}
	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (list[i].is_noselect ||
		    (mailbox.n > 0 && !span_eq(mailbox, span_of(list[i].name))))
			continue;
		sent++;
		rc = send_mailbox(f, account, &list[i], uid, fd, err);
	}
	mem_free(list);
	/* An account that never had mail has no mailboxes yet. */
	if (rc == 0 && sent == 0 && mailbox.n > 0)
		rc = err_set(err, ERR_NOT_FOUND, "there is no such mailbox");
	return rc;
}

int store_send(struct maint *m, uint64_t account, struct span mailbox, int fd)
{
	struct err err = ERR_INIT;
	struct files f;
	int rc = files_open(m, "store", &f, &err);

	if (rc == 0)
		rc = store_send_from(m, &f, account, mailbox, 0, fd, &err);
	files_close(&f);
	return rc < 0 ? maint_fail(m, &err) : 0;
}
