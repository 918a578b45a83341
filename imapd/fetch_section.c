/* BODY[...], RFC822 and their relatives: exact bytes of the message. */
#include "imapd/fetch.h"

/* Cuts what a partial does not ask for. */
static void cut(const struct fetch_item *it, uint64_t *at, uint64_t *n)
{
	uint64_t skip;

	if (!it->has_partial)
		return;
	skip = it->partial_at < *n ? it->partial_at : *n;
	*at += skip;
	*n -= skip;
	if (*n > it->partial_n)
		*n = it->partial_n;
}

static void write_size(struct fetch_writer *w, uint64_t n)
{
	strbuf_add_chr(&w->out, '{');
	strbuf_add_u64(&w->out, n);
	strbuf_add(&w->out, SPAN("}\r\n"));
}

/*
 * Where the section is: 0 and *is_there, or as message_tree. The whole message, its header and its
 * text need no tree.
 */
static int find(struct fetch_writer *w, const struct mail_section *s, bool *is_there, uint64_t *at,
    uint64_t *n, struct err *err)
{
	struct message *m = &w->m;
	int rc;

	*is_there = true;
	*at = 0;
	*n = m->size;
	if (s->count == 0 && s->kind == MAIL_SECTION_WHOLE)
		return 0;
	rc = s->count ? message_tree(m, err) : message_cache(m, err);
	if (rc != 0)
		return rc;
	if (s->count)
		*is_there = mail_section_find(m->tree, s, at, n);
	else if (s->kind == MAIL_SECTION_TEXT)
		*at = m->cache.header_size;
	else
		*n = m->cache.header_size;
	if (s->kind == MAIL_SECTION_TEXT && s->count == 0)
		*n -= *at;
	return 0;
}

/* The header that starts at at; 0, 1 (in the next slice), -1. */
static int read_header(
    struct fetch_writer *w, uint64_t at, uint64_t n, struct span *header, struct err *err)
{
	uint64_t got;

	if (n > MESSAGE_WHOLE_MAX)
		return err_set(err, ERR_LIMIT, "a header of %llu bytes", (unsigned long long)n);
	if (w->m.has_bytes && !w->is_downgraded) {
		*header = span_sub(strbuf_span(&w->m.bytes), (size_t)at, (size_t)n);
		return 0;
	}
	strbuf_reset(&w->binary.in);
	if (message_read(&w->m, at, n, &w->binary.in, &got, err) < 0)
		return -1;
	*header = strbuf_span(&w->binary.in);
	return got < n;
}

static int write_fields(
    struct fetch_writer *w, const struct fetch_item *it, struct span header, struct err *err)
{
	struct strbuf *picked = &w->scratch;
	uint64_t from = 0, length;

	strbuf_reset(picked);
	if (!mail_header_select(picked, header, it->fields, it->field_count,
		it->section.kind == MAIL_SECTION_FIELDS))
		return err_set(err, ERR_LIMIT, "a header is too long");
	length = picked->n;
	cut(it, &from, &length);
	fetch_label(w, it);
	write_size(w, length);
	strbuf_add(&w->out, span_sub(strbuf_span(picked), (size_t)from, (size_t)length));
	return 0;
}

int fetch_section(struct fetch_writer *w, const struct fetch_item *it, struct err *err)
{
	struct span header = {NULL, 0};
	bool is_there;
	uint64_t at, n;
	int rc;

	if (it->is_kept) {
		rc = message_cache(&w->m, err);
		if (rc != 0)
			return rc;
		if (w->m.cache.fields.p)
			return write_fields(w, it, w->m.cache.fields, err);
	}
	rc = find(w, &it->section, &is_there, &at, &n, err);
	if (rc != 0)
		return rc;
	if (!is_there) {
		fetch_label(w, it);
		strbuf_add(&w->out, SPAN("NIL"));
		return 0;
	}
	rc = message_open(&w->m, err);
	if (rc != 0)
		return rc;
	if (it->section.kind == MAIL_SECTION_FIELDS ||
	    it->section.kind == MAIL_SECTION_FIELDS_NOT) {
		rc = read_header(w, at, n, &header, err);
		return rc != 0 ? rc : write_fields(w, it, header, err);
	}
	cut(it, &at, &n);
	fetch_label(w, it);
	write_size(w, n);
	w->at = at;
	w->left = n;
	return 0;
}
