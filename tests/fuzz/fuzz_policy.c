/*
 * What a stranger's web server answers with, and the policy in it (MTA-STS). Oracles: the same
 * outcome in whatever pieces the answer comes; a policy that was taken is taken again as it is
 * written, with the same meaning.
 */
#include "common/base/mem.h"
#include "common/mail/mta_sts.h"
#include "smtpd/fetch/http.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

/* In pieces of so many bytes more: 1 if all of it came, 0 if not, -1 if it is of no use. */
static int take(struct span in, size_t piece, struct http_reader *r)
{
	size_t at = 0;

	for (size_t end = piece; r->state != HTTP_DONE; end += piece) {
		size_t used = 0;

		end = end > in.n ? in.n : end;
		if (http_read(r, span_sub(in, at, end - at), &used, NULL) < 0)
			return -1;
		need(used <= end - at);
		at += used;
		need(r->body.n <= r->body.max);
		if (r->state != HTTP_DONE && end == in.n)
			return 0;
	}
	return 1;
}

static void try_policy(struct span text)
{
	struct sts_policy p, again;
	struct strbuf b;
	struct span left, mx;
	size_t n = 0;

	if (sts_policy_parse(text, &p, NULL) < 0)
		return;
	need(p.mx_count > 0 || p.mode == STS_NONE);
	strbuf_init(&b, STS_TEXT_MAX * 2);
	sts_policy_format(&p, &b);
	need(!b.failed && sts_policy_parse(strbuf_span(&b), &again, NULL) == 0);
	need(again.mode == p.mode && again.max_age == p.max_age && again.mx_count == p.mx_count);
	left = p.text;
	while (sts_mx_next(&left, &mx)) {
		n++;
		if (!span_starts(mx, SPAN("*.")))
			need(sts_policy_allows(&p, mx));
	}
	need(n == p.mx_count && !sts_policy_allows(&p, SPAN("")));
	strbuf_clear(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = mem_dup(data, size);
	struct span in = span_make(copy, size), id;
	struct http_reader whole, parts;
	int rc;

	http_init(&whole, STS_TEXT_MAX);
	http_init(&parts, STS_TEXT_MAX);
	rc = take(in, size + 1, &whole);
	need(take(in, size > 0 ? 1 + data[0] % 7 : 1, &parts) == rc);
	if (rc == 1) {
		need(span_eq(strbuf_span(&whole.body), strbuf_span(&parts.body)));
		try_policy(strbuf_span(&whole.body));
	}
	http_clear(&whole);
	http_clear(&parts);
	try_policy(in);
	if (sts_record_id(in, &id))
		need(sts_record_is(in) && id.n > 0 && id.n <= STS_ID_MAX);
	mem_free(copy);
	return 0;
}
