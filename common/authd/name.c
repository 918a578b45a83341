#include "common/authd/name.h"

#include "common/base/utf8.h"
#include "common/mail/idna.h"

#include <string.h>

static int bad_domain(struct err *err, struct span in)
{
	return err_set(err, ERR_INVALID, "not a domain name: %.*s", in.n > 80 ? 80 : (int)in.n,
	    in.p ? in.p : "");
}

int name_domain(struct span in, char out[MAIL_DOMAIN_MAX + 1], size_t *n, struct err *err)
{
	return mail_domain_ascii(in, out, n) ? 0 : bad_domain(err, in);
}

static int set_domain(struct name *nm, struct span domain, struct err *err)
{
	if (domain.n > 0 && domain.p[0] == '[') {
		if (!mail_literal_is_valid(domain) || domain.n > MAIL_DOMAIN_MAX)
			return bad_domain(err, domain);
		for (size_t i = 0; i < domain.n; i++)
			nm->domain[i] = ascii_lower(domain.p[i]);
		nm->domain[domain.n] = '\0';
		nm->domain_n = domain.n;
		return 0;
	}
	return name_domain(domain, nm->domain, &nm->domain_n, err);
}

static void set_local(struct name *nm, struct span local)
{
	for (size_t i = 0; i < local.n; i++)
		nm->local[i] = ascii_lower(local.p[i]);
	nm->local[local.n] = '\0';
	nm->local_n = local.n;
}

/* A local part that came without the quotes it would need in SMTP. */
static bool split_bare(struct span in, struct mail_address *out)
{
	ssize_t at = span_rchr(in, '@');

	if (at < 1 || at > MAIL_LOCAL_MAX)
		return false;
	out->local = span_sub(in, 0, (size_t)at);
	out->domain = span_from(in, (size_t)at + 1);
	for (size_t i = 0; i < out->local.n; i++)
		if (ascii_is_ctl(out->local.p[i]))
			return false;
	return out->local.p[0] != '"' && utf8_is_valid(out->local);
}

int name_parse(struct name *nm, struct span in, struct err *err)
{
	char buf[MAIL_PATH_MAX];
	struct mail_address a;

	*nm = (struct name){0};
	if (span_ieq(in, SPAN("postmaster"))) {
		set_local(nm, in);
		return 0;
	}
	if (mail_address_parse(in, MAIL_ADDRESS_UTF8, buf, &a, NULL) < 0 && !split_bare(in, &a))
		return err_set(err, ERR_INVALID, "not an address: %.*s", in.n > 80 ? 80 : (int)in.n,
		    in.p ? in.p : "");
	if (a.local.n == 0 || a.local.n > MAIL_LOCAL_MAX || a.domain.n == 0)
		return err_set(err, ERR_INVALID, "not an address");
	set_local(nm, a.local);
	return set_domain(nm, a.domain, err);
}

int name_parse_alias(struct name *nm, struct span in, struct err *err)
{
	if (in.n < 2 || in.p[0] != '@')
		return name_parse(nm, in, err);
	*nm = (struct name){0};
	return name_domain(span_from(in, 1), nm->domain, &nm->domain_n, err);
}

size_t name_format(const struct name *nm, char out[NAME_TEXT_MAX + 1])
{
	struct mail_address a = {name_local(nm), name_domain_span(nm)};
	struct strbuf b;
	size_t n;

	strbuf_init(&b, NAME_TEXT_MAX);
	if (nm->local_n == 0) {
		strbuf_add_chr(&b, '@');
		strbuf_add(&b, a.domain);
	} else if (nm->domain_n == 0) {
		strbuf_add(&b, a.local);
	} else {
		mail_address_format(&b, &a);
	}
	n = b.failed ? 0 : b.n;
	memcpy(out, b.p, n);
	out[n] = '\0';
	strbuf_clear(&b);
	return n;
}

struct span name_local(const struct name *nm)
{
	return span_make(nm->local, nm->local_n);
}

struct span name_domain_span(const struct name *nm)
{
	return span_make(nm->domain, nm->domain_n);
}
