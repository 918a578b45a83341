/* Content-Type and Content-Disposition values. */
#include "common/mail/lex.h"
#include "common/mail/mime.h"

#include <string.h>

static bool is_token_chr(char c)
{
	return (unsigned char)c >= 0x80 || (c > ' ' && c < 0x7f && !strchr("()<>@,;:\\\"/[]?=", c));
}

void mime_value_init(struct mime_value *v, struct span field_value)
{
	v->in = field_value;
	strbuf_init(&v->text, field_value.n + 1);
}

void mime_value_clear(struct mime_value *v)
{
	strbuf_clear(&v->text);
}

static bool add_token(struct mail_lex *lex, struct strbuf *out)
{
	size_t n = 0;

	while (n < lex->in.n && is_token_chr(lex->in.p[n]))
		n++;
	strbuf_add(out, span_sub(lex->in, 0, n));
	lex->in = span_from(lex->in, n);
	return n > 0;
}

/* Up to the next ";", strings and comments in between skipped as such. */
static void skip_to_semicolon(struct mail_lex *lex)
{
	struct strbuf none;

	strbuf_init(&none, 0);
	while (mail_lex_cfws(lex) > 0 && lex->in.p[0] != ';') {
		if (lex->in.p[0] == '"')
			(void)mail_lex_quoted(lex, &none);
		else
			lex->in = span_from(lex->in, 1);
	}
	strbuf_clear(&none);
}

struct span mime_value_token(struct mime_value *v)
{
	struct mail_lex lex = {v->in, NULL};

	strbuf_reset(&v->text);
	if (mail_lex_cfws(&lex) > 0 && add_token(&lex, &v->text) && mail_lex_cfws(&lex) > 0 &&
	    lex.in.p[0] == '/') {
		span_take_chr(&lex.in, '/');
		strbuf_add_chr(&v->text, '/');
		if (mail_lex_cfws(&lex) > 0)
			add_token(&lex, &v->text);
	}
	skip_to_semicolon(&lex);
	v->in = lex.in;
	return strbuf_span(&v->text);
}

/* Behind "=": a quoted string, or all up to white space, "(" or ";". */
static void add_value(struct mail_lex *lex, struct strbuf *out)
{
	size_t n = 0;

	if (lex->in.p[0] == '"') {
		(void)mail_lex_quoted(lex, out);
		return;
	}
	while (n < lex->in.n && !ascii_is_ctl(lex->in.p[n]) && !strchr(" ;(\"", lex->in.p[n]))
		n++;
	strbuf_add(out, span_sub(lex->in, 0, n));
	lex->in = span_from(lex->in, n);
}

static void drop_nuls(struct strbuf *text)
{
	for (size_t i = 0; i < text->n; i++)
		if (!text->p[i])
			text->p[i] = '?';
}

bool mime_value_next(struct mime_value *v, struct mime_param *out)
{
	struct mail_lex lex = {v->in, NULL};
	bool is_found = false;

	while (!is_found && span_take_chr(&lex.in, ';')) {
		size_t name_n;

		strbuf_reset(&v->text);
		if (mail_lex_cfws(&lex) > 0 && add_token(&lex, &v->text) &&
		    mail_lex_cfws(&lex) > 0 && span_take_chr(&lex.in, '=')) {
			name_n = v->text.n;
			if (mail_lex_cfws(&lex) > 0)
				add_value(&lex, &v->text);
			drop_nuls(&v->text);
			out->name = span_sub(strbuf_span(&v->text), 0, name_n);
			out->value = span_from(strbuf_span(&v->text), name_n);
			is_found = true;
		}
		skip_to_semicolon(&lex);
	}
	v->in = lex.in;
	return is_found;
}
