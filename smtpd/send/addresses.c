#include "smtpd/send/check.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define ROW_MAX 1024

/* Of the networks for examples: what leads to the world leads to them too. */
static const char *const far_away[2] = {"192.0.2.1", "2001:db8::1"};
static const char *const private_nets[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
    "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8", "fc00::/7", "fe80::/10", "::1"};

static bool is_private(const struct net_addr *a)
{
	for (size_t i = 0; i < sizeof(private_nets) / sizeof(*private_nets); i++) {
		struct net_range range;

		if (net_range_parse(&range, span_of(private_nets[i]), NULL) == 0 &&
		    net_range_has(&range, a))
			return true;
	}
	return false;
}

/* A datagram socket that is connected knows its address; nothing is sent. */
static bool ask_system(const char *target, struct net_addr *out)
{
	struct sockaddr_storage ss;
	struct net_addr to;
	socklen_t n;
	bool is_good;
	int fd;

	if (net_addr_parse(&to, span_of(target), 25, NULL) < 0)
		return false;
	fd = socket(to.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	n = net_addr_to_sockaddr(&to, &ss);
	is_good = connect(fd, (struct sockaddr *)&ss, n) == 0;
	n = sizeof(ss);
	is_good = is_good && getsockname(fd, (struct sockaddr *)&ss, &n) == 0 &&
		  net_addr_from_sockaddr(out, (struct sockaddr *)&ss, n) == 0;
	close(fd);
	return is_good;
}

void own_addresses(const struct config *cfg, struct own_address out[2])
{
	struct span list = span_of(config_str(cfg, SET_OUTBOUND_BIND));
	struct span word;

	memset(out, 0, 2 * sizeof(*out));
	while (span_split(&list, ',', &word)) {
		struct net_addr a;

		if (net_addr_parse(&a, span_trim(word), 0, NULL) == 0)
			out[a.family == AF_INET6] =
			    (struct own_address){.addr = a, .is_there = true};
	}
	for (size_t i = 0; i < 2; i++) {
		if (out[i].is_there || !ask_system(far_away[i], &out[i].addr))
			continue;
		out[i].addr.port = 0;
		out[i].is_there = true;
		out[i].is_private = is_private(&out[i].addr);
	}
}

void network_addresses(struct send *s, const struct admin_request *rq)
{
	struct own_address own[2];

	own_addresses(s->role->cfg, own);
	for (size_t i = 0; i < 2; i++) {
		char text[NET_ADDR_TEXT], name[DNS_NAME_MAX + 1];
		struct strbuf row;

		if (!own[i].is_there || own[i].is_private)
			continue;
		net_addr_format(&own[i].addr, text);
		dns_reverse_name(&own[i].addr, name);
		strbuf_init(&row, ROW_MAX);
		ipc_rec_text(&row, "type", i == 0 ? SPAN("A") : SPAN("AAAA"));
		ipc_rec_text(&row, "value", span_of(text));
		ipc_rec_text(&row, "name", span_of(name));
		admin_record(rq, &row);
		strbuf_clear(&row);
	}
	admin_end(rq, ERR_NONE, "%s", "");
}
