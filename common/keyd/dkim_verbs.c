/*
 * dkim ..., and dns: what of a domain's DNS records comes from keys. Everything runs on the thread
 * that makes keys, one after the other; "dkim make" takes a turn for each key, so that others get
 * theirs in between.
 */
#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/event/clock.h"
#include "common/keyd/dkim.h"
#include "common/keyd/keyd.h"
#include "common/keyd/pki.h"
#include "common/keyd/shelf.h"
#include "common/log/log.h"

#include <stdio.h>
#include <string.h>

#define JOBS_MAX 32
#define ROWS_MAX (3 * 1024 * 1024)
#define ROW_MAX (8 * 1024)
#define UNTOLD_MAX 64

struct dkim_job;

struct dkim_verb {
	const char *name;
	uint32_t min, max; /* words behind the verb's */
	int (*run)(struct dkim_job *j, struct err *err);
};

struct dkim_job {
	struct work work;
	struct keyd *k;
	struct admin_request rq;
	const struct dkim_verb *verb;
	bool is_answered;
	char domain[DKIM_DOMAIN_MAX + 1];
	char ids[IPC_KEY_IDS_MAX][KEY_ID_MAX + 1]; /* certificates, of dns */
	uint32_t id_count;
	struct strbuf names; /* of make: lines */
	struct span left;    /* of them */
	bool has_more;
	int64_t now;
	struct strbuf rows; /* records, each a byte string */
	char text[600];
	bool has_changed; /* what signs, or is published */
	size_t untold;    /* changes that monitors have not heard of */
	struct err err;
};

static void add_row(struct dkim_job *j, struct strbuf *row)
{
	enc_bytes(&j->rows, strbuf_span(row));
	strbuf_clear(row);
}

/* --- reading and making ----------------------------------------------------------------------- */
/* With its first pair of keys, if it had none. */
static int take_domain(struct dkim_job *j, const char *domain, struct dkim_domain *d)
{
	struct err why = ERR_INIT;

	if (dkim_read(j->k->dir, domain, d, &why) == 0)
		return 0;
	if (why.code != ERR_NOT_FOUND)
		return err_set(&j->err, why.code, "%s", why.text);
	if (dkim_add_pair(d, DKIM_CURRENT, j->now, &j->err) < 0 ||
	    dkim_write(j->k->dir, domain, d, j->now, &j->err) < 0) {
		dkim_clear(d);
		return -1;
	}
	log_info("dkim-made", LOG_STR("domain", domain), LOG_STR("selector", d->keys[0].selector));
	j->has_changed = true;
	return 0;
}

static bool is_published(const struct dkim_job *j, const struct dkim_key *key)
{
	return key->state != DKIM_OLD || key->until > j->now;
}

static void add_key(struct dkim_job *j, const char *domain, const struct dkim_key *key)
{
	struct strbuf row;

	strbuf_init(&row, ROW_MAX);
	ipc_rec_text(&row, "domain", span_of(domain));
	ipc_rec_text(&row, "selector", span_of(key->selector));
	ipc_rec_text(
	    &row, "algorithm", dkim_is_rsa(key) ? SPAN("rsa-sha256") : SPAN("ed25519-sha256"));
	ipc_rec_text(&row, "state", span_of(dkim_state_name(key->state)));
	ipc_rec_number(&row, "made", IPC_TIME, (uint64_t)key->made);
	ipc_rec_number(&row, "until", IPC_TIME, (uint64_t)key->until);
	add_row(j, &row);
}

static int list(struct dkim_job *j, struct err *err)
{
	struct span rest, name;
	struct strbuf names;

	strbuf_init(&names, DKIM_LIST_MAX);
	if (j->domain[0])
		strbuf_add_mem(&names, j->domain, strlen(j->domain) + 1);
	else if (dkim_list(j->k->dir, &names, err) < 0)
		goto out;
	rest = strbuf_span(&names);
	while (span_split(&rest, '\0', &name) && name.n > 0) {
		struct dkim_domain d;

		if (dkim_read(j->k->dir, name.p, &d, err) < 0)
			break;
		for (size_t i = 0; i < d.count; i++)
			if (is_published(j, &d.keys[i]))
				add_key(j, name.p, &d.keys[i]);
		dkim_clear(&d);
	}
out:
	strbuf_clear(&names);
	return err->code == ERR_NONE ? 0 : -1;
}

