/* The queue: what waits, why, and what to do about it. */
#include "webadmin/web.h"

static const struct {
	const char *verb;
	enum text_id label;
} actions[] = {
    {"retry", TEXT_QUEUE_RETRY},
    {"hold", TEXT_QUEUE_HOLD},
    {"release", TEXT_QUEUE_RELEASE},
    {"return", TEXT_QUEUE_RETURN},
    {"delete", TEXT_QUEUE_DELETE},
};

void page_queue(struct request *rq)
{
	struct answer a;
	struct html h;

	if (!ask(rq, &WORDS("queue", "list"), &a))
		return;
	page_begin(&h, rq, TEXT_MENU_QUEUE);
	if (a.count == 0)
		HTML(&h, R("<p>"), L(QUEUE_EMPTY), R("</p>\n"));
	else
		record_table(&h, &a, "/message?id=");
	same_command(&h, "queue list");
	page_end(&h);
}

void page_message(struct request *rq)
{
	const char *id = arena_strdup(&rq->arena, request_query(rq, "id"));
	struct answer a;
	struct html h;

	if (!id || !ask(rq, &WORDS("queue", "show", id), &a))
		return;
	page_begin(&h, rq, TEXT_QUEUE_MESSAGE);
	HTML(&h, R("<p class=\"subject\">"), S(id), R("</p>\n"));
	for (size_t i = 0; i < a.count; i++) {
		struct dec d = dec_of(a.records[i]);
		struct ipc_value v;

		HTML(&h, R("<section><dl>"));
		while (ipc_rec_next(&d, &v)) {
			HTML(&h, R("<dt>"), T(v.name), R("</dt><dd>"));
			html_value(&h, &v);
			HTML(&h, R("</dd>"));
		}
		HTML(&h, R("</dl></section>\n"));
	}
	form_begin(&h, rq, "/queue/do");
	hidden(&h, "id", span_of(id));
	HTML(&h, R("<p>"));
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		HTML(&h, R("<button class=\"quiet\" name=\"verb\" value=\""), S(actions[i].verb),
		    R("\">"), LID(actions[i].label), R("</button> "));
	HTML(&h, R("</p></form>\n"));
	same_command(&h, "queue retry|hold|release|return|delete ID");
	page_end(&h);
}

void action_queue(struct request *rq)
{
	struct span verb = request_form(rq, "verb");

	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (span_eq(verb, span_of(actions[i].verb))) {
			act(rq, &WORDS("queue", actions[i].verb, form_cstr(rq, "id")), "/queue",
			    "changed");
			return;
		}
	page_error(rq, 404, TEXT_NO_PAGE);
}

/* --- what became of a message
 * ----------------------------------------------------------------------- */
void page_trace(struct request *rq)
{
	const char *q = arena_strdup(&rq->arena, span_trim(request_query(rq, "q")));
	struct answer a;
	struct html h;

	if (!q || !try_ask(rq, &WORDS("trace", q[0] && q[0] != '-' ? q : "last", "200"), &a))
		return;
	page_begin(&h, rq, TEXT_MENU_TRACE);
	HTML(&h, R("<p>"), L(TRACE_HINT),
	    R("</p>\n<form method=\"get\" class=\"search\" role=\"search\"><label><span>"),
	    L(SEARCH), R("</span><input type=\"search\" name=\"q\" value=\""), S(q),
	    R("\"></label><button>"), L(SEARCH), R("</button></form>\n"));
	if (a.code != ERR_NONE || a.count == 0)
		HTML(&h, R("<p class=\"hint\">"), L(NOTHING_FOUND), R(" "), T(a.text), R("</p>\n"));
	else
		record_table(&h, &a, NULL);
	same_command(&h, "trace FROM|TO|ID|CLIENT|last [COUNT]");
	page_end(&h);
}
