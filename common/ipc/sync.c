#include "common/ipc/frame.h"

#include "common/base/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void set_timeout(int fd, int timeout_ms)
{
	struct timeval tv = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

int ipc_sync_connect(const char *path, int timeout_ms, struct err *err)
{
	struct sockaddr_un sun;
	int fd;

	if (frame_address(path, &sun, err) < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, errno, "socket");
	set_timeout(fd, timeout_ms);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		err_errno(err, errno, "%s", path);
		close(fd);
		return -1;
	}
	return fd;
}

int ipc_sync_send(
    int fd, uint16_t type, uint32_t id, struct span body, int timeout_ms, struct err *err)
{
	struct strbuf out;
	size_t sent = 0;
	int result = 0;

	strbuf_init(&out, FRAME_HEAD + IPC_BODY_MAX);
	frame_add(&out, type, id, body);
	if (out.failed)
		result = err_set(err, ERR_LIMIT, "the request is too long");
	set_timeout(fd, timeout_ms);
	while (result == 0 && sent < out.n) {
		ssize_t n = send(fd, out.p + sent, out.n - sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			result = err_errno(err, errno, "send");
		else
			sent += (size_t)n;
	}
	mem_wipe(out.p, out.cap);
	strbuf_clear(&out);
	return result;
}

static int recv_exactly(int fd, struct strbuf *buf, size_t n, struct err *err)
{
	while (n > 0) {
		char part[16 * 1024];
		ssize_t got = recv(fd, part, n < sizeof(part) ? n : sizeof(part), 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(err, errno, "receive");
		if (got == 0)
			return err_set(err, ERR_CLOSED, "the other side closed the connection");
		if (!strbuf_add_mem(buf, part, (size_t)got))
			return err_set(err, ERR_LIMIT, "the answer is too long");
		explicit_bzero(part, (size_t)got);
		n -= (size_t)got;
	}
	return 0;
}

int ipc_sync_recv(int fd, struct strbuf *buf, struct ipc_msg *msg, int timeout_ms, struct err *err)
{
	struct strbuf frame;
	int result = -1;

	strbuf_init(&frame, FRAME_HEAD + IPC_BODY_MAX);
	strbuf_reset(buf);
	set_timeout(fd, timeout_ms);
	if (recv_exactly(fd, &frame, FRAME_HEAD, err) < 0)
		goto out;
	if (frame_take(strbuf_span(&frame), msg) < 0) {
		err_set(err, ERR_INVALID, "the other side does not speak our format");
		goto out;
	}
	(void)strbuf_room(&frame, be_get32(frame.p));
	if (recv_exactly(fd, &frame, be_get32(frame.p), err) < 0)
		goto out;
	if (frame_take(strbuf_span(&frame), msg) != 1 || !strbuf_add(buf, msg->body)) {
		err_set(err, ERR_LIMIT, "the answer is too long");
		goto out;
	}
	msg->body = strbuf_span(buf);
	result = 0;
out:
	mem_wipe(frame.p, frame.cap);
	strbuf_clear(&frame);
	return result;
}
