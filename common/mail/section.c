#include "common/mail/section.h"

static const struct {
	struct span name;
	enum mail_section_kind kind;
} kinds[] = {
    {SPAN_INIT("HEADER"), MAIL_SECTION_HEADER},
    {SPAN_INIT("TEXT"), MAIL_SECTION_TEXT},
    {SPAN_INIT("MIME"), MAIL_SECTION_MIME},
    {SPAN_INIT("HEADER.FIELDS"), MAIL_SECTION_FIELDS},
    {SPAN_INIT("HEADER.FIELDS.NOT"), MAIL_SECTION_FIELDS_NOT},
};

bool mail_section_parse(struct span text, struct mail_section *out)
{
	*out = (struct mail_section){.kind = MAIL_SECTION_WHOLE};
	if (!text.n)
		return true;
	while (text.n && ascii_is_digit(text.p[0])) {
		uint64_t v;

		if (out->count == MIME_DEPTH_MAX || text.p[0] == '0' ||
		    !span_take_u64(&text, UINT32_MAX, &v))
			return false;
		out->part[out->count++] = (uint32_t)v;
		if (!text.n)
			return true;
		if (!span_take_chr(&text, '.'))
			return false;
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!span_ieq(text, kinds[i].name))
			continue;
		out->kind = kinds[i].kind;
		return out->kind != MAIL_SECTION_MIME || out->count;
	}
	return false;
}

static uint32_t nth_child(const struct mime_tree *t, uint32_t parent, uint32_t number)
{
	uint32_t i = t->parts[parent].first_child;

	while (i != MIME_NONE && --number)
		i = t->parts[i].next;
	return i;
}

uint32_t mail_section_part(const struct mime_tree *t, const uint32_t *part, size_t count)
{
	uint32_t at = 0;
	bool is_message = true; /* at is seen as a message, not as a part of one */

	for (size_t i = 0; i < count; i++) {
		const struct mime_part *p = &t->parts[at];

		if (!part[i])
			return MIME_NONE;
		if (!is_message && (p->flags & MIME_MESSAGE)) {
			at = p->first_child;
			if (at == MIME_NONE)
				return MIME_NONE;
			p = &t->parts[at];
			is_message = true;
		}
		if (p->flags & MIME_MULTIPART)
			at = nth_child(t, at, part[i]);
		else if (!is_message || part[i] != 1)
			return MIME_NONE;
		if (at == MIME_NONE)
			return MIME_NONE;
		is_message = false;
	}
	return at;
}

bool mail_section_is_placeholder(const struct mime_tree *t, const uint32_t *part, size_t count)
{
	uint32_t parent;

	if (!count || part[count - 1] != 1)
		return false;
	parent = mail_section_part(t, part, count - 1);
	if (parent == MIME_NONE)
		return false;
	/* A multipart that is a message is meant by the message's own number. */
	if (count > 1 && (t->parts[parent].flags & MIME_MESSAGE))
		parent = t->parts[parent].first_child;
	return parent != MIME_NONE && (t->parts[parent].flags & MIME_MULTIPART) &&
	       t->parts[parent].first_child == MIME_NONE;
}

static bool give(uint64_t at, uint64_t n, uint64_t *offset, uint64_t *size)
{
	*offset = at;
	*size = n;
	return true;
}

bool mail_section_find(
    const struct mime_tree *t, const struct mail_section *s, uint64_t *offset, uint64_t *size)
{
	uint32_t at = mail_section_part(t, s->part, s->count);
	const struct mime_part *p;

	if (at == MIME_NONE && (s->kind == MAIL_SECTION_WHOLE || s->kind == MAIL_SECTION_MIME) &&
	    mail_section_is_placeholder(t, s->part, s->count))
		return give(0, 0, offset, size);
	if (at == MIME_NONE)
		return false;
	p = &t->parts[at];
	if (s->kind == MAIL_SECTION_WHOLE)
		return s->count ? give(p->body_at, p->body_size, offset, size)
				: give(0, t->size, offset, size);
	if (s->kind == MAIL_SECTION_MIME)
		return s->count && give(p->header_at, p->header_size, offset, size);
	if (s->count) {
		if (!(p->flags & MIME_MESSAGE) || p->first_child == MIME_NONE)
			return false;
		p = &t->parts[p->first_child];
	}
	if (s->kind == MAIL_SECTION_TEXT)
		return give(p->body_at, p->body_size, offset, size);
	return give(p->header_at, p->header_size, offset, size);
}
