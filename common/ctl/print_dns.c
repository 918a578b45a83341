/* DNS records and checks, each with the sentence that says why: too long for a table. */
#include "common/ctl/ctl.h"

#include <stdio.h>

struct values {
	struct span importance, zone, why, check, status, found, advice;
};

static void read_values(const struct strbuf *record, struct values *out)
{
	struct dec d = dec_of(strbuf_span(record));
	struct ipc_value v;

	*out = (struct values){0};
	while (ipc_rec_next(&d, &v)) {
		if (span_eq(v.name, SPAN("importance")))
			out->importance = v.text;
		else if (span_eq(v.name, SPAN("zone")))
			out->zone = v.text;
		else if (span_eq(v.name, SPAN("why")))
			out->why = v.text;
		else if (span_eq(v.name, SPAN("check")))
			out->check = v.text;
		else if (span_eq(v.name, SPAN("status")))
			out->status = v.text;
		else if (span_eq(v.name, SPAN("found")))
			out->found = v.text;
		else if (span_eq(v.name, SPAN("advice")))
			out->advice = v.text;
	}
}

/* What others wrote into DNS does not move the cursor. */
static void put(const char *before, struct span text)
{
	fputs(before, stdout);
	for (size_t i = 0; i < text.n; i++)
		putchar(ascii_is_ctl(text.p[i]) ? '?' : text.p[i]);
}

void print_findings(const struct records *r)
{
	for (size_t i = 0; i < r->count; i++) {
		struct values v;

		read_values(&r->list[i], &v);
		put(i > 0 ? "\n" : "", v.zone.n > 0 ? v.zone : v.check);
		if (v.status.n > 0)
			put(v.zone.n > 0 ? "\n    " : ": ", v.status);
		if (v.found.n > 0)
			put(v.status.n > 0 ? ": found " : "\n    found ", v.found);
		if (v.advice.n > 0)
			put("\n    ", v.advice);
		if (v.importance.n > 0)
			put("\n    ", v.importance);
		if (v.why.n > 0)
			put(": ", v.why);
		putchar('\n');
	}
}

bool has_bad_finding(const struct records *r)
{
	for (size_t i = 0; i < r->count; i++) {
		struct values v;

		read_values(&r->list[i], &v);
		if (span_eq(v.status, SPAN("failed")) ||
		    (span_eq(v.importance, SPAN("required")) &&
			(span_eq(v.status, SPAN("missing")) || span_eq(v.status, SPAN("differs")))))
			return true;
	}
	return false;
}
