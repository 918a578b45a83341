/*
 * The MIME parser. It works on lines and keeps of a line only what a boundary could be; a part is
 * opened when its header begins and closed when a boundary of an outer part, or the end, comes.
 */
#include "common/mail/mime.h"
#include "common/base/mem.h"
#include "common/mail/mime_int.h"

#include <string.h>

#define LINE_MAX_KEPT (2 + MIME_BOUNDARY_MAX + 2) /* "--", boundary, "--" */

/* An open multipart. Its boundary stands in parser.boundaries. */
struct level {
	uint32_t part;
	size_t at, n;
};

struct mime_parser {
	struct mime_tree *tree;
	uint32_t cur;        /* part that the bytes belong to */
	bool in_header;      /* of cur */
	bool header_is_long; /* header was cut at MAIL_HEADER_MAX */
	bool line_is_kept;   /* the line so far may be a boundary */
	char last[2];        /* the two bytes before pos, newest first */
	uint64_t pos;        /* of the next byte */
	uint64_t lines;      /* line ends before the current line */
	uint64_t line_at;    /* where the current line starts ... */
	uint64_t before_at;  /* ... and where the text of the line before it ended */
	uint64_t steps;
	struct strbuf line;                  /* first bytes of the current line */
	struct strbuf header;                /* of cur */
	size_t header_line;                  /* where the current line starts in it */
	struct strbuf boundaries;            /* of the levels, one behind the other */
	struct strbuf boundary;              /* scratch */
	uint32_t newest[MIME_DEPTH_MAX + 1]; /* by depth: the last part there */
	struct level levels[MIME_DEPTH_MAX];
	size_t level_count;
};

/* Until the header or body ends, its line count holds the number of lines before it. */
static void open_part(struct mime_parser *p, uint32_t parent, uint64_t at, uint64_t lines)
{
	struct mime_tree *t = p->tree;
	uint32_t i = t->count, before = MIME_NONE;
	uint16_t depth = 0;

	mime_tree_add_part(t);
	if (parent != MIME_NONE) {
		depth = (uint16_t)(t->parts[parent].depth + 1);
		if (t->parts[parent].first_child != MIME_NONE)
			before = p->newest[depth];
	}
	mime_tree_link(t, i, parent, before);
	p->newest[depth] = i;
	t->parts[i].header_at = at;
	t->parts[i].header_lines = lines;
	p->cur = i;
	p->in_header = true;
	p->header_is_long = false;
	strbuf_reset(&p->header);
}

struct mime_parser *mime_parser_new(void)
{
	struct mime_parser *p = mem_zalloc(sizeof(*p));

	/* Room for what the arena loses to alignment; the real limit is MIME_TEXT_MAX. */
	p->tree = mime_tree_new(MIME_TEXT_MAX * 2);
	strbuf_init(&p->line, LINE_MAX_KEPT);
	strbuf_init(&p->header, MAIL_HEADER_MAX);
	strbuf_init(&p->boundaries, (size_t)MIME_DEPTH_MAX * MIME_BOUNDARY_MAX);
	strbuf_init(&p->boundary, MIME_BOUNDARY_MAX);
	open_part(p, MIME_NONE, 0, 0);
	return p;
}

void mime_parser_free(struct mime_parser *p)
{
	if (!p)
		return;
	mime_tree_free(p->tree);
	strbuf_clear(&p->line);
	strbuf_clear(&p->header);
	strbuf_clear(&p->boundaries);
	strbuf_clear(&p->boundary);
	mem_free(p);
}

uint64_t mime_parser_steps(const struct mime_parser *p)
{
	return p->steps;
}

/* The header of cur is complete and its body starts at: decides what the body is. */
static void end_header(struct mime_parser *p, uint64_t at, uint64_t lines)
{
	struct mime_tree *t = p->tree;
	struct mime_part *part = &t->parts[p->cur];
	bool is_message =
	    part->parent == MIME_NONE || (t->parts[part->parent].flags & MIME_MESSAGE);
	bool has_room =
	    !p->header_is_long && part->depth < MIME_DEPTH_MAX && t->count < MIME_PARTS_MAX;

	p->steps += p->header.n + 1;
	part->header_size = at - part->header_at;
	part->header_lines = lines - part->header_lines;
	part->body_at = at;
	part->body_lines = lines;
	p->in_header = false;
	mime_fields_read(t, p->cur, strbuf_span(&p->header), is_message, &p->boundary);
	t->is_truncated |= p->header_is_long;
	if (!(part->flags & (MIME_MULTIPART | MIME_MESSAGE)))
		return;
	if (!has_room) {
		t->is_truncated = true;
		part->flags &= (uint16_t) ~(MIME_MULTIPART | MIME_MESSAGE);
		part->flags |= MIME_OPAQUE;
	} else if ((part->flags & MIME_MULTIPART) && !p->boundary.n) {
		/* Shown as a multipart without parts. */
		part->flags |= MIME_OPAQUE;
	} else if (part->flags & MIME_MESSAGE) {
		open_part(p, p->cur, at, lines);
	} else {
		p->levels[p->level_count++] =
		    (struct level){p->cur, p->boundaries.n, p->boundary.n};
		strbuf_add(&p->boundaries, strbuf_span(&p->boundary));
	}
}

