/* Addresses of SMTP commands: strict. */
#include "common/mail/address.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/mail/lex.h"

#include <arpa/inet.h>
#include <string.h>

/* Text without C0 and C1 control characters; 8-bit bytes only as UTF-8 and only if wanted. */
static int check_text(struct span s, bool utf8, struct err *e)
{
	bool has_8bit = false;

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (ascii_is_ctl((char)c))
			return err_set(e, ERR_INVALID, "control character in address");
		has_8bit |= c >= 0x80;
		if (c == 0xc2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xa0)
			return err_set(e, ERR_INVALID, "control character in address");
	}
	if (!has_8bit)
		return 0;
	if (!utf8)
		return err_set(e, ERR_UNSUPPORTED, "address needs SMTPUTF8");
	if (!utf8_is_valid(s))
		return err_set(e, ERR_INVALID, "address is not UTF-8");
	return 0;
}

static bool label_is_valid(struct span label, bool utf8)
{
	bool is_ascii = true;

	if (!label.n || label.p[0] == '-' || label.p[label.n - 1] == '-')
		return false;
	for (size_t i = 0; i < label.n; i++) {
		char c = label.p[i];

		if ((unsigned char)c >= 0x80)
			is_ascii = false;
		else if (!ascii_is_alnum(c) && c != '-')
			return false;
	}
	return is_ascii ? label.n <= 63 : utf8;
}

bool mail_domain_is_valid(struct span domain, bool utf8)
{
	struct span label;

	if (!domain.n || domain.n > MAIL_DOMAIN_MAX || check_text(domain, utf8, NULL) < 0)
		return false;
	while (span_split(&domain, '.', &label))
		if (!label_is_valid(label, utf8))
			return false;
	return true;
}

bool mail_literal_is_valid(struct span domain)
{
	char text[64];
	unsigned char binary[16];
	int family = AF_INET;

	if (domain.n < 3 || domain.p[0] != '[' || domain.p[domain.n - 1] != ']')
		return false;
	domain = span_sub(domain, 1, domain.n - 2);
	if (span_take_iword(&domain, SPAN("IPv6:")))
		family = AF_INET6;
	if (domain.n >= sizeof(text) || memchr(domain.p, 0, domain.n))
		return false;
	memcpy(text, domain.p, domain.n);
	text[domain.n] = 0;
	return inet_pton(family, text, binary) == 1;
}

/* Output into the caller's buffer; the limits of both halves keep it inside. */
struct builder {
	char *p;
	size_t n;
};

static bool put(struct builder *b, char c)
{
	if (b->n == MAIL_PATH_MAX)
		return false;
	b->p[b->n++] = c;
	return true;
}

static int too_long(struct err *e, const char *what)
{
	return err_set(e, ERR_LIMIT, "%s too long", what);
}

static int take_quoted(struct span *in, struct builder *b, struct err *e)
{
	for (size_t i = 1; i < in->n; i++) {
		char c = in->p[i];

		if (c == '"') {
			*in = span_from(*in, i + 1);
			return 0;
		}
		if (c == '\\') {
			if (++i == in->n)
				break;
			c = in->p[i];
			if ((unsigned char)c >= 0x80)
				return err_set(e, ERR_INVALID, "bad quoted pair in local part");
		}
		if (!put(b, c))
			return too_long(e, "local part");
	}
	return err_set(e, ERR_INVALID, "unended quoted local part");
}

static int take_dot_string(struct span *in, struct builder *b, struct err *e)
{
	size_t i;
	char before = '.';

	for (i = 0; i < in->n; i++) {
		char c = in->p[i];

		if (c != '.' && !mail_is_atext(c))
			break;
		if (c == '.' && before == '.')
			return err_set(e, ERR_INVALID, "misplaced dot in local part");
		if (!put(b, c))
			return too_long(e, "local part");
		before = c;
	}
	if (before == '.')
		return err_set(
		    e, ERR_INVALID, i ? "misplaced dot in local part" : "bad local part");
	*in = span_from(*in, i);
	return 0;
}

static int take_local(
    struct span *in, unsigned flags, struct builder *b, struct span *out, struct err *e)
{
	size_t start = b->n;
	int ret;

	if (in->n && in->p[0] == '"')
		ret = take_quoted(in, b, e);
	else
		ret = take_dot_string(in, b, e);
	if (ret < 0)
		return -1;
	*out = span_make(b->p + start, b->n - start);
	if (!out->n)
		return err_set(e, ERR_INVALID, "empty local part");
	if (out->n > MAIL_LOCAL_MAX)
		return too_long(e, "local part");
	return check_text(*out, flags & MAIL_ADDRESS_UTF8, e);
}

/* The domain is what stands before one of ends, or the literal up to its bracket. */
static int take_domain(
    struct span *in, const char *ends, unsigned flags, struct span *raw, struct err *e)
{
	bool utf8 = flags & MAIL_ADDRESS_UTF8;
	bool is_literal = in->n && in->p[0] == '[';
	size_t n = 0;

