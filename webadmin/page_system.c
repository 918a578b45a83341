/* Settings, the audit trail, and what runs. */
#include "webadmin/web.h"

#include <string.h>

/* --- a change that waits for its confirmation
 * ------------------------------------------------------- */
void pending_notice(struct html *h, struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;
	size_t i;

	if (admin_call(rq, &WORDS("confirm", "status"), &a, &err) < 0 || a.code != ERR_NONE)
		return;
	for (i = 0; i < a.count && !answer_number(&a, i, "seconds"); i++)
		;
	if (i == a.count)
		return;
	HTML(h, R("<div class=\"notice warn\"><p><b>"), L(CONFIRM_TITLE), R("</b> "),
	    L(CONFIRM_HINT), R(" <span data-seconds=\""), N(answer_number(&a, i, "seconds")),
	    R("\">"), N(answer_number(&a, i, "seconds")), R("</span> s</p>\n"));
	form_begin(h, rq, "/confirm");
	form_end(h, TEXT_CONFIRM);
	same_command(h, "confirm");
	HTML(h, R("</div>\n"));
}

void action_confirm(struct request *rq)
{
	const char *port = arena_strdup(&rq->arena, rq->port);

	/* That this form came through shows that the port is open: authd looks whether it is the
	 * one that was changed. */
	act(rq, &WORDS("confirm", port ? port : ""), "/ports", "confirmed");
}

/* --- settings
 * ---------------------------------------------------------------------------------------- */
/* authd takes these only soon after a login. */
static bool asks_password(struct span name)
{
	return span_eq(name, SPAN("acme.url")) || span_eq(name, SPAN("acme.ca_file"));
}

static void setting_row(struct html *h, struct request *rq, const struct answer *a, size_t i)
{
	struct span name = answer_text(a, i, "name");
	struct span origin = answer_text(a, i, "origin");

	HTML(h, R("<tr><td><b>"), T(name), R("</b><br><span class=\"hint\">"),
	    T(answer_text(a, i, "help")), R("</span></td><td>"));
	if (span_ends(origin, SPAN("mailstead.conf"))) {
		HTML(h, T(answer_text(a, i, "value")), R("<br><span class=\"hint\">"), L(FIXED_BY),
		    R(" "), T(origin), R(":"), N(answer_number(a, i, "line")),
		    R("</span></td></tr>\n"));
		return;
	}
	form_begin(h, rq, "/system/set");
	hidden(h, "name", name);
	HTML(h, R("<input name=\"value\" value=\""), T(answer_text(a, i, "value")),
	    R("\" aria-label=\""), T(name), R("\"> "));
	if (asks_password(name))
		sign_in_fields(h, rq);
	HTML(h, R("<button class=\"quiet\">"), L(CHANGE), R("</button></form></td></tr>\n"));
}

void page_system(struct request *rq)
{
	struct span search = request_query(rq, "q");
	struct answer a;
	struct html h;

	if (!ask(rq, &WORDS("get"), &a))
		return;
	page_begin(&h, rq, TEXT_MENU_SYSTEM);
	pending_notice(&h, rq);
	HTML(&h, R("<p>mailstead "), S(MS_VERSION), R("</p>\n"));
	form_begin(&h, rq, "/system/upgrade");
	HTML(&h, R("<p>"), L(UPGRADE_HINT), R(" <button class=\"quiet\">"), L(UPGRADE),
	    R("</button></p></form>\n"));
	same_command(&h, "upgrade");
	HTML(&h, R("<h2>"), L(SETTINGS), R("</h2>\n<p><a href=\"/system/settings\">"),
	    L(SETTINGS_EXPORT),
	    R("</a></p>\n<form method=\"get\" class=\"search\" role=\"search\"><label><span>"),
	    L(SEARCH), R("</span><input type=\"search\" name=\"q\" value=\""), T(search),
	    R("\"></label><button>"), L(SEARCH),
	    R("</button></form>\n<div class=\"scroll\"><table>\n"));
	for (size_t i = 0; i < a.count; i++) {
		struct span name = answer_text(&a, i, "name");

		/* Those of the backup have a page of their own. */
		if (!span_starts(name, SPAN("listener.")) && !span_starts(name, SPAN("backup.")) &&
		    (search.n == 0 || span_ifind(name, search) >= 0 ||
			span_ifind(answer_text(&a, i, "help"), search) >= 0))
			setting_row(&h, rq, &a, i);
	}
	HTML(&h, R("</table></div>\n"));
	same_command(&h, "set NAME VALUE");
	page_end(&h);
}

