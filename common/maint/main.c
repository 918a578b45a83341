#include "common/maint/maint.h"

#include "common/base/mem.h"
#include "common/ipc/ipc.h"
#include "common/log/log.h"
#include "common/store/check.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEND_MS 600000 /* whoever prints may be stopped for a while */

static const struct {
	const char *name;
	size_t min, max; /* words behind the verb, options not counted */
	int (*run)(struct maint *m);
	const char *options; /* with "=" where a value follows */
	const char *usage;
} verbs[] = {
    {"check", 0, 0, verb_check, "--repair --bodies", "[--repair] [--bodies]"},
    {"export", 2, 2, verb_export,
	"--format= --mailbox=", "ADDRESS FOLDER [--format=maildir|mbox] [--mailbox=NAME]"},
    {"backup", 0, 2, verb_backup, "--keep= --bodies --scheduled --generation=",
	"[FOLDER] [--keep=N] [--bodies] [--scheduled] | list [FOLDER] | verify [FOLDER] "
	"[--generation=TIME]"},
    {"restore", 1, 2, verb_restore, "--force --all --list --mailbox= --uid= --to= --generation=",
	"FOLDER --list | FOLDER [--force] | FOLDER --all | FOLDER ADDRESS [--mailbox=NAME "
	"[--uid=N]] [--to=ADDRESS]; [--generation=TIME]"},
    {"compact", 0, 0, verb_compact, "", ""},
    {"recover", 0, 0, verb_recover, "", ""},
    {"migrate", 0, 0, verb_migrate, "--look", "[--look]"},
    {"import", 2, 2, verb_import, "--mailbox=", "ADDRESS PATH [--mailbox=NAME]"},
};

struct span maint_word(const struct maint *m, size_t n)
{
	for (size_t i = 0; i < m->word_count; i++)
		if (!span_starts(m->words[i], SPAN("--")) && n-- == 0)
			return m->words[i];
	return SPAN("");
}

static size_t count_words(const struct maint *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->word_count; i++)
		n += !span_starts(m->words[i], SPAN("--"));
	return n;
}

/* One that is misspelt must not count as one that was not given. */
static bool options_are_known(const struct maint *m, const char *known)
{
	for (size_t i = 0; i < m->word_count; i++) {
		struct span rest = span_of(known);
		bool is_known = !span_starts(m->words[i], SPAN("--"));
		struct span option;

		while (!is_known && span_split(&rest, ' ', &option))
			is_known = option.n > 0 &&
				   (option.p[option.n - 1] == '=' ? span_starts(m->words[i], option)
								  : span_eq(m->words[i], option));
		if (!is_known)
			return false;
	}
	return true;
}

bool maint_has(const struct maint *m, const char *option)
{
	for (size_t i = 0; i < m->word_count; i++)
		if (span_eq(m->words[i], span_of(option)))
			return true;
	return false;
}

struct span maint_option(const struct maint *m, const char *name)
{
	struct span want = span_of(name);

	for (size_t i = 0; i < m->word_count; i++)
		if (span_starts(m->words[i], want) && m->words[i].n > want.n &&
		    m->words[i].p[want.n] == '=')
			return span_from(m->words[i], want.n + 1);
	return span_of(NULL);
}

void maint_record(struct strbuf *record)
{
	struct err err = ERR_INIT;

	if (ipc_sync_send(ANSWER_FD, IPC_ADMIN_RECORD, 1, strbuf_span(record), SEND_MS, &err) < 0) {
		fprintf(stderr, "maint: %s\n", err.text);
		_exit(1);
	}
	strbuf_clear(record);
}

void maint_damage(void *arg, const struct store_damage *d)
{
	struct strbuf b;

	strbuf_init(&b, 4096);
	ipc_rec_number(&b, "account", IPC_NUMBER, d->account);
	ipc_rec_text(&b, "mailbox", span_of(d->mailbox ? d->mailbox : ""));
	ipc_rec_number(&b, "uid", IPC_NUMBER, d->uid);
	ipc_rec_text(&b, "damage", span_of(d->what));
	ipc_rec_number(&b, "repaired", IPC_BOOL, d->is_repaired);
	maint_record(&b);
}

int maint_end(struct maint *m, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	if (m->code == ERR_NONE) {
		m->code = code;
		va_start(ap, fmt);
		vsnprintf(m->text, sizeof(m->text), fmt, ap);
		va_end(ap);
	}
	return code == ERR_NONE ? 0 : -1;
}

int maint_fail(struct maint *m, const struct err *err)
{
	return maint_end(m, err->code, "%s", err->text);
}

