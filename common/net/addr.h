/* Network addresses: parse, format, compare; IPv4-mapped IPv6 is turned into IPv4. No I/O. */
#ifndef MS_NET_ADDR_H
#define MS_NET_ADDR_H

#include "common/base/err.h"
#include "common/base/span.h"

#include <sys/socket.h>

struct net_addr {
	sa_family_t family;   /* AF_INET, AF_INET6, AF_UNIX (then no bytes, no port) */
	unsigned char ip[16]; /* 4 or 16 bytes */
	uint16_t port;
};

#define NET_ADDR_TEXT 64 /* enough for "[v6]:port" and a NUL */

/* "192.0.2.1", "2001:db8::1", "[2001:db8::1]"; port is set to the argument. */
int net_addr_parse(struct net_addr *a, struct span text, uint16_t port, struct err *err);
int net_addr_from_sockaddr(struct net_addr *a, const struct sockaddr *sa, socklen_t len);
socklen_t net_addr_to_sockaddr(const struct net_addr *a, struct sockaddr_storage *ss);
void net_addr_format(const struct net_addr *a, char out[NET_ADDR_TEXT]);      /* without port */
void net_addr_format_port(const struct net_addr *a, char out[NET_ADDR_TEXT]); /* with port */
/* The address literal of RFC 5321 4.1.3: "[192.0.2.1]", "[IPv6:2001:db8::1]". */
void net_addr_format_literal(const struct net_addr *a, char out[NET_ADDR_TEXT]);
/* ::ffff:192.0.2.1 becomes 192.0.2.1: one form for one host. */
void net_addr_unmap(struct net_addr *a);
bool net_addr_is_loopback(const struct net_addr *a);
bool net_addr_equal_ip(const struct net_addr *a, const struct net_addr *b);
/* "192.0.2.0/24", "2001:db8::/32", or an address alone. */
struct net_range {
	struct net_addr addr;
	unsigned bits;
};

int net_range_parse(struct net_range *r, struct span text, struct err *err);
bool net_range_has(const struct net_range *r, const struct net_addr *a);
/* The network an address is counted in: family and the first bits; out holds *n bytes. */
void net_addr_prefix(
    const struct net_addr *a, unsigned bits4, unsigned bits6, unsigned char out[20], size_t *n);

#endif
