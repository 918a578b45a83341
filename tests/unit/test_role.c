/* The life of a role and of its monitor, as processes: start and its errors, ready, status, limits,
 * reload that is taken or refused as a whole, drain, the second SIGTERM. The role's program is this
 * one, under another name. */
#include "common/base/mem.h"
#include "common/daemon/monitor.h"
#include "common/daemon/role.h"
#include "common/net/conn.h"
#include "tests/support/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];
static uint16_t port, other_port;
static pid_t child; /* the monitor, "watcher" */
static int output;  /* what they say on stderr */

/* --- a role: says hello, ends a session at any input -------------------------------------------
 */
struct session {
	struct conn *c;
	struct role *r;
	struct role_listener *l;
	struct net_addr peer;
};

static unsigned session_count;

static void session_over(void *arg)
{
	struct session *s = arg;

	conn_write(s->c, SPAN("bye\r\n"));
	conn_close(s->c);
	role_connection_gone(s->r, s->l, &s->peer);
	if (--session_count == 0 && s->r->is_draining)
		role_finished(s->r);
	mem_free(s);
}

static void on_close(void *arg, const struct err *why)
{
	session_over(arg);
}

static const struct conn_ops session_ops = {.on_input = session_over, .on_close = on_close};

static int role_start(struct role *r, struct err *err)
{
	if (strcmp(config_str(r->cfg, SET_SERVER_HOSTNAME), "fail.example") == 0)
		return err_set(err, ERR_CORRUPT, "the role does not like this host");
	return 0;
}

static void role_accept(
    struct role *r, struct role_listener *l, int fd, const struct net_addr *peer)
{
	struct session *s = mem_zalloc(sizeof(*s));

	*s = (struct session){.r = r, .l = l, .peer = *peer};
	s->c = conn_new(r->loop, fd, peer, NULL, &session_ops, s);
	session_count++;
	conn_writef(s->c, "hello from %s\r\n", l->cfg->hostname);
}

static void role_refuse(struct role *r, struct role_listener *l, int fd,
    const struct net_addr *peer, const struct err *why)
{
	(void)!send(fd, "refused\r\n", 9, MSG_NOSIGNAL);
	close(fd);
}

static void role_drain(struct role *r)
{
	if (session_count == 0)
		role_finished(r);
}

static void role_admin(struct role *r, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	if (span_eq(cmd->words[0], SPAN("mine")))
		admin_end(rq, ERR_NONE, "%s", "yours");
	else
		admin_end(rq, ERR_UNSUPPORTED, "no such verb");
}

static void role_status(struct role *r, struct strbuf *record)
{
	ipc_rec_number(record, "sessions", IPC_NUMBER, session_count);
}

static const struct role_ops ops = {.name = "tester",
    .serving = &role_serving,
    .roles = 1u << ROLE_POP3,
    .full_reply = "full\r\n",
    .start = role_start,
    .on_accept = role_accept,
    .on_refuse = role_refuse,
    .on_drain = role_drain,
    .on_admin = role_admin,
    .status = role_status};

static const struct monitor_role role = {
    .name = "tester", .who = WHO_POP3, .listeners = 1u << ROLE_POP3};
static const struct monitor_spec watcher = {"watcher", &role, 1, {NULL}};

/* --- the test's side -------------------------------------------------------------------------- */
static const char *in_dir(const char *name)
{
	static char path[4][128];
	static unsigned turn;
	char *out = path[turn++ % 4];

	snprintf(out, sizeof(path[0]), "%s/%s", dir, name);
	return out;
}

static void write_conf(const char *more)
{
	FILE *out = fopen(in_dir("mailstead.conf"), "w");

	ck_assert_ptr_nonnull(out);
	fprintf(out,
	    "paths.state = %s\npaths.run = %s\npaths.libexec = %s/bin\nlistener.pop3s.enabled = "
	    "no\n"
	    "listener.pop3.tls = none\n%s",
	    dir, dir, dir, more);
	fclose(out);
}

/* A port that is free now. */
static uint16_t free_port(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	close(fd);
	return ntohs(in.sin_port);
}

static const char *listener(uint16_t at, const char *more)
{
	static char text[1024];

	snprintf(text, sizeof(text),
	    "listener.pop3.address = 127.0.0.1\nlistener.pop3.port = %u\n%s", at, more);
	return text;
}

