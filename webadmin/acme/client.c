/* uacme under a user of its own, and the hook that it calls. */
#include "webadmin/acme/acme.h"

#include "common/base/mem.h"
#include "common/daemon/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_NONE 127
#define COMPLAINTS_MAX 4096
#define RUN_SECONDS 300
#define FOLDER_VARIABLE "MAILSTEAD_CHALLENGE"

static const char *const programs[] = {"/usr/bin/uacme", "/usr/local/bin/uacme"};
/* Where TLS libraries look for the authorities that they trust. */
static const char *const bundles[] = {
    "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem", "/etc/pki/tls/certs/ca-bundle.crt"};

struct client {
	const struct config *cfg;
	const char *program, *self;
	char folder[CONFIG_PATH_MAX];    /* <state>/acme/client */
	char challenge[CONFIG_PATH_MAX]; /* <run>/acme/challenge */
	char csr[CONFIG_PATH_MAX];
	char name[ACME_ID_MAX + 16]; /* of the file with the chain */
	struct identities ids;
};

static void say(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
}

/* --- in the child
 * ------------------------------------------------------------------------------------------ */
static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	size_t n = strlen(text);
	bool is_done = fd >= 0 && write(fd, text, n) == (ssize_t)n;

	if (fd >= 0)
		close(fd);
	if (!is_done)
		say(path);
	return is_done;
}

/*
 * uacme knows no option for an authority of one's own: in a view of the files of its own, this one
 * stands where the system's are. A user's namespace makes that possible without rights.
 */
static bool trust(const char *ca_file)
{
	unsigned uid = geteuid(), gid = getegid();
	bool has_any = false;
	char map[64];

	/* Who changed users does not own its own /proc files without this. */
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) {
		say("acme.ca_file needs user namespaces");
		return false;
	}
	(void)put("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%u %u 1", uid, uid);
	if (!put("/proc/self/uid_map", map))
		return false;
	snprintf(map, sizeof(map), "%u %u 1", gid, gid);
	if (!put("/proc/self/gid_map", map))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(bundles); i++) {
		if (access(bundles[i], F_OK) < 0)
			continue;
		if (mount(ca_file, bundles[i], NULL, MS_BIND, NULL) < 0) {
			say(ca_file);
			return false;
		}
		has_any = true;
	}
	if (!has_any)
		fprintf(stderr, "acme.ca_file: no bundle of the system's to stand in for\n");
	return has_any;
}

