#include "webadmin/web.h"

#include <string.h>

struct menu_item {
	const char *path;
	enum text_id label;
	bool is_admin; /* of administrators; else of people with a mailbox */
};

static const struct menu_item menu[] = {
    {"/", TEXT_MENU_HOME, true},
    {"/accounts", TEXT_MENU_ACCOUNTS, true},
    {"/aliases", TEXT_MENU_ALIASES, true},
    {"/domains", TEXT_MENU_DOMAINS, true},
    {"/ports", TEXT_MENU_PORTS, true},
    {"/certificates", TEXT_MENU_CERTIFICATES, true},
    {"/network", TEXT_NETWORK, true},
    {"/routes", TEXT_ROUTES, true},
    {"/queue", TEXT_MENU_QUEUE, true},
    {"/trace", TEXT_MENU_TRACE, true},
    {"/logs", TEXT_MENU_LOGS, true},
    {"/backup", TEXT_BACKUP, true},
    {"/system", TEXT_MENU_SYSTEM, true},
    {"/me", TEXT_MENU_ME, false},
};

static void put_cstr(struct html *h, const char *s)
{
	HTML(h, S(s));
}

/* "/accounts" is current for "/account" too: pages of one thing belong to the list's entry. */
static bool is_current(const struct menu_item *m, struct span path)
{
	struct span item = span_of(m->path);

	if (span_eq(item, path))
		return true;
	if (item.n > 1 && path.n > item.n && span_starts(path, item) && path.p[item.n] == '/')
		return true;
	return item.n > 1 && path.n > 1 && path.n == item.n - 1 && span_starts(item, path);
}

static void put_menu(struct html *h, const struct request *rq)
{
	HTML(h, R("<nav aria-label=\""), L(MENU), R("\"><ul>\n"));
	for (size_t i = 0; i < ARRAY_LEN(menu); i++) {
		if (menu[i].is_admin && !rq->is_admin)
			continue;
		HTML(h, R("<li><a href=\""));
		put_cstr(h, menu[i].path);
		HTML(h, R("\""));
		if (is_current(&menu[i], rq->path))
			HTML(h, R(" aria-current=\"page\""));
		HTML(h, R(">"), LID(menu[i].label), R("</a></li>\n"));
	}
	HTML(h, R("</ul></nav>\n"));
}

static void put_user(struct html *h, const struct request *rq)
{
	HTML(h, R("<div class=\"who\"><span>"), T(rq->user), R("</span>"));
	form_begin(h, rq, "/logout");
	HTML(h, R("<button class=\"quiet\">"), L(SIGN_OUT), R("</button></form></div>\n"));
}

/* What the page before has done: a word of ours in the query. */
static void put_done(struct html *h, const struct request *rq)
{
	static const struct {
		const char *word;
		enum text_id text;
	} all[] = {
	    {"added", TEXT_DONE_ADDED},
	    {"changed", TEXT_DONE_CHANGED},
	    {"removed", TEXT_DONE_REMOVED},
	    {"begun", TEXT_DONE_BEGUN},
	    {"sent", TEXT_DONE_SENT},
	    {"ordered", TEXT_DONE_ORDERED},
	    {"restored", TEXT_DONE_RESTORED},
	    {"recording", TEXT_DONE_RECORDING},
	    {"confirmed", TEXT_DONE_CONFIRMED},
	    {"reverted", TEXT_DONE_REVERTED},
	};
	struct span word = request_query(rq, "done");

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (!span_eq(word, span_of(all[i].word)))
			continue;
		notice_begin(h, NOTICE_GOOD);
		HTML(h, LID(all[i].text));
		notice_end(h);
	}
}

void page_begin(struct html *h, const struct request *rq, enum text_id title)
{
	bool is_inside = rq->user.n > 0 && !rq->is_setup;

	html_init(h);
	HTML(h,
	    R("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	      "<link rel=\"stylesheet\" href=\"/style.css\">\n"
	      "<script src=\"/app.js\" defer></script>\n<title>"),
	    LID(title),
	    R(" - mailstead</title>\n</head>\n<body>\n"
	      "<a class=\"skip\" href=\"#main\">"),
	    L(SKIP), R("</a>\n<header><a class=\"brand\" href=\"/\">mailstead</a>\n"));
	if (is_inside)
		put_user(h, rq);
	HTML(h, R("</header>\n"));
	if (is_inside)
		put_menu(h, rq);
	HTML(h, R("<main id=\"main\""));
	if (!is_inside)
		HTML(h, R(" class=\"narrow\""));
	HTML(h, R(">\n<h1>"), LID(title), R("</h1>\n"));
	put_done(h, rq);
}

void page_end_status(struct html *h, int status)
{
	HTML(h, R("</main>\n</body>\n</html>\n"));
	send_page(status, h, NULL);
}

void page_end(struct html *h)
{
	page_end_status(h, 200);
}

void page_error(struct request *rq, int status, enum text_id text)
{
	struct html h;

	page_begin(&h, rq, TEXT_FAILED_TITLE);
	notice_begin(&h, NOTICE_BAD);
	HTML(&h, LID(text));
	notice_end(&h);
	page_end_status(&h, status);
}

