/* The auth environment and what of it lives in memory. */
#include "common/authd/sending.h"
#include "common/authd/session.h"
#include "common/authd/setup.h"
#include "common/db/format.h"

#include "common/base/mem.h"
#include "common/crypto/crypto.h"
#include "common/event/clock.h"
#include "common/log/log.h"

#include <string.h>
#include <unistd.h>

#define PASSES 2
#define LANES 1

struct resolver authd_resolver(struct authd *a)
{
	return (struct resolver){
	    .ix = &a->index,
	    .separators = config_str(a->cfg, SET_ADDRESS_SEPARATOR),
	    .hostname = config_str(a->cfg, SET_SERVER_HOSTNAME),
	    .now = (uint64_t)clock_now(),
	};
}

struct hash_params authd_hash_params(const struct authd *a)
{
	return (struct hash_params){
	    .memory_kib = (uint32_t)(config_u64(a->cfg, SET_AUTH_ARGON2_MEMORY) / 1024),
	    .passes = PASSES,
	    .lanes = LANES,
	};
}

void authd_take_config(struct authd *a, struct config *cfg)
{
	struct hash_params params;

	config_unref(a->cfg);
	a->cfg = cfg;
	params = authd_hash_params(a);
	if (a->dummy[0] == '\0' || params.memory_kib != a->dummy_params.memory_kib) {
		password_dummy(&params, a->dummy);
		a->dummy_params = params;
	}
}

static int apply_counter(struct authd *a, struct span name, struct span row, struct err *err)
{
	uint64_t v = 0;

	if (!row.p || !row_dec_u64(row, &v))
		return err_set(err, ERR_CORRUPT, "accounts: a counter does not decode");
	if (span_eq(name, SPAN("account")) && v > a->next_account)
		a->next_account = v;
	if (span_eq(name, SPAN("app")) && v > a->next_app)
		a->next_app = v;
	return 0;
}

static int apply_srs_key(struct authd *a, struct span row, struct err *err)
{
	struct span key;

	if (!row.p || !row_dec_text(row, &key) || key.n != SRS_KEY_LEN)
		return err_set(err, ERR_CORRUPT, "accounts: the key of senders does not decode");
	memcpy(a->srs_key, key.p, SRS_KEY_LEN);
	a->has_srs_key = true;
	return 0;
}

static void on_srs_key(void *arg, const struct err *err)
{
	if (err->code != ERR_NONE)
		log_error("srs-key", LOG_ERR(err));
}

/* Made once: an answer may come weeks later. */
static void make_srs_key(struct authd *a)
{
	unsigned char key[SRS_KEY_LEN];
	struct change *c = change_new(a);
	struct db_key row_key;
	struct strbuf b;

	random_bytes(key, sizeof(key));
	strbuf_init(&b, 256);
	row_enc_text(&b, span_make(key, sizeof(key)));
	row_key_text(&row_key, ROW_SRS, span_make("", 0));
	change_put(c, &row_key, &b);
	mem_wipe(key, sizeof(key));
	change_commit(c, on_srs_key, a);
}

int state_apply(struct authd *a, struct span key, struct span row, struct err *err)
{
	enum row_kind kind;
	struct dec d;

	if (!row_key_parse(key, &kind, &d))
		return err_set(err, ERR_CORRUPT, "accounts: an unknown kind of row");
	switch (kind) {
	case ROW_COUNTER:
		return apply_counter(a, d.in, row, err);
	case ROW_SESSION:
		return sessions_apply(a->sessions, d.in, row, err);
	case ROW_SENT:
		return sendings_apply(a->sendings, dec_u64(&d), row, err);
	case ROW_SETUP:
		return setup_apply(a, row, err);
	case ROW_SRS:
		return apply_srs_key(a, row, err);
	case ROW_ROUTE:
		return routes_apply(&a->routes, d.in, row, err);
	case ROW_LOGIN:
	case ROW_AUDIT:
		return 0; /* for people and tools; nothing is looked up in them */
	default:
		return index_apply(&a->index, key, row, err);
	}
}

