/* PREVIEW (RFC 8970): made from the first text of the message when it is asked for. */
#include "common/mail/imapstr.h"
#include "common/mail/preview.h"
#include "imapd/fetch.h"

#define ENCODED_MAX ((uint64_t)2 * MAIL_PREVIEW_TEXT)

static bool is_candidate(const struct mime_part *part)
{
	return (part->flags & MIME_TEXT) && part->body_size > 0 &&
	       !(part->disposition.p && span_ieq(part->disposition, SPAN("attachment")));
}

/* The first plain text, or else the first HTML. */
static const struct mime_part *find_text(const struct mime_tree *t)
{
	const struct mime_part *html = NULL;

	for (uint32_t i = 0; i < t->count; i++) {
		const struct mime_part *part = &t->parts[i];

		if (!is_candidate(part))
			continue;
		if (span_ieq(part->subtype, SPAN("plain")))
			return part;
		if (!html && span_ieq(part->subtype, SPAN("html")))
			html = part;
	}
	return html;
}

/* The text of a part in UTF-8, in binary.decoded, as far as a preview needs it. */
static void decode(struct fetch_writer *w, const struct mime_part *part)
{
	struct strbuf *raw = &w->binary.in, *bytes = &w->scratch, *utf8 = &w->binary.decoded;
	struct mail_decoder d;

	strbuf_reset(bytes);
	strbuf_reset(utf8);
	mail_decoder_init(&d, mail_encoding_of(part->encoding));
	mail_decoder_feed(&d, bytes, strbuf_span(raw));
	mail_decoder_finish(&d, bytes);
	mail_charset_to_utf8(utf8, mime_param_get(w->m.tree, part, SPAN("charset")),
	    span_sub(strbuf_span(bytes), 0, MAIL_PREVIEW_TEXT));
}

static int read_text(struct fetch_writer *w, const struct mime_part *part, struct err *err)
{
	uint64_t got, n = part->body_size < ENCODED_MAX ? part->body_size : ENCODED_MAX;

	strbuf_reset(&w->binary.in);
	if (message_read(&w->m, part->body_at, n, &w->binary.in, &got, err) < 0)
		return -1;
	return got < n;
}

static void write_nil(struct fetch_writer *w, const struct fetch_item *it)
{
	fetch_label(w, it);
	strbuf_add(&w->out, SPAN("NIL"));
}

int fetch_preview(struct fetch_writer *w, const struct fetch_item *it, struct err *err)
{
	const struct mime_part *part;
	struct strbuf text;
	int rc = 0;

	/* Who is content with nothing does not wait for a large message. */
	if (it->is_lazy && w->m.size > MESSAGE_WHOLE_MAX) {
		write_nil(w, it);
		return 0;
	}
	rc = message_tree(&w->m, err);
	if (rc == 0)
		rc = message_open(&w->m, err);
	if (rc != 0)
		return rc;
	part = find_text(w->m.tree);
	if (part) {
		rc = read_text(w, part, err);
		if (rc != 0)
			return rc;
	}
	strbuf_init(&text, (size_t)8 * MAIL_PREVIEW_CHARS);
	if (part) {
		decode(w, part);
		mail_preview(
		    &text, strbuf_span(&w->binary.decoded), span_ieq(part->subtype, SPAN("html")));
	}
	fetch_label(w, it);
	mail_write_string(&w->out, strbuf_span(&text));
	strbuf_clear(&text);
	return 0;
}