/* What DNS has to say of a domain's keys, also "dkim show". */
static int add_records(struct dkim_job *j, struct err *err)
{
	struct dkim_domain d;
	int result = 0;

	if (take_domain(j, j->domain, &d) < 0)
		return -1;
	for (size_t i = 0; i < d.count && result == 0; i++) {
		const struct dkim_key *key = &d.keys[i];
		char name[DKIM_DOMAIN_MAX + DKIM_SELECTOR_MAX + 32];
		struct strbuf row, value;

		if (!is_published(j, key))
			continue;
		strbuf_init(&row, ROW_MAX);
		strbuf_init(&value, DKIM_RECORD_MAX);
		snprintf(name, sizeof(name), "%s._domainkey.%s", key->selector, j->domain);
		result = dkim_record(key, &value, err);
		ipc_rec_text(&row, "type", SPAN("dkim"));
		ipc_rec_text(&row, "state", span_of(dkim_state_name(key->state)));
		ipc_rec_text(&row, "name", span_of(name));
		ipc_rec_text(&row, "value", strbuf_span(&value));
		strbuf_clear(&value);
		add_row(j, &row);
	}
	dkim_clear(&d);
	return result;
}

static int make_one(struct dkim_job *j, struct err *err)
{
	struct span line;

	while (!j->has_changed && span_split(&j->left, '\n', &line)) {
		char name[DKIM_DOMAIN_MAX + 1];
		struct dkim_domain d;

		if (line.n == 0 || !dkim_domain_is_good(line))
			continue;
		memcpy(name, line.p, line.n);
		name[line.n] = '\0';
		if (take_domain(j, name, &d) == 0)
			dkim_clear(&d);
		else
			log_error("dkim", LOG_STR("domain", name), LOG_ERR(err));
		*err = (struct err)ERR_INIT;
	}
	j->has_more = j->left.p != NULL;
	return 0;
}

/* --- rotation --------------------------------------------------------------------------------- */
static const char *newest(const struct dkim_domain *d)
{
	return d->keys[d->count - 1].selector;
}

static int rotate(struct dkim_job *j, struct err *err)
{
	struct dkim_domain d;
	int result = 0;

	if (dkim_read(j->k->dir, j->domain, &d, err) < 0)
		return -1;
	if (dkim_has(&d, DKIM_NEXT))
		result = err_set(err, ERR_EXISTS,
		    "%s has a new key that waits to be published: dkim activate %s, or dkim "
		    "cancel %s",
		    j->domain, j->domain, j->domain);
	if (result == 0)
		result = dkim_add_pair(&d, DKIM_NEXT, j->now, err);
	if (result == 0)
		result = dkim_write(j->k->dir, j->domain, &d, j->now, err);
	if (result == 0)
		snprintf(j->text, sizeof(j->text),
		    "%s has new keys (%s and its RSA one): publish what domain dns shows; they "
		    "sign as soon as DNS has them",
		    j->domain, newest(&d));
	dkim_clear(&d);
	return result;
}

static int activate(struct dkim_job *j, struct err *err)
{
	struct dkim_domain d;
	int result;

	if (dkim_read(j->k->dir, j->domain, &d, err) < 0)
		return -1;
	result = dkim_activate(&d, j->now, err);
	if (result == 0)
		result = dkim_write(j->k->dir, j->domain, &d, j->now, err);
	if (result == 0) {
		j->has_changed = true;
		snprintf(j->text, sizeof(j->text),
		    "%s signs with its new keys (%s and its RSA one)", j->domain, newest(&d));
		log_info("dkim-activated", LOG_STR("domain", j->domain),
		    LOG_STR("selector", newest(&d)));
	}
	dkim_clear(&d);
	return result;
}