/* Kinds are ordered so that what a row refers to comes before it. */
static int load_kind(struct authd *a, struct db_txn *txn, enum row_kind kind, struct err *err)
{
	struct db_cursor c = {0};
	struct db_key prefix;
	int rc;

	db_key_init(&prefix);
	db_key_u8(&prefix, (uint8_t)kind);
	if (db_cursor_open(txn, &c, db_key_span(&prefix), err) < 0)
		return -1;
	for (rc = db_first(&c, err); rc > 0; rc = db_next(&c, err)) {
		if (state_apply(a, c.key, c.val, err) < 0) {
			rc = -1;
			break;
		}
	}
	db_cursor_close(&c);
	return rc;
}

static int load_audit_number(struct authd *a, struct db_txn *txn, struct err *err)
{
	struct db_cursor c = {0};
	struct db_key prefix;
	struct dec d;
	enum row_kind kind;
	int rc;

	db_key_init(&prefix);
	db_key_u8(&prefix, ROW_AUDIT);
	if (db_cursor_open(txn, &c, db_key_span(&prefix), err) < 0)
		return -1;
	rc = db_last(&c, err);
	if (rc > 0 && row_key_parse(c.key, &kind, &d))
		a->next_audit = dec_u64(&d) + 1;
	db_cursor_close(&c);
	return rc < 0 ? -1 : 0;
}

static int load(struct authd *a, struct err *err)
{
	struct db_txn *txn;
	int rc = 0;

	if (db_read_begin(a->env, &txn, err) < 0)
		return -1;
	for (int kind = ROW_COUNTER; kind <= ROW_LAST && rc == 0; kind++)
		rc = kind == ROW_AUDIT ? 0 : load_kind(a, txn, (enum row_kind)kind, err);
	if (rc == 0)
		rc = load_audit_number(a, txn, err);
	db_abort(txn);
	return rc;
}

static void on_failure(void *arg, const struct err *err)
{
	struct authd *a = arg;

	role_fail(a->role, err);
}

/* Runs before the loop does and before the first socket is there, so reading here keeps nobody
 * waiting, and "ready" means that every account is known. */
int state_open(struct authd *a, struct err *err)
{
	size_t map = config_u64(a->cfg, SET_AUTH_MAP_SIZE);
	struct db_writer_options opt = {.on_failure = on_failure, .arg = a};
	char dir[CONFIG_PATH_MAX];
	struct db_options env = {.dir = dir,
	    .map_size = map,
	    .map_max = map,
	    .mode = 0600,
	    .format = db_format_of("auth"),
	    .format_wait_ms = DB_FORMAT_WAIT_MS};

	a->next_account = a->next_app = a->next_audit = 1;
	index_init(&a->index);
	routes_init(&a->routes);
	a->sessions = sessions_new();
	/* Nobody serves without authd: what was not restored to its end must not be gone on with.
	 */
	if (config_state_path(a->cfg, STATE_RESTORING, dir, err) < 0)
		return -1;
	if (access(dir, F_OK) == 0)
		return err_set(err, ERR_INVALID,
		    "%s: a restore was cut off; mailsteadctl restore FOLDER --force begins it anew",
		    dir);
	/* <state>/auth is authd's alone; the environment is a folder in it. */
	if (config_state_path(a->cfg, "auth/env", dir, err) < 0 ||
	    db_env_open(&env, &a->env, err) < 0 || load(a, err) < 0)
		return -1;
	a->writer = db_writer_new(a->env, a->loop, &opt);
	if (!a->has_srs_key)
		make_srs_key(a);
	a->readers = db_readers_new(a->env, a->loop, 1);
	return 0;
}

void state_close(struct authd *a)
{
	if (a->writer)
		db_writer_free(a->writer);
	if (a->readers)
		db_readers_free(a->readers);
	if (a->env)
		db_env_close(a->env);
	sessions_free(a->sessions);
	index_clear(&a->index);
	routes_clear(&a->routes);
}
