/* Whether port 25 seems to be closed for us: nobody answers, in several networks, one after the
 * other, or to check-network, and nobody has since. */
#include "smtpd/send/send.h"

#include "common/log/log.h"

#include <string.h>

static uint32_t network_of(const struct net_addr *a)
{
	unsigned char key[20];
	uint32_t net = 0;
	size_t n;

	net_addr_prefix(a, 16, 32, key, &n);
	for (size_t i = 0; i < n; i++)
		net = net * 31 + key[i];
	return net;
}

void blocked_failed(struct send *s, const struct net_addr *a)
{
	uint32_t net = network_of(a);

	for (size_t i = 0; i < s->closed_count; i++)
		if (s->closed[i] == net)
			return;
	if (s->closed_count == BLOCKED_NETWORKS)
		return;
	s->closed[s->closed_count++] = net;
	if (s->closed_count == BLOCKED_NETWORKS)
		log_warning("smtp-out-blocked",
		    LOG_STR("hint", "no server answers: the provider seems to block port 25; "
				    "mailsteadctl check-network, mailsteadctl route add all HOST"));
}

void blocked_reached(struct send *s)
{
	if (s->closed_count == BLOCKED_NETWORKS)
		log_info("smtp-out-open", LOG_U64("networks", BLOCKED_NETWORKS));
	s->closed_count = 0;
	s->is_egress_closed = false;
}

void blocked_found(struct send *s, bool is_closed)
{
	s->is_egress_closed = is_closed;
	if (!is_closed)
		blocked_reached(s);
}

bool blocked_is(const struct send *s)
{
	return s->closed_count == BLOCKED_NETWORKS || s->is_egress_closed;
}
