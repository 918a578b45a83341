/* From the header of a part to what its tree entry says. */
#include "common/base/mem.h"
#include "common/mail/envelope.h"
#include "common/mail/lex.h"
#include "common/mail/mime_int.h"
#include "common/mail/words.h"

static struct span keep_unfolded(struct mime_tree *t, struct span value)
{
	struct strbuf text;
	struct span kept;

	strbuf_init(&text, value.n);
	mail_header_unfold(&text, value);
	kept = mime_tree_keep(t, strbuf_span(&text));
	strbuf_clear(&text);
	return kept;
}

static void read_type(struct mime_tree *t, struct mime_part *part, struct span value)
{
	struct mime_value v;
	struct span token, type = {NULL, 0};

	mime_value_init(&v, value);
	token = mime_value_token(&v);
	if (token.n && token.p[0] != '/' && span_split(&token, '/', &type)) {
		part->type = mime_tree_keep(t, type);
		part->subtype = mime_tree_keep(t, token);
	}
	/* RFC 2045 section 5.2: what is no type counts as none. */
	if (part->type.n && part->subtype.n) {
		part->flags &= (uint16_t)~MIME_DEFAULT;
		mime_params_read(t, &v, &part->param, &part->param_count);
	} else {
		part->type = part->subtype = (struct span){NULL, 0};
	}
	mime_value_clear(&v);
}

static void read_disposition(struct mime_tree *t, struct mime_part *part, struct span value)
{
	struct mime_value v;
	struct span token;

	mime_value_init(&v, value);
	token = mime_value_token(&v);
	if (token.n)
		part->disposition = mime_tree_keep(t, token);
	if (part->disposition.p)
		mime_params_read(t, &v, &part->disp_param, &part->disp_param_count);
	mime_value_clear(&v);
}

static struct span keep_token(struct mime_tree *t, struct span value)
{
	struct mime_value v;
	struct span token, kept = {NULL, 0};

	mime_value_init(&v, value);
	token = mime_value_token(&v);
	if (token.n)
		kept = mime_tree_keep(t, token);
	mime_value_clear(&v);
	return kept;
}

/* "de, en (comment)" becomes "de en". */
static struct span keep_languages(struct mime_tree *t, struct span value)
{
	struct mail_lex lex = {value, NULL};
	struct strbuf text;
	struct span kept = {NULL, 0};

	strbuf_init(&text, value.n);
	while (mail_lex_cfws(&lex) > 0) {
		size_t n = 0;

		while (n < lex.in.n && (ascii_is_alnum(lex.in.p[n]) || lex.in.p[n] == '-'))
			n++;
		if (n && text.n)
			strbuf_add_chr(&text, ' ');
		strbuf_add(&text, span_sub(lex.in, 0, n));
		lex.in = span_from(lex.in, n ? n : 1);
	}
	if (text.n)
		kept = mime_tree_keep(t, strbuf_span(&text));
	strbuf_clear(&text);
	return kept;
}

static void read_field(struct mime_tree *t, struct mime_part *p, struct span name, struct span v)
{
	if (span_ieq(name, SPAN("type"))) {
		if (p->flags & MIME_DEFAULT)
			read_type(t, p, v);
	} else if (span_ieq(name, SPAN("transfer-encoding"))) {
		if (!p->encoding.p)
			p->encoding = keep_token(t, v);
	} else if (span_ieq(name, SPAN("id"))) {
		if (!p->id.p)
			p->id = keep_unfolded(t, v);
	} else if (span_ieq(name, SPAN("description"))) {
		if (!p->description.p)
			p->description = keep_unfolded(t, v);
	} else if (span_ieq(name, SPAN("md5"))) {
		if (!p->md5.p)
			p->md5 = keep_unfolded(t, v);
	} else if (span_ieq(name, SPAN("location"))) {
		if (!p->location.p)
			p->location = keep_unfolded(t, v);
	} else if (span_ieq(name, SPAN("language"))) {
		if (!p->language.p)
			p->language = keep_languages(t, v);
	} else if (span_ieq(name, SPAN("disposition"))) {
		if (!p->disposition.p)
			read_disposition(t, p, v);
	}
}

/* RFC 2046 section 5.1.5: in a digest the default is a message. */
static void set_default_type(struct mime_tree *t, struct mime_part *part)
{
	bool in_digest = part->parent != MIME_NONE &&
			 (t->parts[part->parent].flags & MIME_MULTIPART) &&
			 span_ieq(t->parts[part->parent].subtype, SPAN("digest"));

	part->type = in_digest ? SPAN("message") : SPAN("text");
	part->subtype = in_digest ? SPAN("rfc822") : SPAN("plain");
}

static void read_boundary(struct mime_tree *t, struct mime_part *part, struct strbuf *boundary)
{
	struct span value = mime_param_get(t, part, SPAN("boundary"));

	if (value.p)
		strbuf_add(boundary, value);
	else if (part->param_count)
		mail_param_decode(
		    boundary, t->params + part->param, part->param_count, SPAN("boundary"));
	if (boundary->failed)
		strbuf_reset(boundary);
}

/* The first envelope that does not fit ends the keeping of text: the work for further ones, which
 * are much longer than their headers, would be lost as well. */
static void make_envelope(struct mime_tree *t, struct mime_part *part, struct span header)
{
	size_t used = t->text.used < MIME_TEXT_MAX ? t->text.used : MIME_TEXT_MAX;
	struct strbuf text;

	if (!t->text.max)
		return;
	strbuf_init(&text, MIME_TEXT_MAX - used);
	if (mail_envelope_write(&text, header))
		part->envelope = mime_tree_keep(t, strbuf_span(&text));
	if (!part->envelope.p) {
		t->is_truncated = true;
		t->text.max = 0;
	}
	strbuf_clear(&text);
}

void mime_fields_read(
    struct mime_tree *t, uint32_t i, struct span header, bool is_message, struct strbuf *boundary)
{
	struct mime_part *part = &t->parts[i];
	struct mail_header h;
	struct mail_field f;

	part->flags |= MIME_DEFAULT;
	strbuf_reset(boundary);
	mail_header_init(&h, header);
	while (mail_header_next(&h, &f))
		if (span_istarts(f.name, SPAN("content-")))
			read_field(t, part, span_from(f.name, 8), f.value);
	if (part->flags & MIME_DEFAULT)
		set_default_type(t, part);
	if (span_ieq(part->type, SPAN("multipart"))) {
		part->flags |= MIME_MULTIPART;
		read_boundary(t, part, boundary);
	} else if (span_ieq(part->type, SPAN("message")) &&
		   span_ieq(part->subtype, SPAN("rfc822"))) {
		part->flags |= MIME_MESSAGE;
	} else if (span_ieq(part->type, SPAN("text"))) {
		part->flags |= MIME_TEXT;
	}
	if (is_message)
		make_envelope(t, part, header);
}

struct span mime_param_get(
    const struct mime_tree *t, const struct mime_part *part, struct span name)
{
	for (uint32_t i = 0; i < part->param_count; i++)
		if (span_ieq(t->params[part->param + i].name, name))
			return t->params[part->param + i].value;
	return (struct span){NULL, 0};
}
