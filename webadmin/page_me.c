/* One's own account: password, second factor, devices, settings. */
#include "webadmin/web.h"

#include <string.h>

/* --- devices, for administrators too
 * -------------------------------------------------------------- */
void device_table(struct html *h, const struct request *rq, const struct answer *a,
    const char *remove, struct span address)
{
	struct html id;

	if (a->count == 0) {
		HTML(h, R("<p class=\"hint\">"), L(NONE_YET), R("</p>\n"));
		return;
	}
	HTML(h, R("<div class=\"scroll\"><table>\n<tr><th>"), L(DEVICE_NAME), R("</th><th>"),
	    L(PROTOCOLS), R("</th><th>"), L(CREATED), R("</th><th>"), L(LAST_USED),
	    R("</th><th></th></tr>\n"));
	for (size_t i = 0; i < a->count; i++) {
		HTML(h, R("<tr><td>"), T(answer_text(a, i, "label")), R("</td><td>"),
		    T(answer_text(a, i, "protocols")), R("</td><td>"));
		html_time(h, answer_number(a, i, "created"));
		HTML(h, R("</td><td>"));
		html_time(h, answer_number(a, i, "last-used"));
		HTML(h, R("</td><td>"));
		form_begin(h, rq, remove);
		html_init(&id);
		strbuf_add_u64(&id.out, answer_number(a, i, "id"));
		hidden(h, "id", strbuf_span(&id.out));
		strbuf_clear(&id.out);
		if (address.n > 0)
			hidden(h, "name", address);
		HTML(
		    h, R("<button class=\"quiet\">"), L(REMOVE), R("</button></form></td></tr>\n"));
	}
	HTML(h, R("</table></div>\n"));
}

void device_added(
    struct request *rq, const struct command *cmd, struct span address, const char *back)
{
	struct answer a;
	struct html h;

	if (!try_ask(rq, cmd, &a))
		return;
	if (a.code != ERR_NONE) {
		page_failed(rq, a.text, back);
		return;
	}
	page_begin(&h, rq, TEXT_DEVICE_ADDED);
	HTML(&h, R("<p>"), L(DEVICE_ADDED_HINT), R("</p>\n<section class=\"sheet\"><dl><dt>"),
	    L(ADDRESS), R("</dt><dd>"));
	copy_box(&h, address);
	HTML(&h, R("</dd><dt>"), L(PASSWORD), R("</dt><dd>"));
	copy_box(&h, answer_text(&a, 0, "password"));
	HTML(&h, R("</dd></dl>\n"));
	client_settings_table(&h, rq, address);
	mobileconfig_form(&h, rq, address, answer_text(&a, 0, "password"));
	HTML(&h, R("</section>\n<p><a class=\"button\" href=\""), S(back), R("\">"), L(BACK),
	    R("</a></p>\n</main>\n</body>\n</html>\n"));
	/* The session of a new login goes on. */
	send_page(200, &h, rq->token);
}

/* --- what needs more than a token: signs in again with the password of the form
 * ------------------- */
static void sign_in_inputs(struct html *h, bool has_second_factor)
{
	input(h, TEXT_CURRENT_PASSWORD, "password", "password", SPAN(""),
	    "required autocomplete=\"current-password\"");
	if (has_second_factor)
		input(h, TEXT_CODE, "code", "text", SPAN(""),
		    "required autocomplete=\"one-time-code\"");
}

void sign_in_fields(struct html *h, struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;

	sign_in_inputs(h, admin_call(rq, &WORDS("my", "account"), &a, &err) == 0 &&
			      a.code == ERR_NONE && answer_number(&a, 0, "second-factor"));
}

bool sign_in_again(struct request *rq, const char *back)
{
	const char *user = arena_strdup(&rq->arena, rq->user);
	const char *code = form_cstr(rq, "code");
	struct command cmd = WORDS("login", user, code);
	struct span token;
	struct answer a;

	if (code[0] == '\0')
		cmd.count--;
	cmd.secret = request_form(rq, "password");
	if (!user || !try_ask(rq, &cmd, &a))
		return false;
	token = answer_text(&a, 0, "token");
	if (a.code != ERR_NONE || token.n == 0 || token.n > WEB_TOKEN_MAX) {
		page_failed(rq, a.text, back);
		return false;
	}
	memcpy(rq->token, token.p, token.n);
	rq->token[token.n] = '\0';
	return true;
}

/* --- the page
 * ------------------------------------------------------------------------------------- */
static void second_factor(struct html *h, struct request *rq, const struct answer *a)
{
	HTML(h, R("<section><h2>"), L(TOTP), R("</h2>\n<p>"), L(TOTP_HINT), R("</p>\n"));
	if (answer_number(a, 0, "second-factor")) {
		HTML(h, R("<p>"));
		dot(h, NOTICE_GOOD, TEXT_TOTP_ON);
		HTML(h, R(" "), L(TOTP_RECOVERY_LEFT), R(" "),
		    N(answer_number(a, 0, "recovery-codes")), R("</p>\n"));
		form_begin(h, rq, "/me/second-factor-remove");
		sign_in_inputs(h, true);
		form_end_danger(h, TEXT_TOTP_OFF);
	} else {
		form_begin(h, rq, "/me/second-factor");
		sign_in_inputs(h, false);
		form_end(h, TEXT_TOTP_BEGIN);
	}
	HTML(h, R("</section>\n"));
}

