/*
 * Questions to other daemons, on their control sockets, by threads that may wait. Each has a
 * deadline, so that a daemon that hangs delays only its own answer. Loop thread.
 */
#ifndef MS_AUTHD_ASK_H
#define MS_AUTHD_ASK_H

#include "common/authd/call.h"

#define ASK_MAX 16

struct ask_answer {
	const char *daemon;
	bool is_reached; /* it answered; else code and text say what went wrong on the way */
	enum err_code code;
	char text[CALL_TEXT_MAX];
	struct strbuf records; /* without a call: each a byte string; valid during done */
};

/*
 * Asks each of the daemons, whose names are static. Records of their answers become records of
 * call, as they come; without one they are collected. step_ms bounds the wait between two frames.
 * done comes once, not from inside.
 */
void ask_all(struct authd *a, struct call *call, const char *const *daemons, size_t n,
    const struct ipc_admin *what, int step_ms,
    void (*done)(void *arg, const struct ask_answer *answers, size_t n), void *arg);

/* A record of call: a daemon that did not answer, or not well. */
void ask_add_silent(struct call *call, const struct ask_answer *answer);

#endif
