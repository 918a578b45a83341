#include "common/mail/words.h"
#include "common/base/mem.h"
#include "common/mail/charset.h"

#include <string.h>

/* Opening a charset may load a library: one value gets so many, further ones stay as they are. */
#define CHARSETS_MAX 200

struct word {
	struct span charset, text;
	char encoding; /* 'b' or 'q' */
};

struct decoding {
	struct strbuf *out;
	struct mail_charset *charset; /* of the word before, kept as characters may be cut */
	struct span charset_name;
	struct strbuf bytes;
	unsigned opened;
};

/* "=?charset*language?b?text?=" at the start of *in. The text holds no "?", so that however many
 * starts there are, each byte is looked at a few times only. */
static bool take_word(struct span *in, struct word *w)
{
	struct span s = *in;
	struct span *piece[2] = {&w->charset, &w->text};
	ssize_t star;

	if (!span_starts(s, SPAN("=?")))
		return false;
	s = span_from(s, 2);
	for (int i = 0; i < 2; i++) {
		size_t n = 0;

		while (n < s.n && s.p[n] != '?' && s.p[n] != '\n' && (i || s.p[n] != ' '))
			n++;
		if (n == s.n || s.p[n] != '?' || (!i && !n))
			return false;
		*piece[i] = span_sub(s, 0, n);
		s = span_from(s, n + 1);
		if (i)
			break;
		if (s.n < 2 || s.p[1] != '?')
			return false;
		w->encoding = ascii_lower(s.p[0]);
		s = span_from(s, 2);
	}
	if (!span_take_chr(&s, '=') || (w->encoding != 'b' && w->encoding != 'q'))
		return false;
	star = span_chr(w->charset, '*');
	if (star > 0)
		w->charset = span_sub(w->charset, 0, (size_t)star);
	*in = s;
	return true;
}

static void decode_q(struct strbuf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '=' && s.n - i > 2 && ascii_hex_byte(s.p[i + 1], s.p[i + 2], &c)) {
			i += 2;
		} else if (c == '_') {
			c = ' ';
		}
		strbuf_add_chr(out, c);
	}
}

/* No further piece of the text so far: half a character stays half. */
static void end_text(struct decoding *d)
{
	if (d->charset)
		mail_charset_finish(d->charset, d->out);
}

/* Decoded text has no business breaking lines. */
static void flatten(struct strbuf *out, size_t from)
{
	for (size_t i = from; i < out->n; i++)
		if (out->p[i] == '\r' || out->p[i] == '\n')
			out->p[i] = ' ';
}

/* Makes the word's charset the current one. False if the word is to stay as it is. */
static bool use_charset(struct decoding *d, const struct word *w)
{
	if (d->charset && span_ieq(d->charset_name, w->charset))
		return true;
	if (d->opened == CHARSETS_MAX)
		return false;
	d->opened++;
	if (!mail_charset_is_known(w->charset))
		return false;
	end_text(d);
	mail_charset_close(d->charset);
	d->charset = mail_charset_open(w->charset);
	d->charset_name = w->charset;
	return true;
}

static void decode_word(struct decoding *d, const struct word *w)
{
	struct mail_decoder base64;
	size_t start = d->out->n;

	strbuf_reset(&d->bytes);
	if (w->encoding == 'q') {
		decode_q(&d->bytes, w->text);
	} else {
		mail_decoder_init(&base64, MAIL_ENCODING_BASE64);
		mail_decoder_feed(&base64, &d->bytes, w->text);
		mail_decoder_finish(&base64, &d->bytes);
	}
	mail_charset_feed(d->charset, d->out, strbuf_span(&d->bytes));
	flatten(d->out, start);
}

/* Text between words, line breaks removed. */
static void add_plain(struct decoding *d, struct strbuf *scratch, struct span s)
{
	strbuf_reset(scratch);
	mail_header_unfold(scratch, s);
	mail_utf8_clean(d->out, strbuf_span(scratch));
}

static bool is_blank(struct span s)
{
	return span_trim(s).n == 0;
}

