/* What of a message has to change, and the change; encode7.c has the encodings. */
#include "smtpd/send/convert.h"

#include "common/base/mem.h"
#include "common/mail/mime.h"
#include "smtpd/send/encode7.h"

/* A header or the body of a leaf, in the order of the message; what is between them belongs to
 * none. */
struct segment {
	uint64_t at, size;
	uint32_t part;
	bool is_header, is_8bit;
	enum encode7 encode; /* the body; for a header: what it has to say */
	bool is_changed;
};

struct convert_plan {
	struct mime_parser *parser; /* the first time */
	struct mime_tree *tree;
	struct segment *segments;
	size_t count, now;
	uint64_t at; /* the second time */
	bool is_8bit, has_utf8_header;
	const char *why;
};

static size_t plain_run(struct span s)
{
	size_t n = 0;

	while (n < s.n && (unsigned char)s.p[n] < 0x80)
		n++;
	return n;
}

/* --- the plan --------------------------------------------------------------------------------- */
struct convert_plan *convert_plan_new(void)
{
	struct convert_plan *p = mem_zalloc(sizeof(*p));

	p->parser = mime_parser_new();
	return p;
}

void convert_plan_free(struct convert_plan *p)
{
	if (!p)
		return;
	if (p->parser)
		mime_parser_free(p->parser);
	mime_tree_free(p->tree);
	mem_free(p->segments);
	mem_free(p);
}

static bool is_leaf(const struct mime_part *part)
{
	return part->first_child == MIME_NONE;
}

/* The segment that at is in, or the next behind it. */
static struct segment *segment_at(struct segment *all, size_t count, size_t *now, uint64_t at)
{
	while (*now < count && at >= all[*now].at + all[*now].size)
		(*now)++;
	return *now < count ? &all[*now] : NULL;
}

/* Bytes from at on that belong together: in a segment, or up to the next. */
static size_t piece_of(const struct segment *s, uint64_t at, size_t n)
{
	uint64_t end = !s ? UINT64_MAX : at < s->at ? s->at : s->at + s->size;

	return end - at < n ? (size_t)(end - at) : n;
}

void convert_plan_feed(struct convert_plan *p, struct span bytes)
{
	if (p->parser) {
		p->is_8bit = p->is_8bit || plain_run(bytes) < bytes.n;
		mime_parser_feed(p->parser, bytes);
		return;
	}
	while (bytes.n > 0) {
		struct segment *s = segment_at(p->segments, p->count, &p->now, p->at);
		size_t n = piece_of(s, p->at, bytes.n);

		if (s && p->at >= s->at && !s->is_8bit)
			s->is_8bit = plain_run(span_sub(bytes, 0, n)) < n;
		p->at += n;
		bytes = span_from(bytes, n);
	}
}

bool convert_plan_look(struct convert_plan *p)
{
	p->tree = mime_parser_finish(p->parser);
	mime_parser_free(p->parser);
	p->parser = NULL;
	p->segments = mem_array(2 * (size_t)p->tree->count, sizeof(*p->segments));
	for (uint32_t i = 0; i < p->tree->count; i++) {
		const struct mime_part *part = &p->tree->parts[i];

		p->segments[p->count++] = (struct segment){
		    .at = part->header_at, .size = part->header_size, .part = i, .is_header = true};
		if (is_leaf(part))
			p->segments[p->count++] = (struct segment){
			    .at = part->body_at, .size = part->body_size, .part = i};
	}
	return p->is_8bit;
}

/* Inside of what is signed or encrypted. */
static bool is_protected(const struct mime_tree *t, uint32_t i)
{
	for (; i != MIME_NONE; i = t->parts[i].parent) {
		const struct mime_part *part = &t->parts[i];

		if (span_ieq(part->type, SPAN("multipart")) &&
		    (span_ieq(part->subtype, SPAN("signed")) ||
			span_ieq(part->subtype, SPAN("encrypted"))))
			return true;
	}
	return false;
}

static bool says(const struct mime_part *part, const char *encoding)
{
	return part->encoding.p && span_ieq(span_trim(part->encoding), span_of(encoding));
}

/* Why a leaf with 8-bit bytes cannot be encoded; NULL if it can. */
static const char *obstacle(const struct mime_tree *t, uint32_t i)
{
	const struct mime_part *part = &t->parts[i];

	if (is_protected(t, i))
		return "it is signed or encrypted";
	if ((part->flags & MIME_OPAQUE) || span_ieq(part->type, SPAN("multipart")))
		return "its parts cannot be told apart";
	if (span_ieq(part->type, SPAN("message")) && !span_istarts(part->subtype, SPAN("global")))
		return "it holds a message with 8-bit text in a form that cannot be encoded";
	if (part->encoding.p && !says(part, "7bit") && !says(part, "8bit") && !says(part, "binary"))
		return "it has 8-bit text where its own encoding has none";
	return NULL;
}

/* What a leaf becomes, and with it its header, which is the segment before. */
static void plan_leaf(struct convert_plan *p, struct segment *header, struct segment *body)
{
	const struct mime_part *part = &p->tree->parts[body->part];
	bool is_text = span_ieq(part->type, SPAN("text")) || span_ieq(part->type, SPAN("message"));

	if (!body->is_8bit && !says(part, "8bit") && !says(part, "binary"))
		return;
	header->is_changed = !is_protected(p->tree, body->part);
	if (!body->is_8bit && !says(part, "binary"))
		return;
	if (body->is_8bit)
		p->why = p->why ? p->why : obstacle(p->tree, body->part);
	if (!header->is_changed)
		return;
	body->is_changed = true;
	header->encode = body->encode = is_text ? ENCODE7_QP : ENCODE7_BASE64;
}