/* What differs from the defaults, as a file that mailstead.conf could be. */
void download_settings(struct request *rq)
{
	struct answer a;
	struct strbuf b;

	if (!ask(rq, &WORDS("diff"), &a))
		return;
	strbuf_init(&b, WEB_PAGE_MAX);
	for (size_t i = 0; i < a.count; i++) {
		struct span value = answer_text(&a, i, "value");

		strbuf_add(&b, answer_text(&a, i, "name"));
		strbuf_add_str(&b, " = \"");
		for (size_t k = 0; k < value.n; k++) {
			if (value.p[k] == '"' || value.p[k] == '\\')
				strbuf_add_chr(&b, '\\');
			strbuf_add_chr(&b, value.p[k]);
		}
		strbuf_add_str(&b, "\"\n");
	}
	send_bytes(200, "text/plain; charset=utf-8", "mailstead.conf", strbuf_span(&b));
	strbuf_clear(&b);
}

/* The programs that are installed now take over from those that run; no session ends. */
void action_upgrade(struct request *rq)
{
	act(rq, &WORDS("upgrade"), "/system", "changed");
}

/* The port that this page came from is closed by now, and only the new one can confirm: a link,
 * since forms may not lead to another origin. */
static void page_moved(struct request *rq, const char *port)
{
	struct span host = rq->host;
	ssize_t colon = span_rchr(host, ':');
	struct html h;

	if (colon > 0 && colon > span_rchr(host, ']'))
		host = span_sub(host, 0, (size_t)colon);
	page_begin(&h, rq, TEXT_WEB_MOVED);
	notice_begin(&h, NOTICE_WARN);
	if (strcmp(port, "0") == 0) {
		HTML(&h, L(WEB_OFF_HINT));
		notice_end(&h);
		same_command(&h, "confirm");
	} else {
		HTML(&h, L(WEB_MOVED_HINT));
		notice_end(&h);
		HTML(&h, R("<p><a class=\"button\" href=\"https://"), T(host), R(":"), S(port),
		    R("/system\">"), L(WEB_MOVED_LINK), R("</a></p>\n"));
	}
	page_end(&h);
}

void action_setting(struct request *rq)
{
	struct answer a;

	if (strcmp(form_cstr(rq, "name"), "web.port") == 0) {
		if (ask(rq, &WORDS("set", "web.port", form_cstr(rq, "value")), &a))
			page_moved(rq, form_cstr(rq, "value"));
		return;
	}
	if (asks_password(request_form(rq, "name")) && !sign_in_again(rq, "/system"))
		return;
	act(rq, &WORDS("set", form_cstr(rq, "name"), form_cstr(rq, "value")), "/system", "changed");
}

/* --- failed logins
 * ------------------------------------------------------------------------------------- */
static void failure_row(struct html *h, const struct request *rq, const struct answer *a, size_t i)
{
	HTML(h, R("<tr><td>"), T(answer_text(a, i, "kind")), R("</td><td>"),
	    T(answer_text(a, i, "who")), R("</td><td>"), N(answer_number(a, i, "failures")),
	    R("</td><td>"));
	if (answer_number(a, i, "stopped"))
		dot(h, NOTICE_BAD, TEXT_FAILURES_STOPPED);
	HTML(h, R("</td><td>"));
	form_begin(h, rq, "/logs/failures");
	hidden(h, "verb", SPAN("forget"));
	hidden(h, "who", answer_text(a, i, "who"));
	HTML(h, R("<button class=\"quiet\">"), L(FAILURES_FORGET),
	    R("</button></form></td></tr>\n"));
}