void page_failed(struct request *rq, struct span text, const char *back)
{
	struct html h;

	page_begin(&h, rq, TEXT_FAILED_TITLE);
	notice_begin(&h, NOTICE_BAD);
	HTML(&h, T(text));
	notice_end(&h);
	HTML(&h, R("<p>"), L(FAILED_NOTHING), R("</p>\n<p><a class=\"button\" href=\""), S(back),
	    R("\">"), L(BACK), R("</a></p>\n"));
	page_end_status(&h, 409);
}

void notice_begin(struct html *h, enum notice kind)
{
	switch (kind) {
	case NOTICE_GOOD:
		HTML(h, R("<p class=\"notice good\" role=\"status\">"));
		break;
	case NOTICE_WARN:
		HTML(h, R("<p class=\"notice warn\">"));
		break;
	case NOTICE_BAD:
		HTML(h, R("<p class=\"notice bad\" role=\"alert\">"));
		break;
	default:
		HTML(h, R("<p class=\"notice\">"));
		break;
	}
}

void notice_end(struct html *h)
{
	HTML(h, R("</p>\n"));
}

void form_begin(struct html *h, const struct request *rq, const char *action)
{
	char csrf[17];

	csrf_token(rq->token, csrf);
	HTML(h, R("<form method=\"post\" action=\""), S(action),
	    R("\" enctype=\"multipart/form-data\">"
	      "<input type=\"hidden\" name=\"csrf\" value=\""),
	    S(csrf), R("\">\n"));
}

void form_end(struct html *h, enum text_id button)
{
	HTML(h, R("<p><button>"), LID(button), R("</button></p>\n</form>\n"));
}

void form_end_danger(struct html *h, enum text_id button)
{
	HTML(h,
	    R("<label class=\"tick\"><input type=\"checkbox\" name=\"sure\" value=\"yes\" "
	      "required> "),
	    L(SURE), R("</label>\n<p><button class=\"danger\">"), LID(button),
	    R("</button></p>\n</form>\n"));
}

void input(struct html *h, enum text_id label, const char *name, const char *type,
    struct span value, const char *attributes)
{
	HTML(h, R("<label><span>"), LID(label), R("</span><input name=\""), S(name),
	    R("\" type=\""), S(type), R("\" value=\""), T(value), R("\" "));
	/* Attributes of ours: never with anything from outside. */
	strbuf_add_str(&h->out, attributes);
	HTML(h, R("></label>\n"));
}

void hidden(struct html *h, const char *name, struct span value)
{
	HTML(h, R("<input type=\"hidden\" name=\""), S(name), R("\" value=\""), T(value),
	    R("\">\n"));
}

void choose(struct html *h, enum text_id label, const char *name, const struct choice *c, size_t n,
    struct span chosen)
{
	HTML(h, R("<label><span>"), LID(label), R("</span><select name=\""), S(name), R("\">"));
	for (size_t i = 0; i < n; i++) {
		HTML(h, R("<option value=\""), S(c[i].value), R("\""));
		if (span_eq(span_of(c[i].value), chosen))
			HTML(h, R(" selected"));
		HTML(h, R(">"), T(c[i].label), R("</option>"));
	}
	HTML(h, R("</select></label>\n"));
}

void same_command(struct html *h, const char *command)
{
	HTML(h, R("<p class=\"command\">"), L(SAME_COMMAND), R(" <code>mailsteadctl "), S(command),
	    R("</code></p>\n"));
}

void copy_box(struct html *h, struct span text)
{
	HTML(h, R("<span class=\"copy\"><code>"), T(text), R("</code></span>"));
}

void dot(struct html *h, enum notice kind, enum text_id label)
{
	static const char *const classes[] = {"good", "warn", "bad", "off"};

	HTML(h, R("<span class=\"dot "), S(classes[kind]), R("\">"), LID(label), R("</span>"));
}

void record_table(struct html *h, const struct answer *a, const char *link)
{
	struct dec d = dec_of(a->records[0]);
	struct ipc_value v;

	HTML(h, R("<div class=\"scroll\"><table>\n<tr>"));
	while (ipc_rec_next(&d, &v))
		HTML(h, R("<th>"), T(v.name), R("</th>"));
	HTML(h, R("</tr>\n"));
	for (size_t i = 0; i < a->count; i++) {
		bool is_first = true;

		HTML(h, R("<tr>"));
		d = dec_of(a->records[i]);
		while (ipc_rec_next(&d, &v)) {
			HTML(h, R("<td>"));
			if (is_first && link) {
				HTML(h, R("<a href=\""), S(link));
				html_url(h, v.text);
				HTML(h, R("\">"), T(v.text), R("</a>"));
			} else {
				html_value(h, &v);
			}
			HTML(h, R("</td>"));
			is_first = false;
		}
		HTML(h, R("</tr>\n"));
	}
	HTML(h, R("</table></div>\n"));
}
