/* cert check, install, rollback, remove, staple. */
#include "common/keyd/report.h"
#include "common/keyd/verbs.h"

#include "common/base/mem.h"
#include "common/net/tls.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <string.h>

/* --- the report ------------------------------------------------------------------------------- */
static bool other_covers(const struct job *j, struct span others, const char *host)
{
	struct span word;
	bool result = false;

	while (!result && config_list_next(&others, &word)) {
		char id[KEY_ID_MAX + 1] = "";
		struct pki_bundle b;
		struct pki_names names;

		if (!key_id_is_good(word) || span_eq(word, span_of(j->id)))
			continue;
		memcpy(id, word.p, word.n);
		if (job_bundle(j, id, SLOT_CURRENT, &b, NULL) < 0)
			continue;
		if (b.count > 0) {
			pki_names_of(b.chain[0], &names);
			result = pki_names_match(&names, span_of(host));
			pki_names_clear(&names);
		}
		pki_bundle_clear(&b);
	}
	return result;
}

/* Whether the certificates beside it in a listener's list have this host name already. */
static bool is_covered_elsewhere(const struct job *j, const char *host)
{
	bool result = false;

	for (size_t i = 0; i < config_listener_count(j->cfg); i++) {
		const struct config_listener *l = config_listener(j->cfg, i);

		if (l->tls == TLS_NONE || strcmp(l->hostname, host) != 0)
			continue;
		if (!other_covers(j, span_of(l->certificates), host))
			return false;
		result = true;
	}
	return result;
}

static void make_report(
    const struct job *j, const struct pki_bundle *b, size_t left_out, struct report *r)
{
	const char *hosts[HOSTS_MAX];
	struct report_options o = {.hosts = hosts,
	    .ca_file = config_str(j->cfg, SET_TLS_CA_FILE),
	    .now = j->now,
	    .left_out = left_out};
	size_t n = hosts_of(j->cfg, j->id, hosts);
	struct pki_names names;

	pki_names_of(b->chain[0], &names);
	for (size_t i = 0; i < n; i++)
		if (pki_names_match(&names, span_of(hosts[i])) ||
		    !is_covered_elsewhere(j, hosts[i]))
			hosts[o.host_count++] = hosts[i];
	pki_names_clear(&names);
	report_make(b, &o, r);
}

static void add_report(struct job *j, const struct report *r)
{
	for (size_t i = 0; i < r->count; i++) {
		const struct finding *f = &r->list[i];
		struct strbuf row;

		strbuf_init(&row, 1024);
		ipc_rec_text(&row, "check", span_of(f->check));
		ipc_rec_text(&row, "result", span_of(finding_level_name(f->level)));
		ipc_rec_text(&row, "text", span_of(f->text));
		job_record(j, &row);
	}
}

/* View and findings; -1 if there are errors that only --force gets over. */
static int report(struct job *j, const char *what, const struct pki_bundle *b, size_t left_out,
    bool is_installing, struct err *err)
{
	struct report r;
	bool is_refused;

	if (b->request)
		return err_set(err, ERR_INVALID, "a request has nothing to check");
	make_report(j, b, left_out, &r);
	is_refused = r.has_error && !job_has(j, OPT_FORCE);
	add_view(j, is_installing && !is_refused ? slot_name(SLOT_CURRENT) : what, b);
	add_report(j, &r);
	if (!is_installing || !is_refused)
		return 0;
	for (size_t i = 0; i < r.count; i++)
		if (r.list[i].level == FINDING_ERROR)
			return err_set(err, ERR_INVALID,
			    "not installed, the old one stays: %.150s; --force installs it all the "
			    "same",
			    r.list[i].text);
	return 0;
}

