#include "smtpd/queue/trace.h"

#include "common/base/mem.h"

#define ROW_VERSION 2 /* 1 has no server and no TLS */
#define ROW_MAX (16 * 1024)
#define TEXT_MAX 600
#define TRIM_MAX 16 /* taken out for one that comes in */

struct trace_limits trace_limits_of(const struct config *cfg)
{
	return (struct trace_limits){
	    config_u64(cfg, SET_TRACE_RECORDS), config_u64(cfg, SET_TRACE_TIME)};
}

const char *trace_event_name(enum trace_event e)
{
	static const char *const names[] = {[TRACE_ACCEPTED] = "accepted",
	    [TRACE_REFUSED] = "refused",
	    [TRACE_DELIVERED] = "delivered",
	    [TRACE_DEFERRED] = "deferred",
	    [TRACE_FAILED] = "failed",
	    [TRACE_REMOVED] = "removed",
	    [TRACE_SENT] = "sent",
	    [TRACE_FORWARDED] = "forwarded"};

	return e < ARRAY_LEN(names) && names[e] ? names[e] : "?";
}

static struct span key_of(struct db_key *k, uint64_t number)
{
	db_key_init(k);
	db_key_u8(k, 't');
	db_key_u64(k, number);
	return db_key_span(k);
}

static struct span cut(struct span s, size_t max)
{
	return span_sub(s, 0, max);
}

static void encode(struct strbuf *b, const struct trace_record *r)
{
	enc_u8(b, ROW_VERSION);
	enc_u64(b, (uint64_t)r->time);
	enc_u8(b, (uint8_t)r->event);
	enc_u64(b, r->qid);
	enc_u64(b, r->size);
	enc_bytes(b, cut(r->session, 64));
	enc_bytes(b, cut(r->client, 64));
	enc_bytes(b, cut(r->from, TEXT_MAX));
	enc_bytes(b, cut(r->to, TRACE_TO_MAX));
	enc_bytes(b, cut(r->text, TEXT_MAX));
	enc_bytes(b, cut(r->server, TEXT_MAX));
	enc_bytes(b, cut(r->tls, TEXT_MAX));
}

static bool decode(struct span key, struct span row, struct trace_record *r)
{
	struct dec d = dec_of(row);
	uint8_t version = dec_u8(&d);

	if (key.n != 9 || version < 1 || version > ROW_VERSION)
		return false;
	r->number = be_get64(key.p + 1);
	r->time = (int64_t)dec_u64(&d);
	r->event = (enum trace_event)dec_u8(&d);
	r->qid = dec_u64(&d);
	r->size = dec_u64(&d);
	r->session = dec_bytes(&d);
	r->client = dec_bytes(&d);
	r->from = dec_bytes(&d);
	r->to = dec_bytes(&d);
	r->text = dec_bytes(&d);
	r->server = version > 1 ? dec_bytes(&d) : span_make("", 0);
	r->tls = version > 1 ? dec_bytes(&d) : span_make("", 0);
	return dec_done(&d);
}

/* One past the newest. */
static int next_number(struct db_txn *txn, uint64_t *number, struct err *err)
{
	struct db_cursor c;
	int found;

	if (db_cursor_open(txn, &c, SPAN("t"), err) < 0)
		return -1;
	found = db_last(&c, err);
	*number = found == 1 && c.key.n == 9 ? be_get64(c.key.p + 1) + 1 : 1;
	db_cursor_close(&c);
	return found < 0 ? -1 : 0;
}

/* The oldest, if it may go: 1 with its key. A row that does not decode is the first to go. */
static int oldest(struct db_txn *txn, const struct trace_limits *l, const struct trace_record *now,
    struct db_key *key, struct err *err)
{
	struct trace_record r;
	struct db_cursor c;
	int found;

	if (db_cursor_open(txn, &c, SPAN("t"), err) < 0)
		return -1;
	found = db_first(&c, err);
	if (found == 1 && decode(c.key, c.val, &r) && now->number - r.number < l->records_max &&
	    r.time + (int64_t)l->seconds > now->time)
		found = 0;
	db_key_init(key);
	if (found == 1)
		db_key_raw(key, c.key);
	db_cursor_close(&c);
	return found;
}

int trace_add(
    struct db_txn *txn, const struct trace_limits *l, struct trace_record *r, struct err *err)
{
	struct strbuf row;
	struct db_key k;
	int rc;

	if (next_number(txn, &r->number, err) < 0)
		return -1;
	for (int i = 0; i < TRIM_MAX; i++) {
		rc = oldest(txn, l, r, &k, err);
		if (rc < 0 || (rc == 1 && db_del(txn, db_key_span(&k), err) < 0))
			return -1;
		if (rc == 0)
			break;
	}
	if (l->records_max == 0)
		return 0;
	strbuf_init(&row, ROW_MAX);
	encode(&row, r);
	rc = db_put(txn, key_of(&k, r->number), strbuf_span(&row), err);
	strbuf_clear(&row);
	return rc;
}

int trace_back(struct db_txn *txn, uint64_t before, size_t max,
    bool (*fn)(void *arg, const struct trace_record *r), void *arg, uint64_t *next, struct err *err)
{
	struct db_cursor c;
	struct db_key k;
	int found;

	*next = 0;
	if (db_cursor_open(txn, &c, SPAN("t"), err) < 0)
		return -1;
	found = before == 0 ? db_last(&c, err) : db_seek_back(&c, key_of(&k, before - 1), err);
	for (size_t i = 0; found == 1; found = db_prev(&c, err)) {
		struct trace_record r;

		if (!decode(c.key, c.val, &r))
			continue;
		if (i++ == max) {
			*next = r.number + 1;
			break;
		}
		if (!fn(arg, &r))
			break;
	}
	db_cursor_close(&c);
	return found < 0 ? -1 : 0;
}
