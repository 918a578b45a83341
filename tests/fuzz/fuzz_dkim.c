/*
 * DKIM's forms and signatures from any bytes, cut anywhere. Oracles: any cuts give the same body,
 * field and signature; the body is what a second reader of RFC 6376 section 3.4.4, line by line and
 * as simple as can be, makes of it; a form is its own form; fields that are added are well-formed
 * lines.
 */
#include "common/base/mem.h"
#include "common/mail/dkim.h"
#include "smtpd/send/dkim.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
			  "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
			  "-----END PRIVATE KEY-----\n";

static void need(bool ok)
{
	if (!ok)
		abort();
}

static void into_buffer(void *arg, struct span bytes)
{
	strbuf_add(arg, bytes);
}

/* Pieces whose sizes come from the input itself. */
static struct span take_piece(struct span *in, struct span cuts, size_t turn)
{
	size_t n = cuts.n > 0 ? 1 + (unsigned char)cuts.p[turn % cuts.n] % 40 : in->n;
	struct span piece = span_sub(*in, 0, n);

	*in = span_from(*in, piece.n);
	return piece;
}

static void body_of(struct span in, struct span cuts, struct strbuf *out)
{
	struct dkim_body b;

	strbuf_init(out, 2 * in.n + 16);
	dkim_body_init(&b, into_buffer, out);
	for (size_t turn = 0; in.n > 0; turn++)
		dkim_body_feed(&b, take_piece(&in, cuts, turn));
	dkim_body_end(&b);
	need(!out->failed);
}

/* A line without its end: runs of white space are one space, none at the end. */
static void add_line(struct strbuf *out, struct span line)
{
	while (line.n > 0 && (line.p[line.n - 1] == ' ' || line.p[line.n - 1] == '\t'))
		line.n--;
	for (size_t i = 0; i < line.n; i++) {
		bool is_space = line.p[i] == ' ' || line.p[i] == '\t';

		if (!is_space)
			strbuf_add_chr(out, line.p[i]);
		else if (i == 0 || (line.p[i - 1] != ' ' && line.p[i - 1] != '\t'))
			strbuf_add_chr(out, ' ');
	}
	strbuf_add_str(out, "\r\n");
}

static void simple_body(struct span in, struct strbuf *out)
{
	strbuf_init(out, 2 * in.n + 16);
	while (in.n > 0) {
		ssize_t end = span_find(in, SPAN("\r\n"));

		add_line(out, span_sub(in, 0, end < 0 ? in.n : (size_t)end));
		in = span_from(in, end < 0 ? in.n : (size_t)end + 2);
	}
	while (span_ends(strbuf_span(out), SPAN("\r\n\r\n")))
		strbuf_truncate(out, out->n - 2);
	if (span_eq(strbuf_span(out), SPAN("\r\n")))
		strbuf_truncate(out, 0);
}

static void check_body(struct span in, struct span cuts)
{
	struct strbuf whole, pieces, simple, again;

	body_of(in, span_make(NULL, 0), &whole);
	body_of(in, cuts, &pieces);
	simple_body(in, &simple);
	body_of(strbuf_span(&whole), cuts, &again);
	need(span_eq(strbuf_span(&whole), strbuf_span(&pieces)));
	need(span_eq(strbuf_span(&whole), strbuf_span(&simple)));
	need(span_eq(strbuf_span(&whole), strbuf_span(&again)));
	strbuf_clear(&whole);
	strbuf_clear(&pieces);
	strbuf_clear(&simple);
	strbuf_clear(&again);
}

static void check_field(struct span in)
{
	struct strbuf once, twice;

	strbuf_init(&once, in.n + 16);
	strbuf_init(&twice, in.n + 16);
	dkim_field(&once, in);
	dkim_field(&twice, strbuf_span(&once));
	need(!once.failed && span_eq(strbuf_span(&once), strbuf_span(&twice)));
	need(span_chr(strbuf_span(&once), '\n') < 0);
	strbuf_clear(&once);
	strbuf_clear(&twice);
}

static void sign(const struct dkim_keys *keys, struct span in, struct span cuts, struct strbuf *out)
{
	struct dkim_signer *s = dkim_signer_new(keys, 1700000000);
	const char *why;

	strbuf_init(out, DKIM_FIELDS_MAX);
	dkim_signer_feed(s, SPAN("From: a@example.org\r\n"));
	for (size_t turn = 0; in.n > 0; turn++)
		dkim_signer_feed(s, take_piece(&in, cuts, turn));
	need(dkim_signer_end(s, out, &why, NULL) == 0);
	need((why == NULL) == (out->n > 0));
}

static void check_lines(struct span fields)
{
	struct span line;

	while (fields.n > 0 && span_split(&fields, '\n', &line)) {
		need(line.n > 1 && line.n < 200 && line.p[line.n - 1] == '\r');
		need(line.p[0] == '\t' || span_starts(line, SPAN("DKIM-Signature: ")));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct dkim_keys *keys;
	struct span in = {(const char *)data, size};
	struct span cuts = span_sub(in, 0, size > 8 ? 8 : size);
	struct strbuf whole, pieces;

	if (!keys) {
		keys = dkim_keys_new();
		need(dkim_keys_add(keys, SPAN("example.org"), SPAN("s"), span_of(pem), NULL) == 0);
	}
	in = span_from(in, cuts.n);
	check_body(in, cuts);
	check_field(in);
	sign(keys, in, span_make(NULL, 0), &whole);
	sign(keys, in, cuts, &pieces);
	need(span_eq(strbuf_span(&whole), strbuf_span(&pieces)));
	check_lines(strbuf_span(&whole));
	strbuf_clear(&whole);
	strbuf_clear(&pieces);
	return 0;
}
