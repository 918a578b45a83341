/*
 * A whole IMAP session on any bytes, with a login, two messages and a selected mailbox in front of
 * them or not. Each input runs twice, in one piece and cut at random places, for an account of its
 * own each. Oracles: both runs say the same, byte for byte (up to where compression begins); each
 * line outside of literals is an answer of the protocol, with no control characters; the session
 * ends, and nothing of it is left.
 */
#include "imapd/imap.h"
#include "tests/support/session_fuzz.h"

static struct imapd server;

#define LETTER                                                                                     \
	"From: a@b.c\r\nSubject: x\r\nMessage-ID: <1@b>\r\nContent-Type: multipart/mixed; "        \
	"boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"         \
	"Subject: \xc3\xbc\r\n\r\nin\r\n--b--\r\n"
#define LOGIN "a0 LOGIN a p\r\n"
#define BEGIN                                                                                      \
	LOGIN "a1 ENABLE UTF8=ACCEPT\r\na2 APPEND INBOX (\\Seen k) {3+}\r\nabc UTF8 "              \
	      "(~{165+}\r\n" LETTER ")\r\na3 SELECT INBOX\r\n"

static const struct span begins[] = {
    SPAN_INIT(""), SPAN_INIT(LOGIN), SPAN_INIT(BEGIN), SPAN_INIT(BEGIN "a4 EXAMINE Trash\r\n")};

static void on_change(void *arg, const struct store_change *c)
{
	mbox_changed(&server, c);
}

static void begin(void)
{
	server.store = store;
	server.mboxes = hash_new();
	store_on_change(store, on_change, NULL);
}

static void start_once(void)
{
	if (frame.role.loop)
		return;
	_Static_assert(sizeof(LETTER) - 1 == 165, "the literal's size");
	start_frame("imap",
	    "server.hostname = mail.example.test\nlistener.imap.tls = none\n"
	    "listener.imap.login_without_tls = yes\nimap.bad_commands_max = 100\n"
	    "smtp.message_size_max = 64K\nimap.literal_max = 8K\nlog.level = error\n",
	    &server);
	list_init(&server.sessions);
	server.role = &frame.role;
	idle_start(&server);
	begin();
}

static void begin_anew(void)
{
	store_close(store);
	mboxes_free(&server);
	store_end();
	store_begin();
	begin();
}

static void start(struct role_listener *l, int fd, const struct net_addr *peer)
{
	account++;
	session_start(&server, l, fd, peer);
}

/* The line at the start of s, with its literals; false: it does not end. */
static bool take_line(struct span *s, struct span *line)
{
	size_t at = 0;

	for (;;) {
		ssize_t lf = span_chr(span_from(*s, at), '\n');
		uint64_t n;
		ssize_t open;
		struct span head;

		if (lf < 0)
			return false;
		at += (size_t)lf + 1;
		*line = span_sub(*s, 0, at);
		need(at >= 2 && line->p[at - 2] == '\r');
		head = span_sub(*line, 0, at - 2);
		open = span_rchr(head, '{');
		if (open < 0 || head.p[head.n - 1] != '}' ||
		    !span_u64(span_sub(head, (size_t)open + 1, head.n - (size_t)open - 2),
			UINT32_MAX, &n))
			break;
		if (s->n - at < n)
			return false;
		at += (size_t)n;
	}
	*s = span_from(*s, at);
	return true;
}

/* What was said up to the beginning of compression. */
static struct span check(struct span all)
{
	struct span rest = all, line;

	while (rest.n > 0) {
		if (!take_line(&rest, &line))
			break;
		need(line.n >= 4 && !ascii_is_ctl(line.p[0]) && line.p[0] != ' ');
		need(span_starts(line, SPAN("* ")) || span_starts(line, SPAN("+ ")) ||
		     span_find(line, SPAN(" OK ")) > 0 || span_find(line, SPAN(" NO ")) > 0 ||
		     span_find(line, SPAN(" BAD ")) > 0);
		if (span_ends(line, SPAN(" OK Compression begins\r\n")))
			return span_sub(all, 0, all.n - rest.n);
	}
	/* Only a client that left could have been left in the middle of a line. */
	need(rest.n == 0 || client.is_shut);
	return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t bytewise[] = {0};
	size_t cut_count = size > 1 ? data[1] % 8 : 0;
	struct strbuf whole, in;
	struct span said, again;

	if (size < 2 + cut_count)
		return 0;
	start_once();
	strbuf_init(&in, size + 4096);
	strbuf_add(&in, begins[data[0] % ARRAY_LEN(begins)]);
	strbuf_add_mem(&in, data + 2 + cut_count, size - 2 - cut_count);
	run_session(strbuf_span(&in), NULL, 0, ROLE_IMAP, &server.sessions, start);
	whole = client.heard;
	said = check(strbuf_span(&whole));
	run_session(strbuf_span(&in), cut_count == 0 ? bytewise : data + 2,
	    cut_count == 0 ? 1 : cut_count, ROLE_IMAP, &server.sessions, start);
	again = check(strbuf_span(&client.heard));
	if (!span_eq(said, again)) {
		fprintf(
		    stderr, "--- whole\n%.*s\n--- cut\n%.*s\n", SPAN_FMT(said), SPAN_FMT(again));
		abort();
	}
	strbuf_clear(&whole);
	strbuf_clear(&client.heard);
	strbuf_clear(&in);
	if (runs > ROUND)
		begin_anew();
	return 0;
}
