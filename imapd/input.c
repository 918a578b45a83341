/*
 * From the connection's bytes to commands: lines, and the literals in them (RFC 3501 section 4.3,
 * RFC 7888). What is taken goes into s->line as it comes, so that memory follows the bytes received
 * and never an announced length; the connection's own buffer is empty between two turns.
 *
 * A command that cannot be taken (too long, a NUL in it) is refused and the rest of it thrown away:
 * its lines and non-synchronising literals are still followed to the end, so that the next command
 * begins where the client thinks it does.
 */
#include "common/base/mem.h"
#include "common/log/log.h"
#include "imapd/imap.h"

#include <string.h>

#define LINE_MAX_PREAUTH 8192
#define DISCARD_MAX (1024 * 1024) /* of one command; a client that sends more is cut off */
#define TAIL_MAX 64               /* of a refused line: enough to find a literal at its end */

void input_tidy(struct session *s)
{
	strbuf_clear(&s->line);
	arena_clear(&s->arena);
	if (conn_input(s->conn).n == 0)
		status_forget(s);
}

static void begin_command(struct session *s)
{
	strbuf_reset(&s->line);
	arena_reset(&s->arena);
	s->segment = 0;
	s->refused = NULL;
	s->discarded = 0;
	s->tag[0] = '\0';
	s->line_is_over = false;
}

/* A line inside of a command: SASL, DONE, what follows APPEND's literal. */
static void begin_line(struct session *s)
{
	strbuf_reset(&s->line);
	s->segment = 0;
	s->refused = NULL;
	s->discarded = 0;
	s->line_is_over = false;
}

static size_t line_max(const struct session *s)
{
	if (s->wait == WAIT_SASL)
		return SASL_LINE_MAX + 2;
	return s->state == NOT_AUTHENTICATED ? LINE_MAX_PREAUTH
					     : config_u64(s->cfg, SET_IMAP_LINE_MAX);
}

static size_t command_max(const struct session *s)
{
	return s->state == NOT_AUTHENTICATED ? (size_t)2 * LINE_MAX_PREAUTH : COMMAND_MAX;
}

/* From here on the command is thrown away; its tag is kept for the answer. */
static void refuse(struct session *s, const char *why)
{
	struct span rest;

	s->refused = why;
	if (s->tag[0] == '\0')
		command_tag(s, strbuf_span(&s->line), &rest);
}

/* False: it was more than a client that means well sends. */
static bool discard(struct session *s, uint64_t n)
{
	if (n <= DISCARD_MAX - s->discarded) {
		s->discarded += n;
		return true;
	}
	log_info("imap-flood", LOG_STR("session", s->id), LOG_STR("client", s->client),
	    LOG_STR("why", s->refused));
	session_bye(s, s->refused);
	return false;
}

/* Of a refused line only the end matters. */
static void keep_tail(struct session *s, struct span in)
{
	size_t have;

	strbuf_add(&s->line, span_from(in, in.n > TAIL_MAX ? in.n - TAIL_MAX : 0));
	have = s->line.n - s->segment;
	if (have > TAIL_MAX) {
		memmove(s->line.p + s->segment, s->line.p + s->line.n - TAIL_MAX, TAIL_MAX);
		strbuf_truncate(&s->line, s->segment + TAIL_MAX);
	}
}

static void take(struct session *s, struct span in)
{
	size_t have = s->line.n - s->segment;

	if (!s->refused && (have + in.n > line_max(s) || s->line.n + in.n > command_max(s))) {
		if (s->line.n < TAG_MAX + 2)
			strbuf_add(&s->line, span_sub(in, 0, TAG_MAX + 2));
		refuse(s, "Command line too long");
		strbuf_reset(&s->line);
		s->segment = 0;
	}
	if (!s->refused)
		strbuf_add(&s->line, in);
	else if (discard(s, in.n))
		keep_tail(s, in);
}

