/* How mail leaves: directly, or through servers that take it for all or for some domains. */
#include "webadmin/web.h"

static const struct choice tls_kinds[] = {
    {"verified", SPAN_INIT("verified: TLS, and the certificate must be right")},
    {"required", SPAN_INIT("required: TLS, whatever the certificate")},
    {"opportunistic", SPAN_INIT("opportunistic: TLS where it is offered")},
    {"none", SPAN_INIT("none: never TLS")},
};

static void route_row(struct html *h, const struct request *rq, const struct answer *a, size_t i)
{
	HTML(h, R("<tr><td>"), T(answer_text(a, i, "for")), R("</td><td>"),
	    T(answer_text(a, i, "host")), R("</td><td>"), N(answer_number(a, i, "port")),
	    R("</td><td>"), T(answer_text(a, i, "tls")), R("</td><td>"),
	    T(answer_text(a, i, "user")), R("</td><td>"));
	form_begin(h, rq, "/routes/remove");
	hidden(h, "for", answer_text(a, i, "for"));
	HTML(h, R("<button class=\"quiet\">"), L(REMOVE), R("</button></form></td></tr>\n"));
}

void smarthost_form(struct html *h, const struct request *rq, const char *action, bool is_for_all)
{
	HTML(h, R("<section><h2>"), L(ROUTE_ADD), R("</h2>\n"));
	form_begin(h, rq, action);
	HTML(h, R("<div class=\"row\">"));
	if (is_for_all)
		hidden(h, "for", SPAN("all"));
	else
		input(h, TEXT_ROUTE_FOR, "for", "text", SPAN("all"), "required");
	input(h, TEXT_ROUTE_HOST, "host", "text", SPAN(""),
	    "required placeholder=\"smtp.provider.example:587\"");
	choose(h, TEXT_TLS, "tls", tls_kinds, ARRAY_LEN(tls_kinds), SPAN("verified"));
	HTML(h, R("</div><div class=\"row\">"));
	input(h, TEXT_ROUTE_USER, "user", "text", SPAN(""), "autocomplete=\"off\"");
	input(h, TEXT_PASSWORD, "password", "password", SPAN(""), "autocomplete=\"off\"");
	HTML(h, R("</div>\n"));
	form_end(h, TEXT_ADD);
	same_command(h, "route add all|to:DOMAIN|from:DOMAIN HOST[:PORT]|direct [tls=KIND] "
			"[user=NAME --password-stdin]");
	HTML(h, R("</section>\n"));
}

/* --- rules of TLS: the setting outbound.tls_rules, "example.com=verified, .example.org=none"
 * ------
 */
static const struct choice rule_kinds[] = {
    {"verified", SPAN_INIT("verified: TLS, and the certificate must be right")},
    {"dane", SPAN_INIT("dane: TLS by the domain's own TLSA records, which must be there")},
    {"required", SPAN_INIT("required: TLS, whatever the certificate")},
    {"opportunistic", SPAN_INIT("opportunistic: TLS where it is offered")},
    {"none", SPAN_INIT("none: never TLS")},
};

/* The next "domain=rule" of the setting's text. */
static bool rule_next(struct span *rest, struct span *domain, struct span *rule)
{
	struct span word;

	while (span_split(rest, ',', &word)) {
		word = span_trim(word);
		if (word.n == 0)
			continue;
		*rule = word;
		if (!span_split(rule, '=', domain))
			continue;
		*domain = span_trim(*domain);
		*rule = span_trim(*rule);
		return true;
	}
	return false;
}

