/* cert list, show, export-chain. */
#include "common/keyd/verbs.h"

#include "common/base/mem.h"
#include "common/crypto/crypto.h"

#include <openssl/err.h>
#include <openssl/objects.h>

#define DAY 86400
#define VIEW_MAX (64 * 1024)
#define NAMES_SHOWN 100

/* --- one certificate -------------------------------------------------------------------------- */
static void add_name(struct strbuf *row, const char *field, const X509_NAME *name)
{
	char text[512];
	BIO *bio = BIO_new(BIO_s_mem());
	int n = 0;

	if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0)
		n = BIO_read(bio, text, sizeof(text));
	ipc_rec_text(row, field, span_make(text, n > 0 ? (size_t)n : 0));
	BIO_free(bio);
	ERR_clear_error();
}

static void add_names(struct strbuf *row, const X509 *cert)
{
	struct pki_names names;
	struct strbuf text;

	pki_names_of(cert, &names);
	strbuf_init(&text, VIEW_MAX / 2);
	for (size_t i = 0; i < names.count && i < NAMES_SHOWN; i++)
		strbuf_addf(&text, "%s%s", i > 0 ? ", " : "", names.list[i]);
	if (names.count > NAMES_SHOWN)
		strbuf_addf(&text, ", ...");
	ipc_rec_text(row, "names", strbuf_span(&text));
	strbuf_clear(&text);
	pki_names_clear(&names);
}

static void add_serial(struct strbuf *row, const X509 *cert)
{
	BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	char *text = n && BN_num_bits(n) <= 320 ? BN_bn2hex(n) : NULL;

	ipc_rec_text(row, "serial", span_of(text ? text : ""));
	OPENSSL_free(text);
	BN_free(n);
}

static void add_digest(struct strbuf *row, const X509 *cert)
{
	unsigned char hash[EVP_MAX_MD_SIZE];
	char text[2 * EVP_MAX_MD_SIZE + 1] = "";
	unsigned n = 0;

	if (X509_digest(cert, EVP_sha256(), hash, &n) == 1)
		hex_encode(text, span_make(hash, n));
	ipc_rec_text(row, "sha256", span_of(text));
}

static uint64_t days_left(const X509 *cert, int64_t now)
{
	int64_t left = pki_time(X509_get0_notAfter(cert)) - now;

	return left > 0 ? (uint64_t)left / DAY : 0;
}

static void view_cert(struct job *j, struct strbuf *row, const struct pki_bundle *b)
{
	const X509 *cert = b->chain[0];

	add_names(row, cert);
	add_name(row, "issuer", X509_get_issuer_name(cert));
	add_serial(row, cert);
	ipc_rec_text(row, "signature", span_of(OBJ_nid2ln(X509_get_signature_nid(cert))));
	ipc_rec_number(row, "not-before", IPC_TIME, (uint64_t)pki_time(X509_get0_notBefore(cert)));
	ipc_rec_number(row, "not-after", IPC_TIME, (uint64_t)pki_time(X509_get0_notAfter(cert)));
	ipc_rec_number(row, "days-left", IPC_NUMBER, days_left(cert, j->now));
	ipc_rec_number(row, "chain", IPC_NUMBER, b->count);
	add_digest(row, cert);
}

void add_view(struct job *j, const char *what, const struct pki_bundle *b)
{
	struct strbuf row;
	char key[40];

	strbuf_init(&row, VIEW_MAX);
	pki_key_text(b->key, key);
	ipc_rec_text(&row, "id", span_of(j->id));
	ipc_rec_text(&row, "what", span_of(what));
	ipc_rec_text(&row, "key", span_of(key));
	add_name(&row, "subject",
	    b->request ? X509_REQ_get_subject_name(b->request)
		       : X509_get_subject_name(b->chain[0]));
	if (!b->request)
		view_cert(j, &row, b);
	job_record(j, &row);
}

static void add_pem(struct job *j, const struct pki_bundle *b, struct err *err)
{
	struct strbuf pem, row;

	shelf_buf_init(&pem);
	if (pki_chain_pem(b, &pem, err) == 0) {
		strbuf_init(&row, BUNDLE_MAX + 1024);
		ipc_rec_text(&row, "pem", strbuf_span(&pem));
		job_record(j, &row);
	}
	shelf_buf_clear(&pem);
}

int cert_show(struct job *j, struct err *err)
{
	enum slot slot = job_slot(j, SLOT_CURRENT);
	struct pki_bundle b;

	if (job_bundle(j, j->id, slot, &b, err) < 0)
		return -1;
	add_view(j, slot_name(slot), &b);
	if (b.request)
		add_pem(j, &b, err);
	pki_bundle_clear(&b);
	return err->code == ERR_NONE ? 0 : -1;
}

int cert_export_chain(struct job *j, struct err *err)
{
	struct pki_bundle b;

	if (job_bundle(j, j->id, job_slot(j, SLOT_CURRENT), &b, err) < 0)
		return -1;
	add_pem(j, &b, err);
	pki_bundle_clear(&b);
	return err->code == ERR_NONE ? 0 : -1;
}

/* --- all of them ------------------------------------------------------------------------------ */
static void list_one(void *arg, const char *id)
{
	struct job *j = arg;
	struct pki_bundle b = {0};
	struct shelf_index ix = {0};
	struct err err = ERR_INIT;
	struct strbuf row;
	char key[40] = "";
	bool is_there;

	if (shelf_index_get(j->k->dir, id, &ix, &err) == 0 && ix.number[SLOT_CURRENT] > 0)
		(void)job_bundle(j, id, SLOT_CURRENT, &b, &err);
	is_there = b.count > 0;
	if (is_there)
		pki_key_text(b.key, key);
	strbuf_init(&row, VIEW_MAX);
	ipc_rec_text(&row, "id", span_of(id));
	ipc_rec_text(&row, "state",
	    span_of(err.code != ERR_NONE ? err.text
		    : is_there           ? "installed"
					 : "not installed"));
	ipc_rec_text(&row, "key", span_of(key));
	if (is_there)
		add_names(&row, b.chain[0]);
	else
		ipc_rec_text(&row, "names", SPAN(""));
	ipc_rec_text(&row, "origin", span_of(is_there ? origin_name(ix.origin[SLOT_CURRENT]) : ""));
	ipc_rec_number(&row, "not-after", IPC_TIME,
	    is_there ? (uint64_t)pki_time(X509_get0_notAfter(b.chain[0])) : 0);
	ipc_rec_number(&row, "days-left", IPC_NUMBER, is_there ? days_left(b.chain[0], j->now) : 0);
	ipc_rec_number(&row, "listeners", IPC_NUMBER, listeners_of(j->cfg, id));
	for (int s = SLOT_PREVIOUS; s < SLOT_COUNT; s++)
		ipc_rec_number(&row, slot_name((enum slot)s), IPC_BOOL, ix.number[s] > 0);
	job_record(j, &row);
	pki_bundle_clear(&b);
}

int cert_list(struct job *j, struct err *err)
{
	return shelf_each(j->k->dir, list_one, j, err);
}
