/* The pages and the actions behind their forms. A page asks authd and prints what it said. */
#include "webadmin/web.h"

/* Asks; on any failure prints the page that says so and gives false. */
static bool ask(struct request *rq, const char *const *words, size_t count, struct answer *a)
{
	struct err err = ERR_INIT;
	struct html h;

	if (admin_call(rq, words, count, span_make("", 0), a, &err) < 0) {
		page_error(rq, 503, "The account service does not answer. Is mailstead running?");
		return false;
	}
	if (a->code == ERR_NONE)
		return true;
	if (a->code == ERR_DENIED) {
		send_redirect("/login", "");
		return false;
	}
	html_init(&h);
	html_page_begin(&h, "That did not work", true);
	html_notice(&h, true, a->text);
	html_page_end(&h);
	send_page(409, &h, NULL);
	strbuf_clear(&h.out);
	return false;
}

/* What an action does: the command, then back to its page or the reason why not. */
static void act(struct request *rq, const char *const *words, size_t count, struct span secret,
    const char *page)
{
	struct err err = ERR_INIT;
	struct answer a;
	struct html h;

	if (admin_call(rq, words, count, secret, &a, &err) < 0) {
		page_error(rq, 503, "The account service does not answer. Is mailstead running?");
		return;
	}
	if (a.code == ERR_NONE) {
		send_redirect(page, NULL);
		return;
	}
	html_init(&h);
	html_page_begin(&h, "That did not work", true);
	html_notice(&h, true, a.text);
	html_raw(&h, "<p><a href=\"");
	html_raw(&h, page);
	html_raw(&h, "\">Back</a></p>\n");
	html_page_end(&h);
	send_page(409, &h, NULL);
	strbuf_clear(&h.out);
}

/* A form field as a C string in the arena; "" if it is absent or holds a NUL. */
static const char *form_cstr(struct request *rq, const char *name)
{
	const char *s = arena_strdup(&rq->arena, request_form(rq, name));

	return s ? s : "";
}

static void table_head(struct html *h, const struct answer *a, bool has_action)
{
	struct dec d = dec_of(a->records[0]);
	struct ipc_value v;

	html_raw(h, "<table>\n<tr>");
	while (ipc_rec_next(&d, &v)) {
		html_raw(h, "<th>");
		html_text(h, v.name);
		html_raw(h, "</th>");
	}
	html_raw(h, has_action ? "<th></th></tr>\n" : "</tr>\n");
}

/* Rows; with remove_path each has a button that sends its first value there as "name". */
static void table(
    struct html *h, const struct request *rq, const struct answer *a, const char *remove_path)
{
	if (a->count == 0) {
		html_raw(h, "<p>None yet.</p>\n");
		return;
	}
	table_head(h, a, remove_path != NULL);
	for (size_t i = 0; i < a->count; i++) {
		struct dec d = dec_of(a->records[i]);
		struct span key = {NULL, 0};
		struct ipc_value v;

		html_raw(h, "<tr>");
		while (ipc_rec_next(&d, &v)) {
			if (!key.p && v.type == IPC_TEXT)
				key = v.text;
			html_raw(h, "<td>");
			html_value(h, &v);
			html_raw(h, "</td>");
		}
		if (remove_path) {
			html_raw(h, "<td>");
			html_form_begin(h, rq, remove_path);
			html_raw(h, "<input type=\"hidden\" name=\"name\" value=\"");
			html_text(h, key);
			html_raw(h, "\">");
			html_form_end(h, "Remove");
			html_raw(h, "</td>");
		}
		html_raw(h, "</tr>\n");
	}
	html_raw(h, "</table>\n");
}

static void finish(struct html *h)
{
	html_page_end(h);
	send_page(200, h, NULL);
	strbuf_clear(&h->out);
}

