/*
 * web-server: writes lighttpd's configuration for the web admin and becomes lighttpd. An instance
 * of our own, with our port, our certificate and nothing but our CGI: the system's is never
 * touched.
 */
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/strbuf.h"
#include "common/config/config.h"
#include "common/daemon/keys.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONF_MAX (64 * 1024)
#define PEM_NAME "web-server/web.pem"

static const char *const servers[] = {"/usr/sbin/lighttpd", "/usr/local/sbin/lighttpd"};

/* In lighttpd's strings only the quote and the backslash are special. */
static void add_quoted(struct strbuf *b, const char *s)
{
	strbuf_add_chr(b, '"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			strbuf_add_chr(b, '\\');
		strbuf_add_chr(b, *s);
	}
	strbuf_add_chr(b, '"');
}

static void add_setting(struct strbuf *b, const char *name, const char *value)
{
	strbuf_addf(b, "%s = ", name);
	add_quoted(b, value);
	strbuf_add_chr(b, '\n');
}

static void add_tls(struct strbuf *b, const char *pem)
{
	strbuf_add_str(b, "ssl.engine = \"enable\"\n");
	add_setting(b, "ssl.pemfile", pem);
	strbuf_add_str(b, "ssl.openssl.ssl-conf-cmd = (\"MinProtocol\" => \"TLSv1.2\")\n");
}

/* An address the web admin listens on, as lighttpd writes it: "0.0.0.0", "[::]". */
struct places {
	char text[2][INET6_ADDRSTRLEN + 2];
	size_t count;
};

/* Whether the port can be had there. 1: yes, 0: this machine has no such address, -1: no. */
static int try_bind(int family, const char *address, unsigned port, struct err *err)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	bool is_six = family == AF_INET6;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1, result, errnum;

	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : err_errno(err, errno, "socket");
	(void)inet_pton(family, address, is_six ? (void *)&six.sin6_addr : (void *)&four.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (is_six)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	result = is_six ? bind(fd, (struct sockaddr *)&six, sizeof(six))
			: bind(fd, (struct sockaddr *)&four, sizeof(four));
	if (result == 0)
		result = listen(fd, 1);
	errnum = errno;
	close(fd);
	if (result == 0)
		return 1;
	if (is_six && errnum == EADDRNOTAVAIL)
		return 0;
	return err_errno(err, errnum, "%s port %u", address, port);
}

static int add_place(
    struct places *p, int family, const char *address, const struct config *cfg, struct err *err)
{
	static const enum setting ports[] = {SET_WEB_PORT, SET_WEB_HTTP_PORT};

	for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
		unsigned port = (unsigned)config_u64(cfg, ports[i]);
		int result = port == 0 ? 1 : try_bind(family, address, port, err);

		if (result <= 0)
			return result;
	}
	snprintf(
	    p->text[p->count++], sizeof(p->text[0]), family == AF_INET6 ? "[%s]" : "%s", address);
	return 0;
}

/* Where to listen. lighttpd would say only in its log that a port is taken, we say it in time. */
static int find_places(const struct config *cfg, struct places *p, struct err *err)
{
	const char *address = config_str(cfg, SET_WEB_ADDRESS);
	unsigned char raw[sizeof(struct in6_addr)];

	p->count = 0;
	if (strcmp(address, "*") == 0) {
		if (add_place(p, AF_INET, "0.0.0.0", cfg, err) < 0 ||
		    add_place(p, AF_INET6, "::", cfg, err) < 0)
			return -1;
	} else if (inet_pton(AF_INET, address, raw) == 1) {
		if (add_place(p, AF_INET, address, cfg, err) < 0)
			return -1;
	} else if (inet_pton(AF_INET6, address, raw) == 1) {
		if (add_place(p, AF_INET6, address, cfg, err) < 0)
			return -1;
	} else {
		return err_set(err, ERR_INVALID,
		    "web.address: found \"%s\", expected an IPv4 or IPv6 address or *", address);
	}
	if (p->count == 0)
		return err_set(err, ERR_IO, "web.address: this machine has no address %s", address);
	return 0;
}

