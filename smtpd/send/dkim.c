#include "smtpd/send/dkim.h"

#include "common/base/base64.h"
#include "common/base/mem.h"
#include "common/mail/address.h"
#include "common/mail/dkim.h"
#include "common/mail/idna.h"

#include <string.h>

#define SELECTOR_MAX 63
#define INSTANCES_MAX 256 /* fields that a signature covers */
#define LINE_MAX 72
#define FIELD_MAX 8192

/* --- keys ------------------------------------------------------------------------------------- */
struct domain_keys {
	size_t count;
	struct {
		char selector[SELECTOR_MAX + 1];
		struct sign_key *key;
	} keys[DKIM_DOMAIN_KEYS];
};

struct dkim_keys {
	unsigned refs;
	struct hash *domains;
};

struct dkim_keys *dkim_keys_new(void)
{
	struct dkim_keys *k = mem_zalloc(sizeof(*k));

	k->refs = 1;
	k->domains = hash_new();
	return k;
}

struct dkim_keys *dkim_keys_ref(struct dkim_keys *k)
{
	if (k)
		k->refs++;
	return k;
}

static void free_domain(struct span name, void *value, void *arg)
{
	struct domain_keys *d = value;

	for (size_t i = 0; i < d->count; i++)
		sign_key_free(d->keys[i].key);
	mem_free(d);
}

void dkim_keys_unref(struct dkim_keys *k)
{
	if (!k || --k->refs > 0)
		return;
	hash_each(k->domains, free_domain, NULL);
	hash_free(k->domains);
	mem_free(k);
}

int dkim_keys_add(
    struct dkim_keys *k, struct span domain, struct span selector, struct span pem, struct err *err)
{
	struct domain_keys *d = hash_get(k->domains, domain);
	struct sign_key *key;

	if (selector.n == 0 || selector.n > SELECTOR_MAX)
		return err_set(err, ERR_INVALID, "a selector has 1 to %d bytes", SELECTOR_MAX);
	if (d && d->count == DKIM_DOMAIN_KEYS)
		return err_set(err, ERR_LIMIT, "more than %d keys", DKIM_DOMAIN_KEYS);
	key = sign_key_read(pem, err);
	if (!key)
		return -1;
	if (!d) {
		d = mem_zalloc(sizeof(*d));
		(void)hash_set(k->domains, domain, d);
	}
	memcpy(d->keys[d->count].selector, selector.p, selector.n);
	d->keys[d->count++].key = key;
	return 0;
}

size_t dkim_keys_count(const struct dkim_keys *k)
{
	return hash_count(k->domains);
}

/* --- the message ------------------------------------------------------------------------------ */
struct dkim_signer {
	const struct dkim_keys *keys;
	int64_t time;
	struct strbuf header; /* with the line end of its last field */
	bool is_in_body;
	struct dkim_body body;
	struct sha256 *hash; /* of the body */
};

static void into_hash(void *arg, struct span bytes)
{
	struct dkim_signer *s = arg;

	sha256_update(s->hash, bytes);
}

struct dkim_signer *dkim_signer_new(const struct dkim_keys *keys, int64_t time)
{
	struct dkim_signer *s = mem_zalloc(sizeof(*s));

	s->keys = keys;
	s->time = time;
	s->hash = sha256_new();
	strbuf_init(&s->header, DKIM_HEADER_MAX);
	dkim_body_init(&s->body, into_hash, s);
	return s;
}

void dkim_signer_free(struct dkim_signer *s)
{
	if (!s)
		return;
	sha256_abort(s->hash);
	strbuf_clear(&s->header);
	mem_free(s);
}

/* Whether the header ends here: an empty line, or nothing but one. */
static bool is_header_over(const struct strbuf *h)
{
	struct span s = strbuf_span(h);

	return span_ends(s, SPAN("\r\n\r\n")) || span_eq(s, SPAN("\r\n"));
}

/* Up to and with the next LF, or all. */
static struct span take_line(struct span *in)
{
	ssize_t lf = span_chr(*in, '\n');
	struct span line = span_sub(*in, 0, lf >= 0 ? (size_t)lf + 1 : in->n);

	*in = span_from(*in, line.n);
	return line;
}

void dkim_signer_feed(struct dkim_signer *s, struct span in)
{
	while (!s->is_in_body && in.n > 0) {
		struct span line = take_line(&in);

		/* Too long a header is never over; nothing is signed then. */
		if (!strbuf_add(&s->header, line))
			return;
		s->is_in_body = line.p[line.n - 1] == '\n' && is_header_over(&s->header);
	}
	if (in.n > 0)
		dkim_body_feed(&s->body, in);
}

/* --- whose it is ------------------------------------------------------------------------------ */
/* The keys of a domain, or of one above it: mail of the server's own name. name begins at what was
 * found. */
