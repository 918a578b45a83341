#include "common/authd/verbs.h"

#include "common/base/mem.h"

static const struct verb table[] = {
    {"ping", 0, 0, VERB_ANYONE, 0, verb_ping, ""},
    {"login", 1, 2, VERB_ANYONE, VERB_WEB, verb_login, "ADDRESS [CODE] (secret: password)"},
    {"setup-code", 0, 0, VERB_ADMIN, VERB_CHANGES, verb_setup_code, ""},
    {"setup status", 0, 0, VERB_ANYONE, 0, verb_setup_status, ""},
    {"setup begin", 0, 0, VERB_ANYONE, VERB_WEB | VERB_CHANGES, verb_setup_begin,
	"(secret: the code)"},
    {"logout", 0, 0, VERB_USER, VERB_WEB | VERB_CHANGES | VERB_SETUP, verb_logout, ""},
    {"whoami", 0, 0, VERB_USER, VERB_SETUP, verb_whoami, ""},
    {"help", 0, 0, VERB_USER, VERB_SETUP, verb_help, ""},
    {"domain add", 1, 1, VERB_ADMIN, VERB_CHANGES, verb_domain_add, "DOMAIN"},
    {"domain remove", 1, 1, VERB_ADMIN, VERB_CHANGES, verb_domain_remove, "DOMAIN"},
    {"domain list", 0, 0, VERB_ADMIN, 0, verb_domain_list, ""},
    {"domain dns", 1, 3, VERB_ADMIN, 0, verb_domain_dns, "DOMAIN [--check|--zone]"},
    {"check-network", 0, 0, VERB_ADMIN, 0, verb_check_network, ""},
    {"probe", 1, 1, VERB_ADMIN, 0, verb_probe, "DOMAIN"},
    {"send-test", 1, 3, VERB_ADMIN, VERB_CHANGES, verb_send_test, "ADDRESS [--from ADDRESS]"},
    {"dkim list", 0, 1, VERB_ADMIN, 0, verb_dkim, "[DOMAIN]"},
    {"dkim rotate", 1, 1, VERB_ADMIN, VERB_CHANGES, verb_dkim, "DOMAIN"},
    {"dkim activate", 1, 2, VERB_ADMIN, VERB_CHANGES, verb_dkim_activate, "DOMAIN [--force]"},
    {"dkim cancel", 1, 1, VERB_ADMIN, VERB_CHANGES, verb_dkim, "DOMAIN"},
    {"domain alias add", 2, 2, VERB_ADMIN, VERB_CHANGES, verb_domain_alias_add, "NAME DOMAIN"},
    {"domain alias remove", 1, 1, VERB_ADMIN, VERB_CHANGES, verb_domain_alias_remove, "NAME"},
    {"domain alias list", 0, 0, VERB_ADMIN, 0, verb_domain_alias_list, ""},
    {"account add", 1, 2, VERB_ADMIN, VERB_CHANGES | VERB_HASH, verb_account_add,
	"ADDRESS [--admin] --password-stdin"},
    {"account remove", 1, 2, VERB_ADMIN, VERB_CHANGES, verb_account_remove, "ADDRESS [--now]"},
    {"account restore", 1, 2, VERB_ADMIN, VERB_CHANGES, verb_account_restore,
	"ADDRESS|NUMBER [NEW-ADDRESS]"},
    {"account kick", 1, 1, VERB_ADMIN, VERB_CHANGES, verb_account_kick, "ADDRESS"},
    {"account list", 0, 3, VERB_ADMIN, 0, verb_account_list,
	"[DOMAIN] [--after ADDRESS] | --removed"},
    {"account show", 1, 1, VERB_ADMIN, 0, verb_account_show, "ADDRESS"},
    {"account password", 1, 1, VERB_ADMIN, VERB_CHANGES | VERB_HASH, verb_account_password,
	"ADDRESS --password-stdin"},
    {"account disable", 1, 1, VERB_ADMIN, VERB_CHANGES, verb_account_disable, "ADDRESS"},
    {"account enable", 1, 1, VERB_ADMIN, VERB_CHANGES, verb_account_enable, "ADDRESS"},
    {"account quota", 2, 3, VERB_ADMIN, VERB_CHANGES, verb_account_quota,
	"ADDRESS BYTES|none [MESSAGES|none]"},
    {"account receive-only", 2, 2, VERB_ADMIN, VERB_CHANGES, verb_account_receive_only,
	"ADDRESS yes|no"},
    {"account protocols", 2, 2, VERB_ADMIN, VERB_CHANGES, verb_account_protocols,
	"ADDRESS smtp,imap,pop3,web"},
    {"account limits", 1, 1 + 6, VERB_ADMIN, VERB_CHANGES, verb_account_limits,
	"ADDRESS [NAME=NUMBER|default ...]"},
    {"sender add", 2, 2, VERB_ADMIN, VERB_CHANGES, verb_sender_add, "ACCOUNT ADDRESS|@DOMAIN"},
    {"sender remove", 2, 2, VERB_ADMIN, VERB_CHANGES, verb_sender_remove,
	"ACCOUNT ADDRESS|@DOMAIN"},
    {"sender list", 1, 1, VERB_ADMIN, 0, verb_sender_list, "ACCOUNT"},
    {"app-password add", 2, 3, VERB_ADMIN, VERB_CHANGES, verb_app_add,
	"ADDRESS LABEL [smtp,imap,pop3]"},
    {"app-password list", 1, 1, VERB_ADMIN, 0, verb_app_list, "ADDRESS"},
    {"app-password remove", 2, 2, VERB_ADMIN, VERB_CHANGES, verb_app_remove, "ADDRESS ID"},
    {"my account", 0, 0, VERB_USER, VERB_WEB, verb_my_account, ""},
    {"my password", 0, 0, VERB_USER, VERB_WEB | VERB_CHANGES | VERB_HASH | VERB_FRESH,
	verb_my_password, "(secret: password; soon after a login)"},
    {"my app-password add", 1, 2, VERB_USER, VERB_WEB | VERB_CHANGES | VERB_FRESH, verb_my_app_add,
	"LABEL [smtp,imap,pop3]"},
    {"my app-password list", 0, 0, VERB_USER, VERB_WEB, verb_my_app_list, ""},
    {"my app-password remove", 1, 1, VERB_USER, VERB_WEB | VERB_CHANGES, verb_my_app_remove, "ID"},
    {"my totp begin", 0, 0, VERB_USER, VERB_WEB | VERB_CHANGES | VERB_FRESH, verb_totp_begin,
	"(soon after a login)"},
    {"my totp confirm", 1, 1, VERB_USER, VERB_WEB | VERB_CHANGES, verb_totp_confirm, "CODE"},
    {"my totp remove", 0, 0, VERB_USER, VERB_WEB | VERB_CHANGES | VERB_FRESH, verb_totp_remove,
	"(soon after a login)"},
    {"my undelete list", 0, 1, VERB_USER, VERB_WEB, verb_my_undelete, "[MAILBOX]"},
    {"my undelete message", 2, 2, VERB_USER, VERB_WEB | VERB_CHANGES, verb_my_undelete,
	"MAILBOX UID"},
    {"my undelete mailbox", 1, 1, VERB_USER, VERB_WEB | VERB_CHANGES, verb_my_undelete, "MAILBOX"},
    {"my undelete since", 1, 1, VERB_USER, VERB_WEB | VERB_CHANGES, verb_my_undelete, "TIME"},
    {"totp remove", 1, 1, VERB_ADMIN, VERB_CHANGES, verb_totp_remove_other, "ADDRESS"},
    {"alias add", 2, IPC_ADMIN_WORDS - 2, VERB_ADMIN, VERB_CHANGES, verb_alias_add,
	"ADDRESS|@DOMAIN TARGET... [--until DAY|+7d|never]"},
    {"alias remove", 1, IPC_ADMIN_WORDS - 2, VERB_ADMIN, VERB_CHANGES, verb_alias_remove,
	"ADDRESS|@DOMAIN [TARGET...]"},
    {"alias list", 0, 3, VERB_ADMIN, 0, verb_alias_list, "[DOMAIN] [--after ADDRESS]"},
    {"set", 2, IPC_ADMIN_WORDS - 2, VERB_ADMIN, VERB_CHANGES, verb_set,
	"NAME VALUE [NAME VALUE ...]"},
    {"unset", 1, IPC_ADMIN_WORDS / 2, VERB_ADMIN, VERB_CHANGES, verb_unset, "NAME ..."},
    {"upgrade", 0, 1, VERB_ADMIN, VERB_CHANGES, verb_upgrade, "[--drain]"},
    {"confirm", 0, 1, VERB_ADMIN, VERB_CHANGES, verb_confirm, "[PORT]"},
    {"confirm status", 0, 0, VERB_ADMIN, 0, verb_confirm_status, ""},
    {"get", 0, 1, VERB_ADMIN, 0, verb_get, "[NAME]"},
    {"diff", 0, 0, VERB_ADMIN, 0, verb_diff, ""},
    {"audit list", 0, 1, VERB_ADMIN, 0, verb_audit_list, "[COUNT]"},
    {"failures list", 0, 0, VERB_ADMIN, 0, verb_failures_list, ""},
    {"failures forget", 1, 1, VERB_ADMIN, VERB_CHANGES, verb_failures_forget, "ADDRESS|ACCOUNT"},
    {"failures block", 1, 1, VERB_ADMIN, VERB_CHANGES, verb_failures_block, "ADDRESS"},
    {"status", 0, 0, VERB_ADMIN, 0, verb_status, ""},
    {"trace", 1, 2, VERB_ADMIN, 0, verb_forward, "FROM|TO|ID|CLIENT|last [COUNT]"},
    {"traffic", 0, 1, VERB_ADMIN, 0, verb_forward, "[HOURS]"},
    {"record", 1, 1, VERB_ADMIN, VERB_CHANGES, verb_forward, "CLIENT-ADDRESS"},
    {"route add", 2, 4, VERB_ADMIN, VERB_CHANGES, verb_route_add,
	"all|to:DOMAIN|from:DOMAIN HOST[:PORT]|direct [tls=verified|required|opportunistic|none] "
	"[user=NAME --password-stdin]"},
    {"route remove", 1, 2, VERB_ADMIN, VERB_CHANGES, verb_route_remove,
	"all|to:DOMAIN|from:DOMAIN [HOST[:PORT]]"},
    {"route list", 0, 0, VERB_ADMIN, 0, verb_route_list, ""},
    {"tls-rule add", 2, 2, VERB_ADMIN, VERB_CHANGES, verb_tls_rule_add,
	"DOMAIN|.DOMAIN none|opportunistic|required|verified|dane"},
    {"tls-rule remove", 1, 1, VERB_ADMIN, VERB_CHANGES, verb_tls_rule_remove, "DOMAIN|.DOMAIN"},
    {"tls-rule list", 0, 0, VERB_ADMIN, 0, verb_tls_rule_list, ""},
    {"route suggest", 0, 0, VERB_ADMIN, 0, verb_forward, ""},
    {"queue list", 0, IPC_ADMIN_WORDS - 2, VERB_ADMIN, 0, verb_forward, ""},
    {"queue paused list", 0, 0, VERB_ADMIN, 0, verb_forward, ""},
    {"queue show", 0, IPC_ADMIN_WORDS - 2, VERB_ADMIN, 0, verb_forward, "ID"},
    {"queue", 1, IPC_ADMIN_WORDS - 1, VERB_ADMIN, VERB_CHANGES, verb_forward,
	"list | show ID | retry|hold|release|return|delete ID|domain NAME|all | pause|resume "
	"[DOMAIN] | paused list"},
    {"undelete list", 1, 2, VERB_ADMIN, 0, verb_undelete, "ADDRESS [MAILBOX]"},
    {"undelete message", 3, 3, VERB_ADMIN, VERB_CHANGES, verb_undelete, "ADDRESS MAILBOX UID"},
    {"undelete mailbox", 2, 2, VERB_ADMIN, VERB_CHANGES, verb_undelete, "ADDRESS MAILBOX"},
    {"undelete since", 2, 2, VERB_ADMIN, VERB_CHANGES, verb_undelete, "ADDRESS TIME"},
    {"cert list", 0, 0, VERB_ADMIN, 0, verb_forward, ""},
    {"cert show", 1, 2, VERB_ADMIN, 0, verb_forward, "ID [--previous|--candidate|--pending]"},
    {"cert check", 1, 2, VERB_ADMIN, 0, verb_forward, "ID [--candidate|--previous] [--file FILE]"},
    {"cert export-chain", 1, 2, VERB_ADMIN, 0, verb_forward, "ID"},
    {"cert acme list", 0, 0, VERB_ADMIN, 0, verb_forward, ""},
    {"cert acme", 1, IPC_ADMIN_WORDS - 2, VERB_ADMIN, VERB_CHANGES, verb_forward,
	"issue ID [NAME...] [--agree] | stop ID"},
    {"cert", 1, IPC_ADMIN_WORDS - 1, VERB_ADMIN, VERB_CHANGES, verb_forward,
	"new|csr|answer|import|install|rollback|remove|staple ID ..."},
    {"backup list", 0, 0, VERB_ADMIN, VERB_WEB, verb_forward, ""},
    {"backup last", 0, 0, VERB_ADMIN, VERB_WEB, verb_forward, ""},
    {"backup make", 0, 0, VERB_ADMIN, VERB_WEB | VERB_CHANGES, verb_forward, ""},
    {"backup verify", 1, 1, VERB_ADMIN, VERB_WEB | VERB_CHANGES, verb_forward, "GENERATION"},
    {"restore", 2, 4, VERB_ADMIN, VERB_WEB | VERB_CHANGES | VERB_FRESH, verb_forward,
	"GENERATION ADDRESS|all [--mailbox=NAME] [--to=ADDRESS]"},
    {"reload", 0, 0, VERB_ADMIN, VERB_CHANGES, verb_reload, ""},
};

