/* BINARY and BINARY.SIZE (RFC 3516): a part with its Content-Transfer-Encoding undone. */
#include "imapd/fetch.h"

#include <string.h>

static bool is_known(struct span encoding)
{
	static const struct span names[] = {SPAN_INIT("7bit"), SPAN_INIT("8bit"),
	    SPAN_INIT("binary"), SPAN_INIT("base64"), SPAN_INIT("quoted-printable")};

	encoding = span_trim(encoding);
	if (encoding.n == 0)
		return true;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (span_ieq(encoding, names[i]))
			return true;
	return false;
}

static void restart(struct fetch_binary *b)
{
	b->at = b->start;
	b->left = b->length;
	mail_decoder_init(&b->decoder, b->encoding);
}

static bool is_leaf(const struct fetch_item *it, const struct mime_part *part)
{
	return it->section.count && !(part->flags & (MIME_MULTIPART | MIME_MESSAGE));
}

static enum mail_encoding encoding_of(
    const struct fetch_writer *w, const struct fetch_item *it, uint32_t i)
{
	const struct mime_part *part = &w->m.tree->parts[i];

	return is_leaf(it, part) ? mail_encoding_of(part->encoding) : MAIL_ENCODING_NONE;
}

int fetch_binary_check(struct fetch_writer *w, struct err *err)
{
	int rc = message_tree(&w->m, err);

	if (rc != 0)
		return rc;
	for (const struct fetch_item *it = w->rq->first; it; it = it->next) {
		const struct mime_part *part;
		uint32_t i;

		if (it->kind != FETCH_BINARY && it->kind != FETCH_BINARY_SIZE)
			continue;
		i = mail_section_part(w->m.tree, it->section.part, it->section.count);
		part = i == MIME_NONE ? NULL : &w->m.tree->parts[i];
		if (part && is_leaf(it, part) && !is_known(part->encoding))
			return err_set(err, ERR_UNSUPPORTED, "an unknown encoding");
	}
	return 0;
}

int fetch_binary(struct fetch_writer *w, const struct fetch_item *it, struct err *err)
{
	struct fetch_binary *b = &w->binary;
	uint32_t i;
	int rc;

	rc = message_tree(&w->m, err);
	if (rc == 0)
		rc = message_open(&w->m, err);
	if (rc != 0)
		return rc;
	i = mail_section_part(w->m.tree, it->section.part, it->section.count);
	if (i == MIME_NONE) {
		fetch_label(w, it);
		if (it->kind == FETCH_BINARY_SIZE)
			strbuf_add(&w->out, SPAN("0"));
		else if (mail_section_is_placeholder(
			     w->m.tree, it->section.part, it->section.count))
			strbuf_add(&w->out, SPAN("{0}\r\n"));
		else
			strbuf_add(&w->out, SPAN("NIL"));
		return 0;
	}
	b->encoding = encoding_of(w, it, i);
	b->start = 0;
	b->length = w->m.size;
	/* Without numbers it is the message as it stands. */
	if (it->section.count) {
		b->start = w->m.tree->parts[i].body_at;
		b->length = w->m.tree->parts[i].body_size;
	}
	b->item = it;
	b->is_counted = b->has_nul = false;
	b->size = 0;
	restart(b);
	return 0;
}

/* The next decoded bytes, in b->decoded: 0, 1 (none yet in this slice), -1. */
static int decode(struct fetch_writer *w, struct err *err)
{
	struct fetch_binary *b = &w->binary;
	uint64_t got, n = b->left < SLICE_BYTES ? b->left : SLICE_BYTES;

	strbuf_reset(&b->in);
	strbuf_reset(&b->decoded);
	if (message_read(&w->m, b->at, n, &b->in, &got, err) < 0)
		return -1;
	if (got == 0 && n > 0)
		return 1;
	b->at += got;
	b->left -= got;
	mail_decoder_feed(&b->decoder, &b->decoded, strbuf_span(&b->in));
	if (b->left == 0)
		mail_decoder_finish(&b->decoder, &b->decoded);
	return 0;
}

/* All is counted: the size, or what goes before the bytes. */
static void announce(struct fetch_writer *w)
{
	struct fetch_binary *b = &w->binary;
	const struct fetch_item *it = b->item;

	b->is_counted = true;
	fetch_label(w, it);
	if (it->kind == FETCH_BINARY_SIZE) {
		strbuf_add_u64(&w->out, b->size);
		b->item = NULL;
		return;
	}
	b->skip = it->has_partial && it->partial_at < b->size ? it->partial_at : 0;
	b->want = b->size - b->skip;
	if (it->has_partial && it->partial_at >= b->size)
		b->want = 0;
	else if (it->has_partial && b->want > it->partial_n)
		b->want = it->partial_n;
	strbuf_add(&w->out, b->has_nul ? SPAN("~{") : SPAN("{"));
	strbuf_add_u64(&w->out, b->want);
	strbuf_add(&w->out, SPAN("}\r\n"));
	restart(b);
	if (b->want == 0)
		b->item = NULL;
}

int fetch_binary_more(struct fetch_writer *w, struct err *err)
{
	struct fetch_binary *b = &w->binary;
	struct span bytes;
	int rc = decode(w, err);

	if (rc != 0)
		return rc;
	bytes = strbuf_span(&b->decoded);
	if (!b->is_counted) {
		b->size += bytes.n;
		b->has_nul |= memchr(bytes.p, 0, bytes.n) != NULL;
		if (b->left == 0)
			announce(w);
		return w->m.has_bytes ? 0 : 1;
	}
	if (b->skip >= bytes.n) {
		b->skip -= bytes.n;
		bytes.n = 0;
	} else {
		bytes = span_from(bytes, (size_t)b->skip);
		b->skip = 0;
	}
	bytes = span_sub(bytes, 0, b->want < bytes.n ? (size_t)b->want : bytes.n);
	strbuf_add(&w->out, bytes);
	b->want -= bytes.n;
	if (b->want == 0)
		b->item = NULL;
	else if (b->left == 0)
		return err_set(err, ERR_CORRUPT, "a part is shorter than it was");
	return 0;
}
