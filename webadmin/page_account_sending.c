/* What an account may send: as whom besides itself, and how much. */
#include "webadmin/web.h"

#include <stdio.h>

static const struct {
	const char *name;
	enum text_id label;
} limits[] = {
    {"per_minute", TEXT_LIMIT_MINUTE},
    {"per_hour", TEXT_LIMIT_HOUR},
    {"per_day", TEXT_LIMIT_DAY},
    {"new_recipients_per_day", TEXT_LIMIT_NEW},
    {"sessions", TEXT_LIMIT_SESSIONS},
    {"pause", TEXT_LIMIT_PAUSE},
};

static const char *path_of(struct request *rq, struct span address)
{
	struct html h;
	const char *path;

	html_init(&h);
	strbuf_add_str(&h.out, "/account?a=");
	html_url(&h, address);
	path = arena_strdup(&rq->arena, strbuf_span(&h.out));
	strbuf_clear(&h.out);
	return path ? path : "/accounts";
}

static void senders(struct html *h, struct request *rq, const char *address)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (admin_call(rq, &WORDS("sender", "list", address), &a, &err) < 0 || a.code != ERR_NONE)
		return;
	for (size_t i = 0; i < a.count; i++) {
		struct span sender = answer_text(&a, i, "sender");

		form_begin(h, rq, "/account/sender-remove");
		hidden(h, "name", span_of(address));
		hidden(h, "sender", sender);
		HTML(h, R("<p><code>"), T(sender), R("</code> <button class=\"quiet\">"), L(REMOVE),
		    R("</button></p></form>\n"));
	}
	form_begin(h, rq, "/account/sender");
	hidden(h, "name", span_of(address));
	input(h, TEXT_SENDER, "sender", "text", SPAN(""), "required autocomplete=\"off\"");
	form_end(h, TEXT_ADD);
	same_command(h, "sender add ACCOUNT ADDRESS|@DOMAIN");
}

static void limit_form(struct html *h, struct request *rq, const char *address)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (admin_call(rq, &WORDS("account", "limits", address), &a, &err) < 0 ||
	    a.code != ERR_NONE || a.count == 0)
		return;
	form_begin(h, rq, "/account/limits");
	hidden(h, "name", span_of(address));
	HTML(h, R("<p>"), L(LIMITS_HINT), R("</p>\n<div class=\"row\">"));
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		char number[24], was[64];

		snprintf(number, sizeof(number), "%llu",
		    (unsigned long long)answer_number(&a, 0, limits[i].name));
		snprintf(was, sizeof(was), "was.%s", limits[i].name);
		hidden(h, was, span_of(number));
		input(h, limits[i].label, limits[i].name, "text", span_of(number),
		    "pattern=\"[0-9]*\" inputmode=\"numeric\"");
	}
	HTML(h, R("</div>\n"));
	form_end(h, TEXT_CHANGE);
	same_command(h, "account limits ADDRESS NAME=NUMBER|default ...");
}

void sending_section(struct html *h, struct request *rq, struct span address)
{
	const char *name = arena_strdup(&rq->arena, address);

	if (!name)
		return;
	HTML(h, R("<section><h2>"), L(SENDING), R("</h2>\n<p>"), L(SENDERS_HINT), R("</p>\n"));
	senders(h, rq, name);
	limit_form(h, rq, name);
	HTML(h, R("</section>\n"));
}

void action_sender_add(struct request *rq)
{
	act(rq, &WORDS("sender", "add", form_cstr(rq, "name"), form_cstr(rq, "sender")),
	    path_of(rq, request_form(rq, "name")), "added");
}

void action_sender_remove(struct request *rq)
{
	act(rq, &WORDS("sender", "remove", form_cstr(rq, "name"), form_cstr(rq, "sender")),
	    path_of(rq, request_form(rq, "name")), "removed");
}

/* Those that were changed; an empty one is as the settings say. */
void action_account_limits(struct request *rq)
{
	struct command cmd = WORDS("account", "limits", form_cstr(rq, "name"));
	const char *page = path_of(rq, request_form(rq, "name"));

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		struct span value = request_form(rq, limits[i].name);
		struct strbuf b;
		char was[64];

		snprintf(was, sizeof(was), "was.%s", limits[i].name);
		if (span_eq(value, request_form(rq, was)))
			continue;
		strbuf_init(&b, 256);
		strbuf_addf(&b, "%s=", limits[i].name);
		strbuf_add(&b, value.n > 0 ? value : SPAN("default"));
		cmd.words[cmd.count] = arena_strdup(&rq->arena, strbuf_span(&b));
		cmd.count += cmd.words[cmd.count] != NULL;
		strbuf_clear(&b);
	}
	if (cmd.count == 3)
		send_redirect(page, NULL);
	else
		act(rq, &cmd, page, "changed");
}