static void tls_rules(struct html *h, const struct request *rq)
{
	struct span rest = span_of(config_str(rq->cfg, SET_OUTBOUND_TLS_RULES));
	struct span domain, rule;

	HTML(h, R("<section id=\"tls\"><h2>"), L(TLS_RULES), R("</h2>\n<p>"), L(TLS_RULES_HINT),
	    R(" <code>"), S(config_str(rq->cfg, SET_OUTBOUND_TLS)),
	    R("</code></p>\n<div class=\"scroll\"><table>\n"));
	while (rule_next(&rest, &domain, &rule)) {
		HTML(h, R("<tr><td>"), T(domain), R("</td><td>"), T(rule), R("</td><td>"));
		form_begin(h, rq, "/routes/tls-rule");
		hidden(h, "domain", domain);
		HTML(
		    h, R("<button class=\"quiet\">"), L(REMOVE), R("</button></form></td></tr>\n"));
	}
	HTML(h, R("</table></div>\n"));
	form_begin(h, rq, "/routes/tls-rule");
	HTML(h, R("<div class=\"row\">"));
	input(h, TEXT_TLS_RULE_DOMAIN, "domain", "text", SPAN(""),
	    "required maxlength=\"254\" pattern=\"[^=, ]+\" placeholder=\"example.com\"");
	choose(h, TEXT_TLS, "rule", rule_kinds, ARRAY_LEN(rule_kinds), SPAN("verified"));
	HTML(h, R("</div>\n"));
	form_end(h, TEXT_ADD);
	same_command(h, "tls-rule add DOMAIN RULE");
	HTML(h, R("</section>\n"));
}

/* The rule of a domain is set, or removed where the form has none. */
void action_tls_rule(struct request *rq)
{
	const char *domain = arena_strdup(&rq->arena, request_form(rq, "domain"));
	const char *rule = arena_strdup(&rq->arena, request_form(rq, "rule"));

	if (rule[0])
		act(rq, &WORDS("tls-rule", "add", domain, rule), "/routes", "added");
	else
		act(rq, &WORDS("tls-rule", "remove", domain), "/routes", "removed");
}

void page_routes(struct request *rq)
{
	struct answer a;
	struct html h;

	if (!ask(rq, &WORDS("route", "list"), &a))
		return;
	page_begin(&h, rq, TEXT_ROUTES);
	HTML(&h, R("<p>"), L(ROUTES_HINT), R("</p>\n"));
	if (a.count == 0) {
		HTML(&h, R("<p>"), L(ROUTES_NONE), R("</p>\n"));
	} else {
		HTML(&h, R("<div class=\"scroll\"><table>\n<tr><th>"), L(CERT_FOR), R("</th><th>"),
		    L(SERVER), R("</th><th>"), L(PORT), R("</th><th>"), L(TLS), R("</th><th>"),
		    L(ROUTE_USER), R("</th><th></th></tr>\n"));
		for (size_t i = 0; i < a.count; i++)
			route_row(&h, rq, &a, i);
		HTML(&h, R("</table></div>\n"));
	}
	smarthost_form(&h, rq, "/routes/add", false);
	tls_rules(&h, rq);
	page_end(&h);
}

static const char *with_name(struct request *rq, const char *name, const char *field)
{
	struct strbuf b;
	const char *s;

	strbuf_init(&b, 1024);
	strbuf_addf(&b, "%s=", name);
	strbuf_add(&b, request_form(rq, field));
	s = b.failed ? NULL : arena_strdup(&rq->arena, strbuf_span(&b));
	strbuf_clear(&b);
	return s ? s : "";
}

struct command smarthost_command(struct request *rq)
{
	struct command cmd = WORDS("route", "add", form_cstr(rq, "for"), form_cstr(rq, "host"));

	if (!span_eq(request_form(rq, "host"), SPAN("direct")))
		cmd.words[cmd.count++] = with_name(rq, "tls", "tls");
	if (request_form(rq, "user").n > 0) {
		cmd.words[cmd.count++] = with_name(rq, "user", "user");
		cmd.secret = request_form(rq, "password");
	}
	return cmd;
}

void action_route_add(struct request *rq)
{
	struct command cmd = smarthost_command(rq);

	act(rq, &cmd, "/routes", "added");
}

void action_route_remove(struct request *rq)
{
	act(rq, &WORDS("route", "remove", form_cstr(rq, "for")), "/routes", "removed");
}
