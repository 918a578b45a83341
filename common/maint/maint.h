/*
 * maint: what is done to the store and the queue as a whole, by hand and without a network: check,
 * backup, restore, export, import, compact. mailsteadctl starts it with a socket as descriptor 3
 * and prints what comes: records, then how it ended. Progress for people goes to standard error.
 * Works beside a running instance; each part runs as the user that owns the files it opens, in a
 * child of its own, so that a damaged database that makes LMDB crash is an answer too.
 * The web admin's backups come the same way (serve.c).
 */
#ifndef MS_MAINT_MAINT_H
#define MS_MAINT_MAINT_H

#include "common/config/config.h"
#include "common/daemon/identity.h"
#include "common/db/db.h"
#include "common/ipc/msg.h"
#include "common/store/blob.h"

#define ANSWER_FD 3
#define ARGS_MAX 32

struct maint {
	struct config *cfg;
	struct identities ids;
	struct span words[ARGS_MAX]; /* of the command, options among them */
	size_t word_count;
	enum err_code code; /* how it ended so far */
	char text[800];
};

/* --- main.c ------------------------------------------------------------------------------------
 */
/* The n-th word that is no option; an empty span if there is none. words[0] is the verb. */
struct span maint_word(const struct maint *m, size_t n);
bool maint_has(const struct maint *m, const char *option);
/* "--name=value": the value; p NULL without. */
struct span maint_option(const struct maint *m, const char *name);
void maint_record(struct strbuf *record); /* sends and clears it */
struct store_damage;
void maint_damage(void *arg, const struct store_damage *d); /* the same; arg is not looked at */
/* Sets how it ended, if nothing went wrong before. Returns -1 for anything but ERR_NONE. */
int maint_end(struct maint *m, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int maint_fail(struct maint *m, const struct err *err);
/*
 * Runs fn in a child that is who (if this process is root and users are separate) and waits. What
 * the child set as the end becomes ours. A child that was killed by a signal: ERR_CORRUPT, with
 * what was being read.
 */
int maint_run_as(struct maint *m, enum who who, const char *what, int (*fn)(struct maint *m));
/* Two children at the two ends of a pipe, at the same time; who WHO_COUNT: as we are. Closes the
 * pipe here. The second one's end is ours, unless the first one failed. */
int maint_run_both(struct maint *m, enum who first, int (*send)(struct maint *m), enum who second,
    int (*take)(struct maint *m), int in, int out);
/* A line for people, over itself while it goes on. */
void maint_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --- open.c ------------------------------------------------------------------------------------
 */
/* <state>/<name>/env, which must be there; and its bodies. Closed with store_files_close. */
struct files {
	struct db_env *env;
	struct blob_dir *blobs;
};
int files_open(struct maint *m, const char *name, struct files *f, struct err *err);
void files_close(struct files *f);

/* --- ask.c: authd's knowledge -------------------------------------------------------------------
 */
bool is_running(struct maint *m);
int account_number(struct maint *m, struct span address, uint64_t *number);
int accounts_each(struct maint *m, void (*fn)(void *arg, struct span address, uint64_t number),
    void *arg, struct err *err);

/* --- serve.c: without a command, the process that authd asks: it starts this program again for
 * each command, a backup or a restore one at a time. Returns the exit status. */
int maint_serve(const char *conf_path);

/* --- verbs -------------------------------------------------------------------------------------
 */
int verb_check(struct maint *m);
int verb_export(struct maint *m);
int verb_import(struct maint *m);
int verb_backup(struct maint *m);
int verb_restore(struct maint *m);
int verb_compact(struct maint *m);
int verb_recover(struct maint *m);
int verb_migrate(struct maint *m);

#endif
