/* Accounts: the list with its search, and one account. */
#include "webadmin/web.h"

#include <stdio.h>
#include <string.h>

#define LIST_SHOWN 500
#define MANY_MAX 500

static const char protocols_hint[] = "pattern=\"[a-z0-9,]*\"";

/* Of this list: what the search box holds stands in the address, or nothing was typed. */
static bool matches(const struct answer *a, size_t i, struct span search)
{
	return search.n == 0 || span_ifind(answer_text(a, i, "address"), search) >= 0;
}

/* What the mail takes up, and how much of what it may. */
static void usage(struct html *h, const struct answer *a, size_t i)
{
	uint64_t quota = answer_number(a, i, "quota");
	struct ipc_value used;
	bool is_known = answer_value(a, i, "used", &used);

	if (is_known)
		html_bytes(h, used.number);
	HTML(h, R(" / "));
	if (quota)
		html_bytes(h, quota);
	else
		HTML(h, L(NO_LIMIT));
	if (is_known && quota)
		HTML(h, R("<br><meter min=\"0\" max=\"100\" high=\"90\" optimum=\"0\" value=\""),
		    N(used.number >= quota ? 100
					   : (uint64_t)((double)used.number * 100 / (double)quota)),
		    R("\" aria-label=\""), L(QUOTA), R("\"></meter>"));
}

static void account_row(struct html *h, const struct answer *a, size_t i)
{
	struct span address = answer_text(a, i, "address");
	bool is_off = span_eq(answer_text(a, i, "state"), SPAN("disabled"));

	HTML(h, R("<tr><td><a href=\"/account?a="));
	html_url(h, address);
	HTML(h, R("\">"), T(address), R("</a></td><td>"));
	dot(h, is_off ? NOTICE_BAD : NOTICE_GOOD, is_off ? TEXT_DISABLED : TEXT_ACTIVE);
	HTML(h, R("</td><td>"),
	    LID(answer_number(a, i, "admin") ? TEXT_ADMINISTRATOR : TEXT_MAILBOX), R("</td><td>"),
	    T(answer_text(a, i, "protocols")), R("</td><td>"));
	if (!answer_number(a, i, "admin"))
		usage(h, a, i);
	HTML(h, R("</td></tr>\n"));
}

static void account_table(struct html *h, const struct answer *a, struct span search)
{
	size_t shown = 0;

	HTML(h, R("<div class=\"scroll\"><table>\n<tr><th>"), L(ADDRESS), R("</th><th>"), L(STATE),
	    R("</th><th>"), L(KIND), R("</th><th>"), L(PROTOCOLS), R("</th><th>"), L(USED),
	    R("</th></tr>\n"));
	for (size_t i = 0; i < a->count && shown < LIST_SHOWN; i++) {
		if (!matches(a, i, search))
			continue;
		account_row(h, a, i);
		shown++;
	}
	HTML(h, R("</table></div>\n"));
	if (shown == 0)
		HTML(h, R("<p class=\"hint\">"), L(NOTHING_FOUND), R("</p>\n"));
	if (shown == LIST_SHOWN)
		HTML(h, R("<p class=\"hint\">"), L(LIST_CUT), R("</p>\n"));
}

static void search_box(struct html *h, struct span search)
{
	HTML(h, R("<form method=\"get\" class=\"search\" role=\"search\"><label><span>"), L(SEARCH),
	    R("</span><input type=\"search\" name=\"q\" value=\""), T(search),
	    R("\"></label><button>"), L(SEARCH), R("</button></form>\n"));
}

void page_accounts(struct request *rq)
{
	struct span search = request_query(rq, "q");
	struct answer a;
	struct html h;

	if (!ask(rq, &WORDS("account", "list"), &a))
		return;
	page_begin(&h, rq, TEXT_MENU_ACCOUNTS);
	search_box(&h, search);
	account_table(&h, &a, search);
	HTML(&h, R("<section><h2>"), L(ACCOUNT_ADD), R("</h2>\n"));
	form_begin(&h, rq, "/accounts/add");
	input(&h, TEXT_ADDRESS, "name", "email", SPAN(""), "required autocomplete=\"off\"");
	input(&h, TEXT_PASSWORD_OR_NONE, "password", "password", SPAN(""),
	    "autocomplete=\"new-password\" minlength=\"8\"");
	HTML(&h, R("<label class=\"tick\"><input type=\"checkbox\" name=\"admin\" value=\"yes\"> "),
	    L(ACCOUNT_IS_ADMIN), R("</label>\n"));
	form_end(&h, TEXT_ADD);
	same_command(&h, "account add ADDRESS --password-stdin");
	HTML(&h, R("</section><section><h2>"), L(ACCOUNT_MANY), R("</h2>\n<p>"),
	    L(ACCOUNT_MANY_HINT), R("</p>\n"));
	form_begin(&h, rq, "/accounts/many");
	HTML(&h, R("<label><span>"), L(ACCOUNT_MANY_LINES),
	    R("</span><textarea name=\"lines\" rows=\"6\" required></textarea></label>\n"));
	form_end(&h, TEXT_ADD);
	HTML(&h, R("</section>\n"));
	page_end(&h);
}

