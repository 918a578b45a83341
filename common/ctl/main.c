#include "common/ctl/ctl.h"
#include "common/ctl/sendmail.h"

#include "common/base/mem.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_TIMEOUT_MS 120000
#define PATIENCE_MS 1500
#define AGAIN_MS 50
#define SECRET_MAX 1024
#define CONTENT_MAX (1000 * 1024)
#define FILES_MAX 8

struct options {
	const char *conf;
	bool is_json, has_secret;
	bool is_step; /* of several: it says only what goes wrong */
	const char *files[FILES_MAX];
	size_t file_count;
	struct span words[IPC_ADMIN_WORDS];
	uint32_t count;
};

static const char usage_text[] =
    "usage: mailsteadctl [-c FILE] [--json] VERB ...\n"
    "\n"
    "  run                                start everything, in the foreground\n"
    "  status                             what runs, and each listener\n"
    "  reload                             read the configuration again\n"
    "  domain add|remove DOMAIN           domain list\n"
    "  domain dns DOMAIN [--check|--zone] the DNS records that it needs\n"
    "  check-network                      port 25, names, blocklists\n"
    "  probe DOMAIN                       how mail to it would go: servers, TLS, DANE, MTA-STS\n"
    "  send-test ADDRESS [--from ADDRESS] a message on its way, until it arrived\n"
    "  dkim list [DOMAIN]                 dkim rotate|activate|cancel DOMAIN\n"
    "  account add ADDRESS [--admin] --password-stdin\n"
    "  account password ADDRESS --password-stdin\n"
    "  account disable|enable|show|quota|receive-only|protocols|limits|kick ADDRESS ...\n"
    "  account remove ADDRESS [--now]     account restore ADDRESS|NUMBER [NEW-ADDRESS]\n"
    "  account list [DOMAIN]|--removed    setup-code, totp remove ADDRESS\n"
    "  app-password add ADDRESS LABEL     app-password list ADDRESS, remove ADDRESS ID\n"
    "  sender add|remove ACCOUNT ADDRESS  sender list ACCOUNT\n"
    "  alias add ADDRESS TARGET ...       alias remove ADDRESS, alias list\n"
    "  set NAME VALUE [NAME VALUE ...]    get [NAME], unset NAME ..., diff, confirm\n"
    "  failures list                      failures forget ADDRESS|ACCOUNT, block ADDRESS\n"
    "  audit list [COUNT]                 who changed what\n"
    "  cert list                          cert show|check|rollback|remove ID\n"
    "  cert new ID [NAME...]              self-signed; cert csr ID [NAME...] for a CA\n"
    "  cert import|answer ID [--file FILE]... [--password-stdin] [--install]\n"
    "  cert install ID                    cert export-chain|staple ID\n"
    "  cert acme list                     cert acme issue ID [NAME...] [--agree], stop ID\n"
    "  route add all|to:DOMAIN|from:DOMAIN HOST[:PORT] [tls=...] [user=NAME --password-stdin]\n"
    "  tls-rule add DOMAIN RULE           tls-rule remove DOMAIN, tls-rule list\n"
    "  route list, route suggest          route remove all|to:DOMAIN|from:DOMAIN [HOST]\n"
    "  queue list                         queue show ID\n"
    "  queue retry|hold|release|return|delete ID|domain NAME|all\n"
    "  queue pause|resume [DOMAIN]        queue paused list\n"
    "  trace FROM|TO|ID|CLIENT|last [COUNT]\n"
    "                                     what became of messages\n"
    "  traffic [HOURS]                    counts of each hour\n"
    "  record CLIENT-ADDRESS              log its next SMTP session line by line\n"
    "  undelete list ADDRESS [MAILBOX]    undelete message ADDRESS MAILBOX UID\n"
    "  undelete mailbox ADDRESS MAILBOX   undelete since ADDRESS TIME\n"
    "  upgrade                            the programs installed now take over\n"
    "  backup [FOLDER]                    backup list|verify [FOLDER]\n"
    "  restore FOLDER [ADDRESS|--all]     restore FOLDER --list\n"
    "  export ADDRESS FOLDER              import ADDRESS PATH\n"
    "  check [--repair] [--bodies]        compact, recover: while mailstead is stopped\n"
    "  migrate [--look]                   databases of an older version\n"
    "  help                               all verbs (asks the running instance)\n"
    "  config check|sample|man            without a running instance\n"
    "\n"
    "man mailsteadctl says more.\n";

static int usage(void)
{
	fputs(usage_text, stderr);
	return EXIT_USAGE;
}

