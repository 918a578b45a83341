#include "common/ipc/frame.h"

#include "common/base/mem.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define HINT_MAX 256
#define HINTS_A_TURN 256

struct hint_receiver {
	int fd;
	char *path;
	dev_t dev; /* of the socket at path */
	ino_t ino;
	size_t size;
	struct watch watch;
	void (*on_hint)(void *arg, struct span hint);
	void *arg;
};

static void on_datagram(void *arg, unsigned ready)
{
	struct hint_receiver *r = arg;
	unsigned char buf[HINT_MAX];

	for (int i = 0; i < HINTS_A_TURN; i++) {
		ssize_t n = recv(r->fd, buf, sizeof(buf), MSG_TRUNC);

		if (n < 0)
			return;
		if ((size_t)n == r->size)
			r->on_hint(r->arg, span_make(buf, (size_t)n));
	}
}

struct hint_receiver *hint_receiver_new(struct loop *loop, const char *path, size_t size,
    void (*on_hint)(void *arg, struct span hint), void *arg, struct err *err)
{
	struct hint_receiver *r;
	struct sockaddr_un sun;
	int fd;

	if (size > HINT_MAX)
		fatal("hints of at most %d bytes", HINT_MAX);
	if (frame_address(path, &sun, err) < 0)
		return NULL;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		err_errno(err, errno, "socket for %s", path);
		return NULL;
	}
	(void)unlink(path);
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || chmod(path, 0660) < 0) {
		err_errno(err, errno, "%s", path);
		close(fd);
		return NULL;
	}
	r = mem_zalloc(sizeof(*r));
	*r = (struct hint_receiver){.fd = fd, .size = size, .on_hint = on_hint, .arg = arg};
	r->path = mem_strdup(path);
	frame_identify(path, &r->dev, &r->ino);
	watch_init(&r->watch, loop, fd, on_datagram, r);
	watch_set(&r->watch, WATCH_READ);
	return r;
}

void hint_receiver_free(struct hint_receiver *r)
{
	if (!r)
		return;
	watch_clear(&r->watch);
	close(r->fd);
	frame_unlink(r->path, r->dev, r->ino);
	mem_free(r->path);
	mem_free(r);
}

int hint_socket(void)
{
	return socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

bool hint_send(int fd, const char *path, struct span hint)
{
	struct sockaddr_un sun;

	if (fd < 0 || frame_address(path, &sun, NULL) < 0)
		return true;
	return sendto(fd, hint.p, hint.n, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&sun,
		   sizeof(sun)) >= 0 ||
	       errno != EAGAIN;
}
