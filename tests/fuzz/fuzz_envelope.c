/*
 * ENVELOPE, BODYSTRUCTURE's cache row, previews and subjects from any bytes. Oracles: what was
 * written as an envelope can be read again, item by item; a cache row gives back what went in, and
 * no part of one does; a preview is short and valid UTF-8.
 */
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/mail/charset.h"
#include "common/mail/envelope.h"
#include "common/mail/imapstr.h"
#include "common/mail/preview.h"
#include "common/mail/subject.h"
#include "common/store/cache.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

static void read_addresses(struct span item)
{
	struct mail_envelope_address a;
	struct strbuf scratch;
	size_t n = 0;

	strbuf_init(&scratch, item.n);
	while (mail_envelope_address(&item, &scratch, &a)) {
		strbuf_reset(&scratch);
		need(++n <= (size_t)10 * 4096);
	}
	strbuf_clear(&scratch);
}

static void read_items(struct span text, bool is_ours)
{
	struct span items[MAIL_ENVELOPE_ITEMS] = {{NULL, 0}};

	for (int count = 0; count <= MAIL_ENVELOPE_ITEMS; count++)
		need(mail_envelope_items(text, items, count) || !is_ours);
	for (int i = 0; i < MAIL_ENVELOPE_ITEMS; i++) {
		struct strbuf scratch;
		struct span item = items[i], value;

		if (i >= MAIL_ENVELOPE_FROM && i <= MAIL_ENVELOPE_BCC) {
			read_addresses(item);
			continue;
		}
		strbuf_init(&scratch, item.n);
		need(mail_take_nstring(&item, &scratch, &value) || !is_ours);
		strbuf_clear(&scratch);
	}
}

static void check_row(struct span message)
{
	struct mime_tree *tree = mime_tree_parse(message), *again;
	struct strbuf row, fields;
	struct cache c;

	strbuf_init(&row, (size_t)1 << 26);
	strbuf_init(&fields, (size_t)1 << 26);
	cache_encode(&row, tree, message);
	need(!row.failed && cache_decode(strbuf_span(&row), &c));
	need(c.header_size == tree->parts[0].header_size);
	read_items(c.envelope, true);
	again = mime_tree_decode(c.tree, NULL);
	need(again && again->count == tree->count && again->size == message.n);
	if (c.fields.p) {
		const struct span names[] = {SPAN("from"), SPAN("Subject"), SPAN("references")};
		struct strbuf kept;

		strbuf_init(&kept, (size_t)1 << 26);
		need(cache_keeps(names, ARRAY_LEN(names)));
		need(mail_header_select(&kept, c.fields, names, ARRAY_LEN(names), true));
		need(mail_header_select(&fields, span_sub(message, 0, (size_t)c.header_size), names,
		    ARRAY_LEN(names), true));
		need(span_eq(strbuf_span(&kept), strbuf_span(&fields)));
		strbuf_clear(&kept);
	}
	for (size_t cut = 0; cut < row.n; cut += 1 + row.n / 16)
		need(!cache_decode(span_sub(strbuf_span(&row), 0, cut), &c));
	mime_tree_free(again);
	mime_tree_free(tree);
	strbuf_clear(&row);
	strbuf_clear(&fields);
}

static void check_texts(struct span in)
{
	struct strbuf utf8, out;
	struct span rest;
	uint32_t c;
	size_t n = 0;
	bool is_reply;

	strbuf_init(&utf8, in.n * 4 + 4);
	strbuf_init(&out, in.n * 64 + 4096);
	need(mail_utf8_clean(&utf8, in));
	need(mail_preview(&out, strbuf_span(&utf8), in.n > 0 && (in.p[0] & 1)));
	for (rest = strbuf_span(&out); rest.n > 0; n++)
		need(utf8_take(&rest, &c) && c >= 0x20);
	need(n <= MAIL_PREVIEW_CHARS);
	strbuf_reset(&out);
	need(mail_base_subject(&out, in, &is_reply) && utf8_is_valid(strbuf_span(&out)));
	strbuf_reset(&utf8);
	strbuf_add(&utf8, strbuf_span(&out));
	strbuf_reset(&out);
	need(mail_casemap(&out, strbuf_span(&utf8)) && utf8_is_valid(strbuf_span(&out)));
	strbuf_clear(&utf8);
	strbuf_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_make(data, size);
	struct cache c;

	if (size > 64 * 1024)
		return 0;
	read_items(in, false);
	if (cache_decode(in, &c)) {
		read_items(c.envelope, false);
		mime_tree_free(mime_tree_decode(c.tree, NULL));
	}
	check_row(in);
	check_texts(in);
	return 0;
}
