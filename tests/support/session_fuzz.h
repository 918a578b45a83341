/*
 * What the fuzz targets of whole IMAP and POP3 sessions share: the real session code on a socket
 * pair, a store on a memory disk, an authd of our own behind its socket, a client that sends an
 * input in pieces, and a clock that stands still, so that two runs can be compared.
 */
#ifndef MS_TESTS_SESSION_FUZZ_H
#define MS_TESTS_SESSION_FUZZ_H

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/daemon/role_int.h"
#include "common/event/clock.h"
#include "common/log/log.h"
#include "common/store/store.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ROUND 1500 /* runs after which the store begins anew */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];
static struct frame frame;
static struct bound bound;
static struct ipc_server *authd;
static struct store *store;
static uint64_t account; /* of the next login: each run has one of its own */
static unsigned runs;

static struct {
	int fd;
	struct span rest;
	const uint8_t *cuts;
	size_t cut_count, turn;
	bool is_shut;
	const struct list *sessions;
	struct strbuf heard;
	struct deferred step;
} client;

static void need(bool ok)
{
	if (!ok)
		abort();
}

/* --- the clock: instead of that of common/event ----------------------------------------------- */
uint64_t clock_mono_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t clock_mono_ms(void)
{
	return clock_mono_us() / 1000;
}

int64_t clock_now(void)
{
	return 1700000000;
}

int64_t clock_now_us(void)
{
	return clock_now() * 1000000;
}

/* --- authd: the password is "p" --------------------------------------------------------------- */
static void on_question(void *arg, const struct ipc_peer *peer, const struct ipc_msg *msg)
{
	struct ipc_login_result r = {.status = LOGIN_FAILED,
	    .account = account,
	    .address = SPAN("a@example.test"),
	    .text = span_make("", 0),
	    .quota_bytes = 200000,
	    .quota_messages = 100};
	struct ipc_login q;
	struct strbuf b;

	need(msg->type == IPC_AUTH_LOGIN && ipc_dec_login(msg->body, &q));
	if (span_eq(q.password, SPAN("p")))
		r.status = LOGIN_OK;
	strbuf_init(&b, 1024);
	ipc_enc_login_result(&b, &r);
	ipc_reply(authd, peer, msg->id, IPC_AUTH_RESULT, strbuf_span(&b));
	strbuf_clear(&b);
}

/* --- the store -------------------------------------------------------------------------------- */
static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void remove_folder(void)
{
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void on_failure(void *arg, const struct err *err)
{
	abort();
}

static void store_begin(void)
{
	static const struct ipc_server_ops ops = {.on_message = on_question};
	char path[128];
	struct store_options opt = {.loop = frame.role.loop,
	    .dir = path,
	    .map_size = (size_t)1 << 30,
	    .map_max = (size_t)1 << 30,
	    .inline_max = 65536,
	    .reader_threads = 1,
	    .batch_bytes = 1 << 20,
	    .expunged_seconds = 86400,
	    .on_failure = on_failure};
	struct err err = ERR_INIT;

	need(mkdir(folder, 0700) == 0);
	snprintf(path, sizeof(path), "%s/auth.sock", folder);
	authd = ipc_server_new(frame.role.loop, path, 0600, &ops, NULL, &err);
	need(authd != NULL);
	frame.role.authd = ipc_client_new(frame.role.loop, path);
	snprintf(path, sizeof(path), "%s/store", folder);
	need(mkdir(path, 0700) == 0 && store_open(&opt, &store, &err) == 0);
}

/* The store was closed. */
static void store_end(void)
{
	ipc_client_free(frame.role.authd);
	ipc_server_free(authd);
	remove_folder();
	runs = 0;
}

/* name: of the target; settings: a configuration. */
static void start_frame(const char *name, const char *settings, void *server)
{
	struct err err = ERR_INIT;

	setenv("MAILSTEAD_ALLOW_ROOT", "1", 1);
	snprintf(folder, sizeof(folder), "/dev/shm/fuzz-%s-%d", name, getpid());
	log_open("fuzz", 2);
	log_set_level(LOG_ERROR);
	need(config_parse(span_of(settings), &frame.role.cfg, &err) == 0);
	frame.role.loop = loop_new();
	frame.role.limits = limits_new(10, 10, 10);
	frame.role.ctx = server;
	list_init(&frame.bound);
	list_init(&frame.proxied);
	bound.frame = &frame;
	store_begin();
	atexit(remove_folder);
}

static const struct config_listener *listener_of(enum listener_role role)
{
	for (size_t i = 0; i < config_listener_count(frame.role.cfg); i++)
		if (config_listener(frame.role.cfg, i)->role == role)
			return config_listener(frame.role.cfg, i);
	abort();
}

/* --- the client ------------------------------------------------------------------------------- */
static void hear(void)
{
	char buf[4096];
	ssize_t n;

	while ((n = recv(client.fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		strbuf_add_mem(&client.heard, buf, (size_t)n);
}

/* Once a turn: what was answered, and the next piece. */
static void on_step(void *arg)
{
	size_t n = client.cut_count == 0 ? client.rest.n
					 : 1u + client.cuts[client.turn++ % client.cut_count] % 61u;

	hear();
	if (n > client.rest.n)
		n = client.rest.n;
	if (n > 0) {
		ssize_t sent = send(client.fd, client.rest.p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent >= 0)
			client.rest = span_from(client.rest, (size_t)sent);
		else if (errno != EAGAIN)
			client.rest.n = 0;
	} else if (!client.is_shut) {
		client.is_shut = true;
		(void)shutdown(client.fd, SHUT_WR);
	}
	if (list_is_empty(client.sessions) && client.is_shut)
		loop_stop(frame.role.loop);
	else
		loop_defer(frame.role.loop, &client.step);
}

/* A session from its greeting to its end; what was heard is in client.heard, the caller's. */
static void run_session(struct span in, const uint8_t *cuts, size_t cut_count,
    enum listener_role role, const struct list *sessions,
    void (*start)(struct role_listener *l, int fd, const struct net_addr *peer))
{
	struct net_addr peer = {.family = AF_UNIX};
	struct err err = ERR_INIT;
	int ends[2];

	need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	bound.pub.cfg = listener_of(role);
	need(limits_enter(frame.role.limits, &peer, &err) == 0);
	bound.pub.current = 1;
	client.fd = ends[1];
	client.rest = in;
	client.cuts = cuts;
	client.cut_count = cut_count;
	client.turn = 0;
	client.is_shut = false;
	client.sessions = sessions;
	client.step = (struct deferred){.fn = on_step};
	strbuf_init(&client.heard, (size_t)16 << 20);
	start(&bound.pub, ends[0], &peer);
	loop_defer(frame.role.loop, &client.step);
	loop_run(frame.role.loop);
	hear();
	close(ends[1]);
	need(!client.heard.failed);
	need(bound.pub.current == 0 && limits_total(frame.role.limits) == 0);
	runs++;
}

#endif
