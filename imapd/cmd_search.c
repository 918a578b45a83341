/* SEARCH and UID SEARCH: the answer, plain or ESEARCH (RFC 4731). */
#include "common/base/mem.h"
#include "imapd/search.h"

#define PIECE (16 * 1024)

#define RETURN_MIN 1u
#define RETURN_MAX 2u
#define RETURN_ALL 4u
#define RETURN_COUNT 8u
#define RETURN_SAVE 16u /* RFC 5182 */

struct search {
	struct searching x;
	bool is_extended;
	unsigned returns; /* RETURN_* */
	size_t at;        /* the next message to tell */
};

static uint32_t number_of(const struct search *c, size_t index)
{
	return c->x.task.session->is_uid ? c->x.snap->messages[index].uid : (uint32_t)index + 1;
}

static void end(struct search *c)
{
	struct session *s = c->x.task.session;
	const char *text = searching_result(&c->x, "OK Searched");
	bool is_uid = s->is_uid;

	task_free(&c->x.task);
	finish_sync(s, is_uid, text);
}

static void write_modseq(struct search *c, struct strbuf *b)
{
	if (!c->x.program.has_modseq || c->x.count == 0)
		return;
	strbuf_addf(
	    b, c->is_extended ? " MODSEQ %llu" : " (MODSEQ %llu)", (unsigned long long)c->x.modseq);
}

static bool next_hit(struct search *c)
{
	while (c->at < c->x.snap->count && !searching_is_hit(&c->x, c->at))
		c->at++;
	return c->at < c->x.snap->count;
}

/* " 2 4 5": plain SEARCH */
static void write_numbers(struct search *c, struct strbuf *b)
{
	for (; b->n < PIECE && next_hit(c); c->at++) {
		strbuf_add_chr(b, ' ');
		strbuf_add_u64(b, number_of(c, c->at));
	}
}

/* "2,4:5": a sequence set; only numbers that are next to each other make a range. */
static void write_set(struct search *c, struct strbuf *b)
{
	while (b->n < PIECE && next_hit(c)) {
		uint32_t first = number_of(c, c->at), last = first;

		strbuf_add(b, c->at == c->x.first ? SPAN(" ALL ") : SPAN(","));
		strbuf_add_u64(b, first);
		for (c->at++; c->at < c->x.snap->count && searching_is_hit(&c->x, c->at) &&
			      number_of(c, c->at) == last + 1;
		     c->at++)
			last++;
		if (last == first)
			continue;
		strbuf_add_chr(b, ':');
		strbuf_add_u64(b, last);
	}
}

static void tell_more(struct session *s)
{
	struct search *c = container_of(s->task, struct search, x.task);
	bool is_set = c->is_extended && (c->returns & RETURN_ALL);
	struct strbuf b;

	strbuf_init(&b, PIECE + 64);
	while ((is_set || !c->is_extended) && next_hit(c)) {
		strbuf_reset(&b);
		if (is_set)
			write_set(c, &b);
		else
			write_numbers(c, &b);
		conn_write(s->conn, strbuf_span(&b));
		if (!session_flow(s, tell_more)) {
			strbuf_clear(&b);
			return;
		}
	}
	strbuf_reset(&b);
	write_modseq(c, &b);
	strbuf_add(&b, SPAN("\r\n"));
	conn_write(s->conn, strbuf_span(&b));
	strbuf_clear(&b);
	end(c);
}

/* "$" becomes what was found; with MIN or MAX and nothing more, only that (RFC 5182 2.4). */
static void save(struct search *c)
{
	struct uidset *saved = &c->x.task.session->view->saved;
	const struct store_message *m = c->x.snap->messages;
	bool is_all =
	    (c->returns & (RETURN_ALL | RETURN_COUNT)) || !(c->returns & (RETURN_MIN | RETURN_MAX));

	uidset_clear(saved);
	if (c->x.failed || c->x.count == 0)
		return;
	if (!is_all && (c->returns & RETURN_MIN))
		uidset_add(saved, m[c->x.first].uid);
	if (!is_all && (c->returns & RETURN_MAX))
		uidset_add(saved, m[c->x.last].uid);
	for (size_t i = c->x.first; is_all && i <= c->x.last; i++)
		if (searching_is_hit(&c->x, i))
			uidset_add(saved, m[i].uid);
}

static void found(struct searching *x)
{
	struct search *c = container_of(x, struct search, x);
	struct session *s = x->task.session;
	struct strbuf b;

	if (c->returns & RETURN_SAVE)
		save(c);
	if (c->returns == RETURN_SAVE) {
		end(c);
		return;
	}
	if (!c->is_extended) {
		conn_write(s->conn, SPAN("* SEARCH"));
		tell_more(s);
		return;
	}
	strbuf_init(&b, 1024);
	strbuf_addf(&b, "* ESEARCH (TAG \"%s\")", s->tag);
	if (s->is_uid)
		strbuf_add(&b, SPAN(" UID"));
	if ((c->returns & RETURN_MIN) && x->count > 0)
		strbuf_addf(&b, " MIN %u", number_of(c, x->first));
	if ((c->returns & RETURN_MAX) && x->count > 0)
		strbuf_addf(&b, " MAX %u", number_of(c, x->last));
	if (c->returns & RETURN_COUNT)
		strbuf_addf(&b, " COUNT %zu", x->count);
	conn_write(s->conn, strbuf_span(&b));
	strbuf_clear(&b);
	tell_more(s);
}

/* "RETURN (MIN MAX) " */
static bool parse_return(struct parser *p, struct search *c)
{
	static const struct {
		struct span name;
		unsigned bit;
	} options[] = {{SPAN_INIT("MIN"), RETURN_MIN}, {SPAN_INIT("MAX"), RETURN_MAX},
	    {SPAN_INIT("ALL"), RETURN_ALL}, {SPAN_INIT("COUNT"), RETURN_COUNT},
	    {SPAN_INIT("SAVE"), RETURN_SAVE}};
	struct span word;

	if (!span_take_iword(&p->in, SPAN("RETURN (")))
		return true;
	c->is_extended = true;
	if (parse_chr(p, ')')) {
		c->returns = RETURN_ALL;
		return parse_sp(p);
	}
	do {
		unsigned bit = 0;

		if (!parse_atom(p, &word))
			return false;
		for (size_t i = 0; i < ARRAY_LEN(options); i++)
			if (span_ieq(word, options[i].name))
				bit = options[i].bit;
		if (!bit)
			return false;
		c->returns |= bit;
	} while (parse_sp(p));
	return parse_chr(p, ')') && parse_sp(p);
}

void cmd_search(struct session *s, struct parser *p)
{
	struct search *c = searching_new(s, sizeof(*c));

	c->x.found = found;
	if (!parse_return(p, c)) {
		task_free(&c->x.task);
		finish_bad(s, "Unknown RETURN option");
		return;
	}
	c->x.saves = c->returns & RETURN_SAVE;
	searching_start(&c->x, p, (struct span){NULL, 0});
}

void cmd_uid_search(struct session *s, struct parser *p)
{
	cmd_search(s, p);
}
