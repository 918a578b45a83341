#include "common/mail/downgrade.h"

#include "common/base/base64.h"
#include "common/base/utf8.h"
#include "common/mail/address.h"
#include "common/mail/header.h"
#include "common/mail/lex.h"
#include "common/mail/mime.h"
#include "common/mail/words.h"

#include <string.h>

#define LINE 76            /* RFC 2047 section 2: of a line with encoded words in it */
#define WORD_BYTES 45      /* in one encoded word: it has at most 75 characters then */
#define WORD_FRAME 12      /* "=?utf-8?B?" and "?=" */
#define WORD_LEAST 9       /* bytes for which a word is begun on a line that has begun */
#define PARAM_PIECE_MAX 48 /* characters of a parameter's value on one line */

static const char invalid[] = "<invalid@internationalized-address.invalid>";

/* A field being written, in lines of bearable length. */
struct fold {
	struct strbuf *out;
	size_t column;
};

/* White space and s, which holds no line break; on a new line where this one is full. */
static void add_piece(struct fold *f, struct span s)
{
	if (f->column > 1 && f->column + 1 + s.n > LINE) {
		strbuf_add(f->out, SPAN("\r\n "));
		f->column = 1;
	} else {
		strbuf_add_chr(f->out, ' ');
		f->column++;
	}
	strbuf_add(f->out, s);
	f->column += s.n;
}

/* Right behind the last piece. */
static void add_mark(struct fold *f, char c)
{
	strbuf_add_chr(f->out, c);
	f->column++;
}

/* --- encoded words ------------------------------------------------------------------------------
 */
/* As many whole characters of valid UTF-8 as fit in max bytes, one at least. */
static struct span take_chars(struct span *text, size_t max)
{
	struct span left = *text, out = *text;
	uint32_t c;

	out.n = 0;
	while (left.n > 0) {
		struct span before = left;

		if (!utf8_take(&left, &c))
			left = span_from(before, 1);
		if (out.n > 0 && out.n + (before.n - left.n) > max)
			break;
		out.n += before.n - left.n;
	}
	*text = span_from(*text, out.n);
	return out;
}

static void add_words(struct fold *f, struct span text)
{
	struct strbuf word;

	strbuf_init(&word, WORD_FRAME + BASE64_ENCODED_LEN(WORD_BYTES));
	while (text.n > 0) {
		size_t used = f->column + 1 + WORD_FRAME;
		size_t room = used < LINE ? (LINE - used) / 4 * 3 : 0;

		if (room < WORD_LEAST || room > WORD_BYTES)
			room = WORD_BYTES;
		strbuf_reset(&word);
		strbuf_add(&word, SPAN("=?utf-8?B?"));
		base64_encode(&word, take_chars(&text, room));
		strbuf_add(&word, SPAN("?="));
		add_piece(f, strbuf_span(&word));
	}
	strbuf_clear(&word);
}

/* Subject and its like; what was in encoded words already is encoded again with the rest. */
static void write_text(struct fold *f, struct span value)
{
	struct strbuf text;

	strbuf_init(&text, 4 * value.n + 64);
	mail_words_decode(&text, value);
	add_words(f, strbuf_span(&text));
	strbuf_clear(&text);
}

/* --- addresses ----------------------------------------------------------------------------------
 */
/* Atom characters, and the one that may stand between them. */
static bool is_atoms(struct span s, char also)
{
	for (size_t i = 0; i < s.n; i++)
		if (!mail_is_atext(s.p[i]) && s.p[i] != also)
			return false;
	return s.n > 0;
}

/* ASCII, as a quoted string unless it is words. */
static void add_quoted(struct strbuf *b, struct span s, char also)
{
	if (is_atoms(s, also)) {
		strbuf_add(b, s);
		return;
	}
	strbuf_add_chr(b, '"');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"' || s.p[i] == '\\')
			strbuf_add_chr(b, '\\');
		strbuf_add_chr(b, ascii_is_ctl(s.p[i]) ? ' ' : s.p[i]);
	}
	strbuf_add_chr(b, '"');
}

