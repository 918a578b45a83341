/* The verbs of smtpd-send's control socket. */
#include "smtpd/send/check.h"

static bool is_verb(const struct ipc_admin *cmd, const char *first, const char *second)
{
	return cmd->count >= 1 + (second != NULL) && span_eq(cmd->words[0], span_of(first)) &&
	       (!second || span_eq(cmd->words[1], span_of(second)));
}

/* Whoever has a smarthost now need not care about port 25, until somebody is not reached again. */
static void routes_changed(struct send *s, const struct admin_request *rq)
{
	blocked_reached(s);
	send_changed(s);
	admin_end(rq, ERR_NONE, "%s", "");
}

void send_admin(struct role *r, const struct ipc_admin *cmd, const struct admin_request *rq)
{
	struct send *s = r->ctx;

	if (is_verb(cmd, "network", "addresses"))
		network_addresses(s, rq);
	else if (is_verb(cmd, "dns", "check"))
		dns_check(s, cmd, rq);
	else if (is_verb(cmd, "check-network", NULL))
		check_network(s, cmd->count > 1, rq);
	else if (is_verb(cmd, "probe-domain", NULL) && cmd->count == 2)
		probe_domain(s, cmd, rq);
	else if (is_verb(cmd, "send-test", NULL))
		send_test(s, cmd, rq);
	else if (is_verb(cmd, "routes", "changed"))
		routes_changed(s, rq);
	else
		admin_end(rq, ERR_UNSUPPORTED, "smtpd-send has no such verb");
}