bool mail_words_decode(struct strbuf *out, struct span value)
{
	struct decoding d = {.out = out};
	struct strbuf scratch;
	struct span plain = span_sub(value, 0, 0), rest = value;
	bool after_word = false, is_known;

	strbuf_init(&d.bytes, value.n);
	strbuf_init(&scratch, value.n);
	while (rest.n && !out->failed) {
		struct span start = rest;
		struct word w;

		if (rest.p[0] != '=' || !take_word(&rest, &w)) {
			rest = span_from(rest, 1);
			plain.n++;
			continue;
		}
		is_known = use_charset(&d, &w);
		/* White space counts only next to text. */
		if (!is_known || !after_word || !is_blank(plain)) {
			end_text(&d);
			add_plain(&d, &scratch, plain);
		}
		if (is_known)
			decode_word(&d, &w);
		else
			add_plain(&d, &scratch, span_sub(start, 0, start.n - rest.n));
		after_word = is_known;
		plain = span_sub(rest, 0, 0);
	}
	end_text(&d);
	mail_charset_close(d.charset);
	add_plain(&d, &scratch, plain);
	strbuf_clear(&scratch);
	strbuf_clear(&d.bytes);
	return !out->failed;
}

/* --- RFC 2231 --- */

/* Reads "name", "name*", "name*3", "name*3*" for name. -1: another; else the number (0 without). */
static int match_name(struct span have, struct span name, bool *is_extended, bool *is_numbered)
{
	uint64_t number = 0;

	*is_extended = *is_numbered = false;
	if (!span_istarts(have, name))
		return -1;
	have = span_from(have, name.n);
	if (!have.n)
		return 0;
	if (!span_take_chr(&have, '*'))
		return -1;
	if (!have.n) {
		*is_extended = true;
		return 0;
	}
	if (!span_take_u64(&have, MIME_PARAMS_MAX, &number))
		return -1;
	*is_numbered = true;
	*is_extended = span_take_chr(&have, '*');
	return have.n ? -1 : (int)number;
}

static void decode_percent(struct strbuf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '%' && s.n - i > 2 && ascii_hex_byte(s.p[i + 1], s.p[i + 2], &c))
			i += 2;
		strbuf_add_chr(out, c);
	}
}

/* "charset'language'rest"; without the quotes all of it is rest. */
static struct span take_charset(struct span *value)
{
	struct span rest = *value, charset, language;

	if (span_split(&rest, '\'', &charset) && rest.p && span_split(&rest, '\'', &language) &&
	    rest.p) {
		*value = rest;
		return charset;
	}
	return span_of("");
}

static const struct mime_param *find_param(const struct mime_param *params, size_t count,
    struct span name, int number, bool numbered, bool *is_extended)
{
	for (size_t i = 0; i < count; i++) {
		bool is_numbered;

		if (match_name(params[i].name, name, is_extended, &is_numbered) == number &&
		    is_numbered == numbered && (numbered || *is_extended))
			return &params[i];
	}
	return NULL;
}

static bool decode_extended(
    struct strbuf *out, const struct mime_param *params, size_t count, struct span name)
{
	struct strbuf bytes;
	struct span charset = {NULL, 0};
	const struct mime_param *p;
	bool is_extended, numbered = false;
	int number = 0;
	size_t start = out->n;

	p = find_param(params, count, name, 0, false, &is_extended);
	if (!p) {
		p = find_param(params, count, name, 0, true, &is_extended);
		numbered = true;
	}
	if (!p)
		return false;
	strbuf_init(&bytes, MIME_TEXT_MAX);
	while (p) {
		struct span value = p->value;

		if (!number && is_extended)
			charset = take_charset(&value);
		if (is_extended)
			decode_percent(&bytes, value);
		else
			strbuf_add(&bytes, value);
		p = numbered ? find_param(params, count, name, ++number, true, &is_extended) : NULL;
	}
	mail_charset_to_utf8(out, charset, strbuf_span(&bytes));
	flatten(out, start);
	strbuf_clear(&bytes);
	return !out->failed;
}

bool mail_param_decode(
    struct strbuf *out, const struct mime_param *params, size_t count, struct span name)
{
	if (decode_extended(out, params, count, name))
		return true;
	for (size_t i = 0; i < count && !out->failed; i++)
		if (span_ieq(params[i].name, name))
			return mail_words_decode(out, params[i].value);
	return false;
}
