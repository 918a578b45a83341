/*
 * What strangers put into DNS, compared with what should be there: any records, any wanted value.
 * Oracles: it ends with a status and an advice, what is found is bounded and printable, and a
 * record that is not there is never "ok".
 */
#include "common/base/mem.h"
#include "smtpd/send/check.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

static struct span take(struct span *in, size_t n)
{
	struct span out = span_sub(*in, 0, n);

	*in = span_from(*in, out.n);
	return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const types[] = {
	    "A", "AAAA", "CNAME", "MX", "PTR", "TXT", "SRV", "TLSA", "CAA", "what"};
	static const char *const purposes[] = {
	    "spf", "dkim", "dmarc", "mta-sts", "tls-rpt", "mx", "other"};
	struct span in = {(const char *)data, size};
	struct span head = take(&in, 4), value;
	struct wanted_record want = {.name = SPAN("example.org.")};
	struct dns_answer a = {.canonical = "", .why = ""};
	struct compared out = {.advice = NULL};

	if (head.n < 4)
		return 0;
	want.type = span_of(types[(unsigned char)head.p[0] % ARRAY_LEN(types)]);
	want.purpose = span_of(purposes[(unsigned char)head.p[1] % ARRAY_LEN(purposes)]);
	a.status = (enum dns_status)((unsigned char)head.p[2] % 5);
	value = take(&in, (unsigned char)head.p[3]);
	want.value = value;
	while (in.n > 0 && a.count < DNS_RECORDS_MAX)
		a.records[a.count++] = take(&in, (unsigned char)take(&in, 1).p[0]);
	a.is_secure = value.n & 1;
	if (a.status != DNS_FOUND)
		a.count = 0;
	strbuf_init(&out.found, 4096);
	record_compare(&want, &a, &out);
	need(out.advice != NULL && out.status <= RECORD_UNKNOWN);
	need(out.status != RECORD_OK || a.status == DNS_FOUND);
	for (size_t i = 0; i < out.found.n; i++)
		need(!ascii_is_ctl(out.found.p[i]));
	strbuf_clear(&out.found);
	return 0;
}
