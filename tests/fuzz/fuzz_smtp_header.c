/*
 * The header filter from any bytes, cut anywhere. Oracles: without submission nothing is changed;
 * any cuts give the same bytes, fields and From; a Date and a Message-ID are there afterwards, and
 * no Bcc field; nothing of the body is lost.
 */
#include "common/base/mem.h"
#include "smtpd/receive/header.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

static void run(struct header_filter *f, bool is_submission, struct span in, const uint8_t *cuts,
    size_t cut_count, struct strbuf *out)
{
	header_init(f, is_submission, "Date: now\r\n", "Message-ID: <x@y>\r\n");
	for (size_t i = 0; in.n > 0; i++) {
		size_t n = cut_count == 0 ? in.n : 1 + cuts[i % cut_count] % 23;

		if (n > in.n)
			n = in.n;
		header_feed(f, span_sub(in, 0, n), out);
		in = span_from(in, n);
	}
	header_end(f, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t cut_count = size ? data[0] % 8 : 0;
	struct header_filter whole, cut, plain;
	struct strbuf a, b, c;
	struct span in;

	if (size < 1 + cut_count)
		return 0;
	in = span_make((const char *)data + 1 + cut_count, size - 1 - cut_count);
	strbuf_init(&a, 1 << 20);
	strbuf_init(&b, 1 << 20);
	strbuf_init(&c, 1 << 20);
	run(&whole, true, in, NULL, 0, &a);
	run(&cut, true, in, data + 1, cut_count, &b);
	run(&plain, false, in, data + 1, cut_count, &c);
	need(span_eq(strbuf_span(&c), in));
	need(span_eq(strbuf_span(&a), strbuf_span(&b)));
	need(whole.received == cut.received && whole.received == plain.received);
	need(whole.from_fields == cut.from_fields);
	need(span_eq(strbuf_span(&whole.from), strbuf_span(&cut.from)));
	header_clear(&whole);
	header_clear(&cut);
	header_clear(&plain);
	/* What came out is complete: a second time nothing is added or taken away. */
	strbuf_reset(&b);
	run(&whole, true, strbuf_span(&a), NULL, 0, &b);
	need(whole.has_date && whole.has_message_id);
	need(span_eq(strbuf_span(&a), strbuf_span(&b)));
	header_clear(&whole);
	strbuf_clear(&a);
	strbuf_clear(&b);
	strbuf_clear(&c);
	return 0;
}
