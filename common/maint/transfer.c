/* export and import: one child may touch the store, the other (who asked) the files. */
#include "common/maint/maint.h"

#include "common/maint/stream.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct transfer {
	uint64_t account;
	const char *path;
	struct span mailbox;
	bool is_mbox;
	int in, out; /* the pipe */
	uint64_t taken, skipped;
};

/* The verbs' children know it by this: each is a process of its own. */
static struct transfer transfer;

static int begin(struct maint *m)
{
	int ends[2];

	transfer.mailbox = maint_option(m, "--mailbox");
	transfer.path = maint_word(m, 2).p;
	if (account_number(m, maint_word(m, 1), &transfer.account) < 0)
		return -1;
	if (pipe(ends) < 0)
		return maint_end(m, ERR_IO, "no pipe");
	transfer.in = ends[0];
	transfer.out = ends[1];
	return 0;
}

static int send_store(struct maint *m)
{
	close(transfer.in);
	return store_send(m, transfer.account, transfer.mailbox, transfer.out);
}

static int take_files(struct maint *m)
{
	close(transfer.out);
	if (files_take(m, transfer.path, transfer.is_mbox, transfer.in, &transfer.taken) < 0)
		return -1;
	return maint_end(m, ERR_NONE, "%llu messages exported to %s",
	    (unsigned long long)transfer.taken, transfer.path);
}

static int send_files(struct maint *m)
{
	close(transfer.in);
	return files_send(m, transfer.path, transfer.mailbox, transfer.out);
}

static int take_store(struct maint *m)
{
	close(transfer.out);
	if (store_take(m, transfer.account, transfer.in, &transfer.taken, &transfer.skipped) < 0)
		return -1;
	return maint_end(m, ERR_NONE, "%llu messages imported, %llu were there already",
	    (unsigned long long)transfer.taken, (unsigned long long)transfer.skipped);
}

int verb_export(struct maint *m)
{
	struct span format = maint_option(m, "--format");

	transfer.is_mbox = span_eq(format, SPAN("mbox"));
	if (format.p && !transfer.is_mbox && !span_eq(format, SPAN("maildir")))
		return maint_end(m, ERR_INVALID, "--format: expected maildir or mbox");
	if (begin(m) < 0)
		return -1;
	return maint_run_both(
	    m, WHO_IMAP, send_store, WHO_COUNT, take_files, transfer.in, transfer.out);
}

int verb_import(struct maint *m)
{
	if (begin(m) < 0)
		return -1;
	return maint_run_both(
	    m, WHO_COUNT, send_files, WHO_IMAP, take_store, transfer.in, transfer.out);
}