static void start(void)
{
	char program[] = "watcher", flag[] = "-c", conf[128];
	int ends[2];

	snprintf(conf, sizeof(conf), "%s", in_dir("mailstead.conf"));
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	child = fork();
	if (child == 0) {
		dup2(ends[1], 2);
		signal(SIGTERM, SIG_DFL);
		_exit(monitor_main(3, (char *[]){program, flag, conf, NULL}, &watcher));
	}
	close(ends[1]);
	output = ends[0];
}

/* Reads what the child says until it says want. */
static void expect_output(const char *want)
{
	static char text[65536];
	size_t n = 0;

	text[0] = '\0';
	while (!strstr(text, want)) {
		ssize_t got = read(output, text + n, sizeof(text) - 1 - n);

		ck_assert_msg(got > 0, "\"%s\" is not in \"%s\"", want, text);
		n += (size_t)got;
		text[n] = '\0';
	}
}

static int exit_status(void)
{
	int status;

	ck_assert_int_eq(waitpid(child, &status, 0), child);
	child = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int dial(uint16_t at)
{
	struct sockaddr_in in = {
	    .sin_family = AF_INET, .sin_port = htons(at), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(fd, (struct sockaddr *)&in, sizeof(in)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void expect_line(int fd, const char *want)
{
	char line[128];
	size_t n = 0;

	ck_assert_int_ge(fd, 0);
	while (n < sizeof(line) - 1 && recv(fd, line + n, 1, 0) == 1 && line[n++] != '\n')
		;
	line[n] = '\0';
	ck_assert_str_eq(line, want);
}

/* Asks a control socket; records come as "name=value " in out, the end's text behind them. */
static enum err_code ask(const char *whom, const char *verb, char *out, size_t cap)
{
	struct ipc_admin cmd = {.count = 0};
	struct span rest = span_of(verb);
	struct strbuf body, buf;
	struct ipc_error end = {0};
	struct ipc_msg msg;
	struct err err;
	char path[64];
	int fd;

	while (verb[0] && span_split(&rest, ' ', &cmd.words[cmd.count]))
		cmd.count++;
	snprintf(path, sizeof(path), "%s/ctl", whom);
	fd = ipc_sync_connect(in_dir(path), 10000, &err);

	ck_assert_msg(fd >= 0, "%s", err.text);
	strbuf_init(&body, 4096);
	strbuf_init(&buf, IPC_BODY_MAX);
	ipc_enc_admin(&body, &cmd);
	ck_assert_int_eq(ipc_sync_send(fd, IPC_ADMIN, 1, strbuf_span(&body), 10000, &err), 0);
	out[0] = '\0';
	do {
		struct ipc_value v;
		struct dec d;

		ck_assert_msg(ipc_sync_recv(fd, &buf, &msg, 20000, &err) == 0, "%s", err.text);
		d = dec_of(msg.body);
		while (msg.type == IPC_ADMIN_RECORD && ipc_rec_next(&d, &v)) {
			size_t n = strlen(out);

			if (v.type == IPC_TEXT)
				snprintf(out + n, cap - n, "%.*s=%.*s ", SPAN_FMT(v.name),
				    SPAN_FMT(v.text));
			else
				snprintf(out + n, cap - n, "%.*s=%llu ", SPAN_FMT(v.name),
				    (unsigned long long)v.number);
		}
	} while (msg.type == IPC_ADMIN_RECORD);
	ck_assert(ipc_dec_error(msg.body, &end));
	snprintf(out + strlen(out), cap - strlen(out), "%.*s", SPAN_FMT(end.text));
	strbuf_clear(&body);
	strbuf_clear(&buf);
	close(fd);
	return (enum err_code)end.code;
}

/* As authd does it: the files as they are, prepared, then committed. */
static enum err_code reload(char *out, size_t cap)
{
	enum err_code code = ask("watcher", "prepare 1 now", out, cap);

	return code == ERR_NONE ? ask("watcher", "commit 1", out, cap) : code;
}

static void setup(void)
{
	char self[PATH_MAX] = "";

	snprintf(dir, sizeof(dir), "/tmp/mailstead-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_gt(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
	ck_assert_int_eq(mkdir(in_dir("bin"), 0700), 0);
	ck_assert_int_eq(symlink(self, in_dir("bin/tester")), 0);
	port = free_port();
	other_port = free_port();
	child = 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

static void teardown(void)
{
	if (child > 0) {
		kill(child, SIGKILL); /* its role ends with it */
		waitpid(child, NULL, 0);
	}
	close(output);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void started(const char *conf)
{
	write_conf(conf);
	start();
	expect_output("event=program-ready program=tester");
}

/* --- tests ------------------------------------------------------------------------------------ */
START_TEST(start_errors)
{
	char want[256];
	int held;

	write_conf("listener.pop3.port = x\n");
	start();
	snprintf(want, sizeof(want),
	    "watcher: %s:6: listener.pop3.port: found \"x\", expected a number",
	    in_dir("mailstead.conf"));
	expect_output(want);
	ck_assert_int_eq(exit_status(), 1);
	close(output);

	write_conf(listener(port, "server.hostname = fail.example\n"));
	start();
	expect_output("tester: the role does not like this host");
	ck_assert_int_eq(exit_status(), 1);
	close(output);

	/* The port is taken. */
	started(listener(port, ""));
	held = output;
	{
		pid_t first = child;

		start();
		expect_output(": listener.pop3.port: bind 127.0.0.1:");
		ck_assert_int_eq(exit_status(), 1);
		close(output);
		child = first;
		output = held;
	}
}
END_TEST

START_TEST(serves_and_tells)
{
	char text[4096];
	int a, b;

	started(listener(port, "server.hostname = one.example\n"));
	a = dial(port);
	expect_line(a, "hello from one.example\r\n");
	b = dial(port);
	expect_line(b, "hello from one.example\r\n");
	ck_assert_int_eq(ask("tester", "status", text, sizeof(text)), ERR_NONE);
	ck_assert_ptr_nonnull(strstr(text, "process=tester "));
	ck_assert_ptr_nonnull(strstr(text, "connections=2 sessions=2 "));
	ck_assert_ptr_nonnull(strstr(text, "listener=pop3 address=127.0.0.1 "));
	ck_assert_ptr_nonnull(strstr(text, "bound=1 connections=2 accepted=2 "));
	send(a, "x", 1, 0);
	expect_line(a, "bye\r\n");
	close(a);
	close(b);
	ck_assert_int_eq(ask("tester", "mine", text, sizeof(text)), ERR_NONE);
	ck_assert_str_eq(text, "yours");
	ck_assert_int_eq(ask("tester", "other", text, sizeof(text)), ERR_UNSUPPORTED);
	ck_assert_int_eq(ask("tester", "", text, sizeof(text)), ERR_INVALID);
}
END_TEST

START_TEST(limits)
{
	int a, b;

	started(listener(port, "server.hostname = x\nlimits.connections_per_address = 1\n"));
	a = dial(port);
	expect_line(a, "hello from x\r\n");
	b = dial(port);
	expect_line(b, "refused\r\n");
	close(b);
	send(a, "x", 1, 0);
	expect_line(a, "bye\r\n");
	close(a);
	b = dial(port);
	expect_line(b, "hello from x\r\n");
	close(b);
}
END_TEST

/* A port moves: the new one is open, the old one closed, the session on it goes on. */
START_TEST(reload_moves_a_port)
{
	char text[4096];
	int a, b;

	started(listener(port, "server.hostname = x\n"));
	a = dial(port);
	expect_line(a, "hello from x\r\n");
	write_conf(listener(other_port, "server.hostname = y\n"));
	ck_assert_int_eq(reload(text, sizeof(text)), ERR_NONE);
	ck_assert_int_lt(dial(port), 0);
	b = dial(other_port);
	expect_line(b, "hello from y\r\n");
	send(a, "x", 1, 0);
	expect_line(a, "bye\r\n");
	ck_assert_int_eq(ask("tester", "status", text, sizeof(text)), ERR_NONE);
	ck_assert_ptr_nonnull(strstr(text, "connections=1 sessions=1 "));
	close(a);
	close(b);
}
END_TEST

/* What cannot be had leaves everything as it was. */
START_TEST(reload_is_all_or_nothing)
{
	char text[4096], conf[512];
	struct sockaddr_in in = {.sin_family = AF_INET,
	    .sin_port = htons(other_port),
	    .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int a, taken;

	started(listener(port, "server.hostname = x\n"));
	taken = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(taken, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(taken, 1), 0);
	snprintf(conf, sizeof(conf),
	    "listener.second.role = pop3\nlistener.second.tls = none\n"
	    "listener.second.address = 127.0.0.1\nlistener.second.port = %u\n"
	    "server.hostname = y\n",
	    other_port);
	write_conf(listener(port, conf));
	ck_assert_int_ne(reload(text, sizeof(text)), ERR_NONE);
	ck_assert_ptr_nonnull(strstr(text, "mailstead.conf:"));
	ck_assert_ptr_nonnull(strstr(text, ": listener.second.port: bind 127.0.0.1:"));
	a = dial(port);
	expect_line(a, "hello from x\r\n");
	close(a);
	/* Prepared and then dropped: the same. */
	write_conf(listener(port, "server.hostname = z\n"));
	ck_assert_int_eq(ask("watcher", "prepare 7 now", text, sizeof(text)), ERR_NONE);
	ck_assert_int_eq(ask("watcher", "prepare 8 now", text, sizeof(text)), ERR_BUSY);
	ck_assert_int_eq(ask("watcher", "abort 7", text, sizeof(text)), ERR_NONE);
	ck_assert_int_eq(ask("watcher", "abort 7", text, sizeof(text)), ERR_NONE);
	a = dial(port);
	expect_line(a, "hello from x\r\n");
	close(a);
	write_conf("nonsense\n");
	ck_assert_int_eq(reload(text, sizeof(text)), ERR_INVALID);
	ck_assert_ptr_nonnull(
	    strstr(text, "mailstead.conf:6: found \"nonsense\", expected name = value"));
	kill(child, SIGHUP);
	expect_output("event=reload-refused");
	a = dial(port);
	expect_line(a, "hello from x\r\n");
	close(a);
	close(taken);
	write_conf(listener(port, conf));
	kill(child, SIGHUP);
	expect_output("event=reload file=");
	a = dial(other_port);
	expect_line(a, "hello from y\r\n");
	close(a);
}
END_TEST

/* SIGTERM: no new connections, what runs goes on; the process ends with the last session. */
START_TEST(drains)
{
	char text[4096];
	int a;

	started(listener(port, "server.hostname = x\n"));
	a = dial(port);
	expect_line(a, "hello from x\r\n");
	kill(child, SIGTERM);
	expect_output("event=drain");
	for (int b; (b = dial(port)) >= 0;)
		close(b); /* it says so just before it closes the port */
	ck_assert_int_eq(reload(text, sizeof(text)), ERR_BUSY);
	ck_assert_int_eq(ask("tester", "status", text, sizeof(text)), ERR_NONE);
	ck_assert_int_eq(waitpid(child, NULL, WNOHANG), 0);
	send(a, "x", 1, 0);
	expect_line(a, "bye\r\n");
	close(a);
	ck_assert_int_eq(exit_status(), 0);
}
END_TEST

START_TEST(second_sigterm_ends_at_once)
{
	char text[4096];
	const char *pid;
	int a;

	started(listener(port, "server.hostname = x\n"));
	a = dial(port);
	expect_line(a, "hello from x\r\n");
	ck_assert_int_eq(ask("tester", "status", text, sizeof(text)), ERR_NONE);
	pid = strstr(text, "pid=");
	ck_assert_ptr_nonnull(pid);
	kill(child, SIGTERM);
	expect_output("event=drain");
	kill((pid_t)strtol(pid + 4, NULL, 10), SIGTERM);
	ck_assert_int_eq(exit_status(), 0);
	close(a);
}
END_TEST

START_TEST(usage)
{
	char program[] = "tester", flag[] = "-c", conf[] = "conf";

	exit(role_main(3, (char *[]){program, flag, conf, NULL}, &ops));
}
END_TEST

int main(int argc, char **argv)
{
	const TTest *const tests[] = {start_errors, serves_and_tells, limits, reload_moves_a_port,
	    reload_is_all_or_nothing, drains, second_sigterm_ends_at_once};
	TCase *tc = tcase_create("role");
	const char *slash = strrchr(argv[0], '/');

	if (slash && strcmp(slash, "/tester") == 0)
		/* Not exit: sessions that were cut off are no leak. */
		_exit(role_main(argc, argv, &ops));

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	unit_add(tc, tests, ARRAY_LEN(tests));
	tcase_add_exit_test(tc, usage, 2);
	return unit_finish(tc);
}
