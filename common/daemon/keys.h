/*
 * The client of keyd: what a monitor fetches and gives to its roles. A set (the body of
 * IPC_KEY_SET) holds private keys: its buffers go with keys_buf_clear.
 *
 *     monitor  keys_request for each role; keys_fetch at the start, an ipc_call of IPC_KEY_FETCH
 *              later; a keys_watch tells of changes
 *     role     keys_context for each listener
 */
#ifndef MS_DAEMON_KEYS_H
#define MS_DAEMON_KEYS_H

#include "common/config/config.h"
#include "common/event/loop.h"
#include "common/ipc/ipc.h"
#include "common/ipc/msg.h"
#include "common/net/tls.h"

/* Memory for a set, allocated at once, so that no copy of a key stays behind while it grows. */
void keys_buf_init(struct strbuf *b);
void keys_buf_clear(struct strbuf *b); /* wipes */

#define KEYS_REQUEST_MAX 4096
#define KEYS_ANSWER_MS 5000

/*
 * The question for the certificates of the listeners of these roles (1u << enum listener_role),
 * each once; ticket keys are made for purpose, the role's name. ERR_LIMIT: more certificates than
 * IPC_KEY_IDS_MAX. *count is how many; none needs no question.
 */
int keys_request(const struct config *cfg, unsigned roles, const char *purpose,
    struct strbuf *request, uint32_t *count, struct err *err);
/* Asks and waits, some seconds also for keyd to come up. set is reset. */
int keys_fetch(const struct config *cfg, struct span request, struct strbuf *set, struct err *err);
/* 0 if the answer to IPC_KEY_FETCH is a set; keyd's error otherwise. */
int keys_check(const struct ipc_msg *msg, struct err *err);
/* keys_tls.c: what a listener serves, from a set that has its certificates. */
struct tls_context *keys_context(struct span set, const struct config_listener *l, struct err *err);

struct keys_watch;

/* keyd is borrowed. */
struct keys_watch *keys_watch_new(struct loop *loop, struct ipc_client *keyd,
    void (*on_change)(void *arg, uint64_t generation), void *arg);
/* Begins to watch, from this generation; on_change comes once, with another one. Also after keyd
 * was started again. */
void keys_watch_from(struct keys_watch *w, uint64_t generation);
void keys_watch_free(struct keys_watch *w); /* before the client; NULL is fine */

#endif
