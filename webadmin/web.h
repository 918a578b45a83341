/*
 * The web admin: a CGI/1.1 program, one process a request. It has no rights of its own: it carries
 * the browser's session token to authd's web.sock, and authd decides. All text from outside is
 * escaped (html.h); all text of ours stands in text.def. Pages work without JavaScript. Memory
 * lives in one arena until the process ends; every size is bounded.
 */
#ifndef MS_WEBADMIN_WEB_H
#define MS_WEBADMIN_WEB_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/config/config.h"
#include "common/ipc/msg.h"
#include "webadmin/html.h"

#define WEB_BODY_MAX (1024 * 1024) /* with files */
#define WEB_FORM_MAX (64 * 1024)
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
	struct span path;               /* "/accounts" */
	struct span client, host, port; /* port: of the server, that this request came through */
	struct field query[WEB_FIELDS_MAX];
	size_t query_count;
	struct field form[WEB_FIELDS_MAX];
	size_t form_count;
	struct span body;              /* of a POST that is not a form (autodiscover) */
	char token[WEB_TOKEN_MAX + 1]; /* of the session cookie; "" without */
	/* who the session belongs to, told by authd: filled by request_who */
	struct span user;
	bool is_admin, is_setup, has_mailbox;
};

/* --- request.c: from the CGI environment and standard input ------------------------------------
 */
/* -1 with ERR_INVALID, ERR_LIMIT or ERR_UNSUPPORTED (method). */
int request_read(struct request *rq, struct err *err);
struct span request_form(const struct request *rq, const char *name); /* empty if absent */
struct span request_query(const struct request *rq, const char *name);
/* A form field as a C string in the arena; "" if it is absent. */
const char *form_cstr(struct request *rq, const char *name);
/* Decodes application/x-www-form-urlencoded; -1 on a malformed escape or too many fields. */
int form_decode(
    struct arena *a, struct span text, struct field *fields, size_t *count, struct err *err);
/* multipart/form-data (RFC 7578): fields and files alike become fields; boundary without "--". */
int multipart_decode(
    struct span text, struct span boundary, struct field *fields, size_t *count, struct err *err);
/* The value of a cookie in a Cookie header, or an empty span. */
struct span cookie_find(struct span header, struct span name);
/* What a form must send back: bound to the session, useless without it. 16 hex digits. */
void csrf_token(const char *session, char out[17]);
bool csrf_is_right(const struct request *rq);

/* --- admin.c: one command to authd, its answer kept in the request's arena ---------------------
 */
struct answer {
	struct span *records; /* each one is read with ipc_rec_next */
	size_t count;
	enum err_code code;
	struct span text;
};

#define CALL_WORDS_MAX 24
struct command {
	const char *words[CALL_WORDS_MAX];
	size_t count;
	struct span secret, content;
};

/* WORDS("account", "show", name): a command without secret. */
#define WORDS(...)                                                                                 \
	((struct command){.words = {__VA_ARGS__},                                                  \
	    .count = sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *)})

/* -1: authd does not answer. Else a->code says how it ended. */
int admin_call(struct request *rq, const struct command *cmd, struct answer *a, struct err *err);
/* A named value of record i; false if it has none. */
bool answer_value(const struct answer *a, size_t i, const char *name, struct ipc_value *v);
struct span answer_text(const struct answer *a, size_t i, const char *name); /* or empty */
uint64_t answer_number(const struct answer *a, size_t i, const char *name);  /* or 0 */
/* Whether authd knows a verb: pages of parts that are not there are left out. */
bool admin_has(struct request *rq, const char *verb);
/* Fills user, is_admin, is_setup; false if the session is not (or no longer) one. */
bool request_who(struct request *rq);

/* --- send.c: the answer. No text from outside ever stands in a header. -------------------------
 */
void send_page(int status, struct html *h, const char *cookie); /* and frees h */
/* path is ours; the query, if any, is made of our words and html_url'ed names. */
void send_redirect(const char *path, const char *cookie);
void send_asset(const char *type, struct span bytes);
void send_bytes(int status, const char *type, const char *filename, struct span bytes);

