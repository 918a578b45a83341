/* The way to the server: SMTP over loopback, one command after the other. */
#include "common/ctl/sendmail.h"

#include "common/base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define TIMEOUT_SECONDS 300
#define REPLY_MAX 65536

struct smtp {
	int fd;
	struct strbuf in;   /* read, not yet used */
	struct strbuf text; /* the last reply, without codes */
	unsigned code;
	bool has_8bit;
};

static const struct config_listener *find_listener(const struct config *cfg)
{
	for (size_t i = 0; i < config_listener_count(cfg); i++) {
		const struct config_listener *l = config_listener(cfg, i);

		if (l->enabled && l->role == ROLE_SMTP && l->tls != TLS_IMPLICIT)
			return l;
	}
	return NULL;
}

static int dial(const struct config_listener *l, struct err *err)
{
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(l->port)};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(l->port)};
	struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};
	const char *address = l->address;
	int fd, result;

	if (strcmp(address, "*") == 0 || strcmp(address, "0.0.0.0") == 0)
		address = "127.0.0.1";
	else if (strcmp(address, "::") == 0)
		address = "::1";
	if (inet_pton(AF_INET, address, &four.sin_addr) == 1) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		result = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&four, sizeof(four));
	} else if (inet_pton(AF_INET6, address, &six.sin6_addr) == 1) {
		fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
		result = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&six, sizeof(six));
	} else {
		return err_set(err, ERR_INVALID, "listener %s: no address: %s", l->name, address);
	}
	if (result < 0) {
		err_errno(err, errno, "the mail server on %s port %u", address, (unsigned)l->port);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	return fd;
}

static int put(struct smtp *c, struct span s, struct err *err)
{
	while (s.n > 0) {
		ssize_t n = send(c->fd, s.p, s.n, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, errno, "sending to the mail server");
		s = span_from(s, (size_t)n);
	}
	return 0;
}

/* The next line without its end, valid until the next read. */
static int get_line(struct smtp *c, struct strbuf *line, struct err *err)
{
	ssize_t end;

	while ((end = span_chr(strbuf_span(&c->in), '\n')) < 0) {
		char *room = strbuf_room(&c->in, 4096);
		ssize_t n = room ? recv(c->fd, room, 4096, 0) : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? err_errno(err, errno, "reading from the mail server")
				     : err_set(err, ERR_CLOSED, "the mail server closed");
		strbuf_added(&c->in, (size_t)n);
	}
	strbuf_reset(line);
	strbuf_add(line, span_trim(span_sub(strbuf_span(&c->in), 0, (size_t)end)));
	strbuf_drop_front(&c->in, (size_t)end + 1);
	return 0;
}

static int get_reply(struct smtp *c, struct err *err)
{
	struct strbuf line;
	bool is_last = false;
	int result = 0;

	strbuf_init(&line, REPLY_MAX);
	strbuf_reset(&c->text);
	while (result == 0 && !is_last) {
		struct span s;
		uint64_t code;

		result = get_line(c, &line, err);
		s = strbuf_span(&line);
		if (result < 0)
			break;
		if (s.n < 3 || !span_u64(span_sub(s, 0, 3), 599, &code) || code < 200) {
			result = err_set(err, ERR_INVALID, "the mail server does not speak SMTP");
			break;
		}
		c->code = (unsigned)code;
		is_last = s.n == 3 || s.p[3] != '-';
		if (span_ieq(span_from(s, 4), SPAN("8BITMIME")))
			c->has_8bit = true;
		if (c->text.n > 0)
			strbuf_add_chr(&c->text, ' ');
		strbuf_add(&c->text, span_from(s, 4));
	}
	strbuf_clear(&line);
	return result;
}

static int command(
    struct smtp *c, struct err *err, const char *verb, const char *argument, const char *end)
{
	struct strbuf line;
	int result;