/* --- adding -------------------------------------------------------------------------------------
 */
#define PASSWORD_LEN 19

/* Four groups of four letters without look-alikes: 80 bits. */
static bool make_password(char out[PASSWORD_LEN + 1])
{
	static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";
	unsigned char raw[16];
	FILE *f = fopen("/dev/urandom", "rbe");
	size_t n = 0;
	bool is_good;

	if (!f)
		return false;
	is_good = fread(raw, 1, sizeof(raw), f) == sizeof(raw);
	fclose(f);
	for (size_t i = 0; i < sizeof(raw); i++) {
		if (i > 0 && i % 4 == 0)
			out[n++] = '-';
		out[n++] = letters[raw[i] % 32];
	}
	out[n] = '\0';
	return is_good;
}

/* A sheet to print and hand over: the only time the password is seen. */
static void sheet(struct html *h, struct request *rq, struct span address, const char *password)
{
	HTML(h, R("<section class=\"sheet\"><h2>"), T(address), R("</h2>\n<dl><dt>"), L(ADDRESS),
	    R("</dt><dd>"));
	copy_box(h, address);
	HTML(h, R("</dd><dt>"), L(PASSWORD), R("</dt><dd>"));
	copy_box(h, span_of(password));
	HTML(h, R("</dd></dl>\n"));
	client_settings_table(h, rq, address);
	HTML(h, R("</section>\n"));
}

static bool add_one(
    struct request *rq, const char *address, struct span password, bool is_admin, struct answer *a)
{
	struct command cmd = WORDS("account", "add", address, "--admin");

	if (!is_admin)
		cmd.count--;
	cmd.secret = password;
	return try_ask(rq, &cmd, a);
}

void action_account_add(struct request *rq)
{
	const char *address = form_cstr(rq, "name");
	struct span password = request_form(rq, "password");
	char made[PASSWORD_LEN + 1];
	struct answer a;
	struct html h;

	if (password.n == 0 && !make_password(made)) {
		page_error(rq, 500, TEXT_NO_RANDOM);
		return;
	}
	if (!add_one(rq, address, password.n > 0 ? password : span_of(made),
		span_eq(request_form(rq, "admin"), SPAN("yes")), &a))
		return;
	if (a.code != ERR_NONE) {
		page_failed(rq, a.text, "/accounts");
	} else if (password.n > 0) {
		send_redirect("/accounts?done=added", NULL);
	} else {
		page_begin(&h, rq, TEXT_ACCOUNT_SHEET);
		HTML(&h, R("<p>"), L(ACCOUNT_SHEET_HINT), R("</p>\n"));
		sheet(&h, rq, span_of(address), made);
		HTML(&h, R("<p><a class=\"button\" href=\"/accounts\">"), L(BACK), R("</a></p>\n"));
		page_end(&h);
	}
}

/* One line of "address,password"; the password may be missing. */
static bool add_line(struct request *rq, struct html *h, struct span line)
{
	struct span address, password;
	char made[PASSWORD_LEN + 1];
	const char *name;
	struct answer a;
	struct err err = ERR_INIT;
	struct command cmd;

	span_split(&line, ',', &address);
	password = line.p ? span_trim(line) : SPAN("");
	name = arena_strdup(&rq->arena, span_trim(address));
	if (!name || !make_password(made))
		return false;
	cmd = WORDS("account", "add", name);
	cmd.secret = password.n > 0 ? password : span_of(made);
	if (admin_call(rq, &cmd, &a, &err) < 0)
		return false;
	HTML(h, R("<tr><td>"), S(name), R("</td><td>"));
	if (a.code == ERR_NONE && password.n == 0)
		copy_box(h, span_of(made));
	else if (a.code == ERR_NONE)
		HTML(h, L(AS_GIVEN));
	HTML(h, R("</td><td>"));
	dot(h, a.code == ERR_NONE ? NOTICE_GOOD : NOTICE_BAD,
	    a.code == ERR_NONE ? TEXT_DONE_ADDED : TEXT_REFUSED);
	if (a.code != ERR_NONE)
		HTML(h, R(" "), T(a.text));
	HTML(h, R("</td></tr>\n"));
	return true;
}

