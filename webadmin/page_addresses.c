/* Domains and aliases. */
#include "webadmin/web.h"

static void remove_cell(
    struct html *h, const struct request *rq, const char *action, struct span name)
{
	HTML(h, R("<td>"));
	form_begin(h, rq, action);
	hidden(h, "name", name);
	HTML(h, R("<button class=\"quiet\">"), L(REMOVE), R("</button></form></td></tr>\n"));
}

/* --- aliases
 * -------------------------------------------------------------------------------------- */
void page_aliases(struct request *rq)
{
	struct answer a;
	struct html h;

	if (!ask(rq, &WORDS("alias", "list"), &a))
		return;
	page_begin(&h, rq, TEXT_MENU_ALIASES);
	HTML(&h, R("<p>"), L(ALIASES_HINT), R("</p>\n"));
	if (a.count == 0)
		HTML(&h, R("<p class=\"hint\">"), L(NONE_YET), R("</p>\n"));
	else
		HTML(&h, R("<div class=\"scroll\"><table>\n<tr><th>"), L(ADDRESS), R("</th><th>"),
		    L(ALIAS_TARGETS), R("</th><th>"), L(ALIAS_UNTIL_SHORT),
		    R("</th><th></th></tr>\n"));
	for (size_t i = 0; i < a.count; i++) {
		HTML(&h, R("<tr><td>"), T(answer_text(&a, i, "alias")), R("</td><td>"),
		    T(answer_text(&a, i, "targets")), R("</td><td>"));
		if (answer_number(&a, i, "until"))
			html_time(&h, answer_number(&a, i, "until"));
		HTML(&h, R("</td>"));
		remove_cell(&h, rq, "/aliases/remove", answer_text(&a, i, "alias"));
	}
	if (a.count > 0)
		HTML(&h, R("</table></div>\n"));
	HTML(&h, R("<section><h2>"), L(ALIAS_ADD), R("</h2>\n"));
	form_begin(&h, rq, "/aliases/add");
	input(&h, TEXT_ALIAS_NAME, "name", "text", SPAN(""), "required autocomplete=\"off\"");
	input(&h, TEXT_ALIAS_TARGETS, "targets", "text", SPAN(""), "required autocomplete=\"off\"");
	input(&h, TEXT_ALIAS_UNTIL, "until", "text", SPAN(""), "autocomplete=\"off\"");
	form_end(&h, TEXT_ADD);
	same_command(&h, "alias add ADDRESS TARGET ... [--until DAY|+7d]");
	HTML(&h, R("</section>\n"));
	page_end(&h);
}

void action_alias_add(struct request *rq)
{
	struct command cmd = WORDS("alias", "add", form_cstr(rq, "name"));
	struct span rest = request_form(rq, "targets");

	/* Targets stand apart by spaces or commas. */
	while (rest.n > 0 && cmd.count < CALL_WORDS_MAX - 2) {
		size_t n = 0;

		while (n < rest.n && rest.p[n] != ' ' && rest.p[n] != ',')
			n++;
		if (n > 0) {
			const char *word = arena_strdup(&rq->arena, span_sub(rest, 0, n));

			cmd.words[cmd.count++] = word ? word : "";
		}
		rest = span_from(rest, n + 1);
	}
	if (request_form(rq, "until").n > 0) {
		cmd.words[cmd.count++] = "--until";
		cmd.words[cmd.count++] = form_cstr(rq, "until");
	}
	act(rq, &cmd, "/aliases", "added");
}

void action_alias_remove(struct request *rq)
{
	act(rq, &WORDS("alias", "remove", form_cstr(rq, "name")), "/aliases", "removed");
}

/* --- domains
 * -------------------------------------------------------------------------------------- */
static void domain_row(struct html *h, const struct request *rq, const struct answer *a, size_t i)
{
	struct span name = answer_text(a, i, "domain");

	HTML(h, R("<tr><td><a href=\"/domain?d="));
	html_url(h, name);
	HTML(h, R("\">"), T(name), R("</a></td><td>"), N(answer_number(a, i, "accounts")),
	    R("</td><td>"), N(answer_number(a, i, "aliases")), R("</td>"));
	remove_cell(h, rq, "/domains/remove", name);
}

void page_domains(struct request *rq)
{
	struct answer a;
	struct html h;

	if (!ask(rq, &WORDS("domain", "list"), &a))
		return;
	page_begin(&h, rq, TEXT_MENU_DOMAINS);
	HTML(&h, R("<p>"), L(DOMAINS_HINT), R("</p>\n"));
	if (a.count > 0)
		HTML(&h, R("<div class=\"scroll\"><table>\n<tr><th>"), L(DOMAIN), R("</th><th>"),
		    L(MENU_ACCOUNTS), R("</th><th>"), L(MENU_ALIASES), R("</th><th></th></tr>\n"));
	for (size_t i = 0; i < a.count; i++)
		domain_row(&h, rq, &a, i);
	if (a.count > 0)
		HTML(&h, R("</table></div>\n"));
	HTML(&h, R("<section><h2>"), L(DOMAIN_ADD), R("</h2>\n"));
	form_begin(&h, rq, "/domains/add");
	input(&h, TEXT_DOMAIN, "name", "text", SPAN(""), "required autocomplete=\"off\"");
	form_end(&h, TEXT_ADD);
	same_command(&h, "domain add DOMAIN");
	HTML(&h, R("</section>\n"));
	page_end(&h);
}

void action_domain_add(struct request *rq)
{
	act(rq, &WORDS("domain", "add", form_cstr(rq, "name")), "/domains", "added");
}

void action_domain_remove(struct request *rq)
{
	act(rq, &WORDS("domain", "remove", form_cstr(rq, "name")), "/domains", "removed");
}
