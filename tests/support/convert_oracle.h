/* What a conversion to 7 bits must keep: the parts, and what decodes from each. */
#ifndef MS_TESTS_CONVERT_ORACLE_H
#define MS_TESTS_CONVERT_ORACLE_H

#include "common/mail/charset.h"
#include "common/mail/mime.h"
#include "smtpd/send/convert.h"

#include <stdlib.h>

/* As the wire has it: each CR, LF or CRLF is CRLF. */
static inline void oracle_lines(struct span in, struct strbuf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		if (in.p[i] != '\r' && in.p[i] != '\n') {
			strbuf_add_chr(out, in.p[i]);
			continue;
		}
		if (in.p[i] == '\r' && i + 1 < in.n && in.p[i + 1] == '\n')
			i++;
		strbuf_add_mem(out, "\r\n", 2);
	}
}

static inline enum convert_status oracle_plan(
    struct convert_plan *p, struct span message, size_t step)
{
	for (int turn = 0; turn < 2; turn++) {
		for (size_t at = 0; at < message.n; at += step)
			convert_plan_feed(p, span_sub(message, at, step));
		if (turn == 0 && !convert_plan_look(p))
			break;
	}
	return convert_plan_end(p);
}

static inline void oracle_convert(
    const struct convert_plan *p, struct span message, size_t step, struct strbuf *out)
{
	struct converter *c = converter_new(p);

	for (size_t at = 0; at < message.n; at += step)
		converter_feed(c, span_sub(message, at, step), out);
	converter_end(c, out);
	converter_free(c);
}

static inline void oracle_body(
    const struct mime_part *part, struct span message, struct strbuf *out)
{
	struct span body = span_sub(message, part->body_at, part->body_size);
	struct strbuf raw;
	struct mail_decoder d;

	strbuf_init(&raw, 1 << 24);
	mail_decoder_init(&d, mail_encoding_of(part->encoding));
	mail_decoder_feed(&d, &raw, body);
	mail_decoder_finish(&d, &raw);
	oracle_lines(strbuf_span(&raw), out);
	strbuf_clear(&raw);
}

/* NULL, or what is wrong. */
static inline const char *oracle_check(struct span before, struct span after)
{
	struct mime_tree *a = mime_tree_parse(before), *b = mime_tree_parse(after);
	const char *wrong = NULL;

	for (size_t i = 0; i < after.n; i++)
		if ((unsigned char)after.p[i] >= 0x80)
			wrong = "8-bit bytes are left";
	if (a->count != b->count)
		wrong = "the parts are others";
	for (uint32_t i = 0; i < a->count && !wrong; i++) {
		struct strbuf x, y;

		strbuf_init(&x, 1 << 24);
		strbuf_init(&y, 1 << 24);
		if (a->parts[i].first_child == MIME_NONE) {
			oracle_body(&a->parts[i], before, &x);
			oracle_body(&b->parts[i], after, &y);
		}
		if (!span_eq(strbuf_span(&x), strbuf_span(&y)))
			wrong = "a part decodes to something else";
		strbuf_clear(&x);
		strbuf_clear(&y);
	}
	mime_tree_free(a);
	mime_tree_free(b);
	return wrong;
}

#endif
