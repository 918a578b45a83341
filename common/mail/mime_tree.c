/* The tree itself, and the row that the store keeps of it. */
#include "common/base/codec.h"
#include "common/base/mem.h"
#include "common/mail/mime_int.h"

#define ROW_VERSION 1
#define FLAGS_KNOWN (MIME_MULTIPART | MIME_MESSAGE | MIME_TEXT | MIME_DEFAULT | MIME_OPAQUE)

struct mime_tree *mime_tree_new(size_t max)
{
	struct mime_tree *t = mem_zalloc(sizeof(*t));

	arena_init(&t->text, max);
	return t;
}

void mime_tree_free(struct mime_tree *t)
{
	if (!t)
		return;
	arena_clear(&t->text);
	mem_free(t->parts);
	mem_free(t->params);
	mem_free(t);
}

/* Arrays double: at every power of two of count (from 4) they are full. */
static void *grown(void *array, uint32_t count, size_t size)
{
	if (count && (count < 4 || (count & (count - 1))))
		return array;
	return mem_grow(array, count ? (size_t)count * 2 : 4, size);
}

struct mime_part *mime_tree_add_part(struct mime_tree *t)
{
	struct mime_part *part;

	t->parts = grown(t->parts, t->count, sizeof(*t->parts));
	part = &t->parts[t->count++];
	*part =
	    (struct mime_part){.parent = MIME_NONE, .first_child = MIME_NONE, .next = MIME_NONE};
	return part;
}

struct mime_param *mime_tree_add_param(struct mime_tree *t)
{
	t->params = grown(t->params, t->param_count, sizeof(*t->params));
	t->params[t->param_count] = (struct mime_param){{NULL, 0}, {NULL, 0}};
	return &t->params[t->param_count++];
}

struct span mime_tree_keep(struct mime_tree *t, struct span s)
{
	struct span copy = {NULL, 0};

	if (!s.n)
		return span_of("");
	if (s.n > MIME_TEXT_MAX || t->text.used > MIME_TEXT_MAX - s.n ||
	    !arena_copy(&t->text, s, &copy)) {
		t->is_truncated = true;
		return (struct span){NULL, 0};
	}
	return copy;
}

void mime_tree_link(struct mime_tree *t, uint32_t i, uint32_t parent, uint32_t last)
{
	t->parts[i].parent = parent;
	if (parent == MIME_NONE)
		return;
	t->parts[i].depth = (uint16_t)(t->parts[parent].depth + 1);
	if (last == MIME_NONE)
		t->parts[parent].first_child = i;
	else
		t->parts[last].next = i;
}

/* Length plus one, so that absent and empty differ. */
static void enc_span(struct strbuf *b, struct span s)
{
	enc_varint(b, s.p ? (uint64_t)s.n + 1 : 0);
	strbuf_add(b, s);
}

static struct span dec_span(struct dec *d)
{
	uint64_t n = dec_varint(d);
	struct span s;

	if (!n)
		return (struct span){NULL, 0};
	if (n - 1 > d->in.n) {
		d->bad = true;
		return (struct span){NULL, 0};
	}
	s = dec_raw(d, (size_t)(n - 1));
	return s.p ? s : span_of("");
}

static void enc_params(struct strbuf *b, const struct mime_tree *t, uint32_t first, uint32_t count)
{
	enc_varint(b, count);
	for (uint32_t i = first; i < first + count; i++) {
		enc_span(b, t->params[i].name);
		enc_span(b, t->params[i].value);
	}
}

static void dec_params(struct dec *d, struct mime_tree *t, uint32_t *first, uint32_t *count)
{
	uint64_t n = dec_varint(d);

	*first = t->param_count;
	if (n > MIME_PARAMS_MAX)
		d->bad = true;
	for (*count = 0; !d->bad && *count < n; ++*count) {
		struct mime_param param = {dec_span(d), {NULL, 0}};

		param.value = dec_span(d);
		if (!param.name.p || !param.value.p)
			d->bad = true;
		*mime_tree_add_param(t) = param;
	}
}

static void enc_part(struct strbuf *b, const struct mime_tree *t, const struct mime_part *p)
{
	const struct span texts[] = {p->type, p->subtype, p->encoding, p->id, p->description,
	    p->md5, p->location, p->language, p->disposition, p->envelope};

	/* first_child and next follow from the parents. */
	enc_varint(b, p->parent == MIME_NONE ? 0 : (uint64_t)p->parent + 1);
	enc_varint(b, p->flags);
	enc_varint(b, p->header_at);
	enc_varint(b, p->header_size);
	enc_varint(b, p->header_lines);
	enc_varint(b, p->body_size);
	enc_varint(b, p->body_lines);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		enc_span(b, texts[i]);
	enc_params(b, t, p->param, p->param_count);
	enc_params(b, t, p->disp_param, p->disp_param_count);
}

