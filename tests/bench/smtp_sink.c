/*
 * A mail server that takes everything and keeps nothing: faster than what it measures.
 *
 *   smtp_sink PORT COUNTER [CERT KEY]     on all addresses; COUNTER: a file of 8 bytes that says
 *                                         how many messages came
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fcntl.h>

static _Atomic uint64_t *counter;
static SSL_CTX *tls;

struct client {
	int fd;
	SSL *ssl;
	char in[65536], out[65536];
	size_t have, at, out_n;
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int flush(struct client *c)
{
	size_t sent = 0;

	while (sent < c->out_n) {
		ssize_t n = c->ssl ? SSL_write(c->ssl, c->out + sent, (int)(c->out_n - sent))
				   : write(c->fd, c->out + sent, c->out_n - sent);

		if (n <= 0)
			return -1;
		sent += (size_t)n;
	}
	c->out_n = 0;
	return 0;
}

static int say(struct client *c, const char *text)
{
	size_t n = strlen(text);

	if (c->out_n + n > sizeof(c->out) && flush(c) < 0)
		return -1;
	memcpy(c->out + c->out_n, text, n);
	c->out_n += n;
	return 0;
}

/* A line without its end, NUL-terminated; NULL at the end of the connection. */
static char *line(struct client *c)
{
	for (;;) {
		char *start = c->in + c->at;
		char *end = memchr(start, '\n', c->have - c->at);
		ssize_t n;

		if (end) {
			c->at = (size_t)(end - c->in) + 1;
			*end = '\0';
			if (end > start && end[-1] == '\r')
				end[-1] = '\0';
			return start;
		}
		if (flush(c) < 0)
			return NULL;
		memmove(c->in, start, c->have - c->at);
		c->have -= c->at;
		c->at = 0;
		if (c->have == sizeof(c->in))
			return NULL;
		n = c->ssl ? SSL_read(c->ssl, c->in + c->have, (int)(sizeof(c->in) - c->have))
			   : read(c->fd, c->in + c->have, sizeof(c->in) - c->have);
		if (n <= 0)
			return NULL;
		c->have += (size_t)n;
	}
}

static int begin_tls(struct client *c)
{
	if (say(c, "220 go\r\n") < 0 || flush(c) < 0)
		return -1;
	c->ssl = SSL_new(tls);
	SSL_set_fd(c->ssl, c->fd);
	return SSL_accept(c->ssl) == 1 ? 0 : -1;
}

static int command(struct client *c, const char *word)
{
	if (strncasecmp(word, "EHLO", 4) == 0)
		return say(c, tls && !c->ssl
				  ? "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 STARTTLS\r\n"
				  : "250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
	if (strncasecmp(word, "STARTTLS", 8) == 0)
		return begin_tls(c);
	if (strncasecmp(word, "QUIT", 4) == 0) {
		say(c, "221 bye\r\n");
		flush(c);
		return -1;
	}
	if (strncasecmp(word, "DATA", 4) != 0)
		return say(c, "250 ok\r\n");
	if (say(c, "354 go\r\n") < 0)
		return -1;
	for (const char *text; (text = line(c));)
		if (strcmp(text, ".") == 0) {
			atomic_fetch_add(counter, 1);
			return say(c, "250 2.0.0 taken\r\n");
		}
	return -1;
}

static void *serve(void *arg)
{
	struct client *c = arg;
	const char *text;

	if (say(c, "220 sink ESMTP\r\n") == 0)
		while ((text = line(c)) && command(c, text) == 0)
			;
	SSL_free(c->ssl);
	close(c->fd);
	free(c);
	return NULL;
}

static void open_tls(const char *cert, const char *key)
{
	tls = SSL_CTX_new(TLS_server_method());
	if (!tls || SSL_CTX_use_certificate_file(tls, cert, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)
		fail(cert);
}

static int open_port(const char *port)
{
	struct sockaddr_in at = {
	    .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
	int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 1024) < 0)
		fail(port);
	return fd;
}

int main(int argc, char **argv)
{
	pthread_attr_t small;
	int fd, file;

	if (argc != 3 && argc != 5)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	file = open(argv[2], O_RDWR);
	counter = mmap(NULL, sizeof(*counter), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (file < 0 || counter == MAP_FAILED)
		fail(argv[2]);
	if (argc == 5)
		open_tls(argv[3], argv[4]);
	fd = open_port(argv[1]);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 256 * 1024);
	pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	for (;;) {
		struct client *c = calloc(1, sizeof(*c));
		pthread_t thread;
		int on = 1;

		if (!c)
			fail("memory");
		c->fd = accept(fd, NULL, NULL);
		if (c->fd < 0)
			continue;
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (pthread_create(&thread, &small, serve, c) != 0)
			fail("thread");
	}
}
