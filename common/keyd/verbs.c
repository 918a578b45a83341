#include "common/keyd/verbs.h"

#include "common/base/mem.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <stdarg.h>
#include <string.h>

#define ROWS_MAX (2 * 1024 * 1024)
#define RECORD_MAX (128 * 1024)
#define JOBS_MAX 32

#define BIT(o) (1u << (o))
#define MAKING                                                                                     \
	(BIT(OPT_KEY) | BIT(OPT_CN) | BIT(OPT_O) | BIT(OPT_OU) | BIT(OPT_L) | BIT(OPT_ST) |        \
	    BIT(OPT_C))
#define TAKING (BIT(OPT_INSTALL) | BIT(OPT_FORCE))
#define SLOTS (BIT(OPT_CURRENT) | BIT(OPT_PREVIOUS) | BIT(OPT_CANDIDATE) | BIT(OPT_PENDING))

static const char *const option_names[OPT_COUNT] = {"--key", "--days", "--cn", "--o", "--ou", "--l",
    "--st", "--c", "--install", "--force", "--current", "--previous", "--candidate", "--pending"};

static const struct cert_verb table[] = {
    {"list", 0, false, false, false, cert_list, ""},
    {"show", SLOTS, true, false, false, cert_show, "ID [--previous|--candidate|--pending]"},
    {"new", MAKING | TAKING | BIT(OPT_DAYS), true, true, true, cert_new,
	"ID [NAME...] [--key ecdsa|rsa2048|rsa3072|rsa4096] [--days N] [--cn|--o|--ou|--l|--st|--c "
	"TEXT] [--install]"},
    {"csr", MAKING, true, true, true, cert_csr,
	"ID [NAME...] [--key ecdsa|rsa2048|rsa3072|rsa4096] [--cn|--o|--ou|--l|--st|--c TEXT]"},
    {"answer", TAKING, true, false, false, cert_answer, "ID [--file FILE] [--install]"},
    {"import", TAKING, true, false, false, cert_import,
	"ID [--file FILE]... [--password-stdin] [--install]"},
    {"check", SLOTS, true, false, false, cert_check,
	"ID [--previous|--candidate] | ID --file FILE [--password-stdin]"},
    {"install", BIT(OPT_FORCE), true, false, false, cert_install, "ID [--force]"},
    {"rollback", 0, true, false, false, cert_rollback, "ID"},
    {"remove", SLOTS, true, false, false, cert_remove, "ID [--previous|--candidate|--pending]"},
    {"export-chain", SLOTS, true, false, false, cert_export_chain, "ID [--previous|--candidate]"},
    {"staple", 0, true, false, false, cert_staple, "ID [--file FILE]"},
};

/* --- what a job offers ------------------------------------------------------------------------ */
bool job_has(const struct job *j, enum option o)
{
	return j->given & BIT(o);
}

void job_record(struct job *j, struct strbuf *record)
{
	enc_bytes(&j->rows, strbuf_span(record));
	strbuf_clear(record);
}

void job_text(struct job *j, const char *fmt, ...)
{
	struct strbuf b;
	va_list ap;

	strbuf_init(&b, sizeof(j->text) - 1);
	va_start(ap, fmt);
	strbuf_vaddf(&b, fmt, ap);
	va_end(ap);
	memcpy(j->text, b.p, b.n + 1);
	strbuf_clear(&b);
}

enum slot job_slot(const struct job *j, enum slot otherwise)
{
	if (job_has(j, OPT_PREVIOUS))
		return SLOT_PREVIOUS;
	if (job_has(j, OPT_CANDIDATE))
		return SLOT_CANDIDATE;
	if (job_has(j, OPT_PENDING))
		return SLOT_PENDING;
	return job_has(j, OPT_CURRENT) ? SLOT_CURRENT : otherwise;
}

int job_bundle(
    const struct job *j, const char *id, enum slot slot, struct pki_bundle *b, struct err *err)
{
	struct strbuf text;
	int result;

	shelf_buf_init(&text);
	result = shelf_read(j->k->dir, id, slot, &text, err);
	if (result == 0)
		result = pki_bundle_read(strbuf_span(&text), b, err);
	shelf_buf_clear(&text);
	return result;
}

/* --- the words -------------------------------------------------------------------------------- */
/* Takes the option at *i, and its value; false if it is none that the verb knows. */
static bool take_option(struct job *j, uint32_t *i)
{
	struct span word = j->cmd.words[*i];

	for (int o = 0; o < OPT_COUNT; o++) {
		if (!span_eq(word, span_of(option_names[o])))
			continue;
		if (!(j->verb->options & BIT(o)) || job_has(j, (enum option)o))
			return false;
		j->given |= BIT(o);
		if (o >= OPT_INSTALL)
			return true;
		if (*i + 1 >= j->cmd.count)
			return false;
		j->options[o] = j->cmd.words[++*i];
		return true;
	}
	return false;
}

static int usage(const struct job *j, struct err *err)
{
	return err_set(err, ERR_INVALID, "usage: cert %s %s", j->verb->name, j->verb->usage);
}

