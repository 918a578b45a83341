/* The arguments of FETCH. */
#include "common/mail/imapstr.h"
#include "imapd/fetch.h"

#include "common/base/mem.h"

/* PEEK, or nothing that is read. */
#define QUIET 1u
/* The snapshot of the mailbox answers it. */
#define IN_SNAPSHOT 2u
/* The cache row does. */
#define IN_CACHE 4u

static const struct {
	struct span name;
	enum fetch_kind kind;
	unsigned flags;
} plain_items[] = {
    {SPAN_INIT("FLAGS"), FETCH_FLAGS, QUIET | IN_SNAPSHOT},
    {SPAN_INIT("UID"), FETCH_UID, QUIET | IN_SNAPSHOT},
    {SPAN_INIT("INTERNALDATE"), FETCH_INTERNALDATE, QUIET | IN_SNAPSHOT},
    {SPAN_INIT("RFC822.SIZE"), FETCH_SIZE, QUIET | IN_SNAPSHOT},
    {SPAN_INIT("MODSEQ"), FETCH_MODSEQ, QUIET | IN_SNAPSHOT},
    {SPAN_INIT("SAVEDATE"), FETCH_SAVEDATE, QUIET | IN_SNAPSHOT},
    {SPAN_INIT("EMAILID"), FETCH_EMAILID, QUIET | IN_SNAPSHOT},
    {SPAN_INIT("THREADID"), FETCH_THREADID, QUIET},
    {SPAN_INIT("ENVELOPE"), FETCH_ENVELOPE, QUIET | IN_CACHE},
    {SPAN_INIT("BODY"), FETCH_BODY, QUIET | IN_CACHE},
    {SPAN_INIT("BODYSTRUCTURE"), FETCH_BODYSTRUCTURE, QUIET | IN_CACHE},
};

static const struct {
	struct span name;
	enum mail_section_kind kind;
	bool is_quiet;
} rfc822_items[] = {
    {SPAN_INIT("RFC822"), MAIL_SECTION_WHOLE, false},
    {SPAN_INIT("RFC822.HEADER"), MAIL_SECTION_HEADER, true},
    {SPAN_INIT("RFC822.TEXT"), MAIL_SECTION_TEXT, false},
};

static const struct {
	struct span name;
	enum fetch_kind kind;
	bool is_quiet;
} section_items[] = {
    {SPAN_INIT("BODY["), FETCH_SECTION, false},
    {SPAN_INIT("BODY.PEEK["), FETCH_SECTION, true},
    {SPAN_INIT("BINARY["), FETCH_BINARY, false},
    {SPAN_INIT("BINARY.PEEK["), FETCH_BINARY, true},
    {SPAN_INIT("BINARY.SIZE["), FETCH_BINARY_SIZE, true},
};

static const struct {
	struct span name;
	size_t count; /* of plain items, in this order */
	struct span items[5];
} macros[] = {
    {SPAN_INIT("ALL"), 4,
	{SPAN_INIT("FLAGS"), SPAN_INIT("INTERNALDATE"), SPAN_INIT("RFC822.SIZE"),
	    SPAN_INIT("ENVELOPE")}},
    {SPAN_INIT("FAST"), 3,
	{SPAN_INIT("FLAGS"), SPAN_INIT("INTERNALDATE"), SPAN_INIT("RFC822.SIZE")}},
    {SPAN_INIT("FULL"), 5,
	{SPAN_INIT("FLAGS"), SPAN_INIT("INTERNALDATE"), SPAN_INIT("RFC822.SIZE"),
	    SPAN_INIT("ENVELOPE"), SPAN_INIT("BODY")}},
};

static struct fetch_item *add_item(
    struct parser *p, struct fetch_request *rq, enum fetch_kind kind, struct span label)
{
	struct fetch_item *it = arena_alloc(p->arena, sizeof(*it));

	if (!it)
		return NULL;
	it->kind = kind;
	it->label = label;
	if (rq->last)
		rq->last->next = it;
	else
		rq->first = it;
	rq->last = it;
	return it;
}

