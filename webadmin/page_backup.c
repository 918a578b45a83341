/*
 * Backup: what there is, making one, looking at one, and putting mail back. Restoring only adds
 * what is missing; it is asked twice all the same, with the password, since it puts mail into
 * anybody's mailboxes.
 */
#include "webadmin/web.h"

#include <string.h>

/* --- what is going on
 * ---------------------------------------------------------------------------------------- */
/* The last command that took its time; whether it is still at work. */
static bool last_notice(struct html *h, struct request *rq)
{
	struct err err = ERR_INIT;
	struct answer a;
	struct span state;
	bool is_running;

	if (admin_call(rq, &WORDS("backup", "last"), &a, &err) < 0 || a.code != ERR_NONE ||
	    a.count == 0)
		return false;
	state = answer_text(&a, 0, "state");
	is_running = span_eq(state, SPAN("running"));
	notice_begin(h, is_running                   ? NOTICE_INFO
			: span_eq(state, SPAN("ok")) ? NOTICE_GOOD
						     : NOTICE_BAD);
	HTML(h, R("<code>"), T(answer_text(&a, 0, "command")), R("</code> "));
	if (is_running)
		HTML(h, R("<b data-refresh>"), L(BACKUP_RUNNING), R("</b> <a href=\"/backup\">"),
		    L(BACKUP_LOOK_AGAIN), R("</a>"));
	else
		HTML(h, T(answer_text(&a, 0, "text")));
	HTML(h, R("<br><small>"));
	html_time(h, answer_number(&a, 0, is_running ? "started" : "ended"));
	HTML(h, R("</small>"));
	notice_end(h);
	return is_running;
}

static void generation_row(
    struct html *h, const struct request *rq, const struct answer *a, size_t i, bool is_running)
{
	struct span name = answer_text(a, i, "generation");

	HTML(h, R("<tr><td>"));
	html_time(h, answer_number(a, i, "made"));
	HTML(h, R("<br><span class=\"hint\">"), N(answer_number(a, i, "days")), R(" "),
	    L(BACKUP_DAYS_AGO), R("</span></td><td>"), N(answer_number(a, i, "accounts")),
	    R("</td><td>"), N(answer_number(a, i, "messages")), R("</td><td>"));
	html_bytes(h, answer_number(a, i, "size"));
	HTML(h, R("</td><td>"));
	html_time(h, answer_number(a, i, "verified"));
	HTML(h, R("</td><td>"));
	if (!is_running) {
		form_begin(h, rq, "/backup/verify");
		hidden(h, "generation", name);
		HTML(h, R("<button class=\"quiet\">"), L(BACKUP_VERIFY),
		    R("</button></form> <a class=\"button quiet\" href=\"/backup/restore?g="));
		html_url(h, name);
		HTML(h, R("\">"), L(UNDELETE), R("</a>"));
	}
	HTML(h, R("</td></tr>\n"));
}

static void generations(struct html *h, struct request *rq, const struct answer *a, bool is_running)
{
	HTML(h, R("<section><h2>"), L(BACKUP_LIST), R("</h2>\n<p>"), L(BACKUP_LIST_HINT),
	    R("</p>\n"));
	if (a->code != ERR_NONE || a->count == 0) {
		HTML(h, R("<p class=\"hint\">"), T(a->text), R("</p>\n"));
	} else {
		HTML(h, R("<div class=\"scroll\"><table>\n<tr><th>"), L(BACKUP_MADE),
		    R("</th><th>"), L(MENU_ACCOUNTS), R("</th><th>"), L(MENU_TRACE), R("</th><th>"),
		    L(BACKUP_SIZE), R("</th><th>"), L(BACKUP_VERIFIED), R("</th><th></th></tr>\n"));
		for (size_t i = 0; i < a->count && i < 100; i++)
			generation_row(h, rq, a, i, is_running);
		HTML(h, R("</table></div>\n"));
	}
	same_command(h, "backup list");
	if (!is_running) {
		form_begin(h, rq, "/backup/make");
		form_end(h, TEXT_BACKUP_NOW);
		same_command(h, "backup");
	}
	HTML(h, R("</section>\n"));
}

