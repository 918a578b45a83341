/*
 * Files of bodies that no row knows: what a crash leaves between the writing of a file and its row,
 * or between the end of a row and the unlinking of its file. They are harmless, and room on the
 * disk; a sweep removes those that are old enough to be nobody's work in progress.
 *
 * Loop thread; the folder is read on the readers' threads, one of its 256 folders at a time.
 */
#ifndef MS_STORE_SWEEP_H
#define MS_STORE_SWEEP_H

#include "common/db/db.h"
#include "common/store/blob.h"

#define SWEEP_SECONDS 3600       /* a file younger than this is left alone */
#define SWEEP_TEMP_SECONDS 86400 /* the same for one that never got its name */

/* Sets known[i] for each id that a row refers to. On a reader thread. */
typedef int sweep_known_fn(void *arg, struct db_txn *txn, const unsigned char (*ids)[BLOB_ID_LEN],
    size_t count, bool *known, struct err *err);

struct sweep;

/* done comes once, with the number of files removed; the sweep is gone then. */
struct sweep *sweep_start(struct db_readers *readers, struct blob_dir *dir, sweep_known_fn *known,
    void *arg, void (*done)(void *arg, size_t removed));
/* It ends at its next step. For closing: before the readers are freed, who finish it. */
void sweep_stop(struct sweep *s);

#endif