/* --- literals --------------------------------------------------------------------------------- */
enum announced { LITERAL_NONE, LITERAL_SYNC, LITERAL_NONSYNC };

/* The end of a refused line that is a literal's, although its brace was not kept: a number of so
 * many digits that no client means well with it. */
static bool ends_in_digits(struct span line)
{
	size_t n = line.n > 0 ? line.n - 1 : 0;

	if (line.n < TAIL_MAX - 2 || line.p[n] != '}')
		return false;
	n -= line.p[n - 1] == '+';
	for (size_t i = 0; i < n; i++)
		if (!ascii_is_digit(line.p[i]))
			return false;
	return true;
}

/* "{n}" or "{n+}" at the end of a line. A number of more than 64 bits counts as the largest. */
static enum announced announcement(struct span line, uint64_t *size)
{
	enum announced kind = LITERAL_SYNC;
	struct span digits;
	ssize_t open = span_rchr(line, '{');

	if (open < 0 || line.p[line.n - 1] != '}')
		return LITERAL_NONE;
	digits = span_sub(line, (size_t)open + 1, line.n - (size_t)open - 2);
	if (digits.n > 0 && digits.p[digits.n - 1] == '+') {
		kind = LITERAL_NONSYNC;
		digits.n--;
	}
	if (digits.n == 0)
		return LITERAL_NONE;
	for (size_t i = 0; i < digits.n; i++)
		if (!ascii_is_digit(digits.p[i]))
			return LITERAL_NONE;
	if (!span_u64(digits, UINT64_MAX, size))
		*size = UINT64_MAX;
	return kind;
}

static void answer_refused(struct session *s)
{
	s->line_is_over = true;
	finish_bad(s, s->refused);
}

/* A refused command goes on with a literal. */
static void skip_literal(struct session *s, uint64_t size, bool is_sync)
{
	strbuf_truncate(&s->line, s->segment);
	if (is_sync) {
		/* The client waits for the word to go on, and will not get it. */
		answer_refused(s);
		return;
	}
	if (!discard(s, size))
		return;
	s->literal_left = size;
	s->wait = WAIT_DISCARD;
}

static uint64_t literal_max(const struct session *s)
{
	return config_u64(s->cfg,
	    s->state == NOT_AUTHENTICATED ? SET_IMAP_LITERAL_MAX_PREAUTH : SET_IMAP_LITERAL_MAX);
}

static void begin_literal(struct session *s, uint64_t size, bool is_sync)
{
	if (!s->refused && command_is_append(s)) {
		s->line_is_over = true;
		append_begin(s, size, is_sync);
		return;
	}
	if (!s->refused && (size > literal_max(s) || size > command_max(s) - s->line.n))
		refuse(s, "Literal too large");
	if (s->refused) {
		skip_literal(s, size, is_sync);
		return;
	}
	if (is_sync)
		conn_write(s->conn, SPAN("+ OK\r\n"));
	s->segment = s->line.n;
	s->literal_left = size;
	s->wait = WAIT_LITERAL;
}

static void literal_ended(struct session *s)
{
	bool is_append = s->wait == WAIT_DISCARD && !s->refused;

	s->segment = s->line.n;
	if (s->wait == WAIT_MESSAGE)
		s->wait = WAIT_LINE_END;
	else
		s->wait = WAIT_COMMAND;
	if (is_append)
		append_refuse(s);
}

/* Bytes of a literal, wherever they go. False: none are there. */
static bool take_literal(struct session *s)
{
	struct span in = conn_input(s->conn);

	if (s->literal_left == 0) {
		literal_ended(s);
		return true;
	}
	if (in.n == 0 || (s->wait == WAIT_MESSAGE && append_is_full(s)))
		return false;
	if (in.n > s->literal_left)
		in.n = (size_t)s->literal_left;
	if (s->wait == WAIT_LITERAL && memchr(in.p, '\0', in.n)) {
		refuse(s, "NUL in a literal");
		s->wait = WAIT_DISCARD;
	}
	s->literal_left -= in.n;
	if (s->wait == WAIT_LITERAL)
		strbuf_add(&s->line, in);
	else if (s->wait == WAIT_MESSAGE)
		append_bytes(s, in);
	conn_consume(s->conn, in.n);
	return true;
}

