/*
 * "Test now": connects to a listener as a client would. The greeting and what it offers are read
 * here; TLS is tried with the system's openssl(1), which Debian's ca-certificates brings, so that
 * no page is linked with a TLS library.
 */
#include "webadmin/web.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECONDS 10
#define ANSWER_MAX 8192
#define OPENSSL "/usr/bin/openssl"

struct talk {
	const char *starttls; /* openssl's name of the protocol */
	const char *ask;      /* what a client asks first */
	const char *end;      /* what the last line of the answer begins with */
	const char *offers;   /* among the answer, if STARTTLS is there */
};

static const struct talk *talk_of(enum listener_role role)
{
	static const struct talk smtp = {"smtp", "EHLO localhost\r\n", "250 ", "STARTTLS"};
	static const struct talk imap = {"imap", "a CAPABILITY\r\n", "a ", "STARTTLS"};
	static const struct talk pop3 = {"pop3", "CAPA\r\n", ".", "STLS"};

	switch (role) {
	case ROLE_IMAP:
		return &imap;
	case ROLE_POP3:
		return &pop3;
	case ROLE_LMTP:
		return NULL;
	default:
		return &smtp;
	}
}

static time_t deadline;

/* Reads into b until a line begins with end, or until the other side or the time ends. */
static bool read_until(int fd, struct strbuf *b, const char *end)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	size_t n = strlen(end), line = 0;
	char chunk[1024];

	for (;;) {
		ssize_t got;

		for (size_t i = line; i < b->n; i++) {
			if (b->p[i] != '\n')
				continue;
			if (span_starts(span_make(b->p + line, i - line), span_make(end, n)))
				return true;
			line = i + 1;
		}
		if (time(NULL) >= deadline)
			return false;
		if (poll(&p, 1, 1000) <= 0)
			continue;
		got = read(fd, chunk, sizeof(chunk));
		if (got <= 0 || !strbuf_add_mem(b, chunk, (size_t)got))
			return false;
	}
}

static int connect_to(const char *address, unsigned port)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	bool is_six = inet_pton(AF_INET6, address, &six.sin6_addr) == 1;
	int fd, result;

	if (!is_six && inet_pton(AF_INET, address, &four.sin_addr) != 1)
		return -1;
	fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	result = is_six ? connect(fd, (struct sockaddr *)&six, sizeof(six))
			: connect(fd, (struct sockaddr *)&four, sizeof(four));
	if (result < 0) {
		result = errno;
		close(fd);
		errno = result;
		return -1;
	}
	return fd;
}

static void line(struct html *h, enum notice kind, enum text_id label, struct span text)
{
	struct span one;

	HTML(h, R("<tr><td>"));
	dot(h, kind, label);
	HTML(h, R("</td><td>"));
	while (span_split(&text, '\n', &one))
		if (span_trim(one).n > 0)
			HTML(h, T(span_trim(one)), R("<br>"));
	HTML(h, R("</td></tr>\n"));
}

/* --- without TLS
 * ---------------------------------------------------------------------------------------------- */
static void say_hello(
    struct html *h, const struct config_listener *l, const struct talk *talk, int fd)
{
	const char *greeting = l->role == ROLE_IMAP ? "*" : l->role == ROLE_POP3 ? "+" : "220 ";
	struct strbuf b;
	size_t at;

	strbuf_init(&b, ANSWER_MAX);
	if (!read_until(fd, &b, greeting)) {
		line(h, NOTICE_BAD, TEXT_TEST_GREETING, strbuf_span(&b));
		goto out;
	}
	line(h, NOTICE_GOOD, TEXT_TEST_GREETING, strbuf_span(&b));
	at = b.n;
	if (write(fd, talk->ask, strlen(talk->ask)) < 0 || !read_until(fd, &b, talk->end)) {
		line(h, NOTICE_BAD, TEXT_TEST_OFFERS, span_from(strbuf_span(&b), at));
		goto out;
	}
	line(h, NOTICE_GOOD, TEXT_TEST_OFFERS, span_from(strbuf_span(&b), at));
	if (l->tls != TLS_NONE &&
	    span_find(span_from(strbuf_span(&b), at), span_of(talk->offers)) < 0)
		line(h, NOTICE_BAD, TEXT_TLS, text_of(TEXT_TEST_NO_STARTTLS));
out:
	strbuf_clear(&b);
}

/* --- with TLS
 * -------------------------------------------------------------------------------------------------
 */