static int cancel(struct dkim_job *j, struct err *err)
{
	struct dkim_domain d;
	int result = 0;

	if (dkim_read(j->k->dir, j->domain, &d, err) < 0)
		return -1;
	if (dkim_drop(&d, DKIM_NEXT) == 0)
		result = err_set(err, ERR_NOT_FOUND, "no new key waits");
	if (result == 0)
		result = dkim_write(j->k->dir, j->domain, &d, j->now, err);
	if (result == 0)
		snprintf(j->text, sizeof(j->text), "%s keeps its keys", j->domain);
	dkim_clear(&d);
	return result;
}

static int drop(struct dkim_job *j, struct err *err)
{
	j->has_changed = true;
	return dkim_remove(j->k->dir, j->domain, err);
}

/* --- certificates ----------------------------------------------------------------------------- */
/* "3 1 1 ...": the digest of the public key (RFC 6698, RFC 7671). */
static bool tlsa_of(const struct pki_bundle *b, char out[SHA256_LEN * 2 + 8])
{
	unsigned char hash[SHA256_LEN];
	char hex[2 * SHA256_LEN + 1];
	unsigned char *der = NULL;
	int n = i2d_PUBKEY(b->key, &der);

	if (n <= 0)
		return false;
	sha256_once(span_make(der, (size_t)n), hash);
	OPENSSL_free(der);
	hex_encode(hex, span_make(hash, sizeof(hash)));
	snprintf(out, SHA256_LEN * 2 + 8, "3 1 1 %s", hex);
	return true;
}

static void add_tlsa(struct dkim_job *j, const char *id, enum slot slot)
{
	char value[SHA256_LEN * 2 + 8];
	struct pki_bundle b = {0};
	struct strbuf text, row;

	shelf_buf_init(&text);
	if (shelf_read(j->k->dir, id, slot, &text, NULL) == 0 &&
	    pki_bundle_read(strbuf_span(&text), &b, NULL) == 0 && tlsa_of(&b, value)) {
		strbuf_init(&row, ROW_MAX);
		ipc_rec_text(&row, "type", SPAN("tlsa"));
		ipc_rec_text(&row, "state", span_of(slot_name(slot)));
		ipc_rec_text(&row, "name", span_of(id));
		ipc_rec_text(&row, "value", span_of(value));
		add_row(j, &row);
	}
	pki_bundle_clear(&b);
	shelf_buf_clear(&text);
}

static int dns(struct dkim_job *j, struct err *err)
{
	static const enum slot slots[] = {SLOT_CURRENT, SLOT_CANDIDATE, SLOT_PENDING};

	if (add_records(j, err) < 0)
		return -1;
	for (uint32_t i = 0; i < j->id_count; i++)
		for (size_t s = 0; s < ARRAY_LEN(slots); s++)
			add_tlsa(j, j->ids[i], slots[s]);
	return 0;
}

/* --- the steps -------------------------------------------------------------------------------- */
static const struct dkim_verb verbs[] = {
    {"list", 0, 1, list},
    {"show", 1, 1, add_records},
    {"make", 0, 0, make_one},
    {"rotate", 1, 1, rotate},
    {"activate", 1, 1, activate},
    {"cancel", 1, 1, cancel},
    {"remove", 1, 1, drop},
};
static const struct dkim_verb dns_verb = {"dns", 1, 1 + IPC_KEY_IDS_MAX, dns};

static void job_answer(struct dkim_job *j)
{
	struct dec rows = dec_of(strbuf_span(&j->rows));

	if (j->is_answered)
		return;
	j->is_answered = true;
	while (j->err.code == ERR_NONE && rows.in.n > 0 && dec_ok(&rows)) {
		struct strbuf row;

		strbuf_init(&row, ROW_MAX);
		strbuf_add(&row, dec_bytes(&rows));
		admin_record(&j->rq, &row);
		strbuf_clear(&row);
	}
	if (j->err.code == ERR_NONE && j->rows.failed)
		err_set(&j->err, ERR_LIMIT, "the answer is too long: name a domain");
	admin_end(&j->rq, j->err.code, "%s", j->err.code != ERR_NONE ? j->err.text : j->text);
}

