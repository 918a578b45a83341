#include "webadmin/worker/worker.h"

#include "common/base/mem.h"
#include "common/daemon/keys.h"
#include "common/log/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONF_MAX (64 * 1024)

static const char *const programs[] = {"/usr/sbin/lighttpd", "/usr/local/sbin/lighttpd"};

/* What serves now. */
static struct server *server;
static struct strbuf served_conf, served_pem;

static const char *find_lighttpd(struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(programs); i++)
		if (access(programs[i], X_OK) == 0)
			return programs[i];
	err_set(err, ERR_NOT_FOUND,
	    "found no %s: the web admin needs lighttpd and its mod_openssl; web.port = 0 switches "
	    "it off",
	    programs[0]);
	return NULL;
}

/* A file of our folder, which is no disk. Whoever reads it has the old one or the new one. */
static int save(const char *path, struct span text, struct err *err)
{
	char temp[CONFIG_PATH_MAX + 4];
	ssize_t n;
	int fd;

	snprintf(temp, sizeof(temp), "%s.new", path);
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_errno(err, errno, "%s", temp);
	n = write(fd, text.p, text.n);
	close(fd);
	if (n != (ssize_t)text.n)
		return err_errno(err, n < 0 ? errno : ENOSPC, "%s", temp);
	return rename(temp, path) == 0 ? 0 : err_errno(err, errno, "%s", path);
}

static int take_certificate(struct span keys, struct strbuf *pem, struct err *err)
{
	struct ipc_key_cert cert;
	struct ipc_key_set head;

	if (!ipc_dec_key_set(keys, &head) || !ipc_key_next(&head, &cert))
		return err_set(err, ERR_INVALID, "no certificate came");
	strbuf_add(pem, cert.chain);
	strbuf_add(pem, cert.key);
	return 0;
}

static void add_place(struct places *p, const char *address)
{
	unsigned char raw[sizeof(struct in6_addr)];
	bool is_six = inet_pton(AF_INET6, address, raw) == 1;

	snprintf(p->text[p->count++], sizeof(p->text[0]), is_six ? "[%s]" : "%s", address);
}

static void find_places(const struct role_handed *list, size_t count, struct places *p)
{
	*p = (struct places){0};
	for (size_t i = 0; i < count && i < WEB_SOCKETS / 2; i++)
		for (size_t k = 0; k < 2; k++)
			if (list[i].fds[k] >= 0)
				p->fds[p->fd_count++] = list[i].fds[k];
	if (strcmp(list[0].cfg->address, "*") != 0) {
		add_place(p, list[0].cfg->address);
		return;
	}
	add_place(p, "0.0.0.0");
	if (list[0].fds[1] >= 0)
		add_place(p, "::");
}

/* Nothing changed for it: whoever is connected stays. */
static bool is_served(const struct strbuf *conf, const struct strbuf *pem)
{
	return server_is_running(server) && span_eq(strbuf_span(conf), strbuf_span(&served_conf)) &&
	       span_eq(strbuf_span(pem), strbuf_span(&served_pem));
}

static int start_server(struct role *r, const struct places *p, struct strbuf *conf,
    struct strbuf *pem, struct err *err)
{
	char pem_path[CONFIG_PATH_MAX], conf_path[CONFIG_PATH_MAX];
	const char *lighttpd = find_lighttpd(err);

	if (!lighttpd || config_run_path(r->cfg, "web-worker/web.pem", pem_path, err) < 0 ||
	    config_run_path(r->cfg, "web-worker/lighttpd.conf", conf_path, err) < 0 ||
	    conf_write(r->cfg, p, pem_path, conf, err) < 0)
		return -1;
	if (is_served(conf, pem))
		return 0;
	if (save(pem_path, strbuf_span(pem), err) < 0 ||
	    save(conf_path, strbuf_span(conf), err) < 0 ||
	    server_start(server, lighttpd, conf_path, p, err) < 0)
		return -1;
	strbuf_reset(&served_conf);
	strbuf_add(&served_conf, strbuf_span(conf));
	strbuf_reset(&served_pem);
	strbuf_add(&served_pem, strbuf_span(pem));
	return 0;
}

static int on_handed(
    struct role *r, const struct role_handed *list, size_t count, struct span keys, struct err *err)
{
	struct strbuf conf, pem;
	struct places places;
	int result;

	if (count == 0) {
		server_stop(server);
		return 0;
	}
	strbuf_init(&conf, CONF_MAX);
	keys_buf_init(&pem);
	find_places(list, count, &places);
	result = take_certificate(keys, &pem, err);
	if (result == 0)
		result = start_server(r, &places, &conf, &pem, err);
	keys_buf_clear(&pem);
	strbuf_clear(&conf);
	return result;
}

/* The monitor starts us again, and not too often. */
static void on_death(void *arg, const char *how)
{
	log_error("lighttpd-ended", LOG_STR("how", how));
	fprintf(stderr, "web-worker: lighttpd ended: %s\n", how);
	_exit(1);
}

static void on_finished(void *arg)
{
	role_finished(arg);
}

static int start(struct role *r, struct err *err)
{
	static const struct server_ops ops = {.on_death = on_death, .on_finished = on_finished};

	umask(0077);
	strbuf_init(&served_conf, CONF_MAX);
	keys_buf_init(&served_pem);
	server = server_new(r->loop, &ops, r);
	return 0;
}

static void on_drain(struct role *r)
{
	server_finish(server);
}

static void stop(struct role *r)
{
	server_free(server);
	keys_buf_clear(&served_pem);
	strbuf_clear(&served_conf);
}

int main(int argc, char **argv)
{
	static const struct role_ops ops = {
	    .name = "web-worker",
	    .starts_programs = true,
	    .serving = &role_handing,
	    .roles = 1u << ROLE_WEB,
	    .start = start,
	    .on_handed = on_handed,
	    .on_drain = on_drain,
	    .stop = stop,
	};

	return role_main(argc, argv, &ops);
}
