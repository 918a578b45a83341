/* Parameters of Content-Type and Content-Disposition, continuations (RFC 2231 section 3) joined. */
#include "common/mail/mime_int.h"

#include <string.h>

/* "name*3" or "name*3*": its number, with the length of the name; else -1. */
static int continuation(struct span name, size_t *base_n, bool *is_extended)
{
	ssize_t star = span_chr(name, '*');
	struct span rest;
	uint64_t number;

	if (star <= 0)
		return -1;
	*base_n = (size_t)star;
	rest = span_from(name, (size_t)star + 1);
	if (!span_take_u64(&rest, MIME_PARAMS_MAX, &number))
		return -1;
	*is_extended = span_take_chr(&rest, '*');
	return rest.n ? -1 : (int)number;
}

/* A segment of an extended value that is not itself encoded. */
static void add_encoded(struct strbuf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (ascii_is_alnum(s.p[i]) || (s.p[i] && strchr("-._!#$&+^`{|}~", s.p[i])))
			strbuf_add_chr(out, s.p[i]);
		else
			strbuf_addf(out, "%%%02X", (unsigned char)s.p[i]);
	}
}

/* The piece of that number, or NULL. */
static struct mime_param *find_piece(
    struct mime_param *params, uint32_t count, struct span base, int number, bool *is_extended)
{
	size_t base_n;

	for (uint32_t i = 0; i < count; i++)
		if (continuation(params[i].name, &base_n, is_extended) == number &&
		    span_ieq(span_sub(params[i].name, 0, base_n), base))
			return &params[i];
	return NULL;
}

/* Joins the pieces of base; the first is replaced, the others lose their name. */
static void join(struct mime_tree *t, struct mime_param *params, uint32_t count, struct span base)
{
	struct strbuf value, name;
	struct mime_param *first = NULL, *p;
	bool any_extended = false, is_extended = false;

	for (int i = 0; find_piece(params, count, base, i, &is_extended); i++)
		any_extended |= is_extended;
	strbuf_init(&value, MIME_TEXT_MAX);
	strbuf_init(&name, MIME_TEXT_MAX);
	strbuf_add(&name, base);
	if (any_extended)
		strbuf_add_chr(&name, '*');
	for (int i = 0; (p = find_piece(params, count, base, i, &is_extended)); i++) {
		if (!i && any_extended && !is_extended)
			strbuf_add(&value, SPAN("''"));
		if (any_extended && !is_extended)
			add_encoded(&value, p->value);
		else
			strbuf_add(&value, p->value);
		if (!i)
			first = p;
		else
			p->name = span_of("");
	}
	if (first) {
		first->name = mime_tree_keep(t, strbuf_span(&name));
		first->value = mime_tree_keep(t, strbuf_span(&value));
	}
	strbuf_clear(&name);
	strbuf_clear(&value);
}

static void join_params(struct mime_tree *t, uint32_t first, uint32_t *count)
{
	struct mime_param *params = t->params + first;
	uint32_t kept = 0;
	size_t base_n;
	bool is_extended;

	for (uint32_t i = 0; i < *count; i++)
		if (continuation(params[i].name, &base_n, &is_extended) == 0)
			join(t, params, *count, span_sub(params[i].name, 0, base_n));
	for (uint32_t i = 0; i < *count; i++)
		if (params[i].name.n && params[i].value.p)
			params[kept++] = params[i];
	t->param_count -= *count - kept;
	*count = kept;
}

void mime_params_read(struct mime_tree *t, struct mime_value *v, uint32_t *first, uint32_t *count)
{
	struct mime_param got;

	*first = t->param_count;
	*count = 0;
	while (*count < MIME_PARAMS_MAX && mime_value_next(v, &got)) {
		struct mime_param kept = {
		    mime_tree_keep(t, got.name), mime_tree_keep(t, got.value)};

		if (!kept.name.p || !kept.value.p)
			break;
		*mime_tree_add_param(t) = kept;
		++*count;
	}
	if (*count)
		join_params(t, *first, count);
}