void action_account_many(struct request *rq)
{
	struct span rest = request_form(rq, "lines");
	struct span line;
	size_t n = 0;
	struct html h;

	page_begin(&h, rq, TEXT_ACCOUNT_MANY);
	HTML(&h, R("<p>"), L(ACCOUNT_SHEET_HINT),
	    R("</p>\n<div class=\"scroll\"><table>\n<tr><th>"), L(ADDRESS), R("</th><th>"),
	    L(PASSWORD), R("</th><th>"), L(RESULT), R("</th></tr>\n"));
	while (n < MANY_MAX && span_split(&rest, '\n', &line)) {
		line = span_trim(line);
		if (line.n == 0)
			continue;
		n++;
		if (!add_line(rq, &h, line)) {
			HTML(&h, R("<tr><td>"), T(line), R("</td><td></td><td>"), L(NO_AUTHD),
			    R("</td></tr>\n"));
			break;
		}
	}
	HTML(&h, R("</table></div>\n"));
	if (n == MANY_MAX)
		HTML(&h, R("<p class=\"hint\">"), L(LIST_CUT), R("</p>\n"));
	HTML(&h, R("<p><a class=\"button\" href=\"/accounts\">"), L(BACK), R("</a></p>\n"));
	page_end(&h);
}

/* --- one account ---------------------------------------------------------------------------------
 */
static void small_form(
    struct html *h, const struct request *rq, const char *action, struct span address)
{
	form_begin(h, rq, action);
	hidden(h, "name", address);
}

static void facts(struct html *h, const struct answer *a)
{
	static const struct {
		const char *name;
		enum text_id label;
	} rows[] = {
	    {"state", TEXT_STATE},
	    {"protocols", TEXT_PROTOCOLS},
	    {"receive-only", TEXT_RECEIVE_ONLY},
	    {"created", TEXT_CREATED},
	    {"password-changed", TEXT_PASSWORD_CHANGED},
	};
	struct ipc_value v;

	HTML(h, R("<dl>"));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!answer_value(a, 0, rows[i].name, &v))
			continue;
		HTML(h, R("<dt>"), LID(rows[i].label), R("</dt><dd>"));
		html_value(h, &v);
		HTML(h, R("</dd>"));
	}
	if (!answer_number(a, 0, "admin")) {
		HTML(h, R("<dt>"), L(USED), R("</dt><dd>"));
		usage(h, a, 0);
		HTML(h, R("</dd><dt>"), L(MENU_TRACE), R("</dt><dd>"),
		    N(answer_number(a, 0, "messages")), R("</dd>"));
	}
	HTML(h, R("</dl>\n"));
}

static void devices(struct html *h, struct request *rq, struct span address)
{
	struct command cmd = WORDS("app-password", "list", form_cstr(rq, ""));
	struct err err = ERR_INIT;
	struct answer a;

	cmd.words[2] = arena_strdup(&rq->arena, address);
	HTML(h, R("<section><h2>"), L(DEVICES), R("</h2>\n<p>"), L(DEVICES_HINT), R("</p>\n"));
	if (cmd.words[2] && admin_call(rq, &cmd, &a, &err) == 0 && a.code == ERR_NONE)
		device_table(h, rq, &a, "/account/device-remove", address);
	small_form(h, rq, "/account/device", address);
	input(h, TEXT_DEVICE_NAME, "label", "text", SPAN(""), "required maxlength=\"64\"");
	form_end(h, TEXT_ADD);
	same_command(h, "app-password add ADDRESS LABEL");
	HTML(h, R("</section>\n"));
}

static void account_forms(
    struct html *h, struct request *rq, const struct answer *a, struct span address)
{
	char quota[32];
	bool is_off = span_eq(answer_text(a, 0, "state"), SPAN("disabled"));