int cert_check(struct job *j, struct err *err)
{
	enum slot slot = job_slot(j, SLOT_CURRENT);
	struct pki_input in;
	struct pki_bundle b = {0};
	size_t left_out = 0;
	int result;

	if (j->cmd.content.n == 0) {
		if (job_bundle(j, j->id, slot, &b, err) < 0)
			return -1;
		result = report(j, slot_name(slot), &b, 0, false, err);
	} else {
		result = pki_parse(j->cmd.content, j->cmd.secret, &in, err);
		if (result == 0)
			result = pki_assemble(&in, NULL, &b, &left_out, err);
		if (result == 0)
			result = report(j, "file", &b, left_out, false, err);
		pki_input_clear(&in);
	}
	pki_bundle_clear(&b);
	return result;
}

/* --- installing ------------------------------------------------------------------------------- */
/* What roles will do with it: what they cannot use is not installed. */
static int try_to_serve(const struct pki_bundle *b, struct err *err)
{
	struct tls_certificate cert = {0};
	struct tls_server_options o = {.certificates = &cert, .count = 1, .min_version = 12};
	struct tls_context *tls = NULL;
	struct strbuf chain, key;

	shelf_buf_init(&chain);
	shelf_buf_init(&key);
	if (pki_chain_pem(b, &chain, err) == 0 && pki_key_pem(b, &key, err) == 0) {
		cert.chain = strbuf_span(&chain);
		cert.key = strbuf_span(&key);
		tls = tls_server_context_new(&o, err);
	}
	shelf_buf_clear(&chain);
	shelf_buf_clear(&key);
	tls_context_unref(tls);
	return tls ? 0 : -1;
}

static bool answers_pending(const struct job *j, const struct pki_bundle *b)
{
	struct pki_bundle pending;
	bool result;

	if (job_bundle(j, j->id, SLOT_PENDING, &pending, NULL) < 0)
		return false;
	result = EVP_PKEY_eq(pending.key, b->key) == 1;
	pki_bundle_clear(&pending);
	return result;
}

static int install(struct job *j, const struct pki_bundle *b, struct err *err)
{
	if (try_to_serve(b, err) < 0 ||
	    shelf_install(j->k->dir, j->id, answers_pending(j, b), err) < 0)
		return -1;
	j->has_changed = true;
	job_text(j, "certificate %s is installed", j->id);
	return 0;
}

int take_candidate(
    struct job *j, enum origin origin, const struct pki_bundle *b, size_t left_out, struct err *err)
{
	struct strbuf text;
	int result = -1;

	shelf_buf_init(&text);
	if (pki_bundle_write(b, &text, err) == 0 &&
	    shelf_put(j->k->dir, j->id, SLOT_CANDIDATE, origin, strbuf_span(&text), err) == 0)
		result = 0;
	shelf_buf_clear(&text);
	if (result < 0 || report(j, "candidate", b, left_out, job_has(j, OPT_INSTALL), err) < 0)
		return -1;
	if (job_has(j, OPT_INSTALL))
		return install(j, b, err);
	job_text(j, "not installed yet: cert install %s", j->id);
	return 0;
}

int cert_install(struct job *j, struct err *err)
{
	struct pki_bundle b;
	int result;

	if (job_bundle(j, j->id, SLOT_CANDIDATE, &b, err) < 0)
		return -1;
	result = report(j, "candidate", &b, 0, true, err);
	if (result == 0)
		result = install(j, &b, err);
	pki_bundle_clear(&b);
	return result;
}

int cert_rollback(struct job *j, struct err *err)
{
	struct pki_bundle b;
	int result;

	if (job_bundle(j, j->id, SLOT_PREVIOUS, &b, err) < 0)
		return -1;
	result = try_to_serve(&b, err);
	if (result == 0)
		result = shelf_rollback(j->k->dir, j->id, err);
	if (result == 0) {
		add_view(j, "current", &b);
		j->has_changed = true;
		job_text(j, "certificate %s is the previous one again", j->id);
	}
	pki_bundle_clear(&b);
	return result;
}

