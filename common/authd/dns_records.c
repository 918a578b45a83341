#include "common/authd/dns_records.h"

#include "common/base/codec.h"
#include "common/crypto/crypto.h"
#include "common/ipc/msg.h"

#include <stdio.h>
#include <string.h>

#define ROW_MAX (16 * 1024)
#define TTL 3600
#define STRING_MAX 255 /* of a TXT record (RFC 1035 section 3.3) */
#define NAME_MAX_TEXT 320

enum importance { REQUIRED, RECOMMENDED, OPTIONAL };

static const char *const importance_names[] = {"required", "recommended", "optional"};

/* --- a line of a zone ------------------------------------------------------------------------- */
static void add_strings(struct strbuf *out, struct span text)
{
	bool is_first = true;

	while (is_first || text.n > 0) {
		struct span part = span_sub(text, 0, STRING_MAX);

		strbuf_add_str(out, is_first ? "\"" : " \"");
		for (size_t i = 0; i < part.n; i++) {
			if (part.p[i] == '"' || part.p[i] == '\\')
				strbuf_add_chr(out, '\\');
			strbuf_add_chr(out, part.p[i]);
		}
		strbuf_add_chr(out, '"');
		text = span_from(text, part.n);
		is_first = false;
	}
}

void dns_zone_line(struct strbuf *out, struct span name, struct span type, struct span value)
{
	/* Nobody but the owner of the addresses can set these; and what is not known is for people.
	 */
	if (value.n == 0 || name.n == 0 || span_eq(type, SPAN("PTR")))
		strbuf_add_str(out, "; ");
	strbuf_addf(out, "%.*s %d IN %.*s ", SPAN_FMT(name), TTL, SPAN_FMT(type));
	if (span_eq(type, SPAN("TXT")))
		add_strings(out, value);
	else
		strbuf_add(out, value);
}

/* --- rows ------------------------------------------------------------------------------------- */
struct making {
	const struct dns_source *from;
	struct strbuf *rows;
	char host[NAME_MAX_TEXT]; /* "mail.example.org." */
};

static void add(struct making *m, const char *purpose, enum importance importance, const char *name,
    const char *type, const char *value, const char *why)
{
	struct strbuf row, line;

	strbuf_init(&row, ROW_MAX);
	strbuf_init(&line, ROW_MAX / 2);
	dns_zone_line(&line, span_of(name), span_of(type), span_of(value));
	ipc_rec_text(&row, "purpose", span_of(purpose));
	ipc_rec_text(&row, "importance", span_of(importance_names[importance]));
	ipc_rec_text(&row, "name", span_of(name));
	ipc_rec_text(&row, "type", span_of(type));
	ipc_rec_number(&row, "ttl", IPC_NUMBER, TTL);
	ipc_rec_text(&row, "value", span_of(value));
	ipc_rec_text(&row, "zone", strbuf_span(&line));
	ipc_rec_text(&row, "why", span_of(why));
	enc_bytes(m->rows, strbuf_span(&row));
	strbuf_clear(&line);
	strbuf_clear(&row);
}

/* prefix in front of the domain, with the dot at the end. */
static const char *below(const struct making *m, const char *prefix, char out[NAME_MAX_TEXT])
{
	snprintf(out, NAME_MAX_TEXT, "%s%.*s.", prefix, SPAN_FMT(m->from->domain));
	return out;
}

struct row_values {
	struct span type, state, name, value;
};

/* The next row of another process's answer. */
static bool next_row(struct dec *rows, struct row_values *r)
{
	struct ipc_value v;
	struct dec row;

	*r = (struct row_values){0};
	if (rows->in.n == 0 || !dec_ok(rows))
		return false;
	row = dec_of(dec_bytes(rows));
	while (ipc_rec_next(&row, &v)) {
		if (span_eq(v.name, SPAN("type")))
			r->type = v.text;
		else if (span_eq(v.name, SPAN("state")))
			r->state = v.text;
		else if (span_eq(v.name, SPAN("name")))
			r->name = v.text;
		else if (span_eq(v.name, SPAN("value")))
			r->value = v.text;
	}
	return dec_ok(rows);
}

/* --- this server ------------------------------------------------------------------------------ */
static void add_address(
    struct making *m, struct span type, struct span address, struct span reverse)
{
	char value[128], name[NAME_MAX_TEXT] = "";
	bool is_v6 = span_eq(type, SPAN("AAAA"));

