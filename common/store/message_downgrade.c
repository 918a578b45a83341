/*
 * A message with headers in UTF-8 as those see it who know only ASCII (RFC 6858). Its headers, also
 * those of its parts and of messages in it, are made anew; the rest stays where it is. The result
 * is a list of pieces, which is then parsed like a message that came in: so tree, cache row, size
 * and sections are all of the same bytes.
 */
#include "common/base/mem.h"
#include "common/mail/downgrade.h"
#include "common/store/message_read.h"

void message_want_downgraded(struct message *m)
{
	m->downgrade.is_wanted = true;
}

bool message_is_downgraded(const struct message *m)
{
	return m->downgrade.is_made && m->downgrade.headers.n > 0;
}

void message_downgrade_clear(struct message *m)
{
	struct message_downgrade *d = &m->downgrade;

	mem_free(d->pieces);
	mime_parser_free(d->parser);
	strbuf_clear(&d->headers);
	strbuf_clear(&d->header);
	*d = (struct message_downgrade){.headers = d->headers, .header = d->header};
}

/* --- making the pieces ------------------------------------------------------------------------ */
static void add_piece(struct message *m, uint64_t from, uint64_t n, bool is_new)
{
	struct message_downgrade *d = &m->downgrade;
	uint64_t at = d->count ? d->pieces[d->count - 1].at + d->pieces[d->count - 1].n : 0;

	if (n == 0)
		return;
	if (d->count == d->cap) {
		d->cap = 2 * d->cap + 8;
		d->pieces = mem_grow(d->pieces, d->cap, sizeof(*d->pieces));
	}
	d->pieces[d->count++] = (struct message_piece){at, n, from, is_new};
}

/* The bytes up to end that stay. */
static void add_stored(struct message *m, uint64_t end)
{
	add_piece(m, m->downgrade.done, end - m->downgrade.done, false);
	m->downgrade.done = end;
}

/* The next header, whole: in d->header. 0, 1, -1. */
static int read_header(struct message *m, const struct mime_part *part, struct err *err)
{
	struct strbuf *h = &m->downgrade.header;
	uint64_t got;

	if (part->header_size > MESSAGE_WHOLE_MAX)
		return err_set(err, ERR_LIMIT, "a header of %llu bytes",
		    (unsigned long long)part->header_size);
	if (h->n == part->header_size)
		return 0;
	if (message_stored_read(m, part->header_at + h->n, part->header_size - h->n, h, &got, err) <
	    0)
		return -1;
	return h->n < part->header_size;
}

static int downgrade_part(struct message *m, const struct mime_part *part, struct err *err)
{
	struct message_downgrade *d = &m->downgrade;
	size_t start = d->headers.n;
	int rc;

	/* Parts stand in the order of their headers; what says otherwise is no header. */
	if (part->header_at < d->done || part->header_size == 0)
		return 0;
	rc = read_header(m, part, err);
	if (rc != 0)
		return rc;
	if (!mail_downgrade_header(&d->headers, strbuf_span(&d->header)))
		return err_set(err, ERR_LIMIT, "the headers are too long to be downgraded");
	if (span_eq(span_from(strbuf_span(&d->headers), start), strbuf_span(&d->header))) {
		strbuf_truncate(&d->headers, start);
	} else {
		add_stored(m, part->header_at);
		add_piece(m, start, d->headers.n - start, true);
		d->done += part->header_size;
	}
	strbuf_reset(&d->header);
	return 0;
}

static int make_pieces(struct message *m, struct err *err)
{
	struct message_downgrade *d = &m->downgrade;
	int rc = message_stored_tree(m, err);

	if (rc == 0)
		rc = message_stored_open(m, err);
	for (; rc == 0 && d->part < m->tree->count; d->part++) {
		rc = downgrade_part(m, &m->tree->parts[d->part], err);
		if (rc != 0)
			return rc;
	}
	if (rc == 0)
		add_stored(m, m->stored);
	return rc;
}

/* --- reading them -------------------------------------------------------------------------------
 */
static const struct message_piece *find_piece(const struct message_downgrade *d, uint64_t at)
{
	size_t low = 0, high = d->count;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (d->pieces[mid].at <= at)
			low = mid;
		else
			high = mid;
	}
	return low < d->count && at - d->pieces[low].at < d->pieces[low].n ? &d->pieces[low] : NULL;
}

int message_downgraded_read(
    struct message *m, uint64_t at, uint64_t n, struct strbuf *out, uint64_t *got, struct err *err)
{
	struct message_downgrade *d = &m->downgrade;

	*got = 0;
	while (n > 0) {
		const struct message_piece *p = find_piece(d, at);
		uint64_t skip, part, have = 0;

		if (!p)
			return err_set(err, ERR_CORRUPT, "a downgraded message ends too early");
		skip = at - p->at;
		part = p->n - skip < n ? p->n - skip : n;
		if (p->is_new) {
			strbuf_add(out, span_sub(strbuf_span(&d->headers), (size_t)(p->from + skip),
					    (size_t)part));
			have = part;
		} else if (message_stored_read(m, p->from + skip, part, out, &have, err) < 0) {
			return -1;
		}
		*got += have;
		at += have;
		n -= have;
		if (have < part || *got >= MESSAGE_STEP)
			return 0;
	}
	return 0;
}

/* --- parsing the result ----------------------------------------------------------------------- */
/* A step. 0 at the end. */
static int parse_step(struct message *m, uint64_t size, struct err *err)
{
	struct message_downgrade *d = &m->downgrade;
	struct strbuf piece;
	uint64_t got = 0;
	int rc;

	strbuf_init(&piece, 2 * (size_t)MESSAGE_STEP);
	rc = message_downgraded_read(m, d->parsed,
	    size - d->parsed < MESSAGE_STEP ? size - d->parsed : MESSAGE_STEP, &piece, &got, err);
	if (rc == 0) {
		mime_parser_feed(d->parser, strbuf_span(&piece));
		strbuf_add(
		    &m->header, span_sub(strbuf_span(&piece), 0, MAIL_HEADER_MAX - m->header.n));
		d->parsed += got;
	}
	strbuf_clear(&piece);
	return rc < 0 ? -1 : d->parsed < size;
}

static int finish(struct message *m, uint64_t size, struct err *err)
{
	struct message_downgrade *d = &m->downgrade;

	mime_tree_free(m->tree);
	m->tree = mime_parser_finish(d->parser);
	mime_parser_free(d->parser);
	d->parser = NULL;
	strbuf_reset(&m->rebuilt);
	if (message_keep_row(m, strbuf_span(&m->header), err) < 0)
		return -1;
	m->size = size;
	d->is_made = true;
	return 0;
}

int message_downgrade(struct message *m, struct err *err)
{
	struct message_downgrade *d = &m->downgrade;
	const struct message_piece *last;
	uint64_t size;
	int rc;

	if (d->is_made)
		return 0;
	if (!d->parser) {
		rc = make_pieces(m, err);
		if (rc != 0)
			return rc;
		d->parser = mime_parser_new();
		strbuf_reset(&m->header);
	}
	last = d->count ? &d->pieces[d->count - 1] : NULL;
	size = last ? last->at + last->n : 0;
	while (d->parsed < size) {
		rc = parse_step(m, size, err);
		if (rc < 0)
			return -1;
		if (rc > 0 && !m->has_bytes)
			return 1;
	}
	return finish(m, size, err);
}
