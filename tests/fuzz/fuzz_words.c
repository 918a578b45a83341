/*
 * Encoded words, parameters, transfer decoding, charsets. The first byte chooses charset, encoding
 * and splits. Oracles: output is valid UTF-8 without NUL, whatever the split the result is one.
 */
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/mail/charset.h"
#include "common/mail/words.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

static void check_text(const struct strbuf *b)
{
	need(!b->failed && utf8_is_valid(strbuf_span(b)) && span_chr(strbuf_span(b), 0) < 0);
}

static void check_words(struct span in)
{
	struct strbuf out, folded;

	strbuf_init(&out, in.n * 16 + 64);
	strbuf_init(&folded, in.n * 64 + 64);
	need(mail_words_decode(&out, in));
	check_text(&out);
	need(mail_casefold(&folded, strbuf_span(&out)));
	check_text(&folded);
	strbuf_clear(&out);
	strbuf_clear(&folded);
}

static void check_params(struct span in)
{
	struct mime_param params[4];
	size_t count = 0;
	struct strbuf out;
	struct span piece;

	while (count < 8 && span_split(&in, ';', &piece)) {
		if (count % 2)
			params[count / 2].value = piece;
		else
			params[count / 2].name = piece;
		count++;
	}
	strbuf_init(&out, 1 << 20);
	if (mail_param_decode(&out, params, count / 2, SPAN("a")))
		check_text(&out);
	strbuf_clear(&out);
}

static void decode(struct strbuf *out, struct span in, unsigned how, uint32_t seed)
{
	static const char *const names[] = {"utf-8", "iso-8859-1", "iso-2022-jp", "gb2312",
	    "utf-16", "no-such", "shift_jis", "utf-7"};
	struct mail_charset *c = mail_charset_open(span_of(names[how % 8]));
	struct mail_decoder d;
	struct strbuf bytes;

	strbuf_init(&bytes, in.n + 64);
	mail_decoder_init(&d, (enum mail_encoding)(how / 8 % 3));
	while (in.n) {
		size_t n = in.n;

		if (seed) {
			seed = seed * 1664525 + 1013904223;
			n = 1 + (seed >> 20) % 7;
		}
		strbuf_reset(&bytes);
		need(mail_decoder_feed(&d, &bytes, span_sub(in, 0, n)));
		need(mail_charset_feed(c, out, strbuf_span(&bytes)));
		in = span_from(in, n);
	}
	strbuf_reset(&bytes);
	need(mail_decoder_finish(&d, &bytes) && mail_charset_feed(c, out, strbuf_span(&bytes)));
	need(mail_charset_finish(c, out));
	mail_charset_close(c);
	strbuf_clear(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = mem_dup(data, size);
	struct span in = span_from(span_make(copy, size), 1);
	struct strbuf whole, split;

	if (size > 1) {
		check_words(in);
		check_params(in);
		strbuf_init(&whole, size * 16 + 64);
		strbuf_init(&split, size * 16 + 64);
		decode(&whole, in, data[0], 0);
		decode(&split, in, data[0], data[0] + 1);
		check_text(&whole);
		need(span_eq(strbuf_span(&whole), strbuf_span(&split)));
		strbuf_clear(&whole);
		strbuf_clear(&split);
	}
	mem_free(copy);
	return 0;
}
