/*
 * web-server: writes lighttpd's configuration for the web admin and becomes lighttpd. An instance
 * of our own, with our port, our certificate and nothing but our CGI: the system's is never
 * touched.
 */
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/strbuf.h"
#include "common/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define CONF_MAX (64 * 1024)

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

static void add_tls(struct strbuf *b, const char *chain, const char *key)
{
	strbuf_add_str(b, "ssl.engine = \"enable\"\n");
	add_setting(b, "ssl.pemfile", chain);
	add_setting(b, "ssl.privkey", key);
	strbuf_add_str(b, "ssl.openssl.ssl-conf-cmd = (\"MinProtocol\" => \"TLSv1.2\")\n");
}

static void add_http(struct strbuf *b, unsigned port, unsigned https_port)
{
	static const char *const any[] = {"0.0.0.0", "[::]"};

	for (size_t i = 0; i < ARRAY_LEN(any); i++)
		strbuf_addf(b,
		    "$SERVER[\"socket\"] == \"%s:%u\" {\n"
		    "  url.redirect = (\"^/(.*)\" => \"https://${url.authority}:%u/$1\")\n}\n",
		    any[i], port, https_port);
}

static int write_conf(const struct config *cfg, struct strbuf *b, struct err *err)
{
	unsigned port = (unsigned)config_u64(cfg, SET_WEB_PORT);
	unsigned http = (unsigned)config_u64(cfg, SET_WEB_HTTP_PORT);
	char chain[CONFIG_PATH_MAX], key[CONFIG_PATH_MAX], name[128];

	snprintf(name, sizeof(name), "keys/%s/cert.pem", config_str(cfg, SET_WEB_CERTIFICATE));
	if (config_state_path(cfg, name, chain, err) < 0)
		return -1;
	snprintf(name, sizeof(name), "keys/%s/key.pem", config_str(cfg, SET_WEB_CERTIFICATE));
	if (config_state_path(cfg, name, key, err) < 0)
		return -1;
	strbuf_add_str(b, "server.modules = (\"mod_openssl\", \"mod_rewrite\", \"mod_redirect\", "
			  "\"mod_alias\", \"mod_setenv\", \"mod_cgi\")\n");
	add_setting(b, "server.document-root", config_str(cfg, SET_PATHS_RUN));
	strbuf_addf(b, "server.port = %u\nserver.bind = \"0.0.0.0\"\nserver.tag = \"\"\n", port);
	strbuf_add_str(b, "server.max-request-size = 64\nserver.max-read-idle = 30\n"
			  "server.max-write-idle = 60\nserver.max-connections = 128\n"
			  "server.max-keep-alive-requests = 100\n");
	add_tls(b, chain, key);
	strbuf_addf(b, "$SERVER[\"socket\"] == \"[::]:%u\" {\n", port);
	add_tls(b, chain, key);
	strbuf_add_str(b, "}\nurl.rewrite-once = (\"^/(.*)$\" => \"/cgi/webadmin/$1\")\n");
	strbuf_add_str(b, "alias.url = (\"/cgi/\" => ");
	snprintf(name, sizeof(name), "%s/", config_str(cfg, SET_PATHS_LIBEXEC));
	add_quoted(b, name);
	strbuf_add_str(b, ")\ncgi.assign = (\"/webadmin\" => \"\")\n"
			  "setenv.set-environment = (\"MAILSTEAD_CONF\" => ");
	add_quoted(b, config_path(cfg));
	strbuf_add_str(b, ")\n");
	if (http > 0)
		add_http(b, http, port);
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

/* The byte that tells mailsteadctl run to go on. */
static void say_ready(void)
{
	const char *fd = getenv("MS_READY_FD");

	if (fd && strcmp(fd, "3") == 0) {
		(void)!write(3, "", 1);
		close(3);
	}
}

static int serve(const char *conf_path, struct err *err)
{
	struct config *cfg;
	char path[CONFIG_PATH_MAX];
	struct strbuf b;
	int result = -1;

	if (config_load(conf_path, &cfg, err) < 0)
		return -1;
	strbuf_init(&b, CONF_MAX);
	if (config_run_path(cfg, "lighttpd.conf", path, err) < 0 || write_conf(cfg, &b, err) < 0 ||
	    save(path, strbuf_span(&b), err) < 0)
		goto out;
	/* lighttpd ends with whoever started us. */
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
	say_ready();
	if (config_u64(cfg, SET_WEB_PORT) == 0) {
		pause(); /* switched off: nothing to do until the signal that ends us */
		result = 0;
		goto out;
	}
	for (size_t i = 0; i < ARRAY_LEN(servers); i++)
		execl(servers[i], "lighttpd", "-D", "-f", path, (char *)NULL);
	err_errno(err, errno, "lighttpd, the web server of the web admin");
out:
	strbuf_clear(&b);
	config_unref(cfg);
	return result;
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;

	if (argc != 3 || strcmp(argv[1], "-c") != 0) {
		fprintf(stderr, "usage: web-server -c FILE\n");
		return 2;
	}
	if (serve(argv[2], &err) == 0)
		return 0;
	fprintf(stderr, "web-server: %s\n", err.text);
	return 1;
}
