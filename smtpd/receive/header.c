#include "smtpd/receive/header.h"

void header_init(
    struct header_filter *f, bool is_submission, const char *date, const char *message_id)
{
	*f = (struct header_filter){
	    .is_submission = is_submission, .date = date, .message_id = message_id};
	strbuf_init(&f->line, HEADER_LINE_MAX);
	strbuf_init(&f->from, HEADER_FROM_MAX);
}

void header_clear(struct header_filter *f)
{
	strbuf_clear(&f->line);
	strbuf_clear(&f->from);
}

/* The field name of a line with its colon; empty if it is none. */
static struct span field_name(struct span line)
{
	ssize_t colon = span_chr(line, ':');

	if (colon <= 0)
		return span_make("", 0);
	for (ssize_t i = 0; i < colon; i++)
		if ((unsigned char)line.p[i] <= ' ' || line.p[i] == 0x7f)
			return i > 0 && (line.p[i] == ' ' || line.p[i] == '\t')
				   ? span_sub(line, 0, (size_t)i)
				   : span_make("", 0);
	return span_sub(line, 0, (size_t)colon);
}

static bool is_missing(const struct header_filter *f)
{
	return f->is_submission && (!f->has_date || !f->has_message_id || f->from_field);
}

static void add_missing(struct header_filter *f, struct strbuf *out)
{
	if (!f->is_submission)
		return;
	if (f->from_field)
		strbuf_add_str(out, f->from_field);
	if (!f->has_date)
		strbuf_add_str(out, f->date);
	if (!f->has_message_id)
		strbuf_add_str(out, f->message_id);
}

/* A field begins. */
static void take_name(struct header_filter *f, struct span name)
{
	f->is_dropping =
	    f->is_submission &&
	    (span_ieq(name, SPAN("Bcc")) || (f->from_field && (span_ieq(name, SPAN("From")) ||
								  span_ieq(name, SPAN("Sender")))));
	f->has_date |= span_ieq(name, SPAN("Date"));
	f->has_message_id |= span_ieq(name, SPAN("Message-ID"));
	f->received += span_ieq(name, SPAN("Received"));
	f->is_from = span_ieq(name, SPAN("From"));
	f->from_fields += f->is_from;
}

static void take_from(struct header_filter *f, struct span line, bool is_fold)
{
	if (!is_fold)
		line = span_from(line, (size_t)span_chr(line, ':') + 1);
	if (f->is_submission && f->from_fields == 1)
		strbuf_add(&f->from, line);
}

static void take_line(struct header_filter *f, struct strbuf *out)
{
	struct span line = strbuf_span(&f->line);
	struct span name = field_name(line);
	bool is_fold = line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t');

	if (span_eq(line, SPAN("\r\n"))) {
		f->is_over = true;
		add_missing(f, out);
	} else if (!is_fold && name.n == 0) {
		/* No field: the body begins without the empty line. A submission gets it: others
		 * might read on, and find a From behind it that was not looked at. */
		f->is_over = true;
		add_missing(f, out);
		if (f->is_submission)
			strbuf_add_str(out, "\r\n");
	} else if (!is_fold) {
		take_name(f, name);
	}
	if (f->is_from && !f->is_over)
		take_from(f, line, is_fold);
	if (!f->is_dropping || f->is_over)
		strbuf_add(out, line);
	strbuf_reset(&f->line);
}

/* Nobody can tell what a line of From says that is too long to keep. */
static void take_long(struct header_filter *f)
{
	struct span line = strbuf_span(&f->line);
	bool is_fold = line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t');

	if (!is_fold)
		take_name(f, field_name(line));
	f->from.failed |= f->is_from;
}

void header_feed(struct header_filter *f, struct span in, struct strbuf *out)
{
	while (!f->is_over && in.n > 0) {
		ssize_t lf = span_chr(in, '\n');
		struct span part = lf < 0 ? in : span_sub(in, 0, (size_t)lf + 1);

		in = span_from(in, part.n);
		if (f->is_long || !strbuf_add(&f->line, part)) {
			/* Too long to look at: passes in pieces until its end. */
			if (!f->is_long)
				take_long(f);
			if (!f->is_dropping) {
				strbuf_add(out, strbuf_span(&f->line));
				strbuf_add(out, part);
			}
			strbuf_reset(&f->line);
			f->is_long = lf < 0;
		} else if (lf >= 0) {
			take_line(f, out);
		}
	}
	if (in.n > 0)
		strbuf_add(out, in);
	if (f->is_over)
		strbuf_clear(&f->line);
}

void header_end(struct header_filter *f, struct strbuf *out)
{
	bool is_cut = f->line.n < 2 || f->line.p[f->line.n - 1] != '\n';

	if (f->is_over)
		return;
	if (f->line.n > 0) {
		take_line(f, out);
		if (f->is_over)
			return;
		/* BDAT may end without a line end; what is added begins a line. */
		if (is_cut && !f->is_dropping && is_missing(f))
			strbuf_add_str(out, "\r\n");
	}
	add_missing(f, out);
	f->is_over = true;
}
