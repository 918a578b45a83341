#include "webadmin/web.h"

#include <stdio.h>
#include <time.h>

void html_init(struct html *h)
{
	strbuf_init(&h->out, WEB_PAGE_MAX);
}

void html_raw(struct html *h, const char *literal)
{
	strbuf_add_str(&h->out, literal);
}

void html_text(struct html *h, struct span text)
{
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];

		if (c == '&')
			html_raw(h, "&amp;");
		else if (c == '<')
			html_raw(h, "&lt;");
		else if (c == '>')
			html_raw(h, "&gt;");
		else if (c == '"')
			html_raw(h, "&quot;");
		else if (c == '\'')
			html_raw(h, "&#39;");
		else if (ascii_is_ctl(c) && c != '\n' && c != '\t')
			html_raw(h, "\xef\xbf\xbd");
		else
			strbuf_add_chr(&h->out, c);
	}
}

static void bytes_text(struct html *h, uint64_t n)
{
	static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
	double v = (double)n;
	size_t u = 0;

	while (v >= 1024 && u + 1 < sizeof(units) / sizeof(units[0])) {
		v /= 1024;
		u++;
	}
	strbuf_addf(&h->out, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
}

void html_value(struct html *h, const struct ipc_value *v)
{
	struct tm tm;
	time_t when = (time_t)v->number;

	switch (v->type) {
	case IPC_TEXT:
		html_text(h, v->text);
		break;
	case IPC_BOOL:
		html_raw(h, v->number ? "yes" : "no");
		break;
	case IPC_BYTES:
		bytes_text(h, v->number);
		break;
	case IPC_TIME:
		if (when > 0 && gmtime_r(&when, &tm))
			strbuf_addf(&h->out, "%04d-%02d-%02d %02d:%02d UTC", tm.tm_year + 1900,
			    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min);
		else
			html_raw(h, "never");
		break;
	default:
		strbuf_add_u64(&h->out, v->number);
		break;
	}
}

static const struct {
	const char *path, *label;
} menu[] = {
    {"/", "Home"},
    {"/accounts", "Accounts"},
    {"/domains", "Domains"},
    {"/aliases", "Aliases"},
    {"/ports", "Ports"},
    {"/queue", "Queue"},
    {"/password", "Password"},
};

void html_page_begin(struct html *h, const char *title, bool is_logged_in)
{
	html_raw(h, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
		    "<link rel=\"stylesheet\" href=\"/style.css\">\n<title>");
	html_text(h, span_of(title));
	html_raw(h, " - mailstead</title>\n</head>\n<body>\n<header><b>mailstead</b>\n");
	if (is_logged_in) {
		html_raw(h, "<nav>");
		for (size_t i = 0; i < sizeof(menu) / sizeof(menu[0]); i++) {
			html_raw(h, "<a href=\"");
			html_raw(h, menu[i].path);
			html_raw(h, "\">");
			html_raw(h, menu[i].label);
			html_raw(h, "</a>\n");
		}
		html_raw(h, "</nav>");
	}
	html_raw(h, "</header>\n<main>\n<h1>");
	html_text(h, span_of(title));
	html_raw(h, "</h1>\n");
}

void html_page_end(struct html *h)
{
	html_raw(h, "</main>\n</body>\n</html>\n");
}

void html_form_begin(struct html *h, const struct request *rq, const char *action)
{
	char csrf[17];

	csrf_token(rq->token, csrf);
	html_raw(h, "<form method=\"post\" action=\"");
	html_raw(h, action);
	html_raw(h, "\">\n<input type=\"hidden\" name=\"csrf\" value=\"");
	html_raw(h, csrf);
	html_raw(h, "\">\n");
}

void html_form_end(struct html *h, const char *button)
{
	html_raw(h, "<button type=\"submit\">");
	html_raw(h, button);
	html_raw(h, "</button>\n</form>\n");
}

void html_input(struct html *h, const char *label, const char *name, const char *type)
{
	html_raw(h, "<label>");
	html_raw(h, label);
	html_raw(h, " <input required name=\"");
	html_raw(h, name);
	html_raw(h, "\" type=\"");
	html_raw(h, type);
	html_raw(h, "\"></label>\n");
}

void html_notice(struct html *h, bool is_error, struct span text)
{
	if (text.n == 0)
		return;
	html_raw(h, is_error ? "<p class=\"error\" role=\"alert\">" : "<p class=\"done\">");
	html_text(h, text);
	html_raw(h, "</p>\n");
}

void html_command(struct html *h, const char *command)
{
	html_raw(h, "<p class=\"command\">The same in a terminal: <code>mailsteadctl ");
	html_text(h, span_of(command));
	html_raw(h, "</code></p>\n");
}