/* Options may stand anywhere; "--" ends them. */
static bool parse_options(int argc, char **argv, struct options *o)
{
	bool are_over = false;

	o->conf = MS_CONF;
	for (int i = 1; i < argc; i++) {
		if (!are_over && strcmp(argv[i], "--") == 0) {
			are_over = true;
		} else if (!are_over && strcmp(argv[i], "--json") == 0) {
			o->is_json = true;
		} else if (!are_over && strcmp(argv[i], "--password-stdin") == 0) {
			o->has_secret = true;
		} else if (!are_over && strcmp(argv[i], "--file") == 0) {
			if (++i == argc || o->file_count == FILES_MAX)
				return false;
			o->files[o->file_count++] = argv[i];
		} else if (!are_over && strcmp(argv[i], "-c") == 0) {
			if (++i == argc)
				return false;
			o->conf = argv[i];
		} else if (o->count == IPC_ADMIN_WORDS) {
			return false;
		} else {
			o->words[o->count++] = span_of(argv[i]);
		}
	}
	return o->count > 0;
}

static bool word_is(const struct options *o, uint32_t i, const char *word)
{
	return i < o->count && span_eq(o->words[i], span_of(word));
}

static void fail(const struct options *o, enum err_code code, struct span text)
{
	if (o->is_json) {
		fputs("{\"error\": ", stdout);
		print_json_string(span_of(err_code_name(code)));
		fputs(", \"text\": ", stdout);
		print_json_string(text);
		fputs("}\n", stdout);
		return;
	}
	fprintf(stderr, "mailsteadctl: %.*s\n", SPAN_FMT(text));
}

/* authd may be away for a moment: it is started again at an upgrade, and when it dies. */
static int connect_patiently(const char *path, struct err *err)
{
	struct timespec pause = {.tv_nsec = AGAIN_MS * 1000000L};
	int fd;

	for (unsigned i = 0; (fd = ipc_sync_connect(path, ANSWER_TIMEOUT_MS, err)) < 0; i++) {
		if (err->code == ERR_DENIED || i == PATIENCE_MS / AGAIN_MS)
			return err_wrap(err, "mailstead does not seem to run");
		(void)nanosleep(&pause, NULL);
	}
	return fd;
}

static int connect_admin(const struct options *o, struct err *err)
{
	char path[CONFIG_PATH_MAX];
	struct config *cfg;
	int fd = -1;

	if (config_load(o->conf, &cfg, err) < 0)
		return -1;
	if (config_run_path(cfg, RUN_ADMIN_SOCK, path, err) == 0)
		fd = connect_patiently(path, err);
	config_unref(cfg);
	return fd;
}

static int send_request(
    const struct options *o, int fd, struct span secret, struct span content, struct err *err)
{
	struct ipc_admin cmd = {.secret = secret, .count = o->count, .content = content};
	struct strbuf body;
	int result;

	memcpy(cmd.words, o->words, sizeof(cmd.words));
	strbuf_init(&body, IPC_BODY_MAX);
	(void)strbuf_room(&body, content.n + 4096);
	ipc_enc_admin(&body, &cmd);
	result = body.failed
		     ? err_set(err, ERR_LIMIT, "the command is too long")
		     : ipc_sync_send(fd, IPC_ADMIN, 1, strbuf_span(&body), ANSWER_TIMEOUT_MS, err);
	mem_wipe(body.p, body.cap);
	strbuf_clear(&body);
	return result;
}

/* The records, then how it ended. */
static int receive(int fd, int timeout_ms, struct records *r, struct strbuf *text,
    enum err_code *code, struct err *err)
{
	struct ipc_error end = {0};
	struct ipc_msg msg;
	struct strbuf buf;
	int result;

	strbuf_init(&buf, IPC_BODY_MAX);
	while ((result = ipc_sync_recv(fd, &buf, &msg, timeout_ms, err)) == 0 &&
	       msg.type == IPC_ADMIN_RECORD)
		records_add(r, msg.body);
	if (result == 0 && ((msg.type != IPC_ADMIN_END && msg.type != IPC_ERROR) ||
			       !ipc_dec_error(msg.body, &end)))
		result = err_set(err, ERR_INVALID, "this is no answer that makes sense");
	if (result == 0) {
		*code = end.code;
		strbuf_add(text, end.text);
	}
	strbuf_clear(&buf);
	return result;
}

static bool is_list(const struct options *o)
{
	return word_is(o, o->count - 1, "list") || word_is(o, 1, "list") ||
	       word_is(o, 0, "trace") || word_is(o, 1, "suggest");
}

/* Each of their records is a finding. */
static bool is_findings(const struct options *o)
{
	return word_is(o, 0, "check-network") || word_is(o, 0, "probe") ||
	       (word_is(o, 0, "domain") && word_is(o, 1, "dns") &&
		   !word_is(o, o->count - 1, "--zone"));
}

