#include "common/store/message_read.h"

#include "common/base/mem.h"

#define PIECE (64 * 1024)

void message_init(struct message *m, struct blob_dir *blobs, uint64_t account)
{
	*m = (struct message){.blobs = blobs, .account = account};
	strbuf_init(&m->bytes, MESSAGE_WHOLE_MAX);
	strbuf_init(&m->header, MAIL_HEADER_MAX);
	strbuf_init(&m->rebuilt, (size_t)8 * 1024 * 1024);
	strbuf_init(&m->downgrade.headers, MESSAGE_HEADERS_MAX);
	strbuf_init(&m->downgrade.header, MESSAGE_WHOLE_MAX);
}

static void drop(struct message *m)
{
	mime_tree_free(m->tree);
	m->tree = NULL;
	blob_reader_free(m->reader);
	m->reader = NULL;
	mime_parser_free(m->parser);
	m->parser = NULL;
	strbuf_reset(&m->bytes);
	strbuf_reset(&m->rebuilt);
	m->has_row = m->is_rebuilt = m->has_bytes = m->is_verified = false;
	message_downgrade_clear(m);
}

void message_clear(struct message *m)
{
	drop(m);
	strbuf_clear(&m->bytes);
	strbuf_clear(&m->header);
	strbuf_clear(&m->rebuilt);
	strbuf_clear(&m->downgrade.headers);
	strbuf_clear(&m->downgrade.header);
}

void message_slice(struct message *m, struct db_txn *txn)
{
	m->txn = txn;
	m->has_row = m->is_rebuilt;
}

void message_set(struct message *m, uint64_t object, uint64_t size)
{
	drop(m);
	m->object = object;
	m->stored = m->size = size;
}

bool message_has_new_row(const struct message *m)
{
	return m->is_rebuilt && !m->downgrade.is_wanted;
}

static int get_blob(struct message *m, struct blob *blob, struct err *err)
{
	if (store_object_blob(m->txn, m->account, m->object, blob, err) < 0)
		return -1;
	if (blob->size != m->stored)
		return err_set(err, ERR_CORRUPT, "object %llu has %llu bytes instead of %llu",
		    (unsigned long long)m->object, (unsigned long long)blob->size,
		    (unsigned long long)m->stored);
	return 0;
}

/* The whole of a small body. */
static int load(struct message *m, struct err *err)
{
	struct blob blob;

	if (m->has_bytes)
		return 0;
	if (get_blob(m, &blob, err) < 0 ||
	    blob_read_all(m->blobs, &blob, &m->bytes, MESSAGE_WHOLE_MAX, err) < 0)
		return -1;
	m->has_bytes = true;
	return 0;
}

static int reopen(struct message *m, struct err *err)
{
	struct blob blob;

	blob_reader_free(m->reader);
	m->reader = NULL;
	if (get_blob(m, &blob, err) < 0)
		return -1;
	return blob_open(m->blobs, &blob, &m->reader, err);
}

/* A step through a large body, for its parser if there is one. 0 at its end, which is checked. */
static int walk(struct message *m, struct err *err)
{
	char *buf = mem_alloc(PIECE);
	size_t n = 1;
	int rc = 0;

	for (size_t done = 0; rc == 0 && n > 0 && done < MESSAGE_STEP; done += n) {
		rc = blob_read(m->reader, buf, PIECE, &n, err);
		if (rc < 0 || n == 0 || !m->parser)
			continue;
		mime_parser_feed(m->parser, span_make(buf, n));
		strbuf_add(
		    &m->header, span_sub(span_make(buf, n), 0, MAIL_HEADER_MAX - m->header.n));
	}
	mem_free(buf);
	if (rc < 0)
		return -1;
	m->is_verified = n == 0;
	return n > 0;
}

int message_stored_open(struct message *m, struct err *err)
{
	int rc = 0;

	if (m->stored <= MESSAGE_WHOLE_MAX)
		return load(m, err);
	if (m->is_verified)
		return 0;
	if (!m->reader && reopen(m, err) < 0)
		return -1;
	rc = walk(m, err);
	if (rc == 0) {
		blob_reader_free(m->reader);
		m->reader = NULL;
	}
	return rc;
}

