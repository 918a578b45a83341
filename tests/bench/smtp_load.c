/*
 * An SMTP client for measuring servers: many senders, each a thread with blocking sockets.
 *
 *   smtp_load send PORT SENDERS MESSAGES SIZE one|many RCPT   messages, one or many a connection
 *   smtp_load auth PORT starttls|implicit SENDERS SESSIONS USER PASSWORD
 *                                                             logins with one message's envelope
 *   smtp_load idle PORT COUNT                                 opens, says EHLO, waits for its input
 *
 * Prints seconds and replies that were not as hoped for.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_LEN 4096

struct peer {
	int fd;
	SSL *ssl;
	char in[LINE_MAX_LEN];
	size_t n;
};

static struct {
	int port;
	long total, size;
	bool is_one, is_implicit;
	const char *rcpt;
	char auth[512];
	char *body;
	size_t body_n;
	SSL_CTX *tls;
} job;

static atomic_long next_number, bad_replies;

static bool peer_open(struct peer *p)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)job.port)};
	int one = 1;

	memset(p, 0, sizeof(*p));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return false;
	setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return true;
}

static void peer_close(struct peer *p)
{
	if (p->ssl) {
		SSL_shutdown(p->ssl);
		SSL_free(p->ssl);
	}
	if (p->fd >= 0)
		close(p->fd);
}

static bool peer_tls(struct peer *p)
{
	p->ssl = SSL_new(job.tls);
	return p->ssl && SSL_set_fd(p->ssl, p->fd) == 1 && SSL_connect(p->ssl) == 1;
}

static bool peer_write(struct peer *p, const char *data, size_t n)
{
	while (n > 0) {
		ssize_t sent =
		    p->ssl ? SSL_write(p->ssl, data, (int)n) : send(p->fd, data, n, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		data += sent;
		n -= (size_t)sent;
	}
	return true;
}

/* The code of the next reply, its last line; 0 when the server went away. */
static int peer_reply(struct peer *p)
{
	for (;;) {
		char *end = memchr(p->in, '\n', p->n);
		ssize_t got;

		if (end) {
			size_t used = (size_t)(end - p->in) + 1;
			bool is_last = used > 3 && p->in[3] != '-';
			char digits[4] = {p->in[0], p->in[1], p->in[2], 0};
			int code = (int)strtol(digits, NULL, 10);

			memmove(p->in, p->in + used, p->n - used);
			p->n -= used;
			if (is_last)
				return code;
			continue;
		}
		if (p->n == sizeof(p->in))
			return 0;
		got = p->ssl ? SSL_read(p->ssl, p->in + p->n, (int)(sizeof(p->in) - p->n))
			     : recv(p->fd, p->in + p->n, sizeof(p->in) - p->n, 0);
		if (got <= 0)
			return 0;
		p->n += (size_t)got;
	}
}

static bool peer_expect(struct peer *p, int code)
{
	int got = peer_reply(p);

	if (got == code)
		return true;
	atomic_fetch_add(&bad_replies, 1);
	if (atomic_load(&bad_replies) < 4)
		fprintf(stderr, "expected %d, got %d\n", code, got);
	return false;
}

static bool say(struct peer *p, const char *line, int code)
{
	return peer_write(p, line, strlen(line)) && peer_expect(p, code);
}

/* As pipelining clients do: the envelope in one piece. */
static bool send_message(struct peer *p)
{
	char envelope[512];

	snprintf(envelope, sizeof(envelope),
	    "MAIL FROM:<bench@client.example>\r\nRCPT TO:<%s>\r\nDATA\r\n", job.rcpt);
	return peer_write(p, envelope, strlen(envelope)) && peer_expect(p, 250) &&
	       peer_expect(p, 250) && peer_expect(p, 354) && peer_write(p, job.body, job.body_n) &&
	       peer_expect(p, 250);
}

static void *sender(void *arg)
{
	struct peer p = {.fd = -1};
	bool is_open = false;

	while (atomic_fetch_add(&next_number, 1) < job.total) {
		if (!is_open)
			is_open = peer_open(&p) && peer_expect(&p, 220) &&
				  say(&p, "EHLO client.example\r\n", 250);
		is_open = is_open && send_message(&p);
		if (!is_open || job.is_one) {
			if (is_open)
				say(&p, "QUIT\r\n", 221);
			peer_close(&p);
			is_open = false;
		}
	}
	if (is_open) {
		say(&p, "QUIT\r\n", 221);
		peer_close(&p);
	}
	return NULL;
}

