/*
 * Header fields, ENVELOPE and dates from any bytes. Oracles: fields lie in the input one behind the
 * other, selecting and not selecting a name gives all bytes, an envelope is balanced, a date that
 * was read is the same after printing, a downgraded header is ASCII and downgrades to itself.
 */
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/mail/date.h"
#include "common/mail/downgrade.h"
#include "common/mail/envelope.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

static size_t check_fields(struct span in)
{
	struct mail_header h;
	struct mail_field f;
	size_t at = 0;

	mail_header_init(&h, in);
	while (mail_header_next(&h, &f)) {
		need(f.offset == at && f.size > 0 && f.size <= in.n - at);
		at += f.size;
		need(!f.name.n || (f.name.p >= in.p && f.name.p + f.name.n <= in.p + in.n));
		need(!f.value.n || (f.value.p >= in.p && f.value.p + f.value.n <= in.p + in.n));
	}
	return at;
}

static void check_select(struct span in, size_t fields)
{
	struct span names[3] = {SPAN("subject"), SPAN("from"), SPAN("x")};
	struct strbuf yes, no;

	strbuf_init(&yes, in.n + 2);
	strbuf_init(&no, in.n + 2);
	need(mail_header_select(&yes, in, names, 3, true));
	need(mail_header_select(&no, in, names, 3, false));
	need(yes.n + no.n == fields + 4);
	strbuf_clear(&yes);
	strbuf_clear(&no);
}

/* Parentheses outside strings match, and the text is one list. */
static void check_envelope(struct span in)
{
	struct strbuf out;
	size_t depth = 0;

	strbuf_init(&out, 1 << 26);
	need(mail_envelope_write(&out, in));
	for (size_t i = 0; i < out.n; i++) {
		if (out.p[i] == '{') {
			char *end;
			size_t n = strtoul(out.p + i + 1, &end, 10);

			need(end[0] == '}' && end[1] == '\r' && end[2] == '\n');
			i = (size_t)(end - out.p) + 2 + n;
			need(i < out.n);
			continue;
		}
		if (out.p[i] == '"')
			for (i++; out.p[i] != '"'; i++)
				i += out.p[i] == '\\';
		depth += out.p[i] == '(';
		depth -= out.p[i] == ')';
		need(depth > 0 || i == out.n - 1);
	}
	strbuf_clear(&out);
}

static void check_downgrade(struct span in)
{
	struct span header = span_sub(in, 0, mail_header_size(in, NULL));
	struct strbuf out, again;

	strbuf_init(&out, 30 * header.n + 100);
	strbuf_init(&again, 30 * header.n + 100);
	need(mail_downgrade_header(&out, header) && utf8_is_ascii(strbuf_span(&out)));
	need(mail_downgrade_header(&again, strbuf_span(&out)));
	need(span_eq(strbuf_span(&out), strbuf_span(&again)));
	strbuf_clear(&out);
	strbuf_clear(&again);
}

static void check_dates(struct span in)
{
	char text[MAIL_DATE_LEN];
	int64_t time, again;
	int zone, zone_again;

	if (mail_date_parse(in, &time, &zone)) {
		mail_date_format(text, time, zone);
		need(mail_date_parse(span_of(text), &again, &zone_again));
		need(again == time && zone == zone_again);
	}
	if (mail_internaldate_parse(in, &time, &zone)) {
		mail_internaldate_format(text, time, zone);
		need(mail_internaldate_parse(span_of(text), &again, &zone_again));
		need(again == time && zone == zone_again);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = mem_dup(data, size);
	struct span in = span_make(copy, size), value = in, id;
	bool complete;

	check_select(in, size < MAIL_HEADER_MAX ? check_fields(in) : 0);
	need(mail_header_size(in, &complete) <= size);
	check_envelope(in);
	check_downgrade(in);
	check_dates(in);
	while (mail_msgid_next(&value, &id))
		need(id.p >= in.p && id.p + id.n <= in.p + in.n);
	mem_free(copy);
	return 0;
}
