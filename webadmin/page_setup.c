/*
 * The first-run wizard, one short form a step. Where it stands follows from what is there already,
 * so it goes on after any interruption: no domain yet, no administrator, no second factor, no
 * mailbox. What leaves no trace, a look at the network and "no second factor", stands in the
 * address
 * (?go=), and is asked again after an interruption.
 */
#include "webadmin/web.h"

#include <string.h>
#include <unistd.h>

enum step {
	STEP_CODE,
	STEP_HOST,
	STEP_NETWORK,
	STEP_ADMIN,
	STEP_TOTP,
	STEP_MAILBOX,
	STEP_DONE,
	STEP_COUNT
};

static void steps(struct html *h, enum step now)
{
	static const enum text_id labels[STEP_COUNT] = {TEXT_SETUP_CODE, TEXT_SETUP_HOST,
	    TEXT_NETWORK, TEXT_SETUP_ADMIN, TEXT_TOTP, TEXT_SETUP_MAILBOX, TEXT_SETUP_DONE};

	HTML(h, R("<ol class=\"steps\">"));
	for (int i = 0; i < STEP_COUNT; i++) {
		HTML(h, R("<li"));
		if (i < (int)now)
			HTML(h, R(" class=\"done\""));
		else if (i == (int)now)
			HTML(h, R(" aria-current=\"step\""));
		HTML(h, R(">"), LID(labels[i]), R("</li>"));
	}
	HTML(h, R("</ol>\n"));
}

static size_t count(struct request *rq, const char *noun, const char *wanted, struct span *first)
{
	struct command cmd = WORDS(noun, "list");
	struct err err = ERR_INIT;
	struct answer a;
	size_t n = 0;

	*first = SPAN("");
	if (admin_call(rq, &cmd, &a, &err) < 0 || a.code != ERR_NONE)
		return 0;
	for (size_t i = 0; i < a.count; i++) {
		if (strcmp(noun, "account") == 0 && answer_number(&a, i, "admin"))
			continue;
		if (n++ == 0)
			*first = answer_text(&a, i, wanted);
	}
	return n;
}

static void step_begin(struct html *h, struct request *rq, enum step now, enum text_id title,
    enum text_id hint, struct span wrong)
{
	page_begin(h, rq, title);
	steps(h, now);
	if (wrong.n > 0) {
		notice_begin(h, NOTICE_BAD);
		HTML(h, T(wrong));
		notice_end(h);
	}
	HTML(h, R("<p>"), LID(hint), R("</p>\n"));
}

static void code_step(struct request *rq, struct span wrong)
{
	struct html h;

	/* The form's token belongs to no session: whatever cookie came is not trusted here. */
	rq->token[0] = '\0';
	step_begin(&h, rq, STEP_CODE, TEXT_SETUP_CODE, TEXT_SETUP_CODE_HINT, wrong);
	form_begin(&h, rq, "/setup/code");
	input(&h, TEXT_SETUP_CODE_FIELD, "code", "text", SPAN(""),
	    "required autocomplete=\"off\" autofocus spellcheck=\"false\"");
	form_end(&h, TEXT_NEXT);
	HTML(&h, R("<p class=\"hint\">"), L(SETUP_CODE_NEW),
	    R(" <code>mailsteadctl setup-code</code></p>\n"));
	page_end_status(&h, wrong.n > 0 ? 403 : 200);
}

static void host_step(struct request *rq, struct span wrong)
{
	struct html h;

	step_begin(&h, rq, STEP_HOST, TEXT_SETUP_HOST, TEXT_SETUP_HOST_HINT, wrong);
	form_begin(&h, rq, "/setup/host");
	input(&h, TEXT_DOMAIN, "domain", "text", request_form(rq, "domain"),
	    "required placeholder=\"example.org\"");
	input(&h, TEXT_HOSTNAME, "host", "text", request_form(rq, "host"),
	    "required placeholder=\"mail.example.org\"");
	form_end(&h, TEXT_NEXT);
	page_end_status(&h, wrong.n > 0 ? 409 : 200);
}

