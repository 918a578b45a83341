/* A record that should be there, and what DNS says. */
#include "smtpd/send/check.h"

#include "common/base/mem.h"
#include "common/crypto/crypto.h"

#include <stdio.h>
#include <string.h>

#define TEXT_MAX 8192

const char *record_status_name(enum record_status s)
{
	static const char *const names[] = {"ok", "missing", "differs", "unknown"};

	return names[s];
}

bool record_type(const struct wanted_record *w, enum dns_type *type)
{
	static const struct {
		struct span name;
		enum dns_type type;
	} types[] = {
	    {SPAN_INIT("A"), DNS_A},
	    {SPAN_INIT("AAAA"), DNS_AAAA},
	    {SPAN_INIT("CNAME"), DNS_A},
	    {SPAN_INIT("MX"), DNS_MX},
	    {SPAN_INIT("PTR"), DNS_PTR},
	    {SPAN_INIT("TXT"), DNS_TXT},
	    {SPAN_INIT("SRV"), DNS_SRV},
	    {SPAN_INIT("TLSA"), DNS_TLSA},
	    {SPAN_INIT("CAA"), DNS_CAA},
	};

	for (size_t i = 0; w->name.n > 0 && i < ARRAY_LEN(types); i++) {
		if (!span_eq(w->type, types[i].name))
			continue;
		*type = types[i].type;
		return true;
	}
	return false;
}

/* --- records as text -------------------------------------------------------------------------- */
static void srv_text(struct span rdata, struct strbuf *out)
{
	char host[DNS_NAME_MAX + 1];

	if (rdata.n > 6 && dns_name(span_from(rdata, 6), host))
		strbuf_addf(out, "%u %u %u %s.", be_get16(rdata.p), be_get16(rdata.p + 2),
		    be_get16(rdata.p + 4), host);
}

static void tlsa_text(struct span rdata, struct strbuf *out)
{
	char hex[2 * 64 + 1];
	struct dns_tlsa t;

	if (!dns_tlsa(rdata, &t) || t.data.n > 64)
		return;
	hex_encode(hex, t.data);
	strbuf_addf(out, "%u %u %u %s", t.usage, t.selector, t.matching, hex);
}

/* Flags, a tag with its length, the value (RFC 8659 section 4.1). */
static void caa_text(struct span rdata, struct strbuf *out)
{
	size_t n = rdata.n > 2 ? (unsigned char)rdata.p[1] : 0;
	struct span value = span_from(rdata, 2 + n);

	if (n > 0)
		strbuf_addf(out, "%u %.*s \"%.*s\"", (unsigned char)rdata.p[0],
		    (int)(n < rdata.n - 2 ? n : rdata.n - 2), rdata.p + 2, SPAN_FMT(value));
}

static void name_text(struct span rdata, struct strbuf *out)
{
	char name[DNS_NAME_MAX + 1];

	if (dns_name(rdata, name))
		strbuf_addf(out, "%s.", name);
}

static void address_text(enum dns_type type, struct span rdata, struct strbuf *out)
{
	char text[NET_ADDR_TEXT];
	struct net_addr a;

	if (!dns_address(type, rdata, &a))
		return;
	net_addr_format(&a, text);
	strbuf_add_str(out, text);
}

static void record_text(enum dns_type type, struct span rdata, struct strbuf *out)
{
	char host[DNS_NAME_MAX + 1];
	uint16_t preference;

	if (type == DNS_MX && dns_mx(rdata, &preference, host))
		strbuf_addf(out, "%u %s.", preference, host);
	else if (type == DNS_TXT)
		(void)dns_txt(rdata, out);
	else if (type == DNS_PTR)
		name_text(rdata, out);
	else if (type == DNS_SRV)
		srv_text(rdata, out);
	else if (type == DNS_TLSA)
		tlsa_text(rdata, out);
	else if (type == DNS_CAA)
		caa_text(rdata, out);
	else if (type == DNS_A || type == DNS_AAAA)
		address_text(type, rdata, out);
}

/* --- comparing -------------------------------------------------------------------------------- */
struct comparing {
	const struct wanted_record *w;
	struct compared *out;
	struct strbuf texts[DNS_RECORDS_MAX];
	size_t count;
};

static void say(struct comparing *c, enum record_status status, const char *advice)
{
	c->out->status = status;
	c->out->advice = advice;
}

static struct span text_at(const struct comparing *c, size_t i)
{
	return strbuf_span(&c->texts[i]);
}

