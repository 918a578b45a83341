#include "common/dns/dns.h"

#include "common/base/codec.h"

#include <stdio.h>
#include <string.h>

bool dns_address(enum dns_type type, struct span rdata, struct net_addr *out)
{
	size_t want = type == DNS_A ? 4 : 16;

	if (rdata.n != want)
		return false;
	*out = (struct net_addr){.family = type == DNS_A ? AF_INET : AF_INET6};
	memcpy(out->ip, rdata.p, want);
	return true;
}

/* Takes a name in wire format: labels with their lengths, no pointers, at most 255 bytes. */
static bool take_name(struct span *in, char out[DNS_NAME_MAX + 1])
{
	size_t n = 0;

	for (;;) {
		size_t len;

		if (in->n == 0)
			return false;
		len = (unsigned char)in->p[0];
		if (len > 63 || in->n < len + 1)
			return false;
		if (len == 0)
			break;
		if (n + (n > 0) + len > DNS_NAME_MAX)
			return false;
		if (n > 0)
			out[n++] = '.';
		for (size_t i = 1; i <= len; i++) {
			char c = ascii_lower(in->p[i]);

			/* Nothing else names a host, and nobody gets a dot or NUL past us. */
			if (!ascii_is_alnum(c) && c != '-' && c != '_')
				return false;
			out[n++] = c;
		}
		*in = span_from(*in, len + 1);
	}
	*in = span_from(*in, 1);
	out[n] = '\0';
	return true;
}

bool dns_name(struct span rdata, char name[DNS_NAME_MAX + 1])
{
	return take_name(&rdata, name) && rdata.n == 0;
}

bool dns_mx(struct span rdata, uint16_t *preference, char host[DNS_NAME_MAX + 1])
{
	if (rdata.n < 3)
		return false;
	*preference = be_get16(rdata.p);
	rdata = span_from(rdata, 2);
	return take_name(&rdata, host) && rdata.n == 0;
}

bool dns_txt(struct span rdata, struct strbuf *out)
{
	while (rdata.n > 0) {
		size_t len = (unsigned char)rdata.p[0];

		if (rdata.n < len + 1)
			return false;
		strbuf_add_mem(out, rdata.p + 1, len);
		rdata = span_from(rdata, len + 1);
	}
	return !out->failed;
}

bool dns_tlsa(struct span rdata, struct dns_tlsa *out)
{
	if (rdata.n < 4)
		return false;
	out->usage = (uint8_t)rdata.p[0];
	out->selector = (uint8_t)rdata.p[1];
	out->matching = (uint8_t)rdata.p[2];
	out->data = span_from(rdata, 3);
	return true;
}

void dns_reverse_name(const struct net_addr *a, char out[DNS_NAME_MAX + 1])
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	if (a->family == AF_INET) {
		snprintf(out, DNS_NAME_MAX + 1, "%u.%u.%u.%u.in-addr.arpa", a->ip[3], a->ip[2],
		    a->ip[1], a->ip[0]);
		return;
	}
	for (int i = 15; i >= 0; i--) {
		out[n++] = digits[a->ip[i] & 15];
		out[n++] = '.';
		out[n++] = digits[a->ip[i] >> 4];
		out[n++] = '.';
	}
	memcpy(out + n, "ip6.arpa", 9);
}
