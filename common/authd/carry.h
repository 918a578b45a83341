/*
 * Settings on their way to everybody: all processes take them, or none does. The new settings.conf
 * is written beside the old one (settings.conf.next); monitors bind ports, fetch certificates and
 * ask their roles ("prepare"); one that refuses ends it. Only then it is renamed and everybody told
 * to go over ("commit"). Without a text it is what the files say now: a reload. A process that is
 * not there takes what the files say when it starts. One at a time. Loop thread.
 */
#ifndef MS_AUTHD_CARRY_H
#define MS_AUTHD_CARRY_H

#include "common/authd/ask.h"

struct carry;

/* text: settings.conf as it shall be, or the empty span with p NULL. on_prepared comes once: with
 * an error it is over (nothing has changed), else carry_commit or carry_abort must follow. */
struct carry *carry_start(struct authd *a, struct span text,
    void (*on_prepared)(void *arg, const struct err *err), void *arg);
/*
 * undo: settings.conf as it was, kept for a change that waits to be confirmed (revert.h), or p
 * NULL. on_done comes once: the settings are in force (err: nothing could be renamed, all as
 * before); answers tells of processes that are away. Then it is gone.
 */
void carry_commit(struct carry *c, struct span undo,
    void (*on_done)(void *arg, const struct err *err, const struct ask_answer *answers, size_t n),
    void *arg);
/* on_done as above, when everybody has forgotten it. */
void carry_abort(struct carry *c,
    void (*on_done)(void *arg, const struct err *err, const struct ask_answer *answers, size_t n),
    void *arg);

#endif
