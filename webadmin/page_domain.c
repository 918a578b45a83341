/* A domain: the records that it needs in the DNS, each with a box to copy, why it is there and how
 * it stands; and its signing keys. */
#include "webadmin/web.h"

static enum notice notice_of(struct span status, struct span importance)
{
	if (span_eq(status, SPAN("ok")))
		return NOTICE_GOOD;
	if (span_eq(status, SPAN("unknown")))
		return NOTICE_INFO;
	return span_eq(importance, SPAN("required")) ? NOTICE_BAD : NOTICE_WARN;
}

static enum text_id status_label(struct span status)
{
	if (span_eq(status, SPAN("ok")))
		return TEXT_DNS_OK;
	if (span_eq(status, SPAN("missing")))
		return TEXT_DNS_MISSING;
	return span_eq(status, SPAN("differs")) ? TEXT_DNS_DIFFERS : TEXT_DNS_UNKNOWN;
}

static void box(struct html *h, enum text_id label, struct span text)
{
	HTML(h, R("<dt>"), LID(label), R("</dt><dd>"));
	if (text.n > 0)
		copy_box(h, text);
	else
		HTML(h, L(DNS_NOT_KNOWN));
	HTML(h, R("</dd>"));
}

static void record(struct html *h, const struct answer *a, size_t i)
{
	struct span status = answer_text(a, i, "status");
	struct span importance = answer_text(a, i, "importance");
	struct span advice = answer_text(a, i, "advice");
	struct span found = answer_text(a, i, "found");

	HTML(h, R("<section class=\"record\"><h3>"), T(answer_text(a, i, "type")), R(" <small>"));
	HTML(h,
	    LID(span_eq(importance, SPAN("required"))      ? TEXT_DNS_REQUIRED
		: span_eq(importance, SPAN("recommended")) ? TEXT_DNS_RECOMMENDED
							   : TEXT_DNS_OPTIONAL),
	    R("</small> "));
	if (status.n > 0)
		dot(h, notice_of(status, importance), status_label(status));
	HTML(h, R("</h3>\n<p>"), T(answer_text(a, i, "why")), R("</p>\n<dl>"));
	box(h, TEXT_NAME, answer_text(a, i, "name"));
	box(h, TEXT_DNS_VALUE, answer_text(a, i, "value"));
	if (found.n > 0 && !span_eq(status, SPAN("ok")))
		HTML(h, R("<dt>"), L(DNS_FOUND), R("</dt><dd><code>"), T(found), R("</code></dd>"));
	HTML(h, R("</dl>\n"));
	if (advice.n > 0)
		HTML(h, R("<p class=\"hint\">"), T(advice), R("</p>\n"));
	HTML(h, R("</section>\n"));
}

/* --- signing keys
 * --------------------------------------------------------------------------------------- */
static void key_form(struct html *h, const struct request *rq, struct span domain, const char *verb,
    enum text_id label)
{
	form_begin(h, rq, "/domain/keys");
	hidden(h, "name", domain);
	hidden(h, "verb", span_of(verb));
	HTML(h, R("<button class=\"quiet\">"), LID(label), R("</button></form>\n"));
}

static void keys(struct html *h, struct request *rq, const char *domain)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (admin_call(rq, &WORDS("dkim", "list", domain), &a, &err) < 0 || a.code != ERR_NONE ||
	    a.count == 0)
		return;
	HTML(h, R("<section><h2>"), L(DKIM), R("</h2>\n<p>"), L(DKIM_HINT), R("</p>\n"));
	record_table(h, &a, NULL);
	HTML(h, R("<div class=\"row\">"));
	key_form(h, rq, span_of(domain), "rotate", TEXT_DKIM_ROTATE);
	key_form(h, rq, span_of(domain), "activate", TEXT_DKIM_ACTIVATE);
	key_form(h, rq, span_of(domain), "cancel", TEXT_DKIM_CANCEL);
	HTML(h, R("</div>\n"));
	same_command(h, "dkim rotate|activate|cancel DOMAIN");
	HTML(h, R("</section>\n"));
}