	while (n < in->n && (is_literal || !in->p[n] || !strchr(ends, in->p[n])))
		if (in->p[n++] == ']' && is_literal)
			break;
	*raw = span_sub(*in, 0, n);
	if (n > MAIL_DOMAIN_MAX)
		return too_long(e, "domain");
	if (is_literal ? !mail_literal_is_valid(*raw) : !mail_domain_is_valid(*raw, utf8)) {
		if (check_text(*raw, utf8, e) < 0)
			return -1;
		return err_set(e, ERR_INVALID, "bad domain in address");
	}
	*in = span_from(*in, n);
	return 0;
}

/* "@a,@b:" is read past. */
static int skip_route(struct span *in, unsigned flags, struct err *e)
{
	struct span ignored;

	while (span_take_chr(in, '@')) {
		if (take_domain(in, ",:>", flags, &ignored, e) < 0)
			return -1;
		if (span_take_chr(in, ':'))
			return 0;
		if (!span_take_chr(in, ','))
			break;
	}
	return err_set(e, ERR_INVALID, "bad source route");
}

/* local ["@" domain], the domain ending before end (0: at the end of the input). */
static int take_address(struct span *in, const char *ends, unsigned flags, char buf[MAIL_PATH_MAX],
    struct mail_address *out, struct err *e)
{
	struct builder b = {buf, 0};
	struct span raw;

	*out = (struct mail_address){span_make(buf, 0), span_make(buf, 0)};
	if (take_local(in, flags, &b, &out->local, e) < 0)
		return -1;
	if ((flags & MAIL_ADDRESS_POSTMASTER) && span_ieq(out->local, SPAN("postmaster")) &&
	    (!in->n || in->p[0] != '@'))
		return 0;
	if (!span_take_chr(in, '@'))
		return err_set(e, ERR_INVALID, "no domain in address");
	if (take_domain(in, ends, flags, &raw, e) < 0)
		return -1;
	if (out->local.n + raw.n + 3 > MAIL_PATH_MAX)
		return too_long(e, "address");
	out->domain = span_make(buf + b.n, raw.n);
	for (size_t i = 0; i < raw.n; i++)
		put(&b, ascii_lower(raw.p[i]));
	return 0;
}

int mail_path_take(struct span *in, unsigned flags, char buf[MAIL_PATH_MAX],
    struct mail_address *out, struct err *e)
{
	struct span s = *in;

	if (!span_take_chr(&s, '<'))
		return err_set(e, ERR_INVALID, "address without <");
	if (s.n && s.p[0] == '>') {
		if (!(flags & MAIL_ADDRESS_NULL))
			return err_set(e, ERR_INVALID, "empty address");
		*out = (struct mail_address){span_make(buf, 0), span_make(buf, 0)};
	} else {
		if (s.n && s.p[0] == '@' && skip_route(&s, flags, e) < 0)
			return -1;
		if (take_address(&s, ">", flags, buf, out, e) < 0)
			return -1;
	}
	if (!span_take_chr(&s, '>'))
		return err_set(e, ERR_INVALID, "address without >");
	*in = s;
	return 0;
}

int mail_address_parse(struct span in, unsigned flags, char buf[MAIL_PATH_MAX],
    struct mail_address *out, struct err *e)
{
	if (!in.n && (flags & MAIL_ADDRESS_NULL)) {
		*out = (struct mail_address){span_make(buf, 0), span_make(buf, 0)};
		return 0;
	}
	if (take_address(&in, "", flags, buf, out, e) < 0)
		return -1;
	if (in.n)
		return err_set(e, ERR_INVALID, "text behind address");
	return 0;
}

static bool local_needs_quotes(struct span local)
{
	if (!local.n || local.p[0] == '.' || local.p[local.n - 1] == '.')
		return true;
	for (size_t i = 0; i < local.n; i++)
		if (local.p[i] == '.' ? local.p[i - 1] == '.' : !mail_is_atext(local.p[i]))
			return true;
	return false;
}

bool mail_address_format(struct strbuf *out, const struct mail_address *a)
{
	if (!a->local.n && !a->domain.n)
		return !out->failed;
	if (local_needs_quotes(a->local)) {
		strbuf_add_chr(out, '"');
		for (size_t i = 0; i < a->local.n; i++) {
			if (a->local.p[i] == '"' || a->local.p[i] == '\\')
				strbuf_add_chr(out, '\\');
			strbuf_add_chr(out, a->local.p[i]);
		}
		strbuf_add_chr(out, '"');
	} else {
		strbuf_add(out, a->local);
	}
	if (a->domain.n) {
		strbuf_add_chr(out, '@');
		for (size_t i = 0; i < a->domain.n; i++)
			strbuf_add_chr(out, ascii_lower(a->domain.p[i]));
	}
	return !out->failed;
}

bool mail_path_format(struct strbuf *out, const struct mail_address *a)
{
	strbuf_add_chr(out, '<');
	mail_address_format(out, a);
	return strbuf_add_chr(out, '>') && !out->failed;
}