static void add_target(struct strbuf *b, const char *host, unsigned https)
{
	strbuf_addf(b, "url.redirect = (\"^(/.*)\" => \"https://%s", host);
	if (https != 443)
		strbuf_addf(b, ":%u", https);
	strbuf_add_str(b, "$1\")\n");
}

/*
 * The socket that sends browsers on: to the host they asked for (to our own name if they did not
 * say), on the port of the admin. Every request is redirected, so no file is ever served.
 */
static void add_redirect(struct strbuf *b, const char *address, const struct config *cfg)
{
	unsigned https = (unsigned)config_u64(cfg, SET_WEB_PORT);

	strbuf_addf(b, "$SERVER[\"socket\"] == \"%s:%u\" {\n", address,
	    (unsigned)config_u64(cfg, SET_WEB_HTTP_PORT));
	strbuf_add_str(b, "ssl.engine = \"disable\"\nurl.rewrite-once = ()\n");
	add_target(b, config_str(cfg, SET_SERVER_HOSTNAME), https);
	strbuf_add_str(b, "$HTTP[\"host\"] =~ \"^(\\[[0-9A-Fa-f:.]+\\]|[^:]+)\" {\n");
	add_target(b, "%1", https);
	strbuf_add_str(b, "}\n}\n");
}

static void add_sockets(
    struct strbuf *b, const struct config *cfg, const struct places *p, const char *tls)
{
	unsigned port = (unsigned)config_u64(cfg, SET_WEB_PORT);

	/* The main socket takes its settings from the top level, each further one names its own. */
	strbuf_addf(b, "server.port = %u\nserver.bind = \"%s\"\n%s", port, p->text[0], tls);
	for (size_t i = 1; i < p->count; i++)
		strbuf_addf(b, "$SERVER[\"socket\"] == \"%s:%u\" {\n%s}\n", p->text[i], port, tls);
	for (size_t i = 0; i < p->count && config_u64(cfg, SET_WEB_HTTP_PORT) > 0; i++)
		add_redirect(b, p->text[i], cfg);
}

static int write_conf(
    const struct config *cfg, const struct places *p, struct strbuf *b, struct err *err)
{
	char pem[CONFIG_PATH_MAX], programs[CONFIG_PATH_MAX];
	struct strbuf tls;

	if (config_run_path(cfg, PEM_NAME, pem, err) < 0)
		return -1;
	strbuf_add_str(b, "server.modules = (\"mod_openssl\", \"mod_rewrite\", \"mod_redirect\", "
			  "\"mod_alias\", \"mod_setenv\", \"mod_cgi\")\n");
	add_setting(b, "server.document-root", config_str(cfg, SET_PATHS_RUN));
	strbuf_add_str(b, "server.tag = \"\"\n"
			  "server.max-request-size = 1088\nserver.max-read-idle = 30\n"
			  "server.max-write-idle = 60\nserver.max-connections = 128\n"
			  "server.max-keep-alive-requests = 100\n");
	strbuf_init(&tls, CONF_MAX);
	add_tls(&tls, pem);
	add_sockets(b, cfg, p, tls.failed ? "" : tls.p);
	strbuf_clear(&tls);
	strbuf_add_str(b, "url.rewrite-once = (\"^/(.*)$\" => \"/cgi/webadmin/$1\")\n");
	strbuf_add_str(b, "alias.url = (\"/cgi/\" => ");
	snprintf(programs, sizeof(programs), "%s/", config_str(cfg, SET_PATHS_LIBEXEC));
	add_quoted(b, programs);
	strbuf_add_str(b, ")\ncgi.assign = (\"/webadmin\" => \"\")\n"
			  "setenv.set-environment = (\"MAILSTEAD_CONF\" => ");
	add_quoted(b, config_path(cfg));
	strbuf_add_str(b, ")\n");
	return b->failed ? err_set(err, ERR_LIMIT, "the web server's configuration is too long")
			 : 0;
}