static void job_free(struct dkim_job *j)
{
	strbuf_clear(&j->names);
	strbuf_clear(&j->rows);
	mem_free(j);
}

static void run(struct work *w)
{
	struct dkim_job *j = container_of(w, struct dkim_job, work);

	j->has_changed = false;
	(void)j->verb->run(j, &j->err);
}

static void done(struct work *w)
{
	struct dkim_job *j = container_of(w, struct dkim_job, work);
	struct keyd *k = j->k;

	bool goes_on = j->has_more && !k->role->is_draining;

	/* Each time all keys go to who signs: not for each of many that are made. */
	j->untold += j->has_changed;
	if (j->untold > 0 && (!goes_on || j->untold == UNTOLD_MAX)) {
		j->untold = 0;
		keyd_dkim_changed(k);
	}
	if (goes_on) {
		workers_submit(k->makers, &j->work);
		return;
	}
	job_answer(j);
	job_free(j);
	keyd_job_ended(k);
}

static const struct dkim_verb *find_verb(const struct ipc_admin *cmd, uint32_t *words)
{
	*words = 1;
	if (span_eq(cmd->words[0], SPAN("dns")))
		return &dns_verb;
	*words = 2;
	for (size_t i = 0; cmd->count > 1 && i < ARRAY_LEN(verbs); i++)
		if (span_eq(cmd->words[1], span_of(verbs[i].name)))
			return &verbs[i];
	return NULL;
}

/* The domain, then ids of certificates. */
static int take_words(struct dkim_job *j, const struct ipc_admin *cmd, uint32_t words)
{
	struct span domain = cmd->count > words ? cmd->words[words] : span_make("", 0);

	if (cmd->count - words < j->verb->min || cmd->count - words > j->verb->max)
		return err_set(&j->err, ERR_INVALID, "dkim %s: expected a domain", j->verb->name);
	if (domain.n > 0 && !dkim_domain_is_good(domain))
		return err_set(&j->err, ERR_INVALID, "\"%.*s\" is no domain name",
		    domain.n < 80 ? (int)domain.n : 80, domain.p);
	memcpy(j->domain, domain.p, domain.n);
	for (uint32_t i = words + 1; i < cmd->count; i++)
		if (key_id_is_good(cmd->words[i]))
			memcpy(j->ids[j->id_count++], cmd->words[i].p, cmd->words[i].n);
	return 0;
}

void keyd_dkim_admin(struct keyd *k, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	uint32_t words;
	const struct dkim_verb *verb = find_verb(cmd, &words);
	struct dkim_job *j;

	if (!verb) {
		admin_end(
		    rq, ERR_INVALID, "no such verb: dkim list, show, rotate, activate or cancel");
		return;
	}
	if (k->running >= JOBS_MAX || k->role->is_draining) {
		admin_end(rq, ERR_TEMP, "too many commands at once");
		return;
	}
	j = mem_zalloc(sizeof(*j));
	j->k = k;
	j->rq = *rq;
	j->verb = verb;
	j->now = clock_now();
	strbuf_init(&j->rows, ROWS_MAX);
	strbuf_init(&j->names, IPC_BODY_MAX);
	strbuf_add(&j->names, cmd->content);
	j->left = strbuf_span(&j->names);
	j->work.run = run;
	j->work.done = done;
	k->running++;
	if (take_words(j, cmd, words) < 0) {
		job_answer(j);
		job_free(j);
		keyd_job_ended(k);
		return;
	}
	/* Many keys take minutes, for which nobody waits. */
	if (verb->run == make_one && span_chr(cmd->content, '\n') >= 0)
		job_answer(j);
	workers_submit(k->makers, &j->work);
}
