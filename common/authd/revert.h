/*
 * A change that could lock the administrator out is undone after a minute, unless he says that he
 * still gets in. What it was before stands in <state>/conf/settings.revert, with the time at which
 * it comes back, so that a power cut does not make the change final. A newer change of a setting
 * that waits takes its place; others wait. Loop thread, except where it says so.
 */
#ifndef MS_AUTHD_REVERT_H
#define MS_AUTHD_REVERT_H

#include "common/authd/call.h"

#define REVERT_SECONDS 60

/* Whether such a setting can lock the administrator out. */
bool revert_is_needed(struct span name);
/* At the start: undoes at once what has expired, or goes on waiting. Blocks. */
int revert_open(struct authd *a, struct err *err);
/* A change was made and waits from now on. */
void revert_begin(struct authd *a);
/* Whether this setting is one of those that wait. */
bool revert_has(const struct authd *a, struct span name);
void revert_add_name(struct authd *a, struct span name); /* before the change is committed */
/* Seconds that are left; 0: nothing waits. */
uint64_t revert_left(const struct authd *a);
void revert_close(struct authd *a);

/* --- the file; worker thread ------------------------------------------------------------------ */
/* names: of the settings, apart by spaces. */
int revert_write(
    const char *dir, const char *names, struct span undo, int64_t until, struct err *err);
/* ERR_NOT_FOUND. names may be NULL. */
int revert_read(
    const char *dir, struct strbuf *undo, struct strbuf *names, int64_t *until, struct err *err);
int revert_remove(const char *dir, struct err *err); /* absent is fine */

#endif
