#include "common/keyd/report.h"

#include "common/base/mem.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <string.h>

#define DAY 86400
#define EXPIRY_WARNING_DAYS 21
#define PUBLIC_DAYS_MAX 398
#define ANY_DAYS_MAX 825
#define VERIFY_DEPTH 16

/* What makes clients complain. */
enum trouble {
	T_EXPIRED = 1 << 0,
	T_NAMES = 1 << 1,
	T_SELF_SIGNED = 1 << 2,
	T_PRIVATE_CA = 1 << 3,
	T_INCOMPLETE = 1 << 4,
	T_LONG = 1 << 5,
	T_OLD_SIGNATURE = 1 << 6,
	T_NO_SAN = 1 << 7,
	T_ODD_CURVE = 1 << 8,
	T_ED25519 = 1 << 9,
	T_ECDSA_ALONE = 1 << 10,
};

static const struct {
	unsigned trouble;
	const char *text;
} clients[] = {
    {T_EXPIRED, "All mail programs warn or refuse: it is not valid now"},
    {T_NAMES, "All mail programs warn when they connect to a name it does not hold"},
    {T_SELF_SIGNED | T_PRIVATE_CA,
	"Thunderbird, Apple Mail, Outlook and K-9 ask once whether to trust it; Gmail and other "
	"services that fetch mail refuse it. Other mail servers deliver all the same, unless the "
	"domain has an MTA-STS policy"},
    {T_INCOMPLETE, "Android, Java and command line programs refuse it; Apple and Microsoft "
		   "programs may find the missing certificates by themselves"},
    {T_LONG, "Apple Mail refuses it: it is valid for too many days"},
    {T_OLD_SIGNATURE, "All current mail programs refuse it: its signature uses SHA-1 or older"},
    {T_NO_SAN, "All current mail programs refuse it: it names its host only in the subject"},
    {T_ODD_CURVE, "Chrome-based programs and Android refuse it: they do not know P-521"},
    {T_ED25519, "Nearly all mail programs refuse it: they do not know Ed25519 certificates"},
    {T_ECDSA_ALONE, "Devices from before 2012 cannot use ECDSA: list an RSA certificate behind it "
		    "in listener.NAME.certificate"},
};

const char *finding_level_name(enum finding_level level)
{
	static const char *const names[] = {"ok", "warning", "error"};

	return names[level];
}

static void add(struct report *r, enum finding_level level, const char *check, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void add(struct report *r, enum finding_level level, const char *check, const char *fmt, ...)
{
	struct finding *f;
	struct strbuf text;
	va_list ap;

	if (r->count == FINDINGS_MAX)
		return;
	f = &r->list[r->count++];
	*f = (struct finding){.level = level, .check = check};
	strbuf_init(&text, 4096);
	va_start(ap, fmt);
	strbuf_vaddf(&text, fmt, ap);
	va_end(ap);
	memcpy(f->text, text.p, text.n < sizeof(f->text) ? text.n : sizeof(f->text) - 1);
	strbuf_clear(&text);
	r->has_error = r->has_error || level == FINDING_ERROR;
}

/* --- each check ------------------------------------------------------------------------------- */
static unsigned check_key(struct report *r, const struct pki_bundle *b)
{
	char text[40];

	pki_key_text(b->key, text);
	if (!pki_key_matches(b->chain[0], b->key)) {
		add(r, FINDING_ERROR, "key", "the private key is not the certificate's");
		return 0;
	}
	add(r, FINDING_OK, "key", "%s, and it is the certificate's", text);
	if (EVP_PKEY_get_base_id(b->key) == EVP_PKEY_ED25519)
		return T_ED25519;
	if (EVP_PKEY_get_base_id(b->key) != EVP_PKEY_EC)
		return 0;
	return T_ECDSA_ALONE | (EVP_PKEY_get_bits(b->key) > 384 ? T_ODD_CURVE : 0);
}

static unsigned check_names(
    struct report *r, const struct pki_bundle *b, const struct report_options *o)
{
	struct pki_names names;
	unsigned trouble = 0;
	size_t covered = 0;

	pki_names_of(b->chain[0], &names);
	if (names.count == 0)
		trouble |= T_NO_SAN | T_NAMES;
	for (size_t i = 0; i < o->host_count; i++) {
		bool is_covered = pki_names_match(&names, span_of(o->hosts[i]));

		covered += is_covered;
		if (is_covered)
			add(r, FINDING_OK, "names", "%s is covered", o->hosts[i]);
		else
			trouble |= T_NAMES;
	}
	for (size_t i = 0; i < o->host_count; i++)
		if (!pki_names_match(&names, span_of(o->hosts[i])))
			add(r, covered > 0 ? FINDING_WARNING : FINDING_ERROR, "names",
			    "%s, which clients connect to, is not one of its names", o->hosts[i]);
	pki_names_clear(&names);
	return trouble;
}

static unsigned check_expiry(
    struct report *r, const struct pki_bundle *b, const struct report_options *o)
{
	int64_t from = pki_time(X509_get0_notBefore(b->chain[0]));
	int64_t until = pki_time(X509_get0_notAfter(b->chain[0]));
	long long days = (long long)((until - o->now) / DAY);

	for (size_t i = 1; i < b->count; i++)
		if (pki_time(X509_get0_notAfter(b->chain[i])) <= o->now)
			add(r, FINDING_WARNING, "expiry", "certificate %zu of the chain is expired",
			    i + 1);
	if (from > o->now) {
		add(r, FINDING_ERROR, "expiry", "it becomes valid only in %lld hours",
		    (long long)(from - o->now) / 3600 + 1);
		return T_EXPIRED;
	}
	if (until <= o->now) {
		add(r, FINDING_ERROR, "expiry", "it expired %lld days ago", -days);
		return T_EXPIRED;
	}
	add(r, days < EXPIRY_WARNING_DAYS ? FINDING_WARNING : FINDING_OK, "expiry",
	    "it is good for %lld more days", days);
	return until - from > (int64_t)ANY_DAYS_MAX * DAY ? T_LONG : 0;
}

static unsigned check_signature(struct report *r, const struct pki_bundle *b)
{
	unsigned trouble = 0;

	for (size_t i = 0; i < b->count; i++) {
		int hash = NID_undef;

		if (OBJ_find_sigid_algs(X509_get_signature_nid(b->chain[i]), &hash, NULL) != 1 ||
		    (hash != NID_md5 && hash != NID_sha1 && hash != NID_md4))
			continue;
		/* A root signs itself: nobody looks at that. */
		if (i > 0 && pki_is_self_signed(b->chain[i]))
			continue;
		add(r, FINDING_WARNING, "signature", "certificate %zu is signed with %s", i + 1,
		    OBJ_nid2sn(hash));
		trouble |= T_OLD_SIGNATURE;
	}
	return trouble;
}

static X509_STORE *open_store(const char *ca_file)
{
	X509_STORE *store = X509_STORE_new();

	if (!store)
		return NULL;
	if (ca_file && ca_file[0])
		(void)X509_STORE_load_file(store, ca_file);
	else
		(void)X509_STORE_set_default_paths(store);
	return store;
}

/* X509_V_OK, or why not. Time and names have checks of their own. */
static int verify_chain(const struct pki_bundle *b, const struct report_options *o)
{
	X509_STORE *store = open_store(o->ca_file);
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	STACK_OF(X509) *rest = sk_X509_new_null();
	int result = X509_V_ERR_UNSPECIFIED;

	for (size_t i = 1; rest && i < b->count; i++)
		(void)sk_X509_push(rest, b->chain[i]);
	if (store && ctx && rest && X509_STORE_CTX_init(ctx, store, b->chain[0], rest) == 1) {
		X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);

		X509_VERIFY_PARAM_set_depth(param, VERIFY_DEPTH);
		X509_VERIFY_PARAM_set_time(
		    param, (time_t)(pki_time(X509_get0_notBefore(b->chain[0])) + 1));
		X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_NO_CHECK_TIME);
		(void)X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
		result = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	}
	sk_X509_free(rest);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	ERR_clear_error();
	return result;
}