/* Headers that end without an empty line. The part that a message opens ends with it. */
static void end_headers(struct mime_parser *p, uint64_t at)
{
	while (p->in_header)
		end_header(p, at, p->lines);
}

/* cur and its ancestors below stop end at the given place. */
static void close_parts(struct mime_parser *p, uint32_t stop, uint64_t end, uint64_t lines)
{
	while (p->cur != stop) {
		struct mime_part *part = &p->tree->parts[p->cur];

		part->body_size = end - part->body_at;
		part->body_lines = lines - part->body_lines;
		p->cur = part->parent;
		p->steps++;
	}
}

/*
 * The level whose boundary the line starts with: the longest, but an exact match, looked for from
 * the innermost level, comes first. text is the line behind "--", text_n its length without the
 * line end.
 */
static bool find_level(struct mime_parser *p, struct span text, uint64_t text_n, size_t *found)
{
	size_t best = 0;

	for (size_t i = p->level_count; i-- > 0;) {
		const struct level *l = &p->levels[i];

		p->steps += (l->n < text.n ? l->n : text.n) + 1;
		if (l->n <= best || l->n > text.n ||
		    memcmp(text.p, p->boundaries.p + l->at, l->n) != 0)
			continue;
		best = l->n;
		*found = i;
		if (text_n == l->n ||
		    (text_n == l->n + 2 && span_starts(span_from(text, l->n), SPAN("--"))))
			break;
	}
	return best > 0;
}

/* The line that ends at pos: if it is a boundary, ends the parts inside and opens the next. */
static void take_boundary(struct mime_parser *p, uint64_t text_end, uint64_t next_lines)
{
	struct span text = span_from(strbuf_span(&p->line), 2);
	struct level *l;
	size_t i = 0;
	bool is_last, has_body;

	if (!p->line_is_kept || p->line.n < 2 ||
	    !find_level(p, text, text_end - p->line_at - 2, &i))
		return;
	l = &p->levels[i];
	is_last = span_starts(span_from(text, l->n), SPAN("--"));
	if (p->in_header) {
		strbuf_truncate(&p->header, p->header_line);
		end_headers(p, p->line_at);
	}
	if (!is_last && p->tree->count >= MIME_PARTS_MAX) {
		p->tree->is_truncated = true;
		return;
	}
	/* The line end before a boundary belongs to it, but not if it ends a header. */
	has_body = p->tree->parts[p->cur].body_at < p->line_at;
	close_parts(p, l->part, has_body ? p->before_at : p->line_at, p->lines - has_body);
	p->level_count = is_last ? i : i + 1;
	strbuf_truncate(&p->boundaries, is_last ? l->at : l->at + l->n);
	if (!is_last)
		open_part(p, p->cur, p->pos, next_lines);
}

static void end_line(struct mime_parser *p, bool has_lf)
{
	uint64_t text_end = p->pos - has_lf, next_lines = p->lines + has_lf;

	if (has_lf && text_end > p->line_at && p->last[1] == '\r')
		text_end--;
	if (p->in_header && has_lf && text_end == p->line_at)
		end_header(p, p->pos, next_lines);
	else
		take_boundary(p, text_end, next_lines);
	p->lines = next_lines;
	p->before_at = text_end;
	p->line_at = p->pos;
	p->line_is_kept = p->level_count > 0;
	strbuf_reset(&p->line);
	p->header_line = p->header.n;
}

/* Appends what fits: a cut must not depend on how the input was split. */
static bool add_some(struct strbuf *b, struct span s)
{
	size_t room = b->max - b->n;

	strbuf_add(b, span_sub(s, 0, room));
	return s.n <= room;
}

void mime_parser_feed(struct mime_parser *p, struct span bytes)
{
	while (bytes.n) {
		const char *lf = memchr(bytes.p, '\n', bytes.n);
		size_t n = lf ? (size_t)(lf - bytes.p) + 1 : bytes.n;
		struct span piece = span_sub(bytes, 0, n);

		if (p->in_header && !add_some(&p->header, piece))
			p->header_is_long = true;
		if (p->line_is_kept) {
			add_some(&p->line, piece);
			p->line_is_kept =
			    p->line.p[0] == '-' && (p->line.n < 2 || p->line.p[1] == '-');
		}
		p->last[1] = n > 1 ? piece.p[n - 2] : p->last[0];
		p->last[0] = piece.p[n - 1];
		p->pos += n;
		p->steps += n;
		if (lf)
			end_line(p, true);
		bytes = span_from(bytes, n);
	}
}

struct mime_tree *mime_parser_finish(struct mime_parser *p)
{
	struct mime_tree *t = p->tree;

	if (p->pos > p->line_at)
		end_line(p, false);
	end_headers(p, p->pos);
	close_parts(p, MIME_NONE, p->pos, p->lines);
	t->size = p->pos;
	p->tree = NULL;
	return t;
}

struct mime_tree *mime_tree_parse(struct span message)
{
	struct mime_parser *p = mime_parser_new();
	struct mime_tree *t;

	mime_parser_feed(p, message);
	t = mime_parser_finish(p);
	mime_parser_free(p);
	return t;
}
