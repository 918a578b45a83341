/*
 * A whole POP3 session on any bytes, with a maildrop of four messages, one of them in UTF-8. Each
 * input runs twice, in one piece and cut at random places, for an account of its own each. Oracles:
 * both runs say the same, byte for byte; each reply is +OK, -ERR or a challenge; the session ends,
 * gives the maildrop's lock back, and nothing of it is left.
 */
#include "pop3d/pop3.h"
#include "tests/support/session_fuzz.h"

#include <fcntl.h>

static struct pop3d server;

static const struct span begins[] = {
    SPAN_INIT(""), SPAN_INIT("USER a\r\nPASS p\r\n"), SPAN_INIT("UTF8\r\nUSER a\r\nPASS p\r\n")};

static const struct {
	struct span text;
	uint32_t flags;
} letters[] = {
    {SPAN_INIT("Subject: one\r\n\r\n.\r\n..x\r\n"), 0},
    {SPAN_INIT("lone\nlf\rand cr"), 0},
    {SPAN_INIT("Subject: \xc3\xbc\r\nTo: \xc3\xbc@b\r\n\r\n.\xc3\xbc\r\n"), MESSAGE_UTF8},
    {SPAN_INIT("x"), FLAG_SEEN},
};

/* --- the maildrop ------------------------------------------------------------------------------
 */
static bool is_filled;

static int fill_run(struct db_op *op, struct db_txn *txn, struct err *err)
{
	struct store_mailbox inbox;

	need(store_account_ensure(txn, account, err) == 0 &&
	     store_mailbox_find(txn, account, SPAN("INBOX"), &inbox, err) == 0);
	for (size_t i = 0; i < ARRAY_LEN(letters); i++) {
		struct blob_writer *w = blob_writer_new(NULL, SIZE_MAX);
		struct blob blob;
		struct store_append m = {.flags = letters[i].flags, .blob = &blob};

		need(blob_write(w, letters[i].text, err) == 0 && blob_finish(w, &blob, err) == 0);
		need(store_append(txn, account, inbox.id, &m, NULL, err) == 0);
		blob_writer_free(w);
	}
	return 0;
}

static void fill_done(struct db_op *op)
{
	need(op->err.code == ERR_NONE);
	is_filled = true;
	loop_stop(frame.role.loop);
}

static void fill(void)
{
	static struct db_op op;

	op = (struct db_op){.run = fill_run, .done = fill_done, .need = DB_ADDS};
	account++;
	is_filled = false;
	store_write(store, &op);
	loop_run(frame.role.loop);
	need(is_filled);
}

static void start_once(void)
{
	char path[128];

	if (frame.role.loop)
		return;
	start_frame("pop3",
	    "server.hostname = mail.example.test\nlistener.pop3.tls = none\n"
	    "listener.pop3.login_without_tls = yes\npop3.bad_commands_max = 100\n"
	    "log.level = error\n",
	    &server);
	list_init(&server.sessions);
	server.role = &frame.role;
	server.store = store;
	server.maildrops = hash_new();
	snprintf(path, sizeof(path), "/dev/shm/fuzz-pop3-locks-%d", getpid());
	server.lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	need(server.lock_fd >= 0 && unlink(path) == 0);
}

static void begin_anew(void)
{
	store_close(store);
	store_end();
	store_begin();
	server.store = store;
}

static void start(struct role_listener *l, int fd, const struct net_addr *peer)
{
	session_start(&server, l, fd, peer);
}

/* The first line of each answer; those behind it are of a message or a list. */
static void check(struct span all)
{
	struct span line;

	need(span_starts(all, SPAN("+OK ")));
	while (all.n > 0) {
		ssize_t lf = span_chr(all, '\n');

		need(lf > 0 && all.p[lf - 1] == '\r');
		line = span_sub(all, 0, (size_t)lf - 1);
		/* A line of a message that is a dot has got another one. */
		need(!span_starts(line, SPAN(".")) || line.n == 1 || line.p[1] == '.');
		all = span_from(all, (size_t)lf + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t bytewise[] = {0};
	size_t cut_count = size > 1 ? data[1] % 8 : 0;
	struct strbuf whole, in;

	if (size < 2 + cut_count)
		return 0;
	start_once();
	strbuf_init(&in, size + 4096);
	strbuf_add(&in, begins[data[0] % ARRAY_LEN(begins)]);
	strbuf_add_mem(&in, data + 2 + cut_count, size - 2 - cut_count);
	fill();
	run_session(strbuf_span(&in), NULL, 0, ROLE_POP3, &server.sessions, start);
	need(hash_count(server.maildrops) == 0);
	whole = client.heard;
	check(strbuf_span(&whole));
	fill();
	run_session(strbuf_span(&in), cut_count == 0 ? bytewise : data + 2,
	    cut_count == 0 ? 1 : cut_count, ROLE_POP3, &server.sessions, start);
	need(hash_count(server.maildrops) == 0);
	check(strbuf_span(&client.heard));
	if (!span_eq(strbuf_span(&whole), strbuf_span(&client.heard))) {
		fprintf(stderr, "--- whole\n%s\n--- cut\n%s\n", whole.p, client.heard.p);
		abort();
	}
	strbuf_clear(&whole);
	strbuf_clear(&client.heard);
	strbuf_clear(&in);
	if (runs > ROUND)
		begin_anew();
	return 0;
}
