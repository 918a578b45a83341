/*
 * MIME parser: any bytes, split anywhere. The first byte seeds the splits. Oracles: every split
 * gives the same tree, all offsets lie in the message and in the parent, a row decodes to what was
 * encoded, a damaged row is refused or sane.
 */
#include "common/base/mem.h"
#include "common/mail/bodystructure.h"
#include "common/mail/section.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

static void check_tree(const struct mime_tree *t)
{
	need(t->count > 0 && t->count <= MIME_PARTS_MAX);
	for (uint32_t i = 0; i < t->count; i++) {
		const struct mime_part *p = &t->parts[i];
		uint64_t low = 0, high = t->size;

		if (p->parent != MIME_NONE) {
			need(p->parent < i && p->depth == t->parts[p->parent].depth + 1);
			low = t->parts[p->parent].body_at;
			high = low + t->parts[p->parent].body_size;
		}
		need(p->header_at >= low && p->header_at + p->header_size == p->body_at);
		need(p->body_at <= high && p->body_size <= high - p->body_at);
		need(p->header_lines <= p->header_size && p->body_lines <= p->body_size);
		need(p->first_child == MIME_NONE ||
		     (p->first_child > i && p->first_child < t->count));
		need(p->next == MIME_NONE || (p->next > i && p->next < t->count));
		need(p->param + p->param_count <= t->param_count);
		need(p->disp_param + p->disp_param_count <= t->param_count);
	}
}

static void check_sections(const struct mime_tree *t)
{
	struct mail_section s = {.count = 0};
	uint64_t at, n;

	for (unsigned i = 0; i < 300; i++) {
		s.count = (uint16_t)(i % 4);
		s.part[0] = i % 3 + 1;
		s.part[1] = i / 3 % 3 + 1;
		s.part[2] = i / 9 % 3 + 1;
		s.kind = (enum mail_section_kind)(i % 6);
		if (mail_section_find(t, &s, &at, &n))
			need(at <= t->size && n <= t->size - at);
	}
}

static void check_row(const struct mime_tree *t, const uint8_t *data, size_t size)
{
	struct strbuf row, again;
	struct mime_tree *back;

	strbuf_init(&row, 1 << 26);
	strbuf_init(&again, 1 << 26);
	need(mime_tree_encode(&row, t));
	back = mime_tree_decode(strbuf_span(&row), NULL);
	need(back != NULL);
	check_tree(back);
	need(mime_tree_encode(&again, back) && span_eq(strbuf_span(&row), strbuf_span(&again)));
	strbuf_reset(&again);
	mail_bodystructure_write(&again, back, true);
	mime_tree_free(back);
	/* Damage a byte that the input chooses. */
	if (size > 4) {
		row.p[(data[1] << 8 | data[2]) % row.n] ^= (char)data[3];
		back = mime_tree_decode(strbuf_span(&row), NULL);
		if (back) {
			check_tree(back);
			check_sections(back);
			strbuf_reset(&again);
			mail_bodystructure_write(&again, back, true);
			mime_tree_free(back);
		}
	}
	strbuf_clear(&row);
	strbuf_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t seed = size ? data[0] * 2654435761u + 1 : 1;
	char *copy = mem_dup(data, size);
	struct span message = span_make(copy, size), rest = message;
	struct mime_parser *p = mime_parser_new();
	struct mime_tree *whole = mime_tree_parse(message), *split;
	struct strbuf a, b;

	while (rest.n) {
		size_t n;

		seed = seed * 1664525 + 1013904223;
		n = 1 + (seed >> 20) % 37;
		mime_parser_feed(p, span_sub(rest, 0, n));
		rest = span_from(rest, n);
	}
	split = mime_parser_finish(p);
	mime_parser_free(p);
	check_tree(whole);
	check_sections(whole);
	strbuf_init(&a, 1 << 26);
	strbuf_init(&b, 1 << 26);
	mime_tree_encode(&a, whole);
	mime_tree_encode(&b, split);
	need(span_eq(strbuf_span(&a), strbuf_span(&b)));
	check_row(whole, data, size);
	strbuf_clear(&a);
	strbuf_clear(&b);
	mime_tree_free(whole);
	mime_tree_free(split);
	mem_free(copy);
	return 0;
}
