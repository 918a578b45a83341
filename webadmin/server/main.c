#include "webadmin/server/server.h"

#include "common/base/mem.h"
#include "common/daemon/identity.h"
#include "common/daemon/keys.h"
#include "common/daemon/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONF_MAX (64 * 1024)

static const char *const servers[] = {"/usr/sbin/lighttpd", "/usr/local/sbin/lighttpd"};

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

/* Chain and key, from keyd, which gives them to root (or to its own uid) only. */
static int fetch_certificate(const struct config *cfg, struct strbuf *pem, struct err *err)
{
	struct ipc_key_fetch f = {.purpose = SPAN("web"),
	    .count = 1,
	    .ids = {span_of(config_str(cfg, SET_WEB_CERTIFICATE))}};
	struct strbuf request, set;
	struct ipc_key_cert cert;
	struct ipc_key_set head;
	int result = -1;

	strbuf_init(&request, 1024);
	keys_buf_init(&set);
	ipc_enc_key_fetch(&request, &f);
	if (keys_fetch(cfg, strbuf_span(&request), &set, err) == 0 &&
	    ipc_dec_key_set(strbuf_span(&set), &head) && ipc_key_next(&head, &cert)) {
		strbuf_add(pem, cert.chain);
		strbuf_add(pem, cert.key);
		result = 0;
	}
	keys_buf_clear(&set);
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
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
	signal(SIGHUP, SIG_IGN);
	say_ready();
	pause();
	return 0;
}

static const char *find_lighttpd(struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(servers); i++)
		if (access(servers[i], X_OK) == 0)
			return servers[i];
	err_set(err, ERR_NOT_FOUND,
	    "found no %s: the web admin needs lighttpd and its mod_openssl; web.port = 0 switches "
	    "it off",
	    servers[0]);
	return NULL;
}

/* The web admin's user, if there is one, and no right that root had. */
static int give_up_rights(const struct identities *ids, struct err *err)
{
	if (ids->are_separate && identity_become(&ids->who[WHO_WEB], err) < 0)
		return -1;
	return caps_drop_all(err);
}

/* Everything for which root is needed: the ports, and the group that may talk to keyd. */
static int prepare(
    const struct config *cfg, struct places *places, struct strbuf *pem, struct err *err)
{
	struct identities ids;

	identities_find(cfg, &ids, NULL);
	if (ids.are_separate && setgroups(1, &ids.all) < 0)
		return err_errno(err, errno, "joining group %u", (unsigned)ids.all);
	if (process_make_run_folder(cfg, "web-server", err) < 0 ||
	    places_bind(cfg, places, err) < 0 || fetch_certificate(cfg, pem, err) < 0)
		return -1;
	return give_up_rights(&ids, err);
}

/* What lighttpd reads, in the folder of sockets, which is no disk; and then lighttpd. */
static int become(const struct config *cfg, const struct places *places, struct span pem_text,
    const char *lighttpd, struct err *err)
{
	char pem[CONFIG_PATH_MAX], conf[CONFIG_PATH_MAX];
	struct strbuf b;
	int result = -1;

	strbuf_init(&b, CONF_MAX);
	if (config_run_path(cfg, "web-server/web.pem", pem, err) == 0 &&
	    config_run_path(cfg, "web-server/lighttpd.conf", conf, err) == 0 &&
	    conf_write(cfg, places, pem, &b, err) == 0 && save(pem, pem_text, err) == 0 &&
	    save(conf, strbuf_span(&b), err) == 0) {
		/* It ends with whoever started us; a change of users would undo that. */
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
		(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		say_ready();
		if (places_hand_on(places, err) == 0) {
			execl(lighttpd, "lighttpd", "-D", "-f", conf, (char *)NULL);
			err_errno(err, errno, "%s", lighttpd);
		}
	}
	strbuf_clear(&b);
	return result;
}

static int serve(const char *conf_path, struct err *err)
{
	struct config *cfg;
	struct places places;
	struct strbuf pem;
	const char *lighttpd;
	int result = -1;

	if (config_load(conf_path, &cfg, err) < 0)
		return -1;
	umask(0077);
	keys_buf_init(&pem);
	if (config_u64(cfg, SET_WEB_PORT) == 0)
		result = stay_off();
	else if ((lighttpd = find_lighttpd(err)) && prepare(cfg, &places, &pem, err) == 0)
		result = become(cfg, &places, strbuf_span(&pem), lighttpd, err);
	keys_buf_clear(&pem);
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