static void schedule(struct html *h, struct request *rq)
{
	struct strbuf keep;

	HTML(h, R("<section><h2>"), L(BACKUP_SCHEDULE), R("</h2>\n<p>"), L(BACKUP_SCHEDULE_HINT),
	    R("</p>\n"));
	form_begin(h, rq, "/backup/schedule");
	input(h, TEXT_BACKUP_FOLDER, "folder", "text",
	    span_of(config_str(rq->cfg, SET_BACKUP_FOLDER)),
	    "maxlength=\"255\" placeholder=\"/backup/mailstead\"");
	strbuf_init(&keep, 32);
	strbuf_add_u64(&keep, config_u64(rq->cfg, SET_BACKUP_KEEP));
	input(h, TEXT_BACKUP_KEEP, "keep", "number", strbuf_span(&keep),
	    "required min=\"1\" max=\"1000\"");
	strbuf_clear(&keep);
	sign_in_fields(h, rq);
	form_end(h, TEXT_CHANGE);
	same_command(h, "set backup.folder FOLDER backup.keep NUMBER");
	HTML(h, R("</section>\n"));
}

/* The machine's whole state comes back only while nothing runs, so not from here. */
static void disaster(struct html *h, const char *folder)
{
	HTML(h, R("<section><h2>"), L(BACKUP_GONE), R("</h2>\n<p>"), L(BACKUP_GONE_HINT),
	    R("</p>\n<pre>sudo systemctl stop mailstead.target\nsudo mailsteadctl restore "),
	    S(folder),
	    R(" --force\nsudo systemctl start mailstead.target\nsudo mailsteadctl check "
	      "--bodies</pre>\n</section>\n"));
}

void page_backup(struct request *rq)
{
	const char *folder = config_str(rq->cfg, SET_BACKUP_FOLDER);
	bool is_running;
	struct answer a;
	struct html h;

	if (folder[0] && !try_ask(rq, &WORDS("backup", "list"), &a))
		return;
	page_begin(&h, rq, TEXT_BACKUP);
	is_running = last_notice(&h, rq);
	if (folder[0]) {
		generations(&h, rq, &a, is_running);
	} else {
		notice_begin(&h, NOTICE_WARN);
		HTML(&h, L(BACKUP_NONE));
		notice_end(&h);
	}
	schedule(&h, rq);
	if (folder[0])
		disaster(&h, folder);
	page_end(&h);
}

void action_backup_make(struct request *rq)
{
	act(rq, &WORDS("backup", "make"), "/backup", "begun");
}

void action_backup_verify(struct request *rq)
{
	act(rq, &WORDS("backup", "verify", form_cstr(rq, "generation")), "/backup", "begun");
}

void action_backup_schedule(struct request *rq)
{
	if (sign_in_again(rq, "/backup"))
		act(rq,
		    &WORDS("set", "backup.folder", form_cstr(rq, "folder"), "backup.keep",
			form_cstr(rq, "keep")),
		    "/backup", "changed");
}

/* --- restoring
 * ---------------------------------------------------------------------------------------------- */
struct wish {
	const char *generation;
	const char *address; /* "": all accounts */
	const char *mailbox; /* "": all of them */
	const char *to;      /* "": the same account */
};

static struct wish wish_of(struct request *rq)
{
	return (struct wish){form_cstr(rq, "generation"), form_cstr(rq, "address"),
	    form_cstr(rq, "mailbox"), form_cstr(rq, "to")};
}

/* "--mailbox=NAME": one word. */
static const char *option(struct request *rq, const char *name, const char *value)
{
	struct strbuf b;
	const char *word;

	strbuf_init(&b, 1024);
	strbuf_addf(&b, "%s=%s", name, value);
	word = b.failed ? NULL : arena_strdup(&rq->arena, strbuf_span(&b));
	strbuf_clear(&b);
	return word ? word : "";
}

static struct command restore_command(struct request *rq, const struct wish *w)
{
	struct command cmd = WORDS("restore", w->generation, w->address[0] ? w->address : "all");

