#include "common/mail/preview.h"

#include "common/base/mem.h"
#include "common/base/utf8.h"

struct writer {
	struct strbuf *out;
	size_t chars;
	bool has_space; /* white space was seen since the last character */
};

static bool is_full(const struct writer *w)
{
	return w->chars >= MAIL_PREVIEW_CHARS;
}

/* Characters without width, which senders fill up previews with. */
static bool is_invisible(uint32_t c)
{
	return c == 0xad || c == 0x34f || (c >= 0x200b && c <= 0x200f) || c == 0x2060 ||
	       c == 0xfeff || (c >= 0x7f && c <= 0x9f);
}

static bool is_space(uint32_t c)
{
	return c <= 0x20 || c == 0xa0 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
	       c == 0x2029 || c == 0x202f || c == 0x3000;
}

static void put(struct writer *w, uint32_t c)
{
	if (is_invisible(c) || is_full(w))
		return;
	if (is_space(c)) {
		w->has_space = w->chars > 0;
		return;
	}
	if (w->has_space) {
		strbuf_add_chr(w->out, ' ');
		w->chars++;
		w->has_space = false;
	}
	if (is_full(w))
		return;
	utf8_add(w->out, c);
	w->chars++;
}

static void put_text(struct writer *w, struct span text, bool with_quotes)
{
	bool is_line_start = true, is_skipped = false;
	uint32_t c;

	while (text.n > 0 && !is_full(w)) {
		if (!utf8_take(&text, &c))
			continue;
		if (is_line_start)
			is_skipped = c == '>' && !with_quotes;
		is_line_start = c == '\n';
		if (!is_skipped || is_line_start)
			put(w, c);
	}
}

/* --- HTML ----------------------------------------------------------------------------------------
 */
static const struct {
	struct span name;
	uint32_t c;
} entities[] = {{SPAN_INIT("amp;"), '&'}, {SPAN_INIT("lt;"), '<'}, {SPAN_INIT("gt;"), '>'},
    {SPAN_INIT("quot;"), '"'}, {SPAN_INIT("apos;"), '\''}, {SPAN_INIT("nbsp;"), ' '},
    {SPAN_INIT("ndash;"), 0x2013}, {SPAN_INIT("mdash;"), 0x2014}, {SPAN_INIT("hellip;"), 0x2026},
    {SPAN_INIT("rsquo;"), 0x2019}, {SPAN_INIT("zwnj;"), 0x200c}, {SPAN_INIT("shy;"), 0xad}};

/* "#123;" or "#x1f;" */
static bool take_number(struct span *in, uint32_t *c)
{
	struct span rest = *in;
	uint64_t v = 0;

	if (!span_take_chr(&rest, '#'))
		return false;
	if (span_take_iword(&rest, SPAN("x"))) {
		size_t n = 0;

		for (; n < rest.n && n < 6; n++) {
			char x = ascii_lower(rest.p[n]);

			if (ascii_is_digit(x))
				v = v * 16 + (uint64_t)(x - '0');
			else if (x >= 'a' && x <= 'f')
				v = v * 16 + (uint64_t)(x - 'a') + 10;
			else
				break;
		}
		if (n == 0)
			return false;
		rest = span_from(rest, n);
	} else if (!span_take_u64(&rest, 0x10ffff, &v)) {
		return false;
	}
	if (!span_take_chr(&rest, ';') || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
		return false;
	*c = (uint32_t)v;
	*in = rest;
	return true;
}

/* Behind '&'. What is no known entity is text. */
static uint32_t take_entity(struct span *in)
{
	uint32_t c;

	if (take_number(in, &c))
		return c;
	for (size_t i = 0; i < ARRAY_LEN(entities); i++)
		if (span_take_iword(in, entities[i].name))
			return entities[i].c;
	return '&';
}

/* Elements whose contents nobody sees. */
static const struct span hidden[] = {SPAN_INIT("style"), SPAN_INIT("script"), SPAN_INIT("head"),
    SPAN_INIT("title"), SPAN_INIT("template")};

/* What follows "</name"; everything if there is no such end. */
static struct span skip_hidden(struct span in, struct span name)
{
	while (in.n > 0) {
		ssize_t at = span_chr(in, '<');

		if (at < 0)
			break;
		in = span_from(in, (size_t)at + 1);
		if (span_take_chr(&in, '/') && span_istarts(in, name))
			return in;
	}
	return span_sub(in, 0, 0);
}

/* Behind '<': the tag goes. A '>' in an attribute's quotes does not end it. */
static struct span skip_tag(struct span in)
{
	char quote = 0;
	size_t i = 0;

	for (; i < in.n; i++) {
		char c = in.p[i];

		if (quote)
			quote = c == quote ? 0 : quote;
		else if (c == '>')
			break;
		else if ((c == '"' || c == '\'') && i > 0 && in.p[i - 1] == '=')
			quote = c;
	}
	return span_from(in, i + 1);
}

static struct span skip_markup(struct span in)
{
	if (span_istarts(in, SPAN("!--"))) {
		ssize_t end = span_find(in, SPAN("-->"));

		return end < 0 ? span_sub(in, 0, 0) : span_from(in, (size_t)end + 3);
	}
	for (size_t i = 0; i < ARRAY_LEN(hidden); i++) {
		struct span name = span_sub(in, 0, hidden[i].n), rest = span_from(in, name.n);

		if (span_ieq(name, hidden[i]) && rest.n > 0 && !ascii_is_alnum(rest.p[0]))
			return skip_tag(skip_hidden(skip_tag(in), hidden[i]));
	}
	return skip_tag(in);
}

static void put_html(struct writer *w, struct span text)
{
	uint32_t c;

	while (text.n > 0 && !is_full(w)) {
		if (!utf8_take(&text, &c))
			continue;
		if (c == '<' && text.n > 0 &&
		    (ascii_is_alpha(text.p[0]) || text.p[0] == '/' || text.p[0] == '!')) {
			text = skip_markup(text);
			put(w, ' ');
		} else {
			put(w, c == '&' ? take_entity(&text) : c);
		}
	}
}

bool mail_preview(struct strbuf *out, struct span utf8, bool is_html)
{
	struct writer w = {.out = out};

	if (is_html)
		put_html(&w, utf8);
	else
		put_text(&w, utf8, false);
	if (!is_html && w.chars == 0)
		put_text(&w, utf8, true);
	return !out->failed;
}