static _Noreturn void become_openssl(
    const struct config_listener *l, const struct talk *talk, const char *target, int out)
{
	const char *argv[20] = {OPENSSL, "s_client", "-connect", target, "-servername", l->hostname,
	    "-verify_hostname", l->hostname, "-brief"};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	size_t n = 9;

	if (l->tls != TLS_IMPLICIT) {
		argv[n++] = "-starttls";
		argv[n++] = talk->starttls;
	}
	if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(127);
	alarm(SECONDS);
	execv(OPENSSL, (char *const *)(uintptr_t)argv);
	_exit(127);
}

/* "Verification error: text" and its like. */
static struct span value_of(struct span text, const char *name)
{
	ssize_t at = span_find(text, span_of(name));
	struct span rest, first;

	if (at < 0)
		return SPAN("");
	rest = span_from(text, (size_t)at + strlen(name));
	return span_split(&rest, '\n', &first) ? span_trim(first) : SPAN("");
}

static void tell_tls(struct html *h, struct span text)
{
	struct span version = value_of(text, "Protocol version:");
	struct span wrong = value_of(text, "Verification error:");

	if (version.n == 0) {
		line(h, NOTICE_BAD, TEXT_TLS, text);
		return;
	}
	HTML(h, R("<tr><td>"));
	dot(h, NOTICE_GOOD, TEXT_TLS);
	HTML(h, R("</td><td>"), T(version), R(", "), T(value_of(text, "Ciphersuite:")), R("<br>"),
	    T(value_of(text, "Peer certificate:")), R("</td></tr>\n"));
	if (wrong.n > 0)
		line(h, NOTICE_WARN, TEXT_TEST_CHAIN, wrong);
	else
		line(h, NOTICE_GOOD, TEXT_TEST_CHAIN, value_of(text, "Verification:"));
}

static void try_tls(
    struct html *h, const struct config_listener *l, const struct talk *talk, const char *address)
{
	char target[160];
	struct strbuf b;
	int ends[2], status;
	pid_t pid;

	if (access(OPENSSL, X_OK) < 0 || pipe2(ends, O_CLOEXEC) < 0) {
		line(h, NOTICE_INFO, TEXT_TLS, text_of(TEXT_TEST_NO_OPENSSL));
		return;
	}
	snprintf(target, sizeof(target), strchr(address, ':') ? "[%s]:%u" : "%s:%u", address,
	    (unsigned)l->port);
	strbuf_init(&b, ANSWER_MAX);
	pid = fork();
	if (pid == 0)
		become_openssl(l, talk, target, ends[1]);
	close(ends[1]);
	if (pid > 0) {
		/* No line begins so: until it ends. */
		(void)read_until(ends[0], &b, "\n");
		(void)kill(pid, SIGKILL);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	close(ends[0]);
	tell_tls(h, strbuf_span(&b));
	strbuf_clear(&b);
}

static const struct config_listener *find(struct request *rq)
{
	for (size_t i = 0; i < config_listener_count(rq->cfg); i++)
		if (span_eq(request_form(rq, "name"), span_of(config_listener(rq->cfg, i)->name)))
			return config_listener(rq->cfg, i);
	return NULL;
}

static void run_test(struct html *h, const struct config_listener *l, const struct talk *talk)
{
	const char *address = strcmp(l->address, "*") == 0 ? "127.0.0.1" : l->address;
	int fd = connect_to(address, l->port);

	if (fd < 0) {
		line(h, NOTICE_BAD, TEXT_TEST_CONNECT, span_of(strerror(errno)));
		return;
	}
	line(h, NOTICE_GOOD, TEXT_TEST_CONNECT, span_of(address));
	if (l->tls != TLS_IMPLICIT)
		say_hello(h, l, talk, fd);
	close(fd);
	if (l->tls != TLS_NONE)
		try_tls(h, l, talk, address);
}

void action_port_test(struct request *rq)
{
	const struct config_listener *l = find(rq);
	const struct talk *talk = l ? talk_of(l->role) : NULL;
	struct html h;

	if (!talk || l->address[0] == '/') {
		page_error(rq, 404, TEXT_NO_PAGE);
		return;
	}
	deadline = time(NULL) + SECONDS;
	page_begin(&h, rq, TEXT_PORT_TEST);
	HTML(&h, R("<p class=\"subject\">"), S(l->name), R("</p>\n<p>"), L(PORT_TEST_HINT),
	    R("</p>\n<div class=\"scroll\"><table>\n"));
	run_test(&h, l, talk);
	HTML(&h, R("</table></div>\n<p><a class=\"button\" href=\"/ports\">"), L(BACK),
	    R("</a></p>\n"));
	page_end(&h);
}
