/*
 * Messages between mailstead's processes over unix stream sockets. A frame is u32 body length,
 * u16 type, u16 zero (on a link: how many descriptors come along), u32 id, body; a body is at most
 * IPC_BODY_MAX. A peer that breaks the format is closed. Requests carry an id that the answer
 * repeats. All of it is on the loop and never blocks, except ipc_sync_*, for mailsteadctl and the
 * CGI.
 */
#ifndef MS_IPC_IPC_H
#define MS_IPC_IPC_H

#include "common/base/codec.h"
#include "common/base/err.h"
#include "common/event/loop.h"

#include <sys/types.h>

#define IPC_BODY_MAX (1024 * 1024)

struct ipc_msg {
	uint16_t type; /* enum ipc_type, ipc/msg.h */
	uint32_t id;
	struct span body; /* valid during the callback */
};

/* --- server ----------------------------------------------------------------------------------- */
struct ipc_server;

/* A client, by number: an answer to one that has gone is dropped silently. */
struct ipc_peer {
	uint64_t number; /* never reused in a process */
	uid_t uid;       /* SO_PEERCRED */
	pid_t pid;
};

struct ipc_server_ops {
	void (*on_message)(void *arg, const struct ipc_peer *peer, const struct ipc_msg *msg);
	void (*on_gone)(void *arg, const struct ipc_peer *peer); /* may be NULL */
};

/* Binds path (an old socket there is replaced) with the given mode. */
struct ipc_server *ipc_server_new(struct loop *loop, const char *path, mode_t mode,
    const struct ipc_server_ops *ops, void *arg, struct err *err);
void ipc_server_free(struct ipc_server *s); /* closes everything, unlinks path */
/* False if the peer has gone, or was closed because more than 4 MiB waits for it. */
bool ipc_reply(struct ipc_server *s, const struct ipc_peer *peer, uint32_t id, uint16_t type,
    struct span body);

/* --- client ----------------------------------------------------------------------------------- */
struct ipc_client;
struct ipc_call;

/* Connects now and again (with back-off from 10 ms to 1 s) whenever the connection is lost. */
struct ipc_client *ipc_client_new(struct loop *loop, const char *path);
void ipc_client_free(struct ipc_client *c); /* open calls end without a callback */
bool ipc_client_is_connected(const struct ipc_client *c);

/*
 * Sends a request. Exactly one on_reply follows, never from inside this call: with the answer, or
 * with msg NULL and err (ERR_TEMP: not connected and not reachable within the deadline, or the
 * connection was lost twice; ERR_TIMEOUT). A call waits for the connection inside its deadline, and
 * is sent again once if the connection is lost before the answer: requests are questions, which may
 * be asked twice.
 */
struct ipc_call *ipc_call(struct ipc_client *c, uint16_t type, struct span body,
    uint64_t deadline_ms,
    void (*on_reply)(void *arg, const struct ipc_msg *msg, const struct err *err), void *arg);
void ipc_call_cancel(struct ipc_call *call); /* no callback will come */

/* --- link: two processes of one family, over a socketpair; both ends may speak, with descriptors
 * --- */
#define IPC_LINK_FDS 2 /* descriptors of one message */

struct ipc_link;

struct ipc_link_ops {
	/* The descriptors are the callee's to close. May free the link. */
	void (*on_message)(
	    void *arg, const struct ipc_msg *msg, const int fds[IPC_LINK_FDS], size_t fd_count);
	/* The other end has gone or broke the format; nothing more comes. Free the link. */
	void (*on_gone)(void *arg);
};

/* Takes over one end of a socketpair. */
struct ipc_link *ipc_link_new(struct loop *loop, int fd, const struct ipc_link_ops *ops, void *arg);
void ipc_link_free(struct ipc_link *l); /* closes at once; NULL is fine */
/* Copies, descriptors too. False if more than 4 MiB waits: then the message is not sent. */
bool ipc_link_send(struct ipc_link *l, uint16_t type, uint32_t id, struct span body, const int *fds,
    size_t fd_count);
int ipc_link_fd(const struct ipc_link *l);
/* Nothing waits to be sent, and no half of a message has come. */
bool ipc_link_is_idle(struct ipc_link *l);

/* --- synchronous client ----------------------------------------------------------------------- */
int ipc_sync_connect(const char *path, int timeout_ms, struct err *err); /* descriptor or -1 */
int ipc_sync_send(
    int fd, uint16_t type, uint32_t id, struct span body, int timeout_ms, struct err *err);
/* buf is reset and holds the body that msg->body points to. */
int ipc_sync_recv(int fd, struct strbuf *buf, struct ipc_msg *msg, int timeout_ms, struct err *err);

/* --- hints: datagrams that may get lost ------------------------------------------------------- */
struct hint_receiver;

/* Binds a datagram socket at path. Each datagram of exactly size bytes brings one call. */
struct hint_receiver *hint_receiver_new(struct loop *loop, const char *path, size_t size,
    void (*on_hint)(void *arg, struct span hint), void *arg, struct err *err);
void hint_receiver_free(struct hint_receiver *r);
/* Any thread; never blocks; nobody listening or a full socket is fine. fd from hint_socket(). */
int hint_socket(void);
/* False if the receiver has too many to read: it is there, and this one is lost. */
bool hint_send(int fd, const char *path, struct span hint);

#endif