/* Makes the row that m->tree, just parsed, belongs into. */
int message_keep_row(struct message *m, struct span header, struct err *err)
{
	cache_encode(&m->rebuilt, m->tree, header);
	if (m->rebuilt.failed || !cache_decode(strbuf_span(&m->rebuilt), &m->cache)) {
		strbuf_reset(&m->rebuilt);
		return err_set(err, ERR_LIMIT, "the structure of object %llu is too large",
		    (unsigned long long)m->object);
	}
	m->has_row = m->is_rebuilt = true;
	return 0;
}

static int rebuild(struct message *m, struct err *err)
{
	int rc;

	if (m->stored <= MESSAGE_WHOLE_MAX) {
		if (load(m, err) < 0)
			return -1;
		mime_tree_free(m->tree);
		m->tree = mime_tree_parse(strbuf_span(&m->bytes));
		return message_keep_row(m, strbuf_span(&m->bytes), err);
	}
	if (!m->parser) {
		if (reopen(m, err) < 0)
			return -1;
		m->parser = mime_parser_new();
		strbuf_reset(&m->header);
	}
	rc = walk(m, err);
	if (rc != 0)
		return rc;
	mime_tree_free(m->tree);
	m->tree = mime_parser_finish(m->parser);
	mime_parser_free(m->parser);
	m->parser = NULL;
	blob_reader_free(m->reader);
	m->reader = NULL;
	return message_keep_row(m, strbuf_span(&m->header), err);
}

/* Is there a row, and does it belong to this message? */
static int get_row(struct message *m, struct err *err)
{
	struct err why = ERR_INIT;
	struct span row;

	if (m->has_row || m->parser)
		return 0;
	if (store_object_cache(m->txn, m->account, m->object, &row, &why) < 0) {
		if (why.code != ERR_NOT_FOUND)
			return err_set(err, why.code, "%s", why.text);
		return 0;
	}
	m->has_row = cache_decode(row, &m->cache) && m->cache.header_size <= m->stored;
	return 0;
}

static int stored_cache(struct message *m, struct err *err)
{
	if (get_row(m, err) < 0)
		return -1;
	return m->has_row ? 0 : rebuild(m, err);
}

int message_stored_tree(struct message *m, struct err *err)
{
	int rc;

	if (m->tree)
		return 0;
	rc = stored_cache(m, err);
	if (rc != 0 || m->tree)
		return rc;
	m->tree = mime_tree_decode(m->cache.tree, NULL);
	if (m->tree && m->tree->size == m->stored)
		return 0;
	mime_tree_free(m->tree);
	m->tree = NULL;
	m->has_row = false;
	return rebuild(m, err);
}

int message_stored_read(
    struct message *m, uint64_t at, uint64_t n, struct strbuf *out, uint64_t *got, struct err *err)
{
	uint64_t gap;
	char *room;
	size_t have;

	*got = 0;
	if (m->has_bytes) {
		strbuf_add(out, span_sub(strbuf_span(&m->bytes), (size_t)at, (size_t)n));
		*got = n;
		return 0;
	}
	if ((!m->reader || blob_position(m->reader) > at) && reopen(m, err) < 0)
		return -1;
	gap = at - blob_position(m->reader);
	if (gap > MESSAGE_STEP)
		return blob_skip(m->reader, MESSAGE_STEP, err);
	if (blob_skip(m->reader, gap, err) < 0)
		return -1;
	while (n > 0 && *got < MESSAGE_STEP) {
		room = strbuf_room(out, PIECE);
		if (!room)
			return err_set(err, ERR_LIMIT, "no room for a body");
		if (blob_read(m->reader, room, n < PIECE ? (size_t)n : PIECE, &have, err) < 0)
			return -1;
		if (have == 0)
			return err_set(err, ERR_CORRUPT, "a body ends too early");
		strbuf_added(out, have);
		*got += have;
		n -= have;
	}
	return 0;
}

/* --- as it is read ------------------------------------------------------------------------------
 */
int message_cache(struct message *m, struct err *err)
{
	return m->downgrade.is_wanted ? message_downgrade(m, err) : stored_cache(m, err);
}

int message_tree(struct message *m, struct err *err)
{
	return m->downgrade.is_wanted ? message_downgrade(m, err) : message_stored_tree(m, err);
}

int message_open(struct message *m, struct err *err)
{
	return m->downgrade.is_wanted ? message_downgrade(m, err) : message_stored_open(m, err);
}

int message_read(
    struct message *m, uint64_t at, uint64_t n, struct strbuf *out, uint64_t *got, struct err *err)
{
	return m->downgrade.is_wanted ? message_downgraded_read(m, at, n, out, got, err)
				      : message_stored_read(m, at, n, out, got, err);
}