/* --- layout.c: what pages have in common --------------------------------------------------------
 */
void page_begin(struct html *h, const struct request *rq, enum text_id title);
void page_end(struct html *h); /* closes and sends with status 200 */
void page_end_status(struct html *h, int status);
void page_error(struct request *rq, int status, enum text_id text);
/* The text of an err or answer, with a way back. */
void page_failed(struct request *rq, struct span text, const char *back);
enum notice { NOTICE_GOOD, NOTICE_WARN, NOTICE_BAD, NOTICE_INFO };
void notice_begin(struct html *h, enum notice kind);
void notice_end(struct html *h);
void form_begin(struct html *h, const struct request *rq, const char *action);
void form_end(struct html *h, enum text_id button);
/* As form_end with a red button, and as form_begin a form that asks for a tick first. */
void form_end_danger(struct html *h, enum text_id button);
void input(struct html *h, enum text_id label, const char *name, const char *type,
    struct span value, const char *attributes);
void hidden(struct html *h, const char *name, struct span value);
struct choice {
	const char *value;
	struct span label;
};
void choose(struct html *h, enum text_id label, const char *name, const struct choice *c, size_t n,
    struct span chosen);
/* The command that does the same, for people who prefer a terminal. */
void same_command(struct html *h, const char *command);
void copy_box(struct html *h, struct span text);
void dot(struct html *h, enum notice kind, enum text_id label);
/* Each value of each record under its own name, which is for its daemon to say; link: what leads
 * from the first one, with it at the end, or NULL. There must be a record. */
void record_table(struct html *h, const struct answer *a, const char *link);

/* graph.c: a figure with a bar for each record's value called name. */
void graph(struct html *h, const struct answer *a, const char *name, enum text_id label);

/* --- call.c: asking for a page, acting on a form ------------------------------------------------
 */
/* Asks; on any failure sends the page that says so and gives false. */
bool ask(struct request *rq, const struct command *cmd, struct answer *a);
/* As ask, but a verb that fails is no page: a->code says so. */
bool try_ask(struct request *rq, const struct command *cmd, struct answer *a);
/* The command, then back to the page, which says done; or the reason why not. */
void act(struct request *rq, const struct command *cmd, const char *page, const char *done);

/* --- pages: the table in routes.c says which path, which method, and who may --------------------
 */