static bool add_plain(struct parser *p, struct fetch_request *rq, struct span name)
{
	for (size_t i = 0; i < ARRAY_LEN(plain_items); i++) {
		if (!span_ieq(name, plain_items[i].name))
			continue;
		rq->needs_store |= !(plain_items[i].flags & IN_SNAPSHOT);
		rq->needs_cache |= (plain_items[i].flags & IN_CACHE) != 0;
		rq->needs_content |=
		    plain_items[i].kind == FETCH_SIZE || (plain_items[i].flags & IN_CACHE) != 0;
		rq->has_modseq |= plain_items[i].kind == FETCH_MODSEQ;
		return add_item(p, rq, plain_items[i].kind, plain_items[i].name) != NULL;
	}
	for (size_t i = 0; i < ARRAY_LEN(rfc822_items); i++) {
		struct fetch_item *it;

		if (!span_ieq(name, rfc822_items[i].name))
			continue;
		it = add_item(p, rq, FETCH_SECTION, rfc822_items[i].name);
		if (!it)
			return false;
		it->section.kind = rfc822_items[i].kind;
		rq->needs_store = rq->needs_content = rq->needs_body = true;
		rq->needs_cache |= it->section.kind != MAIL_SECTION_WHOLE;
		rq->sets_seen |= !rfc822_items[i].is_quiet;
		return true;
	}
	return false;
}

static bool is_name_char(char c)
{
	return ascii_is_alnum(c) || c == '.';
}

static struct span take_name(struct span *in)
{
	size_t n = 0;
	struct span name;

	while (n < in->n && is_name_char(in->p[n]))
		n++;
	name = span_sub(*in, 0, n);
	*in = span_from(*in, n);
	return name;
}

/* "BODY[HEADER.FIELDS (From To)]" for the answer. */
static bool make_label(struct parser *p, struct fetch_item *it, struct span word, struct span text)
{
	struct strbuf b;
	bool is_good;

	strbuf_init(&b, COMMAND_MAX);
	strbuf_add(&b, word);
	for (size_t i = 0; i < text.n; i++)
		strbuf_add_chr(&b, ascii_upper(text.p[i]));
	for (size_t i = 0; i < it->field_count; i++) {
		strbuf_add(&b, i ? SPAN(" ") : SPAN(" ("));
		mail_write_astring(&b, it->fields[i]);
	}
	strbuf_add(&b, it->field_count ? SPAN(")]") : SPAN("]"));
	is_good = !b.failed && arena_copy(p->arena, strbuf_span(&b), &it->label);
	strbuf_clear(&b);
	return is_good;
}

/* "<origin.length>" */
static bool parse_partial(struct parser *p, struct fetch_item *it)
{
	uint64_t at;

	if (!parse_chr(p, '<'))
		return true;
	if (!parse_number(p, UINT32_MAX, &at) || !parse_chr(p, '.') ||
	    !parse_nz_number(p, &it->partial_n) || !parse_chr(p, '>'))
		return false;
	it->partial_at = (uint32_t)at;
	it->has_partial = true;
	return true;
}

/* What follows "BODY[" and the like. */
static bool parse_section(struct parser *p, struct fetch_item *it, struct span word)
{
	struct span text = take_name(&p->in);
	bool has_fields;

	if (!mail_section_parse(text, &it->section))
		return false;
	has_fields =
	    it->section.kind == MAIL_SECTION_FIELDS || it->section.kind == MAIL_SECTION_FIELDS_NOT;
	if (has_fields && (!parse_sp(p) || !parse_astring_list(
					       p, FETCH_FIELDS_MAX, &it->fields, &it->field_count)))
		return false;
	it->is_kept = it->section.kind == MAIL_SECTION_FIELDS && it->section.count == 0 &&
		      cache_keeps(it->fields, it->field_count);
	if (!parse_chr(p, ']') || !make_label(p, it, word, text))
		return false;
	if (it->kind == FETCH_SECTION)
		return parse_partial(p, it);
	/* RFC 3516: numbers only. */
	if (it->section.kind != MAIL_SECTION_WHOLE)
		return false;
	return it->kind == FETCH_BINARY_SIZE || parse_partial(p, it);
}