/* What is found is a text that others wrote: bounded, and no control characters. */
static void add_found(struct comparing *c, struct span text)
{
	struct strbuf *found = &c->out->found;

	if (found->n > 0)
		strbuf_add_str(found, "; ");
	for (size_t i = 0; i < text.n && i < 600; i++)
		strbuf_add_chr(found, ascii_is_ctl(text.p[i]) ? '?' : text.p[i]);
}

static void compare_any(struct comparing *c, const char *advice)
{
	for (size_t i = 0; i < c->count; i++)
		if (span_ieq(text_at(c, i), c->w->value)) {
			say(c, RECORD_OK, "");
			return;
		}
	say(c, RECORD_DIFFERS, advice);
}

/* The host that mail goes to first is the one. */
static void compare_mx(struct comparing *c)
{
	size_t best = 0;
	uint64_t preference, lowest = UINT64_MAX;
	struct span want = c->w->value, host;

	for (size_t i = 0; i < c->count; i++) {
		struct span text = text_at(c, i);

		if (span_take_u64(&text, 65535, &preference) && preference < lowest) {
			lowest = preference;
			best = i;
		}
	}
	host = text_at(c, best);
	(void)span_split(&want, ' ', &(struct span){0});
	(void)span_split(&host, ' ', &(struct span){0});
	if (span_ieq(host, want))
		say(c, RECORD_OK, "");
	else
		say(c, RECORD_DIFFERS, "Mail for the domain goes to another host.");
}

/* --- TXT -------------------------------------------------------------------------------------- */
/* Leaves only what begins with the version. */
static void keep_version(struct comparing *c, struct span version)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->count; i++) {
		struct span text = text_at(c, i);
		bool is_it = span_istarts(text, version) &&
			     (text.n == version.n || text.p[version.n] == ' ' ||
				 text.p[version.n] == ';' || text.p[version.n] == '\t');
		struct strbuf b = c->texts[i];

		if (!is_it)
			continue;
		c->texts[i] = c->texts[kept];
		c->texts[kept++] = b;
	}
	for (size_t i = kept; i < c->count; i++)
		strbuf_clear(&c->texts[i]);
	c->count = kept;
}

/* The value of a tag in "a=b; c=d". */
static struct span tag_of(struct span text, struct span tag)
{
	struct span one, name;

	while (span_split(&text, ';', &one)) {
		if (!span_split(&one, '=', &name) || !span_eq(span_trim(name), tag))
			continue;
		return span_trim(one);
	}
	return span_make("", 0);
}

static bool is_same_base64(struct span a, struct span b)
{
	while (a.n > 0 || b.n > 0) {
		if (a.n > 0 && (a.p[0] == ' ' || a.p[0] == '\t')) {
			a = span_from(a, 1);
			continue;
		}
		if (b.n > 0 && (b.p[0] == ' ' || b.p[0] == '\t')) {
			b = span_from(b, 1);
			continue;
		}
		if (a.n == 0 || b.n == 0 || a.p[0] != b.p[0])
			return false;
		a = span_from(a, 1);
		b = span_from(b, 1);
	}
	return true;
}

/* Whether the SPF record lets this server send, as far as one can see without asking further. */
static bool spf_has_us(struct span text)
{
	static const struct span ways[] = {SPAN_INIT("mx"), SPAN_INIT("a"), SPAN_INIT("mx:"),
	    SPAN_INIT("a:"), SPAN_INIT("ip4:"), SPAN_INIT("ip6:"), SPAN_INIT("include:"),
	    SPAN_INIT("redirect=")};
	struct span word;

	while (span_split(&text, ' ', &word)) {
		(void)span_take_chr(&word, '+');
		for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
			bool is_prefix =
			    ways[i].p[ways[i].n - 1] == ':' || i == ARRAY_LEN(ways) - 1;

			if (is_prefix ? span_istarts(word, ways[i]) : span_ieq(word, ways[i]))
				return true;
		}
	}
	return false;
}

static void compare_spf(struct comparing *c)
{
	keep_version(c, SPAN("v=spf1"));
	if (c->count == 0)
		say(c, RECORD_MISSING, "There is no SPF record.");
	else if (c->count > 1)
		say(c, RECORD_DIFFERS,
		    "There are several SPF records, which counts as none: make one of them.");
	else if (spf_has_us(text_at(c, 0)))
		say(c, RECORD_OK, "");
	else
		say(c, RECORD_DIFFERS, "It does not name this server: add mx to it.");
}

