/*
 * PROXY headers from any bytes. Oracles: a prefix of a header is never refused and never one; what
 * follows a header changes nothing; an address that was named is IPv4 or IPv6.
 */
#include "common/base/mem.h"
#include "common/net/proxy.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct net_addr client = {.family = AF_UNIX, .port = 1};
	char *copy = mem_dup(data, size);
	struct span in = span_make(copy, size);
	ssize_t n = proxy_parse(in, &client, NULL);

	need(n >= -1 && n <= (ssize_t)size && n <= PROXY_HEADER_MAX);
	if (n <= 0)
		need(client.family == AF_UNIX && client.port == 1);
	for (ssize_t i = 0; i < n; i++) {
		struct net_addr other = {.family = AF_UNIX};

		need(proxy_parse(span_sub(in, 0, (size_t)i), &other, NULL) == 0);
		need(other.family == AF_UNIX);
	}
	if (n > 0)
		need(client.family == AF_UNIX || client.family == AF_INET ||
		     client.family == AF_INET6);
	mem_free(copy);
	return 0;
}
