/*
 * The certificate desk: four doors in (self-signed, request and answer, import), a look at what
 * came before it is installed, and the one before a click away. Keys never come this way.
 */
#include "webadmin/web.h"

#include <string.h>

static const struct choice key_kinds[] = {
    {"ecdsa", SPAN_INIT("ECDSA P-256")},
    {"rsa2048", SPAN_INIT("RSA 2048")},
    {"rsa3072", SPAN_INIT("RSA 3072")},
    {"rsa4096", SPAN_INIT("RSA 4096")},
};

/* --- the list
 * --------------------------------------------------------------------------------------- */
static void list_row(struct html *h, const struct answer *a, size_t i)
{
	struct span id = answer_text(a, i, "id");
	bool is_there = span_eq(answer_text(a, i, "state"), SPAN("installed"));
	uint64_t days = answer_number(a, i, "days-left");

	HTML(h, R("<tr><td><a href=\"/certificate?id="));
	html_url(h, id);
	HTML(h, R("\">"), T(id), R("</a></td><td>"), T(answer_text(a, i, "names")), R("</td><td>"),
	    T(answer_text(a, i, "key")), R("</td><td>"), T(answer_text(a, i, "origin")),
	    R("</td><td>"));
	if (is_there) {
		HTML(h, R("<span class=\"dot "),
		    S(days > 21    ? "good"
			: days > 7 ? "warn"
				   : "bad"),
		    R("\">"), N(days), R("</span>"));
	} else {
		dot(h, NOTICE_INFO, TEXT_NOT_INSTALLED);
	}
	HTML(h, R("</td><td>"), N(answer_number(a, i, "listeners")), R("</td><td>"));
	if (answer_number(a, i, "candidate"))
		HTML(h, L(CERT_WAITS));
	if (answer_number(a, i, "pending"))
		HTML(h, R(" "), L(CERT_PENDING));
	HTML(h, R("</td></tr>\n"));
}

static void do_form(struct html *h, const struct request *rq, const char *verb)
{
	form_begin(h, rq, "/certificates/do");
	hidden(h, "verb", span_of(verb));
}

static void subject_fields(struct html *h)
{
	HTML(h, R("<div class=\"row\">"));
	input(h, TEXT_CERTIFICATE_ID, "id", "text", SPAN("default"), CERT_ID_RULE);
	input(h, TEXT_CERT_NAMES, "names", "text", SPAN(""), "");
	choose(h, TEXT_KEY, "key", key_kinds, ARRAY_LEN(key_kinds), SPAN("ecdsa"));
	HTML(h, R("</div>\n<details><summary>"), L(CERT_SUBJECT),
	    R("</summary><div class=\"row\">"));
	input(h, TEXT_CERT_CN, "cn", "text", SPAN(""), "");
	input(h, TEXT_CERT_O, "o", "text", SPAN(""), "");
	input(h, TEXT_CERT_OU, "ou", "text", SPAN(""), "");
	input(h, TEXT_CERT_L, "l", "text", SPAN(""), "");
	input(h, TEXT_CERT_ST, "st", "text", SPAN(""), "");
	input(h, TEXT_CERT_C, "c", "text", SPAN(""), "maxlength=\"2\"");
	HTML(h, R("</div></details>\n"));
}

static void file_fields(struct html *h)
{
	HTML(h, R("<label><span>"), L(CERT_FILE),
	    R("</span><input type=\"file\" name=\"file\"></label>\n<label><span>"), L(CERT_PASTE),
	    R("</span><textarea name=\"paste\" rows=\"5\" spellcheck=\"false\"></textarea>"
	      "</label>\n"));
}