static bool is_changed_settings(const struct options *o)
{
	return word_is(o, 0, "set") || word_is(o, 0, "unset");
}

/* set and unset: a sentence for each setting; and who did not hear of it. */
static void print_changed(const struct options *o, const struct records *r)
{
	uint32_t step = word_is(o, 0, "set") ? 2 : 1;

	for (uint32_t i = 1; i < o->count; i += step) {
		fwrite(o->words[i].p, 1, o->words[i].n, stdout);
		if (step == 2 && i + 1 < o->count)
			printf(" is \"%.*s\" now\n", SPAN_FMT(o->words[i + 1]));
		else
			fputs(" has its default again\n", stdout);
	}
	print_silent(r);
}

/* What a verb without an answer has done: nothing is said twice. */
static void print_done(const struct options *o)
{
	fputs("done:", stdout);
	for (uint32_t i = 0; i < o->count; i++)
		printf(" %.*s", SPAN_FMT(o->words[i]));
	putchar('\n');
}

static int print_result(
    const struct options *o, const struct records *r, enum err_code code, const struct strbuf *text)
{
	int status = is_findings(o) && has_bad_finding(r) ? EXIT_FAILED : 0;

	if (code != ERR_NONE) {
		if (!o->is_json)
			print_tables(r);
		fail(o, code, strbuf_span(text));
		return EXIT_FAILED;
	}
	if (o->is_step)
		return status;
	if (!o->is_json) {
		if (is_findings(o))
			print_findings(r);
		else if (is_changed_settings(o))
			print_changed(o, r);
		else if (word_is(o, 0, "get") || word_is(o, 0, "diff"))
			print_settings(r, o->count > 1);
		else
			print_tables(r);
		if (text->n > 0)
			printf("%s\n", text->p);
		else if (r->count == 0 && is_list(o))
			fputs("none\n", stderr);
		else if (r->count == 0 && !word_is(o, 0, "diff"))
			print_done(o);
		return status;
	}
	/* A list stays a list when it is empty. */
	if (r->count > 0 || is_list(o)) {
		print_json(r);
		return status;
	}
	fputs("{\"ok\": true, \"text\": ", stdout);
	print_json_string(strbuf_span(text));
	fputs("}\n", stdout);
	return 0;
}

/* A password on the command line is one that everybody on the machine can read. */
static bool wants_secret(const struct options *o)
{
	return word_is(o, 0, "account") && (word_is(o, 1, "add") || word_is(o, 1, "password"));
}

/* These want a file: standard input, if none is named. */
static bool wants_file(const struct options *o)
{
	return word_is(o, 0, "cert") && (word_is(o, 1, "import") || word_is(o, 1, "answer"));
}

static int read_files(const struct options *o, struct strbuf *content, struct err *err)
{
	if (o->file_count == 0 && wants_file(o))
		return read_content("-", content, err);
	for (size_t i = 0; i < o->file_count; i++)
		if (read_content(o->files[i], content, err) < 0)
			return -1;
	return 0;
}

static int request(const struct options *o);

/*
 * upgrade, where the programs installed now want another format: their predecessors let go of the
 * databases, which are brought up, and then the new programs, which wait for that, go on.
 */
static int upgrade_verb(struct options *o)
{
	struct err err = ERR_INIT;
	struct strbuf text;
	bool is_old = false;
	int status;

	strbuf_init(&text, IPC_BODY_MAX);
	if (ctl_migrate(o->conf, true, &is_old, &text, &err) < 0 && err.code == ERR_UNSUPPORTED) {
		fail(o, err.code, span_of(err.text));
		strbuf_clear(&text);
		return EXIT_FAILED;
	}
	strbuf_clear(&text);
	if (!is_old)
		return request(o);
	o->words[o->count++] = SPAN("--drain");
	o->is_step = true;
	status = request(o);
	if (status != 0)
		return status;
	o->is_step = false;
	o->words[0] = SPAN("migrate");
	o->count = 1;
	return request(o);
}