	strbuf_init(&line, 4096);
	strbuf_addf(&line, "%s%s%s\r\n", verb, argument, end);
	result = line.failed ? err_set(err, ERR_LIMIT, "a command is too long")
			     : put(c, strbuf_span(&line), err);
	strbuf_clear(&line);
	return result < 0 ? -1 : get_reply(c, err);
}

/* What a reply that is no success means for whoever called sendmail. */
static int refused(const struct smtp *c, int permanent, struct err *err)
{
	err_set(err, ERR_DENIED, "%u %.*s", c->code, SPAN_FMT(strbuf_span(&c->text)));
	return c->code < 500 ? SEND_TEMP : permanent;
}

static int put_message(struct smtp *c, struct span message, struct err *err)
{
	struct span line;
	struct strbuf out;
	int result;

	strbuf_init(&out, message.n + message.n / 2 + 16);
	while (span_split(&message, '\n', &line)) {
		if (line.n > 0 && line.p[0] == '.')
			strbuf_add_chr(&out, '.');
		strbuf_add(&out, line);
		if (line.n > 0)
			strbuf_add_chr(&out, '\n');
	}
	strbuf_add_str(&out, ".\r\n");
	result = out.failed ? err_set(err, ERR_LIMIT, "the message is too large")
			    : put(c, strbuf_span(&out), err);
	strbuf_clear(&out);
	return result < 0 ? -1 : get_reply(c, err);
}

/* Each recipient on its own; those that are refused are named, the others get the message. */
static int recipients(
    const struct sendmail *s, struct smtp *c, size_t *accepted, int *status, struct err *err)
{
	for (size_t i = 0; i < s->count; i++) {
		if (command(c, err, "RCPT TO:<", s->recipients[i], ">") < 0)
			return -1;
		if (c->code < 300) {
			(*accepted)++;
			continue;
		}
		*status = refused(c, SEND_NO_USER, err);
		fprintf(stderr, "sendmail: %s: %s\n", s->recipients[i], err->text);
		*err = (struct err)ERR_INIT;
	}
	return 0;
}

static int talk(const struct sendmail *s, struct smtp *c, struct err *err)
{
	size_t accepted = 0;
	int status = SEND_OK;

	if (get_reply(c, err) < 0)
		return SEND_TEMP;
	if (c->code >= 300)
		return refused(c, SEND_REFUSED, err);
	if (command(c, err, "EHLO ", config_str(s->cfg, SET_SERVER_HOSTNAME), "") < 0)
		return SEND_TEMP;
	if (c->code >= 300)
		return refused(c, SEND_REFUSED, err);
	if (command(c, err, "MAIL FROM:<", s->sender, c->has_8bit ? "> BODY=8BITMIME" : ">") < 0)
		return SEND_TEMP;
	if (c->code >= 300)
		return refused(c, SEND_REFUSED, err);
	if (recipients(s, c, &accepted, &status, err) < 0)
		return SEND_TEMP;
	if (accepted == 0)
		return status;
	if (command(c, err, "DATA", "", "") < 0)
		return SEND_TEMP;
	if (c->code != 354)
		return refused(c, SEND_REFUSED, err);
	if (put_message(c, strbuf_span(&s->message), err) < 0)
		return SEND_TEMP;
	if (c->code >= 300)
		return refused(c, SEND_REFUSED, err);
	(void)command(c, NULL, "QUIT", "", "");
	return status;
}

int sendmail_send(const struct sendmail *s, struct err *err)
{
	const struct config_listener *l = find_listener(s->cfg);
	struct smtp c = {0};
	int status;

	if (!l) {
		err_set(err, ERR_NOT_FOUND, "no listener with role smtp is switched on");
		return SEND_CONFIG;
	}
	c.fd = dial(l, err);
	if (c.fd < 0)
		return SEND_TEMP;
	strbuf_init(&c.in, REPLY_MAX);
	strbuf_init(&c.text, REPLY_MAX);
	status = talk(s, &c, err);
	strbuf_clear(&c.in);
	strbuf_clear(&c.text);
	close(c.fd);
	return status;
}