static int take_words(struct job *j, struct err *err)
{
	bool has_id = false;

	for (uint32_t i = 2; i < j->cmd.count; i++) {
		struct span word = j->cmd.words[i];

		if (span_starts(word, SPAN("--"))) {
			if (!take_option(j, &i))
				return usage(j, err);
		} else if (j->verb->has_id && !has_id) {
			if (!key_id_is_good(word))
				return err_set(err, ERR_INVALID,
				    "\"%.*s\" is no certificate id: a-z, 0-9 and '-', at most %d",
				    word.n < 64 ? (int)word.n : 64, word.p, KEY_ID_MAX);
			memcpy(j->id, word.p, word.n);
			has_id = true;
		} else if (j->verb->has_names) {
			j->names[j->name_count++] = word;
		} else {
			return usage(j, err);
		}
	}
	return has_id == j->verb->has_id ? 0 : usage(j, err);
}

static const struct cert_verb *find_verb(const struct ipc_admin *cmd)
{
	for (size_t i = 0; cmd->count > 1 && i < ARRAY_LEN(table); i++)
		if (span_eq(cmd->words[1], span_of(table[i].name)))
			return &table[i];
	return NULL;
}

/* --- the steps -------------------------------------------------------------------------------- */
static void job_free(struct job *j)
{
	EVP_PKEY_free(j->key);
	mem_wipe(j->body.p, j->body.cap);
	strbuf_clear(&j->body);
	strbuf_clear(&j->rows);
	config_unref(j->cfg);
	mem_free(j);
}

static void job_end(struct job *j)
{
	struct keyd *k = j->k;
	struct dec rows = dec_of(strbuf_span(&j->rows));

	while (rows.in.n > 0 && dec_ok(&rows)) {
		struct strbuf row;

		strbuf_init(&row, RECORD_MAX);
		strbuf_add(&row, dec_bytes(&rows));
		admin_record(&j->rq, &row);
		strbuf_clear(&row);
	}
	if (j->err.code != ERR_NONE)
		admin_end(&j->rq, j->err.code, "%s", j->err.text);
	else
		admin_end(&j->rq, ERR_NONE, "%s", j->text);
	if (j->has_changed) {
		log_info("certificate", LOG_STR("id", j->id), LOG_STR("verb", j->verb->name));
		keyd_changed(k);
	}
	job_free(j);
	keyd_job_ended(k);
}

static void run(struct work *w)
{
	struct job *j = container_of(w, struct job, work);

	(void)j->verb->run(j, &j->err);
}

static void done(struct work *w)
{
	job_end(container_of(w, struct job, work));
}

static void submit_run(struct job *j)
{
	j->work.run = run;
	j->work.done = done;
	workers_submit(j->k->disk, &j->work);
}

static void make(struct work *w)
{
	struct job *j = container_of(w, struct job, work);
	struct span kind = job_has(j, OPT_KEY) ? j->options[OPT_KEY] : SPAN("ecdsa");

	j->key = pki_key_new(kind, &j->err);
}

static void made(struct work *w)
{
	struct job *j = container_of(w, struct job, work);

	if (j->key)
		submit_run(j);
	else
		job_end(j);
}

static void start(struct job *j)
{
	/* "cert csr ID" alone shows the one that is pending. */
	bool makes =
	    j->verb->makes_key && (j->verb->run != cert_csr || j->given != 0 || j->name_count > 0);

	if (!makes) {
		submit_run(j);
		return;
	}
	j->work.run = make;
	j->work.done = made;
	workers_submit(j->k->makers, &j->work);
}

void keyd_admin(struct role *r, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	struct keyd *k = r->ctx;
	const struct cert_verb *verb = find_verb(cmd);
	struct job *j;

	if (span_eq(cmd->words[0], SPAN("dkim")) || span_eq(cmd->words[0], SPAN("dns"))) {
		keyd_dkim_admin(k, cmd, rq);
		return;
	}
	if (!verb || !span_eq(cmd->words[0], SPAN("cert"))) {
		admin_end(rq, ERR_INVALID,
		    "no such verb: cert list, show, new, csr, answer, import, check, install, "
		    "rollback, remove, export-chain or staple");
		return;
	}
	if (k->running >= JOBS_MAX || r->is_draining) {
		admin_end(rq, ERR_TEMP, "too many commands at once");
		return;
	}
	j = mem_zalloc(sizeof(*j));
	j->k = k;
	j->rq = *rq;
	j->verb = verb;
	j->cfg = config_ref(r->cfg);
	j->now = clock_now();
	strbuf_init(&j->rows, ROWS_MAX);
	strbuf_init(&j->body, IPC_BODY_MAX);
	(void)strbuf_room(&j->body, IPC_BODY_MAX);
	ipc_enc_admin(&j->body, cmd);
	k->running++;
	if (!ipc_dec_admin(strbuf_span(&j->body), &j->cmd) || take_words(j, &j->err) < 0)
		job_end(j);
	else
		start(j);
}
