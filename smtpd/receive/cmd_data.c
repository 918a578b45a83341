/* DATA and BDAT: content streams through decoder and header filter into the intake. */
#include "smtpd/receive/receive.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <stdio.h>

#define TURN_BYTES (32 * 1024)

/* A deadline that moves with the bytes: whoever keeps the least rate never meets it. Nobody gets
 * longer than for a command, however fast the first bytes came. */
static void set_rate_deadline(struct session *s)
{
	uint64_t rate = config_u64(s->cfg, SET_SMTP_DATA_RATE_MIN);
	uint64_t elapsed = clock_mono_ms() - s->t.started_ms;
	uint64_t most = config_u64(s->cfg, SET_SMTP_COMMAND_DEADLINE) * 1000;
	uint64_t allowed = config_u64(s->cfg, SET_SMTP_DATA_GRACE) * 1000;

	if (rate > 0) {
		allowed += s->t.size * 1000 / rate;
		allowed = allowed > elapsed ? allowed - elapsed : 1;
		if (allowed < most)
			most = allowed;
	}
	conn_set_deadline(s->conn, most);
}

static bool refuse_without_rcpts(struct session *s)
{
	if (s->t.rcpt_count > 0)
		return false;
	reply_error(s, 554, "5.5.1", "No valid recipients");
	return true;
}

static void begin(struct session *s)
{
	if (s->t.has_content)
		return;
	s->t.has_content = true;
	s->t.started_ms = clock_mono_ms();
	data_init(&s->t.decoder);
	/* Scripts and devices that log in, as far as it is safe (data.h); chunks are not touched.
	 */
	s->t.decoder.lf_is_line = s->account != 0 && !s->t.is_bdat;
	message_begin(s);
}

/* RFC 2920 section 3.1: DATA is the last of its group. A server that was made to believe that it is
 * still sending content does not wait for our 354: what it says is not its own. */
static bool refuse_early_content(struct session *s)
{
	if (s->listener->cfg->role != ROLE_SMTP || s->peer.family == AF_UNIX ||
	    conn_input(s->conn).n == 0)
		return false;
	log_info("smtp-early-data", LOG_STR("session", s->id), LOG_STR("client", s->client));
	reply_error(s, 554, "5.5.0", "Wait for the reply to DATA");
	s->is_closing = true;
	return true;
}

void cmd_data(struct session *s, struct span arg)
{
	if (s->t.is_bdat) {
		reply_error(s, 503, "5.5.1", "Not after BDAT");
		return;
	}
	if (refuse_without_rcpts(s) || refuse_early_content(s))
		return;
	begin(s);
	reply(s, 354, NULL, "End data with <CR><LF>.<CR><LF>");
	s->wait = WAIT_DATA;
	set_rate_deadline(s);
}

static void reply_too_big(struct session *s)
{
	reply_error(s, 552, "5.3.4", "Message larger than the limit of %llu bytes",
	    (unsigned long long)config_u64(s->cfg, SET_SMTP_MESSAGE_MAX));
}

/* What is too big is read to its end for the reply's sake, but not for ever. */
static uint64_t discard_max(const struct session *s)
{
	return 2 * config_u64(s->cfg, SET_SMTP_MESSAGE_MAX) + 1024 * 1024;
}

/* A chunk follows its command at once (RFC 3030 section 2), whatever we think of it: it is always
 * read, lest it is taken for commands. What is wrong is said behind it. */
static const struct refusal *bdat_refusal(const struct session *s)
{
	static const struct refusal no_tls = {530, "5.7.0", "Must issue a STARTTLS command first"};
	static const struct refusal no_helo = {503, "5.5.1", "Say EHLO first"};
	static const struct refusal no_mail = {503, "5.5.1", "MAIL comes first"};
	static const struct refusal no_rcpt = {554, "5.5.1", "No valid recipients"};

	if (session_needs_tls(s))
		return &no_tls;
	if (s->helo[0] == '\0')
		return &no_helo;
	if (!s->t.is_open)
		return &no_mail;
	return s->t.rcpt_count == 0 ? &no_rcpt : NULL;
}

void cmd_bdat(struct session *s, struct span arg)
{
	ssize_t space = span_chr(arg, ' ');
	struct span number = space < 0 ? arg : span_sub(arg, 0, (size_t)space);
	struct span last = space < 0 ? span_make("", 0) : span_trim(span_from(arg, (size_t)space));
	uint64_t n;

	if (!span_u64(number, UINT64_MAX / 2, &n) ||
	    (last.n > 0 && !span_ieq(last, SPAN("LAST")))) {
		/* How many bytes follow is unknown: everything behind would be a guess. */
		reply_error(s, 501, "5.5.4", "Syntax: BDAT size [LAST]");
		s->is_closing = true;
		return;
	}
	if (n > discard_max(s)) {
		reply_too_big(s);
		s->is_closing = true;
		return;
	}
	s->t.refusal = bdat_refusal(s);
	s->t.is_bdat = true;
	s->t.is_last_chunk = last.n > 0;
	s->t.chunk_left = n;
	if (s->t.refusal)
		s->t.started_ms = clock_mono_ms();
	else
		begin(s);
	s->wait = WAIT_BDAT;
	set_rate_deadline(s);
}

