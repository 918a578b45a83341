/* Signing in and out. */
#include "webadmin/web.h"

static void login_form(struct request *rq, int status, struct span notice, struct span address)
{
	struct html h;

	/* The form's token belongs to no session: whatever cookie came is not trusted here. */
	rq->token[0] = '\0';
	page_begin(&h, rq, TEXT_LOGIN_TITLE);
	if (notice.n > 0) {
		notice_begin(&h, NOTICE_BAD);
		HTML(&h, T(notice));
		notice_end(&h);
	}
	form_begin(&h, rq, "/login");
	input(&h, TEXT_ADDRESS, "address", "email", address,
	    "required autocomplete=\"username\" autofocus");
	input(&h, TEXT_PASSWORD, "password", "password", SPAN(""),
	    "required autocomplete=\"current-password\"");
	input(&h, TEXT_CODE_OPTIONAL, "code", "text", SPAN(""),
	    "autocomplete=\"one-time-code\" inputmode=\"numeric\"");
	form_end(&h, TEXT_SIGN_IN);
	HTML(&h, R("<p class=\"hint\">"), L(LOGIN_HINT), R("</p>\n"));
	page_end_status(&h, status);
}

void page_login(struct request *rq)
{
	login_form(rq, 200, SPAN(""), SPAN(""));
}

/* A login with the form's fields; the token in a, or the answer that says why not. */
static bool log_in(struct request *rq, const char *address, struct answer *a)
{
	const char *code = form_cstr(rq, "code");
	struct command cmd = WORDS("login", address, code);

	if (code[0] == '\0')
		cmd.count--;
	cmd.secret = request_form(rq, "password");
	return try_ask(rq, &cmd, a);
}

void action_login(struct request *rq)
{
	struct answer a;
	struct span token;

	if (!log_in(rq, form_cstr(rq, "address"), &a))
		return;
	token = answer_text(&a, 0, "token");
	if (a.code == ERR_NONE && token.n > 0 && token.n <= WEB_TOKEN_MAX)
		send_redirect(
		    answer_number(&a, 0, "admin") ? "/" : "/me", arena_strdup(&rq->arena, token));
	else
		login_form(rq, 403, a.text, request_form(rq, "address"));
}

void action_logout(struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;

	admin_call(rq, &WORDS("logout"), &a, &err);
	send_redirect("/login", "");
}
