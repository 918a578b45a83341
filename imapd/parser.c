#include "imapd/parser.h"

#include "common/mail/mutf7.h"
#include "common/store/store.h"

#include <string.h>

bool parse_end(const struct parser *p)
{
	return p->in.n == 0;
}

bool parse_chr(struct parser *p, char c)
{
	return span_take_chr(&p->in, c);
}

bool parse_sp(struct parser *p)
{
	return parse_chr(p, ' ');
}

static bool is_atom_char(char c)
{
	return (unsigned char)c > 0x20 && (unsigned char)c < 0x7f &&
	       span_chr(SPAN("(){%*\"\\]"), c) < 0;
}

static bool take_while(struct parser *p, bool (*is_in)(char c), struct span *out)
{
	size_t n = 0;

	while (n < p->in.n && is_in(p->in.p[n]))
		n++;
	if (n == 0)
		return false;
	*out = span_sub(p->in, 0, n);
	p->in = span_from(p->in, n);
	return true;
}

bool parse_atom(struct parser *p, struct span *out)
{
	return take_while(p, is_atom_char, out);
}

static bool is_word_char(char c)
{
	return (unsigned char)c > 0x20 && c != 0x7f && c != '(' && c != ')';
}

bool parse_word(struct parser *p, struct span *out)
{
	return take_while(p, is_word_char, out);
}

/* Where a quoted string ends that begins at in: the index of its second '"', or -1. */
static ssize_t quoted_end(struct span in, bool *has_escapes)
{
	*has_escapes = false;
	for (size_t i = 1; i < in.n; i++) {
		char c = in.p[i];

		if (c == '"')
			return (ssize_t)i;
		if (c == '\r' || c == '\n')
			return -1;
		if (c != '\\')
			continue;
		*has_escapes = true;
		if (++i == in.n || (in.p[i] != '"' && in.p[i] != '\\'))
			return -1;
	}
	return -1;
}

static bool parse_quoted(struct parser *p, struct span *out)
{
	bool has_escapes;
	ssize_t end = quoted_end(p->in, &has_escapes);
	struct span raw;
	char *to;
	size_t n = 0;

	if (end < 0)
		return false;
	raw = span_sub(p->in, 1, (size_t)end - 1);
	if (has_escapes) {
		to = arena_alloc(p->arena, raw.n);
		if (!to)
			return false;
		for (size_t i = 0; i < raw.n; i++) {
			if (raw.p[i] == '\\')
				i++;
			to[n++] = raw.p[i];
		}
		raw = span_make(to, n);
	}
	*out = raw;
	p->in = span_from(p->in, (size_t)end + 1);
	return true;
}

static bool parse_literal(struct parser *p, struct span *out)
{
	struct span in = p->in;
	uint64_t n;

	if (!span_take_chr(&in, '{') || !span_take_u64(&in, UINT32_MAX, &n))
		return false;
	span_take_chr(&in, '+');
	if (!span_take_iword(&in, SPAN("}\r\n")) || in.n < n)
		return false;
	*out = span_sub(in, 0, (size_t)n);
	p->in = span_from(in, (size_t)n);
	return true;
}

bool parse_string(struct parser *p, struct span *out)
{
	if (p->in.n > 0 && p->in.p[0] == '"')
		return parse_quoted(p, out);
	return parse_literal(p, out);
}

static bool is_astring_char(char c)
{
	return is_atom_char(c) || c == ']';
}

bool parse_astring(struct parser *p, struct span *out)
{
	if (p->in.n > 0 && (p->in.p[0] == '"' || p->in.p[0] == '{'))
		return parse_string(p, out);
	return take_while(p, is_astring_char, out);
}

bool parse_nstring(struct parser *p, struct span *out)
{
	if (span_take_iword(&p->in, SPAN("NIL"))) {
		*out = (struct span){NULL, 0};
		return true;
	}
	return parse_string(p, out);
}

static bool is_list_char(char c)
{
	return is_astring_char(c) || c == '*' || c == '%';
}

bool parse_list_mailbox(struct parser *p, struct span *out)
{
	if (p->in.n > 0 && (p->in.p[0] == '"' || p->in.p[0] == '{'))
		return parse_string(p, out);
	return take_while(p, is_list_char, out);
}

bool parse_number(struct parser *p, uint64_t max, uint64_t *out)
{
	return span_take_u64(&p->in, max, out);
}

