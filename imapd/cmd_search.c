/* SEARCH and UID SEARCH: the answer, plain or ESEARCH (RFC 4731). */
#include "common/base/mem.h"
#include "imapd/search.h"

#define PIECE (16 * 1024)

struct search {
	struct searching x;
	struct search_returns returns;
	size_t at; /* the next message to tell */
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
	bool is_set = c->returns.is_extended && (c->returns.what & RETURN_ALL);
	struct strbuf b;

	strbuf_init(&b, PIECE + 64);
	while ((is_set || !c->returns.is_extended) && next_hit(c)) {
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
	search_write_modseq(&c->x, c->returns.is_extended, &b);
	strbuf_add(&b, SPAN("\r\n"));
	conn_write(s->conn, strbuf_span(&b));
	strbuf_clear(&b);
	end(c);
}

static void found(struct searching *x)
{
	struct search *c = container_of(x, struct search, x);
	struct session *s = x->task.session;

	if (c->returns.what & RETURN_SAVE)
		search_save(x, &c->returns, x->first, x->last);
	if (c->returns.what == RETURN_SAVE) {
		end(c);
		return;
	}
	if (c->returns.is_extended)
		search_tell_extended(x, &c->returns, x->count ? number_of(c, x->first) : 0,
		    x->count ? number_of(c, x->last) : 0);
	else
		conn_write(s->conn, SPAN("* SEARCH"));
	tell_more(s);
}

void cmd_search(struct session *s, struct parser *p)
{
	struct search *c = searching_new(s, sizeof(*c));

	c->x.found = found;
	if (!search_parse_returns(p, &c->returns)) {
		task_free(&c->x.task);
		finish_bad(s, "Unknown RETURN option");
		return;
	}
	c->x.saves = c->returns.what & RETURN_SAVE;
	searching_start(&c->x, p, (struct span){NULL, 0});
}