/* "PREVIEW" or "PREVIEW (LAZY)" (RFC 8970). */
static bool parse_preview(struct parser *p, struct fetch_request *rq)
{
	struct fetch_item *it = add_item(p, rq, FETCH_PREVIEW, SPAN("PREVIEW"));

	if (!it)
		return false;
	rq->needs_store = rq->needs_content = true;
	if (!span_take_iword(&p->in, SPAN(" ("))) {
		rq->needs_body = true;
		return true;
	}
	it->is_lazy = true;
	return span_take_iword(&p->in, SPAN("LAZY)"));
}

static bool parse_item(struct parser *p, struct fetch_request *rq)
{
	struct span name;

	for (size_t i = 0; i < ARRAY_LEN(section_items); i++) {
		struct fetch_item *it;
		enum fetch_kind kind = section_items[i].kind;
		/* PEEK is not told back. */
		struct span word = kind == FETCH_SECTION  ? SPAN("BODY[")
				   : kind == FETCH_BINARY ? SPAN("BINARY[")
							  : SPAN("BINARY.SIZE[");

		if (!span_take_iword(&p->in, section_items[i].name))
			continue;
		it = add_item(p, rq, kind, word);
		rq->needs_store = rq->needs_content = true;
		rq->needs_binary |= kind != FETCH_SECTION;
		rq->sets_seen |= !section_items[i].is_quiet;
		if (!it || !parse_section(p, it, word))
			return false;
		rq->needs_cache |= it->section.count || it->section.kind != MAIL_SECTION_WHOLE;
		rq->needs_fields |= it->is_kept;
		rq->needs_body |= !it->is_kept;
		return true;
	}
	name = take_name(&p->in);
	if (span_ieq(name, SPAN("PREVIEW")))
		return parse_preview(p, rq);
	return add_plain(p, rq, name);
}

static bool parse_macro(struct parser *p, struct fetch_request *rq)
{
	struct span rest = p->in;
	struct span name = take_name(&rest);

	for (size_t i = 0; i < ARRAY_LEN(macros); i++) {
		if (!span_ieq(name, macros[i].name))
			continue;
		for (size_t k = 0; k < macros[i].count; k++)
			if (!add_plain(p, rq, macros[i].items[k]))
				return false;
		p->in = rest;
		return true;
	}
	return false;
}

bool fetch_parse_items(struct parser *p, struct fetch_request *rq)
{
	if (parse_macro(p, rq))
		return true;
	if (!parse_chr(p, '('))
		return parse_item(p, rq);
	do {
		if (!parse_item(p, rq))
			return false;
	} while (parse_sp(p));
	return parse_chr(p, ')');
}

bool fetch_parse_modifiers(struct parser *p, struct fetch_request *rq)
{
	if (parse_end(p))
		return true;
	if (!span_take_iword(&p->in, SPAN(" (")))
		return false;
	do {
		if (span_take_iword(&p->in, SPAN("CHANGEDSINCE "))) {
			/* RFC 7162 wants 1 at least; 0 is what clients send that know nothing. */
			if (rq->has_changedsince || !parse_number(p, INT64_MAX, &rq->changedsince))
				return false;
			rq->has_changedsince = true;
		} else if (span_take_iword(&p->in, SPAN("VANISHED"))) {
			rq->wants_vanished = true;
		} else {
			return false;
		}
	} while (parse_sp(p));
	if (!parse_chr(p, ')') || !parse_end(p) || (rq->wants_vanished && !rq->has_changedsince))
		return false;
	/* Who asks for changes is told how far they go. */
	return rq->has_modseq || !rq->has_changedsince || add_plain(p, rq, SPAN("MODSEQ"));
}