static void *authenticator(void *arg)
{
	struct peer p;

	while (atomic_fetch_add(&next_number, 1) < job.total) {
		bool ok = peer_open(&p);

		if (ok && job.is_implicit)
			ok = peer_tls(&p);
		ok = ok && peer_expect(&p, 220) && say(&p, "EHLO client.example\r\n", 250);
		if (ok && !job.is_implicit)
			ok = say(&p, "STARTTLS\r\n", 220) && peer_tls(&p) &&
			     say(&p, "EHLO client.example\r\n", 250);
		ok = ok && say(&p, job.auth, 235) && say(&p, "QUIT\r\n", 221);
		if (!ok)
			atomic_fetch_add(&bad_replies, 1);
		peer_close(&p);
	}
	return NULL;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int run(int threads, void *(*fn)(void *arg))
{
	pthread_t *all = calloc((size_t)threads, sizeof(*all));
	double start = now();

	for (int i = 0; i < threads; i++)
		if (pthread_create(&all[i], NULL, fn, NULL) != 0)
			return 1;
	for (int i = 0; i < threads; i++)
		pthread_join(all[i], NULL);
	printf("%.6f %ld\n", now() - start, atomic_load(&bad_replies));
	free(all);
	return 0;
}

static void make_body(void)
{
	static const char words[] =
	    "the quick brown fox jumps over the lazy dog and so on it goes ";
	unsigned seed = 1;

	job.body = malloc((size_t)job.size + 1024);
	job.body_n = (size_t)snprintf(job.body, 1024,
	    "From: bench@client.example\r\nTo: %s\r\nSubject: measuring\r\n"
	    "Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <bench@client.example>\r\n\r\n",
	    job.rcpt);
	while (job.body_n < (size_t)job.size) {
		for (int i = 0; i < 72; i++) {
			seed = seed * 1103515245u + 12345u;
			job.body[job.body_n++] = words[(seed >> 16) % (sizeof(words) - 1)];
		}
		memcpy(job.body + job.body_n, "\r\n", 2);
		job.body_n += 2;
	}
	memcpy(job.body + job.body_n, ".\r\n", 3);
	job.body_n += 3;
}

static void make_auth(const char *user, const char *password)
{
	unsigned char raw[256];
	size_t n = 1 + strlen(user) + 1 + strlen(password);

	raw[0] = 0;
	memcpy(raw + 1, user, strlen(user) + 1);
	memcpy(raw + 2 + strlen(user), password, strlen(password));
	memcpy(job.auth, "AUTH PLAIN ", 11);
	EVP_EncodeBlock((unsigned char *)job.auth + 11, raw, (int)n);
	memcpy(job.auth + strlen(job.auth), "\r\n", 3);
}

static int idle(int count)
{
	struct peer p;
	char c;

	for (int i = 0; i < count; i++)
		if (!peer_open(&p) || !peer_expect(&p, 220) ||
		    !say(&p, "EHLO client.example\r\n", 250))
			return 1;
	printf("open\n");
	fflush(stdout);
	return read(0, &c, 1) < 0;
}

int main(int argc, char **argv)
{
	struct rlimit nofile = {65536, 65536};

	(void)setrlimit(RLIMIT_NOFILE, &nofile);
	if (argc == 4 && strcmp(argv[1], "idle") == 0) {
		job.port = (int)strtol(argv[2], NULL, 10);
		return idle((int)strtol(argv[3], NULL, 10));
	}
	if (argc != 8)
		return 2;
	job.port = (int)strtol(argv[2], NULL, 10);
	if (strcmp(argv[1], "send") == 0) {
		job.total = strtol(argv[4], NULL, 10);
		job.size = strtol(argv[5], NULL, 10);
		job.is_one = strcmp(argv[6], "one") == 0;
		job.rcpt = argv[7];
		make_body();
		return run((int)strtol(argv[3], NULL, 10), sender);
	}
	job.is_implicit = strcmp(argv[3], "implicit") == 0;
	job.total = strtol(argv[5], NULL, 10);
	make_auth(argv[6], argv[7]);
	job.tls = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_verify(job.tls, SSL_VERIFY_NONE, NULL);
	return run((int)strtol(argv[4], NULL, 10), authenticator);
}
