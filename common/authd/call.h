/*
 * A command of the admin plane while it runs: who asks, the words, and how it ends. Verbs that
 * change something run one after the other, each until its commit; the others at once. A call ends
 * exactly once, with call_ok or one of the call_fail functions (call_commit leads to one of them).
 * Loop thread.
 */
#ifndef MS_AUTHD_CALL_H
#define MS_AUTHD_CALL_H

#include "common/authd/authd.h"
#include "common/authd/verbs.h"

#define CALL_TEXT_MAX 400

struct call {
	struct list link;
	struct authd *a;
	struct admin_request rq;
	const struct verb *verb;
	bool is_web;
	uint64_t account; /* of the web session, 0 on admin.sock */
	char who[NAME_TEXT_MAX + 1];
	char *body; /* own copy of the frame, wiped: cmd points into it */
	size_t body_n;
	struct ipc_admin cmd;
	const struct span *args; /* the words behind the verb's */
	uint32_t arg_count;
	struct hash_job hash; /* VERB_HASH: .phc is there when run is called */
	struct change *change;
	uint64_t audit; /* its row in the trail; 0: none yet */
	char ok_text[CALL_TEXT_MAX];
	struct err failure;
	/* Called instead of the good end after call_commit. */
	void (*after)(struct call *call);
	void *arg; /* the verb's: wiped and freed with the call, or given to drop_arg */
	size_t arg_n;
	void (*drop_arg)(void *arg);
};

/* From a frame; ends by itself. is_web: the token decides who it is. */
void call_start(struct authd *a, struct ipc_server *server, const struct ipc_peer *peer,
    uint32_t id, struct span body, bool is_web);

void call_record(const struct call *call, struct strbuf *record); /* clears it */
void call_ok(struct call *call, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void call_fail(struct call *call, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void call_fail_err(struct call *call, const struct err *err);

/* Rows of the change that this call makes. */
struct change *call_change(struct call *call);
/* Commits them with the audit row; then the call ends well with the text (or call->after runs), or
 * fails. */
void call_commit(struct call *call, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The address of the browser, or the empty span. */
struct span call_client(const struct call *call);
/* Lets the next change begin before this call has ended: it will change nothing any more. */
void call_leave_queue(struct call *call);
/* The next waiting change, if none runs. */
void call_next(struct authd *a);
/* Drops what waits: at the end of the process. */
void call_drop_all(struct authd *a);

#endif