void page_error(struct request *rq, int status, const char *text)
{
	struct html h;

	html_init(&h);
	html_page_begin(&h, "That did not work", rq->token[0] != '\0');
	html_notice(&h, true, span_of(text));
	html_page_end(&h);
	send_page(status, &h, NULL);
	strbuf_clear(&h.out);
}

static void login_form(struct request *rq, int status, struct span notice)
{
	struct html h;

	html_init(&h);
	html_page_begin(&h, "Sign in", false);
	html_notice(&h, true, notice);
	html_form_begin(&h, rq, "/login");
	html_input(&h, "Address", "address", "email");
	html_input(&h, "Password", "password", "password");
	html_form_end(&h, "Sign in");
	html_page_end(&h);
	send_page(status, &h, NULL);
	strbuf_clear(&h.out);
}

void page_login(struct request *rq)
{
	/* The form's token belongs to no session: whatever cookie came, it is not trusted here. */
	rq->token[0] = '\0';
	login_form(rq, 200, span_make("", 0));
}

void action_login(struct request *rq)
{
	const char *words[] = {"login", form_cstr(rq, "address")};
	struct err err = ERR_INIT;
	struct ipc_value v;
	struct answer a;

	rq->token[0] = '\0';
	if (admin_call(rq, words, 2, request_form(rq, "password"), &a, &err) < 0) {
		page_error(rq, 503, "The account service does not answer. Is mailstead running?");
		return;
	}
	if (a.code == ERR_NONE && answer_value(&a, 0, "token", &v) && v.text.n <= WEB_TOKEN_MAX)
		send_redirect("/", arena_strdup(&rq->arena, v.text));
	else
		login_form(rq, 403, a.text);
}

void action_logout(struct request *rq)
{
	const char *words[] = {"logout"};
	struct err err = ERR_INIT;
	struct answer a;

	admin_call(rq, words, 1, span_make("", 0), &a, &err);
	send_redirect("/login", "");
}

/* A page of one table. */
static bool list_page(struct request *rq, struct html *h, const char *title, const char *noun,
    const char *remove_path)
{
	const char *words[] = {noun, "list"};
	struct answer a;

	if (!ask(rq, words, 2, &a))
		return false;
	html_init(h);
	html_page_begin(h, title, true);
	table(h, rq, &a, remove_path);
	return true;
}

void page_home(struct request *rq)
{
	const char *words[] = {"status"};
	struct answer a;
	struct html h;

	if (!ask(rq, words, 1, &a))
		return;
	html_init(&h);
	html_page_begin(&h, "Home", true);
	html_raw(&h, "<p>What runs now:</p>\n");
	for (size_t i = 0; i < a.count; i++) {
		/* Processes and listeners have different values: a table each. */
		struct answer one = {.records = a.records + i, .count = 1};

		table(&h, rq, &one, NULL);
	}
	html_command(&h, "status");
	html_form_begin(&h, rq, "/logout");
	html_form_end(&h, "Sign out");
	finish(&h);
}

void page_accounts(struct request *rq)
{
	struct html h;

	if (!list_page(rq, &h, "Accounts", "account", "/accounts/remove"))
		return;
	html_raw(&h, "<h2>Add an account</h2>\n");
	html_form_begin(&h, rq, "/accounts/add");
	html_input(&h, "Address", "name", "email");
	html_input(&h, "Password", "password", "password");
	html_form_end(&h, "Add");
	html_command(&h, "account add ADDRESS --password-stdin");
	finish(&h);
}

void page_domains(struct request *rq)
{
	struct html h;

	if (!list_page(rq, &h, "Domains", "domain", "/domains/remove"))
		return;
	html_raw(&h, "<h2>Add a domain</h2>\n");
	html_form_begin(&h, rq, "/domains/add");
	html_input(&h, "Domain", "name", "text");
	html_form_end(&h, "Add");
	html_command(&h, "domain add DOMAIN");
	finish(&h);
}

