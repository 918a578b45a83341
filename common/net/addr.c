#include "common/net/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static size_t ip_len(const struct net_addr *a)
{
	return a->family == AF_INET ? 4 : a->family == AF_INET6 ? 16 : 0;
}

/* The IPv4 peer of a dual-stack socket. */
void net_addr_unmap(struct net_addr *a)
{
	static const unsigned char prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	if (a->family != AF_INET6 || memcmp(a->ip, prefix, sizeof(prefix)) != 0)
		return;
	a->family = AF_INET;
	memmove(a->ip, a->ip + 12, 4);
	memset(a->ip + 4, 0, 12);
}

int net_addr_parse(struct net_addr *a, struct span text, uint16_t port, struct err *err)
{
	char buf[INET6_ADDRSTRLEN + 1];
	struct span inner = text;

	if (text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
		inner = span_sub(text, 1, text.n - 2);
	*a = (struct net_addr){.port = port};
	if (inner.n == 0 || inner.n >= sizeof(buf) || span_chr(inner, '\0') >= 0)
		goto bad;
	memcpy(buf, inner.p, inner.n);
	buf[inner.n] = '\0';
	if (inner.n == text.n && inet_pton(AF_INET, buf, a->ip) == 1) {
		a->family = AF_INET;
		return 0;
	}
	if (inet_pton(AF_INET6, buf, a->ip) == 1) {
		a->family = AF_INET6;
		net_addr_unmap(a);
		return 0;
	}
bad:
	return err_set(err, ERR_INVALID, "\"%.*s\" is not an IPv4 or IPv6 address",
	    text.n < 64 ? (int)text.n : 64, text.p ? text.p : "");
}

int net_addr_from_sockaddr(struct net_addr *a, const struct sockaddr *sa, socklen_t len)
{
	*a = (struct net_addr){0};
	if (len < sizeof(sa->sa_family))
		return -1;
	a->family = sa->sa_family;
	if (sa->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof(in));
		memcpy(a->ip, &in.sin_addr, 4);
		a->port = ntohs(in.sin_port);
		return 0;
	}
	if (sa->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof(in6));
		memcpy(a->ip, &in6.sin6_addr, 16);
		a->port = ntohs(in6.sin6_port);
		net_addr_unmap(a);
		return 0;
	}
	return sa->sa_family == AF_UNIX ? 0 : -1;
}

socklen_t net_addr_to_sockaddr(const struct net_addr *a, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (a->family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(a->port);
		memcpy(&in->sin_addr, a->ip, 4);
		return sizeof(*in);
	}
	if (a->family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(a->port);
		memcpy(&in6->sin6_addr, a->ip, 16);
		return sizeof(*in6);
	}
	return 0;
}

void net_addr_format(const struct net_addr *a, char out[NET_ADDR_TEXT])
{
	if (ip_len(a) == 0)
		snprintf(out, NET_ADDR_TEXT, "local");
	else if (!inet_ntop(a->family, a->ip, out, NET_ADDR_TEXT))
		snprintf(out, NET_ADDR_TEXT, "unknown");
}

void net_addr_format_port(const struct net_addr *a, char out[NET_ADDR_TEXT])
{
	char ip[NET_ADDR_TEXT];

	net_addr_format(a, ip);
	if (ip_len(a) == 0)
		snprintf(out, NET_ADDR_TEXT, "%.*s", NET_ADDR_TEXT - 1, ip);
	else
		snprintf(out, NET_ADDR_TEXT, a->family == AF_INET6 ? "[%.46s]:%u" : "%.46s:%u", ip,
		    a->port);
}

void net_addr_format_literal(const struct net_addr *a, char out[NET_ADDR_TEXT])
{
	char ip[NET_ADDR_TEXT];

	net_addr_format(a, ip);
	snprintf(out, NET_ADDR_TEXT, a->family == AF_INET6 ? "[IPv6:%.46s]" : "[%.46s]", ip);
}

bool net_addr_is_loopback(const struct net_addr *a)
{
	static const unsigned char one[16] = {[15] = 1};

	if (a->family == AF_INET)
		return a->ip[0] == 127;
	return a->family == AF_INET6 ? memcmp(a->ip, one, 16) == 0 : a->family == AF_UNIX;
}

bool net_addr_equal_ip(const struct net_addr *a, const struct net_addr *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, ip_len(a)) == 0;
}

void net_addr_prefix(
    const struct net_addr *a, unsigned bits4, unsigned bits6, unsigned char out[20], size_t *n)
{
	unsigned bits = a->family == AF_INET ? bits4 : bits6;
	size_t len = ip_len(a);

	if (bits > len * 8)
		bits = (unsigned)len * 8;
	memset(out, 0, 20);
	out[0] = (unsigned char)a->family;
	out[1] = (unsigned char)bits;
	memcpy(out + 2, a->ip, (bits + 7) / 8);
	if (bits % 8)
		out[2 + bits / 8] &= (unsigned char)(0xff << (8 - bits % 8));
	*n = 2 + (bits + 7) / 8;
}

int net_range_parse(struct net_range *r, struct span text, struct err *err)
{
	ssize_t slash = span_chr(text, '/');
	struct span ip = slash < 0 ? text : span_sub(text, 0, (size_t)slash);
	uint64_t bits, most;

	if (net_addr_parse(&r->addr, ip, 0, err) < 0)
		return -1;
	bits = most = ip_len(&r->addr) * 8;
	if (slash >= 0 && !span_u64(span_from(text, (size_t)slash + 1), most, &bits))
		return err_set(err, ERR_INVALID, "\"%.*s\": bits of a network, at most %u",
		    text.n < 64 ? (int)text.n : 64, text.p, (unsigned)most);
	r->bits = (unsigned)bits;
	return 0;
}

bool net_range_has(const struct net_range *r, const struct net_addr *a)
{
	unsigned char x[20], y[20];
	size_t n, m;

	if (r->addr.family != a->family)
		return false;
	net_addr_prefix(&r->addr, r->bits, r->bits, x, &n);
	net_addr_prefix(a, r->bits, r->bits, y, &m);
	return n == m && memcmp(x, y, n) == 0;
}
