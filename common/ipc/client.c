#include "common/ipc/frame.h"

#include "common/base/mem.h"
#include "common/event/clock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKOFF_MIN_MS 10
#define BACKOFF_MAX_MS 1000

struct ipc_call {
	struct list link;
	struct ipc_client *client;
	uint32_t id;
	bool is_sent, was_lost;
	uint16_t type;
	char *body; /* may be sent again */
	size_t body_n;
	struct timer deadline;
	struct deferred
	    fail; /* an error is told at the end of the turn, never from inside a call */
	struct err err;
	void (*on_reply)(void *arg, const struct ipc_msg *msg, const struct err *err);
	void *arg;
};

struct ipc_client {
	struct loop *loop;
	char *path;
	bool is_connected;
	struct frame_io io;
	struct list calls;
	uint32_t next_id;
	uint64_t backoff;
	struct timer retry;
	struct deferred flush; /* calls of one turn go out together */
};

static void call_free(struct ipc_call *k)
{
	list_remove(&k->link);
	timer_clear(&k->deadline);
	deferred_cancel(&k->fail);
	mem_free_secret(k->body, k->body_n);
	mem_free(k);
}

static void call_end(struct ipc_call *k, const struct ipc_msg *msg, const struct err *err)
{
	void (*on_reply)(void *, const struct ipc_msg *, const struct err *) = k->on_reply;
	void *arg = k->arg;
	struct err copy = err ? *err : (struct err)ERR_INIT;

	call_free(k);
	on_reply(arg, msg, err ? &copy : NULL);
}

static void on_call_fail(void *arg)
{
	struct ipc_call *k = arg;

	call_end(k, NULL, &k->err);
}

static void on_call_deadline(void *arg)
{
	struct ipc_call *k = arg;
	struct err err;

	if (k->client->is_connected)
		err_set(&err, ERR_TIMEOUT, "no answer in time from %s", k->client->path);
	else
		err_set(&err, ERR_TEMP, "%s cannot be reached", k->client->path);
	call_end(k, NULL, &err);
}

static void call_send(struct ipc_call *k)
{
	struct ipc_client *c = k->client;

	frame_add(&c->io.out, k->type, k->id, span_make(k->body, k->body_n));
	if (c->io.out.failed) {
		/* A frame is added whole or not at all, so the others are not hurt. */
		c->io.out.failed = false;
		err_set(&k->err, ERR_TEMP, "too much waits for %s", c->path);
		loop_defer(c->loop, &k->fail);
		return;
	}
	k->is_sent = true;
}

static void on_client_ready(void *arg, unsigned ready);

/* What was sent waits for the next connection, once: a request that ends its server must not do so
 * for ever. */
static void disconnected(struct ipc_client *c)
{
	frame_io_clear(&c->io);
	c->is_connected = false;
	timer_set(&c->retry, c->backoff);
	LIST_EACH (it, &c->calls) {
		struct ipc_call *k = container_of(it, struct ipc_call, link);

		if (!k->is_sent)
			continue;
		k->is_sent = false;
		if (!k->was_lost) {
			k->was_lost = true;
			continue;
		}
		err_set(&k->err, ERR_TEMP, "the connection to %s was lost", c->path);
		loop_defer(c->loop, &k->fail);
	}
}

static void flush(void *arg)
{
	struct ipc_client *c = arg;

	if (c->is_connected && !frame_io_write(&c->io))
		disconnected(c);
}

static void connect_now(void *arg)
{
	struct ipc_client *c = arg;
	struct sockaddr_un sun;
	int fd;

	c->backoff = c->backoff * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : c->backoff * 2;
	if (frame_address(c->path, &sun, NULL) < 0)
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* A unix socket connects at once or, with a full backlog, not now. */
	if (fd < 0 || connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		if (fd >= 0)
			close(fd);
		timer_set(&c->retry, c->backoff);
		return;
	}
	frame_io_init(&c->io, c->loop, fd, on_client_ready, c);
	c->is_connected = true;
	c->backoff = BACKOFF_MIN_MS;
	LIST_EACH (it, &c->calls) {
		struct ipc_call *k = container_of(it, struct ipc_call, link);

		if (!k->is_sent && !list_is_linked(&k->fail.link))
			call_send(k);
	}
	flush(c);
}

static struct ipc_call *find_call(struct ipc_client *c, uint32_t id)
{
	LIST_EACH (it, &c->calls) {
		struct ipc_call *k = container_of(it, struct ipc_call, link);

		if (k->id == id && k->is_sent && !list_is_linked(&k->fail.link))
			return k;
	}
	return NULL;
}

static bool take_answers(struct ipc_client *c)
{
	struct strbuf in = c->io.in;
	struct ipc_msg msg;
	size_t taken = 0;
	int got;

	/* A callback may free the client's other calls, but not the client. */
	while ((got = frame_take(span_from(strbuf_span(&in), taken), &msg)) == 1) {
		struct ipc_call *k = find_call(c, msg.id);

		taken += FRAME_HEAD + msg.body.n;
		if (k)
			call_end(k, &msg, NULL);
		if (!c->is_connected)
			return true;
	}
	mem_wipe(c->io.in.p, taken);
	strbuf_drop_front(&c->io.in, taken);
	if (c->io.in.n == 0)
		strbuf_clear(&c->io.in);
	return got == 0;
}

static void on_client_ready(void *arg, unsigned ready)
{
	struct ipc_client *c = arg;

	if (ready & WATCH_WRITE)
		flush(c);
	if (!(ready & WATCH_READ) || !c->is_connected)
		return;
	if (!frame_io_read(&c->io) || !take_answers(c))
		disconnected(c);
}

struct ipc_client *ipc_client_new(struct loop *loop, const char *path)
{
	struct ipc_client *c = mem_zalloc(sizeof(*c));

	c->loop = loop;
	c->path = mem_strdup(path);
	c->backoff = BACKOFF_MIN_MS;
	list_init(&c->calls);
	timer_init(&c->retry, loop, connect_now, c);
	c->flush = (struct deferred){.fn = flush, .arg = c};
	connect_now(c);
	return c;
}

void ipc_client_free(struct ipc_client *c)
{
	if (!c)
		return;
	while (!list_is_empty(&c->calls))
		call_free(container_of(c->calls.next, struct ipc_call, link));
	if (c->is_connected)
		frame_io_clear(&c->io);
	timer_clear(&c->retry);
	deferred_cancel(&c->flush);
	mem_free(c->path);
	mem_free(c);
}

bool ipc_client_is_connected(const struct ipc_client *c)
{
	return c->is_connected;
}

struct ipc_call *ipc_call(struct ipc_client *c, uint16_t type, struct span body,
    uint64_t deadline_ms, void (*on_reply)(void *, const struct ipc_msg *, const struct err *),
    void *arg)
{
	struct ipc_call *k = mem_zalloc(sizeof(*k));

	k->client = c;
	k->id = ++c->next_id;
	k->type = type;
	k->body = mem_dup(body.p, body.n);
	k->body_n = body.n;
	k->on_reply = on_reply;
	k->arg = arg;
	k->fail = (struct deferred){.fn = on_call_fail, .arg = k};
	timer_init(&k->deadline, c->loop, on_call_deadline, k);
	timer_set(&k->deadline, deadline_ms);
	list_append(&c->calls, &k->link);
	/* Not written here: a broken connection would take the frame away that an on_reply is
	 * still reading. */
	if (c->is_connected) {
		call_send(k);
		loop_defer(c->loop, &c->flush);
	}
	return k;
}

void ipc_call_cancel(struct ipc_call *call)
{
	call_free(call);
}
