/* The fourth door to a certificate: an authority that checks by itself whose the names are. */
#include "webadmin/web.h"

static void entry_row(struct html *h, const struct request *rq, const struct answer *a, size_t i)
{
	struct span id = answer_text(a, i, "id");
	struct span state = answer_text(a, i, "state");

	HTML(h, R("<tr><td><a href=\"/certificate?id="));
	html_url(h, id);
	HTML(h, R("\">"), T(id), R("</a><br><span class=\"hint\">"), T(answer_text(a, i, "names")),
	    R("</span></td><td>"));
	dot(h,
	    span_eq(state, SPAN("ok"))       ? NOTICE_GOOD
	    : span_eq(state, SPAN("failed")) ? NOTICE_BAD
					     : NOTICE_WARN,
	    span_eq(state, SPAN("ok"))       ? TEXT_ACME_OK
	    : span_eq(state, SPAN("failed")) ? TEXT_ACME_FAILED
					     : TEXT_ACME_RUNNING);
	HTML(
	    h, R("<br><span class=\"hint\">"), T(answer_text(a, i, "text")), R("</span></td><td>"));
	html_time(h, answer_number(a, i, "last"));
	HTML(h, R("</td><td>"));
	html_time(h, answer_number(a, i, "next"));
	HTML(h, R("</td><td>"));
	form_begin(h, rq, "/certificates/do");
	hidden(h, "verb", SPAN("acme-stop"));
	hidden(h, "id", id);
	HTML(h, R("<button class=\"quiet\">"), L(ACME_STOP), R("</button></form></td></tr>\n"));
}

static void entries(struct html *h, const struct request *rq, const struct answer *a)
{
	if (a->count == 0)
		return;
	HTML(h, R("<div class=\"scroll\"><table>\n<tr><th>"), L(CERTIFICATE_ID), R("</th><th>"),
	    L(STATE), R("</th><th>"), L(ACME_LAST), R("</th><th>"), L(ACME_NEXT),
	    R("</th><th></th></tr>\n"));
	for (size_t i = 0; i < a->count; i++)
		entry_row(h, rq, a, i);
	HTML(h, R("</table></div>\n"));
}

void acme_door(struct html *h, struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (admin_call(rq, &WORDS("cert", "acme", "list"), &a, &err) < 0 || a.code != ERR_NONE)
		return;
	HTML(
	    h, R("<section id=\"acme\"><h2>"), L(ACME), R("</h2>\n<p>"), L(ACME_HINT), R("</p>\n"));
	entries(h, rq, &a);
	form_begin(h, rq, "/certificates/do");
	hidden(h, "verb", SPAN("acme"));
	HTML(h, R("<div class=\"row\">"));
	input(h, TEXT_CERTIFICATE_ID, "id", "text", SPAN("default"), CERT_ID_RULE);
	input(h, TEXT_CERT_NAMES, "names", "text", SPAN(""), "");
	HTML(h,
	    R("</div><label class=\"tick\"><input type=\"checkbox\" name=\"agree\" value=\"yes\" "
	      "required> "),
	    L(ACME_AGREE), R(" <code>"), S(config_str(rq->cfg, SET_ACME_URL)),
	    R("</code></label>\n"));
	form_end(h, TEXT_ACME_GET);
	same_command(h, "cert acme issue ID [NAME...] --agree");
	HTML(h, R("<p class=\"hint\"><a href=\"/system?q=acme.\">"), L(ACME_SETTINGS),
	    R("</a></p>\n</section>\n"));
}