static void doors(struct html *h, struct request *rq)
{
	acme_door(h, rq);
	HTML(h, R("<section><h2>"), L(CERT_NEW), R("</h2>\n<p>"), L(CERT_NEW_HINT), R("</p>\n"));
	do_form(h, rq, "new");
	subject_fields(h);
	form_end(h, TEXT_MAKE);
	same_command(h, "cert new ID [NAME...]");
	HTML(h, R("</section><section><h2>"), L(CERT_CSR), R("</h2>\n<p>"), L(CERT_CSR_HINT),
	    R("</p>\n"));
	do_form(h, rq, "csr");
	subject_fields(h);
	form_end(h, TEXT_MAKE);
	same_command(h, "cert csr ID [NAME...]");
	HTML(h, R("</section><section><h2>"), L(CERT_IMPORT), R("</h2>\n<p>"), L(CERT_IMPORT_HINT),
	    R("</p>\n"));
	do_form(h, rq, "import");
	input(h, TEXT_CERTIFICATE_ID, "id", "text", SPAN("default"), CERT_ID_RULE);
	file_fields(h);
	input(h, TEXT_CERT_PASSWORD, "password", "password", SPAN(""), "autocomplete=\"off\"");
	form_end(h, TEXT_CERT_LOOK);
	same_command(h, "cert import ID --file FILE");
	HTML(h, R("</section>\n"));
}

void page_certificates(struct request *rq)
{
	struct answer a;
	struct html h;

	if (!ask(rq, &WORDS("cert", "list"), &a))
		return;
	page_begin(&h, rq, TEXT_MENU_CERTIFICATES);
	HTML(&h, R("<p>"), L(CERTS_HINT), R("</p>\n<div class=\"scroll\"><table>\n<tr><th>"),
	    L(CERTIFICATE_ID), R("</th><th>"), L(CERT_FOR), R("</th><th>"), L(KEY), R("</th><th>"),
	    L(CERT_ORIGIN), R("</th><th>"), L(DAYS_LEFT), R("</th><th>"), L(MENU_PORTS),
	    R("</th><th></th></tr>\n"));
	for (size_t i = 0; i < a.count; i++)
		list_row(&h, &a, i);
	HTML(&h, R("</table></div>\n"));
	doors(&h, rq);
	page_end(&h);
}

/* --- one of them
 * -------------------------------------------------------------------------------------- */
static void view(struct html *h, const struct answer *a, size_t i)
{
	struct dec d = dec_of(a->records[i]);
	struct ipc_value v;

	HTML(h, R("<dl>"));
	while (ipc_rec_next(&d, &v)) {
		HTML(h, R("<dt>"), T(v.name), R("</dt><dd>"));
		html_value(h, &v);
		HTML(h, R("</dd>"));
	}
	HTML(h, R("</dl>\n"));
}

static void findings(struct html *h, const struct answer *a)
{
	HTML(h, R("<h3>"), L(CERT_REPORT), R("</h3>\n<div class=\"scroll\"><table>\n"));
	for (size_t i = 0; i < a->count; i++) {
		struct span result = answer_text(a, i, "result");

		if (result.n == 0)
			continue;
		HTML(h, R("<tr><td><span class=\"dot "),
		    S(span_eq(result, SPAN("error"))       ? "bad"
			: span_eq(result, SPAN("warning")) ? "warn"
							   : "good"),
		    R("\">"), T(answer_text(a, i, "check")), R("</span></td><td>"),
		    T(answer_text(a, i, "text")), R("</td></tr>\n"));
	}
	HTML(h, R("</table></div>\n"));
}

/* A slot with its view and report; false if nothing is in it. */
static bool slot_section(
    struct html *h, struct request *rq, const char *id, const char *slot, enum text_id title)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (admin_call(rq, &WORDS("cert", "check", id, slot), &a, &err) < 0 || a.code != ERR_NONE ||
	    a.count == 0)
		return false;
	HTML(h, R("<section><h2>"), LID(title), R("</h2>\n"));
	view(h, &a, 0);
	findings(h, &a);
	return true;
}

static void id_form(struct html *h, const struct request *rq, const char *verb, const char *id)
{
	do_form(h, rq, verb);
	hidden(h, "id", span_of(id));
}