void page_aliases(struct request *rq)
{
	struct html h;

	if (!list_page(rq, &h, "Aliases", "alias", "/aliases/remove"))
		return;
	html_raw(&h, "<h2>Add an alias</h2>\n");
	html_form_begin(&h, rq, "/aliases/add");
	html_input(&h, "Address", "name", "text");
	html_input(&h, "Delivered to", "target", "email");
	html_form_end(&h, "Add");
	html_command(&h, "alias add ADDRESS TARGET");
	finish(&h);
}

void page_queue(struct request *rq)
{
	struct html h;

	if (!list_page(rq, &h, "Queue", "queue", NULL))
		return;
	html_command(&h, "queue list");
	finish(&h);
}

void page_ports(struct request *rq)
{
	const char *words[] = {"get"};
	struct ipc_value name, value;
	struct answer a;
	struct html h;

	if (!ask(rq, words, 1, &a))
		return;
	html_init(&h);
	html_page_begin(&h, "Ports", true);
	html_raw(&h, "<p>Changes take effect when mailstead starts again.</p>\n<table>\n");
	for (size_t i = 0; i < a.count; i++) {
		if (!answer_value(&a, i, "name", &name) || !answer_value(&a, i, "value", &value) ||
		    !span_starts(name.text, SPAN("listener.")))
			continue;
		html_raw(&h, "<tr><td>");
		html_text(&h, name.text);
		html_raw(&h, "</td><td>");
		html_form_begin(&h, rq, "/ports/set");
		html_raw(&h, "<input type=\"hidden\" name=\"name\" value=\"");
		html_text(&h, name.text);
		html_raw(&h, "\"><input name=\"value\" value=\"");
		html_text(&h, value.text);
		html_raw(&h, "\" aria-label=\"");
		html_text(&h, name.text);
		html_raw(&h, "\">");
		html_form_end(&h, "Set");
		html_raw(&h, "</td></tr>\n");
	}
	html_raw(&h, "</table>\n");
	html_command(&h, "set listener.NAME.port NUMBER");
	finish(&h);
}

void page_password(struct request *rq)
{
	struct html h;

	html_init(&h);
	html_page_begin(&h, "Password", true);
	html_form_begin(&h, rq, "/password/change");
	html_input(&h, "Address", "name", "email");
	html_input(&h, "New password", "password", "password");
	html_form_end(&h, "Change");
	html_command(&h, "account password ADDRESS --password-stdin");
	finish(&h);
}

void action_account_add(struct request *rq)
{
	const char *words[] = {"account", "add", form_cstr(rq, "name")};

	act(rq, words, 3, request_form(rq, "password"), "/accounts");
}

void action_account_remove(struct request *rq)
{
	const char *words[] = {"account", "remove", form_cstr(rq, "name")};

	act(rq, words, 3, span_make("", 0), "/accounts");
}

void action_password(struct request *rq)
{
	const char *words[] = {"account", "password", form_cstr(rq, "name")};

	act(rq, words, 3, request_form(rq, "password"), "/password");
}

void action_domain_add(struct request *rq)
{
	const char *words[] = {"domain", "add", form_cstr(rq, "name")};

	act(rq, words, 3, span_make("", 0), "/domains");
}

void action_domain_remove(struct request *rq)
{
	const char *words[] = {"domain", "remove", form_cstr(rq, "name")};

	act(rq, words, 3, span_make("", 0), "/domains");
}

void action_alias_add(struct request *rq)
{
	const char *words[] = {"alias", "add", form_cstr(rq, "name"), form_cstr(rq, "target")};

	act(rq, words, 4, span_make("", 0), "/aliases");
}

void action_alias_remove(struct request *rq)
{
	const char *words[] = {"alias", "remove", form_cstr(rq, "name")};

	act(rq, words, 3, span_make("", 0), "/aliases");
}

void action_set(struct request *rq)
{
	const char *words[] = {"set", form_cstr(rq, "name"), form_cstr(rq, "value")};

	act(rq, words, 3, span_make("", 0), "/ports");
}