/* What a mail server needs of the world; where it does not get it, the ways forward. */
static void network_step(struct request *rq, struct span wrong)
{
	bool is_checked = request_query(rq, "check").n > 0;
	struct answer a = {0}, routes;
	struct html h;

	alarm(NETWORK_SECONDS);
	if (is_checked && !try_ask(rq, &WORDS("check-network"), &a))
		return;
	if (a.code != ERR_NONE)
		wrong = a.text;
	step_begin(&h, rq, STEP_NETWORK, TEXT_NETWORK, TEXT_NETWORK_HINT, wrong);
	network_table(&h, &a);
	HTML(&h, R("<p><a class=\"button"), S(is_checked ? " quiet" : ""),
	    R("\" href=\"/setup?check=1\">"), LID(is_checked ? TEXT_DNS_AGAIN : TEXT_NETWORK_CHECK),
	    R("</a> <a class=\"button"), S(is_checked ? "" : " quiet"),
	    R("\" href=\"/setup?go=admin\">"), LID(is_checked ? TEXT_NEXT : TEXT_SETUP_LATER),
	    R("</a></p>\n"));
	if (is_checked && try_ask(rq, &WORDS("route", "list"), &routes)) {
		HTML(&h, R("<p>"), L(SETUP_SMARTHOST), R("</p>\n"));
		if (routes.code == ERR_NONE && routes.count > 0)
			record_table(&h, &routes, NULL);
		smarthost_form(&h, rq, "/setup/smarthost", true);
	}
	page_end_status(&h, wrong.n > 0 ? 409 : 200);
}

static struct span local_at(struct request *rq, const char *local, struct span domain)
{
	struct strbuf b;
	const char *s;

	strbuf_init(&b, 512);
	strbuf_addf(&b, "%s@", local);
	strbuf_add(&b, domain);
	s = b.failed ? NULL : arena_strdup(&rq->arena, strbuf_span(&b));
	strbuf_clear(&b);
	return s ? span_of(s) : SPAN("");
}

static void admin_step(struct request *rq, struct span domain, struct span wrong)
{
	struct html h;

	step_begin(&h, rq, STEP_ADMIN, TEXT_SETUP_ADMIN, TEXT_SETUP_ADMIN_HINT, wrong);
	form_begin(&h, rq, "/setup/admin");
	input(&h, TEXT_ADMIN_LOGIN, "name", "email", local_at(rq, "admin", domain), "required");
	input(&h, TEXT_PASSWORD, "password", "password", SPAN(""),
	    "required minlength=\"8\" autocomplete=\"new-password\"");
	form_end(&h, TEXT_NEXT);
	page_end_status(&h, wrong.n > 0 ? 409 : 200);
}

static void totp_step(struct request *rq, struct span wrong)
{
	struct html h;

	step_begin(&h, rq, STEP_TOTP, TEXT_TOTP, TEXT_SETUP_TOTP_HINT, wrong);
	form_begin(&h, rq, "/setup/second-factor");
	input(&h, TEXT_CURRENT_PASSWORD, "password", "password", SPAN(""),
	    "required autocomplete=\"current-password\"");
	form_end(&h, TEXT_TOTP_BEGIN);
	HTML(&h, R("<p><a class=\"button quiet\" href=\"/setup?go=mailbox\">"), L(SETUP_LATER),
	    R("</a></p>\n"));
	page_end_status(&h, wrong.n > 0 ? 409 : 200);
}

static void mailbox_step(struct request *rq, struct span domain, struct span wrong)
{
	struct html h;

	step_begin(&h, rq, STEP_MAILBOX, TEXT_SETUP_MAILBOX, TEXT_SETUP_MAILBOX_HINT, wrong);
	form_begin(&h, rq, "/setup/mailbox");
	input(&h, TEXT_ADDRESS, "name", "email", local_at(rq, "", domain), "required autofocus");
	input(&h, TEXT_PASSWORD, "password", "password", SPAN(""),
	    "required minlength=\"8\" autocomplete=\"new-password\"");
	form_end(&h, TEXT_NEXT);
	page_end_status(&h, wrong.n > 0 ? 409 : 200);
}

static void done_step(struct request *rq, struct span domain, struct span address)
{
	struct html h;

	step_begin(&h, rq, STEP_DONE, TEXT_SETUP_DONE, TEXT_SETUP_DONE_HINT, SPAN(""));
	HTML(&h, R("<section><h2>"), L(CLIENT_SETTINGS), R("</h2>\n"));
	client_settings_table(&h, rq, address);
	HTML(&h, R("</section>\n<section><h2>"), L(SETUP_NEXT),
	    R("</h2>\n<ol>\n<li><a href=\"/network?check=1\">"), L(SETUP_NEXT_NETWORK),
	    R("</a></li>\n<li><a href=\"/domain?check=1&amp;d="));
	html_url(&h, domain);
	HTML(&h, R("\">"), L(SETUP_NEXT_DNS), R("</a></li>\n<li><a href=\"/certificates\">"),
	    L(SETUP_NEXT_CERT), R("</a></li>\n<li><a href=\"/me\">"), L(SETUP_TOTP),
	    R("</a></li>\n</ol></section>\n<p><a class=\"button\" href=\"/\">"), L(SETUP_GO),
	    R("</a></p>\n"));
	page_end(&h);
}

static bool has_second_factor(struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;

	return admin_call(rq, &WORDS("my", "account"), &a, &err) == 0 && a.code == ERR_NONE &&
	       answer_number(&a, 0, "second-factor") != 0;
}

