/*
 * The web admin: a CGI/1.1 program, one process a request. It has no rights of its own: it carries
 * the browser's session token to authd's web.sock, and authd decides. All text from outside goes
 * through html_text, which escapes; there is no other way to print a value. Pages work without
 * JavaScript. Memory lives in one arena until the process ends; every size is bounded.
 */
#ifndef MS_WEBADMIN_WEB_H
#define MS_WEBADMIN_WEB_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/strbuf.h"
#include "common/config/config.h"
#include "common/ipc/msg.h"

#define WEB_BODY_MAX (64 * 1024)
#define WEB_FIELDS_MAX 64
#define WEB_PAGE_MAX (4 * 1024 * 1024)
#define WEB_TOKEN_MAX 128

struct field {
	struct span name, value;
};

struct request {
	struct arena arena;
	struct config *cfg;
	bool is_post;
	struct span path; /* "/accounts" */
	struct span client;
	struct field query[WEB_FIELDS_MAX];
	size_t query_count;
	struct field form[WEB_FIELDS_MAX];
	size_t form_count;
	char token[WEB_TOKEN_MAX + 1]; /* of the session cookie; "" without */
};

/* request.c: from the CGI environment and standard input. -1 with ERR_INVALID or ERR_LIMIT. */
int request_read(struct request *rq, struct err *err);
struct span request_form(const struct request *rq, const char *name); /* empty if absent */
struct span request_query(const struct request *rq, const char *name);
/* Decodes application/x-www-form-urlencoded; -1 on a malformed escape or too many fields. */
int form_decode(
    struct arena *a, struct span text, struct field *fields, size_t *count, struct err *err);
/* The value of a cookie in a Cookie header, or an empty span. */
struct span cookie_find(struct span header, struct span name);
/* What a form must send back: bound to the session, useless without it. 16 hex digits. */
void csrf_token(const char *session, char out[17]);
bool csrf_is_right(const struct request *rq);

/* html.c: the page being written. */
struct html {
	struct strbuf out;
};

void html_init(struct html *h);
void html_raw(struct html *h, const char *literal); /* markup of ours only */
void html_text(struct html *h, struct span text);   /* anything else: escaped */
void html_value(struct html *h, const struct ipc_value *v);
void html_page_begin(struct html *h, const char *title, bool is_logged_in);
void html_page_end(struct html *h);
void html_form_begin(struct html *h, const struct request *rq, const char *action);
void html_form_end(struct html *h, const char *button);
void html_input(struct html *h, const char *label, const char *name, const char *type);
void html_notice(struct html *h, bool is_error, struct span text);
/* The command that does the same, for people who prefer a terminal. */
void html_command(struct html *h, const char *command);

/* send.c: the answer. Headers are of ours only; no text from outside ever stands in one. */
void send_page(int status, const struct html *h, const char *cookie);
void send_redirect(const char *path, const char *cookie);
void send_file_css(void);

/* admin.c: one command to authd, its answer kept in the request's arena. */
struct answer {
	struct span *records; /* each one is read with ipc_rec_next */
	size_t count;
	enum err_code code;
	struct span text;
};

int admin_call(struct request *rq, const char *const *words, size_t count, struct span secret,
    struct answer *a, struct err *err);
/* A named value of record i; false if it has none. */
bool answer_value(const struct answer *a, size_t i, const char *name, struct ipc_value *v);

/* pages.c: a page or an action; the table in main.c says which and who may. */
void page_login(struct request *rq);
void page_home(struct request *rq);
void page_accounts(struct request *rq);
void page_domains(struct request *rq);
void page_aliases(struct request *rq);
void page_ports(struct request *rq);
void page_queue(struct request *rq);
void page_password(struct request *rq);
void page_error(struct request *rq, int status, const char *text);
void action_login(struct request *rq);
void action_logout(struct request *rq);
void action_account_add(struct request *rq);
void action_account_remove(struct request *rq);
void action_password(struct request *rq);
void action_domain_add(struct request *rq);
void action_domain_remove(struct request *rq);
void action_alias_add(struct request *rq);
void action_alias_remove(struct request *rq);
void action_set(struct request *rq);

#endif