static const struct domain_keys *keys_of(const struct dkim_keys *keys, struct span *name)
{
	while (name->n > 0) {
		const struct domain_keys *found = hash_get(keys->domains, *name);
		ssize_t dot = span_chr(*name, '.');

		if (found || dot < 0)
			return found;
		*name = span_from(*name, (size_t)dot + 1);
	}
	return NULL;
}

/* Of the field's only domain, if it has keys. */
static const struct domain_keys *find_domain(
    const struct dkim_keys *keys, struct span value, char domain[MAIL_DOMAIN_MAX + 1])
{
	const struct domain_keys *found = NULL;
	bool is_good = true;
	struct mail_list list;
	struct mail_entry e;

	domain[0] = '\0';
	mail_list_init(&list, value);
	while (is_good && mail_list_next(&list, &e)) {
		char text[MAIL_DOMAIN_MAX + 1];
		struct span name = {text, 0};

		if (e.kind != MAIL_ENTRY_MAILBOX)
			continue;
		is_good = !e.bad && mail_domain_ascii(e.domain, text, &name.n);
		found = is_good ? keys_of(keys, &name) : NULL;
		is_good = found && (domain[0] == '\0' || span_eq(span_of(domain), name));
		if (is_good) {
			memcpy(domain, name.p, name.n);
			domain[name.n] = '\0';
		}
	}
	mail_list_clear(&list);
	return is_good ? found : NULL;
}

static const struct domain_keys *find_keys(
    const struct dkim_signer *s, char domain[MAIL_DOMAIN_MAX + 1], const char **why)
{
	const struct domain_keys *found = NULL;
	struct mail_header h;
	struct mail_field f;
	size_t count = 0;

	*why = NULL;
	mail_header_init(&h, strbuf_span(&s->header));
	while (mail_header_next(&h, &f)) {
		if (!span_ieq(f.name, SPAN("From")))
			continue;
		if (count++ == 0)
			found = find_domain(s->keys, f.value, domain);
	}
	if (count != 1)
		*why = count == 0 ? "no From field" : "several From fields";
	else if (!found)
		*why = "From is of no domain with keys";
	return *why ? NULL : found;
}

/* --- what a signature covers ------------------------------------------------------------------ */
/* Fields that say what the message is (RFC 6376 section 5.4.1). Of those that are named once more
 * than they are there, nobody can add another. */
static const struct signed_name {
	struct span name;
	bool is_closed;
} signed_names[] = {
    {SPAN_INIT("From"), true},
    {SPAN_INIT("Sender"), false},
    {SPAN_INIT("Reply-To"), true},
    {SPAN_INIT("To"), true},
    {SPAN_INIT("Cc"), true},
    {SPAN_INIT("Subject"), true},
    {SPAN_INIT("Date"), true},
    {SPAN_INIT("Message-ID"), true},
    {SPAN_INIT("In-Reply-To"), false},
    {SPAN_INIT("References"), false},
    {SPAN_INIT("MIME-Version"), true},
    {SPAN_INIT("Content-Type"), true},
    {SPAN_INIT("Content-Transfer-Encoding"), true},
    {SPAN_INIT("Content-Disposition"), false},
    {SPAN_INIT("Content-ID"), false},
    {SPAN_INIT("Content-Description"), false},
    {SPAN_INIT("Auto-Submitted"), false},
    {SPAN_INIT("Resent-From"), false},
    {SPAN_INIT("Resent-Sender"), false},
    {SPAN_INIT("Resent-To"), false},
    {SPAN_INIT("Resent-Cc"), false},
    {SPAN_INIT("Resent-Date"), false},
    {SPAN_INIT("Resent-Message-ID"), false},
    {SPAN_INIT("List-Id"), false},
    {SPAN_INIT("List-Help"), false},
    {SPAN_INIT("List-Unsubscribe"), false},
    {SPAN_INIT("List-Unsubscribe-Post"), false},
    {SPAN_INIT("List-Subscribe"), false},
    {SPAN_INIT("List-Post"), false},
    {SPAN_INIT("List-Owner"), false},
    {SPAN_INIT("List-Archive"), false},
};

struct cover {
	struct span fields[INSTANCES_MAX]; /* whole fields, in the order of h= */
	size_t count;
	struct strbuf names; /* "From:To:..." */
};

/* From the last to the first, as verifiers count them (RFC 6376 section 5.4.2). */
static void cover_name(struct cover *c, struct span header, const struct signed_name *n)
{
	struct span found[INSTANCES_MAX] = {{0}};
	struct mail_header h;
	struct mail_field f;
	size_t count = 0;

	mail_header_init(&h, header);
	while (mail_header_next(&h, &f))
		if (span_ieq(f.name, n->name))
			found[count++ % INSTANCES_MAX] = span_sub(header, f.offset, f.size);
	for (size_t i = count; i-- > 0 && count - i <= INSTANCES_MAX && c->count < INSTANCES_MAX;) {
		c->fields[c->count++] = found[i % INSTANCES_MAX];
		strbuf_addf(&c->names, ":%.*s", SPAN_FMT(n->name));
	}
	if (n->is_closed)
		strbuf_addf(&c->names, ":%.*s", SPAN_FMT(n->name));
}

