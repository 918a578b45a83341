#include "common/ipc/frame.h"

#include "common/base/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_SIZE (16 * 1024)

void frame_add_fds(struct strbuf *out, uint16_t type, uint16_t fds, uint32_t id, struct span body)
{
	unsigned char head[FRAME_HEAD] = {0};

	if (body.n > IPC_BODY_MAX) {
		out->failed = true;
		return;
	}
	be_put32(head, (uint32_t)body.n);
	be_put16(head + 4, type);
	be_put16(head + 6, fds);
	be_put32(head + 8, id);
	/* All or nothing: half a frame would shift everything behind it. */
	if (!strbuf_room(out, FRAME_HEAD + body.n))
		return;
	strbuf_add_mem(out, head, sizeof(head));
	strbuf_add(out, body);
}

void frame_add(struct strbuf *out, uint16_t type, uint32_t id, struct span body)
{
	frame_add_fds(out, type, 0, id, body);
}

int frame_take_fds(struct span in, struct ipc_msg *msg, uint16_t fds_max, uint16_t *fds)
{
	uint32_t n;

	if (in.n < FRAME_HEAD)
		return 0;
	n = be_get32(in.p);
	*fds = be_get16(in.p + 6);
	if (n > IPC_BODY_MAX || *fds > fds_max)
		return -1;
	if (in.n - FRAME_HEAD < n)
		return 0;
	msg->type = be_get16(in.p + 4);
	msg->id = be_get32(in.p + 8);
	msg->body = span_sub(in, FRAME_HEAD, n);
	return 1;
}

int frame_take(struct span in, struct ipc_msg *msg)
{
	uint16_t fds;

	return frame_take_fds(in, msg, 0, &fds);
}

int frame_address(const char *path, struct sockaddr_un *sun, struct err *err)
{
	size_t n = strlen(path);

	memset(sun, 0, sizeof(*sun));
	sun->sun_family = AF_UNIX;
	if (n >= sizeof(sun->sun_path))
		return err_set(err, ERR_INVALID, "socket path %.60s... has %zu bytes, at most %zu",
		    path, n, sizeof(sun->sun_path) - 1);
	memcpy(sun->sun_path, path, n);
	return 0;
}

void frame_identify(const char *path, dev_t *dev, ino_t *ino)
{
	struct stat st = {0};

	(void)lstat(path, &st);
	*dev = st.st_dev;
	*ino = st.st_ino;
}

void frame_unlink(const char *path, dev_t dev, ino_t ino)
{
	struct stat st;

	if (lstat(path, &st) == 0 && st.st_dev == dev && st.st_ino == ino)
		(void)unlink(path);
}

void frame_io_init(struct frame_io *io, struct loop *loop, int fd,
    void (*fn)(void *arg, unsigned ready), void *arg)
{
	io->fd = fd;
	strbuf_init(&io->in, FRAME_HEAD + IPC_BODY_MAX + READ_SIZE);
	strbuf_init(&io->out, FRAME_OUT_MAX);
	watch_init(&io->watch, loop, fd, fn, arg);
	watch_set(&io->watch, WATCH_READ);
}

void frame_io_clear(struct frame_io *io)
{
	watch_clear(&io->watch);
	close(io->fd);
	io->fd = -1;
	mem_wipe(io->in.p, io->in.cap);
	mem_wipe(io->out.p, io->out.cap);
	strbuf_clear(&io->in);
	strbuf_clear(&io->out);
}

bool frame_io_read(struct frame_io *io)
{
	char buf[READ_SIZE];
	ssize_t n = recv(io->fd, buf, sizeof(buf), 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	/* Passwords pass here: nothing of them stays on the stack. */
	strbuf_add_mem(&io->in, buf, (size_t)n);
	explicit_bzero(buf, (size_t)n);
	return n > 0 && !io->in.failed;
}

bool frame_io_write(struct frame_io *io)
{
	while (io->out.n > 0) {
		ssize_t n = send(io->fd, io->out.p, io->out.n, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return false;
		strbuf_drop_front(&io->out, (size_t)n);
	}
	/* Keys pass here. */
	if (io->out.n == 0) {
		mem_wipe(io->out.p, io->out.cap);
		strbuf_clear(&io->out);
	}
	watch_set(&io->watch, WATCH_READ | (io->out.n > 0 ? WATCH_WRITE : 0));
	return true;
}