	snprintf(value, sizeof(value), "%.*s", SPAN_FMT(address));
	add(m, is_v6 ? "address-ipv6" : "address", is_v6 ? RECOMMENDED : REQUIRED, m->host,
	    is_v6 ? "AAAA" : "A", value,
	    is_v6 ? "Servers and users that have IPv6 reach this server by it."
		  : "Everybody reaches this server by it.");
	if (reverse.n > 0)
		snprintf(name, sizeof(name), "%.*s.", SPAN_FMT(reverse));
	add(m, is_v6 ? "reverse-ipv6" : "reverse",
	    is_v6 || m->from->has_smarthost ? RECOMMENDED : REQUIRED, name, "PTR", m->host,
	    "Most servers refuse mail from an address whose name does not lead back to it; your "
	    "provider sets it, not your domain's DNS.");
}

static void add_addresses(struct making *m)
{
	struct dec rows = dec_of(m->from->addresses);
	bool has_v4 = false;
	struct row_values r;

	while (next_row(&rows, &r)) {
		add_address(m, r.type, r.value, r.name);
		has_v4 = has_v4 || span_eq(r.type, SPAN("A"));
	}
	if (!has_v4)
		add_address(m, SPAN("A"), span_make("", 0), span_make("", 0));
}

/* --- the domain ------------------------------------------------------------------------------- */
static void add_senders(struct making *m)
{
	char name[NAME_MAX_TEXT], value[NAME_MAX_TEXT + 64];

	snprintf(value, sizeof(value), "10 %s", m->host);
	add(m, "mx", REQUIRED, below(m, "", name), "MX", value,
	    "Other servers bring the domain's mail to the host that is named here.");
	add_addresses(m);
	add(m, "spf", REQUIRED, below(m, "", name), "TXT", "v=spf1 mx ~all",
	    m->from->has_smarthost
		? "Says which servers may send for the domain; there may be only one such record. "
		  "Your mail leaves through a smarthost: add what its provider names, often "
		  "include:..., in front of ~all."
		: "Says that this server may send for the domain; there may be only one such "
		  "record.");
	add(m, "spf-host", RECOMMENDED, m->host, "TXT", "v=spf1 a -all",
	    "The same for the server's own name, as which it sends notices.");
}

static void add_keys(struct making *m)
{
	struct dec rows = dec_of(m->from->keys);
	struct row_values r;

	while (next_row(&rows, &r)) {
		char name[NAME_MAX_TEXT], value[2048];
		bool is_current = span_eq(r.state, SPAN("current"));
		bool is_next = span_eq(r.state, SPAN("next"));
		bool is_rsa = span_find(r.value, SPAN("k=rsa")) >= 0;

		if (!span_eq(r.type, SPAN("dkim")))
			continue;
		snprintf(name, sizeof(name), "%.*s.", SPAN_FMT(r.name));
		snprintf(value, sizeof(value), "%.*s", SPAN_FMT(r.value));
		add(m,
		    is_current ? "dkim"
		    : is_next  ? "dkim-next"
			       : "dkim-old",
		    is_current && is_rsa    ? REQUIRED
		    : is_current || is_next ? RECOMMENDED
					    : OPTIONAL,
		    name, "TXT", value,
		    is_current ? "The key of the signatures on the domain's mail; without it much "
				 "of it ends in spam folders."
		    : is_next  ? "A new key: it signs as soon as it is found here."
			       : "The key before: mail that it signed may be under way; remove the "
				 "record when it is not listed here any more.");
	}
}

/* Changes with the policy that https://mta-sts.DOMAIN/.well-known/mta-sts.txt has. */
static void policy_id(const struct making *m, char out[2 * SHA256_LEN + 1])
{
	unsigned char hash[SHA256_LEN];

	sha256_once(span_of(m->host), hash);
	hex_encode(out, span_make(hash, sizeof(hash)));
	out[20] = '\0';
}

static void add_policies(struct making *m)
{
	char name[NAME_MAX_TEXT], value[NAME_MAX_TEXT + 64], id[2 * SHA256_LEN + 1];

	snprintf(value, sizeof(value), "v=DMARC1; p=none; rua=mailto:postmaster@%.*s",
	    SPAN_FMT(m->from->domain));
	add(m, "dmarc", REQUIRED, below(m, "_dmarc.", name), "TXT", value,
	    "What others do with mail that only claims to be from the domain; large providers "
	    "want it. With p=quarantine or p=reject they act on it: when all your mail passes.");
	if (config_u64(m->from->cfg, SET_WEB_PORT) != 0) {
		policy_id(m, id);
		snprintf(value, sizeof(value), "v=STSv1; id=%s", id);
		add(m, "mta-sts", RECOMMENDED, below(m, "_mta-sts.", name), "TXT", value,
		    "Tells other servers to fetch the policy that mail to the domain must be "
		    "encrypted.");
		add(m, "mta-sts-host", RECOMMENDED, below(m, "mta-sts.", name), "CNAME", m->host,
		    "Where that policy is fetched; the certificate must have this name too.");
	}
	snprintf(value, sizeof(value), "v=TLSRPTv1; rua=mailto:postmaster@%.*s",
	    SPAN_FMT(m->from->domain));
	add(m, "tls-rpt", OPTIONAL, below(m, "_smtp._tls.", name), "TXT", value,
	    "Where other servers report that encryption with this one failed.");
}

