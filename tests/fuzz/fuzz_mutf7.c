/* Modified UTF-7. Oracles: what decodes encodes back to the same bytes, and the other way round. */
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/mail/mutf7.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = mem_dup(data, size);
	struct span in = span_make(copy, size);
	struct strbuf one, two;

	strbuf_init(&one, size * 8 + 16);
	strbuf_init(&two, size * 16 + 16);
	if (mail_mutf7_to_utf8(&one, in)) {
		need(utf8_is_valid(strbuf_span(&one)));
		need(mail_mutf7_from_utf8(&two, strbuf_span(&one)));
		need(span_eq(in, strbuf_span(&two)));
	} else {
		need(one.n == 0);
	}
	strbuf_reset(&one);
	strbuf_reset(&two);
	if (mail_mutf7_from_utf8(&one, in)) {
		need(mail_mutf7_to_utf8(&two, strbuf_span(&one)));
		need(span_eq(in, strbuf_span(&two)));
	} else {
		need(one.n == 0);
	}
	strbuf_reset(&one);
	strbuf_reset(&two);
	if (mail_utf8_nfc(&one, in)) {
		need(utf8_is_valid(strbuf_span(&one)));
		need(mail_utf8_nfc(&two, strbuf_span(&one)));
		need(span_eq(strbuf_span(&one), strbuf_span(&two)));
	}
	strbuf_clear(&one);
	strbuf_clear(&two);
	mem_free(copy);
	return 0;
}