enum convert_status convert_plan_end(struct convert_plan *p)
{
	if (!p->is_8bit)
		return CONVERT_NOTHING;
	for (size_t i = 0; i < p->count; i++) {
		struct segment *s = &p->segments[i];
		const struct mime_part *part = &p->tree->parts[s->part];

		if (s->is_header && s->is_8bit) {
			p->has_utf8_header = true;
			p->why = p->why ? p->why : "its header has 8-bit text";
		}
		if (!s->is_header)
			plan_leaf(p, s - 1, s);
		else if (!is_leaf(part) && (says(part, "8bit") || says(part, "binary")))
			s->is_changed = !is_protected(p->tree, s->part);
	}
	if (p->tree->is_truncated)
		p->why = "it has too many parts";
	for (size_t i = 0; i < p->count && !p->why; i++)
		if (p->segments[i].is_header && p->segments[i].is_changed &&
		    (p->segments[i].size == 0 || p->segments[i].size > CONVERT_HEADER_MAX))
			p->why = "a header of it is too large, or missing";
	return p->why ? CONVERT_IMPOSSIBLE : CONVERT_NEEDED;
}

bool convert_plan_has_utf8_header(const struct convert_plan *p)
{
	return p->has_utf8_header;
}

const char *convert_plan_why(const struct convert_plan *p)
{
	return p->why ? p->why : "";
}

/* --- the change ------------------------------------------------------------------------------- */
struct converter {
	const struct convert_plan *plan;
	uint64_t at;
	size_t now;
	struct strbuf header;
	struct encoder7 encoder;
	bool is_encoding;
};

struct converter *converter_new(const struct convert_plan *p)
{
	struct converter *c = mem_zalloc(sizeof(*c));

	c->plan = p;
	strbuf_init(&c->header, CONVERT_HEADER_MAX + 1);
	return c;
}

void converter_free(struct converter *c)
{
	if (!c)
		return;
	strbuf_clear(&c->header);
	mem_free(c);
}

static const char *encoding_name(enum encode7 e)
{
	return e == ENCODE7_QP ? "quoted-printable" : e == ENCODE7_BASE64 ? "base64" : "7bit";
}

/* A message that never heard of MIME has to now. */
static void add_mime(const struct convert_plan *p, struct span header, struct strbuf *out)
{
	struct mail_field f;

	if (!mail_header_find(header, SPAN("MIME-Version"), &f))
		strbuf_add_str(out, "MIME-Version: 1.0\r\n");
	if (!mail_header_find(header, SPAN("Content-Type"), &f))
		strbuf_add_str(out, "Content-Type: text/plain; charset=unknown-8bit\r\n");
}

static void write_header(struct converter *c, const struct segment *s, struct strbuf *out)
{
	struct span all = strbuf_span(&c->header);
	struct mail_header h;
	struct mail_field f;
	size_t end = 0;

	mail_header_init(&h, all);
	while (mail_header_next(&h, &f)) {
		if (!span_ieq(f.name, SPAN("Content-Transfer-Encoding")))
			strbuf_add(out, span_sub(all, f.offset, f.size));
		end = f.offset + f.size;
	}
	if (s->part == 0)
		add_mime(c->plan, all, out);
	strbuf_addf(out, "Content-Transfer-Encoding: %s\r\n", encoding_name(s->encode));
	strbuf_add(out, span_from(all, end));
	strbuf_reset(&c->header);
}

/* Bytes of no segment, or of one that stays. */
static void add_plain(struct span in, struct strbuf *out)
{
	while (in.n > 0) {
		size_t n = plain_run(in);

		strbuf_add(out, span_sub(in, 0, n));
		if (n < in.n)
			strbuf_add_chr(out, '?');
		in = span_from(in, n + 1);
	}
}

static void take(struct converter *c, const struct segment *s, struct span in, struct strbuf *out)
{
	if (!s->is_changed) {
		add_plain(in, out);
	} else if (s->is_header) {
		strbuf_add(&c->header, in);
		if (c->header.n == s->size)
			write_header(c, s, out);
	} else {
		if (!c->is_encoding)
			encode7_init(&c->encoder, s->encode);
		c->is_encoding = true;
		encode7_feed(&c->encoder, in, out);
	}
}

void converter_feed(struct converter *c, struct span in, struct strbuf *out)
{
	const struct convert_plan *p = c->plan;

	while (in.n > 0) {
		struct segment *s = segment_at(p->segments, p->count, &c->now, c->at);
		bool is_inside = s && c->at >= s->at;
		size_t n = piece_of(s, c->at, in.n);

		if (is_inside)
			take(c, s, span_sub(in, 0, n), out);
		else
			add_plain(span_sub(in, 0, n), out);
		c->at += n;
		in = span_from(in, n);
		if (is_inside && c->is_encoding && c->at == s->at + s->size)
			converter_end(c, out);
	}
}

void converter_end(struct converter *c, struct strbuf *out)
{
	if (c->is_encoding)
		encode7_end(&c->encoder, out);
	c->is_encoding = false;
}
