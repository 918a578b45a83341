/*
 * A link's bytes are frames like everywhere; descriptors travel with the first byte of their frame
 * and arrive in its order, so a queue of those that came is all it takes to match them.
 */
#include "common/ipc/frame.h"

#include "common/base/mem.h"
#include "common/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Pings are small, and what was read is wiped: what is never used is not touched. */
#define READ_SIZE (4 * 1024)
#define FDS_A_READ 64
#define FDS_WAITING_MAX 256

/* Descriptors on their way out, and the byte of the stream they belong to. */
struct parcel {
	struct list link;
	uint64_t at;
	int fds[IPC_LINK_FDS];
	size_t count;
};

struct ipc_link {
	struct loop *loop;
	int fd;
	struct watch watch;
	struct deferred flush;
	const struct ipc_link_ops *ops;
	void *arg;
	struct strbuf in, out;
	uint64_t sent; /* bytes since the beginning */
	struct list parcels;
	int came[FDS_WAITING_MAX];
	size_t came_count;
	bool is_broken, *is_freed; /* set while a callback runs that may free us */
};

static void parcel_free(struct parcel *p)
{
	list_remove(&p->link);
	for (size_t i = 0; i < p->count; i++)
		close(p->fds[i]);
	mem_free(p);
}

/* Keys pass here: nothing of them stays in memory that is given back. */
static void wipe_and_clear(struct strbuf *b)
{
	mem_wipe(b->p, b->cap);
	strbuf_clear(b);
}

/* --- out -------------------------------------------------------------------------------------- */
/* Up to the next frame with descriptors; with those of the frame that begins here. */
static ssize_t send_some(struct ipc_link *l)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(IPC_LINK_FDS * sizeof(int))];
	} control;
	struct iovec io = {.iov_base = l->out.p, .iov_len = l->out.n};
	struct msghdr msg = {.msg_iov = &io, .msg_iovlen = 1};
	struct parcel *first = NULL;

	LIST_EACH (it, &l->parcels) {
		struct parcel *p = container_of(it, struct parcel, link);

		if (p->at != l->sent) {
			io.iov_len = (size_t)(p->at - l->sent);
			break;
		}
		first = p;
	}
	if (first) {
		memset(&control, 0, sizeof(control));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(first->count * sizeof(int));
		memcpy(CMSG_DATA(&control.align), first->fds, first->count * sizeof(int));
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(first->count * sizeof(int));
	}
	ssize_t n = sendmsg(l->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0 && first)
		parcel_free(first);
	return n;
}

static void write_out(struct ipc_link *l)
{
	while (l->out.n > 0 && !l->is_broken) {
		ssize_t n = send_some(l);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			l->is_broken = true; /* the end of file tells of it */
			break;
		}
		l->sent += (uint64_t)n;
		strbuf_drop_front(&l->out, (size_t)n);
	}
	if (l->out.n == 0)
		wipe_and_clear(&l->out);
	watch_set(&l->watch, WATCH_READ | (l->out.n > 0 && !l->is_broken ? WATCH_WRITE : 0));
}

static void on_flush(void *arg)
{
	write_out(arg);
}

bool ipc_link_send(struct ipc_link *l, uint16_t type, uint32_t id, struct span body, const int *fds,
    size_t fd_count)
{
	uint64_t at = l->sent + l->out.n;
	struct parcel *p;

	frame_add_fds(&l->out, type, (uint16_t)fd_count, id, body);
	if (l->out.failed) {
		l->out.failed = false; /* whole frames only: the others are not hurt */
		return false;
	}
	loop_defer(l->loop, &l->flush);
	if (fd_count == 0)
		return true;
	p = mem_zalloc(sizeof(*p));
	p->at = at;
	for (; p->count < fd_count; p->count++) {
		p->fds[p->count] = fcntl(fds[p->count], F_DUPFD_CLOEXEC, 3);
		if (p->fds[p->count] < 0)
			fatal("no descriptor left for a message");
	}
	list_append(&l->parcels, &p->link);
	return true;
}