/* --- mail programs ---------------------------------------------------------------------------- */
static const struct config_listener *find_listener(
    const struct config *cfg, enum listener_role role, enum tls_stance tls)
{
	for (size_t i = 0; i < config_listener_count(cfg); i++) {
		const struct config_listener *l = config_listener(cfg, i);

		if (l->enabled && l->role == role && l->tls == tls && l->address[0] != '/')
			return l;
	}
	return NULL;
}

static void add_services(struct making *m)
{
	static const struct {
		const char *prefix, *purpose;
		enum listener_role role;
		enum importance importance;
	} services[] = {
	    {"_imaps._tcp.", "srv-imaps", ROLE_IMAP, RECOMMENDED},
	    {"_submissions._tcp.", "srv-submissions", ROLE_SUBMISSION, RECOMMENDED},
	    {"_pop3s._tcp.", "srv-pop3s", ROLE_POP3, OPTIONAL},
	};
	char name[NAME_MAX_TEXT], value[NAME_MAX_TEXT + 64];

	for (size_t i = 0; i < sizeof(services) / sizeof(*services); i++) {
		const struct config_listener *l =
		    find_listener(m->from->cfg, services[i].role, TLS_IMPLICIT);

		if (!l)
			continue;
		snprintf(value, sizeof(value), "0 1 %u %s", l->port, m->host);
		add(m, services[i].purpose, services[i].importance,
		    below(m, services[i].prefix, name), "SRV", value,
		    "Mail programs find host and port by it (RFC 6186, RFC 8314).");
	}
	if (config_u64(m->from->cfg, SET_WEB_PORT) == 0)
		return;
	snprintf(value, sizeof(value), "0 1 %llu %s",
	    (unsigned long long)config_u64(m->from->cfg, SET_WEB_PORT), m->host);
	add(m, "autoconfig", RECOMMENDED, below(m, "autoconfig.", name), "CNAME", m->host,
	    "Thunderbird and others set themselves up with what they find there.");
	add(m, "autodiscover", RECOMMENDED, below(m, "autodiscover.", name), "CNAME", m->host,
	    "The same for Outlook.");
	add(m, "srv-autodiscover", OPTIONAL, below(m, "_autodiscover._tcp.", name), "SRV", value,
	    "The same for Outlook, where a CNAME does not do.");
}

/* --- certificates ----------------------------------------------------------------------------- */
/* The names that authorities want to see (RFC 8659), by where they issue. */
static void add_authority(struct making *m)
{
	static const struct {
		const char *url, *name;
	} known[] = {
	    {"letsencrypt.org", "letsencrypt.org"},
	    {"zerossl.com", "sectigo.com"},
	    {"buypass.com", "buypass.com"},
	    {"pki.goog", "pki.goog"},
	};
	struct span url = span_of(config_str(m->from->cfg, SET_ACME_URL));
	char value[64];

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (span_find(url, span_of(known[i].url)) < 0)
			continue;
		snprintf(value, sizeof(value), "0 issue \"%s\"", known[i].name);
		add(m, "caa", OPTIONAL, m->host, "CAA", value,
		    "Only this authority may issue certificates for the server's name: the one of "
		    "acme.url, or name the one that you use.");
		return;
	}
}

static void add_certificates(struct making *m)
{
	struct dec rows = dec_of(m->from->keys);
	char name[NAME_MAX_TEXT + 16], value[128];
	struct row_values r;

	snprintf(name, sizeof(name), "_25._tcp.%s", m->host);
	while (next_row(&rows, &r)) {
		bool is_current = span_eq(r.state, SPAN("current"));

		if (!span_eq(r.type, SPAN("tlsa")))
			continue;
		snprintf(value, sizeof(value), "%.*s", SPAN_FMT(r.value));
		add(m, is_current ? "tlsa" : "tlsa-next", OPTIONAL, name, "TLSA", value,
		    is_current ? "DANE: other servers trust the certificate's key because DNSSEC "
				 "vouches for it; only for zones that are signed."
			       : "The key of the next certificate: publish it before that one is "
				 "installed.");
	}
	add_authority(m);
}

void dns_records(const struct dns_source *from, struct strbuf *rows)
{
	struct making m = {.from = from, .rows = rows};

	snprintf(m.host, sizeof(m.host), "%s.", config_str(from->cfg, SET_SERVER_HOSTNAME));
	add_senders(&m);
	add_keys(&m);
	add_policies(&m);
	add_services(&m);
	add_certificates(&m);
}