void maint_progress(const char *fmt, ...)
{
	va_list ap;

	if (!isatty(2))
		return;
	fputs("\r\033[K", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fflush(stderr);
}

/* --- children
 * -------------------------------------------------------------------------------------- */
struct ending {
	enum err_code code;
	char text[sizeof(((struct maint *)0)->text)];
};

static _Noreturn void child(struct maint *m, enum who who, int fd, int (*fn)(struct maint *m))
{
	const struct rlimit no_core = {0, 0};
	struct err err = ERR_INIT;
	struct ending e;

	/* A crash is an answer here, and the memory holds mail. */
	(void)setrlimit(RLIMIT_CORE, &no_core);
	m->code = ERR_NONE;
	m->text[0] = '\0';
	if (who != WHO_COUNT && m->ids.are_separate && identity_become(&m->ids.who[who], &err) < 0)
		maint_fail(m, &err);
	else
		fn(m);
	e.code = m->code;
	memcpy(e.text, m->text, sizeof(e.text));
	(void)!write(fd, &e, sizeof(e));
	_exit(0);
}

struct running {
	pid_t pid;
	int fd; /* its ending comes here */
};

static int launch(struct maint *m, enum who who, int (*fn)(struct maint *m), struct running *r)
{
	int ends[2];

	r->pid = -1;
	if (pipe(ends) < 0)
		return maint_end(m, ERR_IO, "pipe: %s", strerror(errno));
	fflush(NULL);
	r->pid = fork();
	if (r->pid == 0) {
		close(ends[0]);
		child(m, who, ends[1], fn);
	}
	close(ends[1]);
	r->fd = ends[0];
	if (r->pid > 0)
		return 0;
	close(ends[0]);
	return maint_end(m, ERR_IO, "fork: %s", strerror(errno));
}

/* Its end, or what the signal that killed it says of what it read. */
static int collect(struct maint *m, struct running *r, const char *what)
{
	struct ending e;
	int status = 0;
	ssize_t n;

	if (r->pid < 0)
		return -1;
	do
		n = read(r->fd, &e, sizeof(e));
	while (n < 0 && errno == EINTR);
	close(r->fd);
	while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (n != (ssize_t)sizeof(e))
		return maint_end(m, ERR_CORRUPT,
		    "%s is damaged so badly that it cannot be read (signal %d): restore it from a "
		    "backup, or try mailsteadctl recover",
		    what, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	e.text[sizeof(e.text) - 1] = '\0';
	return e.text[0] || e.code ? maint_end(m, e.code, "%s", e.text) : 0;
}

int maint_run_as(struct maint *m, enum who who, const char *what, int (*fn)(struct maint *m))
{
	struct running r;

	return launch(m, who, fn, &r) < 0 ? -1 : collect(m, &r, what);
}

int maint_run_both(struct maint *m, enum who first, int (*send)(struct maint *m), enum who second,
    int (*take)(struct maint *m), int in, int out)
{
	struct running a = {.pid = -1};
	struct running b = {.pid = -1};
	int rc = launch(m, first, send, &a);

	if (rc == 0)
		rc = launch(m, second, take, &b);
	close(in);
	close(out);
	/* Why the first one stopped is why the second one did, unless that hung up on it. */
	if (collect(m, &a, "the source") < 0)
		rc = -1;
	if (m->code == ERR_CLOSED) {
		m->code = ERR_NONE;
		return collect(m, &b, "the target") < 0
			   ? -1
			   : maint_end(m, ERR_CLOSED, "the target ended too early");
	}
	if (collect(m, &b, "the target") < 0)
		rc = -1;
	return rc;
}

/* --- the beginning
 * ----------------------------------------------------------------------------------- */
static int run(struct maint *m)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		size_t n = count_words(m) - 1;

		if (!span_eq(m->words[0], span_of(verbs[i].name)))
			continue;
		if (n < verbs[i].min || n > verbs[i].max || !options_are_known(m, verbs[i].options))
			return maint_end(
			    m, ERR_INVALID, "usage: %s %s", verbs[i].name, verbs[i].usage);
		return verbs[i].run(m);
	}
	return maint_end(m, ERR_INVALID, "no such command");
}

static int start(struct maint *m, int argc, char **argv, struct err *err)
{
	struct err why = ERR_INIT;

	if (argc < 4 || strcmp(argv[1], "-c") != 0 || argc - 3 > ARGS_MAX)
		return err_set(err, ERR_INVALID, "maint is started by mailsteadctl");
	for (int i = 3; i < argc; i++)
		m->words[m->word_count++] = span_of(argv[i]);
	if (config_load(argv[2], &m->cfg, err) < 0)
		return -1;
	identities_find(m->cfg, &m->ids, &why);
	return 0;
}

/* The end of the command, to who asked. */
static int answer_and_end(struct maint *m)
{
	struct err err = ERR_INIT;
	struct strbuf body;

	strbuf_init(&body, 1024);
	ipc_enc_error(
	    &body, &(struct ipc_error){.code = (uint16_t)m->code, .text = span_of(m->text)});
	if (ipc_sync_send(ANSWER_FD, IPC_ADMIN_END, 1, strbuf_span(&body), SEND_MS, &err) < 0)
		fprintf(stderr, "maint: %s\n", err.text);
	strbuf_clear(&body);
	config_unref(m->cfg);
	return m->code == ERR_NONE ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct maint m = {.code = ERR_NONE};
	struct err err = ERR_INIT;

	log_open("maint", 2);
	if (argc == 3 && strcmp(argv[1], "-c") == 0)
		return maint_serve(argv[2]);
	log_set_level(LOG_WARNING);
	signal(SIGPIPE, SIG_IGN);
	if (start(&m, argc, argv, &err) < 0)
		maint_fail(&m, &err);
	else
		run(&m);
	maint_progress("%s", "");
	return answer_and_end(&m);
}