static int request(const struct options *o)
{
	struct records r = {0};
	struct strbuf secret, content, text;
	enum err_code code = ERR_NONE;
	struct err err = ERR_INIT;
	bool is_maint = ctl_is_maint(o->words[0]);
	int status = EXIT_FAILED;
	pid_t pid = 0;
	int fd = -1;

	strbuf_init(&secret, SECRET_MAX);
	strbuf_init(&content, CONTENT_MAX);
	if (o->file_count > 0 || wants_file(o))
		(void)strbuf_room(&content, CONTENT_MAX);
	strbuf_init(&text, IPC_BODY_MAX);
	if (o->has_secret && !read_secret(&secret)) {
		fail(o, ERR_INVALID, SPAN("no password on standard input"));
		goto out;
	}
	if (read_files(o, &content, &err) < 0) {
		fail(o, err.code, span_of(err.text));
		goto out;
	}
	/* maint takes the time it needs; authd has a deadline for everything. */
	fd = is_maint ? ctl_maint_start(o->conf, o->words, o->count, &pid, &err)
		      : connect_admin(o, &err);
	if (fd < 0 ||
	    (!is_maint &&
		send_request(o, fd, strbuf_span(&secret), strbuf_span(&content), &err) < 0) ||
	    receive(fd, is_maint ? 0 : ANSWER_TIMEOUT_MS, &r, &text, &code, &err) < 0) {
		fail(o, err.code, span_of(err.text));
		status = fd < 0 ? EXIT_UNREACHABLE : EXIT_FAILED;
		goto out;
	}
	status = print_result(o, &r, code, &text);
out:
	if (fd >= 0)
		close(fd);
	if (pid > 0)
		ctl_maint_wait(pid);
	mem_wipe(secret.p, secret.cap);
	mem_wipe(content.p, content.cap);
	strbuf_clear(&secret);
	strbuf_clear(&content);
	strbuf_clear(&text);
	records_clear(&r);
	return status;
}

static int config_verb(const struct options *o)
{
	struct config *cfg;
	struct strbuf text;
	struct err err = ERR_INIT;

	if (word_is(o, 1, "check")) {
		if (config_load(o->conf, &cfg, &err) < 0) {
			fail(o, err.code, span_of(err.text));
			return EXIT_FAILED;
		}
		config_unref(cfg);
		return 0;
	}
	strbuf_init(&text, IPC_BODY_MAX);
	if (word_is(o, 1, "sample"))
		config_sample(&text);
	else if (word_is(o, 1, "man"))
		config_man(&text);
	else
		return usage();
	fwrite(text.p, 1, text.n, stdout);
	strbuf_clear(&text);
	return 0;
}

/* The names under which other programs know the mail server's command. */
static bool is_called(const char *argv0, const char *name)
{
	const char *slash = strrchr(argv0, '/');

	return strcmp(slash ? slash + 1 : argv0, name) == 0;
}

/* "run --check" is asked by a running one that is about to become this program. */
static int run_verb(const struct options *o, char **argv)
{
	struct err err = ERR_INIT;
	struct config *cfg;

	if (o->count == 1)
		return ctl_run(o->conf, argv);
	if (o->count != 2 || !word_is(o, 1, "--check"))
		return usage();
	if (config_load(o->conf, &cfg, &err) < 0) {
		fail(o, err.code, span_of(err.text));
		return EXIT_FAILED;
	}
	config_unref(cfg);
	return 0;
}

static int clock_verb(const struct options *o)
{
	struct err err = ERR_INIT;

	if (ctl_clock(o->words, o->count, &err) == 0)
		return 0;
	fail(o, err.code, span_of(err.text));
	return EXIT_FAILED;
}

int main(int argc, char **argv)
{
	static char queue_word[] = "queue", list_word[] = "list";
	char *mailq[] = {argv[0], queue_word, list_word, NULL};
	struct options o = {0};

	if (argc < 1)
		return usage();
	if (is_called(argv[0], "sendmail"))
		return ctl_sendmail(argc, argv);
	if (is_called(argv[0], "newaliases"))
		return 0; /* aliases stand in the accounts' database */
	if (is_called(argv[0], "mailq")) {
		argc = 3;
		argv = mailq;
	}
	if (!parse_options(argc, argv, &o))
		return usage();
	if (word_is(&o, 0, "--help") || word_is(&o, 0, "-h")) {
		fputs(usage_text, stdout);
		return 0;
	}
	if (word_is(&o, 0, "--version")) {
		puts("mailsteadctl " MS_VERSION);
		return 0;
	}
	if (span_starts(o.words[0], SPAN("-")))
		return usage();
	if (wants_secret(&o) && !o.has_secret) {
		fail(&o, ERR_INVALID, SPAN("say --password-stdin, and the password there"));
		return EXIT_USAGE;
	}
	if (word_is(&o, 0, "run"))
		return run_verb(&o, argv);
	if (word_is(&o, 0, "config"))
		return o.count == 2 ? config_verb(&o) : usage();
	if (word_is(&o, 0, "clock"))
		return clock_verb(&o);
	if (word_is(&o, 0, "upgrade") && o.count == 1)
		return upgrade_verb(&o);
	return request(&o);
}