static bool settle(const struct client *c, int out)
{
	struct rlimit size = {.rlim_cur = 1024 * 1024, .rlim_max = 1024 * 1024};
	const struct identity *who = &c->ids.who[WHO_ACME];
	const char *ca_file = config_str(c->cfg, SET_ACME_CA_FILE);
	struct err err = ERR_INIT;

	if (dup2(out, STDERR_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		return false;
	(void)close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	if (c->ids.are_separate && identity_become(who, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return false;
	}
	/* Whoever becomes somebody else has to say it again. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	(void)setrlimit(RLIMIT_FSIZE, &size);
	umask(0022);
	return ca_file[0] == '\0' || trust(ca_file);
}

static _Noreturn void become_uacme(
    const struct client *c, struct span csr, const char *const words[], int out)
{
	static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	char folder[CONFIG_PATH_MAX + 32];
	char *env[] = {path, folder, NULL};
	const char *hook = config_str(c->cfg, SET_ACME_HOOK);
	const char *argv[16] = {c->program, "-y", "-f", "-o", "-t", "EC", "-a",
	    config_str(c->cfg, SET_ACME_URL), "-c", c->folder, "-h", hook[0] ? hook : c->self,
	    "--"}; /* acme.email is anything, and no option */
	size_t n = 13;

	for (; *words && n < ARRAY_LEN(argv) - 1; words++)
		if ((*words)[0])
			argv[n++] = *words;
	snprintf(folder, sizeof(folder), FOLDER_VARIABLE "=%s", c->challenge);
	if (settle(c, out)) {
		char old[CONFIG_PATH_MAX * 2];

		snprintf(old, sizeof(old), "%s/%s", c->folder, c->name);
		(void)unlink(old);
		if (csr.n == 0 || put(c->csr, csr.p)) {
			execve(c->program, (char *const *)(uintptr_t)argv, env);
			say(c->program);
		}
	}
	_exit(EXIT_NONE);
}

/* --- in the parent
 * ------------------------------------------------------------------------------------------ */
/* Of what it complained about: the authority's words (RFC 8555 6.7), or else its own last ones. */
static struct span last_words(struct span text)
{
	ssize_t at = span_find(text, SPAN("\"detail\": \""));
	ssize_t end;

	if (at >= 0) {
		text = span_from(text, (size_t)at + 11);
		end = span_chr(text, '"');
		return end < 0 ? text : span_sub(text, 0, (size_t)end);
	}
	at = span_find(text, SPAN("uacme: "));
	while (at >= 0) {
		text = span_from(text, (size_t)at + 7);
		at = span_find(text, SPAN("uacme: "));
	}
	end = span_chr(text, '\n');
	return span_trim(end < 0 ? text : span_sub(text, 0, (size_t)end));
}

static void drain(int fd, pid_t pid, struct strbuf *text)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	time_t end = time(NULL) + RUN_SECONDS;
	char chunk[1024];
	ssize_t n = 1;

	while (n != 0) {
		if (time(NULL) >= end || (poll(&p, 1, 1000) < 0 && errno != EINTR)) {
			(void)kill(pid, SIGKILL);
			strbuf_add_str(text, "\nno end after 5 minutes");
			return;
		}
		if (!(p.revents & (POLLIN | POLLHUP)))
			continue;
		n = read(fd, chunk, sizeof(chunk));
		if (n < 0 && errno != EINTR)
			return;
		/* Of much, the end. */
		if (n > 0 && text->n + (size_t)n > COMPLAINTS_MAX)
			strbuf_reset(text);
		if (n > 0)
			strbuf_add_mem(text, chunk, (size_t)n);
	}
}

/* Exit status of uacme with these words; what it said goes into text. */
static int start(const struct client *c, struct span csr, const char *const words[],
    struct strbuf *text, struct err *err)
{
	int ends[2], status = 0;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_errno(err, errno, "pipe");
	pid = fork();
	if (pid == 0)
		become_uacme(c, csr, words, ends[1]);
	close(ends[1]);
	if (pid > 0) {
		drain(ends[0], pid, text);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	close(ends[0]);
	if (pid < 0)
		return err_errno(err, errno, "fork");
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_NONE;
}

static int fail(const char *what, const struct strbuf *text, struct err *err)
{
	struct span line = last_words(strbuf_span(text));

	return err_set(err, ERR_TEMP, "%s: %.*s", what, line.n > 200 ? 200 : (int)line.n,
	    line.n > 0 ? line.p : "");
}

static int read_chain(const struct client *c, struct strbuf *cert, struct err *err)
{
	int dir = file_open_folder(c->folder, err);
	int result = dir < 0 ? -1 : file_read(dir, c->name, cert, err);

	if (dir >= 0)
		close(dir);
	return result;
}

static int prepare(struct client *c, const char *id, struct err *err)
{
	char csr[ACME_ID_MAX + 32];

	for (size_t i = 0; i < ARRAY_LEN(programs) && !c->program; i++)
		if (access(programs[i], X_OK) == 0)
			c->program = programs[i];
	if (!c->program)
		return err_set(
		    err, ERR_NOT_FOUND, "found no %s: install the package uacme", programs[0]);
	identities_find(c->cfg, &c->ids, NULL);
	snprintf(c->name, sizeof(c->name), "%s-cert.pem", id);
	snprintf(csr, sizeof(csr), "acme/client/%s.csr", id);
	if (config_state_path(c->cfg, "acme/client", c->folder, err) < 0 ||
	    config_state_path(c->cfg, csr, c->csr, err) < 0 ||
	    config_run_path(c->cfg, "acme/challenge", c->challenge, err) < 0)
		return -1;
	return 0;
}

int client_run(const struct config *cfg, const char *self, const char *id, struct span csr,
    struct strbuf *cert, struct err *err)
{
	struct client c = {.cfg = cfg, .self = self};
	const char *const account[] = {"new", config_str(cfg, SET_ACME_EMAIL), NULL};
	const char *const order[] = {"issue", c.csr, NULL};
	struct strbuf text;
	int status, result = -1;

	if (prepare(&c, id, err) < 0)
		return -1;
	strbuf_init(&text, 2 * COMPLAINTS_MAX);
	/* There may be one already, which uacme calls an error. */
	status = start(&c, SPAN(""), account, &text, err);
	if (status > 0 && span_find(strbuf_span(&text), SPAN("already exists")) < 0) {
		fail("account", &text, err);
		goto out;
	}
	strbuf_reset(&text);
	status = status < 0 ? -1 : start(&c, csr, order, &text, err);
	if (status > 0)
		fail("order", &text, err);
	else if (status == 0)
		result = read_chain(&c, cert, err);
out:
	strbuf_clear(&text);
	return result;
}

/* --- the hook for http-01
 * ------------------------------------------------------------------------------------------ */
/* base64url (RFC 8555 8.3): it becomes a file name. */
static bool is_base64url(const char *s, size_t max, bool has_dot)
{
	size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.");

	return n > 0 && s[n] == '\0' && n <= max && (has_dot || !strchr(s, '.'));
}

int hook_run(char *const words[5])
{
	const char *folder = getenv(FOLDER_VARIABLE);
	char path[CONFIG_PATH_MAX * 2];

	if (!folder || strcmp(words[1], "http-01") != 0)
		return 1; /* another kind of challenge, please */
	if (!is_base64url(words[3], 200, false) || !is_base64url(words[4], 500, true)) {
		fprintf(stderr, "the authority sent no token of RFC 8555\n");
		return 1;
	}
	snprintf(path, sizeof(path), "%s/%s", folder, words[3]);
	if (strcmp(words[0], "begin") == 0)
		return put(path, words[4]) ? 0 : 1;
	return unlink(path) == 0 ? 0 : 1;
}
