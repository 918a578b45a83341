#include "common/mail/bodystructure.h"
#include "common/mail/envelope.h"
#include "common/mail/imapstr.h"

struct writer {
	struct strbuf *out;
	const struct mime_tree *t;
	bool extended;
};

static void space(struct writer *w)
{
	strbuf_add_chr(w->out, ' ');
}

static void write_params(struct writer *w, uint32_t first, uint32_t count, bool is_text)
{
	bool has_charset = !is_text;

	if (!count && !is_text) {
		strbuf_add(w->out, SPAN("NIL"));
		return;
	}
	strbuf_add_chr(w->out, '(');
	for (uint32_t i = first; i < first + count; i++) {
		if (i > first)
			space(w);
		mail_write_string(w->out, w->t->params[i].name);
		space(w);
		mail_write_string(w->out, w->t->params[i].value);
		has_charset |= span_ieq(w->t->params[i].name, SPAN("charset"));
	}
	if (!has_charset) {
		if (count)
			space(w);
		strbuf_add(w->out, SPAN("\"charset\" \"us-ascii\""));
	}
	strbuf_add_chr(w->out, ')');
}

/* Disposition, language, location: what all kinds of parts have. */
static void write_extension(struct writer *w, const struct mime_part *p)
{
	struct span rest = p->language, tag;

	space(w);
	if (p->disposition.p) {
		strbuf_add_chr(w->out, '(');
		mail_write_string(w->out, p->disposition);
		space(w);
		write_params(w, p->disp_param, p->disp_param_count, false);
		strbuf_add_chr(w->out, ')');
	} else {
		strbuf_add(w->out, SPAN("NIL"));
	}
	space(w);
	if (rest.n) {
		strbuf_add_chr(w->out, '(');
		while (span_split(&rest, ' ', &tag)) {
			mail_write_string(w->out, tag);
			if (rest.p)
				space(w);
		}
		strbuf_add_chr(w->out, ')');
	} else {
		strbuf_add(w->out, SPAN("NIL"));
	}
	space(w);
	mail_write_nstring(w->out, p->location);
}

static void write_type(struct writer *w, const struct mime_part *p)
{
	/* Of a message that was not looked into there is nothing to show but its bytes. */
	bool is_hidden = (p->flags & MIME_OPAQUE) && span_ieq(p->type, SPAN("message"));

	mail_write_string(w->out, is_hidden ? SPAN("application") : p->type);
	space(w);
	mail_write_string(w->out, is_hidden ? SPAN("octet-stream") : p->subtype);
}

/* What stands before the children of a part. */
static void write_head(struct writer *w, const struct mime_part *p)
{
	bool is_empty = p->first_child == MIME_NONE;

	strbuf_add_chr(w->out, '(');
	if (p->flags & MIME_MULTIPART) {
		/* The grammar wants at least one part. */
		if (is_empty && w->extended)
			strbuf_add(w->out, SPAN("(\"text\" \"plain\" (\"charset\" \"us-ascii\") "
						"NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL)"));
		else if (is_empty)
			strbuf_add(w->out, SPAN("(\"text\" \"plain\" (\"charset\" \"us-ascii\") "
						"NIL NIL \"7bit\" 0 0)"));
		return;
	}
	write_type(w, p);
	space(w);
	write_params(w, p->param, p->param_count, p->flags & MIME_TEXT);
	space(w);
	mail_write_nstring(w->out, p->id);
	space(w);
	mail_write_nstring(w->out, p->description);
	space(w);
	mail_write_string(w->out, p->encoding.p ? p->encoding : SPAN("7bit"));
	space(w);
	strbuf_add_u64(w->out, p->body_size);
	if (p->flags & MIME_MESSAGE) {
		struct span envelope = {NULL, 0};

		space(w);
		if (!is_empty)
			envelope = w->t->parts[p->first_child].envelope;
		if (envelope.n)
			strbuf_add(w->out, envelope);
		else
			mail_envelope_write_empty(w->out);
		space(w);
		if (is_empty)
			strbuf_add(w->out, SPAN("(\"text\" \"plain\" (\"charset\" \"us-ascii\") "
						"NIL NIL \"7bit\" 0 0)"));
	}
}

/* What stands behind the children of a part. */
static void write_tail(struct writer *w, const struct mime_part *p)
{
	if (p->flags & MIME_MULTIPART) {
		space(w);
		mail_write_string(w->out, p->subtype);
		if (w->extended) {
			space(w);
			write_params(w, p->param, p->param_count, false);
			write_extension(w, p);
		}
	} else {
		if (p->flags & (MIME_TEXT | MIME_MESSAGE)) {
			space(w);
			strbuf_add_u64(w->out, p->body_lines);
		}
		if (w->extended) {
			space(w);
			mail_write_nstring(w->out, p->md5);
			write_extension(w, p);
		}
	}
	strbuf_add_chr(w->out, ')');
}

bool mail_bodystructure_write(struct strbuf *out, const struct mime_tree *t, bool extended)
{
	struct writer w = {out, t, extended};
	uint32_t i = 0;

	while (!out->failed) {
		write_head(&w, &t->parts[i]);
		if (t->parts[i].first_child != MIME_NONE) {
			i = t->parts[i].first_child;
			continue;
		}
		write_tail(&w, &t->parts[i]);
		while (t->parts[i].next == MIME_NONE) {
			i = t->parts[i].parent;
			if (i == MIME_NONE)
				return !out->failed;
			write_tail(&w, &t->parts[i]);
		}
		i = t->parts[i].next;
	}
	return false;
}
