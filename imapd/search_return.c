/* RETURN: what ESEARCH and ESORT answer, and what SEARCHRES keeps. */
#include "common/base/mem.h"
#include "imapd/search.h"

bool search_parse_returns(struct parser *p, struct search_returns *r)
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
	r->is_extended = true;
	if (parse_chr(p, ')')) {
		r->what = RETURN_ALL;
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
		r->what |= bit;
	} while (parse_sp(p));
	return parse_chr(p, ')') && parse_sp(p);
}

void search_tell_extended(
    struct searching *x, const struct search_returns *r, uint32_t first, uint32_t last)
{
	struct session *s = x->task.session;
	struct strbuf b;

	strbuf_init(&b, 1024);
	strbuf_addf(&b, "* ESEARCH (TAG \"%s\")", s->tag);
	if (s->is_uid)
		strbuf_add(&b, SPAN(" UID"));
	if ((r->what & RETURN_MIN) && x->count > 0)
		strbuf_addf(&b, " MIN %u", first);
	if ((r->what & RETURN_MAX) && x->count > 0)
		strbuf_addf(&b, " MAX %u", last);
	if (r->what & RETURN_COUNT)
		strbuf_addf(&b, " COUNT %zu", x->count);
	conn_write(s->conn, strbuf_span(&b));
	strbuf_clear(&b);
}

void search_write_modseq(const struct searching *x, bool is_extended, struct strbuf *b)
{
	if (x->program.has_modseq && x->count > 0)
		strbuf_addf(b, is_extended ? " MODSEQ %llu" : " (MODSEQ %llu)",
		    (unsigned long long)x->modseq);
}

void search_save(struct searching *x, const struct search_returns *r, size_t first, size_t last)
{
	struct uidset *saved = &x->task.session->view->saved;
	const struct store_message *m = x->snap->messages;
	bool is_all =
	    (r->what & (RETURN_ALL | RETURN_COUNT)) || !(r->what & (RETURN_MIN | RETURN_MAX));

	uidset_clear(saved);
	if (x->failed || x->count == 0)
		return;
	if (!is_all && (r->what & RETURN_MIN))
		uidset_add(saved, m[first].uid);
	if (!is_all && (r->what & RETURN_MAX))
		uidset_add(saved, m[last].uid);
	for (size_t i = x->first; is_all && i <= x->last; i++)
		if (searching_is_hit(x, i))
			uidset_add(saved, m[i].uid);
	uidset_sort(saved);
}