const struct verb *verb_at(size_t i)
{
	return i < ARRAY_LEN(table) ? &table[i] : NULL;
}

/* How many words of the command a verb's name takes; 0 if it is another verb. */
static uint32_t match(const struct verb *v, const struct ipc_admin *cmd)
{
	struct span rest = span_of(v->name);
	struct span word;
	uint32_t n = 0;

	while (span_split(&rest, ' ', &word)) {
		if (n >= cmd->count || !span_eq(word, cmd->words[n]))
			return 0;
		n++;
	}
	return n;
}

int verb_usage(const struct verb *v, struct err *err)
{
	return err_set(
	    err, ERR_INVALID, "usage: %s%s%s", v->name, v->usage[0] ? " " : "", v->usage);
}

int verb_unknown(const struct ipc_admin *cmd, struct err *err)
{
	struct span first = cmd->count > 0 ? cmd->words[0] : SPAN("");
	int shown = first.n < 64 ? (int)first.n : 64;
	struct strbuf b;

	strbuf_init(&b, 1024);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct span rest = span_of(table[i].name);
		struct span word;

		if (span_split(&rest, ' ', &word) && span_eq(word, first) && rest.n > 0)
			strbuf_addf(&b, "%s%.*s", b.n > 0 ? ", " : "", SPAN_FMT(rest));
	}
	if (b.n > 0)
		err_set(
		    err, ERR_INVALID, "%.*s: expected one of %.*s", shown, first.p, (int)b.n, b.p);
	else
		err_set(
		    err, ERR_INVALID, "no such command: \"%.*s\"; help lists them", shown, first.p);
	strbuf_clear(&b);
	return -1;
}

const struct verb *verb_find(const struct ipc_admin *cmd, uint32_t *words)
{
	const struct verb *best = NULL;

	*words = 0;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		uint32_t n = match(&table[i], cmd);

		if (n > *words) {
			*words = n;
			best = &table[i];
		}
	}
	return best;
}