void page_login(struct request *rq);
void action_login(struct request *rq);
void action_logout(struct request *rq);
void page_setup(struct request *rq);
void action_setup_code(struct request *rq);
void action_setup_host(struct request *rq);
void action_setup_admin(struct request *rq);
void action_setup_smarthost(struct request *rq);
void action_setup_totp(struct request *rq);
void action_setup_totp_confirm(struct request *rq);
void action_setup_mailbox(struct request *rq);
void page_home(struct request *rq);
void page_accounts(struct request *rq);
void page_account(struct request *rq);
void action_account_add(struct request *rq);
void action_account_many(struct request *rq);
void action_account_password(struct request *rq);
void action_account_quota(struct request *rq);
void action_account_protocols(struct request *rq);
void action_account_state(struct request *rq);
void action_account_remove(struct request *rq);
void action_account_app_add(struct request *rq);
void action_account_app_remove(struct request *rq);
void action_account_totp_remove(struct request *rq);
void action_sender_add(struct request *rq);
void action_sender_remove(struct request *rq);
void action_account_limits(struct request *rq);
void page_aliases(struct request *rq);
void action_alias_add(struct request *rq);
void action_alias_remove(struct request *rq);
void page_domains(struct request *rq);
void action_domain_add(struct request *rq);
void action_domain_remove(struct request *rq);
void page_domain(struct request *rq);
void action_domain_keys(struct request *rq);
void download_zone(struct request *rq);
void page_network(struct request *rq);
void action_send_test(struct request *rq);
void page_undelete(struct request *rq);
void action_undelete(struct request *rq);
void page_routes(struct request *rq);
void action_route_add(struct request *rq);
void action_route_remove(struct request *rq);
void action_tls_rule(struct request *rq);
void action_queue_all(struct request *rq);
void action_record(struct request *rq);
void action_failures(struct request *rq);
void page_ports(struct request *rq);
void action_port_set(struct request *rq);
void action_port_add(struct request *rq);
void action_port_preset(struct request *rq);
void action_port_test(struct request *rq); /* port_test.c */
void action_confirm(struct request *rq);
void page_certificates(struct request *rq);
void page_certificate(struct request *rq);
void action_certificate(struct request *rq);
void page_queue(struct request *rq);
void page_message(struct request *rq);
void action_queue(struct request *rq);
void page_trace(struct request *rq);
void page_logs(struct request *rq);
void page_system(struct request *rq);
void action_setting(struct request *rq);
void download_settings(struct request *rq);
void action_upgrade(struct request *rq);
void page_backup(struct request *rq);
void action_backup_make(struct request *rq);
void action_backup_verify(struct request *rq);
void action_backup_schedule(struct request *rq);
void page_restore(struct request *rq);
void action_restore(struct request *rq);
void action_restore_now(struct request *rq);
void page_me(struct request *rq);
void action_my_password(struct request *rq);
void action_my_app_add(struct request *rq);
void action_my_app_remove(struct request *rq);
void action_totp_begin(struct request *rq);
void action_totp_confirm(struct request *rq);
void action_totp_remove(struct request *rq);
/* public.c: what mail programs ask for */
void public_autoconfig(struct request *rq);
void public_autodiscover(struct request *rq);
void action_mobileconfig(struct request *rq);
void public_mta_sts(struct request *rq);
void asset_css(struct request *rq);
void asset_js(struct request *rq);

/* page_me.c: what needs more than a token. The fields of a form that asks for the password again,
 * and signing in with them: on failure the page that says so, and false. */
void sign_in_fields(struct html *h, struct request *rq);
bool sign_in_again(struct request *rq, const char *back);

/* The new secret as a QR code and as text, the recovery codes, and the form that confirms it. */
void totp_secret(
    struct html *h, const struct request *rq, const struct answer *a, const char *action);
#define NETWORK_SECONDS 150                                 /* the looks take up to a minute */
void network_table(struct html *h, const struct answer *a); /* of check-network */
/* page_routes.c: a smarthost, and the command that the form orders. */
void smarthost_form(struct html *h, const struct request *rq, const char *action, bool is_for_all);
struct command smarthost_command(struct request *rq);

/* A section of an account's page. */
void sending_section(struct html *h, struct request *rq, struct span address);
/* A section of the certificates' page; nothing if that part does not run. */
void acme_door(struct html *h, struct request *rq);
#define CERT_ID_RULE "required pattern=\"[a-z0-9][a-z0-9-]*\" maxlength=\"64\""

void pending_notice(struct html *h, struct request *rq); /* system.c: a change to be confirmed */

/* --- settings.c: how a mail program connects, from the configuration ----------------------------
 */
struct client_server {
	const char *kind; /* "imap", "pop3", "smtp" */
	const struct config_listener *l;
};
#define CLIENT_SERVERS_MAX 8
/* The listeners to tell people about, the best one of each kind first. */
size_t client_servers(const struct config *cfg, struct client_server out[CLIENT_SERVERS_MAX]);
void client_settings_table(struct html *h, const struct request *rq, struct span address);
/* App passwords: the table with its buttons (address: whose, or empty for one's own), and the page
 * that shows a new one. */
void device_table(struct html *h, const struct request *rq, const struct answer *a,
    const char *remove, struct span address);
void device_added(
    struct request *rq, const struct command *cmd, struct span address, const char *back);
/* A button that downloads a profile for Apple's devices, with this password in it. */
void mobileconfig_form(
    struct html *h, const struct request *rq, struct span address, struct span password);
/* A QR code as inline SVG; false if text is too long for one. */
bool qr_svg(struct html *h, struct span text);

#endif
