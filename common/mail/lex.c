#include "common/mail/lex.h"

#include <string.h>

bool mail_is_atext(char c)
{
	return ascii_is_alnum(c) || (unsigned char)c >= 0x80 ||
	       (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static void skip(struct mail_lex *lex, size_t n)
{
	lex->in = span_from(lex->in, n);
}

/* in starts with "(". */
static int take_comment(struct mail_lex *lex)
{
	size_t depth = 0, i;
	const char *p = lex->in.p;

	if (lex->comment)
		strbuf_reset(lex->comment);
	for (i = 0; i < lex->in.n; i++) {
		char c = p[i];

		if (c == '(' && depth++ == 0)
			continue;
		if (c == ')' && --depth == 0) {
			skip(lex, i + 1);
			return 1;
		}
		if (c == '\r' || c == '\n')
			continue;
		if (c == '\\' && i + 1 < lex->in.n)
			c = p[++i];
		if (lex->comment)
			strbuf_add_chr(lex->comment, c);
	}
	skip(lex, lex->in.n);
	if (lex->comment)
		strbuf_reset(lex->comment);
	return -1;
}

int mail_lex_cfws(struct mail_lex *lex)
{
	while (lex->in.n) {
		char c = lex->in.p[0];

		if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
			skip(lex, 1);
		} else if (c == '(') {
			if (take_comment(lex) < 0)
				return -1;
		} else {
			return 1;
		}
	}
	return 0;
}

/* Moves the run of atom characters (and dots, if wanted) to out. */
static size_t take_run(struct mail_lex *lex, struct strbuf *out, bool dots)
{
	size_t n = 0;

	while (n < lex->in.n && (mail_is_atext(lex->in.p[n]) || (dots && lex->in.p[n] == '.')))
		n++;
	strbuf_add(out, span_sub(lex->in, 0, n));
	skip(lex, n);
	return n;
}

int mail_lex_dot_atom(struct mail_lex *lex, struct strbuf *out)
{
	for (;;) {
		int ret;

		if (!take_run(lex, out, false))
			return -1;
		ret = mail_lex_cfws(lex);
		if (ret <= 0 || lex->in.p[0] != '.')
			return ret;
		strbuf_add_chr(out, '.');
		skip(lex, 1);
		ret = mail_lex_cfws(lex);
		if (ret <= 0)
			return ret;
	}
}

int mail_lex_quoted(struct mail_lex *lex, struct strbuf *out)
{
	const char *p = lex->in.p;

	for (size_t i = 1; i < lex->in.n; i++) {
		char c = p[i];

		if (c == '"') {
			skip(lex, i + 1);
			return mail_lex_cfws(lex);
		}
		if (c == '\n' || (c == '\r' && i + 1 < lex->in.n && p[i + 1] == '\n'))
			continue;
		if (c == '\\') {
			if (++i == lex->in.n)
				break;
			c = p[i];
		}
		strbuf_add_chr(out, c);
	}
	skip(lex, lex->in.n);
	return -1;
}

int mail_lex_phrase(struct mail_lex *lex, struct strbuf *out)
{
	if (!lex->in.n)
		return 0;
	if (lex->in.p[0] == '.')
		return -1;
	for (;;) {
		int ret;
		char c;

		if (lex->in.p[0] == '"') {
			ret = mail_lex_quoted(lex, out);
		} else {
			take_run(lex, out, true);
			ret = mail_lex_cfws(lex);
		}
		if (ret <= 0)
			return ret;
		c = lex->in.p[0];
		if (!mail_is_atext(c) && c != '"' && c != '.')
			return 1;
		strbuf_add_chr(out, ' ');
	}
}

/* Words joined by dots. Dots may stand anywhere: real addresses have them doubled and at the end.
 */
int mail_lex_local(struct mail_lex *lex, struct strbuf *out)
{
	bool is_empty = true, after_dot = true;
	int ret = 1;

	while (ret > 0) {
		if (lex->in.n && lex->in.p[0] == '"' && after_dot) {
			ret = mail_lex_quoted(lex, out);
			after_dot = false;
		} else {
			size_t start = out->n;

			/* White space only around dots: "a b" is not one local part. */
			if (!lex->in.n || (lex->in.p[0] != '.' && !after_dot) ||
			    !take_run(lex, out, true))
				break;
			after_dot = out->n > start && out->p[out->n - 1] == '.';
			ret = mail_lex_cfws(lex);
		}
		is_empty = false;
	}
	return is_empty ? -1 : ret;
}

int mail_lex_domain(struct mail_lex *lex, struct strbuf *out)
{
	int ret;

	skip(lex, 1);
	ret = mail_lex_cfws(lex);
	if (ret <= 0)
		return -1;
	if (lex->in.p[0] != '[')
		return mail_lex_dot_atom(lex, out);
	for (size_t i = 0; i < lex->in.n; i++) {
		char c = lex->in.p[i];

		if (c == '[' && i)
			return -1;
		if (c == '\r' || c == '\n')
			continue;
		if (c == '\\' && i + 1 < lex->in.n)
			c = lex->in.p[++i];
		strbuf_add_chr(out, c);
		if (c == ']') {
			skip(lex, i + 1);
			return mail_lex_cfws(lex);
		}
	}
	skip(lex, lex->in.n);
	return -1;
}
