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

/* --- all at once
 * -----------------------------------------------------------------------------------------------
 */
static void paused(struct html *h, struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (admin_call(rq, &WORDS("queue", "paused", "list"), &a, &err) < 0 || a.code != ERR_NONE ||
	    a.count == 0)
		return;
	notice_begin(h, NOTICE_WARN);
	HTML(h, L(QUEUE_PAUSED));
	notice_end(h);
	record_table(h, &a, NULL);
}

static void all_form(struct html *h, const struct request *rq)
{
	HTML(h, R("<section><h2>"), L(QUEUE_ALL), R("</h2>\n"));
	form_begin(h, rq, "/queue/all");
	input(h, TEXT_QUEUE_DOMAIN, "domain", "text", SPAN(""), "autocomplete=\"off\"");
	HTML(h, R("<label class=\"tick\"><input type=\"checkbox\" name=\"sure\" value=\"yes\"> "),
	    L(SURE), R("</label>\n<p>"));
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		HTML(h, R("<button class=\"quiet\" name=\"verb\" value=\""), S(actions[i].verb),
		    R("\">"), LID(actions[i].label), R("</button> "));
	HTML(h, R("<button class=\"quiet\" name=\"verb\" value=\"pause\">"), L(QUEUE_PAUSE),
	    R("</button> <button class=\"quiet\" name=\"verb\" value=\"resume\">"), L(QUEUE_RESUME),
	    R("</button></p></form>\n"));
	same_command(h, "queue retry|hold|release|return|delete domain NAME|all, "
			"queue pause|resume [DOMAIN]");
	HTML(h, R("</section>\n"));
}

static void change_all(struct request *rq, const char *verb, bool is_lasting)
{
	bool has_domain = request_form(rq, "domain").n > 0;
	struct command cmd = WORDS("queue", verb);

	if (is_lasting && !span_eq(request_form(rq, "sure"), SPAN("yes"))) {
		page_failed(rq, text_of(TEXT_NOT_SURE), "/queue");
		return;
	}
	if (verb[0] != 'p' && !span_eq(span_of(verb), SPAN("resume")))
		cmd.words[cmd.count++] = has_domain ? "domain" : "all";
	if (has_domain)
		cmd.words[cmd.count++] = form_cstr(rq, "domain");
	act(rq, &cmd, "/queue", "changed");
}

void action_queue_all(struct request *rq)
{
	struct span verb = request_form(rq, "verb");

	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (span_eq(verb, span_of(actions[i].verb))) {
			change_all(rq, actions[i].verb,
			    actions[i].label == TEXT_QUEUE_DELETE ||
				actions[i].label == TEXT_QUEUE_RETURN);
			return;
		}
	if (span_eq(verb, SPAN("pause")))
		change_all(rq, "pause", false);
	else if (span_eq(verb, SPAN("resume")))
		change_all(rq, "resume", false);
	else
		page_error(rq, 404, TEXT_NO_PAGE);
}

void page_queue(struct request *rq)
{
	struct answer a;
	struct html h;

	if (!ask(rq, &WORDS("queue", "list"), &a))
		return;
	page_begin(&h, rq, TEXT_MENU_QUEUE);
	paused(&h, rq);
	if (a.count == 0)
		HTML(&h, R("<p>"), L(QUEUE_EMPTY), R("</p>\n"));
	else
		record_table(&h, &a, "/message?id=");
	same_command(&h, "queue list");
	all_form(&h, rq);
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