static void pending_section(struct html *h, struct request *rq, const char *id)
{
	struct err err = ERR_INIT;
	struct answer a;

	if (admin_call(rq, &WORDS("cert", "show", id, "--pending"), &a, &err) < 0 ||
	    a.code != ERR_NONE || a.count == 0)
		return;
	HTML(h, R("<section><h2>"), L(CERT_PENDING), R("</h2>\n<p>"), L(CERT_PENDING_HINT),
	    R("</p>\n"));
	view(h, &a, 0);
	for (size_t i = 1; i < a.count; i++)
		HTML(h, R("<label><span>PEM</span><textarea rows=\"8\" readonly>"),
		    T(answer_text(&a, i, "pem")), R("</textarea></label>\n"));
	id_form(h, rq, "answer", id);
	file_fields(h);
	form_end(h, TEXT_CERT_LOOK);
	same_command(h, "cert answer ID --file FILE");
	id_form(h, rq, "drop-pending", id);
	form_end_danger(h, TEXT_CERT_DROP);
	HTML(h, R("</section>\n"));
}

void page_certificate(struct request *rq)
{
	const char *id = arena_strdup(&rq->arena, request_query(rq, "id"));
	struct html h;

	if (!id)
		return;
	page_begin(&h, rq, TEXT_CERTIFICATE);
	HTML(&h, R("<p class=\"subject\">"), S(id), R("</p>\n"));
	if (slot_section(&h, rq, id, "--candidate", TEXT_CERT_CANDIDATE)) {
		notice_begin(&h, NOTICE_WARN);
		HTML(&h, L(TLSA_REMINDER));
		notice_end(&h);
		id_form(&h, rq, "install", id);
		HTML(&h,
		    R("<label class=\"tick\"><input type=\"checkbox\" name=\"force\" "
		      "value=\"yes\"> "),
		    L(CERT_FORCE), R("</label>\n"));
		form_end(&h, TEXT_CERT_INSTALL);
		id_form(&h, rq, "drop-candidate", id);
		form_end_danger(&h, TEXT_CERT_DROP);
		HTML(&h, R("</section>\n"));
	}
	pending_section(&h, rq, id);
	if (slot_section(&h, rq, id, "--current", TEXT_CERT_CURRENT))
		HTML(&h, R("</section>\n"));
	if (slot_section(&h, rq, id, "--previous", TEXT_CERT_PREVIOUS)) {
		id_form(&h, rq, "rollback", id);
		form_end(&h, TEXT_CERT_ROLLBACK);
		same_command(&h, "cert rollback ID");
		HTML(&h, R("</section>\n"));
	}
	HTML(&h, R("<section><h2>"), L(REMOVE), R("</h2>\n"));
	id_form(&h, rq, "remove", id);
	form_end_danger(&h, TEXT_REMOVE);
	HTML(&h, R("</section>\n"));
	page_end(&h);
}

/* --- acting
 * --------------------------------------------------------------------------------------------- */
static const char *own_page(struct request *rq)
{
	struct html h;
	const char *path;

	html_init(&h);
	strbuf_add_str(&h.out, "/certificate?id=");
	html_url(&h, request_form(rq, "id"));
	path = arena_strdup(&rq->arena, strbuf_span(&h.out));
	strbuf_clear(&h.out);
	return path ? path : "/certificates";
}

static void add_option(
    struct request *rq, struct command *cmd, const char *option, const char *field)
{
	if (request_form(rq, field).n == 0 || cmd->count + 2 > CALL_WORDS_MAX)
		return;
	cmd->words[cmd->count++] = option;
	cmd->words[cmd->count++] = form_cstr(rq, field);
}

/* Names stand apart by spaces or commas. */
static void add_names(struct request *rq, struct command *cmd)
{
	struct span rest = request_form(rq, "names");

	while (rest.n > 0 && cmd->count < CALL_WORDS_MAX - 14) {
		size_t n = 0;

		while (n < rest.n && rest.p[n] != ' ' && rest.p[n] != ',')
			n++;
		if (n > 0) {
			const char *word = arena_strdup(&rq->arena, span_sub(rest, 0, n));

			/* An option among the names would be one of ours. */
			if (word && word[0] != '-')
				cmd->words[cmd->count++] = word;
		}
		rest = span_from(rest, n + 1);
	}
}

