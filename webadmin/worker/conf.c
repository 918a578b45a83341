#include "webadmin/worker/worker.h"

#include <stdio.h>

#define TLS_MAX 4096

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

static void add_target(struct strbuf *b, const char *host, unsigned https)
{
	strbuf_addf(b, "url.redirect = (\"^(/.*)\" => \"https://%s", host);
	if (https != 443)
		strbuf_addf(b, ":%u", https);
	strbuf_add_str(b, "$1\")\n");
}

#define CHALLENGE_URL "/.well-known/acme-challenge/"

/* Answers to an authority's challenges (RFC 8555 8.3): files that the ACME client wrote, which is
 * trusted with that folder and nothing else. */
static void add_challenge(struct strbuf *b, const struct config *cfg)
{
	char folder[CONFIG_PATH_MAX + 32];

	snprintf(folder, sizeof(folder), "%s/acme/challenge/", config_str(cfg, SET_PATHS_RUN));
	strbuf_add_str(b, "server.follow-symlink = \"disable\"\n"
			  "alias.url = (\"" CHALLENGE_URL "\" => ");
	add_quoted(b, folder);
	strbuf_add_str(b, ")\n");
}

/*
 * The socket that sends browsers on: to the host they asked for (to our own name if they did not
 * say), on the port of the admin. Every other request is redirected, so no other file is served.
 */
static void add_redirect(struct strbuf *b, const char *address, const struct config *cfg)
{
	unsigned https = (unsigned)config_u64(cfg, SET_WEB_PORT);

	strbuf_addf(b, "$SERVER[\"socket\"] == \"%s:%u\" {\n", address,
	    (unsigned)config_u64(cfg, SET_WEB_HTTP_PORT));
	strbuf_add_str(b, "ssl.engine = \"disable\"\nurl.rewrite-once = ()\n");
	add_challenge(b, cfg);
	strbuf_add_str(b, "$HTTP[\"url\"] !~ \"^" CHALLENGE_URL "\" {\n");
	add_target(b, config_str(cfg, SET_SERVER_HOSTNAME), https);
	strbuf_add_str(b, "$HTTP[\"host\"] =~ \"^(\\[[0-9A-Fa-f:.]+\\]|[^:]+)\" {\n");
	add_target(b, "%1", https);
	strbuf_add_str(b, "}\n}\n}\n");
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

int conf_write(const struct config *cfg, const struct places *p, const char *pem, struct strbuf *b,
    struct err *err)
{
	char programs[CONFIG_PATH_MAX];
	struct strbuf tls;

	strbuf_add_str(b, "server.modules = (\"mod_openssl\", \"mod_rewrite\", \"mod_redirect\", "
			  "\"mod_alias\", \"mod_setenv\", \"mod_cgi\")\n");
	add_setting(b, "server.document-root", config_str(cfg, SET_PATHS_RUN));
	/* Of what is uploaded, the only folder it may write to. */
	snprintf(programs, sizeof(programs), "%s/web-worker", config_str(cfg, SET_PATHS_RUN));
	strbuf_add_str(b, "server.upload-dirs = (");
	add_quoted(b, programs);
	strbuf_add_str(b, ")\n");
	/* The sockets come bound, as LISTEN_FDS says. */
	strbuf_add_str(b, "server.systemd-socket-activation = \"enable\"\nserver.tag = \"\"\n"
			  "server.max-request-size = 1088\nserver.max-read-idle = 30\n"
			  "server.max-write-idle = 60\nserver.max-connections = 128\n"
			  "server.feature-flags = (\"server.graceful-shutdown-timeout\" => 25)\n"
			  "server.max-keep-alive-requests = 100\n");
	strbuf_init(&tls, TLS_MAX);
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