static void cover_all(struct cover *c, struct span header)
{
	strbuf_init(&c->names, FIELD_MAX);
	for (size_t i = 0; i < ARRAY_LEN(signed_names); i++)
		cover_name(c, header, &signed_names[i]);
}

/* --- a signature ------------------------------------------------------------------------------ */
static void add_base64(struct strbuf *out, const unsigned char *p, size_t n)
{
	struct strbuf b;

	strbuf_init(&b, BASE64_ENCODED_LEN(SIGNATURE_MAX));
	base64_encode(&b, span_make(p, n));
	for (size_t i = 0; i < b.n; i += LINE_MAX) {
		if (i > 0)
			strbuf_add_str(out, "\r\n\t ");
		strbuf_add(out, span_sub(strbuf_span(&b), i, LINE_MAX));
	}
	strbuf_clear(&b);
}

/* "h=" with a fold where a line gets long. */
static void add_names(struct strbuf *out, struct span names)
{
	size_t line = 0;
	struct span one;

	names = span_from(names, 1);
	strbuf_add_str(out, "h=");
	while (span_split(&names, ':', &one)) {
		if (line > 0 && line + one.n > LINE_MAX) {
			strbuf_add_str(out, "\r\n\t ");
			line = 0;
		}
		strbuf_addf(out, "%.*s%s", SPAN_FMT(one), names.p ? ":" : "");
		line += one.n + 1;
	}
}

/* Everything but the signature itself, which comes last. */
static void add_head(struct strbuf *out, const struct dkim_signer *s, const char *domain,
    const char *selector, bool is_rsa, const struct cover *c,
    const unsigned char body_hash[SHA256_LEN])
{
	strbuf_addf(out,
	    "DKIM-Signature: v=1; a=%s; c=relaxed/relaxed; d=%s;\r\n\ts=%s; t=%lld;\r\n\t",
	    is_rsa ? "rsa-sha256" : "ed25519-sha256", domain, selector, (long long)s->time);
	add_names(out, strbuf_span(&c->names));
	strbuf_add_str(out, ";\r\n\tbh=");
	add_base64(out, body_hash, SHA256_LEN);
	strbuf_add_str(out, ";\r\n\tb=");
}

static void hash_header(const struct cover *c, struct span signature, unsigned char out[SHA256_LEN])
{
	struct sha256 *h = sha256_new();
	struct strbuf b;

	strbuf_init(&b, DKIM_HEADER_MAX + 16);
	for (size_t i = 0; i < c->count; i++) {
		strbuf_reset(&b);
		dkim_field(&b, c->fields[i]);
		strbuf_add_str(&b, "\r\n");
		sha256_update(h, strbuf_span(&b));
	}
	strbuf_reset(&b);
	dkim_field(&b, signature);
	sha256_update(h, strbuf_span(&b));
	sha256_final(h, out);
	strbuf_clear(&b);
}

static int add_signature(struct strbuf *out, struct span head, const struct sign_key *key,
    const struct cover *c, struct err *err)
{
	unsigned char hash[SHA256_LEN], signature[SIGNATURE_MAX];
	size_t n;

	hash_header(c, head, hash);
	if (sign_hash(key, hash, signature, &n, err) < 0)
		return -1;
	strbuf_add(out, head);
	add_base64(out, signature, n);
	strbuf_add_str(out, "\r\n");
	return 0;
}

static int sign_all(const struct dkim_signer *s, const struct domain_keys *keys, const char *domain,
    const unsigned char body_hash[SHA256_LEN], struct strbuf *fields, struct err *err)
{
	struct cover c = {.count = 0};
	int result = 0;

	cover_all(&c, strbuf_span(&s->header));
	for (size_t i = 0; i < keys->count && result == 0; i++) {
		const struct sign_key *key = keys->keys[i].key;
		struct strbuf head;

		strbuf_init(&head, FIELD_MAX);
		add_head(
		    &head, s, domain, keys->keys[i].selector, sign_key_is_rsa(key), &c, body_hash);
		if (head.failed || c.names.failed)
			result = err_set(err, ERR_LIMIT, "too many header fields to sign");
		else
			result = add_signature(fields, strbuf_span(&head), key, &c, err);
		strbuf_clear(&head);
	}
	strbuf_clear(&c.names);
	return result;
}

int dkim_signer_end(struct dkim_signer *s, struct strbuf *fields, const char **why, struct err *err)
{
	unsigned char hash[SHA256_LEN];
	char domain[MAIL_DOMAIN_MAX + 1];
	const struct domain_keys *keys;
	int result = 0;

	dkim_body_end(&s->body);
	sha256_final(s->hash, hash);
	s->hash = NULL;
	if (s->header.failed) {
		*why = "the header is too long";
	} else {
		keys = find_keys(s, domain, why);
		if (keys)
			result = sign_all(s, keys, domain, hash, fields, err);
	}
	dkim_signer_free(s);
	return result;
}