	HTML(h, R("<section><h2>"), L(PASSWORD), R("</h2>\n"));
	small_form(h, rq, "/account/password", address);
	input(h, TEXT_NEW_PASSWORD, "password", "password", SPAN(""),
	    "required minlength=\"8\" autocomplete=\"new-password\"");
	form_end(h, TEXT_CHANGE);
	same_command(h, "account password ADDRESS --password-stdin");
	small_form(h, rq, "/account/second-factor-remove", address);
	form_end(h, TEXT_TOTP_REMOVE_OTHER);
	HTML(h, R("</section><section><h2>"), L(QUOTA), R("</h2>\n"));
	small_form(h, rq, "/account/quota", address);
	snprintf(quota, sizeof(quota), "%lluM",
	    (unsigned long long)(answer_number(a, 0, "quota") >> 20));
	input(h, TEXT_QUOTA_HINT, "quota", "text",
	    answer_number(a, 0, "quota") ? span_of(quota) : SPAN("none"),
	    "required pattern=\"[0-9]+[KMGkmg]?|none\"");
	form_end(h, TEXT_CHANGE);
	same_command(h, "account quota ADDRESS BYTES|none");
	HTML(h, R("</section><section><h2>"), L(PROTOCOLS), R("</h2>\n<p>"), L(PROTOCOLS_HINT),
	    R("</p>\n"));
	small_form(h, rq, "/account/protocols", address);
	input(
	    h, TEXT_PROTOCOLS, "protocols", "text", answer_text(a, 0, "protocols"), protocols_hint);
	form_end(h, TEXT_CHANGE);
	same_command(h, "account protocols ADDRESS smtp,imap,pop3,web");
	HTML(h, R("</section><section><h2>"), L(STATE), R("</h2>\n<p>"), L(DISABLE_HINT),
	    R("</p>\n"));
	small_form(h, rq, "/account/state", address);
	hidden(h, "state", is_off ? SPAN("enable") : SPAN("disable"));
	form_end(h, is_off ? TEXT_ENABLE : TEXT_DISABLE);
	same_command(h, is_off ? "account enable ADDRESS" : "account disable ADDRESS");
	HTML(h, R("</section><section><h2>"), L(REMOVE), R("</h2>\n<p>"), L(ACCOUNT_REMOVE_HINT),
	    R("</p>\n"));
	small_form(h, rq, "/account/remove", address);
	form_end_danger(h, TEXT_REMOVE);
	same_command(h, "account remove ADDRESS");
	HTML(h, R("</section>\n"));
}

void page_account(struct request *rq)
{
	const char *name = arena_strdup(&rq->arena, request_query(rq, "a"));
	struct answer a;
	struct html h;
	struct span address;

	if (!name || !ask(rq, &WORDS("account", "show", name), &a))
		return;
	address = answer_text(&a, 0, "address");
	page_begin(&h, rq, TEXT_ACCOUNT);
	HTML(&h, R("<p class=\"subject\">"), T(address), R("</p>\n"));
	facts(&h, &a);
	if (!answer_number(&a, 0, "admin")) {
		HTML(&h, R("<section><h2>"), L(CLIENT_SETTINGS), R("</h2>\n"));
		client_settings_table(&h, rq, address);
		HTML(&h, R("</section>\n<p><a href=\"/undelete?a="));
		html_url(&h, address);
		HTML(&h, R("\">"), L(UNDELETE_LINK), R("</a></p>\n"));
		devices(&h, rq, address);
		sending_section(&h, rq, address);
	}
	account_forms(&h, rq, &a, address);
	page_end(&h);
}

/* "/account?a=..." of the form's account. */
static const char *own_page(struct request *rq)
{
	struct html h;
	const char *path;

	html_init(&h);
	strbuf_add_str(&h.out, "/account?a=");
	html_url(&h, request_form(rq, "name"));
	path = arena_strdup(&rq->arena, strbuf_span(&h.out));
	strbuf_clear(&h.out);
	return path ? path : "/accounts";
}

void action_account_password(struct request *rq)
{
	struct command cmd = WORDS("account", "password", form_cstr(rq, "name"));

	cmd.secret = request_form(rq, "password");
	act(rq, &cmd, own_page(rq), "changed");
}

void action_account_quota(struct request *rq)
{
	act(rq, &WORDS("account", "quota", form_cstr(rq, "name"), form_cstr(rq, "quota")),
	    own_page(rq), "changed");
}

void action_account_protocols(struct request *rq)
{
	struct span p = request_form(rq, "protocols");

	act(rq,
	    &WORDS("account", "protocols", form_cstr(rq, "name"),
		p.n > 0 ? form_cstr(rq, "protocols") : "none"),
	    own_page(rq), "changed");
}

void action_account_state(struct request *rq)
{
	bool is_on = span_eq(request_form(rq, "state"), SPAN("enable"));

	act(rq, &WORDS("account", is_on ? "enable" : "disable", form_cstr(rq, "name")),
	    own_page(rq), "changed");
}

void action_account_remove(struct request *rq)
{
	if (!span_eq(request_form(rq, "sure"), SPAN("yes")))
		page_failed(rq, text_of(TEXT_NOT_SURE), own_page(rq));
	else
		act(rq, &WORDS("account", "remove", form_cstr(rq, "name")), "/accounts", "removed");
}

void action_account_app_add(struct request *rq)
{
	struct span address = request_form(rq, "name");

	device_added(rq,
	    &WORDS("app-password", "add", form_cstr(rq, "name"), form_cstr(rq, "label")), address,
	    own_page(rq));
}

void action_account_app_remove(struct request *rq)
{
	act(rq, &WORDS("app-password", "remove", form_cstr(rq, "name"), form_cstr(rq, "id")),
	    own_page(rq), "removed");
}

void action_account_totp_remove(struct request *rq)
{
	act(rq, &WORDS("totp", "remove", form_cstr(rq, "name")), own_page(rq), "changed");
}