static void session_log_content(const struct session *s)
{
	char text[64];

	if (!s->is_logged)
		return;
	snprintf(text, sizeof(text), "(%llu bytes of content)", (unsigned long long)s->t.size);
	session_log(s, "client", span_of(text));
}

/* --- content ---------------------------------------------------------------------------------- */
/* What is wrong with the whole message; false if nothing is. Bare CR or LF and NUL end the session:
 * a client that sends them may be smuggling, and what follows cannot be trusted. */
static bool refuse_content(struct session *s)
{
	const struct data_decoder *d = &s->t.decoder;

	if (d->has_bare_cr || d->has_bare_lf || d->has_nul) {
		reply(s, 550, "5.6.0", "Message holds a bare CR, a bare LF or a NUL");
		trace_refused(s, span_make("", 0), 550, "5.6.0");
		log_info("smtp-bare", LOG_STR("session", s->id), LOG_STR("client", s->client));
		s->is_closing = true;
	} else if (s->t.is_too_big) {
		reply_too_big(s);
	} else if (d->line_max > config_u64(s->cfg, SET_SMTP_TEXT_LINE_MAX)) {
		reply_error(s, 550, "5.6.0", "Message has a line of more than %llu bytes",
		    (unsigned long long)config_u64(s->cfg, SET_SMTP_TEXT_LINE_MAX));
	} else if (s->t.header.received >= config_u64(s->cfg, SET_SMTP_RECEIVED_MAX)) {
		reply_error(s, 554, "5.4.6", "Too many hops: the message is looping");
	} else {
		return false;
	}
	return true;
}

static void content_complete(struct session *s)
{
	s->wait = WAIT_COMMAND;
	/* RFC 2033 section 4.2 */
	s->reply_count = s->is_lmtp ? s->t.rcpt_count : 1;
	session_set_deadline(s);
	if (!s->t.is_bdat)
		session_log_content(s);
	if (refuse_content(s)) {
		s->server->refused++;
		transaction_reset(s);
		return;
	}
	message_accept(s);
}

static void take_content(struct session *s, struct span content)
{
	s->t.size += content.n;
	if (s->t.size > config_u64(s->cfg, SET_SMTP_MESSAGE_MAX)) {
		/* Read on to its end without keeping it. */
		s->t.is_too_big = true;
		intake_free(s->t.intake);
		s->t.intake = NULL;
	}
	if (s->t.intake)
		message_feed(s, content);
}

static bool is_waiting_for_intake(struct session *s)
{
	if (!s->t.intake || !intake_is_full(s->t.intake))
		return false;
	conn_pause(s->conn); /* the intake's on_ready goes on */
	return true;
}

static bool is_beyond_patience(struct session *s)
{
	if (s->t.size <= discard_max(s))
		return false;
	reply_too_big(s);
	s->is_closing = true;
	return true;
}

static void input_data(struct session *s)
{
	struct strbuf out;

	strbuf_init(&out, 2 * TURN_BYTES + 16);
	while (s->wait == WAIT_DATA) {
		struct span in = span_sub(conn_input(s->conn), 0, TURN_BYTES);
		size_t used;

		if (in.n == 0 || is_waiting_for_intake(s))
			break;
		used = data_decode(&s->t.decoder, in, &out);
		take_content(s, strbuf_span(&out));
		strbuf_reset(&out);
		conn_consume(s->conn, used);
		set_rate_deadline(s);
		if (s->t.decoder.state == DATA_END)
			content_complete(s);
		else if (is_beyond_patience(s))
			break;
	}
	strbuf_clear(&out);
}

static void chunk_complete(struct session *s)
{
	s->wait = WAIT_COMMAND;
	session_set_deadline(s);
	session_log_content(s);
	if (s->t.refusal) {
		reply_error(
		    s, s->t.refusal->code, s->t.refusal->enhanced, "%s", s->t.refusal->text);
		transaction_reset(s);
	} else if (s->t.is_last_chunk) {
		data_end_chunks(&s->t.decoder);
		content_complete(s);
	} else if (s->t.is_too_big) {
		refuse_content(s);
		transaction_reset(s);
	} else {
		reply(s, 250, "2.0.0", "Ok");
	}
}

static void input_bdat(struct session *s)
{
	while (s->t.chunk_left > 0 && !is_beyond_patience(s)) {
		struct span in = span_sub(conn_input(s->conn), 0, TURN_BYTES);

		if (in.n > s->t.chunk_left)
			in.n = (size_t)s->t.chunk_left;
		if (in.n == 0 || is_waiting_for_intake(s))
			return;
		data_check_chunk(&s->t.decoder, in);
		take_content(s, in);
		s->t.chunk_left -= in.n;
		conn_consume(s->conn, in.n);
		set_rate_deadline(s);
	}
	if (!s->is_closing)
		chunk_complete(s);
}

void data_input(struct session *s)
{
	if (s->wait == WAIT_DATA)
		input_data(s);
	else
		input_bdat(s);
}