/* --- removing --------------------------------------------------------------------------------- */
int cert_remove(struct job *j, struct err *err)
{
	enum slot slot = job_slot(j, SLOT_CURRENT);

	if (slot != SLOT_CURRENT) {
		if (shelf_drop(j->k->dir, j->id, slot, err) < 0)
			return -1;
		job_text(j, "certificate %s: the %s one is gone", j->id, slot_name(slot));
		return 0;
	}
	if (listeners_of(j->cfg, j->id) > 0)
		return err_set(err, ERR_BUSY, "certificate %s: %zu listeners use it", j->id,
		    listeners_of(j->cfg, j->id));
	if (strcmp(config_str(j->cfg, SET_WEB_CERTIFICATE), j->id) == 0)
		return err_set(err, ERR_BUSY, "certificate %s: the web admin uses it", j->id);
	if (shelf_remove(j->k->dir, j->id, err) < 0)
		return -1;
	j->has_changed = true;
	job_text(j, "certificate %s is gone, and its keys", j->id);
	return 0;
}

/* --- OCSP ------------------------------------------------------------------------------------- */
/* That it is about this certificate, says "good", and is signed by who may say so. */
static int check_staple(
    const struct job *j, const struct pki_bundle *b, OCSP_BASICRESP *basic, struct err *err)
{
	OCSP_CERTID *id = b->count > 1 ? OCSP_cert_to_id(NULL, b->chain[0], b->chain[1]) : NULL;
	STACK_OF(X509) *issuers = sk_X509_new_null();
	X509_STORE *store = X509_STORE_new();
	ASN1_GENERALIZEDTIME *from = NULL, *until = NULL;
	int status = -1, reason;
	int result = 0;

	if (b->count < 2)
		result = err_set(err, ERR_INVALID, "its chain has no issuer: nothing to staple");
	else if (!id || !issuers || !store || sk_X509_push(issuers, b->chain[1]) <= 0 ||
		 X509_STORE_add_cert(store, b->chain[1]) != 1 ||
		 X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) != 1 ||
		 OCSP_basic_verify(basic, issuers, store, OCSP_TRUSTOTHER) != 1)
		result = pki_fail(err, ERR_INVALID, "the OCSP response's signature");
	else if (OCSP_resp_find_status(basic, id, &status, &reason, NULL, &from, &until) != 1)
		result = err_set(err, ERR_INVALID, "the OCSP response is for another certificate");
	else if (status != V_OCSP_CERTSTATUS_GOOD)
		result = err_set(err, ERR_INVALID, "the OCSP response does not say good");
	else if (!until || pki_time(until) <= j->now)
		result = err_set(err, ERR_INVALID, "the OCSP response is old");
	sk_X509_free(issuers);
	X509_STORE_free(store);
	OCSP_CERTID_free(id);
	ERR_clear_error();
	return result;
}

static int read_staple(struct job *j, const struct pki_bundle *b, struct err *err)
{
	const unsigned char *der = (const unsigned char *)j->cmd.content.p;
	OCSP_RESPONSE *response;
	OCSP_BASICRESP *basic = NULL;
	int result;

	if (j->cmd.content.n > STAPLE_MAX)
		return err_set(
		    err, ERR_LIMIT, "an OCSP response of more than %d bytes", STAPLE_MAX);
	response = d2i_OCSP_RESPONSE(NULL, &der, (long)j->cmd.content.n);
	if (response && OCSP_response_status(response) == OCSP_RESPONSE_STATUS_SUCCESSFUL)
		basic = OCSP_response_get1_basic(response);
	result = basic ? check_staple(j, b, basic, err)
		       : pki_fail(err, ERR_INVALID, "not a successful OCSP response");
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
	return result;
}

int cert_staple(struct job *j, struct err *err)
{
	struct pki_bundle b;
	int result = 0;

	if (job_bundle(j, j->id, SLOT_CURRENT, &b, err) < 0)
		return -1;
	if (j->cmd.content.n > 0)
		result = read_staple(j, &b, err);
	pki_bundle_clear(&b);
	if (result < 0 || shelf_staple_put(j->k->dir, j->id, j->cmd.content, err) < 0)
		return -1;
	j->has_changed = true;
	job_text(j, "certificate %s: %s", j->id,
	    j->cmd.content.n > 0 ? "the response is stapled" : "nothing is stapled any more");
	return 0;
}
