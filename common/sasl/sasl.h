/*
 * The server side of SASL PLAIN (RFC 4616) and LOGIN, for all protocols; and the question to authd.
 * No I/O of its own besides the ipc client. Secrets are wiped when done. Loop thread.
 */
#ifndef MS_SASL_SASL_H
#define MS_SASL_SASL_H

#include "common/base/strbuf.h"
#include "common/ipc/ipc.h"
#include "common/ipc/msg.h"

#define SASL_LINE_MAX 4096 /* of base64 a client may send in one answer */
#define SASL_USER_MAX 320
#define SASL_PASSWORD_MAX 1024

enum sasl_step {
	SASL_CHALLENGE, /* send .challenge (base64 text, may be empty), read another line */
	SASL_READY,     /* user and password are there: ask authd */
	SASL_BAD,       /* malformed: 501, BAD, -ERR */
	SASL_ABORTED,   /* the client sent "*" */
	SASL_UNKNOWN,   /* no such mechanism */
};

struct sasl {
	int mechanism, state;
	char user[SASL_USER_MAX + 1];
	char password[SASL_PASSWORD_MAX + 1];
	const char *challenge;
};

void sasl_init(struct sasl *s);
void sasl_clear(struct sasl *s); /* wipes */
/* initial.p NULL: no initial response; "=" is an empty one (RFC 4954). */
enum sasl_step sasl_start(struct sasl *s, struct span mechanism, struct span initial);
enum sasl_step sasl_continue(struct sasl *s, struct span line);

/*
 * Asks authd. on_result comes once, never from inside: res is always filled (LOGIN_TEMP when authd
 * does not answer in time). The strings are copied before this returns, so sasl_clear may follow.
 */
struct sasl_question {
	struct ipc_client *authd;
	const char *protocol, *listener, *client;
	struct span user, password;
};

struct sasl_call;
struct sasl_call *sasl_ask(const struct sasl_question *q,
    void (*on_result)(void *arg, const struct ipc_login_result *res), void *arg);
void sasl_call_cancel(struct sasl_call *call); /* no on_result will come */

#endif