static int save(const char *path, struct span text, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	ssize_t n;

	if (fd < 0)
		return err_errno(err, errno, "%s", path);
	n = write(fd, text.p, text.n);
	if (n != (ssize_t)text.n) {
		err_errno(err, n < 0 ? errno : ENOSPC, "%s", path);
		close(fd);
		return -1;
	}
	return close(fd) == 0 ? 0 : err_errno(err, errno, "%s", path);
}

/* lighttpd wants its key in a file: one in the folder of sockets, which is no disk, for us only. */
static int save_certificate(const struct config *cfg, struct err *err)
{
	struct ipc_key_fetch f = {.purpose = SPAN("web"),
	    .count = 1,
	    .ids = {span_of(config_str(cfg, SET_WEB_CERTIFICATE))}};
	struct strbuf request, set, pem;
	struct ipc_key_cert cert;
	struct ipc_key_set head;
	char path[CONFIG_PATH_MAX];
	int result = -1;

	strbuf_init(&request, 1024);
	keys_buf_init(&set);
	keys_buf_init(&pem);
	ipc_enc_key_fetch(&request, &f);
	if (config_run_path(cfg, PEM_NAME, path, err) == 0 &&
	    keys_fetch(cfg, strbuf_span(&request), &set, err) == 0 &&
	    ipc_dec_key_set(strbuf_span(&set), &head) && ipc_key_next(&head, &cert)) {
		strbuf_add(&pem, cert.chain);
		strbuf_add(&pem, cert.key);
		result = save(path, strbuf_span(&pem), err);
	}
	keys_buf_clear(&set);
	keys_buf_clear(&pem);
	strbuf_clear(&request);
	return result;
}

/* A frame without a body, over the link to mailsteadctl run, which goes on then. */
static void say_ready(void)
{
	static const unsigned char ready[12] = {[5] = LINK_READY};
	const char *fd = getenv("MS_LINK");

	if (fd && strcmp(fd, "3") == 0) {
		(void)!write(3, ready, sizeof(ready));
		close(3);
		unsetenv("MS_LINK");
	}
}

/* Switched off: nothing to do until the signal that ends us. */
static int stay_off(void)
{
	signal(SIGHUP, SIG_IGN);
	say_ready();
	pause();
	return 0;
}

static int become(const char *conf_path, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(servers); i++) {
		if (access(servers[i], X_OK) < 0)
			continue;
		say_ready();
		execl(servers[i], "lighttpd", "-D", "-f", conf_path, (char *)NULL);
		return err_errno(err, errno, "%s", servers[i]);
	}
	return err_set(err, ERR_NOT_FOUND,
	    "found no %s: the web admin needs lighttpd and its mod_openssl; web.port = 0 switches "
	    "it off",
	    servers[0]);
}

static int serve(const char *conf_path, struct err *err)
{
	char path[CONFIG_PATH_MAX];
	struct config *cfg;
	struct places places;
	struct strbuf b;
	int result = -1;

	if (config_load(conf_path, &cfg, err) < 0)
		return -1;
	strbuf_init(&b, CONF_MAX);
	/* lighttpd ends with whoever started us. */
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
	if (config_u64(cfg, SET_WEB_PORT) == 0)
		result = stay_off();
	else if (find_places(cfg, &places, err) == 0 && save_certificate(cfg, err) == 0 &&
		 config_run_path(cfg, "web-server/lighttpd.conf", path, err) == 0 &&
		 write_conf(cfg, &places, &b, err) == 0 && save(path, strbuf_span(&b), err) == 0)
		result = become(path, err);
	strbuf_clear(&b);
	config_unref(cfg);
	return result;
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	char conf[PATH_MAX];

	if (argc != 3 || strcmp(argv[1], "-c") != 0) {
		fprintf(stderr, "usage: web-server -c FILE\n");
		return 2;
	}
	/* The CGI reads it too, from another folder. */
	if (!realpath(argv[2], conf))
		err_errno(&err, errno, "%s", argv[2]);
	else if (serve(conf, &err) == 0)
		return 0;
	fprintf(stderr, "web-server: %s\n", err.text);
	return 1;
}