static void compare_key(struct comparing *c)
{
	for (size_t i = 0; i < c->count; i++)
		if (is_same_base64(
			tag_of(text_at(c, i), SPAN("p")), tag_of(c->w->value, SPAN("p"))) &&
		    c->count == 1) {
			say(c, RECORD_OK, "");
			return;
		}
	if (c->count > 1)
		say(c, RECORD_DIFFERS, "There are several records of this name: only one may be.");
	else
		say(c, RECORD_DIFFERS,
		    "The key is another one: a record that was cut, or one of another server.");
}

/* One record of a version, with a tag that it must have. */
static void compare_policy(struct comparing *c, struct span version, struct span tag)
{
	keep_version(c, version);
	if (c->count == 0)
		say(c, RECORD_MISSING, "There is no such record.");
	else if (c->count > 1)
		say(c, RECORD_DIFFERS, "There are several, which counts as none.");
	else if (tag_of(text_at(c, 0), tag).n == 0)
		say(c, RECORD_DIFFERS, "It lacks what it must have.");
	else
		say(c, RECORD_OK, "");
}

static void compare_txt(struct comparing *c)
{
	struct span purpose = c->w->purpose;

	if (span_starts(purpose, SPAN("spf")))
		compare_spf(c);
	else if (span_starts(purpose, SPAN("dkim")))
		compare_key(c);
	else if (span_eq(purpose, SPAN("dmarc")))
		compare_policy(c, SPAN("v=DMARC1"), SPAN("p"));
	else if (span_eq(purpose, SPAN("mta-sts")))
		compare_policy(c, SPAN("v=STSv1"), SPAN("id"));
	else if (span_eq(purpose, SPAN("tls-rpt")))
		compare_policy(c, SPAN("v=TLSRPTv1"), SPAN("rua"));
	else
		compare_any(c, "It says something else.");
}

/* --- all -------------------------------------------------------------------------------------- */
static void compare_alias(struct comparing *c, const struct dns_answer *a)
{
	struct span canonical = span_of(a->canonical);
	struct span want = c->w->value;

	if (canonical.n > 0 && canonical.p[canonical.n - 1] == '.')
		canonical.n--;
	if (want.n > 0 && want.p[want.n - 1] == '.')
		want.n--;
	if (canonical.n > 0)
		add_found(c, canonical);
	/* Addresses of its own may be the server's: the certificate will tell. */
	if (canonical.n == 0 || span_ieq(canonical, want))
		say(c, RECORD_OK, "");
	else
		say(c, RECORD_DIFFERS, "It leads to another host.");
}

static void compare_found(struct comparing *c, enum dns_type type, const struct dns_answer *a)
{
	if (span_eq(c->w->type, SPAN("CNAME")))
		compare_alias(c, a);
	else if (type == DNS_MX)
		compare_mx(c);
	else if (type == DNS_TXT)
		compare_txt(c);
	else if ((type == DNS_A || type == DNS_AAAA) && c->w->value.n == 0)
		say(c, RECORD_OK, "");
	else if (type == DNS_TLSA && !a->is_secure)
		say(c, RECORD_DIFFERS,
		    "The zone is not signed: without DNSSEC nobody looks at it.");
	else if (type == DNS_PTR)
		compare_any(c, "Servers compare it with the name that this one says in HELO.");
	else
		compare_any(c, "It says something else.");
}

void record_compare(const struct wanted_record *w, const struct dns_answer *a, struct compared *out)
{
	struct comparing c = {.w = w, .out = out};
	enum dns_type type = DNS_A;

	out->advice = "";
	if (!record_type(w, &type)) {
		say(&c, RECORD_UNKNOWN, "The address of this server is not known here.");
		return;
	}
	if (a->status == DNS_FAILED || a->status == DNS_BOGUS) {
		say(&c, RECORD_UNKNOWN,
		    a->status == DNS_BOGUS
			? "DNSSEC says that the answer is forged: the zone's signatures are wrong."
			: "The name servers do not answer: try again.");
		add_found(&c, span_of(a->why));
		return;
	}
	if (a->status != DNS_FOUND) {
		say(&c, RECORD_MISSING, "There is no such record.");
		return;
	}
	for (; c.count < a->count; c.count++) {
		strbuf_init(&c.texts[c.count], TEXT_MAX);
		record_text(type, a->records[c.count], &c.texts[c.count]);
	}
	compare_found(&c, type, a);
	if (!span_eq(w->type, SPAN("CNAME")))
		for (size_t i = 0; i < c.count; i++)
			add_found(&c, text_at(&c, i));
	for (size_t i = 0; i < c.count; i++)
		strbuf_clear(&c.texts[i]);
}