static void name_text(const X509_NAME *name, char out[200])
{
	BIO *bio = BIO_new(BIO_s_mem());
	int n = 0;

	if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0)
		n = BIO_read(bio, out, 199);
	out[n > 0 ? n : 0] = '\0';
	BIO_free(bio);
}

static unsigned check_chain(
    struct report *r, const struct pki_bundle *b, const struct report_options *o)
{
	const X509 *last = b->chain[b->count - 1];
	int why = verify_chain(b, o);
	char issuer[200];

	if (o->left_out > 0)
		add(r, FINDING_OK, "chain", "%zu certificates that do not belong were left out",
		    o->left_out);
	name_text(X509_get_issuer_name(last), issuer);
	switch (why) {
	case X509_V_OK:
		add(r, FINDING_OK, "chain", "complete, up to %s", issuer);
		return 0;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		add(r, FINDING_WARNING, "chain", "self-signed: no authority vouches for it");
		return T_SELF_SIGNED;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		add(r, FINDING_WARNING, "chain",
		    "%s is neither in it nor known here: certificates in between are missing, or "
		    "it is a private authority",
		    issuer);
		return T_INCOMPLETE;
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		add(r, FINDING_WARNING, "chain", "from a private authority, %s", issuer);
		return T_PRIVATE_CA;
	default:
		add(r, FINDING_WARNING, "chain", "%s", X509_verify_cert_error_string(why));
		return T_PRIVATE_CA;
	}
}

void report_make(const struct pki_bundle *b, const struct report_options *o, struct report *out)
{
	unsigned trouble;

	*out = (struct report){0};
	trouble = check_key(out, b);
	trouble |= check_names(out, b, o);
	trouble |= check_expiry(out, b, o);
	trouble |= check_signature(out, b);
	trouble |= check_chain(out, b, o);
	/* Public authorities sign for less: a longer one is no public certificate. */
	if ((trouble & (T_SELF_SIGNED | T_PRIVATE_CA | T_INCOMPLETE)) == 0 &&
	    pki_time(X509_get0_notAfter(b->chain[0])) - pki_time(X509_get0_notBefore(b->chain[0])) >
		(int64_t)PUBLIC_DAYS_MAX * DAY + DAY)
		trouble |= T_LONG;
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		if (trouble & clients[i].trouble)
			add(out, clients[i].trouble == T_ECDSA_ALONE ? FINDING_OK : FINDING_WARNING,
			    "client", "%s", clients[i].text);
}
