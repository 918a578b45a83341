/*
 * Messages in 7 bits: any bytes, split anywhere. The first byte seeds the splits. Oracles: every
 * split gives the same, nothing of 8 bits is left, the parts are the same and decode to the same,
 * the output is bounded.
 */
#include "tests/support/convert_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct convert_plan *whole = convert_plan_new(), *parts = convert_plan_new();
	enum convert_status status;
	struct strbuf a, b;
	struct span m;

	if (size == 0)
		size = 1, data = (const uint8_t *)"x";
	m = span_make(data + 1, size - 1);
	strbuf_init(&a, 1 << 24);
	strbuf_init(&b, 1 << 24);
	status = oracle_plan(whole, m, m.n + 1);
	need(oracle_plan(parts, m, 1u + data[0]) == status);
	need((status == CONVERT_IMPOSSIBLE) == (convert_plan_why(whole)[0] != '\0'));
	if (status == CONVERT_NEEDED) {
		oracle_convert(whole, m, m.n + 1, &a);
		oracle_convert(parts, m, 1u + data[0], &b);
		need(span_eq(strbuf_span(&a), strbuf_span(&b)));
		need(a.n <= 4 * m.n + 2048 + (size_t)128 * MIME_PARTS_MAX);
		need(!oracle_check(m, strbuf_span(&a)));
	}
	strbuf_clear(&a);
	strbuf_clear(&b);
	convert_plan_free(whole);
	convert_plan_free(parts);
	return 0;
}
