/* Printers, scanners and cameras: they send as one account to a few recipients, whatever they say.
 */
#include "smtpd/receive/receive.h"

#include "common/base/mem.h"
#include "common/log/log.h"

bool device_is_known(const struct session *s)
{
	struct span list = span_of(s->listener->cfg->device_from), word;
	struct net_range r;

	while (config_list_next(&list, &word))
		if (net_range_parse(&r, word, NULL) == 0 && net_range_has(&r, &s->peer))
			return true;
	return false;
}

/* Whose the listener's sender is: of one account, or nobody may send here. */
static uint64_t owner_of(const struct ipc_msg *msg, const struct err *err)
{
	struct ipc_target t = {0};
	struct ipc_resolved r;

	if (err || msg->type != IPC_AUTH_RESOLVED || !ipc_dec_resolved(msg->body, &r) ||
	    r.status != RESOLVE_LOCAL || r.count != 1 || !ipc_target_next(&r, &t))
		return 0;
	return t.account;
}

static void on_owner(void *arg, const struct ipc_msg *msg, const struct err *err)
{
	struct session *s = arg;
	uint64_t account = owner_of(msg, err);

	s->query = NULL;
	if (account == 0) {
		log_warning("smtp-device", LOG_STR("session", s->id),
		    LOG_STR("listener", s->listener->cfg->name), LOG_SPAN("sender", s->t.sender),
		    LOG_STR("reason", "no account, or more than one"));
		transaction_reset(s);
		reply(s, 451, "4.3.5", "No account for the sender of this listener");
		session_next(s);
		return;
	}
	s->is_by_address = true;
	session_set_account(s, account, 0);
	ask_sender(s);
}

void device_mail(struct session *s)
{
	struct ipc_resolve m;
	struct strbuf b;

	if (!arena_copy(&s->t.arena, span_of(s->listener->cfg->device_sender), &s->t.sender))
		fatal("no room for the sender of a device");
	m.address = s->t.sender;
	if (s->account != 0) {
		ask_sender(s);
		return;
	}
	strbuf_init(&b, 1024);
	ipc_enc_resolve(&b, &m);
	ask_authd(s, IPC_AUTH_RESOLVE, &b, on_owner);
	strbuf_clear(&b);
}

bool device_may_write_to(const struct session *s, struct span address)
{
	struct span list = span_of(s->listener->cfg->device_to), word;
	ssize_t at = span_rchr(address, '@');

	if (s->listener->cfg->role != ROLE_DEVICE || list.n == 0)
		return true;
	while (config_list_next(&list, &word)) {
		bool is_domain = word.p[0] == '@';

		if (span_ieq(word, is_domain && at >= 0 ? span_from(address, (size_t)at) : address))
			return true;
	}
	return false;
}