/* --- lines ------------------------------------------------------------------------------------ */
static const char *line_fault(struct span line)
{
	if (memchr(line.p, '\0', line.n))
		return "NUL in a command";
	if (line.n < 2 || line.p[line.n - 2] != '\r' ||
	    memchr(line.p, '\r', line.n) != line.p + line.n - 2)
		return "Lines end in CRLF";
	return NULL;
}

/* A line that is no command. */
static void hand_on(struct session *s, struct span line)
{
	enum session_wait wait = s->wait;

	s->line_is_over = true;
	if (s->refused) {
		append_clear(s);
		sasl_clear(&s->sasl);
		finish_bad(s, s->refused);
	} else if (wait == WAIT_SASL) {
		sasl_line(s, line);
	} else if (wait == WAIT_IDLE) {
		idle_line(s, line);
	} else {
		append_line_end(s, line);
	}
}

/* s->line ends in LF. */
static void line_ended(struct session *s)
{
	struct span line = span_from(strbuf_span(&s->line), s->segment);
	const char *fault = line_fault(line);
	uint64_t size = UINT64_MAX;
	enum announced kind = LITERAL_NONSYNC;

	if (fault && !s->refused)
		refuse(s, fault);
	line.n -= line.n >= 2 && line.p[line.n - 2] == '\r' ? 2 : 1;
	if (s->wait != WAIT_COMMAND) {
		hand_on(s, line);
		return;
	}
	if (!s->refused || !ends_in_digits(line))
		kind = announcement(line, &size);
	if (kind != LITERAL_NONE) {
		begin_literal(s, size, kind == LITERAL_SYNC);
	} else if (s->refused) {
		answer_refused(s);
	} else {
		s->line_is_over = true;
		command_run(s);
	}
}

/* False: no whole line is there. */
static bool take_line(struct session *s)
{
	struct span in = conn_input(s->conn);
	ssize_t lf = span_chr(in, '\n');

	if (in.n == 0)
		return false;
	if (s->line_is_over && s->wait == WAIT_COMMAND)
		begin_command(s);
	else if (s->line_is_over)
		begin_line(s);
	if (lf >= 0)
		in.n = (size_t)lf + 1;
	take(s, in);
	conn_consume(s->conn, in.n);
	if (lf < 0 || s->is_closing)
		return true;
	line_ended(s);
	return true;
}

static bool reads_line(const struct session *s)
{
	return s->wait == WAIT_COMMAND || s->wait == WAIT_SASL || s->wait == WAIT_IDLE ||
	       s->wait == WAIT_LINE_END;
}

static bool reads_literal(const struct session *s)
{
	return s->wait == WAIT_LITERAL || s->wait == WAIT_MESSAGE || s->wait == WAIT_DISCARD;
}

static bool step(struct session *s)
{
	if (reads_literal(s))
		return take_literal(s);
	return reads_line(s) && take_line(s);
}

/* Answers pile up: the next command waits until the client has taken some. */
static void go_on(struct session *s)
{
	s->wait = WAIT_COMMAND;
	conn_resume(s->conn);
}

void input_run(struct session *s)
{
	while (!s->is_closing) {
		if (s->wait == WAIT_COMMAND && s->line_is_over && !session_flow(s, go_on))
			break;
		if (!step(s))
			break;
	}
	if (s->is_closing || s->wait == WAIT_RESULT || s->wait == WAIT_OUTPUT ||
	    (s->wait == WAIT_MESSAGE && append_is_full(s)))
		conn_pause(s->conn);
}
