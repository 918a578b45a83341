#include "smtpd/queue/policy.h"

#define ROW_VERSION 1
#define ROW_MAX (128 * 1024)

static struct span key_sts(struct db_key *k, struct span domain)
{
	db_key_init(k);
	db_key_u8(k, 's');
	db_key_raw(k, domain);
	return db_key_span(k);
}

static bool read_row(struct span row, struct queue_sts *out)
{
	struct dec d = dec_of(row);

	if (dec_u8(&d) != ROW_VERSION)
		return false;
	out->id = dec_bytes(&d);
	out->fetched = (int64_t)dec_u64(&d);
	out->expires = (int64_t)dec_u64(&d);
	out->text = dec_bytes(&d);
	return dec_done(&d);
}

int queue_sts_get(struct db_txn *txn, struct span domain, struct queue_sts *out, struct err *err)
{
	struct db_key k;
	struct span row;

	if (db_get(txn, key_sts(&k, domain), &row, err) < 0)
		return -1;
	/* What is not understood can be fetched again. */
	return read_row(row, out) ? 0 : err_set(err, ERR_NOT_FOUND, "a row of another version");
}

int queue_sts_put(
    struct db_txn *txn, struct span domain, const struct queue_sts *sts, struct err *err)
{
	struct strbuf row;
	struct db_key k;
	int rc;

	strbuf_init(&row, ROW_MAX);
	enc_u8(&row, ROW_VERSION);
	enc_bytes(&row, sts->id);
	enc_u64(&row, (uint64_t)sts->fetched);
	enc_u64(&row, (uint64_t)sts->expires);
	enc_bytes(&row, sts->text);
	rc = row.failed ? err_set(err, ERR_LIMIT, "a policy that is too large")
			: db_put(txn, key_sts(&k, domain), strbuf_span(&row), err);
	strbuf_clear(&row);
	return rc;
}

int queue_sts_purge(struct db_txn *txn, int64_t now, size_t max, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	int rc;

	if (db_cursor_open(txn, &c, SPAN("s"), err) < 0)
		return -1;
	rc = db_first(&c, err);
	for (size_t n = 0; rc == 1 && n < max;) {
		struct queue_sts row;

		if (read_row(c.val, &row) && row.expires > now) {
			rc = db_next(&c, err);
			continue;
		}
		db_key_init(&k);
		db_key_raw(&k, c.key);
		if (db_del(txn, db_key_span(&k), err) < 0) {
			rc = -1;
			break;
		}
		n++;
		rc = db_seek(&c, db_key_span(&k), err);
	}
	db_cursor_close(&c);
	return rc < 0 ? -1 : 0;
}