static void own_devices(struct html *h, struct request *rq, bool has_second_factor)
{
	struct err err = ERR_INIT;
	struct answer a;

	HTML(h, R("<section><h2>"), L(DEVICES), R("</h2>\n<p>"), L(DEVICES_HINT), R("</p>\n"));
	if (admin_call(rq, &WORDS("my", "app-password", "list"), &a, &err) == 0 &&
	    a.code == ERR_NONE)
		device_table(h, rq, &a, "/me/device-remove", SPAN(""));
	form_begin(h, rq, "/me/device");
	input(h, TEXT_DEVICE_NAME, "label", "text", SPAN(""), "required maxlength=\"64\"");
	sign_in_inputs(h, has_second_factor);
	form_end(h, TEXT_ADD);
	HTML(h, R("</section>\n"));
}

static void own_aliases(struct html *h, const struct answer *a)
{
	if (a->count < 2)
		return;
	HTML(h, R("<section><h2>"), L(MENU_ALIASES), R("</h2>\n<ul>"));
	for (size_t i = 1; i < a->count; i++)
		HTML(h, R("<li>"), T(answer_text(a, i, "alias")), R("</li>"));
	HTML(h, R("</ul></section>\n"));
}

void page_me(struct request *rq)
{
	struct answer a;
	struct html h;

	if (!ask(rq, &WORDS("my", "account"), &a))
		return;
	page_begin(&h, rq, TEXT_MENU_ME);
	HTML(&h, R("<p class=\"subject\">"), T(rq->user), R("</p>\n"));
	if (answer_number(&a, 0, "mailbox")) {
		HTML(&h, R("<section><h2>"), L(CLIENT_SETTINGS), R("</h2>\n"));
		client_settings_table(&h, rq, rq->user);
		HTML(&h, R("</section>\n<p><a href=\"/me/undelete\">"), L(UNDELETE_LINK),
		    R("</a></p>\n"));
		own_devices(&h, rq, answer_number(&a, 0, "second-factor"));
		own_aliases(&h, &a);
	}
	HTML(&h, R("<section><h2>"), L(PASSWORD), R("</h2>\n"));
	form_begin(&h, rq, "/me/password");
	sign_in_inputs(&h, answer_number(&a, 0, "second-factor"));
	input(&h, TEXT_NEW_PASSWORD, "new", "password", SPAN(""),
	    "required minlength=\"8\" autocomplete=\"new-password\"");
	form_end(&h, TEXT_CHANGE);
	HTML(&h, R("</section>\n"));
	second_factor(&h, rq, &a);
	page_end(&h);
}

void action_my_password(struct request *rq)
{
	struct command cmd = WORDS("my", "password");
	struct answer a;

	if (!sign_in_again(rq, "/me"))
		return;
	cmd.secret = request_form(rq, "new");
	if (!try_ask(rq, &cmd, &a))
		return;
	if (a.code != ERR_NONE)
		page_failed(rq, a.text, "/me");
	else
		send_redirect("/login?done=changed", "");
}

void action_my_app_add(struct request *rq)
{
	if (sign_in_again(rq, "/me"))
		device_added(rq, &WORDS("my", "app-password", "add", form_cstr(rq, "label")),
		    rq->user, "/me");
}

void action_my_app_remove(struct request *rq)
{
	act(rq, &WORDS("my", "app-password", "remove", form_cstr(rq, "id")), "/me", "removed");
}

void totp_secret(
    struct html *h, const struct request *rq, const struct answer *a, const char *action)
{
	struct span secret = answer_text(a, 0, "secret");
	struct html uri;

	html_init(&uri);
	strbuf_add_str(&uri.out, "otpauth://totp/mailstead:");
	html_url(&uri, rq->user);
	strbuf_add_str(&uri.out, "?secret=");
	strbuf_add(&uri.out, secret);
	strbuf_add_str(&uri.out, "&issuer=mailstead");
	HTML(h, R("<p>"), L(TOTP_SCAN), R("</p>\n"));
	qr_svg(h, strbuf_span(&uri.out));
	strbuf_clear(&uri.out);
	HTML(h, R("<p>"), L(TOTP_BY_HAND), R(" "));
	copy_box(h, secret);
	HTML(h, R("</p>\n<h2>"), L(TOTP_RECOVERY), R("</h2>\n<p>"), L(TOTP_RECOVERY_HINT),
	    R("</p>\n<ul class=\"codes\">"));
	for (size_t i = 1; i < a->count; i++)
		HTML(h, R("<li><code>"), T(answer_text(a, i, "recovery")), R("</code></li>"));
	HTML(h, R("</ul>\n"));
	form_begin(h, rq, action);
	input(h, TEXT_CODE, "code", "text", SPAN(""),
	    "required autocomplete=\"one-time-code\" inputmode=\"numeric\"");
	form_end(h, TEXT_TOTP_CONFIRM);
}

static void totp_page(struct request *rq, const struct answer *a)
{
	struct html h;

	page_begin(&h, rq, TEXT_TOTP);
	totp_secret(&h, rq, a, "/me/second-factor-confirm");
	HTML(&h, R("</main>\n</body>\n</html>\n"));
	/* The session of the new login goes on. */
	send_page(200, &h, rq->token);
}

void action_totp_begin(struct request *rq)
{
	struct answer a;

	if (sign_in_again(rq, "/me") && ask(rq, &WORDS("my", "totp", "begin"), &a))
		totp_page(rq, &a);
}

void action_totp_confirm(struct request *rq)
{
	act(rq, &WORDS("my", "totp", "confirm", form_cstr(rq, "code")), "/me", "changed");
}

void action_totp_remove(struct request *rq)
{
	if (sign_in_again(rq, "/me"))
		act(rq, &WORDS("my", "totp", "remove"), "/me", "changed");
}
