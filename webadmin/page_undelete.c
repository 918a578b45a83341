/* What was removed and can come back: of one's own mail, and for administrators of anybody's. */
#include "webadmin/web.h"

#include <string.h>

struct place {
	bool is_own;
	const char *address; /* whose, for an administrator */
	const char *mailbox; /* "": all */
};

/* undelete VERB ADDRESS ..., or my undelete VERB ... */
static struct command words(const struct place *p, const char *verb)
{
	return p->is_own ? WORDS("my", "undelete", verb) : WORDS("undelete", verb, p->address);
}

static void add(struct command *cmd, const char *word)
{
	cmd->words[cmd->count++] = word;
}

static bool take_place(struct request *rq, struct place *p, bool is_form)
{
	struct span address = is_form ? request_form(rq, "a") : request_query(rq, "a");
	struct span mailbox = is_form ? request_form(rq, "m") : request_query(rq, "m");

	p->is_own = span_starts(rq->path, SPAN("/me/"));
	p->address = arena_strdup(&rq->arena, address);
	p->mailbox = arena_strdup(&rq->arena, mailbox);
	if (p->address && p->mailbox && p->mailbox[0] != '-' && p->address[0] != '-' &&
	    (p->is_own || p->address[0]))
		return true;
	page_error(rq, 400, TEXT_BAD_REQUEST);
	return false;
}

static void add_link(struct html *h, const struct place *p, struct span mailbox)
{
	HTML(h, S(p->is_own ? "/me/undelete?" : "/undelete?"));
	if (!p->is_own) {
		HTML(h, R("a="));
		html_url(h, span_of(p->address));
		HTML(h, R("&amp;"));
	}
	HTML(h, R("m="));
	html_url(h, mailbox);
}

static void restore_form(struct html *h, const struct request *rq, const struct place *p,
    const char *verb, struct span mailbox, const struct ipc_value *uid)
{
	form_begin(h, rq, p->is_own ? "/me/undelete/do" : "/undelete/do");
	hidden(h, "verb", span_of(verb));
	hidden(h, "a", span_of(p->address));
	hidden(h, "m", mailbox);
	if (uid)
		HTML(
		    h, R("<input type=\"hidden\" name=\"uid\" value=\""), N(uid->number), R("\">"));
	HTML(h, R("<button class=\"quiet\">"), L(UNDELETE), R("</button></form>"));
}

static void row(struct html *h, const struct request *rq, const struct place *p,
    const struct answer *a, size_t i)
{
	struct span mailbox = p->mailbox[0] ? span_of(p->mailbox) : answer_text(a, i, "mailbox");
	struct dec d = dec_of(a->records[i]);
	struct ipc_value v, uid = {.number = 0};
	bool has_uid = answer_value(a, i, "uid", &uid);

	HTML(h, R("<tr>"));
	while (ipc_rec_next(&d, &v)) {
		HTML(h, R("<td>"));
		if (!has_uid && span_eq(v.name, SPAN("mailbox"))) {
			HTML(h, R("<a href=\""));
			add_link(h, p, mailbox);
			HTML(h, R("\">"), T(v.text), R("</a>"));
		} else {
			html_value(h, &v);
		}
		HTML(h, R("</td>"));
	}
	HTML(h, R("<td>"));
	restore_form(h, rq, p, has_uid ? "message" : "mailbox", mailbox, has_uid ? &uid : NULL);
	HTML(h, R("</td></tr>\n"));
}

static void since_form(struct html *h, const struct request *rq, const struct place *p)
{
	HTML(h, R("<section><h2>"), L(UNDELETE_SINCE), R("</h2>\n"));
	form_begin(h, rq, p->is_own ? "/me/undelete/do" : "/undelete/do");
	hidden(h, "verb", SPAN("since"));
	hidden(h, "a", span_of(p->address));
	input(h, TEXT_UNDELETE_TIME, "time", "text", SPAN("1d"), "required maxlength=\"32\"");
	form_end(h, TEXT_UNDELETE);
	HTML(h, R("</section>\n"));
}

void page_undelete(struct request *rq)
{
	struct command cmd;
	struct dec d;
	struct ipc_value v;
	struct answer a;
	struct place p;
	struct html h;

	if (!take_place(rq, &p, false))
		return;
	cmd = words(&p, "list");
	if (p.mailbox[0])
		add(&cmd, p.mailbox);
	if (!ask(rq, &cmd, &a))
		return;
	page_begin(&h, rq, TEXT_UNDELETE_TITLE);
	HTML(&h, R("<p class=\"subject\">"), S(p.address), R(" "), S(p.mailbox), R("</p>\n<p>"),
	    L(UNDELETE_HINT), R("</p>\n"));
	if (a.count == 0) {
		HTML(&h, R("<p>"), L(UNDELETE_NONE), R("</p>\n"));
	} else {
		HTML(&h, R("<div class=\"scroll\"><table>\n<tr>"));
		d = dec_of(a.records[0]);
		while (ipc_rec_next(&d, &v))
			HTML(&h, R("<th>"), T(v.name), R("</th>"));
		HTML(&h, R("<th></th></tr>\n"));
		for (size_t i = 0; i < a.count; i++)
			row(&h, rq, &p, &a, i);
		HTML(&h, R("</table></div>\n"));
		since_form(&h, rq, &p);
	}
	if (!p.is_own)
		same_command(&h, "undelete list|message|mailbox|since ADDRESS ...");
	page_end(&h);
}

static const char *way_back(struct request *rq, const struct place *p)
{
	struct html h;
	const char *path;

	if (p->is_own)
		return "/me/undelete";
	html_init(&h);
	strbuf_add_str(&h.out, "/undelete?a=");
	html_url(&h, span_of(p->address));
	path = arena_strdup(&rq->arena, strbuf_span(&h.out));
	strbuf_clear(&h.out);
	return path ? path : "/accounts";
}

void action_undelete(struct request *rq)
{
	struct span verb = request_form(rq, "verb");
	struct command cmd;
	struct place p;

	if (!take_place(rq, &p, true))
		return;
	if (span_eq(verb, SPAN("message"))) {
		cmd = words(&p, "message");
		add(&cmd, p.mailbox);
		add(&cmd, form_cstr(rq, "uid"));
	} else if (span_eq(verb, SPAN("mailbox"))) {
		cmd = words(&p, "mailbox");
		add(&cmd, p.mailbox);
	} else if (span_eq(verb, SPAN("since"))) {
		cmd = words(&p, "since");
		add(&cmd, form_cstr(rq, "time"));
	} else {
		page_error(rq, 404, TEXT_NO_PAGE);
		return;
	}
	act(rq, &cmd, way_back(rq, &p), "restored");
}
