/*
 * THE table of admin verbs: their words, who may say them, how many arguments they take, and
 * whether they change something. A verb that is not in it does not exist, on no socket.
 */
#ifndef MS_AUTHD_VERBS_H
#define MS_AUTHD_VERBS_H

#include "common/base/err.h"
#include "common/ipc/msg.h"

struct call;

enum verb_role {
	VERB_ANYONE, /* no session needed */
	VERB_USER,   /* any live session; admin.sock */
	VERB_ADMIN,  /* a session of an account with the admin flag; admin.sock */
};

enum verb_flag {
	VERB_CHANGES = 1, /* takes its turn, leaves an audit row */
	VERB_HASH = 2,    /* the secret is a new password: checked and hashed before run */
	VERB_WEB = 4,     /* only on web.sock */
	VERB_SETUP = 8,   /* also in the session that the setup code opened */
	VERB_FRESH = 16,  /* on web.sock only soon after a login: a token alone is not enough */
};

struct verb {
	const char *name; /* one to three words */
	uint8_t min, max; /* arguments */
	uint8_t role, flags;
	void (*run)(struct call *call);
	const char *usage; /* the arguments, for people */
};

/* The verb whose words begin the command (the longest), and how many they are; NULL for none. */
const struct verb *verb_find(const struct ipc_admin *cmd, uint32_t *words);
/* -1, and what was expected: of a verb with other arguments, of words that are no verb. */
int verb_usage(const struct verb *v, struct err *err);
int verb_unknown(const struct ipc_admin *cmd, struct err *err);
const struct verb *verb_at(size_t i); /* the table; NULL at its end */

/* verbs_account.c */
void verb_account_add(struct call *call);
void verb_account_list(struct call *call);
void verb_account_show(struct call *call);
void verb_account_password(struct call *call);
void verb_account_disable(struct call *call);
void verb_account_enable(struct call *call);
void verb_account_quota(struct call *call);
void verb_account_receive_only(struct call *call);
void verb_account_protocols(struct call *call);
/* verbs_remove.c */
void verb_account_remove(struct call *call);
void verb_account_restore(struct call *call);
void verb_account_kick(struct call *call);
/* verbs_send.c */
void verb_account_limits(struct call *call);
void verb_sender_add(struct call *call);
void verb_sender_remove(struct call *call);
void verb_sender_list(struct call *call);
/* verbs_app.c */
void verb_app_add(struct call *call);
void verb_app_list(struct call *call);
void verb_app_remove(struct call *call);
void verb_my_app_add(struct call *call);
void verb_my_app_list(struct call *call);
void verb_my_app_remove(struct call *call);
/* verbs_my.c */
void verb_my_account(struct call *call);
void verb_my_password(struct call *call);
/* totp.c */
void verb_totp_begin(struct call *call);
void verb_totp_confirm(struct call *call);
void verb_totp_remove(struct call *call);
void verb_totp_remove_other(struct call *call);
/* setup.c */
void verb_setup_code(struct call *call);
void verb_setup_status(struct call *call);
void verb_setup_begin(struct call *call);
/* verbs_domain.c */
void verb_domain_add(struct call *call);
void verb_domain_remove(struct call *call);
void verb_domain_list(struct call *call);
/* verbs_domain_alias.c */
void verb_domain_alias_add(struct call *call);
void verb_domain_alias_remove(struct call *call);
void verb_domain_alias_list(struct call *call);
void verb_route_add(struct call *call);
void verb_route_remove(struct call *call);
void verb_route_list(struct call *call);
/* verbs_domain.c */
void verb_alias_add(struct call *call);
void verb_alias_remove(struct call *call);
void verb_alias_list(struct call *call);
/* dns.c */
void verb_domain_dns(struct call *call);
void verb_check_network(struct call *call);
void verb_probe(struct call *call);
void verb_send_test(struct call *call);
/* dkim.c */
void verb_dkim(struct call *call);
void verb_dkim_activate(struct call *call);
/* verbs_tls.c */
void verb_tls_rule_add(struct call *call);
void verb_tls_rule_remove(struct call *call);
void verb_tls_rule_list(struct call *call);
/* verbs_settings.c */
void verb_set(struct call *call);
void verb_unset(struct call *call);
void verb_get(struct call *call);
void verb_diff(struct call *call);
void verb_reload(struct call *call);
/* upgrade.c */
void verb_upgrade(struct call *call);
/* revert.c */
void verb_confirm(struct call *call);
void verb_confirm_status(struct call *call);
/* verbs_session.c */
void verb_login(struct call *call);
void verb_logout(struct call *call);
void verb_whoami(struct call *call);
void verb_ping(struct call *call);
void verb_help(struct call *call);
/* audit.c */
void verb_audit_list(struct call *call);
/* verbs_failures.c */
void verb_failures_list(struct call *call);
void verb_failures_forget(struct call *call);
void verb_failures_block(struct call *call);
/* forward.c */
void verb_status(struct call *call);
void verb_forward(struct call *call);
void verb_undelete(struct call *call);
void verb_my_undelete(struct call *call);

#endif