	if (w->mailbox[0])
		cmd.words[cmd.count++] = option(rq, "--mailbox", w->mailbox);
	if (w->to[0])
		cmd.words[cmd.count++] = option(rq, "--to", w->to);
	return cmd;
}

void page_restore(struct request *rq)
{
	struct span generation = request_query(rq, "g");
	struct err err = ERR_INIT;
	struct answer a;
	struct html h;

	page_begin(&h, rq, TEXT_RESTORE);
	HTML(&h, R("<p class=\"subject\">"), T(generation), R("</p>\n<p>"), L(RESTORE_HINT),
	    R("</p>\n<section>"));
	form_begin(&h, rq, "/backup/restore");
	hidden(&h, "generation", generation);
	HTML(&h, R("<datalist id=\"addresses\">"));
	if (admin_call(rq, &WORDS("account", "list"), &a, &err) == 0 && a.code == ERR_NONE)
		for (size_t i = 0; i < a.count && i < 200; i++)
			if (!answer_number(&a, i, "admin"))
				HTML(&h, R("<option value=\""), T(answer_text(&a, i, "address")),
				    R("\">"));
	HTML(&h, R("</datalist>\n"));
	input(&h, TEXT_RESTORE_ADDRESS, "address", "email", request_query(rq, "a"),
	    "list=\"addresses\" autocomplete=\"off\"");
	input(&h, TEXT_RESTORE_MAILBOX, "mailbox", "text", SPAN(""), "maxlength=\"400\"");
	input(&h, TEXT_RESTORE_TO, "to", "email", SPAN(""),
	    "list=\"addresses\" autocomplete=\"off\"");
	form_end(&h, TEXT_NEXT);
	same_command(&h, "restore FOLDER ADDRESS|--all [--mailbox=NAME] [--to=ADDRESS]");
	HTML(&h, R("</section>\n"));
	page_end(&h);
}

static void fact(struct html *h, enum text_id label, const char *value, enum text_id none)
{
	HTML(h, R("<dt>"), LID(label), R("</dt><dd>"));
	if (value[0])
		HTML(h, S(value));
	else
		HTML(h, LID(none));
	HTML(h, R("</dd>"));
}

/* What will happen, once more: nothing has happened yet. */
static void confirm_page(struct request *rq, const struct wish *w)
{
	struct html h;

	page_begin(&h, rq, TEXT_RESTORE);
	HTML(&h, R("<section><p>"), L(RESTORE_SURE), R("</p>\n<dl>"));
	fact(&h, TEXT_BACKUP, w->generation, TEXT_NONE_YET);
	fact(&h, TEXT_RESTORE_ADDRESS, w->address, TEXT_RESTORE_ALL);
	fact(&h, TEXT_RESTORE_MAILBOX, w->mailbox, TEXT_RESTORE_EVERY_MAILBOX);
	fact(&h, TEXT_RESTORE_TO, w->to, TEXT_RESTORE_SAME);
	HTML(&h, R("</dl>\n"));
	form_begin(&h, rq, "/backup/restore-now");
	hidden(&h, "generation", span_of(w->generation));
	hidden(&h, "address", span_of(w->address));
	hidden(&h, "mailbox", span_of(w->mailbox));
	hidden(&h, "to", span_of(w->to));
	sign_in_fields(&h, rq);
	form_end_danger(&h, TEXT_RESTORE_NOW);
	HTML(&h, R("</section>\n<p><a class=\"button quiet\" href=\"/backup\">"), L(BACK),
	    R("</a></p>\n"));
	page_end(&h);
}

void action_restore(struct request *rq)
{
	struct wish w = wish_of(rq);

	if (!w.address[0] && (w.mailbox[0] || w.to[0]))
		page_failed(rq, text_of(TEXT_RESTORE_PART), "/backup");
	else
		confirm_page(rq, &w);
}

void action_restore_now(struct request *rq)
{
	struct wish w = wish_of(rq);
	struct command cmd = restore_command(rq, &w);

	if (!span_eq(request_form(rq, "sure"), SPAN("yes")))
		page_failed(rq, text_of(TEXT_NOT_SURE), "/backup");
	else if (sign_in_again(rq, "/backup"))
		act(rq, &cmd, "/backup", "begun");
}
