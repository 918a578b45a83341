/* cert new, csr, answer, import: the doors through which certificates come in. */
#include "common/keyd/verbs.h"

#include "common/base/mem.h"

#include <string.h>

#define DAYS_DEFAULT 820
#define DAYS_MAX 3650

static void add_name(struct pki_subject *s, struct span name)
{
	for (size_t i = 0; i < s->name_count; i++)
		if (span_ieq(s->names[i], name))
			return;
	if (s->name_count < PKI_NAMES_MAX)
		s->names[s->name_count++] = name;
}

/* The names that the installed one has; old keeps them. */
static void add_old_names(struct job *j, struct pki_subject *s, struct pki_names *old)
{
	struct pki_bundle b;

	if (job_bundle(j, j->id, SLOT_CURRENT, &b, NULL) < 0)
		return;
	if (b.count > 0)
		pki_names_of(b.chain[0], old);
	for (size_t i = 0; i < old->count; i++)
		if (pki_name_is_good(span_of(old->list[i])))
			add_name(s, span_of(old->list[i]));
	pki_bundle_clear(&b);
}

/* The subject that the options and names ask for; without names, those that clients connect to, and
 * (not for an authority, which would refuse "localhost") those that the installed one has: whoever
 * uses one of them goes on. old: cleared by the caller. */
static int subject_of(
    struct job *j, bool keeps_old, struct pki_subject *s, struct pki_names *old, struct err *err)
{
	const char *hosts[HOSTS_MAX];
	size_t n;

	*old = (struct pki_names){0};
	*s = (struct pki_subject){
	    .cn = j->options[OPT_CN],
	    .o = j->options[OPT_O],
	    .ou = j->options[OPT_OU],
	    .l = j->options[OPT_L],
	    .st = j->options[OPT_ST],
	    .c = j->options[OPT_C],
	};
	if (job_has(j, OPT_C) && s->c.n != 2)
		return err_set(err, ERR_INVALID, "--c is a country's two letters");
	if (j->name_count > 0) {
		memcpy(s->names, j->names, j->name_count * sizeof(*j->names));
		s->name_count = j->name_count;
	} else if (job_has(j, OPT_CN) && pki_name_is_good(s->cn)) {
		s->names[s->name_count++] = s->cn;
	} else {
		n = hosts_of(j->cfg, j->id, hosts);
		for (size_t i = 0; i < n; i++)
			add_name(s, span_of(hosts[i]));
		if (keeps_old)
			add_old_names(j, s, old);
	}
	/* A common name has at most 64 characters; nobody looks at it any more. */
	if (!job_has(j, OPT_CN) && s->name_count > 0 && s->names[0].n <= 64)
		s->cn = s->names[0];
	return 0;
}

int cert_new(struct job *j, struct err *err)
{
	uint64_t days = DAYS_DEFAULT;
	struct pki_subject subject;
	struct pki_names old;
	struct pki_bundle b;
	int result;

	if (job_has(j, OPT_DAYS) && (!span_u64(j->options[OPT_DAYS], DAYS_MAX, &days) || days == 0))
		return err_set(
		    err, ERR_INVALID, "--days: expected a number from 1 to %d", DAYS_MAX);
	result = subject_of(j, true, &subject, &old, err);
	if (result == 0)
		result = pki_self_sign(j->key, &subject, (unsigned)days, j->now, &b, err);
	pki_names_clear(&old);
	if (result < 0)
		return -1;
	result = take_candidate(j, ORIGIN_SELF, &b, 0, err);
	pki_bundle_clear(&b);
	return result;
}

/* --- signing requests ------------------------------------------------------------------------- */
static int show_pending(struct job *j, struct err *err)
{
	j->given |= 1u << OPT_PENDING;
	return cert_show(j, err);
}

static int make_pending(struct job *j, struct err *err)
{
	struct pki_subject subject;
	struct pki_bundle b = {0};
	struct pki_names old;
	struct strbuf text;
	int result = -1;

	shelf_buf_init(&text);
	if (subject_of(j, false, &subject, &old, err) == 0 &&
	    pki_make_request(j->key, &subject, &b, err) == 0 &&
	    pki_bundle_write(&b, &text, err) == 0 &&
	    shelf_put(j->k->dir, j->id, SLOT_PENDING, ORIGIN_CSR, strbuf_span(&text), err) == 0)
		result = show_pending(j, err);
	if (result == 0)
		job_text(j, "send this to the CA, then: cert answer %s", j->id);
	shelf_buf_clear(&text);
	pki_bundle_clear(&b);
	pki_names_clear(&old);
	return result;
}

int cert_csr(struct job *j, struct err *err)
{
	struct shelf_index ix = {0};
	struct err why = ERR_INIT;
	bool is_pending =
	    shelf_index_get(j->k->dir, j->id, &ix, &why) == 0 && ix.number[SLOT_PENDING] > 0;

	if (!j->key && is_pending)
		return show_pending(j, err);
	if (!j->key)
		j->key = pki_key_new(SPAN("ecdsa"), err);
	if (!j->key)
		return -1;
	/* A new key would make the CA's answer to the old request worthless. */
	if (is_pending)
		return err_set(err, ERR_EXISTS,
		    "a request is pending: answer it, or drop it with cert remove %s --pending",
		    j->id);
	return make_pending(j, err);
}

/* --- files ------------------------------------------------------------------------------------ */
/* What came in the command's file, with the key of with_key or its own. */
static int take_file(struct job *j, EVP_PKEY *with_key, enum origin origin, struct err *err)
{
	struct pki_input in;
	struct pki_bundle b = {0};
	size_t left_out = 0;
	int result = -1;

	if (pki_parse(j->cmd.content, j->cmd.secret, &in, err) == 0 &&
	    pki_assemble(&in, with_key, &b, &left_out, err) == 0)
		result = take_candidate(j, origin, &b, left_out, err);
	pki_bundle_clear(&b);
	pki_input_clear(&in);
	return result;
}

int cert_import(struct job *j, struct err *err)
{
	return take_file(j, NULL, ORIGIN_IMPORT, err);
}

int cert_answer(struct job *j, struct err *err)
{
	struct pki_bundle pending;
	int result;

	if (job_bundle(j, j->id, SLOT_PENDING, &pending, err) < 0)
		return -1;
	result = take_file(j, pending.key, ORIGIN_CSR, err);
	pki_bundle_clear(&pending);
	return result;
}
