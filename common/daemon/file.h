/*
 * Small files of a state folder, written so that a crash leaves the old or the new one: temporary
 * name, fsync, rename, fsync of the folder. All calls block: at the start or on a worker thread.
 */
#ifndef MS_DAEMON_FILE_H
#define MS_DAEMON_FILE_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#include <sys/types.h>

/* Opens a folder; -1 on errors. */
int file_open_folder(const char *path, struct err *err);
/* Replaces name in the folder dir; what is there as name.new is overwritten. */
int file_write(int dir, const char *name, mode_t mode, struct span data, struct err *err);
/* Appends the whole of a regular file; ERR_LIMIT if it does not fit into out, ERR_NOT_FOUND. */
int file_read(int dir, const char *name, struct strbuf *out, struct err *err);

#endif
