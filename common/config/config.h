/*
 * Settings. One table (settings.def) says what exists. Values come, the later winning, from the
 * defaults, <state>/conf/settings.conf (written by authd for the admin), and mailstead.conf (the
 * administrator's file). Lines are "name = value"; '#' begins a comment at the start of a line or
 * after white space; a value may stand in double quotes. An unknown name, a value out of range, a
 * duplicate name or a malformed line is an error that names file, line, what was found and what was
 * expected.
 *
 * A struct config is immutable and reference-counted (atomically): sessions keep theirs.
 */
#ifndef MS_CONFIG_CONFIG_H
#define MS_CONFIG_CONFIG_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

enum setting {
#define SETTING(id, name, type, min, max, def, apply, help) SET_##id,
#define LISTENER_SETTING(id, key, type, min, max, def, help)
#include "common/config/settings.def"
#undef SETTING
#undef LISTENER_SETTING
	SET_COUNT
};

enum listener_role {
	ROLE_SMTP,
	ROLE_SUBMISSION,
	ROLE_IMAP,
	ROLE_POP3,
	ROLE_LMTP,
	ROLE_DEVICE,
	ROLE_WEB, /* of web.* only, never of a listener.NAME.role */
	ROLE_COUNT
};
enum tls_stance { TLS_NONE, TLS_OFFERED, TLS_REQUIRED, TLS_IMPLICIT };

struct config_listener {
	char name[33];
	bool enabled;
	enum listener_role role;
	char address[101]; /* "*": all, IPv6 and IPv4; "/...": a unix socket, port means nothing */
	uint16_t port;
	enum tls_stance tls;
	bool auth, login_without_tls;
	char certificates[256]; /* ids: read with config_list_next */
	unsigned tls_min;       /* 10, 11, 12 or 13 */
	bool ask_client_certificate;
	char proxy_from[256]; /* networks that send a PROXY header; empty: none */
	uint64_t connections; /* open at once; 0: as many as the protocol may have */
	bool protocol_log;
	/* of the role device: never empty for it; networks; recipients */
	char device_sender[256], device_from[256], device_to[256];
	char hostname[256]; /* never empty: server.hostname if none was given */
};

struct config;

/*
 * The built-in listeners, each of which a file can change or switch off: smtp 25 (offered, no
 * auth), submission 587 (required), submissions 465 (implicit), submission-alt 2525 (required),
 * imap 143 (offered), imaps 993 (implicit), pop3 110 (offered), pop3s 995 (implicit). Switched off
 * at first: smtp-alt 26 (as smtp), lmtp (127.0.0.1, 24), lmtp-unix (<paths.run>/lmtp.sock). What
 * web.* says comes last, as listeners "web" (implicit) and "web-http" (no TLS).
 */
int config_load(const char *path, struct config **out, struct err *err);
/* The same with settings.conf.next instead of settings.conf: a change that is being prepared. */
int config_load_next(const char *path, struct config **out, struct err *err);
/*
 * The texts it was made of, valid as long as c is, and the way back: how a monitor hands its
 * configuration to a process that may read no file of it.
 */
struct config_texts {
	struct span main_path, main_text, settings_path, settings_text;
};
struct config_texts config_texts(const struct config *c);
int config_from_texts(const struct config_texts *t, struct config **out, struct err *err);
/* For tests: from text instead of a file, no settings.conf. */
int config_parse(struct span text, struct config **out, struct err *err);
struct config *config_ref(struct config *c);
void config_unref(struct config *c);

uint64_t config_u64(const struct config *c, enum setting s); /* NUMBER, SIZE, SECONDS, BOOL */
bool config_bool(const struct config *c, enum setting s);
const char *config_str(const struct config *c, enum setting s); /* TEXT, PATH, HOST, WORD, LIST */
#define CONFIG_TIMES_MAX 32
/* "30", "5m", "4h", "5d": a time in seconds. */
bool config_seconds(struct span text, uint64_t *seconds);
/* Takes the next word off a LIST; false at its end. */
bool config_list_next(struct span *list, struct span *word);

size_t config_listener_count(const struct config *c);
const struct config_listener *config_listener(const struct config *c, size_t i);
const char *listener_role_name(enum listener_role r);
const char *tls_stance_name(enum tls_stance t);

/*
 * Names below <run>. Each process has a folder of its own there, in which nobody else can put a
 * socket: whoever connects to authd/auth.sock talks to authd. <run>/<process>/ctl is its control
 * socket.
 */
#define RUN_AUTH_SOCK "authd/auth.sock"
#define RUN_ADMIN_SOCK "authd/admin.sock"
#define RUN_WEB_SOCK "authd/web.sock"
#define RUN_KEYD_SOCK "keyd/keyd.sock"
#define RUN_QUEUE_HINT "smtpd-local/queue.hint"
#define RUN_SEND_HINT "smtpd-send/queue.hint"
#define RUN_FETCH_SOCK "smtpd-fetch/fetch.sock"
#define RUN_IMAPD_HINT "imapd-worker/imapd.hint"
#define RUN_POP3D_LOCKS "pop3d-worker/pop3d.locks"

/* <paths.state>/restoring: there while a restore has not come to its end; nothing starts then. */
#define STATE_RESTORING "restoring"

/* <paths.run>/<name>, <paths.state>/<name>: into out; fails when it does not fit. */
#define CONFIG_PATH_MAX 512
int config_run_path(
    const struct config *c, const char *name, char out[CONFIG_PATH_MAX], struct err *err);
int config_state_path(
    const struct config *c, const char *name, char out[CONFIG_PATH_MAX], struct err *err);
const char *config_path(const struct config *c); /* of mailstead.conf */

/* --- for the admin: names and values as text -------------------------------------------------- */
struct config_value {
	const char *name; /* full: "smtp.message_size_max", "listener.smtp.port" */
	const char *value;
	const char *type;
	const char *help;
	const char *origin; /* "default", or the file's path */
	unsigned line;      /* in the file; 0 for a default */
	bool is_restart;    /* takes effect when the processes start again */
};

/* Calls fn for every setting and every listener's every key, in table order. */
void config_each(
    const struct config *c, void (*fn)(void *arg, const struct config_value *v), void *arg);
/* Checks one name and value on their own. */
int config_check(struct span name, struct span value, struct err *err);
struct config_edit {
	struct span name, value; /* value.p NULL: removed */
};
/*
 * The text of settings.conf after these edits, validated together with the administrator's file:
 * ERR_DENIED when mailstead.conf sets the same name (the text says file and line), ERR_INVALID when
 * the whole would not load.
 */
int config_edit(const struct config *c, const struct config_edit *edits, size_t count,
    struct strbuf *text, struct err *err);
/* Longest file. */
#define CONFIG_FILE_MAX (384 * 1024)
/* Every setting with help and default, commented out: etc/mailstead.conf. */
void config_sample(struct strbuf *out);
void config_man(struct strbuf *out); /* the manual page, in roff */

#endif