static const char *domain_page(struct request *rq, struct span domain)
{
	struct html h;
	const char *path;

	html_init(&h);
	strbuf_add_str(&h.out, "/domain?d=");
	html_url(&h, domain);
	path = arena_strdup(&rq->arena, strbuf_span(&h.out));
	strbuf_clear(&h.out);
	return path ? path : "/domains";
}

void action_domain_keys(struct request *rq)
{
	static const char *const verbs[] = {"rotate", "activate", "cancel"};
	struct span verb = request_form(rq, "verb");

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (span_eq(verb, span_of(verbs[i]))) {
			act(rq, &WORDS("dkim", verbs[i], form_cstr(rq, "name")),
			    domain_page(rq, request_form(rq, "name")), "changed");
			return;
		}
	page_error(rq, 404, TEXT_NO_PAGE);
}

/* --- the page
 * ------------------------------------------------------------------------------------------------
 */
static void tools(struct html *h, struct span domain, bool is_checked)
{
	HTML(h, R("<p><a class=\"button\" href=\"/domain?check=1&amp;d="));
	html_url(h, domain);
	HTML(h, R("\">"), LID(is_checked ? TEXT_DNS_AGAIN : TEXT_DNS_CHECK),
	    R("</a> <a class=\"button quiet\" href=\"/domain/zone?d="));
	html_url(h, domain);
	HTML(h, R("\">"), L(DNS_ZONE), R("</a></p>\n"));
}

static void summary(struct html *h, const struct answer *a)
{
	size_t bad = 0, warn = 0;

	for (size_t i = 0; i < a->count; i++) {
		enum notice n =
		    notice_of(answer_text(a, i, "status"), answer_text(a, i, "importance"));

		bad += n == NOTICE_BAD;
		warn += n == NOTICE_WARN;
	}
	notice_begin(h, bad > 0 ? NOTICE_BAD : warn > 0 ? NOTICE_WARN : NOTICE_GOOD);
	HTML(h, LID(bad > 0 ? TEXT_DNS_BAD : warn > 0 ? TEXT_DNS_WARN : TEXT_DNS_GOOD));
	notice_end(h);
}

void page_domain(struct request *rq)
{
	const char *domain = arena_strdup(&rq->arena, request_query(rq, "d"));
	bool is_checked = request_query(rq, "check").n > 0;
	struct command cmd = WORDS("domain", "dns", domain, "--check");
	struct answer a;
	struct html h;

	if (!is_checked)
		cmd.count--;
	if (!domain || domain[0] == '-') {
		page_error(rq, 400, TEXT_BAD_REQUEST);
		return;
	}
	if (!ask(rq, &cmd, &a))
		return;
	page_begin(&h, rq, TEXT_DOMAIN);
	HTML(&h, R("<p class=\"subject\">"), S(domain), R("</p>\n"));
	if (is_checked)
		summary(&h, &a);
	HTML(&h, R("<p>"), L(DNS_HINT), R("</p>\n"));
	tools(&h, span_of(domain), is_checked);
	for (size_t i = 0; i < a.count; i++)
		if (answer_text(&a, i, "type").n > 0)
			record(&h, &a, i);
	same_command(&h, is_checked ? "domain dns DOMAIN --check" : "domain dns DOMAIN");
	keys(&h, rq, domain);
	page_end(&h);
}

void download_zone(struct request *rq)
{
	const char *domain = arena_strdup(&rq->arena, request_query(rq, "d"));
	struct answer a;

	if (!domain || domain[0] == '-')
		page_error(rq, 400, TEXT_BAD_REQUEST);
	else if (ask(rq, &WORDS("domain", "dns", domain, "--zone"), &a))
		send_bytes(
		    200, "text/dns; charset=utf-8", "domain.zone", answer_text(&a, 0, "zone"));
}