static void failures(struct html *h, struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (admin_call(rq, &WORDS("failures", "list"), &a, &err) < 0 || a.code != ERR_NONE)
		return;
	HTML(h, R("<section><h2>"), L(FAILURES), R("</h2>\n<p>"), L(FAILURES_HINT), R("</p>\n"));
	if (a.count == 0)
		HTML(h, R("<p>"), L(NONE_YET), R("</p>\n"));
	else
		HTML(h, R("<div class=\"scroll\"><table>\n<tr><th>"), L(KIND), R("</th><th>"),
		    L(WHO), R("</th><th>"), L(FAILURES_COUNT), R("</th><th></th><th></th></tr>\n"));
	for (size_t i = 0; i < a.count && i < 200; i++)
		failure_row(h, rq, &a, i);
	if (a.count > 0)
		HTML(h, R("</table></div>\n"));
	form_begin(h, rq, "/logs/failures");
	hidden(h, "verb", SPAN("block"));
	input(h, TEXT_FAILURES_ADDRESS, "who", "text", SPAN(""), "required maxlength=\"50\"");
	form_end(h, TEXT_FAILURES_BLOCK);
	same_command(h, "failures list, failures forget ADDRESS|ACCOUNT, failures block ADDRESS");
	HTML(h, R("</section>\n"));
}

void action_failures(struct request *rq)
{
	bool is_block = span_eq(request_form(rq, "verb"), SPAN("block"));

	act(rq, &WORDS("failures", is_block ? "block" : "forget", form_cstr(rq, "who")), "/logs",
	    "changed");
}

/* --- the audit trail
 * ----------------------------------------------------------------------------------- */
void page_logs(struct request *rq)
{
	struct answer a;
	struct html h;

	if (!ask(rq, &WORDS("audit", "list", "200"), &a))
		return;
	page_begin(&h, rq, TEXT_MENU_LOGS);
	HTML(&h, R("<h2>"), L(AUDIT), R("</h2>\n<p>"), L(AUDIT_HINT),
	    R("</p>\n<div class=\"scroll\"><table>\n<tr><th>"), L(TIME), R("</th><th>"), L(WHO),
	    R("</th><th>"), L(COMMAND), R("</th><th>"), L(RESULT), R("</th></tr>\n"));
	for (size_t i = a.count; i-- > 0;) {
		HTML(&h, R("<tr><td>"));
		html_time(&h, answer_number(&a, i, "time"));
		HTML(&h, R("</td><td>"), T(answer_text(&a, i, "who")),
		    R("<br><span class=\"hint\">"), T(answer_text(&a, i, "client")),
		    R("</span></td><td><code>"), T(answer_text(&a, i, "command")),
		    R("</code></td><td>"), T(answer_text(&a, i, "result")), R("</td></tr>\n"));
	}
	HTML(&h, R("</table></div>\n"));
	same_command(&h, "audit list 200");
	failures(&h, rq);
	HTML(&h, R("<section><h2>"), L(RECORD), R("</h2>\n<p>"), L(RECORD_HINT), R("</p>\n"));
	form_begin(&h, rq, "/logs/record");
	input(&h, TEXT_RECORD_CLIENT, "client", "text", SPAN(""), "required maxlength=\"45\"");
	form_end(&h, TEXT_RECORD_BEGIN);
	same_command(&h, "record CLIENT-ADDRESS");
	HTML(&h, R("</section>\n"));
	page_end(&h);
}

void action_record(struct request *rq)
{
	act(rq, &WORDS("record", form_cstr(rq, "client")), "/logs", "recording");
}
