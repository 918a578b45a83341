#include "common/net/proxy.h"

#include "common/base/codec.h"

#include <string.h>

#define V1_MAX 107
#define V2_HEAD 16

static const char v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static int bad(struct err *err, const char *what)
{
	return err_set(err, ERR_INVALID, "PROXY header: %s", what);
}

static bool take_word(struct span *line, struct span *word)
{
	return span_split(line, ' ', word) && word->n > 0;
}

/* "TCP4 192.0.2.1 198.51.100.1 4711 25" behind "PROXY " */
static int parse_v1(struct span line, struct net_addr *client, struct err *err)
{
	struct span protocol, source, target, source_port, target_port;
	struct net_addr from, to;
	uint64_t port, ignored;

	if (!take_word(&line, &protocol))
		return bad(err, "no protocol");
	if (span_eq(protocol, SPAN("UNKNOWN")))
		return 0;
	if (!take_word(&line, &source) || !take_word(&line, &target) ||
	    !take_word(&line, &source_port) || !take_word(&line, &target_port) || line.p)
		return bad(err, "five words are needed");
	if (!span_u64(source_port, 65535, &port) || !span_u64(target_port, 65535, &ignored) ||
	    net_addr_parse(&from, source, (uint16_t)port, NULL) < 0 ||
	    net_addr_parse(&to, target, 0, NULL) < 0)
		return bad(err, "an address or port that is none");
	if (!span_eq(protocol, SPAN("TCP4")) && !span_eq(protocol, SPAN("TCP6")))
		return bad(err, "a protocol that is not TCP");
	*client = from;
	return 0;
}

static ssize_t take_v1(struct span in, struct net_addr *client, struct err *err)
{
	ssize_t lf = span_chr(span_sub(in, 0, V1_MAX), '\n');

	if (lf < 0)
		return in.n < V1_MAX ? 0 : bad(err, "no end of the line");
	if (lf < 6 || in.p[lf - 1] != '\r')
		return bad(err, "no CRLF");
	if (parse_v1(span_sub(in, 6, (size_t)lf - 7), client, err) < 0)
		return -1;
	return lf + 1;
}

static int parse_v2(
    unsigned char family, struct span body, struct net_addr *client, struct err *err)
{
	const unsigned char *p = (const unsigned char *)body.p;

	switch (family) {
	case 0x11: /* TCP over IPv4 */
		if (body.n < 12)
			return bad(err, "too short for IPv4");
		*client = (struct net_addr){.family = AF_INET, .port = be_get16(p + 8)};
		memcpy(client->ip, p, 4);
		return 0;
	case 0x21: /* TCP over IPv6 */
		if (body.n < 36)
			return bad(err, "too short for IPv6");
		*client = (struct net_addr){.family = AF_INET6, .port = be_get16(p + 32)};
		memcpy(client->ip, p, 16);
		net_addr_unmap(client);
		return 0;
	case 0x00: /* not said */
	case 0x31: /* a unix socket */
		return 0;
	default:
		return bad(err, "a protocol that is not TCP");
	}
}

static ssize_t take_v2(struct span in, struct net_addr *client, struct err *err)
{
	const unsigned char *p = (const unsigned char *)in.p;
	size_t n;

	if (in.n < V2_HEAD)
		return 0;
	n = be_get16(p + 14);
	if (p[12] != 0x20 && p[12] != 0x21)
		return bad(err, "an unknown version or command");
	if (V2_HEAD + n > PROXY_HEADER_MAX)
		return bad(err, "too long");
	if (in.n < V2_HEAD + n)
		return 0;
	/* LOCAL: the balancer itself, looking whether we live. */
	if (p[12] == 0x21 && parse_v2(p[13], span_sub(in, V2_HEAD, n), client, err) < 0)
		return -1;
	return (ssize_t)(V2_HEAD + n);
}

static bool begins_like(struct span in, struct span with)
{
	size_t n = in.n < with.n ? in.n : with.n;

	return memcmp(in.p, with.p, n) == 0;
}

ssize_t proxy_parse(struct span in, struct net_addr *client, struct err *err)
{
	struct span v1 = SPAN("PROXY "), v2 = span_make(v2_signature, sizeof(v2_signature));

	if (in.n == 0)
		return 0;
	if (begins_like(in, v2))
		return take_v2(in, client, err);
	if (!begins_like(in, v1))
		return bad(err, "something else stands there");
	return in.n < v1.n ? 0 : take_v1(in, client, err);
}