bool parse_nz_number(struct parser *p, uint32_t *out)
{
	uint64_t v;

	if (!parse_number(p, UINT32_MAX, &v) || v == 0)
		return false;
	*out = (uint32_t)v;
	return true;
}

bool parse_mailbox(struct parser *p, struct span *out)
{
	struct span raw;
	struct strbuf utf8;
	bool is_good;

	if (!parse_astring(p, &raw) || raw.n > 4 * STORE_NAME_MAX)
		return false;
	if (p->is_utf8)
		return arena_copy(p->arena, raw, out);
	strbuf_init(&utf8, 8 * STORE_NAME_MAX);
	/* Clients that never learnt modified UTF-7 send UTF-8: meant well, and unmistakable. */
	is_good = mail_mutf7_to_utf8(&utf8, raw) || strbuf_add(&utf8, raw);
	is_good = is_good && arena_copy(p->arena, strbuf_span(&utf8), out);
	strbuf_clear(&utf8);
	return is_good;
}

static bool parse_seq_number(struct parser *p, uint32_t *out)
{
	if (parse_chr(p, '*')) {
		*out = 0;
		return true;
	}
	return parse_nz_number(p, out);
}

static size_t count_ranges(struct span in)
{
	size_t n = 1;

	for (size_t i = 0; i < in.n && in.p[i] != ' ' && in.p[i] != ')'; i++)
		n += in.p[i] == ',';
	return n;
}

bool parse_sequence(struct parser *p, struct sequence *out)
{
	size_t max = count_ranges(p->in);

	*out = (struct sequence){0};
	out->is_saved = parse_chr(p, '$');
	if (out->is_saved)
		return true;
	if (max > SEQUENCE_RANGES_MAX)
		return false;
	out->r = arena_array(p->arena, max, sizeof(*out->r));
	if (!out->r)
		return false;
	do {
		struct uid_range *r = &out->r[out->n];

		if (out->n == max || !parse_seq_number(p, &r->first))
			return false;
		r->last = r->first;
		if (parse_chr(p, ':') && !parse_seq_number(p, &r->last))
			return false;
		out->n++;
	} while (parse_chr(p, ','));
	return true;
}

static const struct {
	struct span name;
	uint32_t flag;
} system_flags[] = {
    {SPAN_INIT("\\Seen"), FLAG_SEEN}, {SPAN_INIT("\\Answered"), FLAG_ANSWERED},
    {SPAN_INIT("\\Flagged"), FLAG_FLAGGED}, {SPAN_INIT("\\Deleted"), FLAG_DELETED},
    {SPAN_INIT("\\Draft"), FLAG_DRAFT},
    {SPAN_INIT("\\Recent"), 0}, /* cannot be set; asking for it changes nothing */
};

static bool is_keyword(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_astring_char(s.p[i]))
			return false;
	return s.n > 0 && s.n <= STORE_KEYWORD_LEN_MAX;
}

static bool add_flag(struct flag_list *f, struct span word)
{
	for (size_t i = 0; i < sizeof(system_flags) / sizeof(system_flags[0]); i++) {
		if (span_ieq(word, system_flags[i].name)) {
			f->flags |= system_flags[i].flag;
			return true;
		}
	}
	if (!is_keyword(word) || f->keyword_count == FLAG_LIST_MAX)
		return false;
	f->keywords[f->keyword_count++] = word;
	return true;
}

bool parse_flags_bare(struct parser *p, struct flag_list *out)
{
	struct span word;

	*out = (struct flag_list){
	    .keywords = arena_array(p->arena, FLAG_LIST_MAX, sizeof(struct span))};
	if (!out->keywords)
		return false;
	do {
		if (!parse_word(p, &word) || !add_flag(out, word))
			return false;
	} while (parse_sp(p));
	return true;
}

bool parse_flag_list(struct parser *p, struct flag_list *out)
{
	*out = (struct flag_list){0};
	if (!parse_chr(p, '('))
		return false;
	if (parse_chr(p, ')'))
		return true;
	return parse_flags_bare(p, out) && parse_chr(p, ')');
}

bool parse_astring_list(struct parser *p, size_t max, struct span **out, size_t *count)
{
	*count = 0;
	if (!parse_chr(p, '('))
		return false;
	*out = arena_array(p->arena, max, sizeof(**out));
	if (!*out)
		return false;
	do {
		if (*count == max || !parse_astring(p, &(*out)[*count]))
			return false;
		(*count)++;
	} while (parse_sp(p));
	return parse_chr(p, ')');
}
