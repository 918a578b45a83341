/*
 * What is still good of a data.mdb that LMDB cannot or must not open: truncated, with flipped bits,
 * without its root. Read page by page (page.h), never mapped; no recursion, memory in proportion to
 * the number of pages. Nothing is written.
 *
 * First the tree of the newest root. Where pages of it cannot be read, keys are missing: there the
 * pages that no tree refers to and that are not free are taken, then the tree of the root before
 * it, then, if the list of free pages is damaged too, every page that looks like one of ours.
 */
#ifndef MS_DB_SALVAGE_H
#define MS_DB_SALVAGE_H

#include "common/base/err.h"
#include "common/base/span.h"

enum db_trust {
	DB_CERTAIN, /* as it was written last */
	DB_OLDER,   /* as it was written, maybe before what was lost */
	DB_GUESS,   /* may be old, and a value of more than DB_INLINE_MAX bytes another row's */
};
#define DB_INLINE_MAX 2000 /* larger values have pages of their own */

struct db_salvage {
	/* One row, its spans valid during the call. Unless it is certain, one with the same key may
	 * have come before, which is better. -1 ends it. */
	int (*row)(
	    void *arg, struct span key, struct span val, enum db_trust trust, struct err *err);
	/* Keys from from (without: the first) to before to (p NULL: the last) may be missing. May
	 * be NULL. */
	void (*lost)(void *arg, struct span from, struct span to);
	void *arg, *lost_arg;
	/* what was seen */
	uint64_t pages; /* that are there */
	uint64_t rows, bad_pages, bad_rows, uncertain_rows;
	bool is_short;    /* the file ends before its last page */
	bool has_no_root; /* one of both roots is damaged: the last change may be missing */
};

/* Rows with a larger value are lost: nothing that we write is that large. */
#define DB_SALVAGE_VALUE_MAX ((uint64_t)64 << 20)

/* -1: it is no such file at all, it cannot be read (ERR_IO), or row said so. */
int db_salvage(int fd, struct db_salvage *s, struct err *err);

struct db_env;

struct db_recover {
	struct db_env *to; /* new, and empty */
	/* Is this a row, and one to take with so much trust? */
	bool (*is_taken)(struct span key, struct span val, enum db_trust trust);
	void (*lost)(void *arg, struct span from, struct span to); /* may be NULL */
	void *arg;
	/* what was seen */
	struct db_salvage seen;
	uint64_t refused; /* rows, guesses not counted */
};

/* Everything that can be salvaged, into an environment; durable when 0. */
int db_recover(int fd, struct db_recover *r, struct err *err);
/* Was anything lost, or may it be? */
bool db_recover_is_damaged(const struct db_recover *r);

#endif