/* --- in --------------------------------------------------------------------------------------- */
static bool take_fds(struct ipc_link *l, struct msghdr *msg)
{
	bool ok = !(msg->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (l->came_count == FDS_WAITING_MAX) {
				close(fd);
				ok = false;
			} else {
				l->came[l->came_count++] = fd;
			}
		}
	}
	return ok;
}

static bool read_some(struct ipc_link *l)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_A_READ * sizeof(int))];
	} control;
	struct iovec io;
	struct msghdr msg = {.msg_iov = &io,
	    .msg_iovlen = 1,
	    .msg_control = control.bytes,
	    .msg_controllen = sizeof(control.bytes)};
	char *room = strbuf_room(&l->in, READ_SIZE);
	ssize_t n;

	if (!room)
		return false;
	io = (struct iovec){.iov_base = room, .iov_len = READ_SIZE};
	n = recvmsg(l->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	strbuf_added(&l->in, (size_t)n);
	return take_fds(l, &msg) && n > 0;
}

/* False: the format is broken. */
static bool take_messages(struct ipc_link *l, bool *is_freed)
{
	struct ipc_msg msg;
	uint16_t count;
	int got;

	while ((got = frame_take_fds(strbuf_span(&l->in), &msg, IPC_LINK_FDS, &count)) == 1) {
		int fds[IPC_LINK_FDS] = {-1, -1};
		size_t n = FRAME_HEAD + msg.body.n;

		if (count > l->came_count)
			return false;
		memcpy(fds, l->came, count * sizeof(int));
		l->came_count -= count;
		memmove(l->came, l->came + count, l->came_count * sizeof(int));
		l->ops->on_message(l->arg, &msg, fds, count);
		if (*is_freed)
			return true;
		mem_wipe(l->in.p, n);
		strbuf_drop_front(&l->in, n);
	}
	if (l->in.n == 0)
		wipe_and_clear(&l->in);
	return got == 0;
}

static void on_ready(void *arg, unsigned ready)
{
	struct ipc_link *l = arg;
	bool is_freed = false, is_open;

	if (ready & WATCH_WRITE)
		write_out(l);
	if (!(ready & WATCH_READ))
		return;
	is_open = read_some(l);
	l->is_freed = &is_freed;
	if (!take_messages(l, &is_freed)) {
		log_error("link-format");
		is_open = false;
	}
	if (is_freed)
		return;
	l->is_freed = NULL;
	if (!is_open) {
		watch_set(&l->watch, 0);
		l->is_broken = true;
		l->ops->on_gone(l->arg);
	}
}

struct ipc_link *ipc_link_new(struct loop *loop, int fd, const struct ipc_link_ops *ops, void *arg)
{
	struct ipc_link *l = mem_zalloc(sizeof(*l));

	l->loop = loop;
	l->fd = fd;
	l->ops = ops;
	l->arg = arg;
	l->flush = (struct deferred){.fn = on_flush, .arg = l};
	list_init(&l->parcels);
	strbuf_init(&l->in, FRAME_HEAD + IPC_BODY_MAX + READ_SIZE);
	strbuf_init(&l->out, FRAME_OUT_MAX);
	watch_init(&l->watch, loop, fd, on_ready, l);
	watch_set(&l->watch, WATCH_READ);
	return l;
}

void ipc_link_free(struct ipc_link *l)
{
	if (!l)
		return;
	if (l->is_freed)
		*l->is_freed = true;
	deferred_cancel(&l->flush);
	watch_clear(&l->watch);
	close(l->fd);
	while (!list_is_empty(&l->parcels))
		parcel_free(container_of(l->parcels.next, struct parcel, link));
	for (size_t i = 0; i < l->came_count; i++)
		close(l->came[i]);
	wipe_and_clear(&l->in);
	wipe_and_clear(&l->out);
	mem_free(l);
}

int ipc_link_fd(const struct ipc_link *l)
{
	return l->fd;
}

bool ipc_link_is_idle(struct ipc_link *l)
{
	write_out(l);
	return l->out.n == 0 && l->in.n == 0 && l->came_count == 0;
}
