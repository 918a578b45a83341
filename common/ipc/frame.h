/* The frame, shared by server, client and the synchronous calls. */
#ifndef MS_IPC_FRAME_H
#define MS_IPC_FRAME_H

#include "common/ipc/ipc.h"

#include <sys/un.h>

#define FRAME_HEAD 12
#define FRAME_OUT_MAX (4 * 1024 * 1024)

void frame_add(struct strbuf *out, uint16_t type, uint32_t id, struct span body);
/* The same with the number of descriptors that come along; in all other frames it is 0. */
void frame_add_fds(struct strbuf *out, uint16_t type, uint16_t fds, uint32_t id, struct span body);
/* 1 and the message at the front of in (take FRAME_HEAD + msg->body.n bytes), 0 if it is not whole
 * yet, -1 if it breaks the format. */
int frame_take(struct span in, struct ipc_msg *msg);
int frame_take_fds(struct span in, struct ipc_msg *msg, uint16_t fds_max, uint16_t *fds);
int frame_address(const char *path, struct sockaddr_un *sun, struct err *err);

/* Which file a socket's path is; and taking it away, unless another process has put its own there
 * since. */
void frame_identify(const char *path, dev_t *dev, ino_t *ino);
void frame_unlink(const char *path, dev_t dev, ino_t ino);

/* One buffered non-blocking unix connection. */
struct frame_io {
	int fd;
	struct watch watch;
	struct strbuf in, out;
};

void frame_io_init(struct frame_io *io, struct loop *loop, int fd,
    void (*fn)(void *arg, unsigned ready), void *arg);
void frame_io_clear(struct frame_io *io); /* closes */
bool frame_io_read(struct frame_io *io);  /* false: closed or broken */
bool frame_io_write(struct frame_io *io); /* false: broken */

#endif