static void write_phrase(struct fold *f, struct span name)
{
	struct strbuf text, quoted;

	strbuf_init(&text, 4 * name.n + 64);
	mail_words_decode(&text, name);
	if (!utf8_is_ascii(strbuf_span(&text))) {
		add_words(f, strbuf_span(&text));
	} else {
		strbuf_init(&quoted, 2 * text.n + 2);
		add_quoted(&quoted, strbuf_span(&text), ' ');
		add_piece(f, strbuf_span(&quoted));
		strbuf_clear(&quoted);
	}
	strbuf_clear(&text);
}

static bool can_stand(struct span domain)
{
	for (size_t i = 0; i < domain.n; i++)
		if (domain.p[i] <= ' ' || domain.p[i] >= 0x7f || strchr("<>,;\"", domain.p[i]))
			return false;
	return domain.n > 0;
}

static void write_address(struct fold *f, const struct mail_entry *e)
{
	struct strbuf text;
	bool is_invalid = e->bad || !utf8_is_ascii(e->local) || !can_stand(e->domain);

	strbuf_init(&text, 2 * (e->local.n + e->domain.n) + 8);
	if (!is_invalid) {
		strbuf_add_chr(&text, '<');
		add_quoted(&text, e->local, '.');
		strbuf_add_chr(&text, '@');
		strbuf_add(&text, e->domain);
		strbuf_add_chr(&text, '>');
	} else if (e->name.n == 0) {
		strbuf_add(&text, e->local);
		if (!e->bad) {
			strbuf_add_chr(&text, '@');
			strbuf_add(&text, e->domain);
		}
	}
	if (e->name.n > 0)
		write_phrase(f, e->name);
	else if (is_invalid)
		write_phrase(f, strbuf_span(&text));
	add_piece(f, is_invalid ? span_of(invalid) : strbuf_span(&text));
	strbuf_clear(&text);
}

static void write_addresses(struct fold *f, struct span value)
{
	struct mail_list list;
	struct mail_entry e;
	bool needs_comma = false;

	mail_list_init(&list, value);
	while (mail_list_next(&list, &e)) {
		/* Nothing between two commas. */
		if (e.bad && e.name.n == 0 && span_eq(e.local, SPAN("MISSING_MAILBOX")))
			continue;
		if (e.kind == MAIL_ENTRY_GROUP_END) {
			add_mark(f, ';');
			needs_comma = true;
			continue;
		}
		if (needs_comma)
			add_mark(f, ',');
		needs_comma = e.kind == MAIL_ENTRY_MAILBOX;
		if (needs_comma) {
			write_address(f, &e);
		} else {
			write_phrase(f, e.local);
			add_mark(f, ':');
		}
	}
	mail_list_clear(&list);
}

/* --- parameters ---------------------------------------------------------------------------------
 */
/* RFC 2231: what stands for itself. */
static bool is_attribute_chr(char c)
{
	return (unsigned char)c < 0x80 && (ascii_is_alnum(c) || strchr("!#$&+-.^_`{|}~", c)) && c;
}

static void add_percent(struct strbuf *b, char c)
{
	if (is_attribute_chr(c))
		strbuf_add_chr(b, c);
	else
		strbuf_addf(b, "%%%02X", (unsigned char)c);
}

/* "name*=utf-8''...", or "name*0*=..." and so on where it is long. */
static void write_extended(struct fold *f, const struct mime_param *p)
{
	struct span left = p->value;
	struct strbuf piece;
	size_t part = 0;

	strbuf_init(&piece, p->name.n + 128);
	do {
		bool is_long = part > 0 || left.n * 3 > PARAM_PIECE_MAX;
		size_t start;

		strbuf_reset(&piece);
		strbuf_add(&piece, p->name);
		if (is_long)
			strbuf_addf(&piece, "*%zu", part);
		strbuf_add(&piece, part == 0 ? SPAN("*=utf-8''") : SPAN("*="));
		for (start = piece.n; left.n > 0 && piece.n - start < PARAM_PIECE_MAX - 2;
		     left = span_from(left, 1))
			add_percent(&piece, left.p[0]);
		add_mark(f, ';');
		add_piece(f, strbuf_span(&piece));
		part++;
	} while (left.n > 0 && !piece.failed);
	strbuf_clear(&piece);
}