/* Beyond a step that leaves no trace: in the address, or because the next one's form was sent. */
static bool goes_on(const struct request *rq, const char *step)
{
	return span_eq(request_query(rq, "go"), span_of(step)) ||
	       (rq->is_post && span_ends(rq->path, span_of(step)));
}

static void show(struct request *rq, struct span wrong)
{
	struct span domain, mailbox;
	struct answer a;

	if (!request_who(rq) || (!rq->is_setup && !rq->is_admin)) {
		if (!ask(rq, &WORDS("setup", "status"), &a))
			return;
		if (answer_number(&a, 0, "needed"))
			code_step(rq, wrong);
		else
			send_redirect("/login", NULL);
		return;
	}
	if (count(rq, "domain", "domain", &domain) == 0)
		host_step(rq, wrong);
	else if (rq->is_setup && !goes_on(rq, "admin"))
		network_step(rq, wrong);
	else if (rq->is_setup)
		admin_step(rq, domain, wrong);
	else if (count(rq, "account", "address", &mailbox) > 0)
		done_step(rq, domain, mailbox);
	else if (!goes_on(rq, "mailbox") && !has_second_factor(rq))
		totp_step(rq, wrong);
	else
		mailbox_step(rq, domain, wrong);
}

void page_setup(struct request *rq)
{
	show(rq, SPAN(""));
}

void action_setup_code(struct request *rq)
{
	struct command cmd = WORDS("setup", "begin");
	struct span token;
	struct answer a;

	cmd.secret = request_form(rq, "code");
	if (!try_ask(rq, &cmd, &a))
		return;
	token = answer_text(&a, 0, "token");
	if (a.code == ERR_NONE && token.n > 0 && token.n <= WEB_TOKEN_MAX)
		send_redirect("/setup", arena_strdup(&rq->arena, token));
	else
		show(rq, a.text);
}

void action_setup_host(struct request *rq)
{
	struct answer a;

	if (!try_ask(rq, &WORDS("set", "server.hostname", form_cstr(rq, "host")), &a))
		return;
	/* Set by the administrator's file already: that one counts. */
	if (a.code != ERR_NONE && a.code != ERR_DENIED) {
		show(rq, a.text);
		return;
	}
	if (!try_ask(rq, &WORDS("domain", "add", form_cstr(rq, "domain")), &a))
		return;
	if (a.code != ERR_NONE)
		show(rq, a.text);
	else
		send_redirect("/setup", NULL);
}

/* The administrator's own session takes over from the setup code's. */
void action_setup_admin(struct request *rq)
{
	struct command add = WORDS("account", "add", form_cstr(rq, "name"), "--admin");
	struct command login = WORDS("login", form_cstr(rq, "name"));
	struct answer a;

	add.secret = login.secret = request_form(rq, "password");
	if (!try_ask(rq, &add, &a))
		return;
	if (a.code != ERR_NONE) {
		show(rq, a.text);
		return;
	}
	rq->token[0] = '\0';
	if (!try_ask(rq, &login, &a))
		return;
	send_redirect(a.code == ERR_NONE ? "/setup" : "/login",
	    a.code == ERR_NONE ? arena_strdup(&rq->arena, answer_text(&a, 0, "token")) : "");
}

void action_setup_smarthost(struct request *rq)
{
	struct command cmd = smarthost_command(rq);
	struct answer a;

	if (!try_ask(rq, &cmd, &a))
		return;
	if (a.code != ERR_NONE)
		show(rq, a.text);
	else
		send_redirect("/setup?check=1", NULL);
}

void action_setup_totp(struct request *rq)
{
	struct answer a;
	struct html h;

	if (!sign_in_again(rq, "/setup") || !ask(rq, &WORDS("my", "totp", "begin"), &a))
		return;
	step_begin(&h, rq, STEP_TOTP, TEXT_TOTP, TEXT_SETUP_TOTP_HINT, SPAN(""));
	totp_secret(&h, rq, &a, "/setup/second-factor-confirm");
	HTML(&h, R("</main>\n</body>\n</html>\n"));
	send_page(200, &h, rq->token);
}

/* A wrong code: it begins again, with another secret. */
void action_setup_totp_confirm(struct request *rq)
{
	struct answer a;

	if (!try_ask(rq, &WORDS("my", "totp", "confirm", form_cstr(rq, "code")), &a))
		return;
	if (a.code != ERR_NONE)
		show(rq, a.text);
	else
		send_redirect("/setup", NULL);
}

void action_setup_mailbox(struct request *rq)
{
	struct command add = WORDS("account", "add", form_cstr(rq, "name"));
	struct answer a;

	add.secret = request_form(rq, "password");
	if (!try_ask(rq, &add, &a))
		return;
	if (a.code != ERR_NONE)
		show(rq, a.text);
	else
		send_redirect("/setup", NULL);
}
