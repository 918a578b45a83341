/* ESMTP parameters and xtext. */
#include "common/base/utf8.h"
#include "common/mail/address.h"

static bool is_value_chr(char c)
{
	return (unsigned char)c >= 0x80 || (c > ' ' && c != '=' && !ascii_is_ctl(c));
}

int mail_param_next(struct span *in, struct mail_param *out, struct err *e)
{
	struct span s = *in;
	size_t n = 0;

	while (span_take_chr(&s, ' '))
		;
	if (!s.n) {
		*in = s;
		return 0;
	}
	if (s.p == in->p)
		return err_set(e, ERR_INVALID, "no space before parameter");
	while (n < s.n && (ascii_is_alnum(s.p[n]) || (s.p[n] == '-' && n)))
		n++;
	if (!n)
		return err_set(e, ERR_INVALID, "bad parameter name");
	*out = (struct mail_param){span_sub(s, 0, n), {NULL, 0}};
	s = span_from(s, n);
	if (span_take_chr(&s, '=')) {
		for (n = 0; n < s.n && is_value_chr(s.p[n]); n++)
			;
		out->value = span_sub(s, 0, n);
		if (!n || !utf8_is_valid(out->value))
			return err_set(e, ERR_INVALID, "bad parameter value");
		s = span_from(s, n);
	}
	if (s.n && s.p[0] != ' ')
		return err_set(e, ERR_INVALID, "bad character in parameter");
	if (out->key.n + out->value.n >= MAIL_PARAM_MAX)
		return err_set(e, ERR_LIMIT, "parameter too long");
	*in = s;
	return 1;
}

static int hex_upper(char c)
{
	if (ascii_is_digit(c))
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool mail_xtext_decode(struct strbuf *out, struct span in)
{
	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];

		if (c == '+') {
			int hi = in.n - i > 2 ? hex_upper(in.p[i + 1]) : -1;
			int lo = in.n - i > 2 ? hex_upper(in.p[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return false;
			c = (char)(hi << 4 | lo);
			i += 2;
		} else if (c == '=' || c == ' ' || (unsigned char)c >= 0x80) {
			return false;
		}
		if (ascii_is_ctl(c) || !strbuf_add_chr(out, c))
			return false;
	}
	return true;
}

bool mail_xtext_encode(struct strbuf *out, struct span in)
{
	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];

		if (c > ' ' && c < 0x7f && c != '+' && c != '=')
			strbuf_add_chr(out, c);
		else
			strbuf_addf(out, "+%02X", (unsigned char)c);
	}
	return !out->failed;
}