static void write_param(struct fold *f, const struct mime_param *p)
{
	struct strbuf piece;

	if (!utf8_is_ascii(p->name))
		return;
	if (!utf8_is_ascii(p->value)) {
		if (!span_ieq(p->name, SPAN("boundary")) && utf8_is_valid(p->value))
			write_extended(f, p);
		return;
	}
	strbuf_init(&piece, p->name.n + 2 * p->value.n + 8);
	strbuf_add(&piece, p->name);
	strbuf_add_chr(&piece, '=');
	/* A star asks for a value without quotes. */
	if (span_ends(p->name, SPAN("*")))
		strbuf_add(&piece, p->value);
	else
		add_quoted(&piece, p->value, '-');
	add_mark(f, ';');
	add_piece(f, strbuf_span(&piece));
	strbuf_clear(&piece);
}

static void write_params(struct fold *f, struct span value)
{
	struct mime_value v;
	struct mime_param p;
	struct span token;

	mime_value_init(&v, value);
	token = mime_value_token(&v);
	if (token.n > 0 && utf8_is_ascii(token)) {
		add_piece(f, token);
		while (mime_value_next(&v, &p))
			write_param(f, &p);
	}
	mime_value_clear(&v);
}

/* --- fields -------------------------------------------------------------------------------------
 */
enum form { FORM_NONE, FORM_TEXT, FORM_ADDRESSES, FORM_PARAMS };

static const struct {
	struct span name;
	enum form form;
} forms[] = {
    {SPAN_INIT("subject"), FORM_TEXT},
    {SPAN_INIT("comments"), FORM_TEXT},
    {SPAN_INIT("content-description"), FORM_TEXT},
    {SPAN_INIT("from"), FORM_ADDRESSES},
    {SPAN_INIT("sender"), FORM_ADDRESSES},
    {SPAN_INIT("reply-to"), FORM_ADDRESSES},
    {SPAN_INIT("to"), FORM_ADDRESSES},
    {SPAN_INIT("cc"), FORM_ADDRESSES},
    {SPAN_INIT("bcc"), FORM_ADDRESSES},
    {SPAN_INIT("resent-from"), FORM_ADDRESSES},
    {SPAN_INIT("resent-sender"), FORM_ADDRESSES},
    {SPAN_INIT("resent-reply-to"), FORM_ADDRESSES},
    {SPAN_INIT("resent-to"), FORM_ADDRESSES},
    {SPAN_INIT("resent-cc"), FORM_ADDRESSES},
    {SPAN_INIT("resent-bcc"), FORM_ADDRESSES},
    {SPAN_INIT("content-type"), FORM_PARAMS},
    {SPAN_INIT("content-disposition"), FORM_PARAMS},
};

static enum form form_of(struct span name)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if (span_ieq(name, forms[i].name))
			return forms[i].form;
	return FORM_NONE;
}

static void write_field(struct strbuf *out, const struct mail_field *field)
{
	struct fold f = {.out = out, .column = field->name.n + 1};
	enum form form = form_of(field->name);
	size_t start = out->n, begun = f.column;

	if (form == FORM_NONE)
		return;
	strbuf_add(out, field->name);
	strbuf_add_chr(out, ':');
	if (form == FORM_TEXT)
		write_text(&f, field->value);
	else if (form == FORM_ADDRESSES)
		write_addresses(&f, field->value);
	else
		write_params(&f, field->value);
	strbuf_add(out, SPAN("\r\n"));
	if (f.column == begun)
		strbuf_truncate(out, start);
}

bool mail_downgrade_header(struct strbuf *out, struct span header)
{
	struct mail_header h = {header, 0};
	struct mail_field f;

	while (mail_header_next(&h, &f)) {
		struct span raw = span_sub(header, f.offset, f.size);

		if (utf8_is_ascii(raw))
			strbuf_add(out, raw);
		else
			write_field(out, &f);
	}
	/* The empty line, as it stands. */
	return strbuf_add(out, span_from(header, h.at)) && !out->failed;
}