static void make(struct request *rq, const char *verb)
{
	struct command cmd = WORDS("cert", verb, form_cstr(rq, "id"));

	add_names(rq, &cmd);
	add_option(rq, &cmd, "--key", "key");
	add_option(rq, &cmd, "--cn", "cn");
	add_option(rq, &cmd, "--o", "o");
	add_option(rq, &cmd, "--ou", "ou");
	add_option(rq, &cmd, "--l", "l");
	add_option(rq, &cmd, "--st", "st");
	add_option(rq, &cmd, "--c", "c");
	act(rq, &cmd, own_page(rq), "added");
}

static void order(struct request *rq)
{
	struct command cmd = WORDS("cert", "acme", "issue", form_cstr(rq, "id"));

	add_names(rq, &cmd);
	if (span_eq(request_form(rq, "agree"), SPAN("yes")))
		cmd.words[cmd.count++] = "--agree";
	act(rq, &cmd, "/certificates", "ordered");
}

static void take(struct request *rq, const char *verb)
{
	struct command cmd = WORDS("cert", verb, form_cstr(rq, "id"));

	cmd.content = request_form(rq, "file");
	if (cmd.content.n == 0)
		cmd.content = request_form(rq, "paste");
	cmd.secret = request_form(rq, "password");
	if (cmd.content.n == 0)
		page_failed(rq, text_of(TEXT_CERT_NO_FILE), own_page(rq));
	else
		act(rq, &cmd, own_page(rq), "added");
}

static void drop(struct request *rq, const char *slot, const char *page)
{
	struct command cmd = WORDS("cert", "remove", form_cstr(rq, "id"), slot);

	if (!slot)
		cmd.count--;
	if (!span_eq(request_form(rq, "sure"), SPAN("yes")))
		page_failed(rq, text_of(TEXT_NOT_SURE), own_page(rq));
	else
		act(rq, &cmd, page, "removed");
}

static void install(struct request *rq)
{
	struct command cmd = WORDS("cert", "install", form_cstr(rq, "id"), "--force");

	if (!span_eq(request_form(rq, "force"), SPAN("yes")))
		cmd.count--;
	act(rq, &cmd, own_page(rq), "changed");
}

void action_certificate(struct request *rq)
{
	struct span verb = request_form(rq, "verb");

	/* An id that looks like an option is none. */
	if (span_starts(request_form(rq, "id"), SPAN("-")) || request_form(rq, "id").n == 0)
		page_failed(rq, text_of(TEXT_BAD_REQUEST), "/certificates");
	else if (span_eq(verb, SPAN("new")))
		make(rq, "new");
	else if (span_eq(verb, SPAN("csr")))
		make(rq, "csr");
	else if (span_eq(verb, SPAN("acme")))
		order(rq);
	else if (span_eq(verb, SPAN("acme-stop")))
		act(rq, &WORDS("cert", "acme", "stop", form_cstr(rq, "id")), "/certificates",
		    "removed");
	else if (span_eq(verb, SPAN("import")))
		take(rq, "import");
	else if (span_eq(verb, SPAN("answer")))
		take(rq, "answer");
	else if (span_eq(verb, SPAN("install")))
		install(rq);
	else if (span_eq(verb, SPAN("rollback")))
		act(rq, &WORDS("cert", "rollback", form_cstr(rq, "id")), own_page(rq), "changed");
	else if (span_eq(verb, SPAN("drop-candidate")))
		drop(rq, "--candidate", own_page(rq));
	else if (span_eq(verb, SPAN("drop-pending")))
		drop(rq, "--pending", own_page(rq));
	else if (span_eq(verb, SPAN("remove")))
		drop(rq, NULL, "/certificates");
	else
		page_error(rq, 404, TEXT_NO_PAGE);
}