bool mime_tree_encode(struct strbuf *out, const struct mime_tree *t)
{
	enc_u8(out, ROW_VERSION);
	enc_u8(out, t->is_truncated);
	enc_varint(out, t->size);
	enc_varint(out, t->count);
	for (uint32_t i = 0; i < t->count; i++)
		enc_part(out, t, &t->parts[i]);
	return !out->failed;
}

/* True if a part lies within the message, and in the body of its parent, if it has one. */
static bool fits(const struct mime_tree *t, const struct mime_part *p)
{
	uint64_t low = 0, high = t->size;

	if (p->parent != MIME_NONE) {
		low = t->parts[p->parent].body_at;
		high = low + t->parts[p->parent].body_size;
	}
	return p->header_at >= low && p->body_at <= high && p->body_size <= high - p->body_at &&
	       p->header_lines <= p->header_size && p->body_lines <= p->body_size;
}

/* Checks where part i hangs and links it. newest: by depth, the last part there. */
static bool place(struct mime_tree *t, uint32_t i, uint64_t parent, uint32_t *newest)
{
	struct mime_part *above;
	uint32_t last = MIME_NONE;
	uint16_t depth = 0;

	if ((i == 0) != (parent == 0))
		return false;
	if (i) {
		if (parent > i)
			return false;
		above = &t->parts[parent - 1];
		depth = (uint16_t)(above->depth + 1);
		/* Parts come in order: a parent is the newest of its depth. */
		if (depth > MIME_DEPTH_MAX || newest[above->depth] != parent - 1 ||
		    !(above->flags & (MIME_MULTIPART | MIME_MESSAGE)))
			return false;
		if (above->first_child != MIME_NONE)
			last = newest[depth];
		if (last != MIME_NONE && (above->flags & MIME_MESSAGE))
			return false;
	}
	mime_tree_link(t, i, i ? (uint32_t)(parent - 1) : MIME_NONE, last);
	newest[depth] = i;
	/* Deeper ones of another branch are no parents any more. */
	if (depth < MIME_DEPTH_MAX)
		newest[depth + 1] = MIME_NONE;
	return true;
}

static bool dec_part(struct dec *d, struct mime_tree *t, uint32_t i, uint32_t *newest)
{
	struct mime_part *p = mime_tree_add_part(t);
	struct span *texts[] = {&p->type, &p->subtype, &p->encoding, &p->id, &p->description,
	    &p->md5, &p->location, &p->language, &p->disposition, &p->envelope};
	uint64_t parent = dec_varint(d), flags = dec_varint(d);

	p->header_at = dec_varint(d);
	p->header_size = dec_varint(d);
	p->header_lines = dec_varint(d);
	p->body_size = dec_varint(d);
	p->body_lines = dec_varint(d);
	if (!dec_ok(d) || (flags & ~(uint64_t)FLAGS_KNOWN) || p->header_at > t->size ||
	    p->header_size > t->size - p->header_at)
		return false;
	p->flags = (uint16_t)flags;
	p->body_at = p->header_at + p->header_size;
	for (size_t k = 0; k < ARRAY_LEN(texts); k++)
		*texts[k] = dec_span(d);
	dec_params(d, t, &p->param, &p->param_count);
	dec_params(d, t, &p->disp_param, &p->disp_param_count);
	return dec_ok(d) && p->type.p && p->subtype.p && place(t, i, parent, newest) && fits(t, p);
}

struct mime_tree *mime_tree_decode(struct span row, struct err *e)
{
	struct mime_tree *t = NULL;
	uint32_t newest[MIME_DEPTH_MAX + 1];
	struct span copy;
	struct dec d;
	uint64_t count;

	if (row.n && (unsigned char)row.p[0] != ROW_VERSION) {
		err_set(e, ERR_UNSUPPORTED, "MIME row of another version");
		return NULL;
	}
	t = mime_tree_new(row.n + 64);
	if (!row.n || !arena_copy(&t->text, row, &copy))
		goto bad;
	d = dec_of(span_from(copy, 1));
	for (size_t i = 0; i < ARRAY_LEN(newest); i++)
		newest[i] = MIME_NONE;
	t->is_truncated = dec_u8(&d) != 0;
	t->size = dec_varint(&d);
	count = dec_varint(&d);
	if (!dec_ok(&d) || !count || count > MIME_PARTS_MAX || t->size > INT64_MAX)
		goto bad;
	for (uint32_t i = 0; i < count; i++)
		if (!dec_part(&d, t, i, newest))
			goto bad;
	if (dec_done(&d))
		return t;
bad:
	mime_tree_free(t);
	err_set(e, ERR_CORRUPT, "MIME row is damaged");
	return NULL;
}
